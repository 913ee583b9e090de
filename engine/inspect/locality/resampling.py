"""Enlarging and shrinking by whole factors."""

from __future__ import annotations

import numpy as np

from ...proto.arguments import numbers_of
from .reach import Reach
from .rules import Axes, Link, Links, LocalNode, Mixing, rule


@rule("Resize Upsample")
def resize(node: LocalNode, axes: Axes) -> Links:
    """By whole factors, and shrinking by 2, 4, 8, ..., in coordinates that move along with the map."""
    given = node.given
    old = node.op == "Upsample" or node.model.opset < 11
    coordinates = "asymmetric" if old else given.get("coordinate_transformation_mode", "half_pixel")
    if coordinates not in ("asymmetric", "half_pixel", "pytorch_half_pixel"):
        raise Mixing
    if given.get("mode", "nearest") not in ("nearest", "linear"):
        raise Mixing
    if given.get("antialias", 0) or given.get("axes") is not None:
        raise Mixing
    before = [size for size in node.before if isinstance(size, int)]
    after = [size for size in node.after if isinstance(size, int)]
    if not len(before) == len(after) == node.rank == len(node.after) or min(before + after, default=0) < 1:
        raise Mixing
    if coordinates == "pytorch_half_pixel" and any(b > 1 and a == 1 for b, a in zip(before, after, strict=True)):
        raise Mixing  # one position is the first one in these coordinates
    if any(b != a for axis, (b, a) in enumerate(zip(before, after, strict=True)) if axis not in axes):
        raise Mixing  # channels are blended
    scales = _scales(node)
    if scales is not None and any(float(np.float32(scales[axis])) * before[axis] != after[axis] for axis in axes):
        raise Mixing  # 0.51 makes 20 of 40 positions, in coordinates that are not those of one half
    return {axis: Link(axis, _reach(before[axis], after[axis], coordinates), exact=False) for axis in axes}


def _scales(node: LocalNode) -> list[float] | None:
    """As they stand in the model, one per axis; None where a size stands in their place. Raises Mixing, Unreadable."""
    if node.given.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Mixing  # one scale for all axes, which the sizes do not tell
    place = 1 if node.op == "Upsample" or node.model.opset < 11 else 2
    found = numbers_of(node.node, "scales", place, node.model.constant)
    return [float(scale) for scale in found] if found and len(found) == node.rank else None


def _reach(before: int, after: int, coordinates: str) -> Reach:
    if after % before == 0:
        factor = after // before
        if factor == 1:
            return Reach()
        # The two neighbours of p / f, or of (p + 0.5) / f - 0.5.
        low = 0 if coordinates == "asymmetric" else 1 - factor
        return Reach(2, 2 * factor, low, low + 2 * factor)
    shrink = before // after
    # By 3, the coordinates would be rounded otherwise in a crop than in the whole map.
    if shrink * after != before or shrink & (shrink - 1):
        raise Mixing
    return Reach(shrink, 1, 0, shrink - 1)
