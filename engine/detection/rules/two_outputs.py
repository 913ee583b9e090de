"""SSD, DETR, RT-DETR, UltraFace: boxes in one output, scores in another."""

from __future__ import annotations

from ...errors import ModelError
from ..evidence import Evidence
from ..forms import are_offsets, form_of
from ..layout import Axes, Layout, Part, Read
from ..registry import rule
from .common import meaning


@rule("two-outputs", 30)
def two_outputs(evidence: Evidence) -> Layout | None:
    """Two outputs with one row for each candidate: four numbers of its box in one, its scores in the other."""
    tables: dict[str, tuple[Axes, int, int]] = {}
    for name in evidence.floats():
        shape = evidence.array(name).shape
        if len(shape) == 3:
            tables[name] = ("NAK", shape[1], shape[2])
        elif len(shape) == 2 and shape[0] != evidence_batch(evidence):
            tables[name] = ("AK", shape[0], shape[1])
    found = _pair(evidence, tables)
    if found is None:
        return None
    boxes, scores = found
    (kind_b, count, _), (kind_s, _, classes) = tables[boxes], tables[scores]
    box, score = evidence.arrays([boxes, scores])
    if are_offsets(box) and "box_format" not in evidence.hints:
        raise ModelError(
            f"the output {boxes!r} holds offsets from prior boxes, which the file does not hold: export the model with "
            "its boxes decoded, or say detector={'box_format': ...} if they are boxes"
        )
    activation, background, why = meaning(evidence, scores, score.reshape(count, classes))
    if (
        activation == "sigmoid"
        and "background" not in evidence.hints
        and classes > 1
        and _is_without_reference(evidence, boxes)
    ):
        activation, background = "softmax", classes - 1
        why = ["scores are logits that share one probability, the last class is none: boxes have no point of reference"]
    form, relative, how = form_of(box, evidence, boxes)
    rows = 1 if kind_s == "NAK" else 0
    grids = evidence.levels(scores, rows) or (evidence.grids(count) or ((), 1))[0]
    told = f"outputs {boxes!r} and {scores!r} have {count} rows each, of 4 and of {classes} numbers"
    part = Part(Read(scores, kind_s), Read(boxes, kind_b))
    masks = next((n for n in evidence.floats() if evidence.array(n).ndim == 4 and _rows(evidence, n) == count), None)
    how += [] if masks is None else [f"{masks!r} has a mask for each"]
    return Layout(
        "two-outputs", (part,), form, relative, activation, background, grids=grids,
        maps=None if masks is None else Read(masks, "NAHW"), reasons=(told, *why, *how),
    )  # fmt: skip


def _is_without_reference(evidence: Evidence, boxes: str) -> bool:
    """Whether boxes are a sigmoid of a linear layer, as those of DETR and YOLOS; its successors add points to it."""
    model = evidence.model
    node = model.producer(boxes)
    if node is None or node.op_type != "Sigmoid":
        return False
    linear = model.producer(node.input[0])
    if linear is None or linear.op_type not in ("Gemm", "MatMul", "Add"):
        return False
    if linear.op_type != "Add":
        return True
    others = [i for i in linear.input if model.constant(i) is None]
    before = model.producer(others[0]) if len(others) == 1 else None
    return before is not None and before.op_type == "MatMul"


def _rows(evidence: Evidence, name: str) -> int:
    return int(evidence.array(name).shape[1])


def evidence_batch(evidence: Evidence) -> int:
    """The batch size of the picture of noise."""
    return next((len(a) for a in evidence.feeds.values() if a.ndim == 4), 1)


def _pair(evidence: Evidence, tables: dict[str, tuple[Axes, int, int]]) -> tuple[str, str] | None:
    """The outputs of boxes and of scores."""
    said = evidence.hints.get("boxes"), evidence.hints.get("scores")
    boxes = [n for n, (_, _, k) in tables.items() if k == 4 and (said[0] is None or n == said[0])]
    # Where classes are four as well, the name decides, else boxes come first.
    boxes.sort(key=lambda n: not any(word in n.lower() for word in ("box", "loc", "bbox", "coord", "reg")))
    for name in boxes:
        rows = tables[name][1]
        scores = [n for n, (_, a, _) in tables.items() if n != name and a == rows and rows > 1]
        scores = [n for n in scores if said[1] is None or n == said[1]]
        # Landmarks and the like stand beside scores: what is a probability comes first, then what is called so.
        scores.sort(key=lambda n: (evidence.function(n) is None, not any(w in n.lower() for w in _SCORES)))
        if scores:
            return name, scores[0]
    return None


_SCORES = ("score", "conf", "cls", "class", "logit", "prob")
