"""Windows, grids, superpixels and class activation maps along signals, series and volumes, against planted causes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.attribution.place_axes import numbers_along, place_axes
from onnxray.engine.attribution.segments import features_of
from onnxray.engine.explain import problem_of
from onnxray.engine.inspect.concrete_shapes import spatial_input
from onnxray.engine.methods.registry import methods

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(11)
PULSE = 37  # where the planted pulse of a series begins, eight times long, in channel 1 of 3
BALL = (5, 9, 12)  # the centre of the planted ball of a volume

# How a convolution along time is written: what is given, and the nodes before and behind it.
SIGNALS = {
    "NCT": ("float[N, 3, 64] x", "c = Conv (x, k)"),
    "NTC": ("float[N, 64, 3] x", "t = Transpose <perm = [0, 2, 1]> (x)  c = Conv (t, k)"),
    "NTC by rows": (
        "float[N, 64, 3] x",
        "u = Unsqueeze (x, one)  t = Transpose <perm = [0, 3, 1, 2]> (u)  c = Conv (t, k)",
    ),
}
VOLUMES = {
    "NCDHW": ("float[N, 2, 12, 16, 20] x", "c = Conv <pads = [1, 1, 1, 1, 1, 1]> (x, k)"),
    "NDHWC": (
        "float[N, 12, 16, 20, 2] x",
        "t = Transpose <perm = [0, 4, 1, 2, 3]> (x)  c = Conv <pads = [1, 1, 1, 1, 1, 1]> (t, k)",
    ),
}


def series(parse: Parse, layout: str) -> tuple[onnxray.Model, np.ndarray]:
    """A model of four features of which the first finds a pulse in channel 1, and a series with one."""
    text, convolved = SIGNALS[layout]
    rows = "rows" in layout
    k = RNG.standard_normal((4, 3, 8)).astype(np.float32) * 0.01
    k[0, 1] = 1 / 8
    places = "[2, 3]" if rows else "[2]"
    proto = parse(
        f"m ({text}) => (float[N, 2] y) {{ {convolved}  s = Sub (c, h)  r = Relu (s)  p = ReduceMean <axes = {places}, keepdims = 0> (r)  y = MatMul (p, v) }}",
        k=k[:, :, None] if rows else k,
        h=np.float32(0.3),
        v=np.float32([[1, 0], [0, 0.1], [0, 0.1], [0, 0.1]]),
        **({"one": np.array([1])} if rows else {}),
    )
    x = RNG.standard_normal((3, 64)).astype(np.float32) * 0.05
    x[1, PULSE : PULSE + 8] += 2
    return onnxray.load(proto), (x if layout == "NCT" else np.ascontiguousarray(x.T))[None]


def volume(parse: Parse, layout: str) -> tuple[onnxray.Model, np.ndarray]:
    """A model whose first feature is the brightness of the first channel, and noise with a ball in it."""
    text, convolved = VOLUMES[layout]
    k = RNG.standard_normal((4, 2, 3, 3, 3)).astype(np.float32) * 0.01
    k[0, 0] = 1 / 27
    proto = parse(
        f"""m ({text}) => (float[N, 2] y) {{ {convolved}  s = Sub (c, h)  r = Relu (s)
              p = ReduceMean <axes = [2, 3, 4], keepdims = 0> (r)  y = MatMul (p, v) }}""",
        k=k,
        h=np.float32(0.3),
        v=np.float32([[1, 0], [0, 0.1], [0, 0.1], [0, 0.1]]),
    )
    x = RNG.standard_normal((2, 12, 16, 20)).astype(np.float32) * 0.1
    x[0] += ball()
    return onnxray.load(proto), (x if layout == "NCDHW" else np.ascontiguousarray(np.moveaxis(x, 0, -1)))[None]


def ball() -> np.ndarray:
    distance = sum((a - c) ** 2 for a, c in zip(np.mgrid[:12, :16, :20], BALL, strict=True))
    return (distance <= 9).astype(np.float32)


@pytest.mark.parametrize("layout", SIGNALS)
def test_the_axes_of_a_signal(parse: Parse, layout: str) -> None:
    model, x = series(parse, layout)
    assert spatial_input(model) == ("x", (2,) if layout == "NCT" else (1,))
    assert place_axes(model, "x", x.shape[1:]) == ((1,) if layout == "NCT" else (0,))


@pytest.mark.parametrize("layout", VOLUMES)
def test_the_axes_of_a_volume(parse: Parse, layout: str) -> None:
    model, x = volume(parse, layout)
    assert place_axes(model, "x", x.shape[1:]) == ((1, 2, 3) if layout == "NCDHW" else (0, 1, 2))
    (kind,) = [d for d in onnxray.inspect(model).decisions if d.what.startswith("input ")]
    assert kind.value == f"volume ({layout})"


@pytest.mark.parametrize("layout", SIGNALS)
@pytest.mark.parametrize(
    "options",
    [
        {"method": "occlusion", "patch": 8},
        {"method": "occlusion", "patch": [8], "stride": 4},
        {"method": "occlusion", "segments": "grid", "grid": 8},
        {"method": "occlusion", "segments": "slic"},
        {"method": "ablation", "segments": "grid", "grid": 8},
        {"method": "kernel-shap", "segments": "grid", "grid": 8},
        {"method": "lime", "segments": 8},
        {"method": "grad-cam"},
        {"method": "score-cam"},
        {"method": "recipro-cam"},
        {"method": "guided-grad-cam"},
    ],
    ids=str,
)
def test_a_pulse_is_found_in_time(parse: Parse, layout: str, options: dict[str, Any]) -> None:
    model, x = series(parse, layout)
    e = onnxray.explain(model, x, target=0, **options)
    assert e.extent == (64,)
    heat = e.heatmap if e.values.ndim < 2 else np.abs(e.values).sum(axis=e.extent_channel)
    assert len(heat) == 64
    assert PULSE - 8 <= int(heat.argmax()) < PULSE + 16
    assert e.map is not None


@pytest.mark.parametrize("layout", SIGNALS)
@pytest.mark.parametrize("patch", [[8, 1], "8x1"])
def test_a_window_hides_part_of_the_features(parse: Parse, layout: str, patch: Any) -> None:
    """Times come first in both layouts."""
    model, x = series(parse, layout)
    e = onnxray.explain(model, x, "occlusion", 0, patch=patch, stride=1)
    values = e.values if layout == "NCT" else e.values.T
    assert values.shape == (3, 57)
    feature, time = np.unravel_index(int(values.argmax()), values.shape)
    assert feature == 1
    assert time <= PULSE + 4 <= time + 8
    grid = onnxray.explain(model, x, "ablation", 0, segments="grid", grid=[8, 3])
    values = grid.values if layout == "NCT" else grid.values.T
    assert values.shape == (3, 64)
    assert np.unravel_index(int(values.argmax()), values.shape) in [(1, at) for at in range(PULSE - 8, PULSE + 8)]
    assert len(np.unique(grid.details["segments"])) == 24


@pytest.mark.parametrize("layout", VOLUMES)
@pytest.mark.parametrize(
    "options",
    [
        {"method": "occlusion", "patch": [4, 4, 4]},
        {"method": "occlusion", "segments": "grid", "grid": [3, 4, 5]},
        {"method": "ablation"},
        {"method": "ablation", "segments": 60},
        {"method": "sobol", "segments": "grid", "grid": "3x4x5", "designs": 8},
        {"method": "grad-cam"},
        {"method": "hires-cam"},
        {"method": "score-cam"},
        {"method": "recipro-cam"},
        {"method": "recipro-cam", "mask": "single"},
        {"method": "guided-grad-cam"},
        {"method": "gradient"},
        {"method": "input-x-gradient"},
    ],
    ids=str,
)
def test_a_ball_is_found_in_a_volume(parse: Parse, layout: str, options: dict[str, Any]) -> None:
    model, x = volume(parse, layout)
    heat = onnxray.explain(model, x, target=0, **options).heatmap
    assert heat.shape == (12, 16, 20)
    places = zip(np.unravel_index(int(heat.argmax()), heat.shape), BALL, strict=True)
    assert all(abs(int(found) - due) <= 4 for found, due in places)
    inside = np.maximum(heat, 0)[ball() > 0].sum() / np.maximum(heat, 0).sum()
    assert inside > 3 * ball().mean()


@pytest.mark.parametrize("layout", VOLUMES)
def test_supervoxels_follow_what_is_there(parse: Parse, layout: str) -> None:
    model, x = volume(parse, layout)
    (features,) = features_of(problem_of(model, x, 0), "auto", 8, 30.0)
    assert features.labels.shape == (12, 16, 20)
    assert "supervoxels" in features.kind
    assert 15 <= len(features) <= 100
    (boxes,) = features_of(problem_of(model, x, 0), "grid", [3, 4, 4], 30.0)

    def mixed(labels: np.ndarray) -> float:
        parts = [ball()[labels == i] for i in range(labels.max() + 1)]
        return float(sum(min(part.sum(), (1 - part).sum()) for part in parts) / ball().sum())

    assert mixed(features.labels) < 0.1
    assert mixed(boxes.labels) > 0.3


def test_what_is_hidden_is_what_the_labels_say(parse: Parse) -> None:
    """Of a linear model the drop of a cell is the sum of its own part, in every channel."""
    w = RNG.standard_normal((2, 6, 4, 4)).astype(np.float32)
    proto = parse(
        "m (float[N, 2, 6, 4, 4] x) => (float[N, 1] y) { p = Mul (x, w)  c = Conv (p, k)  s = ReduceSum <keepdims = 0> (c, all)  y = Unsqueeze (s, one) }",
        w=w,
        k=np.ones((1, 2, 1, 1, 1), np.float32),
        all=np.array([1, 2, 3, 4]),
        one=np.array([1]),
    )
    x = RNG.standard_normal((2, 2, 6, 4, 4)).astype(np.float32)
    for method in ("ablation", "occlusion"):
        found = onnxray.explain(onnxray.load(proto), x, method, 0, segments="grid", grid=[3, 2, 1])
        for e, sample in zip(found, x, strict=True):
            cells = (sample * w).sum(axis=0).reshape(3, 2, 2, 2, 4).sum(axis=(1, 3, 4))
            assert e.values.shape == (6, 4, 4)
            np.testing.assert_allclose(e.values[::2, ::2, 0], cells, atol=1e-4)
            assert np.array_equal(e.values[0, 0], np.full(4, e.values[0, 0, 0]))


def test_maps_of_several_layers_of_a_volume(parse: Parse) -> None:
    k, v = RNG.standard_normal((8, 1, 3, 3, 3)).astype(np.float32), RNG.standard_normal((8, 2)).astype(np.float32)
    proto = parse(
        """m (float[N, 1, 8, 6, 4] x) => (float[N, 2] y) { c = Conv <pads = [1, 1, 1, 1, 1, 1]> (x, k)  r = Relu (c)
             q = MaxPool <kernel_shape = [2, 2, 2], strides = [2, 2, 2]> (r)
             p = ReduceMean <axes = [2, 3, 4], keepdims = 0> (q)  y = MatMul (p, v) }""",
        k=k,
        v=v,
    )
    x = RNG.standard_normal((1, 1, 8, 6, 4)).astype(np.float32)
    both = onnxray.explain(proto, x, "grad-cam", 0, layer=["r", "q"])
    one, two = (onnxray.explain(proto, x, "grad-cam", 0, layer=name) for name in ("r", "q"))
    parts = [e.heatmap / np.abs(e.values).max() for e in (one, two)]
    np.testing.assert_allclose(both.heatmap, (parts[0] + parts[1]) / 2, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, cls in methods().items() if cls.at_layer])
@pytest.mark.parametrize("dimensions", [1, 3])
def test_every_method_at_layers_takes_signals_and_volumes(parse: Parse, name: str, dimensions: int) -> None:
    model, x = series(parse, "NTC by rows") if dimensions == 1 else volume(parse, "NDHWC")
    e = onnxray.explain(model, x, name, 0)
    assert e.heatmap.shape == ((64,) if dimensions == 1 else (12, 16, 20))


@pytest.mark.parametrize(
    ("given", "shape", "axes", "due"),
    [
        (8, (3, 64), (1,), ((8,), (1,))),
        ([8], (64, 3), (0,), ((8,), (0,))),
        ([8, 2], (64, 3), (0,), ((8, 2), (0, 1))),
        ("8x2", (3, 64), (1,), ((2, 8), (0, 1))),
        (4, (1, 12, 16, 20), (1, 2, 3), ((4, 4, 4), (1, 2, 3))),
        ("2x3x4", (12, 16, 20, 1), (0, 1, 2), ((2, 3, 4), (0, 1, 2))),
        ([2, 3], (5, 6), (), ((2, 3), (0, 1))),
    ],
)
def test_numbers_belong_to_axes(given: Any, shape: tuple[int, ...], axes: tuple[int, ...], due: Any) -> None:
    assert numbers_along(given, shape, axes, "grid") == due


@pytest.mark.parametrize("given", [[1, 2, 3], "0", "4x", [], "a", [2, 3, 4, 5, 6]])
def test_numbers_that_belong_to_none(given: Any) -> None:
    with pytest.raises(onnxray.OnnxrayError, match="grid"):
        numbers_along(given, (3, 64), (1,), "grid")


def test_a_grid_that_is_too_fine(parse: Parse) -> None:
    model, x = volume(parse, "NCDHW")
    with pytest.raises(onnxray.OnnxrayError, match="a grid of 13 x 2 x 2 is finer than the input of 12 x 16 x 20"):
        onnxray.explain(model, x, "ablation", 0, segments="grid", grid=[13, 2, 2])
