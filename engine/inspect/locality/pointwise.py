"""Operators in which every position depends on its own place alone: pointwise ones, joined and mixed channels."""

from __future__ import annotations

from ...proto.arguments import axes_of
from ...proto.attributes import axis_of
from ...proto.operators import MICROSOFT, POINTWISE, POINTWISE_WITH_CHANNELS
from .rules import Axes, Links, LocalNode, Mixing, joining_rule, kept, renumbered, rule, without


def _named(domain: str) -> list[str]:
    return [op for where, op in sorted(POINTWISE | POINTWISE_WITH_CHANNELS) if where == domain]


@joining_rule([*_named(""), "LRN"])
@joining_rule(_named(MICROSOFT), MICROSOFT)
def pointwise(node: LocalNode) -> dict[str, Links]:
    """Element by element, with broadcasting: axes are aligned from the right."""
    out, found = node.after, {}
    for name, axes in node.followed.items():
        shape = node.shape(name)
        if node.op == "CastLike" and name != node.inputs[0] and tuple(shape) != tuple(out):
            continue  # only its type is read, whatever its shape
        places = {axis: axis + len(out) - len(shape) for axis in axes}
        if any(shape[axis] == 1 and out[place] != 1 for axis, place in places.items()):
            raise Mixing  # one position is spread over all
        found[name] = renumbered(places)
    return found


@joining_rule("Concat")
@joining_rule("QLinearConcat", MICROSOFT)
def concat(node: LocalNode) -> dict[str, Links]:
    joined = axis_of(node.node, node.given.get("axis", 0), len(node.after))
    if any(joined in axes for axes in node.followed.values()):
        raise Mixing
    return pointwise(node)


@rule("Softmax LogSoftmax Hardmax LpNormalization Split TopK CumSum")
@rule("LayerNormalization RMSNormalization SimplifiedLayerNormalization")
@rule("QLinearSoftmax", MICROSOFT)
def along_an_axis(node: LocalNode, axes: Axes) -> Links:
    """Softmax, normalisation, splitting, sums: local unless they work along an axis that is followed."""
    opset = node.given.get("opset", 13) if node.op == "QLinearSoftmax" else node.model.opset
    softmax = node.op in ("Softmax", "LogSoftmax", "Hardmax")
    default = 0 if node.op == "Split" else 1 if softmax and opset < 13 else -1
    axis = node.axis(_cumsum_axis(node) if node.op == "CumSum" else default)
    # Before opset 13, and for the normalisation of layers, all axes from this one on are worked along.
    softmax_before_13 = node.op.endswith(("oftmax", "Hardmax")) and opset < 13
    onward = softmax_before_13 or node.op.endswith(("LayerNormalization", "RMSNormalization"))
    if any(a == axis or (onward and a > axis) for a in axes):
        raise Mixing
    return kept(axes)


def _cumsum_axis(node: LocalNode) -> int:
    axis = node.model.constant(node.inputs[1])
    if axis is None:
        raise Mixing
    return int(axis.reshape(-1)[0])


@rule(f"Reduce{name}" for name in "Mean Sum Max Min Prod L1 L2 LogSum LogSumExp SumSquare".split())
@rule("ArgMax ArgMin")
def reduce(node: LocalNode, axes: Axes) -> Links:
    chosen = axes_of(node.node, node.model.constant)
    if not chosen and node.given.get("noop_with_empty_axes", 0):
        return kept(axes)
    gone = [axis_of(node.node, a, node.rank) for a in chosen or range(node.rank)]
    dropped = without(axes, gone)
    return kept(axes) if node.given.get("keepdims", 1) else dropped


@rule("MatMul")
def product(node: LocalNode, axes: Axes) -> Links:
    """Positions are rows of the left factor, as in a dense layer over the channels of NHWC."""
    if len(node.shape(node.inputs[1])) > node.rank or node.rank - 1 in axes:
        raise Mixing
    return kept(axes)
