"""Metadata of Ultralytics: names, imgsz, stride, task."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ...errors import CardError
from .base import Found, found_in

if TYPE_CHECKING:
    from ...graph.model import Model

MAX_LITERAL = 1 << 20


# Ultralytics


def ultralytics(model: Model) -> Iterator[Found]:
    data = model.metadata
    if "names" not in data or not ({"stride", "task", "imgsz"} & set(data)):
        return
    notes: list[str] = []
    fields: dict[str, Any] = {"mean": 0, "std": 255, "labels": _literal(data["names"])}
    if data.get("channels", "3").strip() != "1":
        fields["order"] = "RGB"
    if data.get("task") == "classify":
        fields |= {"resize": "crop", "crop_fraction": 1.0, "rounding": "torchvision"}
    elif "task" not in data and _is_classifier(model, fields["labels"]):
        # YOLOv5's exports state no task; its classifiers are normalised as torchvision's are (ultralytics/yolov5,
        # classify/predict.py), its detectors are not.
        fields |= {"resize": "crop", "crop_fraction": 1.0, "rounding": "torchvision"}
        fields |= {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
        notes.append("no task is stated; one score per name, so it is taken for a classifier")
    else:
        fields |= {"resize": "letterbox", "pad_value": 114, "antialias": False}
    if "imgsz" in data:
        fields["size"] = _literal(data["imgsz"])
    yield found_in("the model's metadata (Ultralytics)", fields, notes=notes)


def _is_classifier(model: Model, names: Any) -> bool:
    """Whether the only output holds one score for each name."""
    count = len(names) if isinstance(names, (list, dict)) else 0
    shapes = [v.shape for v in model.outputs]
    return len(shapes) == 1 and shapes[0] is not None and len(shapes[0]) == 2 and shapes[0][1] == count > 0


def _literal(text: str) -> Any:
    """A Python literal: parsed, never evaluated."""
    if len(text) > MAX_LITERAL:
        raise CardError(f"a property of {len(text)} characters is too long")
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise CardError(f"a property is not a literal: {text[:60]!r}") from error
