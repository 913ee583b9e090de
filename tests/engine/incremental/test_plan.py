"""The planner: what cuts are, that plans are chains, and that a plan is made only where it pays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import onnxray
from onnxray.engine.incremental import estimates
from onnxray.engine.incremental.network import Network
from onnxray.engine.incremental.plan import Plan, search
from onnxray.engine.incremental.windows import Windows

NetworkOf = Callable[[onnxray.Model], Network]
TIMES = ("SMALL", "GRAPH_TIME", "GRAPH_NODE_TIME", "RUN_TIME", "NODE_TIME")


def planned(network: Network, boxes: np.ndarray, cap: float | None = None) -> Plan:
    return search(network, Windows(boxes), cap)


def grid(size: int, patch: int, stride: int) -> np.ndarray:
    at = [(y, x) for y in range(0, size - patch + 1, stride) for x in range(0, size - patch + 1, stride)]
    return np.array([(y, x, y + patch, x + patch) for y, x in at], np.int64)


@pytest.mark.usefixtures("cut_wherever_it_can")
@pytest.mark.parametrize("cap", [None, 0.5])
def test_a_plan_is_a_chain(network_of: NetworkOf, residual: onnxray.Model, cap: float | None) -> None:
    plan = planned(network_of(residual), grid(64, 4, 6), cap)
    assert plan.stages
    assert plan.stages[0].part.entry == ("x",)
    assert plan.stages[-1].part.exit == plan.last
    for before, after in zip(plan.stages, plan.stages[1:], strict=False):
        assert before.part.exit == after.part.entry
    assert 0 < plan.seconds < plan.plain
    assert plan.reason.startswith("exact: " if cap is None else "approximate, no more than 0.5")
    assert not plan.ends
    again = planned(network_of(residual), grid(64, 4, 6), cap)
    assert [s.part.exit for s in again.stages] == [s.part.exit for s in plan.stages]
    assert again.seconds == plan.seconds


def test_a_plan_is_made_only_where_it_pays(
    network_of: NetworkOf, residual: onnxray.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = planned(network_of(residual), grid(64, 4, 30))
    assert not few.stages
    assert "too few windows" in few.reason
    for name in TIMES:
        monkeypatch.setattr(estimates, name, 0)
    assert planned(network_of(residual), grid(64, 4, 30)).stages
    assert "no cut pays" in planned(network_of(residual), grid(64, 64, 1)).reason
    monkeypatch.setattr(estimates, "GRAPH_TIME", 1e9)
    dear = planned(network_of(residual), grid(64, 4, 6))
    assert not dear.stages
    assert dear.seconds == dear.plain


@pytest.mark.usefixtures("cut_wherever_it_can")
def test_larger_windows_cost_more_and_gain_less(network_of: NetworkOf, residual: onnxray.Model) -> None:
    """Nine windows each; the whole network costs the same for all of them."""
    plans = [planned(network_of(residual), grid(64, patch, (64 - patch) // 2)[:9]) for patch in (2, 8, 24)]
    assert len({plan.plain for plan in plans}) == 1
    seconds = [plan.seconds for plan in plans]
    assert seconds == sorted(seconds)
    assert seconds[0] < 0.8 * seconds[2]
