"""Which operators keep samples apart, and on what conditions: the rules behind `batch.make_dynamic`.

A rule sees one node of which at least one input carries the batch. It returns after recording the node and what of its
outputs carries the batch, or raises Refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import onnx
from onnx import NodeProto, TensorProto

from .attributes import attributes
from .graph import Model


class Refused(Exception):
    """The node does not keep samples apart, or it cannot be proven."""


class Batch:
    """The state of the proof.

    Attributes: `carries` (values whose axis 0 is the batch), `nodes` (of the new graph), `added` (initializers of it).
    """

    def __init__(self, model: Model, size: int) -> None:
        self.model, self.size = model, size
        self.carries: set[str] = set()
        self.nodes: list[NodeProto] = []
        self.added: list[TensorProto] = []
        self._taken = set(model.values)

    def keep(self, node: NodeProto) -> None:
        self.nodes.append(node)

    def carry(self, node: NodeProto) -> None:
        """The node is kept; all its outputs carry the batch."""
        self.nodes.append(node)
        self.carries.update(name for name in node.output if name)

    def rank(self, name: str) -> int:
        rank = self.model.values[name].rank
        if rank is None:
            raise Refused(f"the number of axes of {name!r} is not known")
        return rank

    def constant(self, name: str) -> np.ndarray:
        if name in self.carries:
            raise Refused(f"its argument {name!r} depends on the samples")
        found = self.model.constant(name)
        if found is None:
            raise Refused(f"its argument {name!r} is not constant")
        return found

    def fixed(self, names: Iterable[str]) -> None:
        """Arguments that must not depend on the samples."""
        for name in names:
            if name in self.carries:
                raise Refused(f"its argument {name!r} depends on the samples")

    def data(self, node: NodeProto) -> int:
        """Rank of the first input, which must be the only one that carries the batch."""
        if not node.input or node.input[0] not in self.carries:
            raise Refused("its first input does not depend on the samples, another one does")
        self.fixed(node.input[1:])
        return self.rank(node.input[0])

    def store(self, near: str, array: np.ndarray) -> str:
        name = self.fresh(f"{near}/batch")
        self.added.append(onnx.numpy_helper.from_array(array, name))
        return name

    def own_size(self, near: str, like: str, rest: list[int]) -> str:
        """A new value: the batch size that `like` has at run time, then `rest`."""
        shape, first, whole = (self.fresh(f"{near}/{part}") for part in ("shape", "batch_size", "whole"))
        zero = self.store(f"{near}/zero", np.zeros(1, np.int64))
        tail = self.store(f"{near}/rest", np.asarray(rest, np.int64))
        self.keep(onnx.helper.make_node("Shape", [like], [shape]))
        self.keep(onnx.helper.make_node("Gather", [shape, zero], [first], axis=0))
        self.keep(onnx.helper.make_node("Concat", [first, tail], [whole], axis=0))
        return whole

    def fresh(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name


Rule = Callable[[Batch, NodeProto], None]
RULES: dict[tuple[str, str], Rule] = {}
_MS = "com.microsoft"


def _rule(names: str, domain: str = "") -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(((domain, name) for name in names.split()), function))
        return function

    return register


@_rule(
    "Conv ConvTranspose ConvInteger QLinearConv MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool"
)
@_rule("InstanceNormalization GroupNormalization LRN DepthToSpace SpaceToDepth", "")
@_rule("QLinearAveragePool QLinearGlobalAveragePool NhwcMaxPool NhwcFusedConv", _MS)
def _per_sample(batch: Batch, node: NodeProto) -> None:
    """The operator itself takes axis 0 for the batch."""
    batch.data(node)
    if node.op_type == "MaxPool" and len(node.output) > 1 and node.output[1]:
        raise Refused("the indices of its maxima count through the whole batch")
    batch.carry(node)


@_rule("FusedConv", _MS)
def _fused_conv(batch: Batch, node: NodeProto) -> None:
    batch.fixed(node.input[1:3])
    if node.input[0] not in batch.carries:
        raise Refused("its first input does not depend on the samples, another one does")
    if len(node.input) > 3 and node.input[3] and node.input[3] not in batch.carries:
        _broadcasts(batch, node.input[3], batch.rank(node.input[0]))
    batch.carry(node)


@_rule("BatchNormalization")
def _batch_normalization(batch: Batch, node: NodeProto) -> None:
    batch.data(node)
    if attributes(node).get("training_mode", 0) or len([o for o in node.output if o]) > 1:
        raise Refused("the statistics of the batch are used")
    batch.carry(node)


@_rule("Dropout")
def _dropout(batch: Batch, node: NodeProto) -> None:
    batch.data(node)
    if len(node.input) > 2 and node.input[2] and bool(np.any(batch.constant(node.input[2]))):
        raise Refused("it is in training mode")
    batch.carry(node)


@_rule(
    """Abs Acos Acosh Asin Asinh Atan Atanh BitShift BitwiseNot Cast Ceil Celu Clip Cos Cosh Elu Erf Exp Floor Gelu
    HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu Shrink Sigmoid Sign
    Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu Add Sub Mul Div Pow Max Min Mean Sum Mod PRelu Where
    And Or Xor Equal Greater GreaterOrEqual Less LessOrEqual BitwiseAnd BitwiseOr BitwiseXor CastLike"""
)
@_rule("Gelu QuickGelu FastGelu BiasGelu", _MS)
def _elementwise(batch: Batch, node: NodeProto) -> None:
    """Broadcasting aligns axes from the right: axis 0 of the result is the batch if all else stays right of it."""
    names = [name for name in node.input if name]
    if node.op_type == "CastLike":
        batch.fixed(names[1:])
        names = names[:1]
    _aligned(batch, names)
    batch.carry(node)


def _aligned(batch: Batch, names: list[str]) -> None:
    rank = max(batch.rank(name) for name in names if name in batch.carries)
    for name in names:
        if name not in batch.carries:
            _broadcasts(batch, name, rank)
        elif batch.rank(name) != rank or rank == 0:
            raise Refused(f"the batch axis of {name!r} is broadcast against another axis")


def _broadcasts(batch: Batch, name: str, rank: int) -> None:
    """A constant of which every sample sees the same."""
    shape = batch.model.values[name].shape
    if shape is None or len(shape) > rank or (len(shape) == rank and shape[0] != 1):
        raise Refused(f"{name!r} holds something of its own for every sample")


@_rule("QLinearAdd QLinearMul", _MS)
def _quantised_binary(batch: Batch, node: NodeProto) -> None:
    batch.fixed(name for i, name in enumerate(node.input) if i not in (0, 3))
    _aligned(batch, [node.input[0], node.input[3]])
    batch.carry(node)


@_rule("QuantizeLinear DequantizeLinear")
@_rule("QLinearLeakyRelu QLinearSigmoid", _MS)
def _quantised(batch: Batch, node: NodeProto) -> None:
    rank = batch.data(node)
    per_axis = any(name and batch.rank(name) for name in node.input[1:])
    if per_axis and attributes(node).get("axis", 1) % rank == 0:
        raise Refused("its scales run along axis 0")
    batch.carry(node)


@_rule("Gemm")
@_rule("FusedGemm", _MS)
def _gemm(batch: Batch, node: NodeProto) -> None:
    batch.data(node)
    if attributes(node).get("transA", 0):
        raise Refused("its first input is transposed")
    if len(node.input) > 2 and node.input[2]:
        _broadcasts(batch, node.input[2], 2)
    batch.carry(node)


@_rule("MatMul")
def _matmul(batch: Batch, node: NodeProto) -> None:
    _product(batch, node.input[0], node.input[1])
    batch.carry(node)


@_rule("MatMulInteger QLinearMatMul")
def _quantised_matmul(batch: Batch, node: NodeProto) -> None:
    right = node.input[3 if node.op_type == "QLinearMatMul" else 1]
    batch.fixed(name for name in node.input if name not in (node.input[0], right))
    if any(name and batch.rank(name) for name in node.input if name not in (node.input[0], right)):
        raise Refused("its scales run along an axis")
    _product(batch, node.input[0], right)
    batch.carry(node)


def _product(batch: Batch, left: str, right: str) -> None:
    ranks = batch.rank(left), batch.rank(right)
    if left in batch.carries and right in batch.carries:
        if ranks[0] != ranks[1] or ranks[0] < 3:
            raise Refused("samples are multiplied with each other")
    elif left in batch.carries:
        if ranks[0] < 2 or ranks[1] > ranks[0]:
            raise Refused("the batch axis is multiplied out or moved")
        if ranks[1] > 2:
            _broadcasts(batch, right, ranks[0])
    else:
        if ranks[1] < 3 or ranks[0] > ranks[1]:
            raise Refused("the batch axis is multiplied out or moved")
        if ranks[0] > 2:
            _broadcasts(batch, left, ranks[1])


@_rule("Softmax LogSoftmax Hardmax LpNormalization LayerNormalization RMSNormalization ArgMax ArgMin TopK CumSum")
@_rule("QLinearSoftmax", _MS)
def _along_axis(batch: Batch, node: NodeProto) -> None:
    rank = batch.data(node)
    given = attributes(node)
    if node.op_type == "CumSum":
        axis = int(batch.constant(node.input[1]).reshape(()))
    else:
        last = ("LpNormalization", "LayerNormalization", "RMSNormalization", "TopK")
        default = 0 if node.op_type.startswith("Arg") else -1
        if default and node.op_type not in last and batch.model.opset < 13:
            default = 1
        axis = given.get("axis", default)
    if axis % rank == 0:
        raise Refused("it works along axis 0")
    batch.carry(node)


@_rule("MeanVarianceNormalization")
def _mean_variance(batch: Batch, node: NodeProto) -> None:
    rank = batch.data(node)
    if any(a % rank == 0 for a in attributes(node).get("axes", [0, 2, 3])):
        raise Refused("it takes the mean over axis 0")
    batch.carry(node)


@_rule(
    """ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
    ReduceSumSquare"""
)
def _reduce(batch: Batch, node: NodeProto) -> None:
    rank = batch.data(node)
    given = attributes(node)
    axes = given.get("axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        axes = batch.constant(node.input[1]).tolist()
    if not axes and not given.get("noop_with_empty_axes", 0):
        raise Refused("it reduces all axes")
    if any(a % rank == 0 for a in axes or ()):
        raise Refused("it reduces axis 0")
    batch.carry(node)


@_rule("Flatten")
def _flatten(batch: Batch, node: NodeProto) -> None:
    rank = batch.data(node)
    axis = attributes(node).get("axis", 1)
    if (axis + rank if axis < 0 else axis) != 1:
        raise Refused("it merges axis 0 with others")
    batch.carry(node)


@_rule("Transpose")
def _transpose(batch: Batch, node: NodeProto) -> None:
    rank = batch.data(node)
    if list(attributes(node).get("perm", range(rank)[::-1]))[:1] != [0]:
        raise Refused("it moves axis 0")
    batch.carry(node)


@_rule("Squeeze Unsqueeze")
def _rerank(batch: Batch, node: NodeProto) -> None:
    rank = batch.data(node)
    axes = attributes(node).get("axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        axes = batch.constant(node.input[1]).tolist()
    if axes is None:
        raise Refused("it drops every axis of size 1")
    total = rank + len(axes) if node.op_type == "Unsqueeze" else rank
    if any(a % total == 0 for a in axes):
        raise Refused("it adds or drops axis 0")
    batch.carry(node)


@_rule("Concat")
def _concat(batch: Batch, node: NodeProto) -> None:
    carrying = next(name for name in node.input if name in batch.carries)
    rank = batch.rank(carrying)
    if attributes(node).get("axis", 0) % rank == 0:
        raise Refused("it joins along axis 0")
    changed = NodeProto()
    changed.CopyFrom(node)
    for i, name in enumerate(node.input):
        if name not in batch.carries:  # a class token, which every sample gets a copy of
            changed.input[i] = _copied(batch, node, i, rank, carrying)
    batch.carry(changed)


def _copied(batch: Batch, node: NodeProto, at: int, rank: int, like: str) -> str:
    """Input `at`, repeated along axis 0 as often as there are samples in `like`."""
    name = node.input[at]
    shape = batch.model.values[name].shape
    if shape is None or len(shape) != rank or shape[0] != 1 or batch.size != 1:
        raise Refused(f"{name!r} holds something of its own for every sample")
    near = f"{node.output[0]}/{at}"
    copied = batch.fresh(f"{near}/copied")
    target = batch.own_size(near, like, [1] * (rank - 1))
    batch.keep(onnx.helper.make_node("Expand", [name, target], [copied]))
    return copied


@_rule("QLinearConcat", _MS)
def _quantised_concat(batch: Batch, node: NodeProto) -> None:
    parts = list(node.input)[2::3]
    batch.fixed(name for i, name in enumerate(node.input) if i < 2 or i % 3 != 2)
    alone = [name for name in parts if name not in batch.carries]
    if alone:
        raise Refused(f"{alone[0]!r}, which is the same for every sample, is joined to the samples")
    if attributes(node).get("axis", 0) % batch.rank(parts[0]) == 0:
        raise Refused("it joins along axis 0")
    batch.carry(node)


@_rule("Split")
def _split(batch: Batch, node: NodeProto) -> None:
    rank = batch.data(node)
    if attributes(node).get("axis", 0) % rank == 0:
        raise Refused("it splits axis 0")
    batch.carry(node)


_FAR = (1 << 31) - 1


@_rule("Slice")
def _slice(batch: Batch, node: NodeProto) -> None:
    rank = batch.data(node)
    given = attributes(node)
    if "starts" in given:
        starts, ends = given["starts"], given["ends"]
        axes, steps = given.get("axes", list(range(len(starts)))), [1] * len(starts)
    else:
        starts, ends = (batch.constant(name).tolist() for name in node.input[1:3])
        optional = [batch.constant(name).tolist() if name else None for name in node.input[3:]]
        axes = optional[0] if optional and optional[0] is not None else list(range(len(starts)))
        steps = optional[1] if len(optional) > 1 and optional[1] is not None else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if axis % rank == 0 and not (start == 0 and end >= _FAR and step == 1):
            raise Refused("it slices axis 0")
    batch.carry(node)


@_rule("Pad")
def _pad(batch: Batch, node: NodeProto) -> None:
    rank = batch.data(node)
    pads = attributes(node).get("pads")
    if pads is None:
        pads = batch.constant(node.input[1]).tolist()
    axes = batch.constant(node.input[3]).tolist() if len(node.input) > 3 and node.input[3] else list(range(rank))
    for i, axis in enumerate(axes):
        if axis % rank == 0 and (pads[i] or pads[i + len(axes)]):
            raise Refused("it pads axis 0")
    batch.carry(node)


@_rule("Reshape")
def _reshape(batch: Batch, node: NodeProto) -> None:
    batch.data(node)
    target = batch.constant(node.input[1]).tolist()
    literal = bool(attributes(node).get("allowzero", 0))
    before = batch.model.values[node.input[0]].shape
    after = batch.model.values[node.output[0]].shape
    if not target or after is None or before is None or after[:1] != (batch.size,):
        raise Refused("it merges axis 0 with others")
    if not all(isinstance(d, int) for d in (*before[1:], *after[1:])):
        raise Refused("sizes of its input are not known")
    # Entry i of the result holds the numbers of sample i only if a sample keeps its number of elements.
    if np.prod([int(d or 0) for d in before[1:]], dtype=float) != np.prod(
        [int(d or 0) for d in after[1:]], dtype=float
    ):
        raise Refused("it merges axis 0 with others")
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
        raise Refused("its shape leaves no room for a dynamic size")
    changed = NodeProto()
    changed.CopyFrom(node)
    changed.input[1] = batch.store(node.output[0], np.asarray(target, np.int64))
    if not literal:
        kept = [a for a in node.attribute if a.name != "allowzero"]
        del changed.attribute[:]
        changed.attribute.extend(kept)
    batch.carry(changed)


@_rule("Expand")
def _expand(batch: Batch, node: NodeProto) -> None:
    rank = batch.data(node)
    target = batch.constant(node.input[1]).tolist()
    if len(target) > rank or (len(target) == rank and target[0] not in (1, batch.size)):
        raise Refused("it repeats samples or adds axes before them")
    if len(target) < rank or target[0] == 1:
        batch.carry(node)
        return
    changed = NodeProto()
    changed.CopyFrom(node)
    changed.input[1] = batch.store(node.output[0], np.asarray([1, *target[1:]], np.int64))
    batch.carry(changed)


@_rule("Tile")
def _tile(batch: Batch, node: NodeProto) -> None:
    batch.data(node)
    if batch.constant(node.input[1]).tolist()[:1] != [1]:
        raise Refused("it repeats samples")
    batch.carry(node)


@_rule("Gather")
def _gather(batch: Batch, node: NodeProto) -> None:
    data, indices = node.input[:2]
    axis = attributes(node).get("axis", 0) % max(batch.rank(data), 1)
    if data in batch.carries and indices not in batch.carries and axis > 0:
        batch.carry(node)
    elif data not in batch.carries and axis == 0 and batch.rank(indices) > 0:
        batch.carry(node)  # a table that samples look things up in
    else:
        raise Refused("it picks samples, or what it picks depends on them")


@_rule("GatherElements")
def _gather_elements(batch: Batch, node: NodeProto) -> None:
    rank = batch.rank(node.input[0])
    if not batch.carries.issuperset(node.input) or attributes(node).get("axis", 0) % rank == 0:
        raise Refused("it picks along axis 0, or the same for every sample")
    batch.carry(node)


@_rule("Upsample")
def _upsample(batch: Batch, node: NodeProto) -> None:
    batch.data(node)
    scales = attributes(node).get("scales")
    if (batch.constant(node.input[1]).tolist() if scales is None else list(scales))[:1] != [1]:
        raise Refused("it scales axis 0")
    batch.carry(node)


@_rule("Resize")
def _resize(batch: Batch, node: NodeProto) -> None:
    rank = batch.data(node)
    given = attributes(node)
    if given.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        raise Refused("it crops")
    axes = [a % rank for a in given.get("axes", range(rank))]
    if 0 not in axes:
        batch.carry(node)
        return
    place = axes.index(0)
    inputs = [*node.input, "", "", ""][:4]
    # Before opset 11 there were two inputs, and `roi` was none of them.
    scales_at = 1 if len(node.input) == 2 else 2
    if len(node.input) < 4 or not inputs[3]:
        scales = batch.constant(inputs[scales_at]).tolist()
        if scales[place] != 1:
            raise Refused("it scales axis 0")
        batch.carry(node)
        return
    sizes = batch.constant(inputs[3]).tolist()
    if sizes[place] != batch.size or place != 0 or given.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Refused("it scales axis 0")
    changed = NodeProto()
    changed.CopyFrom(node)
    changed.input[3] = batch.own_size(node.output[0], node.input[0], sizes[1:])
    batch.carry(changed)


@_rule("Einsum")
def _einsum(batch: Batch, node: NodeProto) -> None:
    left, arrow, right = attributes(node)["equation"].replace(" ", "").partition("->")
    terms = left.split(",")
    letters = {term[:1] for term, name in zip(terms, node.input, strict=True) if name in batch.carries}
    letter = letters.pop() if len(letters) == 1 else ""
    others = (term for term, name in zip(terms, node.input, strict=True) if name not in batch.carries)
    mixed = any(term.count(letter) > 1 for term in terms) if letter else True
    if not arrow or not letter.isalpha() or right[:1] != letter or mixed or any(letter in term for term in others):
        raise Refused("the first letter of its terms is not the batch throughout")
    batch.carry(node)
