"""Local attribution maps, against the authors' path written out in NumPy and OpenCV."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.explain import problem_of
from onnxray.engine.methods.lam import blurred, diffusion_index, gaussian

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(5)
TARGET = "mean:|gradient|:3,4,9,10"


def larger(parse: Parse) -> onnxray.Model:
    proto = parse(
        """m (float[N, 3, 14, 16] image) => (float[N, 3, 28, 32] y) { c = Conv <pads = [1, 1, 1, 1]> (image, k)  r = Relu (c)
             d = Conv <pads = [1, 1, 1, 1]> (r, w)  y = DepthToSpace <blocksize = 2> (d) }""",
        k=RNG.standard_normal((8, 3, 3, 3)).astype(np.float32) * 0.3,
        w=RNG.standard_normal((12, 8, 3, 3)).astype(np.float32) * 0.3,
    )
    return onnxray.load(proto)


def of_the_authors(model: onnxray.Model, x: np.ndarray, target: str, steps: int, sigma: float, size: int) -> np.ndarray:
    """GaussianBlurPath and Path_gradient of https://github.com/X-Lowlevel-Vision/LAM_Demo, images (C, H, W)."""
    problem, image = problem_of(model, x[None], target), x.transpose(1, 2, 0)
    kernels = []
    for s in np.linspace(sigma, 0, steps + 1):
        ax = np.arange(-size // 2 + 1.0, size // 2 + 1.0)
        xx, yy = np.meshgrid(ax, ax)
        kernel = np.exp(-(xx**2 + yy**2) / (2.0 * (s + 1e-5) ** 2))
        kernels.append(kernel / kernel.sum())
    total = np.zeros(x.shape, np.float64)
    for before, after in pairwise(kernels):
        at = cv2.filter2D(image, -1, after).reshape(image.shape).transpose(2, 0, 1)[None]
        step = (
            cv2.filter2D(image.astype(np.float64), -1, (after - before) * steps).reshape(image.shape).transpose(2, 0, 1)
        )
        total += problem.gradients.at(at, np.zeros(1, np.int64))[0][0] * step
    return total / steps


@pytest.mark.parametrize(("steps", "sigma", "size"), [(10, 1.2, 9), (3, 2.5, 5)])
def test_it_is_the_path_of_the_authors(parse: Parse, steps: int, sigma: float, size: int) -> None:
    model, x = larger(parse), RNG.standard_normal((2, 3, 14, 16)).astype(np.float32)
    found = onnxray.explain(model, x, "lam", TARGET, steps=steps, sigma=sigma, kernel=size)
    for e, image in zip(found, x, strict=True):
        due = of_the_authors(model, image, TARGET, steps, sigma, size)
        np.testing.assert_allclose(e.values, due, atol=1e-5 * np.abs(due).max())


def test_it_is_the_path_of_the_authors_on_the_zoo_s_network(zoo: Path) -> None:
    folder = zoo / "frameworks" / "t_sr_pixelshuffle_op13"
    with np.load(folder / "io.npz") as arrays:
        x = next(arrays[name] for name in arrays.files if name.startswith("in:"))
    model = onnxray.load(folder / "model.onnx")
    e = onnxray.explain(model, x[:1], "lam", "mean:|gradient|", steps=10)
    due = of_the_authors(model, x[0], "mean:|gradient|", 10, 1.2, 9)
    np.testing.assert_allclose(e.values, due, atol=1e-5 * np.abs(due).max())


def test_it_adds_up_to_what_the_blurred_image_lacks(parse: Parse) -> None:
    model, x = larger(parse), RNG.standard_normal((1, 3, 14, 16)).astype(np.float32)
    e = onnxray.explain(model, x, "lam", TARGET, steps=400)
    assert e.details["completeness_error"] == pytest.approx(
        float(e.values.sum(dtype=np.float64)) - e.details["score_difference"], abs=1e-6
    )
    assert abs(e.details["completeness_error"]) < 0.03 * abs(e.details["score_difference"])


def test_nothing_lies_beyond_the_receptive_field(parse: Parse) -> None:
    """The box, one pixel of Sobel's filter (half of one of the input), and one for each convolution."""
    model, x = larger(parse), RNG.standard_normal((1, 3, 14, 16)).astype(np.float32)
    e = onnxray.explain(model, x, "lam", TARGET, steps=5)
    seen = np.zeros((14, 16), bool)
    seen[0:12, 1:13] = True
    assert not e.values[:, ~seen].any()
    assert e.values[:, 3:9, 4:10].any()


def test_the_diffusion_index() -> None:
    """Of one pixel that alone counts nearly 0, of pixels that all count the same 100."""
    one, flat = np.zeros((3, 10, 10), np.float32), np.ones((3, 10, 10), np.float32)
    one[:, 4, 4] = 1
    assert diffusion_index(one, 1) == pytest.approx(1)
    assert diffusion_index(flat, 1) == pytest.approx(100)
    assert diffusion_index(np.zeros((10, 10), np.float32), None) == 0
    values = RNG.standard_normal((10, 10)).astype(np.float32)
    pairs = np.abs(np.abs(values.ravel())[:, None] - np.abs(values.ravel())).mean()
    assert diffusion_index(values, None) == pytest.approx(100 * (1 - pairs / (2 * np.abs(values).mean())), rel=1e-5)


def test_refusals(parse: Parse) -> None:
    model, x = larger(parse), np.ones((1, 3, 14, 16), np.float32)
    with pytest.raises(onnxray.OnnxrayError, match="give an odd size"):
        onnxray.explain(model, x, "lam", TARGET, kernel=8)
    table = parse("m (float[N, 7] x) => (float[N, 7] y) { y = Relu (x) }")
    with pytest.raises(onnxray.OnnxrayError, match="use integrated-gradients"):
        onnxray.explain(table, np.ones((1, 7), np.float32), "lam")


def test_images_of_float16_are_blurred_in_float32() -> None:
    x = RNG.standard_normal((1, 3, 14, 16)).astype(np.float16)
    found = blurred(x, (2, 3), gaussian(5, 1.0))
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, blurred(x.astype(np.float32), (2, 3), gaussian(5, 1.0)), atol=2e-3)
