"""The fields of a model card, read and checked."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import nearest

DTYPES = ("float32", "float16", "float64", "uint8", "int8", "uint16", "int16")

MAX_SIDE = 16384
MAX_PIXELS = 1 << 26
# Of a picture, and of a model's input.
MAX_BANDS = 512


class FieldRefused(Exception):
    """What a value should have been."""


def to_size(value: Any) -> tuple[int, int]:
    wanted = f"a number of pixels, (height, width) or 'HxW', of 1 to {MAX_SIDE} a side"
    if isinstance(value, str):
        parts: list[Any] = value.lower().replace("×", "x").split("x")
        if not all(p.strip().isascii() and p.strip().isdigit() and len(p.strip()) < 8 for p in parts):
            raise FieldRefused(wanted)
        value = [int(p) for p in parts]
        value = value * 2 if len(value) == 1 else value
    elif _is_number(value):
        value = [value, value]
    sides = _sequence(value, wanted)
    if len(sides) != 2 or not all(_is_number(s) and float(s).is_integer() and 1 <= s <= MAX_SIDE for s in sides):
        raise FieldRefused(wanted)
    height, width = int(sides[0]), int(sides[1])
    if height * width > MAX_PIXELS:
        raise FieldRefused(f"at most {MAX_PIXELS} pixels")
    return height, width


def to_edge(value: Any) -> int:
    if not (_is_number(value) and float(value).is_integer() and 1 <= value <= MAX_SIDE):
        raise FieldRefused(f"a number of pixels from 1 to {MAX_SIDE}")
    return int(value)


def to_numbers(value: Any, positive: bool) -> tuple[float, ...]:
    wanted = f"one {'positive ' if positive else ''}number, or one for each channel"
    values = [value] if _is_number(value) else _sequence(value, wanted)
    if not 1 <= len(values) <= MAX_BANDS or not all(
        _is_number(v) and abs(v) < 1e6 and (v > 0 or not positive) for v in values
    ):
        raise FieldRefused(wanted)
    return tuple(float(v) for v in values)


def to_fraction(value: Any) -> float:
    if not (_is_number(value) and 0.01 <= value <= 1):
        raise FieldRefused("a number from 0.01 to 1")
    return float(value)


def to_probability(value: Any) -> float:
    if not (_is_number(value) and 0 < value < 1):
        raise FieldRefused("a number between 0 and 1")
    return float(value)


def to_pixel(value: Any) -> int:
    if not (_is_number(value) and float(value).is_integer() and 0 <= value <= 255):
        raise FieldRefused("a whole number from 0 to 255")
    return int(value)


# What a card says of a detector, and of which kind each entry is.
DETECTOR = {
    **dict.fromkeys(("boxes", "scores", "box_format"), "text"),
    "objectness": "flag",
    **dict.fromkeys(("classes", "background"), "count"),
    **dict.fromkeys(("threshold", "nms"), "share"),
    "anchors": "anchors",
}


# What a card says of a vocabulary that has no file of its own kind.
TOKENIZER = ("kind", "vocab", "lower", "start", "unknown", "pad", "mask", "begin", "length")


def to_tokenizer(value: Any) -> str | dict[str, Any]:
    """The path of a tokenizer, or an object that describes one."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str) and value and len(value) < 10_000:
        return value
    if not isinstance(value, Mapping):
        raise FieldRefused(f"a file, or an object with entries of {', '.join(TOKENIZER)}")
    for name in value:
        if name not in TOKENIZER:
            close = nearest(str(name), TOKENIZER, most=1)
            raise FieldRefused(f"made of {', '.join(TOKENIZER)}" + (f" (nearest: {close[0]!r})" if close else ""))
    if value.get("kind", "words") not in ("bytes", "characters", "words"):
        raise FieldRefused("of the kind bytes, characters or words")
    length = value.get("length")
    if length is not None and (not _is_number(length) or not 1 <= length <= 1_000_000):
        raise FieldRefused("of a length from 1 to 1000000 tokens")
    return dict(value)


