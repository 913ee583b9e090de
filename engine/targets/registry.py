"""The forms that targets are written in, and the classes behind them: one file of `kinds/` each, found by themselves.

A file of `kinds/` holds a frozen dataclass derived from `Target`, registered with `@kind`, and readers of its texts,
registered with `@form`. `Target.parse`, the command line's help and `docs/targets.md` take them from here.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import TargetError

if TYPE_CHECKING:
    from .target import Target

T = TypeVar("T", bound="type[Target]")
Reader = Callable[[str], "Target"]

# Of characters: a label has at most 1000, numbers of thousands of digits cannot be converted.
LONGEST = 4000


@dataclass(frozen=True)
class Form:
    """A way of writing a target.

    prefix: what stands before the first colon, or the whole text. syntax: all its spellings. about: what is explained.
    bare: whether it may stand without a colon. read: what makes a target of the text after the colon.
    """

    prefix: str
    syntax: str
    about: str
    bare: bool
    read: Reader


_forms: dict[str, Form] = {}
_kinds: dict[str, type[Target]] = {}


def kind(cls: T) -> T:
    """Class decorator: a kind of target, known by the name of its class."""
    _kinds[cls.__name__] = cls
    return cls


def form(prefix: str, syntax: str, about: str, *, bare: bool = False) -> Callable[[Reader], Reader]:
    """Decorator of the function that reads the texts which begin with `prefix`; it may raise ValueError."""

    def register(read: Reader) -> Reader:
        if prefix in _forms:
            raise ValueError(f"two forms of targets begin with {prefix!r}")
        _forms[prefix] = Form(prefix, syntax, about, bare, read)
        return read

    return register


@functools.cache
def _discover() -> None:
    for module in pkgutil.iter_modules([str(Path(__file__).parent / "kinds")]):
        importlib.import_module(f".kinds.{module.name}", __package__)


def forms() -> Mapping[str, Form]:
    """All forms by prefix, in alphabetical order."""
    _discover()
    return types.MappingProxyType(dict(sorted(_forms.items())))


def kinds() -> Mapping[str, type[Target]]:
    """All kinds by the names of their classes, in alphabetical order."""
    _discover()
    return types.MappingProxyType(dict(sorted(_kinds.items())))


def make(name: str, *arguments: Any, **options: Any) -> Target:
    """A target of the kind whose class is called `name`."""
    _discover()
    return _kinds[name](*arguments, **options)


def parse(text: str) -> Target:
    """A target from its text; what is no other form is a label. Raises TargetError."""
    text = text.strip()
    if len(text) > LONGEST:
        raise TargetError(f"a target of {len(text)} characters is none: write at most {LONGEST}")
    if is_number(text):
        return make("Class", int(text))
    if not text:
        raise TargetError("the target is empty: give 'predicted', a class index or a label")
    prefix, colon, rest = text.partition(":")
    found = forms().get(prefix)
    if found is None or not (colon or found.bare):
        which, mark, word = text.rpartition("@")
        if mark and which:
            return make("AtWord", *(int(part) if is_number(part) else part for part in (which, word)))
        return make("Class", text)
    try:
        return found.read(rest.strip())
    except (ValueError, RecursionError):
        raise TargetError(f"the target {text!r} cannot be read: write {found.syntax}") from None


def is_number(text: str) -> bool:
    """Whether a text is a whole number of a size that an index can have."""
    return re.fullmatch(r"[+-]?[0-9]{1,18}", text) is not None
