"""rt_info/model_info of OpenVINO's Model API, in an .xml next to the model or in its metadata."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from ...errors import CardError
from ..labels import read_text
from .base import Found, found_in, to_number

if TYPE_CHECKING:
    from ...graph.model import Model

# OpenVINO


def openvino(model: Model) -> Iterator[Found]:
    if model.path is not None and (path := model.path.with_suffix(".xml")).is_file():
        info = _rt_info(read_text(path, "the file"))
        if info:
            yield _model_info(f"{path.name} (rt_info)", info)
    info = {}
    for key, value in model.metadata.items():
        words = key.split()
        if len(words) >= 2 and words[-2] == "model_info":
            info[words[-1]] = value
    if info:
        yield _model_info("the model's metadata (model_info)", info)


def _rt_info(text: str) -> dict[str, str]:
    """The entries of <rt_info><model_info>, by name."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise CardError("it declares a document type, which OpenVINO never does")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise CardError(f"it is not XML: {error}") from error
    return {e.tag: e.get("value", "") for e in root.iterfind("./rt_info/model_info/*")}


def _model_info(where: str, info: Mapping[str, str]) -> Found:
    fields: dict[str, Any] = {}
    for name, key in (("mean", "mean_values"), ("std", "scale_values")):
        values = _words(info.get(key, ""))
        if values:
            fields[name] = [to_number(v, math.nan) for v in values]
    if ("mean" in fields) != ("std" in fields):
        fields.setdefault("mean", 0)
        fields.setdefault("std", 1)
    reverse = info.get("reverse_input_channels", "").strip().lower()
    if reverse:  # of OpenCV's BGR
        fields["order"] = "RGB" if reverse in ("true", "yes", "1") else "BGR"
    kind = info.get("resize_type", "").strip()
    ways: dict[str, dict[str, Any]] = {
        "standard": {"resize": "stretch"},
        "crop": {"resize": "crop", "crop_fraction": 1.0},
        "fit_to_window": {"resize": "letterbox", "align": "top-left"},
        "fit_to_window_letterbox": {"resize": "letterbox", "align": "center"},
    }
    if kind:
        if kind not in ways:
            raise CardError(f"resize_type is {kind!r}, none of {', '.join(ways)}")
        fields |= ways[kind] | {"antialias": False}
    if info.get("pad_value", "").strip():
        fields["pad_value"] = to_number(info["pad_value"], 0)
    labels = _words(info.get("labels", ""))
    if labels:
        fields["labels"] = [word.replace("_", " ") for word in labels]
    return found_in(where, fields)


def _words(text: str) -> list[str]:
    return text.strip().strip("[]").replace(",", " ").split()
