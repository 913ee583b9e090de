"""Outputs whose rows a choice in the graph leaves: how many there are depends on the image, and they are no samples."""

from __future__ import annotations

import onnx

from ..graph.model import Model
from ..proto.attributes import attributes
from ..proto.values import Value

_SUPPRESSIONS = frozenset(
    "NonMaxSuppression EfficientNMS_TRT BatchedNMS_TRT BatchedNMSDynamic_TRT EfficientNMSX_TRT TRTBatchedNMS".split()
)
_CHOICES = frozenset(("NonZero", "Compress", "Unique", *_SUPPRESSIONS))
# The first axis of their result is that of the first axis of their inputs, or made of it.
_KEEP_ROWS = frozenset(
    "Identity Cast Squeeze Unsqueeze Reshape Flatten Transpose Slice Concat Split TopK GatherElements Pad Clip Relu "
    "Sigmoid Exp Log Sqrt Neg Abs Round Floor Ceil Add Sub Mul Div Mod Min Max Where Not And Or".split()
)
_FARTHEST = 60


def rows_of_boxes(model: Model, value: Value) -> str:
    """Why the value holds rows of boxes that a choice in the graph left: their scores, sides or classes; "" where not.

    Either its rows are what NonMaxSuppression selects, or another output has four numbers for each of its rows and
    both come out of a choice.
    """
    shape = value.shape
    if shape is None or len(shape) not in (1, 2):
        return ""
    node = choice_behind(model, value.name) if _is_counted(model, shape) else None
    if node is not None and node.op_type in _SUPPRESSIONS:
        return f"boxes: a row for each that {node.op_type} {node.name or node.output[0]!r} leaves"
    partner = next((v for v in model.outputs if _has_sides(v, shape)), None)
    if partner is not None and all(_is_chosen(model, name) for name in (value.name, partner.name)):
        return f"boxes: a row for each of {partner.name!r}, which the graph selects"
    return ""


def choice_behind(model: Model, name: str) -> onnx.NodeProto | None:
    """The node whose choice the rows of a value are, its first axis; None where it is none."""
    seen: set[str] = set()
    open_ = [name]
    while open_ and len(seen) < _FARTHEST:
        node = model.producer(open_.pop())
        if node is None or node.output[0] in seen:
            continue
        seen.add(node.output[0])
        if node.op_type in _CHOICES:
            return node
        open_ += _with_the_same_rows(node)
    return None


def _with_the_same_rows(node: onnx.NodeProto) -> list[str]:
    """The inputs that the rows of a node's result come from."""
    if node.op_type == "Gather":
        return [node.input[0 if attributes(node).get("axis", 0) else 1]]
    if node.op_type == "GatherND":
        return [node.input[1]]
    return list(node.input) if node.op_type in _KEEP_ROWS else []


def _is_counted(model: Model, shape: tuple[int | str | None, ...]) -> bool:
    """Whether the first size is open and not that of an input."""
    given = {size for v in model.inputs for size in v.shape or () if isinstance(size, str)}
    return not isinstance(shape[0], int) and shape[0] not in given


def _has_sides(value: Value, rows: tuple[int | str | None, ...]) -> bool:
    """Whether the value holds four numbers for each of the rows."""
    shape = value.shape
    return shape is not None and shape[-1:] == (4,) and shape[:-1] == rows and rows[-1] != 1


def _is_chosen(model: Model, name: str) -> bool:
    before = model.ancestors(name)
    chosen = (*_CHOICES, "TopK")
    return any(o in before for node in model.graph.node if node.op_type in chosen for o in node.output)
