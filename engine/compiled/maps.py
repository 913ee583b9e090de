"""Class activation maps inside a graph: values read as maps, the family's pipeline, principal components."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto

from ..errors import MethodError
from .build import Build

if TYPE_CHECKING:
    from ..attribution.layer_choice import MapPlace
    from ..inspect.token_grid import Grid

# Squarings of the matrix whose first eigenvector is looked for: 2^20 steps of the power iteration.
_SQUARINGS = 20
# Squaring costs the third power of the matrix' side.
_LARGEST_SIDE = 1024


def maps_of_value(build: Build, grid: Grid, value: str) -> str:
    """(N, ...) -> float32 (N, C, h, w), as `Grid.maps` does."""
    op = build.op
    perm = [0, grid.channel, *grid.axes]
    value = build.real(value)
    if perm != list(range(len(perm))):
        value = op.Transpose(value, perm=perm)
    if grid.order is None:
        return value
    if len(grid.axes) > 1:
        value = op.Reshape(value, [0, 0, -1])
    if not np.array_equal(grid.order, np.arange(int(grid.order.max()) + 1)) or grid.others:
        value = op.Gather(value, op.const(grid.order.astype(np.int64)), axis=2)
    return op.Reshape(value, [0, 0, *grid.shape])


def activations(build: Build, place: MapPlace) -> str:
    """The layer's maps, float32 (N, C, h, w)."""
    maps = maps_of_value(build, place.grid, place.value)
    return build.op.Sub(maps, build.op.const(float(place.zero), like=maps)) if place.zero else maps


def mean_over_places(build: Build, maps: str) -> str:
    """(N, C, h, w) -> (N, C, 1, 1); what is the same at all places, as the gradient of an average is, is read there."""
    op = build.op
    node = op.producer(maps)
    while node is not None and node.op_type == "Identity":
        node = op.producer(node.input[0])
    if node is not None and node.op_type == "Expand":
        shape = op.shape(node.input[0])
        same = len(shape) == 4 and isinstance(shape[1], int) and shape[1] == op.shape(maps)[1]
        if same and tuple(shape[2:]) == (1, 1):
            return str(node.input[0])
    return op.ReduceMean(maps, [2, 3], keepdims=1)


def weighted(build: Build, weights: str, maps: str) -> str:
    """sum over channels of weights (N, C, 1, 1) or (N, C, h, w) times maps (N, C, h, w): (N, h, w)."""
    op = build.op
    if tuple(op.shape(weights)[2:]) == (1, 1):
        rows = op.Reshape(weights, [0, 1, -1])
        product = op.MatMul(rows, op.Reshape(maps, [0, 0, -1]))  # (N, 1, h * w)
        sides = op.shape(maps)[2:]
        fixed = [d for d in sides if isinstance(d, int)]
        size = op.const([-1, *fixed]) if len(fixed) == 2 else op.Concat(op.const([-1]), op.shape_of(maps, 2), axis=0)
        return op.Reshape(product, size)
    return op.ReduceSum(op.Mul(weights, maps), [1], keepdims=0)


def principal(build: Build, maps: str) -> str:
    """Maps (N, C, h, w), centred over places, projected on their first principal component: (N, h, w).

    The power iteration by repeated squaring, in float64: after k squarings the matrix is its 2^k-th power.
    """
    op = build.op
    shape = op.shape(maps)
    rows = op.Cast(op.Transpose(op.Reshape(maps, [0, 0, -1]), perm=[0, 2, 1]), to=TensorProto.DOUBLE)
    centred = op.Sub(rows, op.ReduceMean(rows, [1], keepdims=1))  # (N, P, C)
    channels = shape[1] if isinstance(shape[1], int) else None
    sizes = [d for d in shape[2:] if isinstance(d, int)]
    places = math.prod(sizes) if len(sizes) == len(shape) - 2 else None
    by_place = places is not None and (channels is None or places <= channels)
    side = places if by_place else channels
    if side is None or side > _LARGEST_SIDE:
        raise MethodError(
            f"the principal component of {channels or '?'} channels at {places or '?'} places is too large to be found "
            f"in a graph (at most {_LARGEST_SIDE} of either): name a later layer, or take another method"
        )
    turned = op.Transpose(centred, perm=[0, 2, 1])
    gram = op.MatMul(centred, turned) if by_place else op.MatMul(turned, centred)
    power = _scaled(build, gram)
    for _ in range(_SQUARINGS):
        power = _scaled(build, op.MatMul(power, power))
    # Every column is the first eigenvector times a number: the one with the greatest number is the most exact.
    lengths = op.ReduceSumSquare(power, [1], keepdims=0)
    column = op.Unsqueeze(op.ArgMax(lengths, axis=1, keepdims=1), [1])
    vector = op.GatherElements(power, op.Expand(column, [1, side, 1]), axis=2)
    along = op.MatMul(turned, vector) if by_place else op.MatMul(gram, vector)
    length = op.Sqrt(op.ReduceSumSquare(along, [1], keepdims=1))
    zero, one = op.const(0, like=length), op.const(1, like=length)
    along = op.Div(along, op.Where(op.Greater(length, zero), length, one))
    projected = op.MatMul(centred, along)  # (N, P, 1)
    total = op.ReduceSum(centred, [2], keepdims=1)
    agrees = op.ReduceSum(op.Mul(projected, total), [1], keepdims=1)
    projected = op.Where(op.Less(agrees, zero), op.Neg(projected), projected)
    flat = op.Cast(projected, to=TensorProto.FLOAT)
    size = op.shape_of(maps, 2)
    return op.Reshape(flat, op.Concat(op.const([-1]), size, axis=0))


def _scaled(build: Build, matrix: str) -> str:
    """Divided by its greatest magnitude, so that powers neither grow nor vanish."""
    op = build.op
    most = op.ReduceMax(op.Abs(matrix), [1, 2], keepdims=1)
    zero, one = op.const(0, like=most), op.const(1, like=most)
    return op.Div(matrix, op.Where(op.Greater(most, zero), most, one))
