"""Whether one map can be trusted: a few quick checks, each with a light and a line of words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..attribution.explanation import Explanation
from ..attribution.maps import problems
from ..errors import GradientError, MethodError
from ..methods.registry import methods
from .case import Case, relevance_of
from .metrics.completeness import Completeness
from .metrics.robustness import shifted
from .ranks import rank_correlation

Light = Literal["green", "yellow", "red", "gray"]
# Of the pixels that are hidden, and at how many random places.
SHARE, REPEATS = 0.1, 8
# Correlations from which maps count as alike, and below which as different.
_ALIKE, _APART = 0.6, 0.3
# The relative error up to which contributions count as adding up.
_SMALL = 0.05
# The relative error of a layer's values from which on two models drift apart.
DRIFTED = 0.1
# What a light says, the worst first, which decides; an unknown does not.
VERDICTS: Mapping[Light, str] = {
    "red": "do not rely on it alone",
    "yellow": "look twice",
    "green": "nothing speaks against it",
    "gray": "nothing is known",
}


@dataclass(frozen=True)
class Check:
    """One check. light: "green", "yellow", "red", or "gray" where it does not apply. words: what came out. meaning:
    what that says, in one line.
    """

    name: str
    light: Light
    words: str
    meaning: str

    def to_mapping(self) -> dict[str, str]:
        """JSON-like data."""
        return {"name": self.name, "light": self.light, "words": self.words, "meaning": self.meaning}


@dataclass(frozen=True)
class Against:
    """What another version of a model makes of the same image.

    name: of the other model. answers: of this model and of the other, in words. same: whether they name the same class.
    alike: the rank correlation of the two maps, None where the other model has none. layers: the relative error of each
    layer that both have, in the order of the graph: |a - b| / |a|; integers of a quantised layer are first fitted to
    the floats by a line. comparable: whether the other model has the layer that the map is made at.
    """

    name: str
    answers: tuple[str, str]
    same: bool
    alike: float | None
    layers: Mapping[str, float] = field(default_factory=dict)
    comparable: bool = True

    @property
    def first_drift(self) -> str | None:
        """The first layer whose relative error is above 0.1; None where there is none."""
        return next((name for name, error in self.layers.items() if error > DRIFTED), None)

    def to_mapping(self) -> dict[str, Any]:
        """JSON-like data."""
        return {
            "model": self.name,
            "answers": list(self.answers),
            "same": self.same,
            "map_correlation": self.alike,
            "first_drift": self.first_drift,
            "layers": dict(self.layers),
        }

    def check(self) -> Check:
        """The drift as one check."""
        here, there = self.answers
        parts = [f"both answer {here}" if here == there else f"{here} here, {there} in {self.name}"]
        if self.alike is not None:
            parts.append(f"rank correlation of the maps {self.alike:.2f}")
        if not self.comparable:
            parts.append("the maps are not comparable, as the layer of the map is in one model only")
        if not self.layers:
            parts.append("no layer of both has the same name and shape")
        elif self.first_drift is None:
            parts.append(f"no layer differs by more than {max(self.layers.values()):.1%}")
        else:
            parts.append(f"{self.first_drift} is the first layer that differs by {self.layers[self.first_drift]:.0%}")
        if not self.same or (self.alike is not None and self.alike < _APART):
            light: Light = "red"
        else:
            light = "green" if (self.alike or 0) >= _ALIKE and self.first_drift is None else "yellow"
        return Check("drift", light, ", ".join(parts), "a version of a model should answer alike for the same reasons")


@dataclass(frozen=True)
class Trust:
    """How far one map can be trusted. against: another version of the model, where one is given."""

    method: str
    target: str
    checks: tuple[Check, ...]
    against: Against | None = None

    @property
    def light(self) -> Light:
        """The worst of the checks."""
        lights = {check.light for check in self.checks}
        return next(light for light in VERDICTS if light in lights or light == "gray")

    @property
    def verdict(self) -> str:
        """The light in words, with the checks that decide it: "yellow, look twice: shift"."""
        worst = [check.name for check in self.checks if check.light == self.light]
        return f"{self.light}, {VERDICTS[self.light]}" + (f": {', '.join(worst)}" if self.light in _BAD else "")

    def lines(self) -> list[str]:
        """The verdict, then a line for each check: light, what came out, what that means."""
        head = f"{self.method}, {self.target}: trust: {self.verdict}"
        return [head, *(f"  {c.name}: {c.light}: {c.words} ({c.meaning})" for c in self.checks)]

    def to_mapping(self) -> dict[str, Any]:
        """JSON-like data."""
        found: dict[str, Any] = {"light": self.light, "verdict": self.verdict}
        found["checks"] = [check.to_mapping() for check in self.checks]
        return found | ({} if self.against is None else {"against": self.against.to_mapping()})

    def __str__(self) -> str:
        return "\n".join(self.lines())


_BAD = ("red", "yellow")


def checks_of(case: Case, second: Explanation | None = None) -> tuple[Check, ...]:
    """The checks of one map. second: that of the same target by a method of another family."""
    found = [_values(case), _randomisation(case)]
    if np.isfinite(case.explanation.values).all():
        found += [_deletion(case), _completeness(case), _agreement(case, second), _shift(case)]
    return tuple(found)


def likeness(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Spearman's correlation of what is positive in two maps (H, W), over squares of an eighth of the side: whether
    they point to the same regions, be they maps of pixels or of cells.
    """
    return rank_correlation(_squares(a), _squares(b))


