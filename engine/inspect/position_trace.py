"""Following positions in the image through the graph, operator by operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from ..caches import of_model
from ..errors import CardError, ModelError
from ..graph.model import Model
from ..proto.arguments import Unreadable, axes_of, pads_of, permutation_of, slice_of
from ..proto.attributes import attributes
from ..proto.contradictions import CONTRADICTIONS, contradiction
from ..proto.nodes import reads
from .blocked_layout import blocked_values
from .concrete_shapes import concrete_shapes
from .signature import image_input
from .token_grid import LARGEST, SAME, Grid, Positions, complete

# In pixels; what is declared larger is followed no place.
_LARGEST_IMAGE = 1 << 26


class Trace:
    """Positions of all values of a model, for one sample.

    They are followed from the image on, or from the values in `start`, which have the positions given there.

    Attributes: `positions` value -> (2, ...) array; `mixed` (index of a node, value): the node mixes the value's
    places.
    """

    def __init__(self, model: Model, start: Mapping[str, Positions] | None = None) -> None:
        self.model = model
        self.shapes = concrete_shapes(model)
        self.positions: dict[str, Positions] = dict(self._of_image() if start is None else start)
        self.mixed: set[tuple[int, str]] = set()
        for index, node in enumerate(model.graph.node):
            self._follow(index, node)

    def _of_image(self) -> dict[str, Positions]:
        try:
            image = image_input(self.model)
        except (ModelError, CardError):
            return {}
        shape = self.shapes.get(image.name)
        if shape is None:
            return {}
        size = shape[image.axes[0]], shape[image.axes[1]]
        if size[0] * size[1] > _LARGEST_IMAGE:
            return {}
        return {image.name: _regular(len(shape), image.axes, size)}

    def grid(self, value: str) -> Grid | None:
        """The value as maps, None where it is none. Its first axis must be the batch."""
        shape, positions = self.shapes.get(value), self.positions.get(value)
        if value in blocked_values(self.model):
            return None
        if shape is None or positions is None or len(shape) not in (3, 4) or shape[0] != 1:
            return None
        axes = tuple(a for a in range(1, len(shape)) if positions.shape[a + 1] > 1)
        rest = [a for a in range(1, len(shape)) if a not in axes]
        if not axes or len(rest) != 1:
            return None
        flat = positions.transpose(0, *(a + 1 for a in axes), 1, rest[0] + 1).reshape(2, -1)
        order = complete(flat)
        if order is None:
            return None
        plain = len(axes) == 2 and order.size == flat.shape[1] and bool((order.ravel() == np.arange(order.size)).all())
        plain = plain and order.shape == tuple(shape[a] for a in axes)
        kept = None if plain else order.ravel()
        return Grid((order.shape[0], order.shape[1]), axes, rest[0], kept, flat.shape[1] - order.size)

    def tokens(self, value: str, axis: int) -> NDArray[np.int64] | None:
        """(h, w): which of the places along one axis of the value lie at each cell of the image; None: they form no
        grid, or other axes have places too.
        """
        positions = self.positions.get(value)
        if positions is None:
            return None
        sizes = list(positions.shape[1:])
        del sizes[axis]
        if any(size > 1 for size in sizes):
            return None
        return complete(positions.reshape(2, -1))

    def sources(self) -> set[str]:
        """The values whose places are still to be mixed on the way to an output: the answer depends on all of them."""
        outputs = {v.name for v in self.model.graph.output}
        found = {name for name in outputs if name in self.positions}
        for index in range(len(self.model.graph.node) - 1, -1, -1):
            node = self.model.graph.node[index]
            passes = any(name in found for name in node.output)
            for name in reads(node):
                if (passes and name in self.positions) or (index, name) in self.mixed:
                    found.add(name)
        return found

    def lost(self) -> list[NodeProto]:
        """The nodes behind which positions are not known though they read values that have several."""
        found = []
        for index, node in enumerate(self.model.graph.node):
            wide = [n for n in reads(node) if n in self.positions and _spread(self.positions[n]) > SAME]
            if not wide or any(name in self.positions for name in node.output):
                continue
            value = self.model.values.get(node.output[0]) if node.output else None
            real = value is not None and (value.dtype is None or value.dtype.kind == "f")
            if real and not any((index, name) in self.mixed for name in wide):
                found.append(node)
        return found

    def _follow(self, index: int, node: NodeProto) -> None:
        if not any(name in self.positions for name in node.input):
            return
        outputs = [name for name in node.output if name]
        shapes = [self.shapes.get(name) for name in outputs]
        if (
            not outputs
            or shapes[0] is None
            or any(self.shapes.get(n) is None for n in node.input if n in self.positions)
        ):
            return
        if any(s is not None and np.prod(s, dtype=np.int64) > LARGEST for s in shapes):
            return
        rule = _RULES.get(node.op_type, _elementwise)
        try:
            found = rule(self, index, node, shapes[0])
        except (Unreadable, ModelError):
            return
        except CONTRADICTIONS as error:
            raise contradiction(node, error) from error
        for name, shape, positions in zip(outputs, shapes, found, strict=False):
            if positions is None or shape is None or positions.ndim != len(shape) + 1:
                continue
            if (
                all(p in (1, s) for p, s in zip(positions.shape[1:], shape, strict=True))
                and not np.isnan(positions).all()
            ):
                self.positions[name] = positions


def _regular(rank: int, axes: tuple[int, int], size: tuple[int, int]) -> Positions:
    """Positions of a plain map: y along the first of `axes`, x along the second."""
    shape = [1] * rank
    shape[axes[0]], shape[axes[1]] = size
    along = [(np.arange(n, dtype=np.float32) + 0.5) / n for n in size]
    result = np.empty((2, *shape), np.float32)
    for place, axis in enumerate(axes):
        line = [1] * rank
        line[axis] = size[place]
        result[place] = along[place].reshape(line)
    return result


def _squeeze(positions: Positions) -> Positions:
    """Axes along which nothing changes get size 1."""
    for axis in range(1, positions.ndim):
        if positions.shape[axis] > 1:
            first = positions.take([0], axis)
            if np.array_equal(np.broadcast_to(first, positions.shape), positions, equal_nan=True):
                positions = first
    return positions


def _spread(positions: Positions) -> float:
    """How far positions reach: 0 where all are the same."""
    flat = positions.reshape(2, -1)
    flat = flat[:, ~np.isnan(flat[0])]
    return float(np.ptp(flat, axis=1).sum()) if flat.size else -1.0


def _average(positions: Positions, axes: tuple[int, ...]) -> Positions:
    """The mean over `axes` (of the value), kept with size 1; elements without a position do not count."""
    places = tuple(a + 1 for a in axes)
    if all(positions.shape[p] == 1 for p in places):
        return positions
    known = ~np.isnan(positions)
    total = np.where(known, positions, 0).sum(axis=places, keepdims=True)
    count = known.sum(axis=places, keepdims=True)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _elementwise(trace: Trace, index: int, node: NodeProto, shape: tuple[int, ...]) -> list[Positions | None]:
    """Operators that keep every element's place: positions of the input that reaches furthest, broadcast."""
    best: Positions | None = None
    for name in node.input:
        positions = trace.positions.get(name)
        if positions is None or positions.ndim - 1 > len(shape):
            continue
        wide = positions.reshape(2, *[1] * (len(shape) - positions.ndim + 1), *positions.shape[1:])
        if any(p not in (1, s) for p, s in zip(wide.shape[1:], shape, strict=True)):
            continue
        if best is None or _spread(wide) > _spread(best) + SAME:
            best = wide
    return [best] * len(node.output)


