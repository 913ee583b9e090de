"""A model card: how an image becomes the input tensor of a model, and what its classes are called.

A card is data. It can be written by hand as JSON beside a model, read from other tools' files (`find.py`), and goes
into every manifest. Whatever it holds is checked here, once, whoever wrote it.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal, get_args

from ...kernels.resize import FILTERS, Filter
from ..errors import CardError, nearest

Order = Literal["RGB", "BGR", "GRAY"]
Layout = Literal["NCHW", "NHWC", "CHW", "HWC", "NHW", "HW"]
Resize = Literal["stretch", "crop", "letterbox"]
Rounding = Literal["nearest", "torchvision", "transformers"]
Align = Literal["center", "top-left"]
DTYPES = ("float32", "float16", "float64", "uint8", "int8", "uint16", "int16")

MAX_SIDE = 16384
MAX_PIXELS = 1 << 26
MAX_LABELS = 1_000_000
MAX_LABEL_LENGTH = 1000
MAX_FILE_BYTES = 64 << 20


@dataclass(frozen=True)
class Card:
    """Preprocessing and labels of one model. Values are checked and completed on construction.

    Attributes:
        input: name of the model's input; None: the one that takes images.
        size: (height, width) of the model's input plane in pixels. An int and "HxW" are accepted as well.
        mean, std: the tensor holds (pixel - mean) / std, on 0..255 pixels, one number per channel in the channel order
            of the card, or one for all.
        order: channels as the model wants them; GRAY is luminance (ITU-R BT.601, as Pillow's mode "L").
        layout: of the input; a missing N or C is an axis that the model does not have.
        resize: "stretch" to the size; "crop": the image is scaled to cover the crop and its centre is cut out;
            "letterbox": it is scaled to fit inside, and padded.
        shortest_edge: with "crop", the length of the image's shorter side before the crop.
        stretch_to: with "crop", (height, width) to stretch the image to before the crop.
        crop_fraction: with "crop" and neither of the above, the size is this part of the scaled image (0.875: 224
            pixels of 256).
        rounding: of sizes and offsets with "crop". "nearest": the longer side to the nearest pixel, the offset down
            (ONNX Model Zoo); "torchvision": the longer side down, the offset to nearest; "transformers": both down.
        interpolation: filter of the resampling; antialias: whether it is stretched when an image becomes smaller.
        pad_value: pixel value 0..255 around the image; align: where a letterboxed image lies.
        dtype: of the tensor.
        labels: names of the classes, or None.
        source: where each field came from. warnings: what may be wrong with that.
        about: descriptive entries that are not interpreted (title, licence, origin, ...).

    Raises CardError for any value that makes no sense, naming the field.
    """

    input: str | None = None
    size: tuple[int, int] = (224, 224)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    order: Order = "RGB"
    layout: Layout = "NCHW"
    resize: Resize = "stretch"
    shortest_edge: int | None = None
    stretch_to: tuple[int, int] | None = None
    crop_fraction: float = 0.875
    rounding: Rounding = "nearest"
    interpolation: Filter = "bilinear"
    antialias: bool = True
    pad_value: int = 0
    align: Align = "center"
    dtype: str = "float32"
    labels: tuple[str, ...] | None = None
    source: str = ""
    warnings: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        checked = check({f.name: getattr(self, f.name) for f in fields(self)}, "the card", confined=False)
        channels = 1 if checked["order"] == "GRAY" else 3
        for name in ("mean", "std"):
            checked[name] = per_channel(name, checked[name], channels, checked["order"])
        if checked["order"] != "GRAY" and "C" not in checked["layout"]:
            raise CardError(
                f"layout {checked['layout']} has no channel axis but the order is {checked['order']}: "
                "say order='GRAY' or a layout with C"
            )
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def channels(self) -> int:
        return 1 if self.order == "GRAY" else 3

    @property
    def batched(self) -> bool:
        """Whether the model's input has a batch axis."""
        return "N" in self.layout

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], where: str = "the card", folder: Path | None = None) -> Card:
        """A card from JSON-like data. `folder` is where label files named in it may lie.

        Raises CardError for an unknown field (with the nearest names) or a value that does not fit.
        """
        return cls(**check(mapping, where, folder))

    def to_mapping(self) -> dict[str, Any]:
        """The card as JSON-like data; `Card.from_mapping` of it gives an equal card."""
        plain: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if value is None or (f.name == "about" and not value):
                continue
            plain[f.name] = list(value) if isinstance(value, tuple) else dict(value) if f.name == "about" else value
        return plain

    def with_labels(self, labels: object) -> Card:
        return replace(self, labels=labels)  # type: ignore[arg-type]  # checked on construction


