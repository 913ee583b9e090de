"""Several objectives in one dream, so that each pulls as its weight says, however large its numbers are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...errors import Disconnected, MethodError
from ..objective import Objective
from .octaves import Picture, Size, resized
from .slope import Slope

# The picture that is measured has at most so many pixels on its longer side.
_SIDE = 256


def balanced(
    objectives: Sequence[Objective], weights: Sequence[float], picture: Picture, slope_of: Callable[[Objective], Slope]
) -> Objective:
    """The sum of the objectives, each times its weight over the mean magnitude of its gradient in `picture`.

    Raises MethodError for weights that do not fit, Disconnected where an objective has no gradient there.
    """
    if len(weights) != len(objectives) or not all(np.isfinite(weights)):
        raise MethodError(f"{len(objectives)} objectives need as many finite weights, not {list(weights)}")
    if len(objectives) == 1:
        return objectives[0] if weights[0] == 1 else weights[0] * objectives[0]
    scaled = [w / _pull(slope_of(o), picture) * o for o, w in zip(objectives, weights, strict=True)]
    total = scaled[0]
    for part in scaled[1:]:
        total = total + part
    return total


def _pull(slope: Slope, picture: Picture) -> float:
    factor = min(1.0, _SIDE / max(picture.shape[1:]))
    size: Size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[2] * factor)))
    small = resized(picture, slope.fixed or size)
    found = float(np.abs(slope(small, (0, 0), np.random.default_rng(0))[1]).mean(dtype=np.float64))
    if found == 0:
        raise Disconnected(f"the gradient of {slope.objective} is 0 everywhere in this image: leave it out")
    return found