# What a card says of how a model hears: samples per second; samples of a step, and of the step before in front of them;
# samples of a window of the plane of time and frequency. Of models that take spectrograms: samples between two columns,
# whether bands are even in mel (1) or in Hz, and their ends in Hz.
SOUND = ("rate", "frame", "context", "window", "hop", "mel", "low", "high")


def to_sound(value: Any) -> dict[str, int]:
    """{"rate": 16000, ...}, or a text "rate=16000,frame=512"."""
    if isinstance(value, str):
        value = dict(part.partition("=")[::2] for part in value.split(",") if part.strip())
    if not isinstance(value, Mapping):
        raise FieldRefused(f"an object with entries of {', '.join(SOUND)}")
    found = {}
    for key, entry in value.items():
        name = str(key).strip()
        if name not in SOUND:
            close = nearest(name, SOUND, most=1)
            raise FieldRefused(f"made of {', '.join(SOUND)}" + (f" (nearest: {close[0]!r})" if close else ""))
        text = str(entry).strip()
        if isinstance(entry, bool) or not text.isascii() or not text.isdigit() or not 0 < len(text) < 8:
            raise FieldRefused(f"a whole number for {name}")
        found[name] = int(text)
        least = {"context": 0, "mel": 0, "low": 0, "window": 8}.get(name, 1)
        if found[name] < least or (name == "window" and found[name] % 4):
            raise FieldRefused(f"at least {least}{', a multiple of 4,' * (name == 'window')} for {name}")
    return found


# What a card says of how a volume becomes the input: mm between voxels; how values are normalised; whether the model's
# axes are slices, rows, columns or the other way; the first voxel of the part that is cut out.
VOLUME = ("spacing", "normalise", "order", "patch")
NORMALISE = ("none", "z-score", "foreground", "unit")


def to_volume(value: Any) -> dict[str, Any]:
    """{"normalise": "z-score", ...}, or a text "normalise=z-score,order=xyz,spacing=1x1x1"."""
    if isinstance(value, str):
        value = dict(part.partition("=")[::2] for part in value.split(",") if part.strip())
    if not isinstance(value, Mapping):
        raise FieldRefused(f"an object with entries of {', '.join(VOLUME)}")
    found: dict[str, Any] = {}
    for key, entry in value.items():
        name = str(key).strip()
        if name not in VOLUME:
            close = nearest(name, VOLUME, most=1)
            raise FieldRefused(f"made of {', '.join(VOLUME)}" + (f" (nearest: {close[0]!r})" if close else ""))
        if name in ("normalise", "order"):
            known = NORMALISE if name == "normalise" else ("zyx", "xyz")
            if entry not in known:
                raise FieldRefused(f"one of {', '.join(known)} for {name}")
            found[name] = entry
            continue
        parts = entry.lower().split("x") if isinstance(entry, str) else entry
        try:
            numbers = tuple(float(part) for part in parts)
        except (TypeError, ValueError):
            numbers = ()
        whole = all(number.is_integer() and number >= 0 for number in numbers)
        if len(numbers) != 3 or not (whole if name == "patch" else all(0 < number < 1e4 for number in numbers)):
            raise FieldRefused(f"three {'whole numbers' if name == 'patch' else 'lengths in mm'} for {name}")
        found[name] = tuple(int(number) for number in numbers) if name == "patch" else numbers
    return found


def to_detector(value: Any) -> dict[str, Any]:
    """{"boxes": NAME, ...}, or a text "boxes=NAME,threshold=0.4"."""
    if isinstance(value, str):
        value = dict(part.partition("=")[::2] for part in value.split(",") if part.strip())
    if not isinstance(value, Mapping):
        raise FieldRefused(f"an object with entries of {', '.join(DETECTOR)}")
    found = {}
    for name, entry in value.items():
        kind = DETECTOR.get(str(name).strip())
        if kind is None:
            close = nearest(str(name), DETECTOR, most=1)
            raise FieldRefused(f"made of {', '.join(DETECTOR)}" + (f" (nearest: {close[0]!r})" if close else ""))
        found[str(name).strip()] = _detector_entry(str(name).strip(), kind, entry)
    return found