def _reshape(trace: Trace, index: int, node: NodeProto, shape: tuple[int, ...]) -> list[Positions | None]:
    name = node.input[0]
    positions, before = trace.positions.get(name), trace.shapes.get(name)
    if positions is None or before is None or np.prod(before, dtype=np.int64) != np.prod(shape, dtype=np.int64):
        return [None]
    return [_squeeze(np.broadcast_to(positions, (2, *before)).reshape(2, *shape))]


def _transpose(trace: Trace, index: int, node: NodeProto, shape: tuple[int, ...]) -> list[Positions | None]:
    positions = trace.positions[node.input[0]]
    if positions.ndim != len(shape) + 1:
        return [None]
    return [positions.transpose(0, *(p + 1 for p in permutation_of(node, len(shape))))]


def _concat(trace: Trace, index: int, node: NodeProto, shape: tuple[int, ...]) -> list[Positions | None]:
    axis = attributes(node).get("axis", 0) % len(shape)
    known = [trace.positions[name] for name in node.input if name in trace.positions]
    side_by_side = all(p.ndim == len(shape) + 1 and p.shape[axis + 1] == 1 for p in known)
    if side_by_side and len(known) == len(node.input):
        return [max(known, key=_spread)]  # channels next to one another: the map that reaches furthest
    parts = []
    for name in node.input:
        own = trace.shapes.get(name)
        if own is None or len(own) != len(shape):
            return [None]
        positions = trace.positions.get(name)
        if positions is None:
            positions = np.full((2, *[1] * len(own)), np.nan, np.float32)
        parts.append(np.broadcast_to(positions, (2, *own)))
    return [_squeeze(np.concatenate(parts, axis=axis + 1))]


