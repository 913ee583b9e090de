"""Nodes that make one table of a detector's candidates: probabilities, scores before them, boxes in pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..autodiff.before_activation import before_activation
from ..errors import TargetError
from ..graph.model import Model
from ..graph.split import value_infos
from ..graph.upgrade import GRADIENT_OPSET, upgraded
from ..proto.writer import Writer
from .layout import Grid, Layout, Part, Read
from .nodes import FLOAT, PREFIX, Nodes
from .shapes import extents, of_shapes

# (N, A, C) probabilities; (N, A, C) scores before the sigmoid or softmax; (N, A, 4) x0, y0, x1, y1 in pixels of the
# plane; (N, A, 1) numbers of classes, of final tables alone; (N, A, 1) how sure it is that there is an object.
SCORES, LOGITS, SIDES, LABELS, OBJECTNESS = (
    f"{PREFIX}/{name}" for name in ("scores", "logits", "sides", "labels", "objectness")
)
# All classes of a softmax that is put on here, the background among them.
_SHARES = f"{PREFIX}/shares"


def with_table(model: Model, layout: Layout, plane: tuple[int, int]) -> Model:
    """The model with the values `SCORES`, `LOGITS`, `SIDES` as outputs, and of the others those there are."""
    model = upgraded(model, GRADIENT_OPSET)
    model, before = _values_before(model, layout)
    nodes = Nodes(Writer(model.values))
    scores, logits = _scores(nodes, layout, before)
    sides = [_sides(nodes, layout, part, plane) for part in layout.parts]
    made = {SIDES: nodes.joined(sides, 1), SCORES: scores}
    if logits is not None:
        made[LOGITS] = logits
    if any(part.objectness for part in layout.parts):
        made[OBJECTNESS] = nodes.joined(
            [_logit_of(nodes, layout, part.objectness, before) for part in layout.parts if part.objectness], 1
        )
    if layout.parts[0].labels is not None:
        made[LABELS] = nodes.joined([nodes.read(part.labels) for part in layout.parts if part.labels], 1)
    made |= of_shapes(nodes, layout)
    for name, value in made.items():
        nodes.writer.node("Identity", [value], [name])
    model = _added(model, nodes.writer, list(made))
    if logits is None:
        model = _softmax_logits(model, layout)
    return model


def _added(model: Model, writer: Writer, outputs: Sequence[str]) -> Model:
    with model.edited() as edit:
        edit.graph.initializer.extend(writer.initializers.values())
        edit.graph.node.extend(writer.nodes)
    infos = value_infos(edit.model, list(outputs))
    with edit.model.edited() as again:
        again.graph.output.extend(infos)
    return again.model


def _values_before(model: Model, layout: Layout) -> tuple[Model, dict[str, str]]:
    """The values before the sigmoid or softmax of those that hold probabilities, shaped like them."""
    before: dict[str, str] = {}
    if layout.activation:
        return model, before
    reads = [read for part in layout.parts for read in (part.scores, part.objectness) if read is not None]
    for read in reads:
        if read.value not in before:
            try:
                model, before[read.value] = before_activation(model, read.value, read.value)
            except TargetError:
                continue
    return model, before


def _scores(nodes: Nodes, layout: Layout, before: dict[str, str]) -> tuple[str, str | None]:
    """Probabilities of the classes and their logits; None for these where they are to be made of a softmax."""
    numbers = nodes.joined([nodes.read(part.scores) for part in layout.parts], 1)
    sure = [part.objectness for part in layout.parts if part.objectness is not None]
    if layout.activation == "softmax":
        shares = nodes.writer.node("Softmax", [numbers], [_SHARES], axis=2)
        return _without(nodes, shares, layout.background), None
    logits = nodes.joined([_logit_of(nodes, layout, part.scores, before) for part in layout.parts], 1)
    scores = nodes.one("Sigmoid", numbers) if layout.activation else numbers
    scores, logits = (_without(nodes, value, layout.background) for value in (scores, logits))
    if sure:
        objects = nodes.joined([nodes.read(read) for read in sure], 1)
        objects = nodes.one("Sigmoid", objects) if layout.activation else objects
        scores = nodes.one("Mul", scores, objects)
        scores = nodes.one("Sqrt", scores) if layout.root else scores
        # log(p q) = -softplus(-a) - softplus(-b): has a slope where either is near 0 or 1.
        other = nodes.joined([_logit_of(nodes, layout, read, before) for read in sure], 1)
        logits = nodes.one("Add", _log_sigmoid(nodes, logits), _log_sigmoid(nodes, other))
    if layout.peaks:
        scores = _peaks(nodes, layout, scores)
    return scores, logits


def _log_sigmoid(nodes: Nodes, logits: str) -> str:
    return nodes.one("Neg", nodes.one("Softplus", nodes.one("Neg", logits)))


def _logit_of(nodes: Nodes, layout: Layout, read: Read, before: dict[str, str]) -> str:
    """(N, A, columns): the logits of what is read."""
    if layout.activation:
        return nodes.read(read)
    if read.value in before:
        return nodes.read(read, before[read.value])
    return nodes.log_odds(nodes.read(read))


def _without(nodes: Nodes, table: str, background: int | None) -> str:
    """The table without the column of the background."""
    if background is None:
        return table
    behind = nodes.one("Slice", table, nodes.ints(background + 1), nodes.ints(1 << 30), nodes.ints(2))
    return behind if not background else nodes.joined([nodes.columns(table, 0, background), behind], 2)


def _softmax_logits(model: Model, layout: Layout) -> Model:
    """The logits of scores that a softmax was put on here: log(p / (1 - p)), without differences of large numbers."""
    model, logits = before_activation(model, _SHARES, SCORES)
    nodes = Nodes(Writer(model.values))
    nodes.writer.node("Identity", [_without(nodes, logits, layout.background)], [LOGITS])
    return _added(model, nodes.writer, [LOGITS])


def _peaks(nodes: Nodes, layout: Layout, scores: str) -> str:
    """Scores that are the greatest of the 3 by 3 places around them, 0 elsewhere."""
    grid = layout.parts[0].grid
    assert grid is not None
    maps = nodes.one("Transpose", scores, perm=[0, 2, 1])
    shape = nodes.one("Shape", maps)
    maps = nodes.one("Reshape", maps, nodes.ints(0, -1, *grid.cells))
    most = nodes.one("MaxPool", maps, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
    kept = nodes.one("Where", nodes.one("Equal", maps, most), maps, nodes.const(0.0))
    return nodes.one("Transpose", nodes.one("Reshape", kept, shape), perm=[0, 2, 1])


# ---- boxes


def _sides(nodes: Nodes, layout: Layout, part: Part, plane: tuple[int, int]) -> str:
    """(N, A, 4): x0, y0, x1, y1 in pixels of the plane."""
    height, width = plane
    form = layout.form
    if form == "masks":
        return extents(nodes, nodes.read(part.boxes), plane)
    table = nodes.read(part.boxes)
    if form in ("xyxy", "yxyx", "cxcywh", "xywh"):
        if form == "yxyx":
            table = nodes.one("Gather", table, nodes.ints(1, 0, 3, 2), axis=2)
        if form in ("cxcywh", "xywh"):
            first, size = nodes.columns(table, 0, 2), nodes.columns(table, 2, 4)
            table = _around(nodes, first, size) if form == "cxcywh" else _from_corner(nodes, first, size)
        return nodes.one("Mul", table, nodes.const([[[width, height, width, height]]])) if layout.relative else table
    grids = [part.grid] if part.grid is not None else list(layout.grids)
    points, strides = (nodes.const(a) for a in _points(grids, form))
    if form == "bins":
        table = _expected(nodes, table)
    if form in ("bins", "distances", "pixels"):
        far = table if form == "pixels" else nodes.one("Mul", table, strides)
        before = nodes.one("Sub", points, nodes.columns(far, 0, 2))
        return nodes.one("Concat", before, nodes.one("Add", points, nodes.columns(far, 2, 4)), axis=2)
    if form in ("centre", "centerface"):
        if part.offsets is not None:
            offsets = nodes.read(part.offsets)
            offsets = nodes.one("Gather", offsets, nodes.ints(1, 0), axis=2) if form == "centerface" else offsets
            points = nodes.one("Add", points, nodes.one("Mul", offsets, strides))
        if form == "centerface":
            table = nodes.one("Exp", nodes.one("Gather", table, nodes.ints(1, 0), axis=2))
        return _around(nodes, points, nodes.one("Mul", table, strides))
    first, size = nodes.columns(table, 0, 2), nodes.columns(table, 2, 4)
    if form == "yolox":
        centre = nodes.one("Add", points, nodes.one("Mul", first, strides))
        return _around(nodes, centre, nodes.one("Mul", nodes.one("Exp", size), strides))
    if layout.activation:
        first, size = nodes.one("Sigmoid", first), nodes.one("Sigmoid", size)
    two = nodes.const(2.0)
    offset = nodes.one("Sub", nodes.one("Mul", first, two), nodes.const(0.5))
    centre = nodes.one("Add", points, nodes.one("Mul", offset, strides))
    doubled = nodes.one("Mul", size, two)
    anchors = nodes.const(np.concatenate([_anchor_sizes(grid) for grid in grids])[None])
    return _around(nodes, centre, nodes.one("Mul", nodes.one("Mul", doubled, doubled), anchors))


def _around(nodes: Nodes, centre: str, size: str) -> str:
    half = nodes.one("Mul", size, nodes.const(0.5))
    return nodes.one("Concat", nodes.one("Sub", centre, half), nodes.one("Add", centre, half), axis=2)


def _from_corner(nodes: Nodes, first: str, size: str) -> str:
    return nodes.one("Concat", first, nodes.one("Add", first, size), axis=2)


def _expected(nodes: Nodes, table: str) -> str:
    """(N, A, 4 * bins) -> (N, A, 4): the mean of each side's distribution."""
    wide = nodes.one("Div", nodes.one("Shape", table, start=2, end=3), nodes.ints(4))
    split = nodes.one("Reshape", table, nodes.one("Concat", nodes.ints(0, -1, 4), wide, axis=0))
    shares = nodes.one("Softmax", split, axis=3)
    count = nodes.one("Squeeze", wide)
    bins = nodes.one("Range", nodes.const(0, np.int64), count, nodes.const(1, np.int64))
    bins = nodes.one("Unsqueeze", nodes.one("Cast", bins, to=FLOAT), nodes.ints(1))
    return nodes.one("Squeeze", nodes.one("MatMul", shares, bins), nodes.ints(3))


def _points(grids: Sequence[Grid], form: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(1, A, 2) the point (x, y) that each candidate's numbers count from, in pixels, and (1, A, 1) its stride."""
    points, strides = [], []
    for grid in grids:
        rows, columns = np.mgrid[: grid.cells[0], : grid.cells[1]]
        half = 0.0 if grid.corner or form in ("yolox", "anchors", "centre") else 0.5
        xy = (np.stack([columns, rows], axis=-1).reshape(-1, 2) + half) * grid.stride
        points.append(np.tile(xy, (grid.anchors, 1)) if grid.outer else np.repeat(xy, grid.anchors, axis=0))
        strides.append(np.full((grid.count, 1), grid.stride))
    return np.concatenate(points)[None].astype(np.float32), np.concatenate(strides)[None].astype(np.float32)


def _anchor_sizes(grid: Grid) -> NDArray[np.float32]:
    """(A, 2): width and height of each candidate's anchor box in pixels."""
    sizes = np.array(grid.sizes, np.float32)[:, ::-1]
    places = grid.cells[0] * grid.cells[1]
    return np.repeat(sizes, places, axis=0) if grid.outer else np.tile(sizes, (places, 1))
