"""Image.* metadata properties of ONNX."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .base import Found, found_in

if TYPE_CHECKING:
    from ...graph.model import Model

# ONNX metadata properties


def onnx_image(model: Model) -> Iterator[Found]:
    data = {key.lower(): value.strip().lower() for key, value in model.metadata.items()}
    fields: dict[str, Any] = {}
    notes = []
    format = data.get("image.bitmappixelformat", "")
    if format in ("gray8", "rgb8", "bgr8"):
        fields["order"] = format[:-1].upper()
    elif format:
        notes.append(f"pixel format {format!r} is not known here")
    ranges = {
        "nominalrange_0_255": (0.0, 1.0),
        "normalized_0_1": (0.0, 255.0),
        "normalized_1_1": (127.5, 127.5),
        "nominalrange_16_235": (-16 * 255 / 219, 255 / 219),
    }
    nominal = data.get("image.nominalpixelrange", "")
    if nominal in ranges:
        fields["mean"], fields["std"] = ranges[nominal]
    elif nominal:
        notes.append(f"pixel range {nominal!r} is not known here")
    if data.get("image.colorspacegamma") == "linear":
        notes.append("it wants linear colour values; images are fed as they are stored (sRGB)")
    if fields or notes:
        yield found_in("the model's metadata (Image.*)", fields, notes=notes)
