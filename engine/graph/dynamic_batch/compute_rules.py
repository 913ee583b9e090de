"""Which operators that compute keep samples apart, and on what conditions: see `proof.py`."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from ...proto.attributes import attributes
from ...proto.operators import MICROSOFT, POINTWISE
from .proof import Batch, BatchRefused, rule


@rule(
    "Conv ConvTranspose ConvInteger QLinearConv MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool"
)
@rule("InstanceNormalization GroupNormalization LRN DepthToSpace SpaceToDepth", "")
@rule("QLinearAveragePool QLinearGlobalAveragePool NhwcMaxPool NhwcFusedConv", MICROSOFT)
def _per_sample(batch: Batch, node: NodeProto) -> None:
    """The operator itself takes axis 0 for the batch."""
    batch.data(node)
    if node.op_type == "MaxPool" and len(node.output) > 1 and node.output[1]:
        raise BatchRefused("the indices of its maxima count through the whole batch")
    batch.carry(node)


@rule("FusedConv", MICROSOFT)
def _fused_conv(batch: Batch, node: NodeProto) -> None:
    batch.fixed(node.input[1:3])
    if node.input[0] not in batch.carries:
        raise BatchRefused("its first input does not depend on the samples, another one does")
    if len(node.input) > 3 and node.input[3] and node.input[3] not in batch.carries:
        _broadcasts(batch, node.input[3], batch.rank(node.input[0]))
    batch.carry(node)


@rule("BatchNormalization")
def _batch_normalization(batch: Batch, node: NodeProto) -> None:
    batch.data(node)
    if attributes(node).get("training_mode", 0) or len([o for o in node.output if o]) > 1:
        raise BatchRefused("the statistics of the batch are used")
    batch.carry(node)


@rule("Dropout")
def _dropout(batch: Batch, node: NodeProto) -> None:
    batch.data(node)
    if len(node.input) > 2 and node.input[2] and bool(np.any(batch.constant(node.input[2]))):
        raise BatchRefused("it is in training mode")
    batch.carry(node)


@rule(" ".join(op for domain, op in POINTWISE if domain == ""))
@rule(" ".join(op for domain, op in POINTWISE if domain == MICROSOFT), MICROSOFT)
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
            raise BatchRefused(f"the batch axis of {name!r} is broadcast against another axis")


def _broadcasts(batch: Batch, name: str, rank: int) -> None:
    """A constant of which every sample sees the same."""
    shape = batch.model.values[name].shape
    if shape is None or len(shape) > rank or (len(shape) == rank and shape[0] != 1):
        raise BatchRefused(f"{name!r} holds something of its own for every sample")


@rule("QLinearAdd QLinearMul", MICROSOFT)
def _quantised_binary(batch: Batch, node: NodeProto) -> None:
    batch.fixed(name for i, name in enumerate(node.input) if i not in (0, 3))
    _aligned(batch, [node.input[0], node.input[3]])
    batch.carry(node)


@rule("QuantizeLinear DequantizeLinear")
@rule("QLinearLeakyRelu QLinearSigmoid", MICROSOFT)
def _quantised(batch: Batch, node: NodeProto) -> None:
    rank = batch.data(node)
    per_axis = any(name and batch.rank(name) for name in node.input[1:])
    if per_axis and attributes(node).get("axis", 1) % rank == 0:
        raise BatchRefused("its scales run along axis 0")
    batch.carry(node)


@rule("Gemm")
@rule("FusedGemm", MICROSOFT)
def _gemm(batch: Batch, node: NodeProto) -> None:
    batch.data(node)
    if attributes(node).get("transA", 0):
        raise BatchRefused("its first input is transposed")
    if len(node.input) > 2 and node.input[2]:
        _broadcasts(batch, node.input[2], 2)
    batch.carry(node)


@rule("MatMul")
def _matmul(batch: Batch, node: NodeProto) -> None:
    _product(batch, node.input[0], node.input[1])
    batch.carry(node)


@rule("MatMulInteger QLinearMatMul")
def _quantised_matmul(batch: Batch, node: NodeProto) -> None:
    right = node.input[3 if node.op_type == "QLinearMatMul" else 1]
    batch.fixed(name for name in node.input if name not in (node.input[0], right))
    if any(name and batch.rank(name) for name in node.input if name not in (node.input[0], right)):
        raise BatchRefused("its scales run along an axis")
    _product(batch, node.input[0], right)
    batch.carry(node)


def _product(batch: Batch, left: str, right: str) -> None:
    ranks = batch.rank(left), batch.rank(right)
    if left in batch.carries and right in batch.carries:
        if ranks[0] != ranks[1] or ranks[0] < 3:
            raise BatchRefused("samples are multiplied with each other")
    elif left in batch.carries:
        if ranks[0] < 2 or ranks[1] > ranks[0]:
            raise BatchRefused("the batch axis is multiplied out or moved")
        if ranks[1] > 2:
            _broadcasts(batch, right, ranks[0])
    else:
        if ranks[1] < 3 or ranks[0] > ranks[1]:
            raise BatchRefused("the batch axis is multiplied out or moved")
        if ranks[0] > 2:
            _broadcasts(batch, left, ranks[1])


@rule("Softmax LogSoftmax Hardmax LpNormalization LayerNormalization RMSNormalization ArgMax ArgMin TopK CumSum")
@rule("QLinearSoftmax", MICROSOFT)
def _along_axis(batch: Batch, node: NodeProto) -> None:
    rank = batch.data(node)
    given = attributes(node)
    if node.op_type == "CumSum":
        axis = int((batch.numbers(node.input[1]) or [0])[0])
    else:
        last = ("LpNormalization", "LayerNormalization", "RMSNormalization", "TopK")
        default = 0 if node.op_type.startswith("Arg") else -1
        if default and node.op_type not in last and batch.model.opset < 13:
            default = 1
        axis = given.get("axis", default)
    if axis % rank == 0:
        raise BatchRefused("it works along axis 0")
    batch.carry(node)


@rule("MeanVarianceNormalization")
def _mean_variance(batch: Batch, node: NodeProto) -> None:
    rank = batch.data(node)
    if any(a % rank == 0 for a in attributes(node).get("axes", [0, 2, 3])):
        raise BatchRefused("it takes the mean over axis 0")
    batch.carry(node)


@rule(
    """ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
    ReduceSumSquare"""
)
def _reduce(batch: Batch, node: NodeProto) -> None:
    rank = batch.data(node)
    given = attributes(node)
    axes = given.get("axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        axes = batch.numbers(node.input[1])
    if not axes and not given.get("noop_with_empty_axes", 0):
        raise BatchRefused("it reduces all axes")
    if any(a % rank == 0 for a in axes or ()):
        raise BatchRefused("it reduces axis 0")
    batch.carry(node)
