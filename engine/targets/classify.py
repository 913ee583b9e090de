"""The classes that a model finds most probable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..inspect.answer import Answer


@dataclass(frozen=True)
class Guess:
    """One class.

    index: its number. label: its name, if it has one. probability: 0 to 1. score: the model's own number for it, as
    explanations have it. holds: for independent labels and for one of two classes, whether the probability reaches the
    threshold; else None.
    """

    index: int
    label: str | None
    probability: float
    score: float
    holds: bool | None = None


def best(
    values: NDArray[np.generic],
    answer: Answer,
    labels: tuple[str, ...] | None,
    top: int = 5,
    *,
    finite: bool = True,
    why: Callable[[], str] | None = None,
) -> list[list[Guess]]:
    """The `top` most probable classes of every sample of a batch, best first; of equal ones the lower index first.

    values: what the model gives for `answer.value`. Raises ShapeError where that is not one score per class, ModelError
    for an answer without classes and, with `finite`, for scores that are not finite; `why` says why they are not.
    """
    rows = answer.rows(values)
    shown, raw = answer.probabilities(rows), answer.sides(rows)
    if finite and not np.isfinite(shown).all():
        bad = int((~np.isfinite(shown).all(axis=1)).sum())
        reason = "the model overflows on them" if why is None else why()
        raise ModelError(f"the scores of {bad} of {len(shown)} samples are not finite numbers: {reason}")
    named = labels if labels is not None and len(labels) == shown.shape[1] else None
    order = np.argsort(-shown, axis=1, kind="stable")[:, :top]

    def guess(n: int, c: int) -> Guess:
        label = named[c] if named else None
        return Guess(c, label, float(shown[n, c]), float(raw[n, c]), _holds(answer, shown[n], c))

    return [[guess(n, int(c)) for c in row] for n, row in enumerate(order)]


def class_probabilities(answer: Answer, scores: NDArray[np.generic], scale: str = "model") -> NDArray[np.float64]:
    """(N, C) class scores of an explained answer -> (N, C) probabilities.

    scores: one per class, both sides of a single score among them. scale: what was explained: "model", the scores as
    the model gives them, "prob" or "logit".
    """
    given = np.asarray(scores, np.float64)
    if scale == "prob" or (scale == "model" and answer.scores == "probabilities"):
        return given
    with np.errstate(over="ignore", invalid="ignore"):
        if scale == "model" and answer.scores == "log-probabilities":
            return np.exp(given)
        if answer.kind == "labels" or answer.two_sided:
            return np.asarray(1 / (1 + np.exp(-given)))
        powers = np.exp(given - given.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _holds(answer: Answer, shown: NDArray[np.float64], c: int) -> bool | None:
    """Whether class `c` is true at these probabilities (C,); None for classes that share one probability."""
    if answer.kind == "labels":
        return bool(shown[c] >= answer.threshold)
    if answer.kind == "two" and len(shown) == 2:
        return bool(shown[1] >= answer.threshold) == (c == 1)
    return None
