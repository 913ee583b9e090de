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
    fields: dict[str, Any] = {"mean": 0, "std": 255, "labels": _literal(data["names"])}
    if data.get("channels", "3").strip() != "1":
        fields["order"] = "RGB"
    if data.get("task", "detect") == "classify":
        fields |= {"resize": "crop", "crop_fraction": 1.0, "rounding": "torchvision"}
    else:
        fields |= {"resize": "letterbox", "pad_value": 114, "antialias": False}
    if "imgsz" in data:
        fields["size"] = _literal(data["imgsz"])
    yield found_in("the model's metadata (Ultralytics)", fields)


def _literal(text: str) -> Any:
    """A Python literal: parsed, never evaluated."""
    if len(text) > MAX_LITERAL:
        raise CardError(f"a property of {len(text)} characters is too long")
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise CardError(f"a property is no literal: {text[:60]!r}") from error
