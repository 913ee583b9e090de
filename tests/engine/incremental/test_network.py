"""What one sample of a network costs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import onnxray
from onnxray.engine.incremental import network as module
from onnxray.engine.incremental.network import Network

NetworkOf = Callable[[onnxray.Model], Network]


def test_sizes_are_of_one_sample(network_of: NetworkOf, residual: onnxray.Model) -> None:
    network = network_of(residual)
    assert network.outputs == ("y",)
    assert network.elements(["x"]) == 3 * 64 * 64
    assert network.elements(["p1", "r3"]) == 2 * 16 * 32 * 32
    assert network.weights["c2"] == 16 * 16 * 9
    assert network.weights["r2"] == 0


def test_seconds_are_work_over_rates(
    network_of: NetworkOf, residual: onnxray.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DENSE_RATE", 1.0)
    monkeypatch.setattr(module, "MEMORY_RATE", float("inf"))
    network = network_of(residual)
    assert network.seconds["c2"] == 16 * 16 * 9 * 32 * 32
    assert network.seconds["r2"] == network.seconds["p1"] == 0
    part = network.behind(("r3",))
    assert {node.output[0] for node in part.nodes} == {"c4", "r4", "g", "f", "y"}
    assert network.whole_time(part) == network.seconds["c4"] + network.seconds["y"]
