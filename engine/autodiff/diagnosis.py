"""Why no gradient arrives."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import NodeProto

from ..emitter.emitter import Emitter
from ..emitter.node import Node
from ..gradients.registry import Constant
from ..gradients.steps import is_step
from ..proto.nodes import reads
from ..proto.values import elem_of
from .path import Lookup, Path


def no_path_error(op: Emitter, nodes: Sequence[NodeProto], of: Sequence[str], name: str, lookup: Lookup) -> str:
    """Why no cotangent reaches `name`: where every way from it to `of` ends."""
    target = ", ".join(repr(o) for o in of)
    reached = {name}
    ways: list[NodeProto] = []
    for node in nodes:
        if any(r in reached for r in reads(node)):
            reached.update(o for o in node.output if o)
            ways.append(node)
    needed = set(of)
    path: list[NodeProto] = []
    for node in reversed(ways):
        if any(o in needed for o in node.output):
            needed.update(reads(node))
            path.insert(0, node)
    if not path:
        others = [v.name for v in op.known_types.inputs if v.name not in op.known_types.stored and v.name != name]
        hint = f"; the model's other inputs are {', '.join(repr(o) for o in others[:5])}" if others else ""
        return f"{target} does not depend on {name!r}: nothing computed from {name!r} is used for it{hint}"
    active = Path(op, nodes, of, [name], lookup).active
    for node in path:
        sources = [r for r in reads(node) if r in active]
        step = node.op_type == "HardSigmoid" and is_step(Node(node).attribute("alpha", 0.2))
        if sources and (step or not any(o in active for o in node.output)):
            entry = lookup(node)
            label = Node(node).label
            if isinstance(entry, Constant):
                why = entry.reason
            elif step:
                why = "it is the mask of a rectifier, whose slope is 0"
            elif not set(sources).intersection(Path.dependent(node, entry)):
                why = "this argument has no derivative"
            else:
                why = "its output is " + ", ".join(_kind(op, o) for o in node.output if o)
            return (
                f"{target} depends on {name!r} only through operators without a derivative: the path ends at "
                f"{node.op_type!r} (node {label!r}, input {sources[0]!r}): {why}; "
                f"differentiate by a value after it, or choose an `of` that depends on {name!r} otherwise"
            )
    return f"{target} depends on {name!r}, but the operators in between pass no gradient on to it"


def _kind(op: Emitter, name: str) -> str:
    elem = elem_of(op.type(name))
    return onnx.TensorProto.DataType.Name(elem).lower() if elem else "of unknown type"
