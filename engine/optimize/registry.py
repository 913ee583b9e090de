"""Registries of the parts of an optimisation: named frozen dataclasses, one file each, found by `pkgutil`.

As a text, on the command line, a part is NAME, NAME:VALUE (its first option) or NAME:OPTION=VALUE,OPTION=VALUE.
"""

from __future__ import annotations

import importlib
import pkgutil
import types
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, ClassVar, Generic, TypeVar, cast

from ..errors import MethodError, UnknownName
from ..methods.options import Option, checked, from_text, spec_of


class Part:
    """Base of every part: a frozen dataclass whose fields are made by `option`. Raises MethodError for their values."""

    name: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for spec in options_of(type(self)):
            object.__setattr__(self, spec.name, checked(self.name, spec, getattr(self, spec.name)))


P = TypeVar("P", bound=Part)
C = TypeVar("C", bound=type[Part])


class Registry(Generic[P]):
    """The parts of one kind: `kind` in words, `package` the folder of their files."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind, self.package = kind, package
        self._found: dict[str, type[P]] = {}
        self._complete = False

    def register(self, name: str) -> Callable[[C], C]:
        """Class decorator."""

        def add(cls: C) -> C:
            if name in self._found:
                raise ValueError(f"there are two of the {self.kind} {name!r}")
            if not cls.__doc__:
                raise TypeError(f"{cls.__name__} must have a docstring")
            cls.name = name
            self._found[name] = cast("type[P]", cls)
            return cls

        return add

    def all(self) -> Mapping[str, type[P]]:
        """All of them, by name, in alphabetical order."""
        if not self._complete:
            folder = importlib.import_module(f".{self.package}", __package__)
            for module in pkgutil.iter_modules(folder.__path__):
                importlib.import_module(f".{self.package}.{module.name}", __package__)
            self._complete = True
        return types.MappingProxyType(dict(sorted(self._found.items())))

    def find(self, name: str) -> type[P]:
        """Raises UnknownName with the nearest names."""
        known = self.all()
        if name not in known:
            raise UnknownName(self.kind, name, known, f"there are {', '.join(known)}")
        return known[name]

    def make(self, given: str | P) -> P:
        """A part of its text; a part as it is. Raises UnknownName (no such part or option), MethodError (its value)."""
        if isinstance(given, Part):
            return given
        if not isinstance(given, str):
            raise MethodError(f"a {self.kind} is given by its text or as an object, not as {type(given).__name__}")
        name, _, rest = given.strip().partition(":")
        cls = self.find(name)
        return cls(**self._options(cls, rest))

    def _options(self, cls: type[P], text: str) -> dict[str, Any]:
        known = {spec.name: spec for spec in options_of(cls)}
        values: dict[str, Any] = {}
        for i, part in enumerate(p for p in text.split(",") if p.strip()):
            key, equals, value = part.partition("=")
            if not equals:
                key, value = (next(iter(known), ""), part) if i == 0 else (part, "")
            key = key.strip().replace("-", "_")
            if key not in known:
                listed = f"it has {', '.join(known)}" if known else "it has none"
                raise UnknownName(f"option of {cls.name}", key, known, listed)
            values[key] = from_text(cls.name, known[key], value.strip())
        return values


def options_of(cls: type[Part]) -> tuple[Option, ...]:
    """The options of a part, in order."""
    return tuple(spec_of(cast(Any, cls), f) for f in fields(cast(Any, cls)))


def help_of(cls: type[Part]) -> str:
    """The first line of the docstring."""
    return (cls.__doc__ or "").strip().splitlines()[0]
