"""What public bug reports about other tools and runtimes describe, rebuilt small; NumPy is the judge."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(0)


def test_padding_before_an_average_pool(parse: Parse) -> None:
    """A runtime once merged the two with zeros left out of the mean: inner value, score and gradient."""
    model = parse(
        """m (float[N, 3, 8, 8] x) => (float[N, 3] y) { p = Pad (x, pads)
             a = AveragePool <kernel_shape = [3, 3], count_include_pad = 0> (p)  r = Relu (a)
             g = GlobalAveragePool (r)  y = Flatten (g) }""",
        pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    )
    x = RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)
    padded = np.pad(x[0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    mean = sum(padded[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3)) / 9
    back = np.zeros_like(padded)
    for i, j in np.ndindex(3, 3):
        back[1, i : i + 8, j : j + 8] += (mean[1] > 0) / 64 / 9
    np.testing.assert_allclose(onnxray.activations(model, x, ["a"])["a"][0], mean, atol=1e-6)
    e = onnxray.explain(model, x, "gradient", 1)
    assert e.score == pytest.approx(np.maximum(mean, 0).mean(axis=(1, 2))[1], abs=1e-6)
    np.testing.assert_allclose(e.values, back[:, 1:-1, 1:-1], atol=1e-7)


@pytest.mark.parametrize(("patch", "stride"), [(5, 4), (4, 3), (6, 6), (3, 5), (17, 1)])
def test_occlusion_covers_the_right_and_lower_edge(parse: Parse, patch: int, stride: int) -> None:
    v = RNG.standard_normal((17 * 22, 1)).astype(np.float32)
    model = parse(
        """m (float[N, 1, 17, 22] image) => (float[N, 1] y) { c = Conv (image, one)  f = Flatten (c)
             y = MatMul (f, v) }""",
        one=np.ones((1, 1, 1, 1), np.float32),
        v=v,
    )
    x = RNG.standard_normal((1, 1, 17, 22)).astype(np.float32)
    share = v.reshape(17, 22).astype(np.float64) * x[0, 0]
    starts = []
    for size in (17, 22):
        along = list(range(0, size - patch + 1, stride))
        starts.append(along if along[-1] + patch >= size else [*along, size - patch])
    due = [[share[i : i + patch, j : j + patch].sum() for j in starts[1]] for i in starts[0]]
    e = onnxray.explain(
        onnxray.load(model, answer="number"), x, "occlusion", "value", patch=patch, stride=stride, fill="zero"
    )
    np.testing.assert_allclose(e.values, due, atol=1e-4)


def test_a_weight_that_is_an_output_too(parse: Parse) -> None:
    """Optimisers remove it, and it comes back as nothing."""
    w = RNG.standard_normal((4, 2)).astype(np.float32)
    model = parse("m (float[N, 4] x) => (float[N, 2] y) { y = MatMul (x, w) }", w=w)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32([2.0]), "temperature"))
    model.graph.output.add(name="temperature").type.CopyFrom(
        onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [1])
    )
    x = RNG.standard_normal((1, 4)).astype(np.float32)
    np.testing.assert_allclose(onnxray.explain(model, x, "gradient", 1).values, w[:, 1], atol=1e-6)
    found = onnxray.activations(model, x, ["y", "temperature"])
    np.testing.assert_allclose(found["y"], x @ w, atol=1e-6)
    assert found["temperature"].tolist() == [2.0]


def test_the_first_axis_of_a_state_is_no_batch(parse: Parse) -> None:
    """Layers times directions come first in what an LSTM keeps."""
    model = parse(
        """m (float[N, 5, 4] x, float[2, N, 3] h) => (float[N, 3] y, float[2, N, 3] hn) {
             t = Transpose <perm = [1, 0, 2]> (x)  o, hn = GRU <hidden_size = 3, direction = "bidirectional"> (t, w, r, , , h)
             s = Gather <axis = 0> (hn, zero)  y = Neg (s) }""",
        w=RNG.standard_normal((2, 9, 4)).astype(np.float32),
        r=RNG.standard_normal((2, 9, 3)).astype(np.float32),
        zero=np.array(0),
    )
    assert "2" not in onnxray.inspect(model).batch
    e = onnxray.explain(model, RNG.standard_normal((3, 5, 4)).astype(np.float32), "gradient", "element:y:1")
    assert e.values.shape == (3, 5, 4)
    assert np.isfinite(e.values).all()


@pytest.mark.parametrize("method", ["grad-cam", "eigen-cam", "recipro-cam"])
def test_maps_whose_rank_is_known_by_a_run_only(parse: Parse, method: str) -> None:
    """Text recognisers reshape by sizes that they compute: what static inference loses, one run decides."""
    model = parse(
        """m (float[N, 3, 16, 32] image) => (float[N, 6] y) { c = Conv <pads = [1, 1, 1, 1]> (image, w)
             s = Shape (c)  same = Mul (s, one)  m = Reshape (c, same)  r = Relu (m)
             p = GlobalAveragePool (r)  g = Flatten (p)  y = MatMul (g, v) }""",
        w=RNG.standard_normal((8, 3, 3, 3)).astype(np.float32),
        v=RNG.standard_normal((8, 6)).astype(np.float32),
        one=np.array([1]),
    )
    e = onnxray.explain(model, RNG.standard_normal((1, 3, 16, 32)).astype(np.float32), method, 2)
    assert e.values.shape == (16, 32)
