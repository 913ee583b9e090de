"""Cuts: where a network can be cut, and what lies behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.incremental import cuts as module
from onnxray.engine.incremental.cuts import find_cuts, heavy_end, tail_at_once
from onnxray.engine.incremental.network import Network
from onnxray.engine.incremental.plan import search
from onnxray.engine.incremental.windows import Windows
from onnxray.engine.proto.nodes import reads

Parse = Callable[..., onnx.ModelProto]
NetworkOf = Callable[[onnxray.Model], Network]


def weights(**shapes: Sequence[int]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def separates(model: onnxray.Model, values: Sequence[str]) -> bool:
    """Whether the output depends on x through `values` alone."""
    reached = {"x"} - set(values)
    for node in model.graph.node:
        if any(name in reached for name in reads(node)):
            reached.update(set(node.output) - set(values))
    return "y" not in reached or "y" in values


@pytest.mark.usefixtures("cut_wherever_it_can")
def test_cuts_separate_the_image_from_the_output(network_of: NetworkOf, residual: onnxray.Model) -> None:
    found = find_cuts(network_of(residual))
    cuts = [cut.values for cut in found]
    assert cuts[0] == ("x",)
    assert all(separates(residual, cut) for cut in cuts)
    assert not separates(residual, ("r2",)), "the judge knows what is none"
    names = {name for cut in cuts for name in cut}
    assert not names & {"c1", "c2", "c4"}, "a convolution and the Relu behind it are one"
    assert not names & {"g", "f", "y"}, "nothing behind the global pooling"
    assert ("r4",) in cuts
    done = [cut.done for cut in found]
    assert done == sorted(done)


@pytest.mark.usefixtures("cut_wherever_it_can")
def test_quantised_networks_are_cut_at_their_integers(network_of: NetworkOf, parse: Parse) -> None:
    """Between DequantizeLinear and QuantizeLinear lies what becomes one integer operator: apart it rounds otherwise."""
    quantised = "q{0} = QuantizeLinear ({1}, s, z) d{0} = DequantizeLinear (q{0}, s, z)"
    model = onnxray.load(
        parse(
            f"""
            net (float[N, 3, 64, 64] x) => (float[N, 8] y)
            {{
              {quantised.format(0, "x")}
              c1 = Conv <pads = [1, 1, 1, 1]> (d0, w1) r1 = Relu (c1) {quantised.format(1, "r1")}
              c2 = Conv <pads = [1, 1, 1, 1]> (d1, w2) r2 = Relu (c2) {quantised.format(2, "r2")}
              c3 = Conv <pads = [1, 1, 1, 1]> (d2, w2) s3 = Add (c3, d1) r3 = Relu (s3) {quantised.format(3, "r3")}
              g = GlobalAveragePool (d3) y = Flatten (g)
            }}
            """,
            s=np.float32(0.05),
            z=np.uint8(128),
            **weights(w1=(8, 3, 3, 3), w2=(8, 8, 3, 3)),
        )
    )
    boxes = np.array([(y, x, y + 4, x + 4) for y in range(0, 61, 6) for x in range(0, 61, 6)], np.int64)
    names = {name for cut in find_cuts(network_of(model))[1:] for name in cut.values}
    assert names
    assert all(name.startswith("q") for name in names), names
    assert {name for stage in search(network_of(model), Windows(boxes)).stages for name in stage.part.exit} <= names


@pytest.mark.usefixtures("cut_wherever_it_can")
def test_few_cuts_are_those_far_apart(network_of: NetworkOf, residual: onnxray.Model) -> None:
    network = network_of(residual)
    every, few = find_cuts(network), find_cuts(network, 3)
    assert len(every) > len(few) == 3
    assert set(few) <= set(every)
    assert few[0] == every[0]


def test_large_maps_go_behind_a_cut_one_by_one(
    network_of: NetworkOf, residual: onnxray.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = network_of(residual)
    assert tail_at_once(network, ("p1",)) == 4
    monkeypatch.setattr(module, "TAIL_ELEMENTS", 2 * 16 * 32 * 32)
    assert tail_at_once(network, ("p1",)) == 2
    monkeypatch.setattr(module, "TAIL_ELEMENTS", 1)
    assert tail_at_once(network, ("p1",)) == 1


def test_large_matrices_are_run_for_many_windows_at_once(
    network_of: NetworkOf, residual: onnxray.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = network_of(residual)
    assert heavy_end(network, ("r4",)) is None
    monkeypatch.setattr(module, "LEAST_WEIGHTS", 16 * 4)
    assert heavy_end(network, ("r4",)) == "g"
    assert heavy_end(network, ("r3",)) == "c4"
    monkeypatch.setattr(module, "MOST_ROW", 16)
    assert heavy_end(network, ("r3",)) == "g", "not where what is read is large"
