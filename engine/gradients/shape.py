"""Operators that move elements without computing: shapes, orders, element types."""

from __future__ import annotations

from ..emitter.emitter import Emitter
from ..emitter.node import Node
from .registry import Cotangents, gradient


@gradient("Reshape", "Flatten", "Squeeze", "Unsqueeze", inputs=(0,))
def reshape(node: Node, dy: str, op: Emitter) -> Cotangents:
    return [op.reshape_like(dy, node.inputs[0])]


@gradient("Transpose")
def transpose(node: Node, dy: str, op: Emitter) -> Cotangents:
    """The inverse permutation; without a given one the axes are reversed, which is its own inverse."""
    perm = node.attribute("perm")
    if perm is None:
        return [op.Transpose(dy)]
    return [op.Transpose(dy, perm=sorted(range(len(perm)), key=perm.__getitem__))]


@gradient("Cast", "CastLike", inputs=(0,))
def cast(node: Node, dy: str, op: Emitter) -> Cotangents:
    """Between float types; a cast to integers has no derivative and never gets here."""
    x = node.inputs[0]
    return [op.cast(dy, like=x) if op.is_float(x) else dy]


@gradient("DepthToSpace")
def depth_to_space(node: Node, dy: str, op: Emitter) -> Cotangents:
    block = node.attribute("blocksize")
    if node.attribute("mode", "DCR") == "DCR":
        return [op.SpaceToDepth(dy, blocksize=block)]
    # CRD: (N, C, H b, W b) -> (N, C, H, b, W, b) -> (N, C, b, b, H, W) -> (N, C b b, H, W)
    x = node.inputs[0]
    batch, height, width = op.size_of(x, 0), op.size_of(x, 2), op.size_of(x, 3)
    split = op.Reshape(dy, op.Concat(batch, [-1], height, [block], width, [block], axis=0))
    return [op.reshape_like(op.Transpose(split, perm=[0, 1, 3, 5, 2, 4]), x)]


@gradient("SpaceToDepth")
def space_to_depth(node: Node, dy: str, op: Emitter) -> Cotangents:
    block = node.attribute("blocksize")
    return [op.DepthToSpace(dy, blocksize=block, mode=node.attribute("mode", "DCR"))]


@gradient("Dropout", inputs=(0,))
def dropout(node: Node, dy: str, op: Emitter) -> Cotangents:
    """The identity, but for nodes in training mode: there dy / (1 - ratio) where the mask kept the element."""
    training = node.input(2)
    if training is None:
        return [dy]
    mode = op.constant_value(training)
    if mode is not None and not mode.any():
        return [dy]
    ratio = node.input(1)
    rate = op.cast(ratio, like=dy) if ratio else op.const(0.5, like=dy)
    scaled = op.Where(training, op.Div(dy, op.Sub(1.0, rate)), dy)
    return [op.Where(op.extra_output(node, 1), scaled, 0.0)]
