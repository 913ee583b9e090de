"""The registry of metrics: a class for each, in a file of `engine/evaluate/metrics/`."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import MethodError, UnknownName
from ..methods.options import Option, checked, from_text, spec_of

if TYPE_CHECKING:
    from .case import Case

Family = Literal["faithfulness", "localisation", "robustness", "randomisation", "complexity", "agreement"]
Better = Literal["higher", "lower"]
# What a metric asks for beyond the map: nothing, runs of the model, further explanations by the same method, those of a
# model with random weights, those of other methods.
Needs = Literal["map", "runs", "explanations", "random weights", "other methods"]

FAMILIES: tuple[Family, ...] = (
    "faithfulness",
    "localisation",
    "robustness",
    "randomisation",
    "complexity",
    "agreement",
)


@dataclass(frozen=True, eq=False)
class Curve:
    """What a metric measured on the way: `y` over `x`, both float64 (S,), `x` from 0 to 1."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]

    @property
    def area(self) -> float:
        """Under the curve, by the trapezoidal rule, divided by the range of x."""
        areas = (self.y[1:] + self.y[:-1]) / 2 * np.diff(self.x)
        return float(areas.sum() / (self.x[-1] - self.x[0]))


@dataclass(frozen=True, eq=False)
class Measured:
    """The value of a metric for one map, and its curve where it has one."""

    value: float
    curve: Curve | None = None


