"""What four numbers say of a box: corners, or centre and size, in pixels or in parts of the plane."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .evidence import Evidence
from .layout import FORMS, Form

# Boxes whose numbers stay below this are parts of the plane.
_RELATIVE = 2.0


def form_of(
    boxes: NDArray[np.floating], evidence: Evidence, names: str = "", final: bool = False
) -> tuple[Form, bool, list[str]]:
    """The form of boxes (A, 4), whether they are relative, and why.

    names: of the values, in which TensorFlow's `detection_boxes` may stand. final: of boxes that are left after a
    selection, which need not correlate: they are few, and may all lie in one place.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    boxes = boxes[np.isfinite(boxes).all(axis=1)]
    relative = bool(len(boxes) and np.quantile(np.abs(boxes), 0.99) <= _RELATIVE)
    units = f"in {'parts of the plane' if relative else 'pixels'}: 99 % are at most "
    units += f"{np.quantile(np.abs(boxes), 0.99):.3g}" if len(boxes) else "0"
    given = evidence.hints.get("box_format")
    if given in FORMS:
        return given, relative, [f"box_format {given}: as given", units]
    if not len(boxes):
        return "xyxy", relative, ["xyxy: assumed, there is no box to see it by", units]
    ordered = float(np.mean((boxes[:, 2] >= boxes[:, 0]) & (boxes[:, 3] >= boxes[:, 1])))
    pairs = [_correlation(boxes[:, i], boxes[:, i + 2]) for i in (0, 1)]
    alike = min(pairs)
    told = f"{100 * ordered:.0f} % of the boxes have their second corner behind the first, correlation {alike:.2f}"
    if ordered >= 0.99 and (final or alike > 0.5):
        rows_first = "detection_boxes" in names or evidence.model.untyped.producer_name == "tf2onnx"
        why = ", rows first as TensorFlow writes them" if rows_first else ""
        return ("yxyx" if rows_first else "xyxy"), relative, [f"two corners{why}: {told}", units]
    return "cxcywh", relative, [f"centre and size: {told}", units]


def are_offsets(boxes: NDArray[np.floating]) -> bool:
    """Whether (A, 4) are offsets from prior boxes rather than boxes: sizes below 0 under either reading."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if not len(boxes):
        return False
    corners = np.mean((boxes[:, 2] >= boxes[:, 0]) & (boxes[:, 3] >= boxes[:, 1]))
    sizes = np.mean((boxes[:, 2] > 0) & (boxes[:, 3] > 0))
    return bool(max(corners, sizes) < 0.9)


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if len(a) < 3 or a.std() == 0 or b.std() == 0:
        return 1.0 if np.array_equal(a, b) or (b >= a).all() else 0.0
    return float(np.corrcoef(a, b)[0, 1])
