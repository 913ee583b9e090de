"""preprocessor_config.json and config.json of Hugging Face transformers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...errors import CardError
from .base import Found, found_in, json_objects, to_number, to_numbers

if TYPE_CHECKING:
    from ...graph.model import Model

# Hugging Face

_PILLOW = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "bilinear"}


def hugging_face(model: Model) -> Iterator[Found]:
    for path, config in json_objects(model, "preprocessor_config.json", "onnx"):
        kinds = ("image_processor_type", "feature_extractor_type", "image_mean", "crop_size", "do_resize")
        if any(key in config for key in kinds):
            notes: list[str] = []
            fields = _hf_values(config) | _hf_size(config, notes)
            yield found_in(path.name, fields, notes=notes)
            return


def hugging_face_labels(model: Model) -> Iterator[Found]:
    for path, config in json_objects(model, "config.json", "onnx"):
        named = config.get("id2label")
        fields: dict[str, Any] = {}
        if isinstance(named, dict) and named and not all(str(v) == f"LABEL_{k}" for k, v in named.items()):
            fields["labels"] = named
        kind = _ANSWERS.get(str(config.get("problem_type")))
        if kind is not None:
            fields["answer"] = kind
        if kind == "number":
            fields.pop("labels", None)  # one name that stands for the number is no class
        if fields:
            yield found_in(path.name, fields)
            return


# transformers, "problem_type" of PretrainedConfig.
_ANSWERS = {
    "regression": "number",
    "single_label_classification": "classes",
    "multi_label_classification": "labels",
}


def _hf_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """Normalisation, channel order and resampling filter."""
    fields: dict[str, Any] = {}
    scale = to_number(config.get("rescale_factor"), 1 / 255) if config.get("do_rescale", True) else 1.0
    if scale <= 0:
        raise CardError("rescale_factor must be positive")
    shift = 1.0 if config.get("rescale_offset") else 0.0
    means, stds = config.get("image_mean"), config.get("image_std")
    if config.get("do_normalize", True) and means is not None and stds is not None:
        fields["mean"] = [(m + shift) / scale for m in to_numbers(means)]
        fields["std"] = [s / scale for s in to_numbers(stds)]
    elif not config.get("do_normalize", means is not None):
        fields["mean"], fields["std"] = shift / scale, 1 / scale
    if "mean" in fields:
        fields["order"] = "BGR" if _hf_flips(config) else "RGB"
        if len(to_numbers(fields["mean"])) == 1 and isinstance(fields["mean"], list):
            del fields["order"]  # one channel or all alike: it does not tell
    filter = config.get("resample")
    if isinstance(filter, int) and filter in _PILLOW:
        fields["interpolation"] = _PILLOW[filter]
    return fields


def _hf_kind(config: Mapping[str, Any]) -> str:
    return str(config.get("image_processor_type") or config.get("feature_extractor_type") or "").lower()


def _hf_flips(config: Mapping[str, Any]) -> bool:
    usual = config.get("do_flip_channels", _hf_kind(config).startswith("mobilevit"))
    return bool(config.get("do_flip_channel_order", usual))


def _hf_size(config: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    size = config.get("size")
    crops = bool(config.get("do_center_crop", False))
    crop = _hf_sides(config.get("crop_size")) if crops else None
    kind = _hf_kind(config)
    percent = config.get("crop_pct")
    if percent is None and "convnext" in kind:
        percent = 224 / 256
    if percent is not None and not 0.01 <= to_number(percent, 1.0) <= 1:
        raise CardError(f"crop_pct is {percent}")
    if size is None or not config.get("do_resize", True):
        return {"size": crop} if crop else {}
    sides = _hf_sides(size)
    edge = size.get("shortest_edge") if isinstance(size, Mapping) else None
    if isinstance(size, int) and (crops or percent is not None):
        sides, edge = None, size
    edge = None if edge is None else int(to_number(edge, 0))
    rounding = {"rounding": "transformers"}
    if edge is not None and percent is not None:
        if not crops and edge >= 384:
            return {"resize": "stretch", "size": edge}
        return {
            "resize": "crop",
            "size": crop or edge,
            "shortest_edge": int(edge / to_number(percent, 1.0)),
            **rounding,
        }
    if edge is not None and kind.startswith("levit"):
        edge = int(edge * 256 / 224)
    if edge is not None and crop:
        return {"resize": "crop", "size": crop, "shortest_edge": edge, **rounding}
    if sides and crop:
        return {"resize": "crop", "size": crop, "stretch_to": sides, **rounding}
    if sides:
        return {"resize": "stretch", "size": sides}
    if edge is not None:
        notes.append("it keeps each image's proportions, at a size of its own; images are fitted to one size here")
        return {"resize": "letterbox"}
    return {}


def _hf_sides(size: Any) -> tuple[int, int] | None:
    if isinstance(size, Mapping):
        height, width = size.get("height"), size.get("width")
        return None if height is None or width is None else (height, width)
    if isinstance(size, list) and len(size) == 2:
        return size[0], size[1]
    return (size, size) if isinstance(size, int) else None
