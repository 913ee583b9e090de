"""Class scores as probabilities, and the best of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError
from ..inspect.signature import ClassOutput


@dataclass(frozen=True)
class Guess:
    """One class: its index, its label if there are any, the score shown, and the model's own number."""

    index: int
    label: str | None
    score: float
    raw: float


def scores_of(values: NDArray[np.generic], output: ClassOutput) -> NDArray[np.float64]:
    """The class output of a batch as float64 (N, C). Raises ShapeError when it does not hold one score per class."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise ShapeError(f"output {output.name!r} holds {array.dtype}, not scores")
    if array.ndim <= output.axis:
        raise ShapeError(
            f"output {output.name!r} of shape {list(array.shape)} has no axis {output.axis} for the classes"
        )
    classes = array.shape[output.axis]
    if array.ndim == 1:
        return array.astype(np.float64).reshape(1, -1)
    if array.size != array.shape[0] * classes:
        raise ShapeError(
            f"output {output.name!r} of shape {list(array.shape)} is not one score per class: name another output"
        )
    return np.asarray(np.moveaxis(array, output.axis, -1).reshape(-1, classes), np.float64)


def probabilities(scores: NDArray[np.float64], output: ClassOutput) -> NDArray[np.float64]:
    """(N, C) -> (N, C): softmax of logits, exp of log-probabilities, probabilities as they are."""
    if output.scores == "log-probabilities":
        return np.exp(scores)
    if output.scores == "probabilities":
        return scores
    with np.errstate(invalid="ignore", over="ignore"):
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def shown_as(output: ClassOutput) -> str:
    """What `probabilities` gives for this output, in words."""
    if output.scores == "probabilities":
        return f"probabilities, output {output.name!r} as it is"
    function = "exp" if output.scores == "log-probabilities" else "softmax"
    return f"probabilities: {function} of the {output.scores} {output.name!r}"


def best(
    values: NDArray[np.generic], output: ClassOutput, labels: tuple[str, ...] | None, top: int = 5
) -> list[list[Guess]]:
    """The `top` most probable classes of every sample of a batch, best first; of equal ones the lower index first."""
    raw = scores_of(values, output)
    shown = probabilities(raw, output)
    order = np.argsort(-shown, axis=1, kind="stable")[:, :top]
    named = labels if labels is not None and len(labels) == raw.shape[1] else None
    return [
        [Guess(int(c), named[c] if named else None, float(shown[n, c]), float(raw[n, c])) for c in row]
        for n, row in enumerate(order)
    ]
