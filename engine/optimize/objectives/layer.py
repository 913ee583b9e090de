"""A whole layer: DeepDream's objective (A. Mordvintsev, C. Olah and M. Tyka, "Inceptionism", 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

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
        shape = build.shape(name)
        share = build.constant(np.float32(1 / max(1.0, float(np.prod(shape[1:], dtype=float)))))
        score = build.op("Mul", build.total(build.op("Mul", name, name), len(shape)), share)
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
