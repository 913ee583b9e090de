"""Guesses of classes as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...engine.targets.classify import Guess


def plain_guess(guess: Guess) -> dict[str, Any]:
    """A guess for JSON; whether it holds is said of independent labels and of one of two only.

    `probability` and `raw`, the model's own number; `score` is the probability once more, under its older name, which
    scripts read.
    """
    found = {"index": guess.index, "label": guess.label, "probability": guess.probability, "raw": guess.score}
    return {**found, "score": guess.probability, **({} if guess.holds is None else {"holds": guess.holds})}
