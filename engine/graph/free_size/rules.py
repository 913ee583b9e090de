"""Which operators do the same at every height and width, and where they hold the size: see `proof.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import NodeProto

from ...proto.arguments import axes_of, pads_of, permutation_of, slice_of
from ...proto.attributes import attributes
from ...proto.edit import copied
from ...proto.operators import MICROSOFT, POINTWISE
from .proof import Places, SizeRefused, Walk, rule

_FAR = (1 << 31) - 1


@rule("Conv ConvTranspose MaxPool AveragePool LpPool LRN DepthToSpace SpaceToDepth InstanceNormalization")
@rule("GroupNormalization")
def _windows(walk: Walk, node: NodeProto) -> None:
    """The operator itself takes the last two axes for the picture."""
    places = walk.maps(node)
    if node.op_type == "MaxPool" and len(node.output) > 1 and node.output[1]:
        raise SizeRefused("the indices of its maxima count through the whole map")
    if attributes(node).get("output_shape"):
        raise SizeRefused("the size is written into its argument output_shape")
    walk.carry(node, places)


@rule("FusedConv", MICROSOFT)
def _fused_conv(walk: Walk, node: NodeProto) -> None:
    walk.carry(node, walk.maps(node))


@rule("GlobalAveragePool GlobalMaxPool GlobalLpPool")
def _global(walk: Walk, node: NodeProto) -> None:
    walk.maps(node)
    if node.op_type == "GlobalLpPool":
        raise SizeRefused("its sum grows with the size")
    walk.carry(node, None)


@rule("BatchNormalization Dropout")
def _same(walk: Walk, node: NodeProto) -> None:
    _, places = walk.data(node)
    if node.op_type == "BatchNormalization" and 1 in places:
        raise SizeRefused("it normalises along the picture")
    if len([o for o in node.output if o]) > 1:
        raise SizeRefused("it is in training mode")
    walk.carry(node, places)


@rule(" ".join(op for domain, op in POINTWISE if domain == ""))
@rule(" ".join(op for domain, op in POINTWISE if domain == MICROSOFT), MICROSOFT)
def _elementwise(walk: Walk, node: NodeProto) -> None:
    """Broadcasting aligns axes from the right."""
    names = [name for name in node.input if name]
    if node.op_type == "CastLike":
        names = names[:1]
    ranks = {name: walk.rank(name) for name in names}
    rank = max(ranks.values())
    found = {_shifted(walk.places[name], rank - ranks[name]) for name in names if name in walk.places}
    if len(found) != 1:
        raise SizeRefused("height and width of its inputs lie on different axes")
    places = found.pop()
    for name in names:
        if name not in walk.places:
            _same_everywhere(walk, name, [axis - (rank - ranks[name]) for axis in places])
    walk.carry(node, places)


def _shifted(places: Places, by: int) -> Places:
    return places[0] + by, places[1] + by


def _same_everywhere(walk: Walk, name: str, axes: Sequence[int]) -> None:
    """The value has one entry along each of these axes, or does not have them (negative numbers)."""
    shape = walk.model.values[name].shape
    if shape is None or any(axis >= 0 and shape[axis] != 1 for axis in axes):
        raise SizeRefused(f"{name!r} holds something of its own for every place (as position embeddings do)")


@rule("QuantizeLinear DequantizeLinear")
def _quantised(walk: Walk, node: NodeProto) -> None:
    rank, places = walk.data(node)
    per_axis = any(name and walk.rank(name) for name in node.input[1:])
    if per_axis and attributes(node).get("axis", 1) % rank in places:
        raise SizeRefused("its scales run along the picture")
    walk.carry(node, places)


@rule("Concat")
def _concat(walk: Walk, node: NodeProto) -> None:
    found = {walk.places.get(name) for name in node.input}
    places = found.pop()
    if found or places is None:
        raise SizeRefused("something of a fixed size is joined to the picture (as a class token is)")
    if attributes(node).get("axis", 0) % walk.rank(node.input[0]) in places:
        raise SizeRefused("it joins along the picture")
    walk.carry(node, places)


@rule("Split")
def _split(walk: Walk, node: NodeProto) -> None:
    rank, places = walk.data(node)
    if attributes(node).get("axis", 0) % rank in places:
        raise SizeRefused("it splits the picture")
    walk.carry(node, places)


@rule("Transpose")
def _transpose(walk: Walk, node: NodeProto) -> None:
    rank, places = walk.data(node)
    order = permutation_of(node, rank)
    walk.carry(node, (order.index(places[0]), order.index(places[1])))


@rule("Squeeze Unsqueeze")
def _rerank(walk: Walk, node: NodeProto) -> None:
    rank, places = walk.data(node)
    axes = axes_of(node, walk.constant)
    if axes is None:
        raise SizeRefused("it drops every axis of size 1")
    if node.op_type == "Squeeze":
        gone = [a % rank for a in axes]
        if set(gone) & set(places):
            raise SizeRefused("it drops height or width")
        kept = [a for a in range(rank) if a not in gone]
        walk.carry(node, (kept.index(places[0]), kept.index(places[1])))
        return
    total = rank + len(axes)
    added = [a % total for a in axes]
    free = [a for a in range(total) if a not in added]
    walk.carry(node, (free[places[0]], free[places[1]]))


@rule("Slice")
def _slice(walk: Walk, node: NodeProto) -> None:
    rank, places = walk.data(node)
    for cut in slice_of(node, rank, walk.constant):
        if cut.axis in places and not (cut.start >= 0 and cut.end >= _FAR and cut.step > 0):
            raise SizeRefused("the size is written into what it cuts out")
    walk.carry(node, places)


@rule("Pad")
def _pad(walk: Walk, node: NodeProto) -> None:
    rank, places = walk.data(node)
    pads_of(node, rank, walk.constant)
    walk.carry(node, places)


@rule("Softmax LogSoftmax Hardmax LpNormalization LayerNormalization RMSNormalization ArgMax ArgMin")
def _along_axis(walk: Walk, node: NodeProto) -> None:
    rank, places = walk.data(node)
    last = node.op_type in ("LpNormalization", "LayerNormalization", "RMSNormalization")
    given = attributes(node)
    old = not last and not node.op_type.startswith("Arg") and walk.model.opset < 13
    axis = given.get("axis", 0 if node.op_type.startswith("Arg") else 1 if old else -1) % rank
    through = node.op_type in ("LayerNormalization", "RMSNormalization") or old
    if axis in places or (through and max(places) > axis):
        raise SizeRefused("it normalises or chooses along the picture")
    if node.op_type.startswith("Arg") and not given.get("keepdims", 1):
        places = places[0] - (axis < places[0]), places[1] - (axis < places[1])
    walk.carry(node, places)


@rule("MeanVarianceNormalization")
def _mean_variance(walk: Walk, node: NodeProto) -> None:
    _, places = walk.data(node)
    walk.carry(node, places)


@rule("ReduceMean ReduceMax ReduceMin ReduceSum ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSumExp ReduceLogSum")
@rule("ReduceProd")
def _reduce(walk: Walk, node: NodeProto) -> None:
    rank, places = walk.data(node)
    given = attributes(node)
    axes = axes_of(node, walk.constant)
    if not axes and given.get("noop_with_empty_axes", 0):
        walk.carry(node, places)
        return
    gone = {a % rank for a in axes} if axes else set(range(rank))
    over = gone & set(places)
    if over and node.op_type not in ("ReduceMean", "ReduceMax", "ReduceMin"):
        raise SizeRefused("its sum grows with the size")
    if len(over) == 1:
        raise SizeRefused("it reduces one of height and width")
    if over:
        walk.carry(node, None)
    elif given.get("keepdims", 1):
        walk.carry(node, places)
    else:
        kept = [a for a in range(rank) if a not in gone]
        walk.carry(node, (kept.index(places[0]), kept.index(places[1])))


@rule("MatMul")
def _matmul(walk: Walk, node: NodeProto) -> None:
    rank, places = walk.data(node)
    if rank < 3 or rank - 1 in places or walk.rank(node.input[1]) != 2:
        raise SizeRefused("it multiplies along the picture")
    walk.carry(node, places)


@rule("Gather")
def _gather(walk: Walk, node: NodeProto) -> None:
    rank, places = walk.data(node)
    axis = attributes(node).get("axis", 0) % rank
    if axis in places:
        raise SizeRefused("it picks places")
    more = walk.rank(node.input[1]) - 1
    walk.carry(node, (places[0] + more * (axis < places[0]), places[1] + more * (axis < places[1])))


@rule("Flatten")
def _flatten(walk: Walk, node: NodeProto) -> None:
    raise SizeRefused("it makes one long row of the picture, for a dense layer of one size")


@rule("Reshape")
def _reshape(walk: Walk, node: NodeProto) -> None:
    """Only other axes are split or merged (channel shuffle): height and width are copied from the input at run time."""
    _, places = walk.data(node)
    before = walk.model.values[node.input[0]].shape
    after = walk.model.values[node.output[0]].shape
    if before is None or after is None:
        raise SizeRefused("the shapes before and after it are not known")
    moved = _kept_places(before, after, places)
    if moved is None:
        raise SizeRefused("it merges height and width with other axes (as patches become tokens)")
    near = node.output[0]
    shape, sizes, whole = (walk.fresh(f"{near}/{part}") for part in ("shape", "sizes", "whole"))
    walk.add(onnx.helper.make_node("Shape", [node.input[0]], [shape]))
    lengths = walk.store(f"{near}/picture", np.array(places, np.int64))
    walk.add(onnx.helper.make_node("Gather", [shape, lengths], [sizes], axis=0))
    target = [int(d) if isinstance(d, int) else -1 for d in after]
    if target.count(-1) > 1:
        raise SizeRefused("more than one of its sizes is open")
    parts = [
        walk.store(f"{near}/before", np.array(target[: moved[0]], np.int64)),
        sizes,
        walk.store(f"{near}/after", np.array(target[moved[1] + 1 :], np.int64)),
    ]
    walk.add(onnx.helper.make_node("Concat", parts, [whole], axis=0))
    changed = copied(node)
    changed.input[1] = whole
    walk.carry(changed, moved)


def _kept_places(before: Sequence[object], after: Sequence[object], places: Places) -> Places | None:
    """Where height and width, next to each other, lie after a reshape; None if they are not kept."""
    if places[1] != places[0] + 1 or places[0] < 1:
        return None
    front, back = _product(before[: places[0]]), _product(before[places[1] + 1 :])
    for axis in range(len(after) - 1):
        pair = after[axis] == before[places[0]] and after[axis + 1] == before[places[1]]
        if pair and _product(after[:axis]) == front and _product(after[axis + 2 :]) == back:
            return axis, axis + 1
    return None


def _product(sizes: Sequence[object]) -> tuple[int, tuple[object, ...]]:
    """The product of the sizes that are numbers, and the names of the others."""
    return math.prod(d for d in sizes if isinstance(d, int)), tuple(d for d in sizes if not isinstance(d, int))


@rule("Upsample")
def _upsample(walk: Walk, node: NodeProto) -> None:
    _, places = walk.data(node)
    walk.carry(node, places)


@rule("Resize")
def _resize(walk: Walk, node: NodeProto) -> None:
    _, places = walk.data(node)
    given = attributes(node)
    if given.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        raise SizeRefused("it crops")
    if len(node.input) < 4 or not node.input[3]:
        walk.carry(node, places)
        return
    before, after = (walk.model.values[name].shape for name in (node.input[0], node.output[0]))
    known = all(isinstance(s, tuple) and isinstance(s[a], int) for s in (before, after) for a in places)
    if not known or before is None or after is None or "axes" in given or walk.model.opset < 13:
        raise SizeRefused("the size is written into its argument")
    scales = [1.0] * len(before)
    for axis in places:
        larger, smaller = int(after[axis] or 0), int(before[axis] or 1)
        if larger % smaller or (given.get("coordinate_transformation_mode") == "align_corners"):
            raise SizeRefused("the size is written into its argument")
        scales[axis] = larger / smaller
    changed = copied(node)
    del changed.input[3:]
    changed.input[2] = walk.store(node.output[0], np.asarray(scales, np.float32))
    walk.carry(changed, places)
