"""A whole layer: DeepDream's objective (A. Mordvintsev, C. Olah and M. Tyka, "Inceptionism", 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...inspect.layers import value_of
from ...methods.options import option
from ..build import Build
from ..objective import Objective, objective


@objective("layer")
@dataclass(frozen=True)
class WholeLayer(Objective):
    """The mean square of a layer's activations: more of whatever it sees already."""

    layer: str = option("", "The layer.")

    def emit(self, build: Build) -> str:
        name = value_of(build.model, self.layer)
        square, rank = build.op("Mul", name, name), build.rank(name)
        # Sizes may be open, in a file that dreams of images of any size.
        score = build.op("ReduceMean", square, build.axes(*range(1, rank)), keepdims=0) if rank > 1 else square
        build.report(score, score)
        return score

    @classmethod
    def parse(cls, text: str) -> Objective:
        return cls(text)

    @classmethod
    def arguments(cls, layer: str, rest: str) -> dict[str, Any]:
        return {"layer": layer}

    def __str__(self) -> str:
        return f"layer:{self.layer}"