def _detector_entry(name: str, kind: str, value: Any) -> Any:
    if kind == "text":
        return to_text(value).strip()
    if kind == "anchors":
        return _to_anchors(value)
    if kind == "flag":
        flags: dict[Any, bool] = {True: True, False: False, "true": True, "false": False, "yes": True, "no": False}
        if value not in flags:
            raise FieldRefused(f"true or false for {name}")
        return flags[value]
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if kind == "count":
        if not (number.is_integer() and 0 <= number < 1 << 20):
            raise FieldRefused(f"a whole number for {name}")
        return int(number)
    if not 0 <= number <= 1:
        raise FieldRefused(f"a number from 0 to 1 for {name}")
    return number


def _to_anchors(value: Any) -> dict[int, tuple[tuple[float, float], ...]]:
    """{"8": [[height, width], ...], ...}: the anchor boxes of each stride in pixels."""
    try:
        found = {int(k): tuple((float(h), float(w)) for h, w in v) for k, v in dict(value).items()}
    except (TypeError, ValueError):
        raise FieldRefused("an object of stride: [[height, width], ...] for anchors") from None
    return found


def to_axes(value: Any) -> str:
    wanted = "a letter for each axis, such as NTF, NCT, N1T or NCDHW, each of N, C, T, F, D, H, W once"
    axes = value.strip().upper() if isinstance(value, str) else ""
    letters = axes.replace("1", "")
    if not 1 <= len(axes) <= 8 or not set(letters) <= set("NCTFDHW") or len(set(letters)) < len(letters):
        raise FieldRefused(wanted)
    return axes


def to_bits(value: Any) -> int:
    if not (_is_number(value) and float(value).is_integer() and 8 <= value <= 16):
        raise FieldRefused("a number of bits from 8 to 16")
    return int(value)


def to_window(value: Any) -> tuple[float, float] | str:
    wanted = "(low, high), the values that are black and white, or 'none'"
    if isinstance(value, str) and value.strip().lower() == "none":
        return "none"
    ends = _sequence(value, wanted)
    if len(ends) != 2 or not all(_is_number(v) and abs(v) < 1e9 for v in ends) or not ends[0] < ends[1]:
        raise FieldRefused(wanted)
    return float(ends[0]), float(ends[1])


def to_bands(value: Any) -> tuple[int | str, ...]:
    """Bands of a picture, by number from 0 or by name."""
    wanted = f"a list of 1 to {MAX_BANDS} bands, by number from 0 or by name"
    bands = _sequence(value, wanted)
    if not 1 <= len(bands) <= MAX_BANDS or not all(isinstance(b, str) or _is_band(b) for b in bands):
        raise FieldRefused(wanted)
    return tuple(b.strip() if isinstance(b, str) else int(b) for b in bands)


def to_names(value: Any) -> tuple[str, ...]:
    names = to_bands(value)
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise FieldRefused("a list of different names, one for each band of a picture")
    return tuple(str(name) for name in names)


def _is_band(value: Any) -> bool:
    return _is_number(value) and float(value).is_integer() and 0 <= value < MAX_BANDS


def to_flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise FieldRefused("true or false")
    return value


def to_text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 10_000:
        raise FieldRefused("a text")
    return value


def to_texts(value: Any) -> tuple[str, ...]:
    return tuple(to_text(v) for v in _sequence(value, "a list of texts"))


def to_entries(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise FieldRefused("an object with descriptive entries")
    return dict(value)


def choice_of(choices: Sequence[str], upper: bool, also: Mapping[str, str]) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        plain = value.strip() if isinstance(value, str) else ""
        plain = plain.upper() if upper else plain.lower()
        plain = also.get(plain, plain)
        if plain not in choices:
            close = nearest(plain, choices, most=1) if plain else []
            hint = f" (nearest: {close[0]!r})" if close else ""
            raise FieldRefused(f"one of {', '.join(choices)}{hint}")
        return plain

    return parse


def shown(value: Any, most: int = 80) -> str:
    """A value in a message, cut to `most` characters; numbers of thousands of digits cannot be written at all."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return "a value with a number of thousands of digits in it"
    return text if len(text) <= most else text[: most - 3] + "..."


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
        raise FieldRefused(wanted)
    return list(value)
