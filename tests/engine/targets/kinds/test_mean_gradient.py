"""The detail of an image that a network makes, against SciPy's Sobel filter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from scipy import ndimage

import onnxray
from onnxray import Target
from onnxray.engine.errors import TargetError

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(4)
W = RNG.standard_normal((12, 3, 3, 3)).astype(np.float32) * 0.2
X = RNG.standard_normal((2, 3, 8, 10)).astype(np.float32)
# How the output of twice the size is laid out: what is declared, what makes it, and the axes of channels and places.
LAYOUTS = {
    "NCHW": ("float[N, 3, 16, 20] y", "y = DepthToSpace <blocksize = 2> (c)", (1, 2, 3)),
    "NHWC": (
        "float[N, 16, 20, 3] y",
        "d = DepthToSpace <blocksize = 2> (c)  y = Transpose <perm = [0, 2, 3, 1]> (d)",
        (3, 1, 2),
    ),
}


def larger(parse: Parse, layout: str) -> onnxray.Model:
    out, end, _ = LAYOUTS[layout]
    return onnxray.load(
        parse(
            f"m (float[N, 3, 8, 10] image) => ({out}) {{ c = Conv <pads = [1, 1, 1, 1]> (image, w)  {end} }}",
            w=W,
        )
    )


def magnitude(y: np.ndarray) -> np.ndarray:
    """(C, h, w) -> the magnitude of Sobel's gradient of each channel."""
    return np.stack(
        [
            np.hypot(*(ndimage.sobel(plane.astype(np.float64), axis, mode="nearest") / 8 for axis in (0, 1)))
            for plane in y
        ]
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("text", ["mean:|gradient|", "mean:|gradient|:y:2,3,6,7", "mean:|gradient|:2,3,6,7"])
def test_it_is_what_scipy_finds(parse: Parse, layout: str, text: str) -> None:
    model = larger(parse, layout)
    y = np.moveaxis(onnxray.activations(model, X, ["y"])["y"], LAYOUTS[layout][2], (1, 2, 3))
    for e, made in zip(onnxray.explain(model, X, "gradient", text), y, strict=True):
        seen = magnitude(made)
        due = seen[:, 4:12, 6:14].mean() if "2,3" in text else seen.mean()
        assert e.score == pytest.approx(due, rel=1e-5)
        assert str(e.target) == text
        assert Target.parse(str(e.target)) == e.target


def test_its_gradient_stays_within_what_the_network_sees(parse: Parse) -> None:
    """Beyond the box, the filter's pixel and the convolution's there is nothing, exactly."""
    e = onnxray.explain(larger(parse, "NCHW"), X[:1], "gradient", "mean:|gradient|:2,3,6,7")
    seen = np.zeros((8, 10), bool)
    seen[0:8, 1:9] = True
    assert e.values[:, ~seen].max(initial=0) == e.values[:, ~seen].min(initial=0) == 0
    assert np.abs(e.values[:, 2:6, 3:7]).min(axis=0).max() > 0


def test_a_flat_image_has_no_detail_and_no_slope(parse: Parse) -> None:
    e = onnxray.explain(larger(parse, "NCHW"), np.zeros((1, 3, 8, 10), np.float32), "gradient", "mean:|gradient|")
    assert e.score == 0
    assert np.isfinite(e.values).all()


def test_refusals(parse: Parse) -> None:
    model = larger(parse, "NCHW")
    with pytest.raises(onnxray.OnnxrayError, match="z"):
        onnxray.explain(model, X[:1], "gradient", "mean:|gradient|:z")
    with pytest.raises(TargetError, match=r"write mean:VALUE .* mean:\|gradient\|"):
        Target.parse("mean:|gradient|:1,2,3")
    classes = parse(
        "m (float[N, 3, 8, 10] image) => (float[N, 3] y) { g = GlobalAveragePool (image)  y = Flatten (g) }"
    )
    with pytest.raises(TargetError, match="no output has a score for every class and place"):
        onnxray.explain(classes, X[:1], "gradient", "mean:|gradient|")
