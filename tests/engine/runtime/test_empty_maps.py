"""Sizes that ONNX Runtime would divide by: refused before they end the process."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.errors import ShapeError
from onnxray.engine.inference.session import session

Parse = Callable[..., onnx.ModelProto]


@pytest.fixture
def pools(parse: Parse) -> onnx.ModelProto:
    return parse(
        """g (float[N, 3, H, W] x) => (float[N, 2] y) {
            a = MaxPool <kernel_shape = [3, 3], strides = [2, 2]> (x)
            b = MaxPool <kernel_shape = [3, 3], strides = [2, 2]> (a)
            c = Conv (b, k)  p = GlobalAveragePool(c)  f = Flatten(p)  y = MatMul(f, v)
        }""",
        k=np.ones((4, 3, 1, 1), np.float32),
        v=np.ones((4, 2), np.float32),
    )


def test_maps_without_a_pixel(pools: onnx.ModelProto) -> None:
    model = onnxray.load(pools)
    with pytest.raises(ShapeError, match=r"'b' \(MaxPool\) makes a map of size 0, .* for the input x \[1, 3, 4, 4\]"):
        session(model).run({"x": np.zeros((1, 3, 4, 4), np.float32)})
    assert session(model).run({"x": np.zeros((2, 3, 7, 7), np.float32)})["y"].shape == (2, 2)


@pytest.mark.parametrize("size", [1, 4])
def test_explain_and_shapes_at_such_a_size(pools: onnx.ModelProto, size: int) -> None:
    model = onnxray.load(pools, size=size)
    assert model.layers
    for method in ("gradient", "occlusion", "grad-cam"):
        with pytest.raises(onnxray.OnnxrayError):
            onnxray.explain(model, np.zeros((9, 9, 3), np.uint8), method=method)


def test_a_size_that_the_model_fixes(parse: Parse) -> None:
    text = """g (float[1, 3, 4, 4] x) => (float[1, 3, H, W] y) {
        a = MaxPool <kernel_shape = [5, 5]> (x)  y = AveragePool <kernel_shape = [1, 1]> (a) }"""
    with pytest.raises(onnxray.OnnxrayError):
        session(onnxray.load(parse(text))).run({"x": np.zeros((1, 3, 4, 4), np.float32)})


@pytest.mark.parametrize("shape", [(0, 1, 3), (4, 0, 3)])
def test_sequences_without_a_step_or_a_sample(parse: Parse, shape: tuple[int, ...]) -> None:
    text = "g (float[T, N, 3] x) => (float[T, 1, N, 2] y) { y = RNN <hidden_size = 2> (x, w, r) }"
    model = onnxray.load(parse(text, w=np.ones((1, 2, 3), np.float32), r=np.ones((1, 2, 2), np.float32)))
    with pytest.raises(ShapeError, match="a sequence of size 0"):
        session(model).run({"x": np.zeros(shape, np.float32)})
    assert session(model).run({"x": np.zeros((4, 1, 3), np.float32)})["y"].shape == (4, 1, 1, 2)


def test_sizes_that_are_fixed_cost_no_inference(parse: Parse, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were judged when the model was loaded; of open ones each size is looked at once, however many samples come."""
    inferred: list[object] = []
    true = onnx.shape_inference.infer_shapes

    def counted(*args: object, **kwargs: object) -> object:
        inferred.append(args[0])
        return true(*args, **kwargs)  # type: ignore[arg-type]

    text = "g (float[N, 3, {0}] x) => (float[N, 3, A, B] y) {{ y = MaxPool <kernel_shape = [3, 3]> (x) }}"
    fixed, free = (session(onnxray.load(parse(text.format(size)))) for size in ("9, 9", "H, W"))
    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", counted)
    x = np.zeros((2, 3, 9, 9), np.float32)
    fixed.run({"x": x})
    assert not inferred
    free.run({"x": x})
    once = len(inferred)
    assert once > 0
    free.run({"x": x[:1]})
    assert len(inferred) == once
    with pytest.raises(ShapeError):
        free.run({"x": x[..., :2]})