def _slice(trace: Trace, index: int, node: NodeProto, shape: tuple[int, ...]) -> list[Positions | None]:
    positions, before = trace.positions[node.input[0]], trace.shapes[node.input[0]]
    if before is None:
        return [None]
    wide = np.broadcast_to(positions, (2, *before))
    parts = [slice(None)] * wide.ndim
    for axis, start, end, step in slice_of(node, len(before), trace.model.constant):
        size = before[axis]
        stop: int | None = max(-size - 1, min(size, end))
        if step < 0 and stop is not None and stop <= -size - 1:
            stop = None
        parts[axis + 1] = slice(max(-size, min(size, start)), stop, step)
    return [_squeeze(wide[tuple(parts)])]


def _split(trace: Trace, index: int, node: NodeProto, shape: tuple[int, ...]) -> list[Positions | None]:
    positions, before = trace.positions[node.input[0]], trace.shapes[node.input[0]]
    axis = attributes(node).get("axis", 0) % len(shape)
    sizes = [(trace.shapes.get(name) or ())[axis : axis + 1] for name in node.output]
    if before is None or not all(sizes):
        return [None]
    wide = np.broadcast_to(positions, (2, *before))
    return [_squeeze(part) for part in np.split(wide, np.cumsum([s[0] for s in sizes])[:-1], axis=axis + 1)]


def _gather(trace: Trace, index: int, node: NodeProto, shape: tuple[int, ...]) -> list[Positions | None]:
    positions, before = trace.positions.get(node.input[0]), trace.shapes.get(node.input[0])
    chosen = trace.model.constant(node.input[1])
    if positions is None or before is None or chosen is None:
        return [None]
    axis = attributes(node).get("axis", 0) % len(before)
    return [_squeeze(np.take(np.broadcast_to(positions, (2, *before)), chosen, axis=axis + 1))]


def _product(trace: Trace, index: int, node: NodeProto, shape: tuple[int, ...]) -> list[Positions | None]:
    """Rows of the first factor, else columns of the second; what is summed over is mixed.

    Of queries times keys the rows stay: attention gives every query its values, however far the keys reach.
    """
    left, right = node.input[0], node.input[1]
    given = attributes(node)
    rows, columns = trace.positions.get(left), trace.positions.get(right)
    result: Positions | None = None
    if rows is not None and not given.get("transA") and rows.ndim - 1 == len(shape):
        if rows.shape[-1] > 1:
            trace.mixed.add((index, left))
        result = _average(rows, (rows.ndim - 2,))
    if columns is not None:
        axis = columns.ndim - (2 if given.get("transB") else 3)
        if axis >= 0 and columns.shape[axis + 1] > 1:
            trace.mixed.add((index, right))
        if axis >= 0 and columns.ndim - 1 == len(shape) and not given.get("transB"):
            mean = _average(columns, (axis,))
            if result is None or _spread(result) <= SAME < _spread(mean):
                result = mean
    return [result]


def _einsum(trace: Trace, index: int, node: NodeProto, shape: tuple[int, ...]) -> list[Positions | None]:
    """As `_product`: letters of the result keep their places, those that are summed over are mixed."""
    terms, arrow, result = attributes(node)["equation"].replace(" ", "").partition("->")
    if not arrow or "." in terms:
        return [None]
    best: Positions | None = None
    for name, letters in zip(node.input, terms.split(","), strict=True):
        positions = trace.positions.get(name)
        if positions is None or len(set(letters)) < len(letters) or positions.ndim != len(letters) + 1:
            continue
        lost = tuple(a for a, letter in enumerate(letters) if letter not in result)
        if any(positions.shape[a + 1] > 1 for a in lost):
            trace.mixed.add((index, name))
        mean = _average(positions, lost).squeeze(tuple(a + 1 for a in lost)) if lost else positions
        left = [letter for letter in letters if letter in result]
        mean = mean.transpose(0, *(left.index(letter) + 1 for letter in result if letter in left))
        mean = np.expand_dims(mean, tuple(a + 1 for a, letter in enumerate(result) if letter not in left))
        if best is None or _spread(best) <= SAME < _spread(mean):
            best = mean
    return [best]


def _reduce(trace: Trace, index: int, node: NodeProto, shape: tuple[int, ...]) -> list[Positions | None]:
    name = node.input[0]
    positions = trace.positions.get(name)
    if positions is None:
        return [None]
    rank = positions.ndim - 1
    if node.op_type.startswith("Global"):
        axes, keep = list(range(2, rank)), 1
    else:
        given = axes_of(node, trace.model.constant)
        axes, keep = [a % rank for a in given or range(rank)], attributes(node).get("keepdims", 1)
    if any(positions.shape[a + 1] > 1 for a in axes):
        trace.mixed.add((index, name))
    mean = _average(positions, tuple(axes))
    return [mean if keep else mean.squeeze(tuple(a + 1 for a in axes))]


