"""The plane of time and frequency: it gives the sound back, also in the graph, and relevance in it is complete."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from scipy.signal import ShortTimeFFT

import onnxray
from onnxray.engine.graph.read import read
from onnxray.engine.inference.session import run
from onnxray.engine.sound.plane import Plane, plane_for, plane_input, with_plane
from onnxray.engine.sound.resampling import resampled


def test_coefficients_are_those_of_scipy_and_give_the_sound_back() -> None:
    x = np.random.default_rng(0).standard_normal(2000)
    plane = Plane(2000, 16000, 256, 64)
    scipy = ShortTimeFFT(plane.taper, 64, 16000, mfft=256, phase_shift=None)
    padded = np.zeros((plane.shape[1] - 1) * 64 + 256)
    padded[plane.lead : plane.lead + 2000] = x
    wanted = scipy.stft(padded, p0=2, p1=2 + plane.shape[1], k_offset=0)
    found = plane.coefficients(x)
    np.testing.assert_allclose(found[0] + 1j * found[1], wanted, atol=1e-5)
    np.testing.assert_allclose(plane.samples(found), x, atol=1e-6)
    np.testing.assert_allclose(plane.frequencies, scipy.f)


@pytest.mark.parametrize("shape", [(1, 1500), (1, 1, 1500), (1, 1500, 1), (1500,)])
@pytest.mark.parametrize("opset", [9, 17])
def test_the_layer_in_the_graph_gives_the_samples(shape: tuple[int, ...], opset: int) -> None:
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N" if len(shape) > 1 else shape[0], *shape[1:]])
        for name in ("x", "y")
    ]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    model = read(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8))
    plane = plane_for(1500, 16000)
    made = with_plane(model, "x", plane, shape)
    onnx.checker.check_model(made.proto)
    x = np.random.default_rng(1).standard_normal(1500).astype(np.float32)
    (got,) = run(made, {plane_input("x"): plane.coefficients(x)[None]}).values()
    np.testing.assert_allclose(got.reshape(-1), np.maximum(x, 0), atol=2e-6)


def test_relevance_is_complete_to_rounding() -> None:
    """<x, g> over samples and over coefficients is the same number (virtual inspection layer)."""
    model = tone_model()
    x = np.random.default_rng(2).standard_normal(4096).astype(np.float32)
    g = onnxray.explain(model, x[None, None], "gradient", 0).values
    e = onnxray.explain(model, onnxray.Sound(x, 8000), "input-x-gradient", 0, sound={"rate": 8000})
    assert e.values.shape == e.sound.plane.shape
    wanted = float((x.astype(np.float64) * g[0]).sum())
    assert abs(float(e.values.astype(np.float64).sum()) - wanted) <= 1e-5 * abs(wanted)


def tone_model() -> onnx.ModelProto:
    """(N, 1, T) -> (N, 2): how much there is of 1000 Hz, and of 2500 Hz, at 8 kHz."""
    t = np.arange(128) / 8000
    rows = [np.cos(2 * np.pi * f * t + p) * np.hanning(128) for f in (1000, 2500) for p in (0, np.pi / 2)]
    weight = np.array(rows, np.float32)[:, None]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], strides=[4]),
        helper.make_node("Mul", ["c", "c"], ["p"]),
        helper.make_node("GlobalMaxPool", ["p"], ["m"]),
        helper.make_node("Reshape", ["m", "pairs"], ["q"]),
        helper.make_node("ReduceSum", ["q", "last"], ["y"], keepdims=0),
    ]
    arrays = {"w": weight, "pairs": np.array([-1, 2, 2]), "last": np.array([2])}
    graph = helper.make_graph(
        nodes,
        "tones",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, "T"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [onnx.numpy_helper.from_array(a, n) for n, a in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("method", ["integrated-gradients", "occlusion", "input-x-gradient", "gradient"])
def test_a_planted_tone_is_found_in_time_and_frequency(method: str) -> None:
    """A tone in noise, at a random time and one of two frequencies: the greatest relevance lies on it, 19 of 20."""
    rng, right = np.random.default_rng(3), 0
    count = 5 if method == "occlusion" else 20
    for _ in range(count):
        tone, at = int(rng.integers(2)), int(rng.integers(500, 5000))
        x = 0.02 * rng.standard_normal(8000)
        t = np.arange(1000) / 8000
        x[at : at + 1000] += np.sin(2 * np.pi * (1000, 2500)[tone] * t) * np.hanning(1000)
        options = {"patch": "8x8"} if method == "occlusion" else {}
        e = onnxray.explain(tone_model(), onnxray.Sound(x, 8000), method, tone, sound={"rate": 8000}, **options)
        f, m = np.unravel_index(int(e.values.argmax()), e.values.shape)
        heard = e.sound
        near_f = abs(heard.frequencies[f] - (1000, 2500)[tone]) <= 8000 / heard.plane.window * 2
        near_t = at / 8000 <= heard.times[m] <= (at + 1000) / 8000
        right += bool(near_f and near_t)
    assert right >= 0.95 * count


def test_heard_and_without_add_up_and_the_tone_is_heard() -> None:
    rng = np.random.default_rng(4)
    t = np.arange(8000) / 8000
    x = 0.5 * np.sin(2 * np.pi * 1000 * t) + 0.5 * np.sin(2 * np.pi * 2500 * t) + 0.01 * rng.standard_normal(8000)
    e = onnxray.explain(tone_model(), onnxray.Sound(x, 8000), "integrated-gradients", 0, sound={"rate": 8000})
    heard, without = e.sound.heard, e.sound.without
    np.testing.assert_allclose(heard + without, e.sound.samples, atol=1e-6)

    def power(y: np.ndarray, hz: int) -> float:
        return abs(np.exp(-2j * np.pi * hz * t) @ y) ** 2

    assert power(heard, 1000) > 100 * power(heard, 2500)
    assert e.sound.picture().shape == (*e.values.shape, 3)
    assert e.overlay().shape == (*e.values.shape, 3)


def test_resampling_is_that_of_scipy() -> None:
    from scipy.signal import resample_poly

    x = np.random.default_rng(5).standard_normal(4410).astype(np.float32)
    np.testing.assert_allclose(resampled(x, 44100, 16000), resample_poly(x.astype(np.float64), 160, 441), atol=1e-6)
    assert resampled(x, 8000, 8000) is x
