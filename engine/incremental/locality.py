"""Region algebra: what of a value changes with a part of the image, and what of its input is needed for a part of it.

Rows and columns are independent of each other in every operator that is treated here, so all of it is about intervals
of one axis. Position p of a node's output reads the positions floor((p * num + low) / den) ... floor((p * num + high)
/ den) of its input (`Reach`): a stride of s is num = s, an enlargement by f is den = f. From that follow, exactly, what
changes (`forward`) and what is needed (`backward`). What has no such form (dense layers, global pooling, attention,
squeeze and excitation, normalisation over positions) ends the local part of a network.

Nakandala, Kumar and Papakonstantinou, "Incremental and approximate inference for faster occlusion-based deep CNN
explanations", SIGMOD 2019, section 4, is where the idea for chains of convolutions comes from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from onnx import NodeProto

from ..errors import ModelError
from ..graph.model import Model
from ..inspect.receptive_field import reshaped
from ..proto.arguments import Unreadable, axes_of, pads_of, permutation_of, slice_of
from ..proto.attributes import attributes, axis_of, window
from ..proto.nodes import DOMAIN_NAMES, plain_domain, reads, subgraphs
from ..proto.operators import MICROSOFT, POINTWISE, POINTWISE_WITH_CHANNELS, weight_of
from .reach import SAME, Reach, Spans, middle, union

Sizes: TypeAlias = Mapping[str, "tuple[int, ...] | None"]
Axes: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Step:
    """One node of the local part.

    reaches: for every input that depends on the image, how rows and columns are read. kind: how the node is written
    for a part of its output: "same" as it is; "window" with paddings of its own; "pad", "slice", "reshape", "resize"
    with arguments of their own. windows: kernel, stride, dilation along rows and columns.
    """

    node: NodeProto
    reaches: Mapping[str, tuple[Reach, Reach]]
    kind: str = "same"
    windows: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class Locality:
    """The local part of a model.

    axes: for every value in it, which of its axes are rows and columns. steps: its nodes, by the name of their first
    output. reached: all values that depend on the image. sizes: shapes in numbers, for the batch `batch`.
    """

    source: str
    batch: int
    sizes: Sizes
    axes: dict[str, Axes] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)

    def size(self, value: str, axis: int) -> int:
        """Rows (axis 0) or columns (1) of a value of the local part."""
        shape = self.sizes[value]
        assert shape is not None
        return shape[self.axes[value][axis]]


class Mixing(Exception):
    """The node mixes positions, or is not understood: the local part ends here."""


def locality(model: Model, source: str, axes: Axes, sizes: Sizes) -> Locality:
    """What is local in `model` as seen from its input `source`, whose rows and columns are `axes`.

    sizes: the shape of every value, for one and the same batch size; values whose shape is None are not local.
    """
    shape = sizes.get(source)
    if shape is None:
        raise ModelError(f"the shape of the input {source!r} is not known")
    found = Locality(source, shape[0], sizes)
    found.reached.add(source)
    found.axes[source] = axes
    fed = {v.name for v in model.inputs if v.name != source}
    beside = set(fed)  # computed from other inputs
    for node in model.graph.node:
        names = list(reads(node))
        outputs = [name for name in node.output if name]
        if any(name in beside for name in names):
            beside.update(outputs)
        if not any(name in found.reached for name in names):
            continue
        found.reached.update(outputs)
        if any(name in beside for name in names):
            continue
        try:
            step, places = _step(model, node, found)
        except (Mixing, Unreadable, ModelError):
            continue
        found.steps[outputs[0]] = step
        found.axes.update((name, places) for name in outputs)
    return found


def _step(model: Model, node: NodeProto, known: Locality) -> tuple[Step, Axes]:
    """The step of a node, and where rows and columns lie in its outputs. Raises Mixing."""
    local = [name for name in node.input if name in known.axes]
    if any(name in known.reached and name not in known.axes for name in reads(node)) or any(subgraphs(node)):
        raise Mixing
    if node.domain not in (*DOMAIN_NAMES, MICROSOFT):
        raise Mixing
    rule = _RULES.get((plain_domain(node.domain), node.op_type))
    if rule is None:
        raise Mixing
    step, places = rule(_View(model, node, known), list(dict.fromkeys(local)))
    for name in filter(None, node.output):
        shape = known.sizes.get(name)
        if shape is None or not shape or shape[0] != known.batch or max(places) >= len(shape) or 0 in places:
            raise Mixing
        if any(shape[place] < 1 for place in places):
            raise Mixing
    return step, places


class _View:
    """A node and what is known of its surroundings."""

    def __init__(self, model: Model, node: NodeProto, known: Locality) -> None:
        self.model, self.node, self.known = model, node, known
        self.given = attributes(node)

    def shape(self, name: str) -> tuple[int, ...]:
        found = self.known.sizes.get(name)
        if found is None:
            raise Mixing
        return found

    def only_first(self, local: list[str]) -> tuple[str, Axes]:
        """The data input, where no other input depends on the image. Raises Mixing."""
        if local != [self.node.input[0]] or self.node.input[0] in list(self.node.input)[1:]:
            raise Mixing
        return local[0], self.known.axes[local[0]]


_Rule: TypeAlias = Callable[[_View, "list[str]"], "tuple[Step, Axes]"]


def _pointwise(view: _View, local: list[str]) -> tuple[Step, Axes]:
    """Element by element, with broadcasting: axes are aligned from the right."""
    out = view.shape(view.node.output[0])
    places: Axes | None = None
    for name in view.node.input:
        if not name:
            continue
        shape = view.shape(name)
        if name in local:
            height, width = (axis + len(out) - len(shape) for axis in view.known.axes[name])
            if places not in (None, (height, width)):
                raise Mixing
            places = height, width
            if any(shape[a] != out[p] for a, p in zip(view.known.axes[name], places, strict=True)):
                raise Mixing  # one position is spread over all
    assert places is not None
    _check_constants(view, local, out, places)
    return _same(view, local), places


def _check_constants(view: _View, local: list[str], out: tuple[int, ...], places: Axes) -> None:
    """Constants that differ from place to place would have to be cut to size with every window."""
    per_channel = view.node.op_type in ("BatchNormalization", "QuantizeLinear", "DequantizeLinear")
    for name in filter(None, view.node.input):
        if name in local:
            continue
        shape = view.shape(name)
        if per_channel and len(shape) == 1:
            if view.node.op_type != "BatchNormalization" and shape[0] > 1:
                axis = axis_of(view.node, view.given.get("axis", 1), len(out))
                if axis in places:
                    raise Mixing
            continue
        for place in places:
            at = place - (len(out) - len(shape))
            if at >= 0 and shape[at] != 1:
                raise Mixing


def _same(view: _View, local: list[str]) -> Step:
    return Step(view.node, dict.fromkeys(local, (SAME, SAME)))


def _concat(view: _View, local: list[str]) -> tuple[Step, Axes]:
    out = view.shape(view.node.output[0])
    axis = axis_of(view.node, view.given.get("axis", 0), len(out))
    places = {view.known.axes[name] for name in local}
    # A constant beside the maps would have to be cut to size.
    data = [name for name in view.node.input if name]
    if view.node.op_type == "QLinearConcat":
        data = data[2::3]
    if len(places) != 1 or axis == 0 or any(name not in local for name in data):
        raise Mixing
    (found,) = places
    if axis in found:
        raise Mixing
    return _same(view, local), found


def _window(view: _View, local: list[str]) -> tuple[Step, Axes]:
    node, given = view.node, view.given
    added = node.op_type == "FusedConv" and len(node.input) > 3 and node.input[3] in local
    if node.input[0] not in local or len(local) > 1 + added or (added and node.input[3] == node.input[0]):
        raise Mixing
    name = node.input[0]
    shape, axes = view.shape(name), view.known.axes[name]
    if len(shape) != 4 or axes != (2, 3) or (added and view.known.axes[node.input[3]] != (2, 3)):
        raise Mixing
    if len([out for out in node.output if out]) > 1 or given.get("storage_order", 0):
        raise Mixing
    if given.get("ceil_mode", 0) and given.get("count_include_pad", 0):
        raise Mixing  # what lies beyond the padding is not counted, what lies in it is
    if given.get("channels_last", 0) or (node.op_type == "QLinearAveragePool" and given.get("ceil_mode", 0)):
        raise Mixing
    kernel = given.get("kernel_shape") or view.shape(weight_of(node))[2:]
    steps = window(node, shape[2:], [int(k) for k in kernel])
    if len(steps) != 2:
        raise Mixing
    reaches = tuple(Reach(stride, 1, -before, (k - 1) * d - before) for k, stride, d, before in steps)
    pair = (reaches[0], reaches[1])
    mapped = {name: pair, **({node.input[3]: (SAME, SAME)} if added else {})}
    return Step(node, mapped, "window", tuple(step[:3] for step in steps)), axes


def _transpose(view: _View, local: list[str]) -> tuple[Step, Axes]:
    name, axes = view.only_first(local)
    order = permutation_of(view.node, len(view.shape(name)))
    if order[0] != 0:
        raise Mixing
    return _same(view, local), (order.index(axes[0]), order.index(axes[1]))


def _along_channels(view: _View, local: list[str]) -> tuple[Step, Axes]:
    """Softmax, normalisation, splitting along an axis that is no position."""
    name, axes = view.only_first(local)
    op, rank = view.node.op_type, len(view.shape(name))
    softmax = op in ("Softmax", "LogSoftmax", "Hardmax")
    old = softmax and view.model.opset < 13
    axis = axis_of(view.node, view.given.get("axis", {"Split": 0}.get(op, 1 if old else -1)), rank)
    onward = old or op in ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
    if axis == 0 or axis in axes or (onward and any(a > axis for a in axes)):
        raise Mixing
    return _same(view, local), axes


def _reduction(view: _View, local: list[str]) -> tuple[Step, Axes]:
    name, axes = view.only_first(local)
    rank = len(view.shape(name))
    chosen = axes_of(view.node, view.model.constant)
    if not chosen:
        raise Mixing
    gone = {axis_of(view.node, int(a), rank) for a in chosen}
    if 0 in gone or any(a in gone for a in axes):
        raise Mixing
    if view.given.get("keepdims", 1):
        return _same(view, local), axes
    height, width = (a - sum(g < a for g in gone) for a in axes)
    return _same(view, local), (height, width)


def _product(view: _View, local: list[str]) -> tuple[Step, Axes]:
    """Positions are rows of the left factor, as in a dense layer over the channels of NHWC."""
    name, axes = view.only_first(local)
    rank = len(view.shape(name))
    if len(view.shape(view.node.input[1])) != 2 or rank - 1 in axes:
        raise Mixing
    return _same(view, local), axes


def _pad(view: _View, local: list[str]) -> tuple[Step, Axes]:
    name, axes = view.only_first(local)
    pads = pads_of(view.node, len(view.shape(name)), view.model.constant)
    if any(any(pads[a]) for a in axes) and view.given.get("mode", "constant") != "constant":
        raise Mixing  # reflections and wrapped borders depend on pixels elsewhere
    if any(pads[0]):
        raise Mixing
    reaches = [Reach(1, 1, -pads[a][0], -pads[a][0]) for a in axes]
    return Step(view.node, {name: (reaches[0], reaches[1])}, "pad"), axes


def _slice(view: _View, local: list[str]) -> tuple[Step, Axes]:
    name, axes = view.only_first(local)
    shape = view.shape(name)
    cuts = slice_of(view.node, len(shape), view.model.constant, ends=False)
    if any(axis not in axes for axis, *_ in cuts):
        slice_of(view.node, len(shape), view.model.constant)  # what is cut of other axes is written with its end
    reaches = dict.fromkeys(axes, SAME)
    for axis, start, _, stride in cuts:
        if axis not in axes:
            if axis == 0:
                raise Mixing
            continue
        if stride < 1:
            raise Mixing
        first = min(max(start + shape[axis], 0) if start < 0 else start, shape[axis])
        reaches[axis] = Reach(stride, 1, first, first)
    return Step(view.node, {name: (reaches[axes[0]], reaches[axes[1]])}, "slice"), axes


def _rerank(view: _View, local: list[str]) -> tuple[Step, Axes]:
    name, axes = view.only_first(local)
    rank = len(view.shape(name))
    chosen = axes_of(view.node, view.model.constant)
    if chosen is None:
        raise Mixing
    if view.node.op_type == "Squeeze":
        gone = [axis_of(view.node, int(a), rank) for a in chosen]
        if any(a in gone for a in axes):
            raise Mixing
        height, width = (a - sum(g < a for g in gone) for a in axes)
        return _same(view, local), (height, width)
    new = {axis_of(view.node, int(a), rank + len(chosen)) for a in chosen}
    places = [a for a in range(rank + len(chosen)) if a not in new]
    return _same(view, local), (places[axes[0]], places[axes[1]])


def _reshape(view: _View, local: list[str]) -> tuple[Step, Axes]:
    name, axes = view.only_first(local)
    before, after = view.shape(name), view.shape(view.node.output[0])
    places = reshaped(before, after, sorted(axes))
    if places is None or before[0] != after[0] or (view.known.batch == 1 and 1 in (*before[1:2], *after[1:2])):
        raise Mixing
    return Step(view.node, {name: (SAME, SAME)}, "reshape"), (places[axes[0]], places[axes[1]])


def _gather(view: _View, local: list[str]) -> tuple[Step, Axes]:
    name, axes = view.only_first(local)
    axis = axis_of(view.node, view.given.get("axis", 0), len(view.shape(name)))
    if axis == 0 or axis in axes:
        raise Mixing
    added = len(view.shape(view.node.input[1])) - 1
    height, width = (a + (added if a > axis else 0) for a in axes)
    return _same(view, local), (height, width)


def _space_to_depth(view: _View, local: list[str]) -> tuple[Step, Axes]:
    name, axes = view.only_first(local)
    block = int(view.given.get("blocksize", 1))
    if axes != (2, 3):
        raise Mixing
    reach = Reach(block, 1, 0, block - 1)
    return Step(view.node, {name: (reach, reach)}), axes


def _resize(view: _View, local: list[str]) -> tuple[Step, Axes]:
    """Enlargement by whole factors, and shrinking by 2, 4, 8, ..., in coordinates that move along with the map."""
    name, axes = view.only_first(local)
    before, after = view.shape(name), view.shape(view.node.output[0])
    given = view.given
    mode = given.get("mode", "nearest")
    old = view.node.op_type == "Upsample" or view.model.opset < 11
    coordinates = "asymmetric" if old else given.get("coordinate_transformation_mode", "half_pixel")
    if mode not in ("nearest", "linear") or coordinates not in ("asymmetric", "half_pixel", "pytorch_half_pixel"):
        raise Mixing
    if given.get("antialias", 0) or len(before) != len(after) or given.get("axes") is not None:
        raise Mixing
    for axis in range(len(before)):
        shrink = before[axis] // max(after[axis], 1)
        # By 3, the coordinates would be rounded otherwise in a crop than in the whole map.
        whole = after[axis] % before[axis] == 0 or (shrink * after[axis] == before[axis] and not shrink & (shrink - 1))
        if not whole or (axis not in axes and before[axis] != after[axis]):
            raise Mixing
        if coordinates == "pytorch_half_pixel" and after[axis] == 1 and before[axis] > 1:
            raise Mixing
    reaches = []
    for axis in axes:
        factor, shrink = after[axis] // before[axis], before[axis] // after[axis]
        if factor == 1:
            reaches.append(SAME)
        elif shrink > 1:
            reaches.append(Reach(shrink, 1, 0, shrink - 1))
        else:  # the two neighbours of p / f, or of (p + 0.5) / f - 0.5
            low = 0 if coordinates == "asymmetric" else 1 - factor
            reaches.append(Reach(2, 2 * factor, low, low + 2 * factor))
    return Step(view.node, {name: (reaches[0], reaches[1])}, "resize"), axes


_RULES: dict[tuple[str, str], _Rule] = {
    **dict.fromkeys((*POINTWISE, *POINTWISE_WITH_CHANNELS), _pointwise),
    **{("", op): _window for op in ("Conv", "QLinearConv", "ConvInteger", "MaxPool", "AveragePool", "LpPool")},
    **{(MICROSOFT, op): _window for op in ("FusedConv", "QLinearAveragePool")},
    ("", "Concat"): _concat,
    (MICROSOFT, "QLinearConcat"): _concat,
    **{
        ("", op): _along_channels
        for op in (
            *("Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "Split"),
            *("LayerNormalization", "RMSNormalization"),
        )
    },
    ("", "SimplifiedLayerNormalization"): _along_channels,
    **{("", f"Reduce{name}"): _reduction for name in "Mean Sum Max Min Prod L1 L2 LogSum LogSumExp SumSquare".split()},
    ("", "ArgMax"): _reduction,
    ("", "ArgMin"): _reduction,
    ("", "MatMul"): _product,
    ("", "Transpose"): _transpose,
    ("", "Pad"): _pad,
    ("", "Slice"): _slice,
    ("", "Squeeze"): _rerank,
    ("", "Unsqueeze"): _rerank,
    ("", "Reshape"): _reshape,
    ("", "Gather"): _gather,
    ("", "SpaceToDepth"): _space_to_depth,
    ("", "Resize"): _resize,
    ("", "Upsample"): _resize,
}


def changed(model: Model, known: Locality, windows: Spans, axis: int, cap: float | None = None) -> dict[str, Spans]:
    """For every value of the local part: what can change of its rows (axis 0) or columns (1).

    windows: the rows or columns of the image that are hidden, (n, 2). cap: no more than this part of a map, the middle
    of it, counts as changed: an approximation (Nakandala et al. 2019, section 5: projective field thresholding).
    """
    found = {known.source: windows}
    for node in model.graph.node:
        step = known.steps.get(next((name for name in node.output if name), ""))
        if step is None:
            continue
        for output in filter(None, node.output):
            spans: Spans | None = None
            size = known.size(output, axis)
            for name, reach in step.reaches.items():
                spans = union(spans, reach[axis].forward(found[name], size))
            assert spans is not None
            found[output] = spans if cap is None else middle(spans, max(1, math.ceil(cap * size)))
    return found
