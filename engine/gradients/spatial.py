"""Resampling on a regular grid: Resize, and the grids of AffineGrid.

Resize works on each axis by itself and linearly: y = A x along that axis. What is in the matrix A depends on four
attributes, on ratios and sizes; the operator itself says it, when it resizes the identity. So

    dx = A^T dy    along every axis that is resized, A = Resize(identity)

with A computed by the runtime, once when the model is opened if the sizes are fixed and with each run otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from ..emitter.emitter import Emitter
from ..emitter.node import Node
from .pooling import along
from .registry import Cotangents, gradient

_ATTRIBUTES = (
    "antialias",
    "coordinate_transformation_mode",
    "cubic_coeff_a",
    "exclude_outside",
    "mode",
    "nearest_mode",
)


@dataclass(frozen=True)
class Resized:
    """One axis that Resize may change: its place in `axes` (`slot`) and among the axes of the tensor (`axis`)."""

    slot: int
    axis: int


@gradient("Resize", inputs=[0])
def resize(node: Node, dy: str, op: Emitter) -> Cotangents:
    x = node.inputs[0]
    axes = [axis % op.rank(x) for axis in node.attribute("axes") or range(op.rank(x))]
    changed = [r for r in (Resized(s, a) for s, a in enumerate(axes)) if not _unchanged(node, op, r, x, dy)]
    repeats = [_repeats(node, op, r, x, dy) for r in changed]
    if all(repeats) and all(r.axis >= 2 for r in changed) and op.rank(x) in (3, 4, 5):
        by_axis = {r.axis: n for r, n in zip(changed, repeats, strict=True)}
        return [_block_sums(op, dy, [by_axis.get(axis) or 1 for axis in range(2, op.rank(x))])]
    # The axis that shrinks most goes first: the others have less to do.
    made = dy
    changed.sort(key=lambda r: _growth(op, r, x, made))
    for resized in changed:
        matrix = _sized(op, _matrix(node, op, resized, axes, x), resized.axis, x, made)
        dy = along(op, dy, op.cast(matrix, x), resized.axis)
    return [dy]


def _sized(op: Emitter, matrix: str, axis: int, x: str, dy: str) -> str:
    """The matrix with the sizes that are known of it: shape inference rounds scale times size in another way."""
    after, before = op.shape(dy)[axis], op.shape(x)[axis]
    if not isinstance(after, int) or not isinstance(before, int) or op.static_shape(matrix) == (after, before):
        return matrix
    return op.Reshape(matrix, [after, before])


def _growth(op: Emitter, resized: Resized, x: str, dy: str) -> float:
    before, after = op.shape(x)[resized.axis], op.shape(dy)[resized.axis]
    return before / max(after, 1) if isinstance(before, int) and isinstance(after, int) else 1.0


def _entry(op: Emitter, name: str | None, slot: int) -> float | None:
    """One number of a constant input."""
    values = op.constant_value(name) if name else None
    return None if values is None or values.size <= slot else float(values.flat[slot])


def _unchanged(node: Node, op: Emitter, resized: Resized, x: str, dy: str) -> bool:
    """Whether the axis comes out as it was."""
    mode = node.attribute("coordinate_transformation_mode", "half_pixel")
    if mode == "tf_crop_and_resize":
        start, end = (
            _entry(op, node.input(1), resized.slot),
            _entry(op, node.input(1), _slots(node, op, x) + resized.slot),
        )
        if start != 0 or end != 1:
            return False
    if node.input(2):
        return _entry(op, node.inputs[2], resized.slot) == 1
    before, after = op.shape(x)[resized.axis], op.shape(dy)[resized.axis]
    return before is not None and before == after and node.attribute("keep_aspect_ratio_policy", "stretch") == "stretch"


def _slots(node: Node, op: Emitter, x: str) -> int:
    return len(node.attribute("axes") or range(op.rank(x)))


def _repeats(node: Node, op: Emitter, resized: Resized, x: str, dy: str) -> int | None:
    """n where Resize repeats every position n times along the axis, else None."""
    if node.attribute("mode", "nearest") != "nearest":
        return None
    transformation = node.attribute("coordinate_transformation_mode", "half_pixel")
    rounding = node.attribute("nearest_mode", "round_prefer_floor")
    centred = transformation in ("half_pixel", "half_pixel_symmetric") and rounding.startswith("round")
    if not centred and (transformation, rounding) != ("asymmetric", "floor"):
        return None
    if node.input(2):
        scale = _entry(op, node.inputs[2], resized.slot)
    else:
        before, after = op.shape(x)[resized.axis], op.shape(dy)[resized.axis]
        known = isinstance(before, int) and isinstance(after, int) and before > 0
        known = known and node.attribute("keep_aspect_ratio_policy", "stretch") == "stretch"
        scale = after / before if known else None  # type: ignore[operator]
    return int(scale) if scale is not None and scale >= 1 and scale == int(scale) else None


def _block_sums(op: Emitter, dy: str, blocks: list[int]) -> str:
    """Sums over blocks of these sizes; an average pool keeps ONNX Runtime's blocked layout."""
    mean = op.AveragePool(dy, kernel_shape=blocks, strides=blocks)
    return op.Mul(mean, float(np.prod(blocks)))


