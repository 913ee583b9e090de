"""The registry of attribution methods."""

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

from ..errors import MethodError, UnknownName
from .options import Option, checked, from_text, spec_of

if TYPE_CHECKING:
    from ..attribution.maps import Maps
    from ..attribution.problem import Problem
    from ..compiled.build import Build
    from ..compiled.emitted import Emitted

Needs = Literal["forward", "gradient", "tail"]
Sanity = Literal["passes", "fails", "does not apply"]


@dataclass(frozen=True)
class Method:
    """Base of every method. An instance holds the values of its options.

    Class attributes:
        name: in the registry. aliases: other names that users know it by.
        needs: "gradient" of the target; "tail": runs the part of the network after a layer; "forward": runs only the
            whole network, so that any model will do.
        at_layer: whether it explains at a layer (class activation maps), not at the input.
        randomisation: whether its maps change when the weights are randomised (Adebayo et al. 2018).
    """

    name: ClassVar[str] = ""
    aliases: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[Needs] = "gradient"
    at_layer: ClassVar[bool] = False
    randomisation: ClassVar[Sanity] = "passes"

    def __post_init__(self) -> None:
        for f in fields(self):
            object.__setattr__(self, f.name, checked(self.name, spec_of(type(self), f), getattr(self, f.name)))
        defaults = {f.name: f.default for f in fields(self)}
        for name, wanted in self.idle().items():
            if getattr(self, name) != defaults[name]:
                raise MethodError(
                    f"option {name} of {self.name} has no effect without {wanted}: give that, or leave {name} out"
                )

    def idle(self) -> Mapping[str, str]:
        """Numbers among the options that have no effect with the others as they are -> what they need."""
        return {}

    def question(self, problem: Problem) -> Problem:
        """The problem that is solved in the place of the one that is asked; itself for most methods."""
        return problem

    def __call__(self, problem: Problem) -> Maps:
        raise TypeError(f"{type(self).__name__} defines no __call__")

    def emit(self, build: Build) -> Emitted:
        """What `__call__` does, as nodes of a graph: for `onnxray.compile`. Raises MethodError if there is none."""
        fitting = ", ".join(name for name, cls in methods().items() if cls.can_be_compiled())
        raise MethodError(
            f"{self.name} cannot be compiled into a model, its passes are too many or not fixed; these can: {fitting}"
        )

    @classmethod
    def can_be_compiled(cls) -> bool:
        return cls.emit is not Method.emit

    def options(self) -> dict[str, Any]:
        """The values of the options, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


M = TypeVar("M", bound=type[Method])
_registry: dict[str, type[Method]] = {}
_by_alias: dict[str, str] = {}


def method(name: str, *aliases: str) -> Callable[[M], M]:
    """Class decorator: register a method under `name`, to be found by `aliases` as well.

    Spellings that differ in case, hyphens, underscores and spaces only ("GradCAM") need no alias.
    """

    def register(cls: M) -> M:
        names = list(dict.fromkeys(map(_plain, (name, *aliases))))
        for called in names:
            if called in _by_alias:
                raise ValueError(f"two methods are called {called!r}: {_by_alias[called]} and {cls.__name__}")
        if not (dataclasses.is_dataclass(cls) and cls.__doc__):
            raise TypeError(f"{cls.__name__} must be a dataclass with a docstring")
        taken = {f.name for f in fields(cls)} & _reserved()
        if taken:
            raise TypeError(f"{cls.__name__}: the options {sorted(taken)} would hide fields of the model card")
        _by_alias.update(dict.fromkeys(names, name))
        cls.name, cls.aliases = name, aliases
        _registry[name] = cls
        return cls

    return register


def _reserved() -> set[str]:
    """Names that `explain` takes besides a method's own options."""
    from ..preprocess.card import FIELDS

    running = ("providers", "threads", "batch", "progress")
    return {*FIELDS, *running, "model", "image", "method", "target", "layer", "at"}


@functools.cache
def _discover() -> None:
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f".{module.name}", __package__)


def _import_file_of(name: str) -> None:
    """Import the file that is named after a method, where there is one: `grad_cam_plus_plus.py` of "grad-cam++"."""
    stem = name.replace("-", "_").replace("+", "_plus")
    if stem.isidentifier() and (Path(__file__).parent / f"{stem}.py").is_file():
        importlib.import_module(f".{stem}", __package__)


def methods() -> Mapping[str, type[Method]]:
    """All methods, by name, in alphabetical order: name -> its dataclass."""
    _discover()
    return types.MappingProxyType(dict(sorted(_registry.items())))


def _plain(name: str) -> str:
    """A name without case, hyphens, underscores and spaces."""
    return name.lower().translate(dict.fromkeys(map(ord, "-_ ")))


def find(name: str) -> type[Method]:
    """The method called `name`, or known by it ("ig", "GradCAM").

    Its own file is imported, the others only where it is not there. Raises UnknownName with the nearest names.
    """
    if name not in _registry:
        _import_file_of(name)
    if name in _registry:
        return _registry[name]
    known = methods()
    called = _by_alias.get(_plain(name))
    if called is None:
        also = {alias: cls.name for cls in known.values() for alias in cls.aliases}
        raise UnknownName("method", name, {**known, **also}, f"there are {', '.join(known)}")
    return known[called]


def make(
    name: str | Method | type[Method], options: Mapping[str, Any] | None = None, others: Sequence[str] = ()
) -> Method:
    """The method `name`, or of that class, with `options`; an instance is returned as it is.

    others: what else the caller takes, offered for options that are misspelled.

    Raises UnknownName (no such method or option), MethodError (a value of the wrong type or outside its limits, or
    what is no single method).
    """
    if isinstance(name, Method):
        if options:
            raise MethodError(f"options {', '.join(options)} were given with a {name.name} that has its own")
        return name
    if isinstance(name, type) and issubclass(name, Method) and name.name:
        name = name.name
    if not isinstance(name, str):
        what = f"{len(name)} methods" if isinstance(name, (list, tuple, set)) else f"a {type(name).__name__}"
        raise MethodError(f"method was given {what}: give the name of one, and call explain once for each")
    cls = find(name)
    known = {o.name: o for o in options_of(cls)}
    for key in options or {}:
        if key not in known:
            there = f"it has {', '.join(known)}" if known else "it has none"
            raise UnknownName(f"option of {cls.name}", key, [*known, *others], there)
    return cls(**(options or {}))


def options_of(cls: type[Method]) -> tuple[Option, ...]:
    """The options of a method, in order."""
    return tuple(spec_of(cls, f) for f in fields(cls))


def help_of(cls: type[Method]) -> str:
    """The first line of the docstring."""
    return (cls.__doc__ or "").strip().splitlines()[0]


def parse(name: str, texts: Mapping[str, str]) -> dict[str, Any]:
    """Options given as texts (on a command line) as values: numbers, yes/no, none, choices.

    Raises UnknownName, MethodError.
    """
    known = {o.name: o for o in options_of(find(name))}
    values: dict[str, Any] = {}
    for key, text in texts.items():
        spec = known.get(key.replace("-", "_"))
        if spec is None:
            raise UnknownName(f"option of {name}", key, known, f"it has {', '.join(known)}" if known else "it has none")
        values[spec.name] = from_text(name, spec, text)
    return values
