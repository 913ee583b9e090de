"""Options of methods: from fields of a dataclass to checks, texts and the command line."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import MethodError, nearest


@dataclass(frozen=True)
class Option:
    """One option of a method, as its field declares it. `kinds` are the Python types that a value may have."""

    name: str
    kinds: tuple[type, ...]
    default: Any
    help: str
    choices: tuple[str, ...]
    low: float | None
    high: float | None

    @property
    def free(self) -> bool:
        """Whether a text that is none of the choices may be given too: an array's file, for instance."""
        import numpy as np

        return np.ndarray in self.kinds


def option(
    default: Any,
    help: str,
    *,
    choices: Sequence[str] = (),
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """A field of a method: its default, help text, the texts it may hold, the limits of its number (both included)."""
    return field(default=default, metadata={"help": help, "choices": tuple(choices), "low": low, "high": high})


def from_text(name: str, spec: Option, text: str) -> Any:
    low = text.strip().lower()
    if type(None) in spec.kinds and low == "none":
        return None
    if bool in spec.kinds and low in ("yes", "true", "on", "1", "no", "false", "off", "0"):
        return low in ("yes", "true", "on", "1")
    if low in spec.choices:
        return low
    for kind in (int, float):
        if kind in spec.kinds:
            try:
                return kind(low)
            except ValueError:
                continue
    return text


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    import numpy as np

    return typing.get_type_hints(cls, localns={"np": np, "NDArray": np.ndarray})


def spec_of(cls: type[Any], f: dataclasses.Field[Any]) -> Option:
    """What a field of a method, or of a metric, says of itself."""
    hint = _hints(typing.cast(Any, cls))[f.name]
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    kinds = tuple(typing.get_origin(part) or part for part in parts)
    meta = f.metadata
    return Option(f.name, kinds, f.default, meta["help"], meta.get("choices", ()), meta.get("low"), meta.get("high"))


def checked(method: str, spec: Option, value: Any) -> Any:
    """The value in its normal form. Raises MethodError."""
    import numpy as np

    if value is None and type(None) in spec.kinds:
        return None
    if isinstance(value, str):
        if value in spec.choices or (str in spec.kinds and not spec.choices):
            return value
        if "#rrggbb" in spec.choices and value.startswith("#"):
            return value  # a colour: the choice says its form, the baseline reads it
        if "text:WORDS" in spec.choices and value.startswith("text:"):
            return value  # a text, likewise
    elif isinstance(value, bool | np.bool_):
        if bool in spec.kinds:
            return bool(value)
    elif isinstance(value, int | float | np.integer | np.floating):
        if isinstance(value, int) and abs(value) > 1 << 62:
            raise MethodError(f"option {spec.name} of {method} must be {describe(spec)}, got a number beyond 2^62")
        number = float(value)
        if int in spec.kinds and number.is_integer() and float not in spec.kinds:
            return _limited(method, spec, int(value))
        if float in spec.kinds and not math.isnan(number):
            return _limited(method, spec, number)
    elif np.ndarray in spec.kinds and hasattr(value, "__array__"):
        return np.asarray(value)
    elif tuple in spec.kinds and isinstance(value, Sequence):
        return tuple(value)
    raise MethodError(f"option {spec.name} of {method} must be {describe(spec)}, got {_shown(value, spec)}")


def _limited(method: str, spec: Option, value: Any) -> Any:
    if (spec.low is not None and value < spec.low) or (spec.high is not None and value > spec.high):
        raise MethodError(f"option {spec.name} of {method} must be {describe(spec)}, got {value}")
    return value


def _shown(value: Any, spec: Option) -> str:
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # an integer of thousands of digits
        text = "a" * 61
    shown = text if len(text) <= 60 else f"a {type(value).__name__}"
    close = nearest(value, spec.choices, 1) if isinstance(value, str) else []
    return shown + (f" (nearest: {close[0]!r})" if close else "")


def describe(spec: Option) -> str:
    """What values an option takes, in words: "an integer from 1 to 1,000,000, or none"."""
    import numpy as np

    words: list[str] = []
    if spec.choices:
        words.append("one of " + ", ".join(spec.choices))
    elif str in spec.kinds:
        words.append("a text")
    if float in spec.kinds or int in spec.kinds:
        words.append(_number_in_words(spec))
    if bool in spec.kinds:
        words.append("true or false")
    if np.ndarray in spec.kinds:
        words.append("an array")
    if tuple in spec.kinds:
        words.append("a list")
    if type(None) in spec.kinds:
        words.append("none")
    return ", or ".join(words)


def _number_in_words(spec: Option) -> str:
    noun = "a number" if float in spec.kinds else "an integer"
    low, high = (None if limit is None else _written(limit) for limit in (spec.low, spec.high))
    if low is not None and high is not None:
        return f"{noun} from {low} to {high}"
    return f"{noun} of at least {low}" if low is not None else f"{noun} of at most {high}" if high is not None else noun


def _written(number: float) -> str:
    return f"{int(number):,}" if float(number).is_integer() and abs(number) < 1e15 else f"{number:g}"
