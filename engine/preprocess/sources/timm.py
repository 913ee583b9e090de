"""config.json of timm, with its pretrained_cfg."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...errors import CardError
from .base import Found, found_in, json_objects, to_number, to_numbers

if TYPE_CHECKING:
    from ...graph.model import Model

# timm


def timm(model: Model) -> Iterator[Found]:
    for path, config in json_objects(model, "config.json", "onnx"):
        inner = config.get("pretrained_cfg") or config.get("default_cfg")
        inner = inner if isinstance(inner, Mapping) else config if "architecture" in config else None
        if inner is None:
            continue
        notes: list[str] = []
        fields: dict[str, Any] = {}
        if "mean" in inner and "std" in inner:
            fields["mean"] = [255 * m for m in to_numbers(inner["mean"])]
            fields["std"] = [255 * s for s in to_numbers(inner["std"])]
            if len(fields["mean"]) == 3:
                fields["order"] = "RGB"
        fields |= _timm_size(inner, fields.get("mean"), notes)
        labels = _timm_labels(config, inner)
        if labels:
            fields["labels"] = labels
        if fields:
            yield found_in(f"{path.name} (timm)", fields, notes=notes)
            return


def _timm_size(config: Mapping[str, Any], mean: Any, notes: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    filter = str(config.get("interpolation", "")).lower()
    if filter in ("nearest", "bilinear", "bicubic", "lanczos", "box"):
        fields["interpolation"] = filter
    shape = config.get("input_size")
    if not (isinstance(shape, list) and len(shape) == 3):
        return fields
    size = [int(to_number(side, 0)) for side in shape[1:]]
    fields["size"] = size
    part = to_number(config.get("crop_pct"), 0.875)
    if not 0.01 <= part <= 1:
        raise CardError(f"crop_pct is {part}")
    scaled = [math.floor(side / part) for side in size]
    mode = config.get("crop_mode") or "center"
    if mode == "border":
        fields |= {"resize": "letterbox", "pad_value": round(sum(mean) / len(mean)) if mean else 0}
        if part != 1:
            notes.append(f"its crop_pct {part} of a padded image is left out")
    elif mode == "squash":
        fields |= {"resize": "crop", "stretch_to": scaled, "rounding": "torchvision"}
    elif size[0] == size[1]:
        fields |= {"resize": "crop", "shortest_edge": scaled[0], "rounding": "torchvision"}
    else:
        fields |= {"resize": "crop", "crop_fraction": part, "rounding": "torchvision"}
    return fields


def _timm_labels(config: Mapping[str, Any], inner: Mapping[str, Any]) -> list[str] | None:
    names = config.get("label_names") or inner.get("label_names")
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        return None
    descriptions = config.get("label_descriptions") or inner.get("label_descriptions")
    descriptions = descriptions if isinstance(descriptions, Mapping) else {}
    return [f"{n} {descriptions[n]}" if isinstance(descriptions.get(n), str) else n for n in names]