def _squares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    side = [max(1, size // 8) for size in values.shape]
    cut = np.maximum(values, 0)[: side[0] * (values.shape[0] // side[0]), : side[1] * (values.shape[1] // side[1])]
    return np.asarray(cut.reshape(cut.shape[0] // side[0], side[0], -1, side[1]).mean(axis=(1, 3)), np.float64)


def _values(case: Case) -> Check:
    e = case.explanation
    found = problems(e.values, e.display)
    meaning = "a map that is zero, saturated or not finite shows nothing"
    if not found:
        return Check("values", "green", "finite, neither zero nor saturated", meaning)
    red = not np.isfinite(e.values).all() or not e.values.any()
    return Check("values", "red" if red else "yellow", found[0], meaning)


def _randomisation(case: Case) -> Check:
    meaning = "maps that survive random weights show the image, not what the network has learned"
    cls = methods().get(case.explanation.method)
    if cls is None or cls.randomisation == "does not apply":
        return Check("randomisation", "gray", "not known of this method", meaning)
    if cls.randomisation == "fails":
        return Check("randomisation", "red", "maps of this method survive random weights", meaning)
    return Check("randomisation", "green", "maps of this method change with the weights", meaning)


def _deletion(case: Case) -> Check:
    """The hottest pixels blurred, against the same shape blurred at random places, around the edges of the image."""
    meaning = "the answer should depend on what the map calls important"
    count = max(1, round(SHARE * case.falling.size))
    hottest = np.zeros(case.falling.size, np.bool_)
    hottest[case.falling[:count]] = True
    shape = hottest.reshape(case.plane)
    draw = case.generator()
    moves = [(0, 0), *zip(*(draw.integers(1, max(2, size), REPEATS).tolist() for size in case.plane), strict=True)]
    masks = np.stack([np.roll(shape, move, (0, 1)) for move in moves])
    drops = case.probability - case.probabilities(len(masks), case.hidden(lambda n: masks[n], case.fill("blur")))
    better = float((drops[0] > drops[1:]).mean())
    light: Light = "red" if better < 0.5 or drops[0] <= 0 else "green" if better >= 0.75 else "yellow"
    what = "score" if case.certain is case.problem else "probability"
    words = (
        f"the {what} falls by {_part(drops[0])} without the hottest {SHARE:.0%} of the pixels, by "
        f"{_part(drops[1:].mean())} without as many elsewhere, by less at {round(better * REPEATS)} of {REPEATS} places"
    )
    return Check("deletion", light, words, meaning)


def _part(value: float) -> str:
    """Two digits, and 0 for what is next to nothing."""
    return f"{value:.2g}" if abs(value) >= 5e-3 else "0"


def _completeness(case: Case) -> Check:
    meaning = "contributions that add up to the score can be read as parts of it"
    try:
        error = Completeness()(case).value
    except MethodError:
        return Check("completeness", "gray", "the values are no contributions to the score", meaning)
    return Check("completeness", "green" if error <= _SMALL else "yellow", f"the sum is off by {error:.1%}", meaning)


def _agreement(case: Case, second: Explanation | None) -> Check:
    meaning = "methods of different families rarely err in the same way"
    if second is None:
        return Check("agreement", "gray", "no second method fits this model", meaning)
    try:
        found = likeness(case.relevance, relevance_of(second, case.plane))
    except MethodError as error:
        return Check("agreement", "gray", str(error), meaning)
    return Check("agreement", _light(found), f"rank correlation {found:.2f} with {second.method}", meaning)


def _shift(case: Case) -> Check:
    meaning = "a map should move with the image"
    try:
        found = likeness(*shifted(case, 1))
    except (MethodError, GradientError) as error:
        return Check("shift", "gray", str(error), meaning)
    return Check("shift", _light(found), f"rank correlation {found:.2f} after a shift by one pixel", meaning)


def _light(correlation: float) -> Light:
    return "green" if correlation >= _ALIKE else "yellow" if correlation >= _APART else "red"
