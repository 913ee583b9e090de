"""Where to cut a network for occlusion: the stages that run on crops, and what they are expected to cost.

A plan is a chain of cuts (`cuts.py`) from the image on; between two cuts only crops are computed (`crop_geometry.py`),
behind the last one whole maps. The cheapest chain is found by dynamic programming over the cuts with a cost in seconds
for every section (`estimates.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import kept_plans
from .crop_geometry import Along, CropStage, Unfit, along, section
from .cuts import MOST_CUTS, Cut, find_cuts, heavy_end, tail_at_once
from .estimates import Changes, Estimate, at_once, estimate, is_small, paste_time
from .kept_plans import Step
from .network import Network
from .windows import Windows

MOST_WEIGHTS = 400 << 20  # bytes of the weights of all sessions of a plan
LEAST_CUTS, CUTS_PER_SECOND = 12, 8


@dataclass(frozen=True)
class Stage:
    """A section between two cuts and its geometries along rows and columns.

    limits: how many windows of each pair of their kinds go into one run.
    """

    part: CropStage
    rows: Along
    columns: Along
    limits: NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """How the windows are computed.

    stages: to be run on crops, in order; none: the whole network runs for every window. last: the values behind them,
    of which whole maps are made. ends: the values asked for are `last` themselves. seconds: expected for all windows on
    one core; plain: without stages. reason: why it is so. tail_at_once: rows of one run behind the last cut.
    heavy_end: a value behind it from which on all windows of a batch run at once, None where there is none.
    """

    stages: tuple[Stage, ...]
    last: tuple[str, ...]
    ends: bool
    seconds: float
    plain: float
    reason: str
    tail_at_once: int = 1
    heavy_end: str | None = None


def whole(source: str, reason: str, seconds: float = 0.0) -> Plan:
    """The plan to run the whole network for every window."""
    return Plan((), (source,), False, seconds, seconds, reason)


def search(network: Network, windows: Windows, cap: float | None = None) -> Plan:
    """The cheapest chain of cuts for windows of a network. cap: see `Changes.of`."""
    source = network.known.source
    plain = windows.count * network.whole_time(network.behind((source,)))
    # Planning takes time too, by the square of the cuts: a small job is given few.
    cuts = find_cuts(network, int(np.clip(CUTS_PER_SECOND * plain, LEAST_CUTS, MOST_CUTS)))
    if len(cuts) == 1:
        return whole(source, "nothing of the network is local: it is run whole", plain)
    if is_small(plain):
        return whole(source, "too few windows for cuts to pay: the network is run whole", plain)
    place = kept_plans.place_of(network, windows, cap)
    changes = Changes.of(network, windows, cap)
    found = _read(network, changes, cuts, kept_plans.read(place))
    if found is None:
        found = _found(network, changes, cuts, plain)
        kept_plans.keep(place, len(cuts), found.steps, found.seconds)
    if not found.steps:
        return whole(source, "no cut pays: what changes is nearly the whole of every map", plain)
    at = found.steps[-1].exit
    last = cuts[at].values
    ends = at == len(cuts) - 1 and last == network.outputs
    return Plan(
        tuple(found.stages),
        last,
        ends,
        found.seconds,
        plain,
        _reason(found.stages, last, cap),
        tail_at_once(network, last),
        None if ends else heavy_end(network, last),
    )


@dataclass(frozen=True)
class _Found:
    """Sections from the image on, the stages made of them, and the seconds for all windows; empty: none pay."""

    steps: list[Step]
    stages: list[Stage]
    seconds: float


def _read(network: Network, changes: Changes, cuts: Sequence[Cut], kept: kept_plans.Chain | None) -> _Found | None:
    """The sections that an earlier search decided on; None where they do not fit."""
    if kept is None or kept.cuts != len(cuts):
        return None
    try:
        return _Found([*kept.steps], _stages(network, changes, cuts, kept.steps), kept.seconds)
    except _NoStage:
        return None


def _found(network: Network, changes: Changes, cuts: Sequence[Cut], plain: float) -> _Found:
    """The sections of the cheapest chain whose weights do not take too much memory."""
    costs = [estimate(network, changes, cuts[:j], cut) for j, cut in enumerate(cuts)]
    price = 0.0
    while True:
        chain = _cheapest_chain(network, cuts, costs, changes.windows.count, plain, price)
        steps = [Step(cost.entry, exit, cost.groups) for cost, exit in chain.steps]
        try:
            stages = _stages(network, changes, cuts, steps)
        except _NoStage as error:
            costs[error.exit] = [cost for cost in costs[error.exit] if cost.entry != error.entry]
            continue
        if sum(cost.weight for cost, _ in chain.steps) <= MOST_WEIGHTS:
            return _Found(steps, stages, chain.seconds)
        price = 2 * price or 1e-3 * plain / MOST_WEIGHTS  # fewer, larger or earlier stages


@dataclass(frozen=True)
class _Chain:
    """Sections from the image on, each with the number of the cut that it ends at; seconds for all windows."""

    steps: list[tuple[Estimate, int]]
    seconds: float


def _cheapest_chain(
    network: Network,
    cuts: Sequence[Cut],
    costs: Sequence[Sequence[Estimate]],
    count: float,
    plain: float,
    price: float,
) -> _Chain:
    """The chain of least cost for `count` windows; without steps where the whole network costs least.

    costs: for every cut those of the sections that end there. plain: seconds of the whole network for all windows.
    price: seconds per byte of weights.
    """
    best = [0.0]
    chosen: list[Estimate | None] = [None]
    for ending_here in costs[1:]:
        totals = [best[cost.entry] + cost.seconds + price * cost.weight for cost in ending_here]
        least = int(np.argmin(totals)) if totals else None
        best.append(math.inf if least is None else totals[least])
        chosen.append(None if least is None else ending_here[least])
    totals = [plain]
    for i, cut in enumerate(cuts[1:], 1):
        ends = i == len(cuts) - 1 and cut.values == network.outputs
        rest = paste_time(network, cut.values) + (0.0 if ends else network.whole_time(network.behind(cut.values)))
        totals.append(best[i] + count * rest)
    at = int(np.argmin(totals))
    steps, seconds = [], totals[at]
    while (step := chosen[at]) is not None:
        steps.append((step, at))
        at = step.entry
    return _Chain(steps[::-1], seconds)


class _NoStage(Exception):
    """The section between two cuts cannot be run on crops after all."""

    def __init__(self, entry: int, exit: int) -> None:
        self.entry, self.exit = entry, exit


def _stages(network: Network, changes: Changes, cuts: Sequence[Cut], steps: Sequence[Step]) -> list[Stage]:
    """The stages of a chain, in order. Raises _NoStage."""
    found = []
    for step in reversed(steps):
        try:
            found.append(stage_between(network, changes, cuts[step.entry].values, cuts[step.exit].values, step.groups))
        except Unfit:
            raise _NoStage(step.entry, step.exit) from None
    return found[::-1]


def stage_between(
    network: Network, changes: Changes, entry: tuple[str, ...], exit: tuple[str, ...], groups: int
) -> Stage:
    """The section between two cuts with its geometries. Raises Unfit."""
    part = section(network.model, network.known, entry, exit)
    rows = along(network.known, part, changes.rows, 0, groups)
    columns = along(network.known, part, changes.columns, 1, groups)
    return Stage(part, rows, columns, at_once(network, part, rows, columns))


def _reason(stages: Sequence[Stage], last: Sequence[str], cap: float | None) -> str:
    names = ", ".join(name if len(name) <= 60 else f"{name[:28]}...{name[-28:]}" for name in last)
    reason = f"{len(stages)} stages on crops, whole maps from {names} on"
    if cap is None:
        return f"exact: {reason}"
    return f"approximate, no more than {cap:g} of a map's sides changes: {reason}"
