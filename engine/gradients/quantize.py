"""Models with quantised values in between (QuantizeLinear, DequantizeLinear): straight-through gradients.

Rounding has the derivative 0 almost everywhere. The straight-through estimator (Bengio et al. 2013, arXiv:1308.3432,
section 4) treats it as the identity, within the range of the integer type: where the value saturates, beyond the lowest
or highest integer, nothing flows back. That is an approximation, not the derivative. The saturation matters: quantisers
delete rectifiers that an unsigned range with zero point 0 makes superfluous, and the mask is what is left of them.

A cotangent of an integer value is a float tensor, in units of one integer step.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from ..emitter.emitter import Emitter
from ..emitter.node import Node
from .registry import Cotangents, gradient, refuse


def _aligned(node: Node, op: Emitter, scale: str, like: str) -> str:
    """The scale or zero point in the type of `like`, shaped so that it broadcasts against the quantised value."""
    x = node.inputs[0]
    scale = op.cast(scale, like=like)
    rank = op.rank(scale)
    if rank == 0:
        return scale
    axis = node.attribute("axis", 1) % max(op.rank(x), 1)
    block = node.attribute("block_size", 0)
    if block:
        # (.., blocks, ..) -> (.., blocks, block, ..) -> (.., blocks block, ..), cut to the size of x
        inner = [op.size_of(scale, a) for a in range(rank)]
        spread = op.Expand(op.Unsqueeze(scale, [axis + 1]), [*[1] * (axis + 1), block, *[1] * (rank - axis - 1)])
        inner[axis] = op.const(np.array([-1], np.int64))
        whole = op.Reshape(spread, op.Concat(*inner, axis=0))
        return op.Slice(whole, [0], op.size_of(x, axis), [axis])
    if op.shape(scale) == (1,):
        return op.Reshape(scale, op.const(np.zeros(0, np.int64)))
    trailing = op.rank(x) - 1 - axis
    return op.Unsqueeze(scale, list(range(1, trailing + 1))) if trailing else scale


@gradient("QuantizeLinear", inputs=(0,), carries=True)
def quantize_linear(node: Node, dy: str, op: Emitter) -> Cotangents:
    x, zero = node.inputs[0], node.input(2)
    scale = _aligned(node, op, node.inputs[1], x)
    dx = op.Div(op.cast(dy, like=x), scale)
    limits = _limits(op.elem_type(node.outputs[0]))
    if limits is None:
        return [dx]
    # x / scale rounds to an integer of the type between half a step below its lowest and half a step above its highest.
    low, high = op.const(limits[0] - 0.5, like=x), op.const(limits[1] + 0.5, like=x)
    if zero is not None:
        origin = _aligned(node, op, zero, x)
        low, high = op.Sub(low, origin), op.Sub(high, origin)
    inside = op.And(op.GreaterOrEqual(x, op.Mul(low, scale)), op.Less(x, op.Mul(high, scale)))
    return [op.Where(inside, dx, 0.0)]


def _limits(elem_type: int) -> tuple[int, int] | None:
    """Lowest and highest value of an integer type; None for the small float types."""
    name = TensorProto.DataType.Name(elem_type)
    unsigned, digits = name.startswith("UINT"), name.removeprefix("U").removeprefix("INT")
    if not digits.isdigit():
        return None
    bits = int(digits)
    return (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@gradient("DequantizeLinear", inputs=(0, 1))
def dequantize_linear(node: Node, dy: str, op: Emitter) -> Cotangents:
    """y = (x - zero_point) scale."""
    dx = op.Mul(dy, _aligned(node, op, node.inputs[1], dy)) if node.wants[0] else None
    if not node.wants[1]:
        return [dx]
    x, scale, zero = node.inputs[0], node.inputs[1], node.input(2)
    steps = op.cast(x, like=dy)
    if zero is not None:
        steps = op.Sub(steps, _aligned(node, op, zero, dy))
    share = op.cast(op.Mul(dy, steps), like=scale)
    rank = op.rank(x)
    axis = node.attribute("axis", 1) % max(rank, 1)
    block = node.attribute("block_size", 0)
    if block:
        # (.., size, ..) -> (.., blocks block, ..) -> (.., blocks, block, ..)
        blocks = op.size_of(scale, axis)
        more = op.Sub(op.Mul(blocks, [block]), op.size_of(x, axis))
        whole = op.Pad(share, op.Concat([0], more, axis=0), None, [axis])
        sizes = [op.size_of(x, a) for a in range(rank)]
        apart = op.Concat(*sizes[:axis], blocks, [block], *sizes[axis + 1 :], axis=0)
        return [dx, op.ReduceSum(op.Reshape(whole, apart), [axis + 1], keepdims=0)]
    others = [a for a in range(rank) if a != axis or op.rank(scale) == 0 or op.shape(scale) == (1,)]
    return [dx, op.reshape_like(op.ReduceSum(share, others, keepdims=0), scale)]


_INTEGER = (
    "the model computes in integers, for which there is no gradient: use the float model it was made from, or one "
    "quantised as QuantizeLinear/DequantizeLinear pairs"
)
refuse("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "DynamicQuantizeLinear", reason=_INTEGER)
