"""Boxes of detectors in compiled models: chosen in the graph, the map that `explain` gives, the box with it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnxray.engine.compile import compile as compiled
from onnxray.engine.errors import TargetError
from onnxray.engine.explain import explain, problem_of
from onnxray.engine.graph.model import Model
from onnxray.engine.inference.session import run
from onnxray.engine.predict import detect
from onnxray.tests.engine.detection import families


def loaded(make: Callable[[], families.Family]) -> Model:
    model = make().model
    return Model(model.proto, overrides={**model.overrides, "detector": {"threshold": 0.1}})


@pytest.mark.parametrize("make", [families.yolo8, families.ssd, families.yolo5, families.fcos, families.nms_in_graph])
def test_the_most_certain_box_is_explained_in_the_graph(make: Callable[[], families.Family]) -> None:
    model = loaded(make)
    x = problem_of(model, np.random.default_rng(5).integers(0, 256, (64, 96, 3)).astype(np.uint8), "box").input.x
    file = compiled(model, "gradient", target="box")
    got, plain = run(file, {"image": x}), run(model, {"image": x})
    for name, values in plain.items():
        np.testing.assert_allclose(got[name], values, rtol=1e-5, atol=1e-6)
    best = detect(model, {"image": x})[0]
    np.testing.assert_allclose(got["explained_box"][0, :4], best.box, atol=1e-3)
    assert got["explained_box"][0, 4] == pytest.approx(best.score, abs=1e-5)
    assert got["explained_box"][0, 5] == best.label
    np.testing.assert_allclose(
        got["saliency_map"], explain(model, {"image": x}, "gradient", "box").values[None], atol=1e-6
    )


@pytest.mark.parametrize("target", ["box:2", "box:4", "box:class=1:2"])
@pytest.mark.parametrize(
    "make",
    [
        *(families.yolo8, families.ssd, families.yolo5, families.fcos, families.nms_in_graph, families.centernet),
        families.end_to_end,
    ],
)
def test_boxes_behind_the_most_certain_are_those_of_explain(make: Callable[[], families.Family], target: str) -> None:
    model = make().model
    model = Model(model.proto, overrides={**model.overrides, "detector": {"threshold": 1e-3, "nms": 0.3}})
    photo = np.random.default_rng(5).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    x = problem_of(model, photo, "box").input.x
    file, e = compiled(model, "gradient", target=target), explain(model, {"image": x}, "gradient", target)
    got = run(file, {"image": x})
    np.testing.assert_allclose(got["explained_box"][0, :4], e.target.found.box, atol=1e-3)
    assert got["explained_box"][0, 4] == pytest.approx(e.target.found.score, abs=1e-5)
    assert got["explained_box"][0, 5] == e.target.found.label
    np.testing.assert_allclose(got["saliency_map"], e.values[None], atol=1e-5)


@pytest.mark.parametrize("make", [families.end_to_end, families.tensorflow])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_boxes_of_a_class_of_a_final_table_are_those_of_explain(
    make: Callable[[], families.Family], label: int
) -> None:
    """A column names the class: class 0 was taken for any class."""
    model = make().model
    model = Model(model.proto, overrides={**model.overrides, "detector": {"threshold": 1e-3}})
    photo = np.random.default_rng(5).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    x = problem_of(model, photo, "box").input.x
    there = [d.label for d in detect(model, {"image": x})]
    got = run(compiled(model, "gradient", target=f"box:class={label}"), {"image": x})
    if label not in there:
        assert not got["explained_box"].any()
        return
    e = explain(model, {"image": x}, "gradient", f"box:class={label}")
    np.testing.assert_allclose(got["explained_box"][0, :4], e.target.found.box, atol=1e-3)
    assert got["explained_box"][0, 5] == label
    np.testing.assert_allclose(got["saliency_map"], e.values[None], atol=1e-5)


@pytest.mark.parametrize("method", ["gradient", "hires-cam", "grad-cam"])
def test_a_box_that_the_image_does_not_have_is_zeros(method: str) -> None:
    """All boxes were mixed."""
    model = families.end_to_end().model
    photo = np.random.default_rng(5).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    x = problem_of(model, photo, "box").input.x
    labels = np.rint(run(model, {"image": x})["output0"][0, :, 5])
    few = int(np.argmin(np.bincount(labels.astype(int), minlength=3)))
    rank = int((labels == few).sum()) + 1
    assert rank <= 20
    got = run(compiled(model, method, target=f"box:class={few}:{rank}"), {"image": x})
    assert not got["explained_box"].any()
    assert not got["saliency_map"].any()


@pytest.mark.parametrize("label", range(5))
@pytest.mark.parametrize("make", [families.yolo8, families.yolo5, families.centernet])
def test_the_first_box_of_a_class_is_that_of_explain(make: Callable[[], families.Family], label: int) -> None:
    """The best class of a candidate alone, as behind the first: the first box of a class was any candidate's."""
    model = make().model
    model = Model(model.proto, overrides={**model.overrides, "detector": {"threshold": 1e-6}})
    photo = np.random.default_rng(5).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    x = problem_of(model, photo, "box").input.x
    if label >= make().decode(run(model, {"image": x}))[1].shape[1]:
        return
    got = run(compiled(model, "gradient", target=f"box:class={label}"), {"image": x})["explained_box"][0]
    of_class = [d for d in detect(model, {"image": x}) if d.label == label]
    if not of_class:
        assert not got.any()
        return
    np.testing.assert_allclose(got[:4], of_class[0].box, atol=1e-3)
    assert got[4] == pytest.approx(of_class[0].score, abs=1e-6)
    assert got[5] == label


