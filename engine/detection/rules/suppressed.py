"""Graphs that end in NonMaxSuppression: what it reads is the table of all candidates."""

from __future__ import annotations

from ...proto.attributes import attributes
from ..evidence import Evidence
from ..forms import form_of
from ..layout import Form, Layout, Part, Read
from ..registry import rule
from .common import meaning


@rule("suppressed", 10)
def suppressed(evidence: Evidence) -> Layout | None:
    """NonMaxSuppression in the graph: its two inputs are the boxes and the scores of all candidates."""
    model = evidence.model
    found = [
        n for n in model.graph.node if n.op_type == "NonMaxSuppression" and all(map(evidence.is_sized, n.input[:2]))
    ]
    if not found:
        return None
    node = found[-1]
    boxes, scores = node.input[0], node.input[1]
    box, score = evidence.arrays([boxes, scores])
    if score.ndim != 3 or box.ndim != 3:
        return None
    options = [model.constant(name) if name else None for name in list(node.input[2:5]) + [""] * 3]
    most, overlap, least = (None if o is None or not o.size else float(o.reshape(-1)[0]) for o in options[:3])
    activation, background, why = meaning(evidence, scores, score.transpose(0, 2, 1).reshape(-1, score.shape[1]))
    form, relative, how = form_of(box, evidence, " ".join(v.name for v in model.outputs))
    centred = attributes(node).get("center_point_box", 0) == 1
    if centred and "box_format" not in evidence.hints:
        form, how = "cxcywh", ["centre and size: NonMaxSuppression is said so (center_point_box)", *how[1:]]
    elif form == "cxcywh" and "box_format" not in evidence.hints:
        form = _corners(evidence)
        how = [f"two corners ({form}): NonMaxSuppression reads corners", *how[1:]]
    told = f"NonMaxSuppression {node.name!r} chooses among {box.shape[1]} candidates of {score.shape[1]} classes"
    grids = evidence.grids(box.shape[1])
    return Layout(
        "suppressed", (Part(Read(scores, "NKA"), Read(boxes)),), form, relative, activation, background,
        overlap=overlap if overlap is not None else 0.0, least=least, most=int(most) if most else None,
        grids=grids[0] if grids else (),
        reasons=(told, *why, *how),
    )  # fmt: skip


def _corners(evidence: Evidence) -> Form:
    return "yxyx" if evidence.model.untyped.producer_name == "tf2onnx" else "xyxy"