@dataclass(frozen=True)
class Metric:
    """Base of every metric. An instance holds the values of its options.

    Class attributes:
        name: in the registry. family: what it judges. better: which direction. range: of its values, in words.
        paper: where it comes from. weakness: what a good value does not show.
        needs: what it asks for beyond the map. needs_mask: whether it needs the pixels of the object.
    """

    name: ClassVar[str] = ""
    family: ClassVar[Family] = "faithfulness"
    better: ClassVar[Better] = "higher"
    range: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    weakness: ClassVar[str] = ""
    needs: ClassVar[Needs] = "map"
    needs_mask: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for f in fields(self):
            spec = spec_of(type(self), f)
            object.__setattr__(self, f.name, checked(self.name, spec, getattr(self, f.name)))

    def __call__(self, case: Case) -> Measured:
        """The value for one map. Raises MethodError where the metric does not apply to it."""
        raise TypeError(f"{type(self).__name__} defines no __call__")

    def options(self) -> dict[str, Any]:
        """The values of the options, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def is_better(self, a: float, b: float) -> bool:
        """Whether `a` is the better value of the two."""
        return a > b if self.better == "higher" else a < b


M = TypeVar("M", bound=type[Metric])
_registry: dict[str, type[Metric]] = {}
# What every metric says of itself.
_WORDS = ("range", "paper", "weakness")


def metric(name: str) -> Callable[[M], M]:
    """Class decorator: register a metric under `name`."""

    def register(cls: M) -> M:
        if name in _registry:
            raise ValueError(f"two metrics are called {name!r}: {_registry[name].__name__} and {cls.__name__}")
        if not (dataclasses.is_dataclass(cls) and cls.__doc__):
            raise TypeError(f"{cls.__name__} must be a dataclass with a docstring")
        missing = [word for word in _WORDS if not getattr(cls, word)]
        if missing:
            raise TypeError(f"{cls.__name__} does not say its {', '.join(missing)}")
        cls.name = name
        _registry[name] = cls
        return cls

    return register


@functools.cache
def _discover() -> None:
    for module in pkgutil.iter_modules([str(Path(__file__).parent / "metrics")]):
        importlib.import_module(f".metrics.{module.name}", __package__)


def metrics() -> Mapping[str, type[Metric]]:
    """All metrics by name, family by family, in alphabetical order inside one: name -> its dataclass."""
    _discover()
    ordered = sorted(_registry.items(), key=lambda item: (FAMILIES.index(item[1].family), item[0]))
    return types.MappingProxyType(dict(ordered))


def find(name: str) -> type[Metric]:
    """The metric called `name`; case, underscores and spaces do not matter. Raises UnknownName with the nearest."""
    known = metrics()
    plain = name.strip().lower().replace("_", "-").replace(" ", "-")
    if plain not in known:
        raise UnknownName("metric", name, known, f"there are {', '.join(known)}")
    return known[plain]


def make(name: str | Metric | type[Metric], options: Mapping[str, Any] | None = None) -> Metric:
    """The metric `name`, or of that class, with `options`; an instance is returned as it is.

    Raises UnknownName (no such metric or option), MethodError (a value of the wrong type or outside its limits).
    """
    if isinstance(name, Metric):
        return name
    cls = find(name) if isinstance(name, str) else name
    if not (isinstance(cls, type) and issubclass(cls, Metric)):
        raise MethodError(f"a metric was given as a {type(name).__name__}: give its name")
    known = [option.name for option in options_of(cls)]
    for key in options or {}:
        if key not in known:
            raise UnknownName(f"option of {cls.name}", key, known, f"it has {', '.join(known) or 'none'}")
    return cls(**(options or {}))


def chosen(names: Sequence[str | Metric | type[Metric]] | str | None, masks: bool) -> list[Metric]:
    """The metrics of a list of names and families, or the usual ones. masks: whether the object's pixels are known.

    Raises UnknownName, MethodError (no metric, or one that needs masks where there are none).
    """
    if names is None:
        return [make(name) for name in (*USUAL, *(USUAL_WITH_MASKS if masks else ()))]
    given = [part for part in names.split(",") if part.strip()] if isinstance(names, str) else list(names)
    found: dict[str, Metric] = {}
    for one in given:
        family = one.strip().lower() if isinstance(one, str) else None
        if family in (*FAMILIES, "all"):
            of_family = [cls for cls in metrics().values() if family in ("all", cls.family)]
            found.update({cls.name: make(cls) for cls in of_family if masks or not cls.needs_mask})
        else:
            made = make(one)
            found[made.name] = made
    if not found:
        raise MethodError(f"no metric is named: give some of {', '.join(metrics())}, or a family")
    needing = [name for name, made in found.items() if made.needs_mask]
    if needing and not masks:
        raise MethodError(f"{', '.join(needing)} need the pixels of the object: give masks")
    return list(found.values())


def with_options(made: Sequence[Metric], texts: Sequence[str]) -> list[Metric]:
    """Metrics with options given as texts, each "[METRIC:]NAME=VALUE": without METRIC, of all that have the option.

    Raises UnknownName (metric, option), MethodError (a text of another form, a value outside its limits).
    """
    changes: dict[str, dict[str, Any]] = {one.name: {} for one in made}
    known = {one.name: {option.name: option for option in options_of(type(one))} for one in made}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise MethodError(f"the option of a metric {text!r} is not [METRIC:]NAME=VALUE")
        name, _, key = key.strip().rpartition(":")
        key = key.replace("-", "_")
        named = [find(name).name] if name else [one for one, options in known.items() if key in options]
        if name and named[0] not in known:
            raise UnknownName("metric asked for", named[0], known)
        if not named or key not in known[named[0]]:
            having = {option for one in named or known for option in known[one]}
            raise UnknownName(f"option of {', '.join(named or known)}", key, sorted(having), "see --list-metrics")
        for one in named:
            changes[one][key] = _from_text(one, known[one][key], value)
    return [type(one)(**{**one.options(), **changes[one.name]}) for one in made]


def _from_text(name: str, option: Option, text: str) -> Any:
    if tuple in option.kinds:
        try:
            return tuple(float(part) for part in text.split(","))
        except ValueError:
            raise MethodError(f"option {option.name} of {name}: {text!r} is no list of numbers") from None
    return from_text(name, option, text)


# Those that a table shows where none is named: one of each kind that takes seconds.
USUAL = ("insertion", "deletion", "region-perturbation", "road", "sparseness")
USUAL_WITH_MASKS = ("pointing-game", "relevance-mass", "relevance-rank")


def options_of(cls: type[Metric]) -> tuple[Option, ...]:
    """The options of a metric, in order."""
    return tuple(spec_of(cls, f) for f in fields(cls))


def help_of(cls: type[Metric]) -> str:
    """The first line of the docstring."""
    return (cls.__doc__ or "").strip().splitlines()[0]
