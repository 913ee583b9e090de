"""Infidelity: how badly the map predicts what hiding a square costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...attribution.baselines import NAMES
from ...errors import MethodError
from ...methods.options import option
from ..case import Case
from ..regions import drops_without
from ..registry import Better, Measured, Metric, Needs, metric


@metric("infidelity")
@dataclass(frozen=True)
class Infidelity(Metric):
    """The part of the score's changes that the map does not predict, when random squares are hidden.

    INFD = mean of (beta * sum of the map over the square - (f(x) - f(x without the square)))^2 / mean of (f(x) - f(x
    without the square))^2, with the best factor beta, since maps have units of their own (the paper's optimal scaling).
    With `scaled` = no beta is 1 and nothing is divided: the paper's definition for a map of contributions.
    """

    side: float = option(0.15, "Side of a square, in parts of the shorter side.", low=0.01, high=1)
    samples: int = option(100, "Random squares.", low=2)
    fill: str = option("blur", "What takes the place of a square.", choices=NAMES)
    scaled: bool = option(True, "Whether maps are scaled as fits best, and errors are relative.")
    better: ClassVar[Better] = "lower"
    needs: ClassVar[Needs] = "runs"
    range: ClassVar[str] = "0 to 1 (scaled), 0 to infinity"
    paper: ClassVar[str] = (
        'C.-K. Yeh, C.-Y. Hsieh, A. S. Suggala, D. I. Inouye and P. Ravikumar, "On the (In)fidelity and Sensitivity of '
        'Explanations", NeurIPS 2019, definition 2.1'
    )
    weakness: ClassVar[str] = "a scale that fits best forgives maps of the wrong size; squares favour smooth maps"

    def __call__(self, case: Case) -> Measured:
        height, width = case.plane
        side = max(1, round(self.side * min(height, width)))
        draw = case.generator()
        top = draw.integers(0, height - side + 1, self.samples)
        left = draw.integers(0, width - side + 1, self.samples)
        square = (np.arange(side)[:, None] * width + np.arange(side)).ravel()
        sets = (top * width + left)[:, None] + square
        drops = drops_without(case, sets, case.fill(self.fill))
        said = case.relevance.ravel()[sets].sum(axis=1)
        if not self.scaled:
            return Measured(float(((said - drops) ** 2).mean()))
        if not drops.any():
            raise MethodError("hiding squares changes nothing: infidelity has no value for this image")
        beta = float(said @ drops) / float(said @ said) if said.any() else 0.0
        return Measured(float(((beta * said - drops) ** 2).mean() / (drops**2).mean()))
