"""The inputs that coalitions make, with every fill, in every layout and type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.attribution.baselines import baseline, inpainted
from onnxray.engine.attribution.coalitions import Coalitions, fills_of, fit_quality
from onnxray.engine.attribution.problem import Problem
from onnxray.engine.attribution.segments import features_of
from onnxray.engine.explain import problem_of
from onnxray.engine.inference.batches import RunOptions
from onnxray.engine.methods.registry import make
from onnxray.tests.rounding import ROUNDING, apart

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(8)
LABELS = np.array([[0, 0, 1, 1, -1], [2, 2, 1, 3, 3], [2, 0, 0, 3, 3]])
KEEP = np.array([[True, False, True, False], [False] * 4, [True] * 4, [False, True, True, True]])


def coalitions(problem: Problem, segments: Any, fill: Any) -> list[Coalitions]:
    features = features_of(problem, segments, 2, 10.0)
    fills = fills_of(problem, features, fill, 0)
    return [Coalitions(problem, i, f, fills[i]) for i, f in enumerate(features)]


@pytest.fixture(params=["NCHW", "NHWC", "NCHW float16", "NHWC uint8", "NCHW double"])
def problem(request: pytest.FixtureRequest, parse: Parse) -> Problem:
    layout, _, kind = request.param.partition(" ")
    shape = "N, 2, 3, 5" if layout == "NCHW" else "N, 3, 5, 2"
    names = {
        "": ("float", np.float32),
        "float16": ("float16", np.float16),
        "uint8": ("uint8", np.uint8),
        "double": ("double", np.float64),
    }
    name, dtype = names[kind]
    model = onnxray.load(
        parse(f"m ({name}[{shape}] x) => (float[N, 30] y) {{ a = Cast <to = 1> (x) y = Flatten (a) }}"), layout=layout
    )
    size = (2, *(int(d) for d in shape.split(", ")[1:]))
    x = RNG.integers(0, 256, size).astype(dtype) if kind == "uint8" else RNG.standard_normal(size).astype(dtype)
    return problem_of(model, {"x": x}, 7)


def on_sample(problem: Problem, plane: np.ndarray) -> np.ndarray:
    """(..., H, W) -> with the channel axis where the sample has it."""
    return plane[..., None, :, :] if problem.input.layout == "NCHW" else plane[..., None]


@pytest.mark.parametrize("fill", ["zero", "mean", "noise", "blur", 3.0, "segment-mean", "inpaint"])
def test_hidden_pixels_hold_the_fill_and_all_others_the_input(problem: Problem, fill: Any) -> None:
    seen = np.concatenate([KEEP, np.ones((4, 1), bool)], axis=1)[:, LABELS]
    for i, c in enumerate(coalitions(problem, LABELS, fill)):
        x = problem.input.x[i]
        made = c.inputs(KEEP)
        assert made.dtype == x.dtype
        axes = (1, 2) if problem.input.layout == "NCHW" else (0, 1)
        if fill == "inpaint":
            expected = inpainted(x, axes, ~seen)
        elif fill == "segment-mean":
            expected = np.broadcast_to(x, (4, *x.shape)).copy()
            for label in range(4):
                mask = np.broadcast_to(on_sample(problem, label == LABELS), x.shape)
                mean = np.where(mask, x.astype(float), 0).sum(axis=axes, keepdims=True) / (label == LABELS).sum()
                expected = np.where(
                    on_sample(problem, ~seen & (label == LABELS)), np.broadcast_to(mean, x.shape), expected
                )
            if x.dtype.kind == "u":
                expected = np.rint(expected)
        else:
            expected = np.where(on_sample(problem, seen), x, baseline(problem, fill, 0)[i])
        assert np.allclose(made.astype(float), expected.astype(float), atol=1e-3)
        kept = np.broadcast_to(on_sample(problem, seen), made.shape)
        assert np.array_equal(made[kept], np.broadcast_to(x, made.shape)[kept])
        assert np.array_equal(made[2], x)


def test_scores_are_those_of_these_inputs(problem: Problem) -> None:
    for i, c in enumerate(coalitions(problem, LABELS, "zero")):
        made = c.inputs(KEEP)
        assert np.allclose(c.scores(KEEP)[:, 0], made.reshape(4, -1)[:, 7].astype(float))
        assert c.clean[0] == pytest.approx(float(problem.input.x[i].reshape(-1)[7]))
        alone = c.scores_without()
        assert np.allclose(alone, c.scores(~np.eye(4, dtype=bool)))


def test_shares_mix_input_and_fill(problem: Problem) -> None:
    shares = RNG.random((3, 4))
    for i, c in enumerate(coalitions(problem, LABELS, 5.0)):
        m = on_sample(problem, np.concatenate([shares, np.ones((3, 1))], axis=1)[:, LABELS])
        expected = 5 + m * (problem.input.x[i].astype(float) - 5)
        made = c.inputs(shares)
        assert made.dtype == problem.input.x.dtype
        assert np.allclose(made.astype(float), expected, atol=0.51 if made.dtype == np.uint8 else 0.01)


def test_fills_of_images_need_segments_of_images(problem: Problem) -> None:
    for fill in ("inpaint", "segment-mean"):
        with pytest.raises(onnxray.OnnxrayError, match="is for segments of an image"):
            coalitions(problem, "elements", fill)


def test_inpainting_shows_what_surrounds_a_hidden_part(cnn: onnx.ModelProto) -> None:
    """On a flat picture nothing is lost by hiding: the drop is 0 everywhere."""
    x = np.broadcast_to(np.float32([[[0.5]], [[-1]], [[2]]]), (1, 3, 16, 16)).copy()
    e = onnxray.explain(cnn, x, "ablation", 1, segments="grid", grid=4, fill="inpaint")
    assert np.abs(e.values).max() < 1e-4
    assert np.abs(onnxray.explain(cnn, x, "ablation", 1, segments="grid", grid=4, fill="zero").values).max() > 0.01


def test_several_targets_share_the_runs(cnn: onnx.ModelProto) -> None:
    x = RNG.standard_normal((2, 3, 16, 16)).astype(np.float32)
    together = coalitions(problem_of(cnn, x, "classes:0,3,4"), "grid", "zero")
    for k, target in enumerate((0, 3, 4)):
        for alone, several in zip(coalitions(problem_of(cnn, x, target), "grid", "zero"), together, strict=True):
            assert apart(several.scores(KEEP)[:, k], alone.scores(KEEP)[:, 0]) <= ROUNDING


def test_scores_that_are_not_finite_are_refused(parse: Parse) -> None:
    model = parse("m (float[N, 3] x) => (float[N, 3] y) { y = Log (x) }")
    problem = problem_of(model, np.ones((1, 3), np.float32), 1)
    for name in ("ablation", "lime", "kernel-shap", "sobol"):
        with pytest.raises(onnxray.OnnxrayError, match=r"not a finite number for \d+ of \d+ inputs.*another fill"):
            onnxray.explain(model, np.ones((1, 3), np.float32), name, 1, fill=-1.0)
    assert np.isfinite(problem.scores).all()
    with pytest.raises(onnxray.OnnxrayError, match="overflows on this input"):
        onnxray.explain(model, -np.ones((1, 3), np.float32), "ablation", 1)


def test_fills_of_a_wrong_shape(cnn: onnx.ModelProto) -> None:
    x = np.ones((1, 3, 16, 16), np.float32)
    with pytest.raises(onnxray.OnnxrayError, match=r"does not fit samples of shape \[3, 16, 16\]"):
        onnxray.explain(cnn, x, "lime", fill=np.zeros((4, 4)))
    with pytest.raises(onnxray.OnnxrayError, match="nearest: 'zero'"):
        onnxray.explain(cnn, x, "lime", fill="zeros")


def test_the_quality_of_a_fit() -> None:
    y, weights = RNG.standard_normal(20), RNG.random(20)
    assert fit_quality(y, y, weights) == 1
    assert fit_quality(y, np.full(20, np.average(y, weights=weights)), weights) == pytest.approx(0)
    assert fit_quality(np.full(20, 3.0), np.full(20, 3.0), weights) == 1


def test_progress_is_told(cnn: onnx.ModelProto) -> None:
    told: list[tuple[int, int]] = []
    x = np.ones((1, 3, 16, 16), np.float32)
    runtime = RunOptions(batch=10, progress=lambda done, total: told.append((done, total)))
    make("ablation", {"segments": "grid", "grid": 6})(problem_of(cnn, x, 1, runtime=runtime))
    assert {total for _, total in told} == {36}
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (36, 36)
    assert len(told) == 4
