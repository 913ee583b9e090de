"""What other tools write about a model's preprocessing, read into card fields.

Each reader takes a model and returns what it found, in this project's terms: (pixel - mean) / std on 0..255 pixels.
All of these files are untrusted: they are read as data, within limits, and a file that makes no sense is left aside
with a note.

    Hugging Face    preprocessor_config.json, config.json    (transformers, "Image Processor" documentation)
    timm            config.json with pretrained_cfg          (timm, `data/config.py` and `data/transforms_factory.py`)
    OpenVINO        rt_info/model_info of an .xml beside the model or of the ONNX metadata    (Model API)
    Ultralytics     ONNX metadata: names, imgsz, stride, task
    Triton          config.pbtxt    (Triton Inference Server, "Model Configuration")
    ONNX            Image.* metadata properties    (ONNX, "MetadataProps")
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from xml.etree import ElementTree

from ...errors import CardError
from ..card import check, parse_json, read_text
from . import pbtxt

if TYPE_CHECKING:
    from ...graph.model import Model

MAX_LITERAL = 1 << 20

Reader: TypeAlias = "Callable[[Model], Iterator[Found]]"


@dataclass(frozen=True)
class Found:
    """Card fields from one source, checked. A `strict` source must not contradict the model, another may."""

    where: str
    fields: Mapping[str, Any]
    strict: bool = False
    notes: tuple[str, ...] = ()


def folders(model: Model, *outer: str) -> Iterator[Path]:
    """The folder of the model file, and the one around it if the folder's name is in `outer` ("#": a number)."""
    if model.path is None:
        return
    folder = model.path.parent
    yield folder
    name = folder.absolute().name
    if name in outer or ("#" in outer and name.isdigit()):
        yield folder.absolute().parent


def _json_objects(model: Model, name: str, *outer: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    for folder in folders(model, *outer):
        path = folder / name
        if path.is_file():
            content = parse_json(read_text(path, "the file"), repr(str(path)))
            if isinstance(content, dict):
                yield path, content


def _found(where: str, fields: Mapping[str, Any], folder: Path | None = None, notes: list[str] | None = None) -> Found:
    return Found(where, check(fields, where, folder), notes=tuple(notes or ()))


# Hugging Face

_PILLOW = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "bilinear"}


def hugging_face(model: Model) -> Iterator[Found]:
    for path, config in _json_objects(model, "preprocessor_config.json", "onnx"):
        kinds = ("image_processor_type", "feature_extractor_type", "image_mean", "crop_size", "do_resize")
        if any(key in config for key in kinds):
            notes: list[str] = []
            fields = _hf_values(config) | _hf_size(config, notes)
            yield _found(path.name, fields, notes=notes)
            return


def hugging_face_labels(model: Model) -> Iterator[Found]:
    for path, config in _json_objects(model, "config.json", "onnx"):
        named = config.get("id2label")
        if isinstance(named, dict) and named and not all(str(v) == f"LABEL_{k}" for k, v in named.items()):
            yield _found(path.name, {"labels": named})
            return


def _hf_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """Normalisation, channel order and resampling filter."""
    fields: dict[str, Any] = {}
    scale = _number(config.get("rescale_factor"), 1 / 255) if config.get("do_rescale", True) else 1.0
    if scale <= 0:
        raise CardError("rescale_factor must be positive")
    shift = 1.0 if config.get("rescale_offset") else 0.0
    means, stds = config.get("image_mean"), config.get("image_std")
    if config.get("do_normalize", True) and means is not None and stds is not None:
        fields["mean"] = [(m + shift) / scale for m in _numbers(means)]
        fields["std"] = [s / scale for s in _numbers(stds)]
    elif not config.get("do_normalize", means is not None):
        fields["mean"], fields["std"] = shift / scale, 1 / scale
    if "mean" in fields:
        fields["order"] = "BGR" if _hf_flips(config) else "RGB"
        if len(_numbers(fields["mean"])) == 1 and isinstance(fields["mean"], list):
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
    if percent is not None and not 0.01 <= _number(percent, 1.0) <= 1:
        raise CardError(f"crop_pct is {percent}")
    if size is None or not config.get("do_resize", True):
        return {"size": crop} if crop else {}
    sides = _hf_sides(size)
    edge = size.get("shortest_edge") if isinstance(size, Mapping) else None
    if isinstance(size, int) and (crops or percent is not None):
        sides, edge = None, size
    edge = None if edge is None else int(_number(edge, 0))
    rounding = {"rounding": "transformers"}
    if edge is not None and percent is not None:
        if not crops and edge >= 384:
            return {"resize": "stretch", "size": edge}
        return {"resize": "crop", "size": crop or edge, "shortest_edge": int(edge / _number(percent, 1.0)), **rounding}
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


