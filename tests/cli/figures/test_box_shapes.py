"""Outlines of masks and points of poses on pictures of boxes."""

from __future__ import annotations

import numpy as np

from onnxray.cli.figures.boxes import COLOURS, drawn
from onnxray.engine.detection.detections import Detection
from onnxray.engine.detection.shapes import Mask


def detection(mask: Mask | None = None, points: np.ndarray | None = None) -> Detection:
    return Detection((100.0, 100.0, 500.0, 500.0), 0.9, 0, None, 0, "s:0", None, None, mask, points)


def inked(image: np.ndarray) -> np.ndarray:
    return np.asarray((image == np.array(COLOURS[0])).all(axis=-1))


def test_the_edge_of_the_mask_is_drawn_and_nothing_within() -> None:
    logits = np.full((600, 600), -1.0, np.float32)
    logits[200:300, 200:300] = 1
    picture = drawn(np.zeros((600, 600, 3), np.uint8), [detection(Mask(logits, (100, 100, 500, 500), (600, 600)))], 0)
    ink = inked(picture)
    assert ink[200, 200:300].all()
    assert ink[200:300, 299].all()
    assert not ink[210:290, 210:290].any()
    assert not ink[150:195, 150:450].any()


def test_points_that_are_seen_are_dots_those_of_a_person_joined() -> None:
    points = np.zeros((17, 3), np.float32)
    points[5], points[6], points[0] = (200, 200, 0.9), (200, 400, 0.9), (400, 400, 0.2)
    picture = drawn(np.zeros((600, 600, 3), np.uint8), [detection(points=points)], labels=False)
    assert inked(picture)[200, 200]
    assert picture[200, 200:400].any(axis=-1).all()  # shoulder to shoulder
    assert not picture[390:410, 390:410].any()  # not certain enough