def _window(trace: Trace, index: int, node: NodeProto, shape: tuple[int, ...]) -> list[Positions | None]:
    """Convolutions, pools and resizes: a map of another size over the same area; channels get the mean of all."""
    name = node.input[0]
    positions, before = trace.positions.get(name), trace.shapes.get(name)
    if positions is None or before is None or len(before) != len(shape):
        return [None]
    if any(positions.shape[a + 1] > 1 for a in range(2, len(shape))):
        trace.mixed.add((index, name))
    result = _average(positions, (1,)) if node.op_type not in ("Resize", "Upsample") else positions
    for axis in range(1, len(shape)):
        if result.shape[axis + 1] > 1 and shape[axis] != before[axis]:
            result = _resampled(result, axis + 1, shape[axis])
    return [result] + [None] * (len(node.output) - 1)


def _resampled(positions: Positions, axis: int, size: int) -> Positions:
    before = positions.shape[axis]
    at = (np.arange(size) + 0.5) * before / size - 0.5
    low = np.clip(np.floor(at).astype(int), 0, before - 2)  # beyond the outermost centres the line goes on
    share = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(positions.ndim)])
    return np.asarray(positions.take(low, axis) * (1 - share) + positions.take(low + 1, axis) * share, np.float32)


def _pad(trace: Trace, index: int, node: NodeProto, shape: tuple[int, ...]) -> list[Positions | None]:
    positions, before = trace.positions.get(node.input[0]), trace.shapes.get(node.input[0])
    if positions is None or before is None:
        return [None]
    try:
        pads = pads_of(node, len(before), trace.model.constant)
    except Unreadable:
        if shape != before:
            raise
        return [positions]  # the amounts are computed and come out as 0
    if any(min(pair) < 0 for pair in pads):
        return [None]
    wide = np.broadcast_to(positions, (2, *before))
    return [_squeeze(np.pad(wide, [(0, 0), *pads], constant_values=np.nan))]


def _attention(trace: Trace, index: int, node: NodeProto, shape: tuple[int, ...]) -> list[Positions | None]:
    for name in node.input:
        if name in trace.positions:
            trace.mixed.add((index, name))
    return _elementwise(trace, index, node, shape)[:1]


def _nothing(trace: Trace, index: int, node: NodeProto, shape: tuple[int, ...]) -> list[Positions | None]:
    return [None]


def _broadcast(trace: Trace, index: int, node: NodeProto, shape: tuple[int, ...]) -> list[Positions | None]:
    positions = trace.positions.get(node.input[0])
    before = trace.shapes.get(node.input[0])
    if positions is None or before is None:
        return [None]
    wide = positions.reshape(2, *[1] * (len(shape) - len(before)), *positions.shape[1:])
    if node.op_type == "Tile" and any(p > 1 and p != s for p, s in zip(wide.shape[1:], shape, strict=True)):
        return [None]
    return [wide]


_RULES: Mapping[str, Any] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    **dict.fromkeys(("MatMul", "Gemm", "MatMulInteger", "QLinearMatMul", "FusedMatMul"), _product),
    **dict.fromkeys(
        (
            *("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare"),
            *("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"),
        ),
        _reduce,
    ),
    **dict.fromkeys(
        (
            *("Conv", "FusedConv", "ConvInteger", "QLinearConv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool"),
            *("Resize", "Upsample", "QLinearAveragePool"),
        ),
        _window,
    ),
    **dict.fromkeys(("Attention", "MultiHeadAttention", "GroupQueryAttention", "QAttention"), _attention),
    **dict.fromkeys(("Expand", "Tile"), _broadcast),
    **dict.fromkeys(
        (
            *("DepthToSpace", "SpaceToDepth", "GatherND", "GatherElements", "ScatterND", "ScatterElements"),
            *(
                "TopK",
                "NonZero",
                "Shape",
                "Size",
                "OneHot",
                "ArgMax",
                "ArgMin",
                "LSTM",
                "GRU",
                "RNN",
                "Loop",
                "Scan",
                "If",
            ),
        ),
        _nothing,
    ),
    "Einsum": _einsum,
    "Transpose": _transpose,
    "Concat": _concat,
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
    "Pad": _pad,
}


@of_model
def trace(model: Model) -> Trace:
    """The positions of all values of `model`, followed once."""
    return Trace(model)
