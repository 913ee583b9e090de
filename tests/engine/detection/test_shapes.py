"""Masks and points of a detector's boxes against the formulas of their packages."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from onnxray.engine.detection.detections import found_in
from onnxray.engine.detection.emit import SIDES
from onnxray.engine.detection.shapes import PERSON
from onnxray.engine.detection.table import table_of
from onnxray.engine.graph.model import Model
from onnxray.engine.inference.session import run
from onnxray.engine.predict import detect

from . import shaped
from .families import SIZE, sigmoid


def photo(seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (1, 3, *SIZE)).astype(np.float32)


@pytest.mark.parametrize("make", [shaped.segmenting, shaped.segmenting_end_to_end])
def test_masks_are_coefficients_times_prototypes(make: Callable[[], Model]) -> None:
    model = make()
    table = table_of(model)
    assert "6 coefficients of masks, of the prototypes 'output1'" in table.reason
    got = run(table.model, {"image": photo()})
    found = found_in(table, got, 0, score=0.2)
    rows = got["output0"][0]
    rows = rows.T if rows.shape[0] == 13 else rows
    assert found.masks is not None
    for d, mask in zip(found, found.masks, strict=True):
        logits = np.tensordot(rows[d.candidate, -6:], got["output1"][0], 1)
        np.testing.assert_allclose(mask.logits, logits, rtol=1e-4, atol=1e-5)
        whole = cv2.resize(logits, SIZE[::-1], interpolation=cv2.INTER_LINEAR) > 0
        y, x = np.mgrid[: SIZE[0], : SIZE[1]]
        y0, x0, y1, x1 = d.box
        inside = (y >= np.floor(y0)) & (y < np.ceil(y1)) & (x >= np.floor(x0)) & (x < np.ceil(x1))
        assert np.mean(mask.pixels != (whole & inside)) < 0.002


@pytest.mark.parametrize("numbers", [2, 3])
def test_points_are_read_in_pixels(numbers: int) -> None:
    table = table_of(shaped.posing(numbers))
    got = run(table.model, {"image": photo()})
    found = found_in(table, got, 0, score=0.2)
    assert found.point_names == PERSON
    assert found.points is not None
    wanted = got["output0"][0, 5:].T[found.candidates].reshape(-1, 17, numbers)
    np.testing.assert_allclose(found.points[..., 0], wanted[..., 1], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found.points[..., 1], wanted[..., 0], rtol=1e-5, atol=1e-4)
    if numbers == 3:
        np.testing.assert_allclose(found.points[..., 2], wanted[..., 2], atol=1e-5)
    else:
        assert np.isnan(found.points[..., 2]).all()
    entry = found.to_mapping()[0]["points"][9]
    assert entry["name"] == "left_wrist"
    assert ("score" in entry) == (numbers == 3)


def test_queries_have_the_box_around_their_mask() -> None:
    table = table_of(shaped.queries())
    assert table.layout.rule == "query-masks"
    got = run(table.model, {"image": photo()})
    boxes = np.zeros((12, 4))
    for box, mask in zip(boxes, got["masks_queries_logits"][0] > 0, strict=True):
        y, x = np.nonzero(mask)
        if len(y):
            box[:] = x.min() * 8, y.min() * 8, (x.max() + 1) * 8, (y.max() + 1) * 8
    np.testing.assert_allclose(got[SIDES][0], boxes, atol=1e-4)
    empty = np.flatnonzero(~boxes.any(axis=1))
    assert len(empty)
    assert not set(found_in(table, got, 0, score=0.01).candidates) & set(empty)


def test_masks_of_what_is_left_are_probabilities() -> None:
    model = shaped.mask_rcnn()
    table = table_of(model)
    assert "'masks' has a mask for each" in table.reason
    got = run(table.model, {"image": photo()})
    found = found_in(table, got, 0, score=0.1)
    assert found.masks is not None
    for d, mask in zip(found, found.masks, strict=True):
        np.testing.assert_allclose(sigmoid(mask.logits), got["masks"][d.candidate, 0], atol=1e-5)


def test_masks_lie_on_the_original_image() -> None:
    model = shaped.segmenting()
    model = Model(model.proto, overrides={**model.overrides, "resize": "letterbox", "detector": {"threshold": 0.2}})
    image = np.random.default_rng(5).integers(0, 256, (200, 150, 3)).astype(np.uint8)
    found = detect(model, image)
    assert found.masks is not None
    for d, mask in zip(found, found.masks, strict=True):
        assert mask.pixels.shape == (200, 150)
        y, x = np.nonzero(mask.pixels)
        if len(y):
            assert y.min() >= np.floor(d.box[0]) - 1e-3
            assert x.max() < np.ceil(d.box[3]) + 1e-3
