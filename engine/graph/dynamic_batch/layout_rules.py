"""Which operators that move values keep samples apart, and where they hold the batch size: see `proof.py`."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto

from ...proto.arguments import axes_of, pads_of, permutation_of, slice_of
from ...proto.attributes import attributes
from ...proto.edit import copied
from ...proto.operators import MICROSOFT
from .proof import Batch, BatchRefused, rule


@rule("Flatten")
def _flatten(batch: Batch, node: NodeProto) -> None:
    rank = batch.data(node)
    axis = attributes(node).get("axis", 1)
    if (axis + rank if axis < 0 else axis) != 1:
        raise BatchRefused("it merges axis 0 with others")
    batch.carry(node)


@rule("Transpose")
def _transpose(batch: Batch, node: NodeProto) -> None:
    if permutation_of(node, batch.data(node))[:1] != [0]:
        raise BatchRefused("it moves axis 0")
    batch.carry(node)


@rule("Squeeze Unsqueeze")
def _rerank(batch: Batch, node: NodeProto) -> None:
    rank = batch.data(node)
    axes = axes_of(node, batch.constant)
    if axes is None:
        raise BatchRefused("it drops every axis of size 1")
    total = rank + len(axes) if node.op_type == "Unsqueeze" else rank
    if any(a % total == 0 for a in axes):
        raise BatchRefused("it adds or drops axis 0")
    batch.carry(node)


@rule("Concat")
def _concat(batch: Batch, node: NodeProto) -> None:
    carrying = next(name for name in node.input if name in batch.carries)
    rank = batch.rank(carrying)
    if attributes(node).get("axis", 0) % rank == 0:
        raise BatchRefused("it joins along axis 0")
    changed = copied(node)
    for i, name in enumerate(node.input):
        if name not in batch.carries:  # a class token, which every sample gets a copy of
            changed.input[i] = _copied(batch, node, i, rank, carrying)
    batch.carry(changed)


def _copied(batch: Batch, node: NodeProto, at: int, rank: int, like: str) -> str:
    """Input `at`, repeated along axis 0 as often as there are samples in `like`."""
    name = node.input[at]
    shape = batch.model.values[name].shape
    if shape is None or len(shape) != rank or shape[0] != 1 or batch.size != 1:
        raise BatchRefused(f"{name!r} holds something of its own for every sample")
    near = f"{node.output[0]}/{at}"
    copied = batch.fresh(f"{near}/copied")
    target = batch.own_size(near, like, [1] * (rank - 1))
    batch.add(onnx.helper.make_node("Expand", [name, target], [copied]))
    return copied


@rule("QLinearConcat", MICROSOFT)
def _quantised_concat(batch: Batch, node: NodeProto) -> None:
    parts = list(node.input)[2::3]
    batch.fixed(name for i, name in enumerate(node.input) if i < 2 or i % 3 != 2)
    alone = [name for name in parts if name not in batch.carries]
    if alone:
        raise BatchRefused(f"{alone[0]!r}, which is the same for every sample, is joined to the samples")
    if attributes(node).get("axis", 0) % batch.rank(parts[0]) == 0:
        raise BatchRefused("it joins along axis 0")
    batch.carry(node)


@rule("Split")
def _split(batch: Batch, node: NodeProto) -> None:
    rank = batch.data(node)
    if attributes(node).get("axis", 0) % rank == 0:
        raise BatchRefused("it splits axis 0")
    batch.carry(node)


_FAR = (1 << 31) - 1


@rule("Slice")
def _slice(batch: Batch, node: NodeProto) -> None:
    for cut in slice_of(node, batch.data(node), batch.constant):
        if cut.axis == 0 and not (cut.start == 0 and cut.end >= _FAR and cut.step == 1):
            raise BatchRefused("it slices axis 0")
    batch.carry(node)


@rule("Pad")
def _pad(batch: Batch, node: NodeProto) -> None:
    if any(pads_of(node, batch.data(node), batch.constant)[0]):
        raise BatchRefused("it pads axis 0")
    batch.carry(node)


@rule("Reshape")
def _reshape(batch: Batch, node: NodeProto) -> None:
    batch.data(node)
    target = batch.numbers(node.input[1])
    literal = bool(attributes(node).get("allowzero", 0))
    before = batch.model.values[node.input[0]].shape
    after = batch.model.values[node.output[0]].shape
    if not target or after is None or before is None or after[:1] != (batch.size,):
        raise BatchRefused("it merges axis 0 with others")
    if not all(isinstance(d, int) for d in (*before[1:], *after[1:])):
        raise BatchRefused("sizes of its input are not known")
    # Entry i of the result holds the numbers of sample i only if a sample keeps its number of elements.
    if np.prod([int(d or 0) for d in before[1:]], dtype=float) != np.prod(
        [int(d or 0) for d in after[1:]], dtype=float
    ):
        raise BatchRefused("it merges axis 0 with others")
    if target[0] == 0 and not literal:
        batch.carry(node)
        return
    if not literal:
        target[0] = 0
    elif -1 not in target[1:]:
        target[0] = -1
    elif 0 not in target:
        target[0], literal = 0, False
    else:
        raise BatchRefused("its shape leaves no room for a dynamic size")
    changed = copied(node)
    changed.input[1] = batch.store(node.output[0], np.asarray(target, np.int64))
    if not literal:
        kept = [a for a in node.attribute if a.name != "allowzero"]
        del changed.attribute[:]
        changed.attribute.extend(kept)
    batch.carry(changed)


@rule("Expand")
def _expand(batch: Batch, node: NodeProto) -> None:
    rank = batch.data(node)
    target = batch.numbers(node.input[1])
    if len(target) > rank or (len(target) == rank and target[0] not in (1, batch.size)):
        raise BatchRefused("it repeats samples or adds axes before them")
    if len(target) < rank or target[0] == 1:
        batch.carry(node)
        return
    changed = copied(node)
    changed.input[1] = batch.store(node.output[0], np.asarray([1, *target[1:]], np.int64))
    batch.carry(changed)


@rule("Tile")
def _tile(batch: Batch, node: NodeProto) -> None:
    batch.data(node)
    if batch.numbers(node.input[1])[:1] != [1]:
        raise BatchRefused("it repeats samples")
    batch.carry(node)


@rule("Gather")
def _gather(batch: Batch, node: NodeProto) -> None:
    data, indices = node.input[:2]
    axis = attributes(node).get("axis", 0) % max(batch.rank(data), 1)
    if data in batch.carries and indices not in batch.carries and axis > 0:
        batch.carry(node)
    elif data not in batch.carries and axis == 0 and batch.rank(indices) > 0:
        batch.carry(node)  # a table that samples look things up in
    else:
        raise BatchRefused("it picks samples, or what it picks depends on them")


@rule("GatherElements")
def _gather_elements(batch: Batch, node: NodeProto) -> None:
    rank = batch.rank(node.input[0])
    if not batch.carries.issuperset(node.input) or attributes(node).get("axis", 0) % rank == 0:
        raise BatchRefused("it picks along axis 0, or the same for every sample")
    batch.carry(node)


@rule("Upsample")
def _upsample(batch: Batch, node: NodeProto) -> None:
    batch.data(node)
    scales = attributes(node).get("scales")
    if (batch.numbers(node.input[1]) if scales is None else list(scales))[:1] != [1]:
        raise BatchRefused("it scales axis 0")
    batch.carry(node)


@rule("Resize")
def _resize(batch: Batch, node: NodeProto) -> None:
    rank = batch.data(node)
    given = attributes(node)
    if given.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        raise BatchRefused("it crops")
    axes = [a % rank for a in given.get("axes", range(rank))]
    if 0 not in axes:
        batch.carry(node)
        return
    place = axes.index(0)
    inputs = [*node.input, "", "", ""][:4]
    # Before opset 11 there were two inputs, and `roi` was none of them.
    scales_at = 1 if len(node.input) == 2 else 2
    if len(node.input) < 4 or not inputs[3]:
        scales = batch.numbers(inputs[scales_at])
        batch.matched(scales, axes)
        if scales[place] != 1:
            raise BatchRefused("it scales axis 0")
        batch.carry(node)
        return
    sizes = batch.numbers(inputs[3])
    batch.matched(sizes, axes)
    if sizes[place] != batch.size or place != 0 or given.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise BatchRefused("it scales axis 0")
    changed = copied(node)
    changed.input[3] = batch.own_size(node.output[0], node.input[0], sizes[1:])
    batch.carry(changed)


@rule("Einsum")
def _einsum(batch: Batch, node: NodeProto) -> None:
    left, arrow, right = attributes(node)["equation"].replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(node.input):
        raise BatchRefused("its terms do not fit its inputs")
    letters = {term[:1] for term, name in zip(terms, node.input, strict=True) if name in batch.carries}
    letter = letters.pop() if len(letters) == 1 else ""
    others = (term for term, name in zip(terms, node.input, strict=True) if name not in batch.carries)
    mixed = any(term.count(letter) > 1 for term in terms) if letter else True
    if not arrow or not letter.isalpha() or right[:1] != letter or mixed or any(letter in term for term in others):
        raise BatchRefused("the first letter of its terms is not the batch throughout")
    batch.carry(node)
