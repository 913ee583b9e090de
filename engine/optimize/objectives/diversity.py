"""Several different pictures of one unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import MethodError
from ...inspect.layers import value_of
from ...methods.options import option
from ...targets.units import unit_axes
from ..build import Build
from ..objective import Objective, objective
from .features import gram


@objective("diversity")
@dataclass(frozen=True)
class Diversity(Objective):
    """Minus the mean cosine similarity of the pictures' Gram matrices at a layer (Olah et al., Distill 2017).

    It compares the pictures that are made together: `count` of them.
    """

    layer: str = option("", "The layer.")

    together = True

    def emit(self, build: Build) -> str:
        if build.rows < 2:
            raise MethodError("diversity compares pictures with each other: ask for two or more with count=")
        _, channel, _ = unit_axes(build.model, self.layer)
        name = value_of(build.model, self.layer)
        size = build.shape(name)[channel] ** 2
        flat = build.op("Reshape", gram(build, name, channel), build.constant(np.array([build.rows, size], np.int64)))
        square = build.op("ReduceSum", build.op("Mul", flat, flat), build.axes(1), keepdims=1)
        length = build.op("Sqrt", build.op("Add", square, build.constant(np.float32(1e-12))))
        unit = build.op("Div", flat, length)
        alike = build.op("MatMul", unit, build.op("Transpose", unit, perm=[1, 0]))
        others = (np.eye(build.rows) - 1) / (build.rows - 1)
        score = build.total(build.op("Mul", alike, build.constant(others.astype(np.float32))), 2)
        build.report(score, score)
        return score

    @classmethod
    def parse(cls, text: str) -> Objective:
        return cls(text)

    def __str__(self) -> str:
        return f"diversity:{self.layer}"
