"""The rules of all families, and the one question to them."""

from __future__ import annotations

from ...proto.contradictions import CONTRADICTIONS, contradiction
from ...proto.nodes import plain_domain
from . import moves, pointwise, resampling, windows  # noqa: F401 (they register their rules)
from .rules import RULES, Links, LocalNode, Mixing


def links(node: LocalNode) -> dict[str, Links]:
    """For every input that is followed: where each axis of the outputs that stems from a followed one comes from.

    Raises Mixing, Unreadable where an argument is computed, and ModelError where the node contradicts itself.
    """
    found = RULES.get((plain_domain(node.node.domain), node.op))
    if found is None:
        raise Mixing
    try:
        moved = found(node)
    except CONTRADICTIONS as error:
        raise contradiction(node.node, error) from error
    rank = min((len(node.shape(name)) for name in node.node.output if name), default=0)
    if any(axis >= rank for by_axis in moved.values() for axis in by_axis):
        raise Mixing  # the model contradicts itself
    return moved
