"""Masks and points of boxes as targets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnxray.engine.compile import compile as compiled
from onnxray.engine.detection.shapes import MASKS, PERSON
from onnxray.engine.errors import MethodError, TargetError, UnknownName
from onnxray.engine.explain import explain, problem_of
from onnxray.engine.graph.model import Model
from onnxray.engine.inference.session import run
from onnxray.engine.predict import detect
from onnxray.engine.targets.target import Target
from onnxray.tests.engine.detection import families, shaped


def loaded(make: Callable[[], Model]) -> Model:
    model = make()
    return Model(model.proto, overrides={**model.overrides, "detector": {"threshold": 0.15}})


def photo() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (64, 96, 3)).astype(np.uint8)


MASK = ("box:mask", "box:2:mask", "box:cat:2:mask", "box:top:3:mask", "box:1,2,30,40:mask")
POINT = ("box:point:nose", "box:2:point:left_wrist:x", "box:point:3:y", "box:all:point:3", "box:at:3,4:point:0")


@pytest.mark.parametrize("text", MASK + POINT)
def test_texts_read_back(text: str) -> None:
    assert str(Target.parse(text)) == text


def test_the_function_of_python_is_the_text() -> None:
    assert Target.detection(2, point="nose", side="x") == Target.parse("box:2:point:nose:x")
    assert Target.detection(mask=True) == Target.parse("box:mask")


@pytest.mark.parametrize("text", ["box:point:nose:z", "box:point:nose:x:y", "box:side=x", "box:a:b:mask"])
def test_texts_that_are_none(text: str) -> None:
    with pytest.raises(TargetError):
        Target.parse(text)


@pytest.mark.parametrize("make", [shaped.segmenting, shaped.segmenting_end_to_end, shaped.queries, shaped.mask_rcnn])
def test_the_score_is_the_mean_logit_of_the_mask(make: Callable[[], Model]) -> None:
    model = loaded(make)
    found = detect(model, photo())
    e = explain(model, photo(), "gradient", "box:mask")
    assert found.masks is not None
    cells = found.masks[0].cells()
    assert e.score == pytest.approx(float(found.masks[0].logits[cells].mean()), rel=1e-4)
    assert e.label.startswith("mask of class")


@pytest.mark.parametrize("target", ["box:mask", "box:2:mask"])
def test_the_gradient_of_a_mask_is_its_derivative(target: str) -> None:
    problem = problem_of(loaded(shaped.segmenting), photo(), target)
    gradient = problem.gradients.by(["image"])["image"][0]
    index = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
    weights = problem.target.cotangents(problem.runs.activations([MASKS])[MASKS])[0]
    ends = []
    for step in (0.01, -0.01):
        moved = problem.input.x.copy()
        moved[(0, *index)] += step
        ends.append(float((run(problem.model, {"image": moved}, [MASKS])[MASKS][0].astype(float) * weights).sum()))
    assert (ends[0] - ends[1]) / 0.02 == pytest.approx(gradient[index], rel=0.05)


def test_masks_of_several_boxes_and_images_are_those_of_each_alone() -> None:
    model = loaded(shaped.segmenting)
    both = explain(model, photo(), "gradient", "box:top:3:mask")
    for k, e in enumerate(both, 1):
        alone = explain(model, photo(), "gradient", f"box:{k}:mask" if k > 1 else "box:mask")
        np.testing.assert_allclose(e.values, alone.values, rtol=1e-4, atol=1e-6)
        assert e.score == pytest.approx(alone.score, rel=1e-5)


def test_points_are_explained_by_logit_and_by_place() -> None:
    model = loaded(shaped.posing)
    found = detect(model, photo())
    assert found.points is not None
    y, x, p = found.points[1, PERSON.index("left_wrist")]
    seen = explain(model, photo(), "gradient", "box:2:point:left_wrist")
    assert seen.score == pytest.approx(np.log(p / (1 - p)), abs=1e-3)
    assert seen.label.startswith("left_wrist of class 0")
    by_number = explain(model, photo(), "gradient", "box:2:point:9")
    np.testing.assert_array_equal(seen.values, by_number.values)
    for side, wanted in (("x", x), ("y", y)):
        e = explain(model, photo(), "gradient", f"box:2:point:left_wrist:{side}")
        assert e.score == pytest.approx(wanted, abs=1e-2)  # the image is as large as the plane


@pytest.mark.parametrize(("make", "target"), [(shaped.segmenting, "box:mask"), (shaped.posing, "box:point:nose")])
def test_the_layer_has_a_slope_in_many_cells(make: Callable[[], Model], target: str) -> None:
    model = loaded(make)
    e = explain(model, photo(), "hires-cam", target)
    layer = next(layer for layer in model.layers if layer.name == e.layer)
    problem = problem_of(model, photo(), target)
    gradient = problem.gradients.by([layer.output])[layer.output]
    assert int((gradient[0] != 0).any(axis=0).sum()) >= min(9, gradient[0, 0].size)


def test_points_are_explained_in_a_graph_masks_are_not() -> None:
    model = loaded(shaped.posing)
    x = problem_of(model, photo(), "box").input.x
    got = run(compiled(model, "gradient", target="box:point:nose:x"), {"image": x})
    e = explain(model, {"image": x}, "gradient", "box:point:nose:x")
    np.testing.assert_allclose(got["saliency_map"], e.values[None], atol=1e-5)
    with pytest.raises(TargetError, match="a graph cannot choose the mask of a box"):
        compiled(loaded(shaped.segmenting), "gradient", target="box:mask")


def test_what_a_detector_does_not_have_is_said() -> None:
    plain = Model(families.yolo8().model.proto, overrides={"std": 255, "detector": {"threshold": 0.15}})
    with pytest.raises(TargetError, match="has no masks: explain the box without :mask"):
        explain(plain, photo(), "gradient", "box:mask")
    with pytest.raises(TargetError, match="finds no points: explain the box without :point"):
        explain(plain, photo(), "gradient", "box:point:nose")
    with pytest.raises(UnknownName, match="elbow"):
        explain(loaded(shaped.posing), photo(), "gradient", "box:point:elbow")
    with pytest.raises(TargetError, match="does not say how sure it is of a point: explain point:nose:x or"):
        explain(loaded(lambda: shaped.posing(2)), photo(), "gradient", "box:point:nose")
    with pytest.raises(MethodError, match="d-rise explains that a box is found"):
        explain(loaded(shaped.segmenting), photo(), "d-rise", "box:mask")
