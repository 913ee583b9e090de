"""The registry of attribution methods: one file per method, each a frozen dataclass registered by name.

    @method("grad-cam")
    @dataclass(frozen=True)
    class GradCam(Method):
        '''First line: the help text. ...'''

        steps: int = option(50, "Number of steps.", low=1)

        def __call__(self, problem: Problem) -> Maps: ...

The fields are the options: type, default, help, limits and choices of each are checked here once; the command line's
options, the documentation and the common tests come from the registry. Modules are found by `pkgutil`: a new method
is one
new file.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
import pkgutil
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from ..errors import MethodError, UnknownName, nearest

if TYPE_CHECKING:
    from ..attribution.explanation import Maps
    from ..attribution.problem import Problem
    from ..compiled.build import Build, Emitted

Needs = Literal["forward", "gradient", "tail"]
Sanity = Literal["passes", "fails", "does not apply"]


@dataclass(frozen=True)
class Method:
    """Base of every method. An instance holds the values of its options.

    Class attributes:
        name: in the registry.
        needs: "gradient" of the target; "tail": runs the part of the network after a layer; "forward": runs only the
            whole network, so that any model will do.
        at_layer: whether it explains at a layer (class activation maps), not at the input.
        randomisation: whether its maps change when the weights are randomised (Adebayo et al. 2018).
    """

    name: ClassVar[str] = ""
    needs: ClassVar[Needs] = "gradient"
    at_layer: ClassVar[bool] = False
    randomisation: ClassVar[Sanity] = "passes"

    def __post_init__(self) -> None:
        for f in fields(self):
            object.__setattr__(self, f.name, _checked(self.name, _spec(type(self), f), getattr(self, f.name)))

    def __call__(self, problem: Problem) -> Maps:
        raise TypeError(f"{type(self).__name__} defines no __call__")

    def emit(self, build: Build) -> Emitted:
        """What `__call__` does, as nodes of a graph: for `onnxray.compile`. Raises MethodError where that cannot be."""
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


M = TypeVar("M", bound=type[Method])
_registry: dict[str, type[Method]] = {}


def method(name: str) -> Callable[[M], M]:
    """Class decorator: register a method under `name`."""

    def register(cls: M) -> M:
        if name in _registry:
            raise ValueError(f"two methods are called {name!r}: {_registry[name].__name__} and {cls.__name__}")
        if not (dataclasses.is_dataclass(cls) and cls.__doc__):
            raise TypeError(f"{cls.__name__} must be a dataclass with a docstring")
        taken = {f.name for f in fields(cls)} & _reserved()
        if taken:
            raise TypeError(f"{cls.__name__}: the options {sorted(taken)} would hide fields of the model card")
        cls.name = name
        _registry[name] = cls
        return cls

    return register


def _reserved() -> set[str]:
    """Names that `explain` takes beside a method's own options."""
    from ..preprocess.card import FIELDS

    running = ("providers", "threads", "batch", "progress")
    return {*FIELDS, "output", "scores", *running, "model", "image", "method", "target", "layer"}


@functools.cache
def _discover() -> None:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f".{module.name}", __name__)


def methods() -> Mapping[str, type[Method]]:
    """All methods, by name, in alphabetical order: name -> its dataclass."""
    _discover()
    return types.MappingProxyType(dict(sorted(_registry.items())))


def find(name: str) -> type[Method]:
    """The method called `name`. Raises UnknownName with the nearest names."""
    known = methods()
    if name not in known:
        raise UnknownName("method", name, known, f"there are {', '.join(known)}")
    return known[name]


def make(name: str | Method, options: Mapping[str, Any] | None = None) -> Method:
    """The method `name` with `options`; a Method is returned as it is.

    Raises UnknownName (no such method or option), MethodError (a value of the wrong type or outside its limits).
    """
    if isinstance(name, Method):
        if options:
            raise MethodError(f"options {', '.join(options)} were given beside a {name.name} that has its own")
        return name
    cls = find(name)
    known = {o.name: o for o in options_of(cls)}
    for key in options or {}:
        if key not in known:
            raise UnknownName(f"option of {name}", key, known, f"it has {', '.join(known)}" if known else "it has none")
    return cls(**(options or {}))


def options_of(cls: type[Method]) -> tuple[Option, ...]:
    """The options of a method, in order."""
    return tuple(_spec(cls, f) for f in fields(cls))


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
        values[spec.name] = _from_text(name, spec, text)
    return values


def _from_text(name: str, spec: Option, text: str) -> Any:
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


def _spec(cls: type[Method], f: dataclasses.Field[Any]) -> Option:
    hint = _hints(typing.cast(Any, cls))[f.name]
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    kinds = tuple(typing.get_origin(part) or part for part in parts)
    meta = f.metadata
    return Option(f.name, kinds, f.default, meta["help"], meta.get("choices", ()), meta.get("low"), meta.get("high"))


def _checked(method: str, spec: Option, value: Any) -> Any:
    """The value in its normal form. Raises MethodError."""
    import numpy as np

    if value is None and type(None) in spec.kinds:
        return None
    if isinstance(value, str):
        if value in spec.choices or (str in spec.kinds and not spec.choices):
            return value
        if "#rrggbb" in spec.choices and value.startswith("#"):
            return value  # a colour: the choice says its form, the baseline reads it
    elif isinstance(value, bool | np.bool_):
        if bool in spec.kinds:
            return bool(value)
    elif isinstance(value, int | float | np.integer | np.floating):
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
    shown = repr(value) if len(repr(value)) <= 60 else f"a {type(value).__name__}"
    close = nearest(value, spec.choices, 1) if isinstance(value, str) else []
    return shown + (f" (nearest: {close[0]!r})" if close else "")


def describe(spec: Option) -> str:
    """What values an option takes, in words."""
    import numpy as np

    words: list[str] = []
    if spec.choices:
        words.append("one of " + ", ".join(spec.choices))
    elif str in spec.kinds:
        words.append("a text")
    if float in spec.kinds or int in spec.kinds:
        noun = "a number" if float in spec.kinds else "a whole number"
        limits = [f"at least {spec.low:g}"] if spec.low is not None else []
        limits += [f"at most {spec.high:g}"] if spec.high is not None else []
        words.append(" ".join([noun, " and ".join(limits)]).strip())
    if bool in spec.kinds:
        words.append("true or false")
    if np.ndarray in spec.kinds:
        words.append("an array")
    if tuple in spec.kinds:
        words.append("a list")
    if type(None) in spec.kinds:
        words.append("none")
    return " or ".join(words)
