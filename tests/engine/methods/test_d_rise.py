"""D-RISE against the paper's formula in NumPy with the same masks, and on two copies of an object."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from onnxray.engine.detection.detections import Detection
from onnxray.engine.errors import MethodError
from onnxray.engine.explain import explain, problem_of
from onnxray.engine.graph.model import Model
from onnxray.engine.inference.session import run
from onnxray.engine.load import load
from onnxray.kernels.masks import Rise as Masks
from onnxray.tests.engine.detection import families

MASKS, CELLS = 60, 5


def loaded(make: Callable[[], families.Family]) -> Model:
    model = make().model
    return Model(model.proto, overrides={**model.overrides, "detector": {"threshold": 0.15}})


def photo() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (64, 96, 3)).astype(np.uint8)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(w, 0) * max(h, 0)
    return float(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))


def by_hand(family: families.Family, model: Model, box: Detection, cosine: bool) -> np.ndarray:
    """Equations 2 to 4 of the paper, mask by mask and candidate by candidate, of the family's own boxes and scores."""
    x = problem_of(model, photo(), "box").input.x

    def candidates(image: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, float]]:
        """Corners, probabilities of the classes and objectness of each candidate."""
        outputs = run(family.model, {"image": image})
        boxes, scores = family.decode(outputs)
        sure = outputs["output0"][0, :, 4] if family.name == "yolo5" else scores.max(axis=1)
        return list(zip(boxes, scores, sure, strict=True))

    wanted, own, _ = candidates(x)[box.candidate]
    masks = Masks((64, 96), CELLS, 0.5, 0)
    grids, shifts = masks.draw(0, MASKS)
    total = np.zeros((64, 96))
    height, width = masks.cell
    full = ((CELLS + 1) * width, (CELLS + 1) * height)
    for grid, (y, left) in zip(grids, shifts, strict=True):
        mask = cv2.resize(grid, full, interpolation=cv2.INTER_LINEAR)[y : y + 64, left : left + 96]
        best = 0.0
        for corners, p, sure in candidates(x * mask):
            alike = p @ own / np.linalg.norm(p) / np.linalg.norm(own) * sure if cosine else p[box.label]
            best = max(best, overlap(wanted, corners) * alike)
        total += best * mask
    return total / (0.5 * MASKS)


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("make", [families.yolo8, families.ssd, families.yolo5])
def test_it_is_the_papers_formula(make: Callable[[], families.Family], cosine: bool) -> None:
    model = loaded(make)
    found = explain(model, photo(), "d-rise", "box:top:2", masks=MASKS, cells=CELLS, cosine=cosine)
    for e in found:
        np.testing.assert_allclose(e.values, by_hand(make(), model, e.target.found, cosine), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("method", "options"), [("hires-cam", {}), ("layer-cam", {}), ("d-rise", {"masks": 600})])
def test_each_of_two_copies_of_an_object_has_its_own_map(zoo: Path, method: str, options: dict[str, int]) -> None:
    """One face twice in a picture: what explains the box of one lies on that one."""
    photograph = cv2.imread(str(zoo / "images/photos/face.jpg"))[..., ::-1]
    face = cv2.resize(photograph, (140, 140 * photograph.shape[0] // photograph.shape[1]))
    picture = np.full((240, 320, 3), 128, np.uint8)
    picture[20 : 20 + len(face), 10:150] = picture[20 : 20 + len(face), 170:310] = face
    model = load(zoo / "models/ultraface_rfb_320.onnx")
    both = explain(model, picture, method, "box:top:2", **options)
    places = [tuple(map(int, e.target.found.box)) for e in both]
    assert abs(places[0][1] - places[1][1]) == pytest.approx(160, abs=2)
    for e, (own, other) in zip(both, (places, places[::-1]), strict=True):
        heat = np.maximum(e.heatmap, 0)
        on_own, on_other = (float(heat[y0:y1, x0:x1].sum()) for y0, x0, y1, x1 in (own, other))
        assert on_own > 0
        assert on_own >= 5 * on_other


def test_several_boxes_are_explained_as_each_alone() -> None:
    model = loaded(families.fcos)
    both = explain(model, photo(), "d-rise", "box:top:2", masks=MASKS, cells=CELLS)
    alone = explain(model, photo(), "d-rise", "box:2", masks=MASKS, cells=CELLS)
    np.testing.assert_array_equal(both[1].values, alone.values)


def test_final_tables_match_boxes_of_their_class() -> None:
    e = explain(loaded(families.end_to_end), photo(), "d-rise", "box", masks=MASKS, cells=CELLS)
    assert np.isfinite(e.values).all()
    assert e.values.max() > 0


@pytest.mark.parametrize("make", [families.end_to_end, families.centerface])
def test_there_is_no_cosine_of_one_probability(make: Callable[[], families.Family]) -> None:
    """The option had no effect, without a word."""
    with pytest.raises(MethodError, match="one probability a box: leave cosine out"):
        explain(loaded(make), photo(), "d-rise", "box", masks=MASKS, cells=CELLS, cosine=True)


def test_only_boxes_are_explained() -> None:
    with pytest.raises(MethodError, match="explains boxes of a detector"):
        explain(loaded(families.yolo8), photo(), "d-rise", "mean:output0")


@pytest.mark.parametrize("make", [families.end_to_end, families.tensorflow])
def test_rows_of_a_final_table_are_said_to_change(make: Callable[[], families.Family]) -> None:
    model, image = loaded(make), photo()
    for method, options in (("occlusion", {"patch": 32, "stride": 32}), ("rise", {"masks": 8}), ("ablation", {})):
        found = explain(model, image, method, target="box", **options)
        assert any("the row of this box may hold another box; d-rise finds" in text for text in found.warnings), method
    for method, options in (("d-rise", {"masks": 8}), ("gradient", {})):
        found = explain(model, image, method, target="box", **options)
        assert not any("another box" in text for text in found.warnings), method
    steady = explain(loaded(families.yolo8), image, "occlusion", target="box", patch=32, stride=32)
    assert not any("another box" in text for text in steady.warnings)