# timm


def timm(model: Model) -> Iterator[Found]:
    for path, config in _json_objects(model, "config.json", "onnx"):
        inner = config.get("pretrained_cfg") or config.get("default_cfg")
        inner = inner if isinstance(inner, Mapping) else config if "architecture" in config else None
        if inner is None:
            continue
        notes: list[str] = []
        fields: dict[str, Any] = {}
        if "mean" in inner and "std" in inner:
            fields["mean"] = [255 * m for m in _numbers(inner["mean"])]
            fields["std"] = [255 * s for s in _numbers(inner["std"])]
            if len(fields["mean"]) == 3:
                fields["order"] = "RGB"
        fields |= _timm_size(inner, fields.get("mean"), notes)
        labels = _timm_labels(config, inner)
        if labels:
            fields["labels"] = labels
        if fields:
            yield _found(f"{path.name} (timm)", fields, notes=notes)
            return


def _timm_size(config: Mapping[str, Any], mean: Any, notes: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    filter = str(config.get("interpolation", "")).lower()
    if filter in ("nearest", "bilinear", "bicubic", "lanczos", "box"):
        fields["interpolation"] = filter
    shape = config.get("input_size")
    if not (isinstance(shape, list) and len(shape) == 3):
        return fields
    size = [int(_number(side, 0)) for side in shape[1:]]
    fields["size"] = size
    part = _number(config.get("crop_pct"), 0.875)
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
    told = config.get("label_descriptions") or inner.get("label_descriptions")
    told = told if isinstance(told, Mapping) else {}
    return [f"{n} {told[n]}" if isinstance(told.get(n), str) else n for n in names]


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
            fields[name] = [_number(v, math.nan) for v in values]
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
        fields["pad_value"] = _number(info["pad_value"], 0)
    labels = _words(info.get("labels", ""))
    if labels:
        fields["labels"] = [word.replace("_", " ") for word in labels]
    return _found(where, fields)


def _words(text: str) -> list[str]:
    return text.strip().strip("[]").replace(",", " ").split()


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
    yield _found("the model's metadata (Ultralytics)", fields)


def _literal(text: str) -> Any:
    """A Python literal: parsed, never evaluated."""
    if len(text) > MAX_LITERAL:
        raise CardError(f"a property of {len(text)} characters is too long")
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise CardError(f"a property is no literal: {text[:60]!r}") from error


# Triton


def triton(model: Model) -> Iterator[Found]:
    for folder in folders(model, "#"):
        path = folder / "config.pbtxt"
        if not path.is_file():
            continue
        config = pbtxt.parse(read_text(path, "the file"))
        names = [v.name for v in model.inputs]
        fields: dict[str, Any] = {}
        for entry in pbtxt.messages(config, "input"):
            name = pbtxt.text(entry, "name")
            layout = pbtxt.text(entry, "format").removeprefix("FORMAT_")
            if name not in names or layout not in ("NCHW", "NHWC"):
                continue
            fields |= {"input": name, "layout": layout}
            dims = [int(d) for d in entry.get("dims", []) if isinstance(d, (int, float))]
            dims = dims[1:] if len(dims) == 4 else dims
            sides = (dims[1:] if layout == "NCHW" else dims[:2]) if len(dims) == 3 else []
            if sides and min(sides) > 0:
                fields["size"] = sides
            break
        for entry in pbtxt.messages(config, "output"):
            if pbtxt.text(entry, "label_filename"):
                fields["labels"] = pbtxt.text(entry, "label_filename")
                break
        if fields:
            yield _found(path.name, fields, folder)
        return


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
        yield _found("the model's metadata (Image.*)", fields, notes=notes)


def _number(value: Any, default: float) -> float:
    """A finite number, from a number or its text; `default` for None."""
    if value is None:
        return default
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or isinstance(value, bool):
        raise CardError(f"{str(value)[:40]!r} is no number")
    return number


def _numbers(values: Any) -> list[float]:
    return [_number(v, math.nan) for v in (values if isinstance(values, (list, tuple)) else [values])]


READERS: tuple[tuple[str, Reader], ...] = (
    ("the Hugging Face preprocessor_config.json", hugging_face),
    ("the Hugging Face config.json", hugging_face_labels),
    ("the timm configuration", timm),
    ("the OpenVINO information", openvino),
    ("the Ultralytics metadata", ultralytics),
    ("Triton's config.pbtxt", triton),
)