FIELDS: tuple[str, ...] = tuple(f.name for f in fields(Card))


def check(
    mapping: Mapping[str, Any], where: str, folder: Path | None = None, *, confined: bool = True
) -> dict[str, Any]:
    """The fields of `mapping`, each checked and in its normal form; fields that are None are left out.

    `where` says in messages whose values they are. Label files are read; `confined` ones must lie in `folder`.
    Raises CardError.
    """
    if not isinstance(mapping, Mapping):
        raise CardError(f"{where} is no set of named fields: write one JSON object")
    found: dict[str, Any] = {}
    for name, value in mapping.items():
        parse = _PARSERS.get(name) if isinstance(name, str) else None
        if parse is None:
            close = nearest(str(name), FIELDS)
            hint = f"; nearest: {', '.join(map(repr, close))}" if close else f": known are {', '.join(FIELDS)}"
            raise CardError(f"{where} has an unknown field {str(name)!r}{hint}")
        if value is None:
            continue
        if name == "labels":
            found[name] = read_labels(value, where, folder, confined=confined)
            continue
        try:
            found[name] = parse(value)
        except _Refused as refused:
            shown = repr(value)
            shown = shown if len(shown) <= 80 else shown[:77] + "..."
            raise CardError(f"{name} in {where} must be {refused}, got {shown}") from None
    return found


def per_channel(name: str, values: tuple[float, ...], channels: int, order: str) -> tuple[float, ...]:
    """`values` for every channel: one number stands for all of them, equal numbers may collapse into one."""
    if len(values) == channels:
        return values
    if len(set(values)) == 1:
        return values[:1] * channels
    raise CardError(f"{name} has {len(values)} values but an image of order {order} has {channels} channels")


class _Refused(Exception):
    """What a value should have been."""


def _size(value: Any) -> tuple[int, int]:
    wanted = f"a number of pixels, (height, width) or 'HxW', of 1 to {MAX_SIDE} a side"
    if isinstance(value, str):
        parts: list[Any] = value.lower().replace("×", "x").split("x")
        if not all(p.strip().isascii() and p.strip().isdigit() and len(p.strip()) < 8 for p in parts):
            raise _Refused(wanted)
        value = [int(p) for p in parts]
        value = value * 2 if len(value) == 1 else value
    elif _is_number(value):
        value = [value, value]
    sides = _sequence(value, wanted)
    if len(sides) != 2 or not all(_is_number(s) and float(s).is_integer() and 1 <= s <= MAX_SIDE for s in sides):
        raise _Refused(wanted)
    height, width = int(sides[0]), int(sides[1])
    if height * width > MAX_PIXELS:
        raise _Refused(f"at most {MAX_PIXELS} pixels")
    return height, width


def _edge(value: Any) -> int:
    if not (_is_number(value) and float(value).is_integer() and 1 <= value <= MAX_SIDE):
        raise _Refused(f"a number of pixels from 1 to {MAX_SIDE}")
    return int(value)


def _numbers(value: Any, positive: bool) -> tuple[float, ...]:
    wanted = f"one {'positive ' if positive else ''}number, or one for each channel"
    values = [value] if _is_number(value) else _sequence(value, wanted)
    if len(values) not in (1, 3) or not all(_is_number(v) and abs(v) < 1e6 and (v > 0 or not positive) for v in values):
        raise _Refused(wanted)
    return tuple(float(v) for v in values)


def _fraction(value: Any) -> float:
    if not (_is_number(value) and 0.01 <= value <= 1):
        raise _Refused("a number from 0.01 to 1")
    return float(value)


def _pixel(value: Any) -> int:
    if not (_is_number(value) and float(value).is_integer() and 0 <= value <= 255):
        raise _Refused("a whole number from 0 to 255")
    return int(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Refused("true or false")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 10_000:
        raise _Refused("a text")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(v) for v in _sequence(value, "a list of texts"))


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _Refused("an object with descriptive entries")
    return dict(value)