def test_a_graph_chooses_no_box_far_behind() -> None:
    with pytest.raises(TargetError, match="the 20 most certain boxes: use explain for box:21"):
        compiled(loaded(families.yolo8), "gradient", target="box:21")


@pytest.mark.parametrize("method", ["hires-cam", "grad-cam", "layer-cam"])
@pytest.mark.parametrize("make", [families.yolo8, families.yolo5, families.fcos, families.ssd, families.nanodet])
def test_class_activation_maps_are_those_of_explain(make: Callable[[], families.Family], method: str) -> None:
    """The maps of other levels, which the box's score may depend on as well, were mixed in."""
    model = loaded(make)
    file = compiled(model, method, target="box")
    for seed in range(4):
        photo = np.random.default_rng(seed).integers(0, 256, (64, 96, 3)).astype(np.uint8)
        x = problem_of(model, photo, "box").input.x
        e = explain(model, {"image": x}, method, "box")
        got = run(file, {"image": x})["saliency_map"][0, 0]
        np.testing.assert_allclose(got, e.heatmap, atol=2e-4 * np.abs(e.heatmap).max())
        assert e.target.found.level is not None  # else nothing is chosen by the level


def test_with_preprocessing_the_box_lies_on_the_image() -> None:
    model = loaded(families.yolo8)
    photo = np.random.default_rng(5).integers(0, 256, (150, 200, 3)).astype(np.uint8)
    for resize in ("stretch", "letterbox"):
        model = Model(model.proto, overrides={**model.overrides, "resize": resize})
        file = compiled(model, "gradient", target="box", preprocess=True)
        got = run(file, {file.inputs[0].name: photo})["explained_box"][0]
        best = detect(model, photo)[0]
        np.testing.assert_allclose(got[:4], best.box, atol=0.1)
        assert got[4] == pytest.approx(best.score, abs=1e-3)


def test_boxes_of_a_class_and_those_that_no_graph_chooses() -> None:
    model = loaded(families.yolo8)
    x = problem_of(model, np.random.default_rng(5).integers(0, 256, (64, 96, 3)).astype(np.uint8), "box").input.x
    got = run(compiled(model, "gradient", target="box:class=2"), {"image": x})["explained_box"][0]
    assert got[5] == 2
    with pytest.raises(TargetError, match="several"):
        compiled(model, "gradient", target="box:top:3")
    with pytest.raises(TargetError, match="by its rank"):
        compiled(model, "gradient", target="box:at:10,10")
