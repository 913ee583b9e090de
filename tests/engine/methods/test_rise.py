"""RISE, against the paper's formula with masks by OpenCV; what no batch or thread may change; known answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.explain import problem_of
from onnxray.engine.inference.batches import RunOptions
from onnxray.engine.methods.registry import make
from onnxray.engine.methods.rise import Halves
from onnxray.kernels.masks import Rise as Masks
from onnxray.tests.engine.zoo import feeds_of
from onnxray.tests.rounding import ROUNDING, apart

Parse = Callable[..., onnx.ModelProto]
X = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)


def masks_of(size: tuple[int, int], count: int, cells: int, probability: float, seed: int) -> np.ndarray:
    """(count, H, W): the grids and shifts drawn, enlarged and cropped as section 3.2 says."""
    drawn = Masks(size, cells, probability, seed)
    height, width = drawn.cell
    full = ((cells + 1) * width, (cells + 1) * height)
    found = []
    for grid, (y, x) in zip(*drawn.draw(0, count), strict=True):
        found.append(cv2.resize(grid, full, interpolation=cv2.INTER_LINEAR)[y : y + size[0], x : x + size[1]])
    return np.stack(found)


def by_hand(
    score: Callable[[np.ndarray], float], x: np.ndarray, masks: np.ndarray, probability: float, fill: Any = 0
) -> np.ndarray:
    """Equation 6, one mask at a time; x (C, H, W)."""
    total = np.zeros(masks.shape[1:])
    for mask in masks:
        total += score(x * mask + fill * (1 - mask)) * mask
    return total / (probability * len(masks))


def logit(model: onnx.ModelProto, target: int) -> Callable[[np.ndarray], float]:
    def score(x: np.ndarray) -> float:
        return float(onnxray.activations(model, x[None].astype(np.float32), "logits")["logits"][0, target])

    return score


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cells": 3, "probability": 0.2, "seed": 5},
        {"fill": 1.5},
        {"fill": "noise", "seed": 2},
    ],
)
def test_it_is_the_paper_s_formula(cnn: onnx.ModelProto, options: dict[str, Any]) -> None:
    e = onnxray.explain(cnn, X, "rise", 2, masks=301, **options)
    cells, p, seed = (options.get(k, d) for k, d in (("cells", 7), ("probability", 0.5), ("seed", 0)))
    fill: Any = options.get("fill", 0)
    if fill == "noise":
        fill = X.min() + np.random.default_rng(seed).random(X.shape[1:]) * (X.max() - X.min())
    expected = by_hand(logit(cnn, 2), X[0], masks_of((16, 16), 301, cells, p, seed), p, fill)
    assert e.values.shape == (16, 16)
    np.testing.assert_allclose(e.values, expected, atol=2e-5 * np.abs(expected).max())
    assert e.details["masks"] == 301
    np.testing.assert_allclose(e.heatmap, e.values - e.details["mean_score"], atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_batch_and_the_threads_change_nothing(cnn: onnx.ModelProto, batch: int) -> None:
    expected = onnxray.explain(cnn, X, "rise", 1, masks=300, threads=1)
    got = onnxray.explain(cnn, X, "rise", 1, masks=300, batch=batch, threads=3)
    assert apart(got.values, expected.values) <= ROUNDING
    again = onnxray.explain(cnn, X, "rise", 1, masks=300, batch=batch, threads=2)
    assert again.values.tobytes() == got.values.tobytes()


def test_more_masks_are_the_same_masks_and_more(cnn: onnx.ModelProto) -> None:
    short = onnxray.explain(cnn, X, "rise", 1, masks=40)
    long = onnxray.explain(cnn, X, "rise", 1, masks=90)
    rest = by_hand(logit(cnn, 1), X[0], masks_of((16, 16), 90, 7, 0.5, 0)[40:], 0.5)
    np.testing.assert_allclose(long.values, (short.values * 40 + rest * 50) / 90, atol=1e-5)
    other = onnxray.explain(cnn, X, "rise", 1, masks=40, seed=1)
    assert not np.allclose(other.values, short.values)


def region(parse: Parse, layout: str = "NCHW", kind: str = "float") -> onnx.ModelProto:
    """score 0 is the mean of the pixels in rows 4 ... 11, columns 16 ... 27, of all channels; score 1 its negative."""
    axes = ([2, 3], [1]) if layout == "NCHW" else ([1, 2], [3])
    shape = "3, 28, 35" if layout == "NCHW" else "28, 35, 3"
    return parse(
        f"""
        m ({kind}[N, {shape}] image) => (float[N, 2] y)
        {{
          real = Cast <to = 1> (image)
          part = Slice (real, start, end, axes)
          a = ReduceMean <keepdims = 0> (part, all)
          one = Unsqueeze (a, last)
          other = Neg (one)
          y = Concat <axis = 1> (one, other)
        }}
        """,
        start=np.array([4, 16]),
        end=np.array([12, 28]),
        axes=np.array(axes[0]),
        all=np.array([1, 2, 3]),
        last=np.array([1]),
        opset=18,
    )


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_the_map_is_where_the_score_is(parse: Parse, layout: str) -> None:
    x = np.ones((1, 3, 28, 35) if layout == "NCHW" else (1, 28, 35, 3), np.float32)
    both = onnxray.explain(region(parse, layout), x, "rise", [0, 1], masks=3000, layout=layout)
    first, second = (e.values for e in both)
    inside = np.zeros((28, 35), bool)
    inside[4:12, 16:28] = True
    assert inside[np.unravel_index(first.argmax(), first.shape)]
    assert first[inside].mean() > first[~inside].mean() + 5 * first[~inside].std()
    assert both[0].details["mean_score"] == pytest.approx(0.5, abs=0.02)
    assert first[~inside].mean() == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(second, -first, atol=1e-6)
    assert both[0].details["half_correlation"] > 0.8


def test_integer_pixels_are_masked_as_integers(parse: Parse) -> None:
    """A network that looks at the lowest bit of uint8 pixels, which no real number has."""
    proto = parse(
        """
        m (uint8[N, 9, 9, 3] image) => (float[N, 2] y)
        {
          bit = BitwiseAnd (image, one)
          real = Cast <to = 1> (bit)
          sum = ReduceMean <keepdims = 0> (real, axes)
          a = Unsqueeze (sum, last)
          y = Concat <axis = 1> (a, a)
        }
        """,
        one=np.array([1], np.uint8),
        axes=np.array([1, 2, 3]),
        last=np.array([1]),
        opset=18,
    )
    x = np.random.default_rng(1).integers(0, 256, (1, 9, 9, 3), dtype=np.uint8)
    masks = masks_of((9, 9), 200, 4, 0.5, 0)
    expected = np.zeros((9, 9))
    for mask in masks:
        masked = np.floor(x[0].astype(np.float32) * mask[..., None] + np.float32(0.5)).astype(np.uint8)
        expected += (masked & 1).mean() * mask
    e = onnxray.explain(proto, x, "rise", 0, masks=200, cells=4, layout="NHWC")
    np.testing.assert_allclose(e.values, expected / 100, atol=1e-3)


def test_centred_scores_have_the_same_expectation_and_less_noise(parse: Parse) -> None:
    """A constant of 100 on the score moves the plain map by 100 times the noise of the masks; the centred one not."""
    proto = parse(
        "m (float[N, 1, 12, 12] image) => (float[N, 2] y) { f = Flatten (image) y = Gemm (f, w, b) }",
        w=np.random.default_rng(0).standard_normal((144, 2)).astype(np.float32),
        b=np.array([100, 0], np.float32),
    )
    x = np.random.default_rng(1).standard_normal((1, 1, 12, 12)).astype(np.float32)
    plain, centred = (onnxray.explain(proto, x, "rise", 0, masks=2000, centre=c) for c in (False, True))
    exact = onnxray.explain(proto, x, "rise", 0, masks=100_000, centre=True, cells=7).values
    assert np.abs(plain.values - exact).std() > 5 * np.abs(centred.values - exact).std()
    assert centred.details["relative_error"] < plain.details["relative_error"] / 2
    # With every mask the same weight, both are the score.
    assert centred.values.mean() == pytest.approx(plain.values.mean(), rel=0.02)


def test_the_error_estimate_is_honest(cnn: onnx.ModelProto) -> None:
    exact = onnxray.explain(cnn, X, "rise", 0, masks=40_000, seed=9).values
    for seed in range(3):
        e = onnxray.explain(cnn, X, "rise", 0, masks=1000, seed=seed)
        real = (e.values - exact).std() / e.values.std()
        assert e.details["relative_error"] == pytest.approx(real, rel=0.5)


def test_tolerance(cnn: onnx.ModelProto) -> None:
    loose = onnxray.explain(cnn, X, "rise", 0, masks=20_000, tolerance=0.3, centre=True)
    assert loose.details["masks"] < 20_000
    assert loose.details["masks"] % 256 == 0
    assert loose.details["relative_error"] <= 0.3
    assert not any("stable" in w for w in loose.warnings)
    same = onnxray.explain(cnn, X, "rise", 0, masks=loose.details["masks"], centre=True)
    assert same.values.tobytes() == loose.values.tobytes()
    tight = onnxray.explain(cnn, X, "rise", 0, masks=300, tolerance=1e-6)
    assert tight.details["masks"] == 300
    assert any("not stable after 300 masks" in w for w in tight.warnings)


def test_few_masks(cnn: onnx.ModelProto) -> None:
    one = onnxray.explain(cnn, X, "rise", 0, masks=1, tolerance=0.5)
    assert one.details["relative_error"] is None
    assert one.details["half_correlation"] is None
    np.testing.assert_allclose(
        one.values, by_hand(logit(cnn, 0), X[0], masks_of((16, 16), 1, 7, 0.5, 0), 0.5), atol=1e-5
    )


def test_halves_of_equal_maps() -> None:
    masks = Masks((6, 6), 2)
    halves = Halves(2, masks, False)
    grid, shift = masks.draw(0, 1)
    both = np.concatenate([grid, grid]), np.concatenate([shift, shift])
    halves.add(*both, np.array([[1.0, 0.0], [1.0, 0.0]]))
    assert halves.errors() == [0.0, 0.0]
    first, second = halves.correlations()
    assert first == pytest.approx(1)
    assert second is None


def test_progress_is_told(cnn: onnx.ModelProto) -> None:
    told: list[tuple[int, int]] = []
    runtime = RunOptions(progress=lambda done, total: told.append((done, total)))
    problem = problem_of(cnn, np.repeat(X, 2, 0), "top:2", runtime=runtime)
    make("rise", {"masks": 300})(problem)
    assert {total for _, total in told} == {600}
    done = [d for d, _ in told]
    assert done == sorted(done)
    assert done[-1] == 600
    assert len(done) >= 10
    told.clear()
    make("rise", {"masks": 5000, "tolerance": 100.0})(problem)
    assert told[-1] == (10_000, 10_000)


def test_what_cannot_be_masked(parse: Parse, cnn: onnx.ModelProto) -> None:
    table = parse("m (float[N, 5] x) => (float[N, 3] y) { y = MatMul (x, w) }", w=np.ones((5, 3), np.float32))
    with pytest.raises(onnxray.OnnxrayError, match="rise masks images and the input is none"):
        onnxray.explain(table, np.ones((1, 5), np.float32), "rise", 0)
    with pytest.raises(onnxray.OnnxrayError, match="probability of rise must be a number from 0.01"):
        onnxray.explain(cnn, X, "rise", probability=0)
    with pytest.raises(onnxray.OnnxrayError, match="does not fit samples"):
        onnxray.explain(cnn, X, "rise", fill=np.zeros((4, 4)))


def test_scores_that_overflow(parse: Parse) -> None:
    proto = parse(
        """
        m (float[N, 1, 8, 8] image) => (float[N, 2] y)
        { f = Flatten (image) s = ReduceMin (f, axes) l = Log (s) y = Concat <axis = 1> (l, l) }
        """,
        axes=np.array([1]),
        opset=18,
    )
    with pytest.raises(onnxray.OnnxrayError, match="not a finite number for .* of 50 masked inputs"):
        onnxray.explain(proto, np.ones((1, 1, 8, 8), np.float32), "rise", 0, masks=50)


def test_every_model_gives_a_map_or_says_why_not(zoo_case: Path) -> None:
    """All frameworks, operators and dtypes of the zoo; what is no image is sent to another method in one line."""
    x = feeds_of(zoo_case)
    found: Any = ()
    said = ""
    try:
        found = onnxray.explain(zoo_case / "model.onnx", x, "rise", masks=6)
    except onnxray.OnnxrayError as error:
        said = str(error)
    assert "\n" not in said
    if said and "the input is none" not in said:
        # No target, no input to explain, a score that is not a number: every method says so.
        with pytest.raises(onnxray.OnnxrayError):
            onnxray.explain(zoo_case / "model.onnx", x, "ablation", segments="grid", grid=2)
    for e in found:
        assert e.values.shape == e.size
        assert np.isfinite(e.values).all()
        assert e.details["masks"] == 6
