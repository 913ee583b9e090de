"""Outlines of masks and skeletons of poses, drawn on pictures of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...engine.detection.shapes import PERSON
from ..files.images import draw_line, grown
from . import figure

if TYPE_CHECKING:
    from ...engine.detection.detections import Detection

_LIGHT = (255, 255, 255)
# Points that are less certain than this are not drawn.
LEAST = 0.5
_BONES = """nose-left_eye nose-right_eye left_eye-left_ear right_eye-right_ear left_shoulder-right_shoulder
left_shoulder-left_elbow left_elbow-left_wrist right_shoulder-right_elbow right_elbow-right_wrist left_shoulder-left_hip
right_shoulder-right_hip left_hip-right_hip left_hip-left_knee left_knee-left_ankle right_hip-right_knee
right_knee-right_ankle"""
# Pairs of a person's points that are joined.
SKELETON = tuple((PERSON.index(a), PERSON.index(b)) for a, b in (bone.split("-") for bone in _BONES.split()))


def outline(image: NDArray[np.uint8], box: Detection, factor: int, width: int, ink: figure.Colour) -> None:
    """The edge of a box's mask, a light line on either side of it so that it is seen on any ground."""
    if box.mask is None:
        return
    pixels = box.mask.pixels
    rows, columns = (np.flatnonzero(pixels.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return
    margin = (width + 2) // factor + 2
    y0, x0 = max(0, rows[0] - margin), max(0, columns[0] - margin)
    part = pixels[y0 : rows[-1] + margin + 1, x0 : columns[-1] + margin + 1]
    part = np.repeat(np.repeat(part, factor, 0), factor, 1)
    target = image[y0 * factor :, x0 * factor :][: part.shape[0], : part.shape[1]]
    part = part[: target.shape[0], : target.shape[1]]
    line = part & grown(~part, width)  # inside the mask
    target[grown(line, 1)] = _LIGHT
    target[line] = ink


def skeleton(image: NDArray[np.uint8], box: Detection, factor: int, width: int, ink: figure.Colour) -> None:
    """The points of a pose that are certain enough, those of a person joined."""
    if box.points is None:
        return
    shown = [not seen < LEAST for _, _, seen in box.points]  # one without a probability is shown
    bones = SKELETON if len(shown) == len(PERSON) else ()
    joined(image, box.points[:, :2] * factor, shown, bones, width, ink)


def joined(
    image: NDArray[np.uint8],
    points: NDArray[Any],
    shown: Sequence[bool],
    bones: Sequence[tuple[int, int]],
    width: int,
    ink: figure.Colour,
) -> None:
    """Dots and bones with a light edge. points: (K, 2), y, x in pixels of the picture. shown: which are drawn."""
    places = [(round(float(x)), round(float(y))) for y, x in points]
    for wider, colour in ((2, _LIGHT), (0, ink)):
        for a, b in bones:
            if shown[a] and shown[b]:
                draw_line(image, places[a], places[b], max(2, width) + wider, colour)
    for place, visible in zip(places, shown, strict=True):
        for radius, colour in ((2 * width + 1, _LIGHT), (2 * width, ink)) if visible else ():
            draw_line(image, place, place, radius, colour)