def _matrix(node: Node, op: Emitter, resized: Resized, axes: list[int], x: str) -> str:
    """The float32 matrix (position after, position before) of one axis."""
    attributes = {name: node.attribute(name) for name in _ATTRIBUTES}
    roi, scales, sizes = (node.input(i) for i in (1, 2, 3))
    size = op.shape_of(x, resized.axis, resized.axis + 1)
    identity = op.EyeLike(op.ConstantOfShape(op.Concat(size, size, axis=0)), dtype=TensorProto.FLOAT)
    if roi and node.attribute("coordinate_transformation_mode") == "tf_crop_and_resize":
        roi = op.Gather(roi, [resized.slot, len(axes) + resized.slot], axis=0)
    else:
        roi = None
    if scales:
        return op.Resize(identity, roi, op.Gather(scales, [resized.slot], axis=0), axes=[0], **attributes)
    assert sizes is not None
    policy = node.attribute("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch" or len(axes) == 1:
        return op.Resize(identity, roi, None, op.Gather(sizes, [resized.slot], axis=0), axes=[0], **attributes)
    return _matrix_of_policy(node, op, resized, axes, x, identity, attributes)


def _matrix_of_policy(
    node: Node, op: Emitter, resized: Resized, axes: list[int], x: str, identity: str, attributes: dict[str, object]
) -> str:
    """Where all axes together settle the ratio (keep_aspect_ratio_policy): the identity along one of them, the others
    constant. Interpolating a constant leaves it, so that any place along the others shows the matrix."""
    count = len(axes)
    sizes = [op.shape_of(x, axis, axis + 1) for axis in axes]
    one = np.ones(1, np.int64)
    placed = [sizes[resized.slot], one, *[sizes[s] if s == resized.slot else one for s in range(count)]]
    rows = op.Reshape(identity, op.Concat(*placed, axis=0))
    rows = op.Expand(rows, op.Concat(sizes[resized.slot], one, *sizes, axis=0))
    roi = node.input(1)
    if roi and attributes["coordinate_transformation_mode"] == "tf_crop_and_resize":
        here = np.zeros(2 * count, np.bool_)
        here[[resized.slot, count + resized.slot]] = True
        whole = np.repeat([0.0, 1.0], count).astype(op.dtype(roi))
        roi = op.Where(here, roi, whole)
    else:
        roi = None
    inner = list(range(2, 2 + count))
    policy = node.attribute("keep_aspect_ratio_policy")
    made = op.Resize(rows, roi, None, node.inputs[3], axes=inner, keep_aspect_ratio_policy=policy, **attributes)
    others = [1, *[a for a in inner if a != 2 + resized.slot]]
    first = op.Slice(made, [0] * len(others), [1] * len(others), others)
    return op.Transpose(op.Squeeze(first, others), perm=[1, 0])


@gradient("AffineGrid", inputs=[0])
def affine_grid(node: Node, dy: str, op: Emitter) -> Cotangents:
    """grid = theta (coordinates, 1): dtheta = sum over positions of dgrid times (coordinates, 1), transposed."""
    theta, size = node.inputs[:2]
    axes = op.rank(dy) - 2
    one_sample = op.Concat(np.ones(1, np.int64), op.Slice(size, [1], [2 + axes], [0]), axis=0)
    unit = np.eye(axes, axes + 1, dtype=op.dtype(theta))[None]
    coordinates = op.Reshape(
        op.AffineGrid(unit, one_sample, align_corners=node.attribute("align_corners", 0)), [-1, axes]
    )
    by_position = op.Transpose(op.Reshape(dy, [0, -1, axes]), perm=[0, 2, 1])
    return [op.Concat(op.MatMul(by_position, coordinates), op.ReduceSum(by_position, [2], keepdims=1), axis=2)]