def _choice(choices: Sequence[str], upper: bool, also: Mapping[str, str]) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        plain = value.strip() if isinstance(value, str) else ""
        plain = plain.upper() if upper else plain.lower()
        plain = also.get(plain, plain)
        if plain not in choices:
            close = nearest(plain, choices, most=1) if plain else []
            hint = f" (nearest: {close[0]!r})" if close else ""
            raise _Refused(f"one of {', '.join(choices)}{hint}")
        return plain

    return parse


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "input": _text,
    "size": _size,
    "mean": lambda v: _numbers(v, positive=False),
    "std": lambda v: _numbers(v, positive=True),
    "order": _choice(get_args(Order), True, {"GREY": "GRAY", "L": "GRAY", "GRAYSCALE": "GRAY", "GREYSCALE": "GRAY"}),
    "layout": _choice(get_args(Layout), True, {}),
    "resize": _choice(get_args(Resize), False, {}),
    "shortest_edge": _edge,
    "stretch_to": _size,
    "crop_fraction": _fraction,
    "rounding": _choice(get_args(Rounding), False, {}),
    "interpolation": _choice(FILTERS, False, {"linear": "bilinear", "cubic": "bicubic", "lanczos3": "lanczos"}),
    "antialias": _flag,
    "pad_value": _pixel,
    "align": _choice(get_args(Align), False, {"centre": "center"}),
    "dtype": _choice(DTYPES, False, {}),
    "labels": lambda v: v,
    "source": _text,
    "warnings": _texts,
    "about": _mapping,
}


def _is_number(value: Any) -> bool:
    """A finite real number; True and False are none. NumPy's count as well."""
    if isinstance(value, bool) or not hasattr(value, "__float__") or isinstance(value, str):
        return False
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        return False


def _sequence(value: Any, wanted: str) -> list[Any]:
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__iter__"):
        raise _Refused(wanted)
    return list(value)


def read_labels(value: Any, where: str, folder: Path | None = None, *, confined: bool = False) -> tuple[str, ...]:
    """Class names, in the order of the classes, from a list, an {id: label} object, or the path of a file with either.

    A text file has one label a line, line i is class i, and the whole line is the label ("n01440764 tench, Tinca
    tinca"); a JSON file, or a text that begins with a bracket, holds a list or an object. A `confined` path
    is relative to `folder` and must not leave it. Raises CardError.
    """
    if isinstance(value, Path) or (isinstance(value, str) and value):
        path = _label_file(value, where, folder, confined)
        return _labels_of(_parse_labels(read_text(path, "the label file"), path), f"the label file {str(path)!r}")
    return _labels_of(value, f"labels in {where}")


def _label_file(value: str | Path, where: str, folder: Path | None, confined: bool) -> Path:
    path = Path(value)
    if not confined:
        return path if folder is None or path.is_absolute() else folder / path
    parts = {*PurePosixPath(value).parts, *PureWindowsPath(value).parts}
    if folder is None or ".." in parts or path.is_absolute() or PureWindowsPath(value).anchor:
        raise CardError(f"{where} names the label file {str(value)!r}: it must lie in the folder of the card")
    return folder / path


def _parse_labels(text: str, path: Path) -> Any:
    if path.suffix.lower() == ".json" or text.lstrip()[:1] in ("{", "["):
        return parse_json(text, f"the label file {str(path)!r}")
    lines = text.splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _labels_of(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, Mapping):
        try:
            numbered = {int(key): label for key, label in value.items()}
        except (TypeError, ValueError):
            raise CardError(f"{where}: the keys must be class numbers") from None
        if len(numbered) != len(value) or (numbered and set(numbered) != set(range(len(numbered)))):
            last = len(value) - 1
            raise CardError(f"{where}: the {len(value)} keys must be the class numbers from 0 to {last}, each once")
        value = [numbered[i] for i in range(len(numbered))]
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        raise CardError(f"{where} must be a list of names, an object from class number to name, or the path of a file")
    names = list(value)
    if not names:
        raise CardError(f"{where}: there is no label in it")
    if len(names) > MAX_LABELS:
        raise CardError(f"{where}: {len(names)} labels are more than {MAX_LABELS}")
    if not all(isinstance(n, (str, int, float)) and not isinstance(n, bool) for n in names):
        raise CardError(f"{where}: every label must be a text")
    return tuple(_clean(str(n)) or f"class {i}" for i, n in enumerate(names))


def _clean(label: str) -> str:
    """One line of printable text of bounded length."""
    label = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in label[: 2 * MAX_LABEL_LENGTH])
    return label.strip().lstrip("\ufeff")[:MAX_LABEL_LENGTH]


def read_text(path: Path, what: str, most: int = MAX_FILE_BYTES) -> str:
    """The text of a small UTF-8 file, or CardError saying `what` cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise CardError(f"{what} {str(path)!r} cannot be read: {reason}") from error
    if len(data) > most:
        raise CardError(f"{what} {str(path)!r} is larger than {most >> 20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CardError(f"{what} {str(path)!r} is not UTF-8 text") from error


def parse_json(text: str, what: str) -> Any:
    """JSON, or CardError saying where `what` is broken."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise CardError(f"{what} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from error
    except (RecursionError, ValueError) as error:
        raise CardError(f"{what} is not usable JSON: {type(error).__name__}") from error
