"""Regions and means of maps: their gradients are sums of those of single elements, exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxray
from onnxray import Target
from onnxray.engine.errors import TargetError

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(0)
W = RNG.standard_normal((3, 3, 3, 3)).astype(np.float32)
X = RNG.standard_normal((1, 3, 12, 12)).astype(np.float32)


@pytest.fixture
def net(parse: Parse) -> onnxray.Model:
    text = "m (float[N, 3, 12, 12] image) => (float[N, 3, 12, 12] y) { y = Conv <pads = [1, 1, 1, 1]> (image, w) }"
    return onnxray.load(parse(text, w=W))


@pytest.fixture
def y(net: onnxray.Model) -> np.ndarray:
    return np.asarray(onnxray.activations(net, X, ["y"])["y"])


def summed(model: onnxray.Model, chosen: int, cells: np.ndarray) -> np.ndarray:
    """The mean of the gradients of the elements, one by one."""
    found = [onnxray.explain(model, X, "gradient", f"element:y:{chosen},{r},{c}").values for r, c in np.argwhere(cells)]
    return np.mean(found, axis=0)


def components(cells: np.ndarray) -> list[np.ndarray]:
    """Connected components by flood filling, the largest first."""
    left, found = cells.copy(), []
    while left.any():
        part = np.zeros_like(left)
        stack = [tuple(np.argwhere(left)[0])]
        while stack:
            r, c = stack.pop()
            if 0 <= r < left.shape[0] and 0 <= c < left.shape[1] and left[r, c]:
                left[r, c], part[r, c] = False, True
                stack += [(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)]
        found.append(part)
    return sorted(found, key=lambda part: -part.sum())


def test_components_and_boundaries(net: onnxray.Model, y: np.ndarray) -> None:
    wins = y[0].argmax(axis=0) == 2
    for k, part in enumerate(components(wins)[:3], 1):
        e = onnxray.explain(net, X, "gradient", f"region:2:instance:{k}")
        np.testing.assert_allclose(e.values, summed(net, 2, part), atol=1e-6)
    edge = np.zeros_like(wins)
    for r, c in np.ndindex(*wins.shape):
        near = [(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)]
        edge[r, c] = any(0 <= a < 12 and 0 <= b < 12 and wins[a, b] != wins[r, c] for a, b in near)
    np.testing.assert_allclose(
        onnxray.explain(net, X, "gradient", "region:2:boundary").values, summed(net, 2, edge), atol=1e-6
    )
    with pytest.raises(TargetError, match="there is no component 99"):
        onnxray.explain(net, X, "gradient", "region:2:instance:99")


def test_the_predicted_region_is_the_largest_that_is_no_background(net: onnxray.Model, y: np.ndarray) -> None:
    areas = np.bincount(y[0].argmax(axis=0).ravel(), minlength=3)
    best = int(areas.argmax()) if areas.argmax() else 1 + int(areas[1:].argmax())
    for target in (None, "region", "region:predicted"):
        e = onnxray.explain(net, X, "gradient", target)
        assert str(e.target) == f"region:{best}"
        np.testing.assert_array_equal(e.values, onnxray.explain(net, X, "gradient", f"region:{best}").values)


def test_masks_from_files(net: onnxray.Model, tmp_path: Path) -> None:
    mask = np.zeros((12, 12), np.uint8)
    mask[3:6, 4:9] = 255
    np.save(tmp_path / "m.npy", mask)
    from onnxray.cli.files.images import write

    write(tmp_path / "m.png", mask)
    due = onnxray.explain(net, X, "gradient", Target.region(1, mask=mask > 0)).values
    for name in ("m.npy", "m.png"):
        text = f"region:1:{tmp_path / name}"
        assert str(Target.parse(text)) == text
        np.testing.assert_array_equal(onnxray.explain(net, X, "gradient", text).values, due)


@pytest.mark.parametrize("layout", ["NHW", "NHWC"])
def test_maps_without_channels_and_with_channels_last(parse: Parse, layout: str) -> None:
    w = W[:1]
    conv = "c = Conv <pads = [1, 1, 1, 1]> (image, w)"
    if layout == "NHW":
        text = f"m (float[N, 3, 12, 12] image) => (float[N, 12, 12] depth) {{ {conv}  depth = Squeeze (c, one) }}"
        model = onnxray.load(parse(text, w=w, one=np.array([1], np.int64)))
    else:
        text = f"m (float[N, 3, 12, 12] image) => (float[N, 12, 12, 1] depth) {{ {conv}  depth = Transpose <perm = [0, 2, 3, 1]> (c) }}"
        model = onnxray.load(parse(text, w=w))
    box = (2, 3, 5, 9)
    tail = ",0" if layout == "NHWC" else ""
    due = np.mean(
        [
            onnxray.explain(model, X, "gradient", f"element:depth:{r},{c}{tail}").values
            for r in range(2, 5)
            for c in range(3, 9)
        ],
        axis=0,
    )
    edges = ",".join(map(str, box))
    for target in (f"region:{edges}", f"mean:depth:{edges}", Target.mean("depth", box), Target.region(box=box)):
        np.testing.assert_allclose(onnxray.explain(model, X, "gradient", target).values, due, atol=1e-6)
    whole = onnxray.explain(model, X, "gradient", "mean:depth")
    assert whole.score == pytest.approx(float(onnxray.activations(model, X, ["depth"])["depth"].mean()), abs=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "region",
        "region:cat",
        "region:1,2,3,4",
        "region:cat:boundary",
        "region:3:instance:2",
        "region:boundary",
        "region:instance:1",
        "region:predicted:1,2,3,4",
        "mean:depth",
        "mean:a:0:1,2,3,4",
    ],
)
def test_texts(text: str) -> None:
    assert str(Target.parse(text)) == text


def test_refusals(parse: Parse) -> None:
    with pytest.raises(TargetError, match="write region"):
        Target.parse("region:cat:1,2")
    with pytest.raises(TargetError, match="not two of them"):
        Target.region(1, (0, 0, 1, 1), part="boundary")
    with pytest.raises(TargetError, match="largest one is 1"):
        Target.region(1, part=0)
    flat = onnxray.load(parse("m (float[N, 4] x) => (float[N, 4] y) { y = Neg (x) }"))
    with pytest.raises(TargetError, match="not a map of the image"):
        onnxray.explain(flat, np.ones((1, 4), np.float32), "gradient", "mean:y:0,0,1,1")
