"""Probabilities that have no slope left: what is to be said of a target that is made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OnnxrayError
from ..inspect.score_functions import score_function
from ..preprocess.answers import answer_of
from ..targets.kinds.scale import Scale
from ..targets.resolved import ClassTarget, Place
from .advice import advised

if TYPE_CHECKING:
    from .problem import Problem

# The slope p * (1 - p) of a probability of 0.001 or 0.999.
LEAST = 0.001 * 0.999


def saturated(problem: Problem, row: int, score: float) -> str | None:
    """A warning where the gradient of a row's target vanishes, as those of the probabilities do that it is made of."""
    found = _probabilities(problem)
    if found is None:
        return None
    y, has_logits = found
    weights = np.abs(problem.cotangents[row].astype(np.float64))
    p = y[problem.sample[row]].astype(np.float64)
    if weights.shape != p.shape or not weights.any():
        return None
    used = weights > 0
    slope = float((weights[used] * p[used] * (1 - p[used])).sum() / weights.sum())
    if not slope < LEAST:
        return None
    what = f"a probability of {score:.5f}" if used.sum() == 1 else "made of probabilities near 0 or 1"
    asked = problem.asked.of_sample(int(problem.sample[row]))
    asked = asked.inner if isinstance(asked, Scale) else asked
    remedy = f"explain logit:{asked}" if has_logits else f"use {advised(problem, ('occlusion', 'ablation'))}"
    return f"the score is {what}, whose gradient vanishes: {remedy}"


def _probabilities(problem: Problem) -> tuple[NDArray[Any], bool] | None:
    """The probabilities (N, ...) that the target is read from, and whether what stands before them is known."""
    target = problem.target
    if isinstance(target, ClassTarget):
        answer = answer_of(problem.source)
        if target.scale == "logit" or (target.scale == "model" and answer.scores != "probabilities"):
            return None
        return problem.y, answer.scores != "probabilities" or answer.logits is not None
    name = target.of
    if name not in problem.source.values:
        # Computed from a value of the model: the detail of a map, for one.
        try:
            name = problem.asked.value_in(Place(problem.source))
        except OnnxrayError:
            return None
    function = score_function(problem.model, name) if name in problem.model.values else None
    if function is None or function.kind == "log-softmax":
        return None
    known = function.logits is not None and function.kind != "votes"
    return problem.runs.activations([name])[name], known
