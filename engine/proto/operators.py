"""What is known of operators by name: domains, which are pointwise, which input holds the weights."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import NodeProto

from .nodes import plain_domain

MICROSOFT, ML = "com.microsoft", "ai.onnx.ml"

_STANDARD = """Abs Acos Acosh Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike
    Ceil Celu Clip Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not
    Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu Add
    Sub Mul Div Pow Max Min Mean Sum Mod PRelu Where And Or Xor Equal Greater GreaterOrEqual Less LessOrEqual"""

# (domain, operator): every element of the result depends on the elements of the inputs in its place, after numpy's
# broadcasting, and on nothing else.
POINTWISE: frozenset[tuple[str, str]] = frozenset(
    [("", op) for op in _STANDARD.split()] + [(MICROSOFT, op) for op in "Gelu QuickGelu FastGelu BiasGelu".split()]
)
# The same, with scales, zero points or statistics besides, which hold one number or one for each channel.
POINTWISE_WITH_CHANNELS: frozenset[tuple[str, str]] = frozenset(
    [("", op) for op in "BatchNormalization Dropout QuantizeLinear DequantizeLinear".split()]
    + [(MICROSOFT, op) for op in "QLinearAdd QLinearMul QLinearLeakyRelu QLinearSigmoid".split()]
)

CONVOLUTIONS = ("Conv", "FusedConv", "ConvInteger", "QLinearConv", "NhwcFusedConv")

# Operator -> position of its weights among the inputs.
_WEIGHTS: Mapping[str, int] = {
    **dict.fromkeys(CONVOLUTIONS, 1),
    **dict.fromkeys(("ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "MatMulInteger"), 1),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), 1),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QGemm"), 3),
}


def weight_place(node: NodeProto) -> int | None:
    """Which input of a layer holds its weights: 1 or, of quantised operators, 3; None for what is no layer."""
    return _WEIGHTS.get(node.op_type) if plain_domain(node.domain) in ("", MICROSOFT) else None


def weight_of(node: NodeProto) -> str:
    """The name of the weights that a layer reads, "" where there is none."""
    place = weight_place(node)
    return node.input[place] if place is not None and place < len(node.input) else ""
