"""Boxes of detectors as targets: which one, what of it, at which layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from onnxray.engine.detection.emit import LOGITS, SIDES
from onnxray.engine.detection.table import table_of
from onnxray.engine.errors import TargetError, UnknownName
from onnxray.engine.explain import explain, problem_of
from onnxray.engine.graph.model import Model
from onnxray.engine.inference.session import run
from onnxray.engine.predict import detect
from onnxray.engine.targets.target import Target
from onnxray.tests.engine.detection import families


def loaded(make: Callable[[], families.Family] = families.yolo8, **options: Any) -> Model:
    model = make().model
    return Model(model.proto, overrides={**model.overrides, "detector": {"threshold": 0.15}, **options})


def photo() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (64, 96, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    "text",
    [
        *("box", "box:2", "box:cat", "box:cat:2", "box:class=3", "box:class=3:2", "box:at:10,20", "box:1,2,30,40"),
        *(
            "box:1,2,30,40:cat",
            "box:side=x1",
            "box:2:side=w",
            "box:cat:objectness",
            "box:top:3",
            "box:all",
            "box:all:cat",
        ),
        "box:top:2:side=h",
    ],
)
def test_texts_read_back(text: str) -> None:
    target = Target.parse(text)
    assert str(target) == text
    assert Target.parse(str(target)) == target


@pytest.mark.parametrize("text", ["box:side=z", "box:0", "box:cat:dog:2", "box:5,5,1,1", "box:top:0", "box:at:1"])
def test_texts_that_are_none(text: str) -> None:
    with pytest.raises(TargetError):
        Target.parse(text)


@pytest.mark.parametrize("make", [families.yolo8, families.ssd, families.yolo5, families.fcos, families.nms_in_graph])
def test_the_score_is_the_logit_of_the_box(make: Callable[[], families.Family]) -> None:
    model = loaded(make)
    found = detect(model, photo())
    assert len(found)
    e = explain(model, photo(), "gradient", "box")
    table = table_of(model)
    tensor = problem_of(model, photo(), "box").input.x
    logits = run(table.model, {"image": tensor})[LOGITS]
    assert e.score == pytest.approx(logits[0, found.candidates[0], found.labels[0]], rel=1e-5)
    assert e.target.found.candidate == found.candidates[0]
    assert e.target.found.box == pytest.approx(tuple(found.boxes[0]))
    assert f"{100 * found.scores[0]:.1f} %" in e.label


def test_sides_are_explained_by_their_derivative() -> None:
    model = loaded()
    problem = problem_of(model, photo(), "box:side=w")
    gradient = problem.gradients.by(["image"])["image"][0]
    index = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
    ends = []
    for step in (0.01, -0.01):
        moved = problem.input.x.copy()
        moved[(0, *index)] += step
        box = run(problem.model, {"image": moved})[SIDES][0, problem.targets[0].found.candidate]  # type: ignore[attr-defined]
        ends.append(float(box[2] - box[0]))
    assert (ends[0] - ends[1]) / 0.02 == pytest.approx(gradient[index], rel=0.05)


def test_boxes_share_one_problem() -> None:
    found = explain(loaded(), photo(), "gradient", "box:top:3")
    assert [str(e.target) for e in found] == ["box", "box:2", "box:3"]
    alone = explain(loaded(), photo(), "gradient", "box:2")
    np.testing.assert_allclose(found[1].values, alone.values, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("make", families.FAMILIES)
def test_three_boxes_are_the_default_of_a_detector(make: Callable[[], families.Family]) -> None:
    model = loaded(make)
    count = len(detect(model, photo()))
    if not count:
        with pytest.raises(TargetError, match="no box is certain enough: the best candidate has"):
            explain(model, photo(), "gradient")
        return
    found = explain(model, photo(), "gradient")
    parts = list(found) if min(count, 3) > 1 else [found]
    assert len(parts) == min(count, 3)
    assert parts[0].details["target"].startswith("the three most certain boxes, as the model is a detector; ")


def test_places_and_overlaps_find_the_box() -> None:
    model = loaded()
    found = detect(model, photo())
    box = found[3]
    y, x = (box.box[0] + box.box[2]) / 2, (box.box[1] + box.box[3]) / 2
    at = explain(model, photo(), "gradient", f"box:at:{y},{x}").target.found
    assert at.box[0] <= y <= at.box[2]
    assert at.box[1] <= x <= at.box[3]
    edges = tuple(round(e, 1) for e in box.box)
    like = explain(model, photo(), "gradient", Target.detection(edges=edges)).target.found
    assert like.candidate == box.candidate


def test_what_is_not_there_is_said_with_the_nearest() -> None:
    model = loaded(labels=("ant", "bee", "cat", "dog", "elk"))
    with pytest.raises(TargetError, match=r"no box overlaps 0,0,1,1 by 0.3 or more: the nearest one is \w+ at"):
        explain(model, photo(), "gradient", "box:0,0,1,1")
    with pytest.raises(UnknownName, match="cow"):
        explain(model, photo(), "gradient", "box:cow")
    with pytest.raises(TargetError, match="there is no box 500: the image has"):
        explain(model, photo(), "gradient", "box:500")
    with pytest.raises(TargetError, match="no objectness"):
        explain(model, photo(), "gradient", "box:objectness")
    sure = Model(model.proto, overrides={**model.overrides, "detector": {"threshold": 1.0}})
    with pytest.raises(TargetError, match="no box is certain enough: the best candidate has a probability of"):
        explain(sure, photo(), "gradient", "box")
    with pytest.raises(TargetError, match="no labels"):
        explain(loaded(), photo(), "gradient", "box:cat")


@pytest.mark.parametrize("make", [families.yolo8, families.ssd, families.yolo5, families.yolox, families.fcos])
def test_the_layer_is_a_map_with_a_slope_in_many_cells(make: Callable[[], families.Family]) -> None:
    model = loaded(make)
    problem = problem_of(model, photo(), "box")
    e = explain(model, photo(), "hires-cam", "box")
    assert "descend from" in e.reason
    layer = next(layer for layer in problem.model.layers if layer.name == e.layer)
    gradient = problem.gradients.by([layer.output])[layer.output]
    places = int((gradient[0] != 0).any(axis=0).sum())
    assert places >= min(9, gradient[0, 0].size)


def test_titles_have_the_label_once_it_is_known() -> None:
    box = Target.detection()
    found = detect(loaded(), photo())
    assert replace(box, found=found[0], among=found).title.startswith(f"class {found.labels[0]} ")  # type: ignore[type-var]
