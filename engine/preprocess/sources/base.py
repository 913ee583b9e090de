"""What other tools write about a model's preprocessing, read into card fields.

Each reader takes a model and returns what it found, in this project's terms: (pixel - mean) / std on 0..255 pixels.
All of these files are untrusted: they are read as data, within limits, and a file that makes no sense is left aside
with a note.

    Hugging Face    preprocessor_config.json, config.json    (transformers, "Image Processor" documentation)
    timm            config.json with pretrained_cfg          (timm, `data/config.py` and `data/transforms_factory.py`)
    OpenVINO        rt_info/model_info of an .xml next to the model or of the ONNX metadata    (Model API)
    Ultralytics     ONNX metadata: names, imgsz, stride, task
    Triton          config.pbtxt    (Triton Inference Server, "Model Configuration")
    ONNX            Image.* metadata properties    (ONNX, "MetadataProps")
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ...errors import CardError
from ..card import check
from ..fields import shown
from ..labels import parse_json, read_text

if TYPE_CHECKING:
    from ...graph.model import Model

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


def json_objects(model: Model, name: str, *outer: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    for folder in folders(model, *outer):
        path = folder / name
        if path.is_file():
            content = parse_json(read_text(path, "the file"), repr(str(path)))
            if isinstance(content, dict):
                yield path, content


def found_in(
    where: str, fields: Mapping[str, Any], folder: Path | None = None, notes: list[str] | None = None
) -> Found:
    return Found(where, check(fields, where, folder), notes=tuple(notes or ()))


# Of every number in a file of another tool: pixels, shares, factors. What is computed from such ones stays finite.
MOST = 1e9


def to_number(value: Any, default: float) -> float:
    """A number of magnitude up to 1e9, from a number or its text; `default` for None. Raises CardError."""
    if value is None:
        return default
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= MOST or isinstance(value, bool):
        raise CardError(f"{shown(value, 40)} is not a number of up to {MOST:g}")
    return number


def to_numbers(values: Any) -> list[float]:
    return [to_number(v, math.nan) for v in (values if isinstance(values, (list, tuple)) else [values])]
