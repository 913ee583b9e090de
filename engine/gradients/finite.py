"""Which values of a graph are finite for finite inputs, weights and cotangents, as far as their operators show it.

A Where lets nothing of what it leaves out through; a product with 0 makes NaN of an infinity. So a product may stand in
place of a Where only over what is finite. Sums that leave the range of their type are not counted: they spoil a result
wherever they occur.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from ..emitter.emitter import Emitter
from ..proto.nodes import DOMAIN_NAMES

# What these make of finite numbers is finite. Exp, Log, Pow, Sqrt, Reciprocal and the like are not among them, nor is
# Div but by a constant.
_FINITE = frozenset(
    (
        "Add Sub Mul Sum Mean Neg Abs Where Min Max Clip Cast CastLike Identity Dropout Floor Ceil Round Sign Sin "
        "Cos Relu LeakyRelu PRelu Elu Selu Celu ThresholdedRelu HardSigmoid HardSwish Sigmoid Tanh Erf Gelu "
        "Softplus Softsign Swish Mish Softmax LogSoftmax BatchNormalization InstanceNormalization "
        "LayerNormalization GroupNormalization RMSNormalization LRN Conv ConvTranspose Gemm MatMul Einsum "
        "AveragePool MaxPool GlobalAveragePool GlobalMaxPool Concat Split Slice Pad Gather GatherElements GatherND "
        "ScatterElements ScatterND Resize Upsample Expand Tile Constant ConstantOfShape Reshape Flatten Transpose "
        "Squeeze Unsqueeze DepthToSpace SpaceToDepth Compress Trilu ReduceSum ReduceMean ReduceMax ReduceMin "
        "ReduceL1 ReduceSumSquare CumSum TopK LSTM GRU RNN DequantizeLinear"
    ).split()
)
# Of a divisor or another constant that is looked at, in bytes; of larger ones, weights, it is taken for granted.
_MOST_LOOKED_AT = 1 << 16


def is_finite(op: Emitter, name: str) -> bool:
    """Whether everything that `name` is computed from, on the way forward and on the way back, is known to be finite.

    In the body of a Scan, a Loop or an If it is not: what comes in may have been made by anything.
    """
    if op.parent is not None:
        return False
    known, open_ = op.finite, [name]
    while open_:
        value = open_[-1]
        if value not in known:
            maker = op.producer(value)
            reads = [] if maker is None else [read for read in maker.input if read and op.is_float(read)]
            spoiled = not _constant_is_finite(op, value) if maker is None else not _keeps_finite(op, maker)
            if spoiled or any(known.get(read) is False for read in reads):
                known[value] = False
            elif waiting := [read for read in reads if read not in known]:
                open_ += waiting
                continue
            else:
                known[value] = True
        open_.pop()
    return known[name]


def _keeps_finite(op: Emitter, node: NodeProto) -> bool:
    if node.domain not in DOMAIN_NAMES:
        return False
    if node.op_type != "Div":
        return node.op_type in _FINITE
    if not op.is_float(node.input[1]):
        return True  # integers: nothing of them is infinite
    divisor = _constant(op, node.input[1])
    # By a number below the smallest normal one a finite number becomes infinite.
    return divisor is not None and bool(np.all(np.abs(divisor) >= np.finfo(np.float32).tiny))


def _constant(op: Emitter, name: str) -> np.ndarray | None:
    """A constant that is not too large to be looked at."""
    nbytes = op.constant_nbytes(name)
    return op.constant_value(name) if nbytes is not None and nbytes <= _MOST_LOOKED_AT else None


def _constant_is_finite(op: Emitter, name: str) -> bool:
    value = _constant(op, name) if op.is_float(name) else None
    return value is None or bool(np.isfinite(value.astype(np.float64)).all())
