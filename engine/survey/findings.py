"""What is wrong with a layer, and what to do about it, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .layer_health import LayerHealth

Kind = Literal["dead", "always on", "saturated", "duplicates", "low rank", "silent images", "not finite"]
# Shares from which on something is worth a line.
_SATURATED, _LOW_RANK, _RARE = 0.5, 0.1, 0.01


@dataclass(frozen=True)
class Finding:
    """One thing that is doubtful about a layer: its `kind`, the `units` it is about, and `text`, one line."""

    layer: str
    kind: Kind
    units: tuple[int, ...]
    text: str


def findings(layers: Sequence[LayerHealth]) -> list[Finding]:
    """All findings, layer by layer."""
    return [found for layer in layers for rule in _RULES for found in rule(layer)]


def _dead(found: LayerHealth) -> list[Finding]:
    units = np.flatnonzero(found.dead)
    if not len(units):
        return []
    zero = bool(np.all(found.statistics.highest[units] == 0))
    words = ("are 0", "is 0") if zero else ("have one value", "has one value")
    text = (
        f"{_units(found, units, *words)} for every image: dead. Such units cost time and say nothing; prune them, "
        "or train with a lower learning rate, another initialisation or a leaky activation function"
    )
    return [_finding(found, "dead", units, text)]


def _always_on(found: LayerHealth) -> list[Finding]:
    units = np.flatnonzero(found.always_on)
    if not len(units):
        return []
    text = (
        f"{_units(found, units, 'are', 'is')} above 0 everywhere: the {found.function} never bends such a unit, a "
        "plain sum of the layer before. A bias that is too large does this; a few such units do no harm"
    )
    return [_finding(found, "always on", units, text)]


def _saturated(found: LayerHealth) -> list[Finding]:
    units = np.flatnonzero((found.saturated > _SATURATED) & ~found.dead)
    if not len(units):
        return []
    text = (
        f"{_units(found, units, 'are', 'is')} most of the time at an end of the {found.function}, where its slope "
        "is next to 0 and little is learned: inputs are too large. Smaller weights, normalisation or a lower "
        "learning rate help"
    )
    return [_finding(found, "saturated", units, text)]


def _duplicates(found: LayerHealth) -> list[Finding]:
    pairs = found.duplicates()
    if not pairs:
        return []
    units = np.unique([unit for a, b, _ in pairs for unit in (a, b)])
    shown = ", ".join(f"{a} and {b}" for a, b, _ in pairs[:3]) + (" ..." if len(pairs) > 3 else "")
    text = (
        f"{_units(found, units, 'have', 'has')} a double (correlation above 0.99: {shown}): one of each would do. "
        "The layer is wider than the task needs, or its units began alike"
    )
    return [_finding(found, "duplicates", units, text)]


def _low_rank(found: LayerHealth) -> list[Finding]:
    rank, units = found.effective_rank(), found.layer.units
    if not rank < _LOW_RANK * units or units < 10 or found.layer.kind == "classes":
        return []
    text = (
        f"effective rank {rank:.1f} of {units} units: they vary along few directions together. The layer could be "
        "much narrower, or the images are too alike"
    )
    return [_finding(found, "low rank", np.arange(0), text)]


def _rare(found: LayerHealth) -> list[Finding]:
    share = found.statistics.firing / max(1, found.count)
    units = np.flatnonzero((share < _RARE) & ~found.dead & (found.function in ("Relu", "ReLU6")))
    if not len(units) or found.count < 100:
        return []
    text = (
        f"{_units(found, units, 'are', 'is')} above 0 in less than 1 % of the images: for something rare, or "
        "nearly dead. `onnxray top` shows what excites them"
    )
    return [_finding(found, "silent images", units, text)]


def _broken(found: LayerHealth) -> list[Finding]:
    units = np.flatnonzero(found.statistics.means.broken)
    if not len(units):
        return []
    text = (
        f"{_units(found, units, 'were', 'was')} NaN or infinite: weights hold such numbers, or the layer "
        "overflows. Nothing behind it can be trusted"
    )
    return [_finding(found, "not finite", units, text)]


_RULES = (_broken, _dead, _always_on, _saturated, _duplicates, _rare, _low_rank)


def _finding(found: LayerHealth, kind: Kind, units: Sequence[int] | np.ndarray, text: str) -> Finding:
    return Finding(found.layer.name, kind, tuple(int(unit) for unit in units), text)


def _units(found: LayerHealth, units: np.ndarray, many: str, one: str) -> str:
    """How many units, which, and the verb: `many` or `one`."""
    shown = ", ".join(map(str, units[:5])) + (" ..." if len(units) > 5 else "")
    return f"{len(units)} of {found.layer.units} units ({shown}) {one if len(units) == 1 else many}"
