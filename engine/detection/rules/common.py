"""What the rules share: what scores are, and which class is the background."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..evidence import Evidence
from ..layout import Activation, Part, Read


def meaning(
    evidence: Evidence, value: str, scores: NDArray[Any], softmax: bool = True
) -> tuple[Activation, int | None, list[str]]:
    """What makes probabilities of the scores (A, C) of `value`, the class of the background, and why.

    softmax: whether classes may share one probability.
    """
    function = evidence.function(value)
    classes = scores.shape[-1]
    first, last = _winners(scores)
    given = evidence.hints.get("background")
    if function is not None and function.kind == "softmax":
        told = f"scores are a softmax ({function.where})"
        return "", *_background(classes, first, last, given, told, evidence)
    if function is not None and function.kind == "sigmoid":
        return "", _asked(given), [f"scores are sigmoids ({function.where})"]
    if evidence.is_probability(scores):
        return "", _asked(given), ["scores lie within 0 and 1: probabilities"]
    known = evidence.labels is not None and classes == evidence.labels + 1
    # A background that shares one probability with the classes is likely by itself; sigmoids are all unlikely on noise.
    likely = max(first, last) > 0.5 and float(scores[..., 0 if first >= last else -1].mean()) > 0
    if softmax and classes > 1 and (known or likely):
        told = "scores are logits that share one probability"
        return "softmax", *_background(classes, first, last, given, told, evidence)
    return "sigmoid", _asked(given), ["scores are logits, a sigmoid for each class"]


def _asked(given: Any) -> int | None:
    return int(given) if isinstance(given, int) and not isinstance(given, bool) else None


def _winners(scores: NDArray[Any]) -> tuple[float, float]:
    """How often the first and the last class are the greatest."""
    best = scores.reshape(-1, scores.shape[-1]).argmax(axis=1)
    return (float(np.mean(best == 0)), float(np.mean(best == scores.shape[-1] - 1))) if len(best) else (0.0, 0.0)


def _background(
    classes: int, first: float, last: float, given: Any, told: str, evidence: Evidence
) -> tuple[int | None, list[str]]:
    asked = _asked(given)
    if asked is not None:
        return asked, [told, f"background {asked}: as given"]
    if classes < 2 or evidence.labels == classes:
        return None, [told]
    chosen = 0 if first >= last else classes - 1
    share = max(first, last)
    return chosen, [told, f"class {chosen} is the background: it wins for {100 * share:.0f} % of the candidates"]


def with_shapes(
    evidence: Evidence, part: Part, rest: Read, numbers: NDArray[Any]
) -> tuple[Part, dict[str, Any], list[str]]:
    """A part with what stands behind its classes, fields of the layout for it, and why.

    rest: where the columns `numbers` (A, K) are read. Coefficients of masks are as many as an output of maps has
    channels; points are groups of three numbers where the third of each is a probability, else of two.
    """
    extra = numbers.shape[-1]
    if not extra:
        return part, {}, []
    for name in evidence.floats():
        maps = evidence.array(name)
        if maps.ndim == 4 and maps.shape[1] == extra:
            told = f"{extra} coefficients of masks, of the prototypes {name!r}"
            return replace(part, masks=rest), {"prototypes": name}, [told]
    if extra % 3 == 0 and evidence.is_probability(numbers[:, 2::3]):
        told = f"{extra // 3} points of x, y and a probability"
        return replace(part, points=rest), {"points": (extra // 3, 3)}, [told]
    if extra % 2 == 0:
        return replace(part, points=rest), {"points": (extra // 2, 2)}, [f"{extra // 2} points of x and y"]
    return part, {}, [f"{extra} more column{'s are' if extra > 1 else ' is'} not read"]
