"""The pose that a keypoint belongs to, on its explanation: all points, joined, the explained one with its name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...engine.detection.shapes import PERSON
from ...engine.targets.kinds.point import Point, Pose
from ..files.images import draw_line
from .box_shapes import SKELETON, joined
from .boxes import COLOURS, LEAST_SIDE, label

if TYPE_CHECKING:
    from ...engine.attribution.explanation import Explanation

# Points whose peak is less than this share of the greatest one are not drawn.
LEAST_SHARE = 0.3
_LIGHT = (255, 255, 255)


def of(e: Explanation) -> Pose | None:
    """The pose of the explained keypoint, None for other targets."""
    return e.target.pose if isinstance(e.target, Point) else None


def overlay(e: Explanation, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The map on the image with the pose, small pictures enlarged by a whole factor; the same for other targets."""
    pose = of(e)
    return pixels if pose is None else drawn(pixels, pose)


def drawn(pixels: NDArray[np.uint8], pose: Pose) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) with the points that are certain enough, those of a person joined."""
    factor = max(1, math.ceil(LEAST_SIDE / max(pixels.shape[:2])))
    image = np.ascontiguousarray(np.repeat(np.repeat(pixels, factor, 0), factor, 1))
    thin = max(1, round(max(image.shape[:2]) / 500))
    points, number = pose.points[:, :2] * factor, pose.number
    bones = SKELETON if pose.names == PERSON else ()
    joined(image, points, [bool(seen) for seen in shown(pose)], bones, 3 * thin, COLOURS[0])
    y, x = (round(float(v)) for v in points[number])
    for radius, colour in ((8 * thin, _LIGHT), (7 * thin, COLOURS[1])):
        draw_line(image, (x, y), (x, y), radius, colour)
    name = str(number) if pose.names is None else pose.names[number]
    label(image, name, (y - 8 * thin, x + 6 * thin), COLOURS[1], thin)
    return image


def shown(pose: Pose) -> NDArray[np.bool_]:
    """Which points (K,) are drawn: peaks have no common scale, so that they are measured by the greatest one."""
    scores = pose.points[:, 2]
    greatest = float(scores.max())
    return np.asarray(scores >= LEAST_SHARE * greatest) if greatest > 0 else np.ones(len(scores), bool)


def entry(e: Explanation) -> dict[str, Any]:
    """What the manifest says of the points: y, x in pixels of the image, and the score of the peak."""
    pose = of(e)
    if pose is None:
        return {}
    names = pose.names or tuple(map(str, range(len(pose.points))))
    return {"points": {name: [float(v) for v in point] for name, point in zip(names, pose.points, strict=True)}}
