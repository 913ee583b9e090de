"""The strongest connections between units, both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .plan import SiteLayer

if TYPE_CHECKING:
    from ....engine.graph.model import Model

_MOST = 6


def links_of(model: Model, layers: Sequence[SiteLayer]) -> dict[str, dict[str, Any]]:
    """Slug -> unit -> {"in": [[layer, unit, weight], ...], "out": ...}, strongest first; layers by their number among
    those of the site."""
    import numpy as np

    from ....engine.inspect.own_units import own_units
    from ....engine.inspect.wiring import wiring

    entries = own_units(model)
    by_output = {layer.entry.last.output: layer for layer in layers}
    mine = [by_output.get(entry.last.output) for entry in entries]
    counts = [
        layer.count if layer is not None else _count(model, entry.name)
        for layer, entry in zip(mine, entries, strict=True)
    ]
    found: dict[str, dict[str, Any]] = {layer.slug: {} for layer in layers}
    numbers = {layer.slug: number for number, layer in enumerate(layers)}
    for at, layer in enumerate(mine):
        wired = wiring(model, entries, counts, at) if layer is not None else None
        if layer is None or wired is None:
            continue
        sources = [wired.source_of(channel) for channel in range(wired.strengths.shape[1])]
        strengths = np.abs(wired.strengths)
        for unit in layer.units:
            best = np.argsort(-strengths[unit], kind="stable")[:_MOST]
            ends = [(mine[sources[c][0]], sources[c][1], float(wired.strengths[unit, c])) for c in best]
            found[layer.slug].setdefault(str(unit), {})["in"] = _shown(ends, numbers)
        for channel, (place, unit) in enumerate(sources):
            source = mine[place]
            if source is None or unit not in source.units:
                continue
            best = np.argsort(-strengths[:, channel], kind="stable")[:_MOST]
            ends = [(layer, int(row), float(wired.strengths[row, channel])) for row in best]
            entry = found[source.slug].setdefault(str(unit), {})
            both = [*entry.get("out", []), *_shown(ends, numbers)]
            entry["out"] = sorted(both, key=lambda end: -abs(end[2]))[:_MOST]
    return found


def _shown(ends: Sequence[tuple[SiteLayer | None, int, float]], numbers: Mapping[str, int]) -> list[list[Any]]:
    """Those that have pages, weights of 0 left out."""
    return [
        [numbers[layer.slug], unit, float(f"{weight:.4g}")]
        for layer, unit, weight in ends
        if layer is not None and weight and unit in layer.units
    ]


def _count(model: Model, name: str) -> int:
    from ....engine.errors import TargetError
    from .plan import unit_count

    try:
        return unit_count(model, name)
    except TargetError:
        return -1
