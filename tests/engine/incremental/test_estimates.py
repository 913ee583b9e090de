"""Estimates of what sections need and cost, against the stages that are made of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import onnxray
from onnxray.engine.incremental.cuts import find_cuts
from onnxray.engine.incremental.estimates import MOST_SPANS, Changes, Composed, estimate, representatives
from onnxray.engine.incremental.network import Network
from onnxray.engine.incremental.plan import stage_between
from onnxray.engine.incremental.windows import Windows

NetworkOf = Callable[[onnxray.Model], Network]


def grid(size: int, patch: int, stride: int) -> np.ndarray:
    at = [(y, x) for y in range(0, size - patch + 1, stride) for x in range(0, size - patch + 1, stride)]
    return np.array([(y, x, y + patch, x + patch) for y, x in at], np.int64)


@pytest.mark.usefixtures("cut_wherever_it_can")
def test_estimated_needs_hold_the_true_ones(network_of: NetworkOf, residual: onnxray.Model) -> None:
    """What a cut reads of every value before it, from composed reaches, against what the stages find node by node."""
    network = network_of(residual)
    stage = stage_between(network, Changes.of(network, Windows(grid(64, 5, 7))), ("x",), ("r4",), 2)
    for axis, side in enumerate((stage.rows, stage.columns)):
        reach = Composed.of(network.nodes, network.known, "r4", axis)
        handed = np.array([side.handed[kind]["r4"][1] for kind in side.kinds])
        exit = np.stack([side.given["r4"], side.given["r4"] + handed], 1)
        low, high = reach.spans(np.ones(len(reach.names), bool), exit)
        place = list(reach.names).index("x")
        lengths = np.array([side.length[kind]["x"] for kind in side.kinds])
        assert (np.clip(low[place], 0, 64) <= side.start["x"]).all()
        assert (np.clip(high[place] + 1, 0, 64) >= side.start["x"] + lengths).all()


def test_some_intervals_stand_for_all() -> None:
    for count in (1, 7, MOST_SPANS, MOST_SPANS + 1, 500):
        chosen, nearest = representatives(count)
        assert len(chosen) <= MOST_SPANS
        assert {0, count - 1} <= set(chosen.tolist())
        assert nearest.shape == (count,)
        distance = np.abs(chosen[nearest] - np.arange(count))
        np.testing.assert_array_equal(distance, np.abs(np.arange(count)[:, None] - chosen).min(axis=1))
        assert not distance[:5].any()
        assert not distance[-5:].any()


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_the_number_of_windows_of_all_kinds(network_of: NetworkOf, residual: onnxray.Model, share: float) -> None:
    changes = Changes.of(network_of(residual), Windows(grid(64, 5, 1), share))
    assert changes.numbers.sum() == pytest.approx(3600 * share)


def test_sections_cost_more_for_more_windows(network_of: NetworkOf, residual: onnxray.Model) -> None:
    network = network_of(residual)
    cuts = find_cuts(network)
    few, many = (
        estimate(network, Changes.of(network, Windows(grid(64, 5, step))), cuts[:-1], cuts[-1]) for step in (12, 4)
    )
    assert {(e.entry, e.groups) for e in few} == {(e.entry, e.groups) for e in many}
    assert all(a.seconds < b.seconds for a, b in zip(few, many, strict=True))
    assert {e.entry for e in few} == set(range(len(cuts) - 1))
