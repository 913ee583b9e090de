"""Objectives: what an image is optimised for, one number per picture. They compose: a + b, a - b, 2 * a, a * b, -a.

As a text: NAME:ARGUMENTS, terms joined by " + " and " - ", each with a factor "0.5*" in front if need be:

    channel:LAYER:3    neuron:LAYER:3,2,2    layer:LAYER    logit:LABEL    probability:LABEL    contrast:LABEL

The reference for the objectives: C. Olah, A. Mordvintsev and L. Schubert, "Feature Visualization", Distill 2017.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import MethodError
from ..graph.model import Model
from .build import Build, values_of_layer
from .registry import Part, Registry


class Objective(Part):
    """Base of every objective.

    Class attribute `together`: whether it compares the pictures of one run with each other. Those about a layer have
    it as a field.
    """

    together: ClassVar[bool] = False
    layer: str

    def reads(self, model: Model) -> tuple[str, ...]:
        """The values of the model that it reads; by default those of its field `layer`. Raises UnknownName."""
        return values_of_layer(model, self.layer)

    def emit(self, build: Build) -> str:
        """Write it into a graph; the value (N,) that holds it. Raises TargetError, ShapeError."""
        raise TypeError(f"{type(self).__name__} defines no emit")

    @classmethod
    def parse(cls, text: str) -> Objective:
        """The objective of what follows its name in a text. Raises MethodError."""
        layer, _, rest = text.rpartition(":")
        try:
            return cls(**cls.arguments(layer, rest))
        except ValueError:
            raise MethodError(f"the objective {cls.name}:{text} cannot be read: write {cls.syntax()}") from None

    @classmethod
    def arguments(cls, layer: str, rest: str) -> dict[str, Any]:
        """The fields of a text LAYER:REST; raises ValueError."""
        raise ValueError(rest)

    @classmethod
    def syntax(cls) -> str:
        return f"{cls.name}:LAYER"

    def __add__(self, other: Objective) -> Objective:
        return Sum(self, other)

    def __sub__(self, other: Objective) -> Objective:
        return Sum(self, Scaled(-1.0, other))

    def __neg__(self) -> Objective:
        return Scaled(-1.0, self)

    def __mul__(self, other: float | Objective) -> Objective:
        return Product(self, other) if isinstance(other, Objective) else Scaled(float(other), self)

    def __rmul__(self, other: float) -> Objective:
        return Scaled(float(other), self)


@dataclass(frozen=True)
class _Compound(Objective):
    """Made of other objectives."""

    def __post_init__(self) -> None:
        for part in self.parts():
            if not isinstance(part, Objective):
                raise MethodError(f"an objective is combined with objectives and numbers, not with {part!r}")

    def parts(self) -> tuple[Objective, ...]:
        return tuple(value for value in vars(self).values() if not isinstance(value, float))

    @property
    def together(self) -> bool:  # type: ignore[override]
        return any(part.together for part in self.parts())

    def reads(self, model: Model) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for part in self.parts() for name in part.reads(model)))


@dataclass(frozen=True)
class Sum(_Compound):
    """a + b."""

    a: Objective
    b: Objective

    def emit(self, build: Build) -> str:
        return build.op("Add", self.a.emit(build), self.b.emit(build))

    def __str__(self) -> str:
        return f"{self.a} + {self.b}"


@dataclass(frozen=True)
class Scaled(_Compound):
    """factor * a."""

    factor: float
    a: Objective

    def emit(self, build: Build) -> str:
        # Fed, so that the pictures of a strip between two objectives share one graph.
        return build.op("Mul", self.a.emit(build), build.parameter(np.array([self.factor])))

    def __str__(self) -> str:
        return f"{self.factor:g}*{self.a}"


@dataclass(frozen=True)
class Product(_Compound):
    """a * b."""

    a: Objective
    b: Objective

    def emit(self, build: Build) -> str:
        return build.op("Mul", self.a.emit(build), self.b.emit(build))

    def __str__(self) -> str:
        return f"({self.a})*({self.b})"


OBJECTIVES: Registry[Objective] = Registry("objective", "objectives")


def objective(name: str) -> Any:
    """Class decorator: register an objective."""
    return OBJECTIVES.register(name)


_TERM = re.compile(r"\s+([+-])\s+")
# The word of targets for the same thing.
_ALSO = {"prob": "probability"}
_FACTOR = re.compile(r"\s*([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*\*\s*(.*)", re.IGNORECASE)


def parse(text: str) -> Objective:
    """An objective of its text: see the head of this file. Raises UnknownName, MethodError."""
    pieces = _TERM.split(text.strip())
    found = _term(pieces[0])
    for sign, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        found = found + _term(piece) if sign == "+" else found - _term(piece)
    return found


def _term(text: str) -> Objective:
    scaled = _FACTOR.fullmatch(text)
    if scaled is not None:
        return float(scaled[1]) * _term(scaled[2])
    name, colon, rest = text.strip().partition(":")
    if not colon:
        raise MethodError(f"the objective {text!r} is not NAME:ARGUMENTS, as in channel:LAYER:3")
    return OBJECTIVES.find(_ALSO.get(name, name)).parse(rest)
