"""The planner: what cuts are, that plans are chains, and that a plan is made only where it pays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.incremental import plan as planner
from onnxray.engine.incremental.estimates import MOST_SPANS, Composed, representatives
from onnxray.engine.incremental.locality import locality
from onnxray.engine.incremental.plan import Planner, Windows
from onnxray.engine.inspect.concrete_shapes import concrete_shapes
from onnxray.engine.proto.nodes import reads

Parse = Callable[..., onnx.ModelProto]
TIMES = ("SMALL", "GRAPH_TIME", "GRAPH_NODE_TIME", "RUN_TIME", "NODE_TIME")


@pytest.fixture
def cut_wherever_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TIMES:
        monkeypatch.setattr(planner, name, 0)


def weights(**shapes: Sequence[int]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def residual(parse: Parse) -> onnxray.Model:
    return onnxray.load(
        parse(
            """
            net (float[N, 3, 64, 64] x) => (float[N, 4] y)
            {
              c1 = Conv <pads = [1, 1, 1, 1]> (x, w1) r1 = Relu (c1)
              p1 = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r1)
              c2 = Conv <pads = [1, 1, 1, 1]> (p1, w2) r2 = Relu (c2)
              c3 = Conv <pads = [1, 1, 1, 1]> (r2, w3) s = Add (c3, p1) r3 = Relu (s)
              c4 = Conv <pads = [1, 1, 1, 1]> (r3, w4) r4 = Relu (c4)
              g = GlobalAveragePool (r4) f = Flatten (g) y = Gemm (f, head)
            }
            """,
            **weights(w1=(16, 3, 3, 3), w2=(16, 16, 3, 3), w3=(16, 16, 3, 3), w4=(16, 16, 3, 3), head=(16, 4)),
        )
    )


def planned(model: onnxray.Model, boxes: np.ndarray, cap: float | None = None) -> Planner:
    sizes = {
        name: None if shape is None else ((2, *shape[1:]) if model.constant(name) is None and shape else shape)
        for name, shape in concrete_shapes(model).items()
    }
    return Planner(model, locality(model, "x", (2, 3), sizes), Windows(boxes), cap)


def grid(size: int, patch: int, stride: int) -> np.ndarray:
    at = [(y, x) for y in range(0, size - patch + 1, stride) for x in range(0, size - patch + 1, stride)]
    return np.array([(y, x, y + patch, x + patch) for y, x in at], np.int64)


def separates(model: onnxray.Model, values: Sequence[str]) -> bool:
    """Whether the output depends on x through `values` alone."""
    reached = {"x"} - set(values)
    for node in model.graph.node:
        if any(name in reached for name in reads(node)):
            reached.update(set(node.output) - set(values))
    return "y" not in reached or "y" in values


def test_windows_are_pairs_of_intervals() -> None:
    boxes = grid(20, 5, 4)
    windows = Windows(boxes)
    rows, columns = windows.spans(0), windows.spans(1)
    assert len(rows) == len(columns) == 4
    np.testing.assert_array_equal(rows[windows.of(0)], boxes[:, [0, 2]])
    np.testing.assert_array_equal(columns[windows.of(1)], boxes[:, [1, 3]])


@pytest.mark.usefixtures("cut_wherever_it_can")
def test_cuts_separate_the_image_from_the_output(residual: onnxray.Model) -> None:
    made = planned(residual, grid(64, 4, 6))
    cuts = [cut.values for cut in made.cuts()]
    assert cuts[0] == ("x",)
    assert all(separates(residual, cut) for cut in cuts)
    assert not separates(residual, ("r2",)), "the judge knows what is none"
    names = {name for cut in cuts for name in cut}
    assert not names & {"c1", "c2", "c4"}, "a convolution and the Relu behind it are one"
    assert not names & {"g", "f", "y"}, "nothing behind the global pooling"
    assert ("r4",) in cuts
    done = [cut.done for cut in made.cuts()]
    assert done == sorted(done)


@pytest.mark.usefixtures("cut_wherever_it_can")
@pytest.mark.parametrize("cap", [None, 0.5])
def test_a_plan_is_a_chain(residual: onnxray.Model, cap: float | None) -> None:
    plan = planned(residual, grid(64, 4, 6), cap).plan()
    assert plan.stages
    assert plan.stages[0].part.entry == ("x",)
    assert plan.stages[-1].part.exit == plan.last
    for before, after in zip(plan.stages, plan.stages[1:], strict=False):
        assert before.part.exit == after.part.entry
    assert 0 < plan.seconds < plan.plain
    assert plan.reason.startswith("exact: " if cap is None else "approximate, no more than 0.5")
    assert not plan.ends
    again = planned(residual, grid(64, 4, 6), cap).plan()
    assert [s.part.exit for s in again.stages] == [s.part.exit for s in plan.stages]
    assert again.seconds == plan.seconds


def test_a_plan_is_made_only_where_it_pays(residual: onnxray.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    few = planned(residual, grid(64, 4, 30)).plan()
    assert not few.stages
    assert "too few windows" in few.reason
    for name in TIMES:
        monkeypatch.setattr(planner, name, 0)
    assert planned(residual, grid(64, 4, 30)).plan().stages
    assert "no cut pays" in planned(residual, grid(64, 64, 1)).plan().reason
    monkeypatch.setattr(planner, "GRAPH_TIME", 1e9)
    dear = planned(residual, grid(64, 4, 6)).plan()
    assert not dear.stages
    assert dear.seconds == dear.plain


@pytest.mark.usefixtures("cut_wherever_it_can")
def test_larger_windows_cost_more_and_gain_less(residual: onnxray.Model) -> None:
    """Nine windows each; the whole network costs the same for all of them."""
    plans = [planned(residual, grid(64, patch, (64 - patch) // 2)[:9]).plan() for patch in (2, 8, 24)]
    assert len({plan.plain for plan in plans}) == 1
    seconds = [plan.seconds for plan in plans]
    assert seconds == sorted(seconds)
    assert seconds[0] < 0.8 * seconds[2]


@pytest.mark.usefixtures("cut_wherever_it_can")
def test_quantised_networks_are_cut_at_their_integers(parse: Parse) -> None:
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
    made = planned(model, grid(64, 4, 6))
    names = {name for cut in made.cuts()[1:] for name in cut.values}
    assert names
    assert all(name.startswith("q") for name in names), names
    assert {name for stage in made.plan().stages for name in stage.part.exit} <= names


@pytest.mark.usefixtures("cut_wherever_it_can")
def test_estimated_needs_hold_the_true_ones(residual: onnxray.Model) -> None:
    """What a cut reads of every value before it, from composed reaches, against what the stages find node by node."""
    made = planned(residual, grid(64, 5, 7))
    for axis in (0, 1):
        reach = Composed.of(made._nodes, made.known, "r4", axis)
        for stage in (made.stage(("x",), ("r4",), 2),):
            side = (stage.rows, stage.columns)[axis]
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
