"""The rules that find the candidates of a detector, in the order in which they are asked."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .evidence import Evidence
    from .layout import Layout

Finder = Callable[["Evidence"], "Layout | None"]


@dataclass(frozen=True)
class Rule:
    """A way in which detectors answer.

    name: of the rule. place: rules of a lower number are asked first. about: what it knows, for the documentation.
    find: the layout, None where the model is none of this kind. Raises ModelError for one that cannot be read.
    """

    name: str
    place: int
    about: str
    find: Finder


_rules: dict[str, Rule] = {}


def rule(name: str, place: int) -> Callable[[Finder], Finder]:
    """Decorator of the function that knows one way of answering; its docstring's first line goes into the docs."""

    def register(find: Finder) -> Finder:
        about = (find.__doc__ or "").strip().partition("\n")[0]
        _rules[name] = Rule(name, place, about, find)
        return find

    return register


@functools.cache
def rules() -> tuple[Rule, ...]:
    """All rules, the first to ask first."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent / "rules")]):
        importlib.import_module(f".rules.{module.name}", __package__)
    return tuple(sorted(_rules.values(), key=lambda r: r.place))
