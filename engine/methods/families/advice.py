"""What to advise where a method refuses: methods that take this very input, those at a layer among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...attribution.advice import USUAL, advised
from ...attribution.layer_choice import choose
from ...errors import OnnxrayError

if TYPE_CHECKING:
    from ...attribution.problem import Problem


def advised_at_layers(problem: Problem, wanted: tuple[str, ...] = USUAL) -> str:
    """`advised`, and grad-cam in front where the network has a layer for it and a gradient there."""
    try:
        places = choose(problem)
        problem.gradients.by([places[0].value])
    except OnnxrayError:
        return advised(problem, wanted)
    return advised(problem, wanted, ("grad-cam",))
