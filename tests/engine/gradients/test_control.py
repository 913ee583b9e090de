"""If, Loop, Scan: gradients against central differences of onnx's reference evaluator in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx.parser
import pytest

import onnxray
from onnxray.engine.errors import NoGradient

Judge = Callable[..., dict[str, np.ndarray]]


def parse(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]>\ng {text}')


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


BRANCHES = """(bool c, float[2,3] x, float[3,3] w) => (float[2,3] y)
{
    h = MatMul(x, w)
    a, b = If (c) <
        then_branch = yes () => (float[2,3] t1, float[2,3] t2) { t1 = Tanh(h)  t2 = Mul(x, h) },
        else_branch = no () => (float[2,3] e1, float[2,3] e2) { e1 = Neg(x)  e2 = Identity(x) }
    >
    y = Mul(a, b)
}"""


@pytest.mark.parametrize("condition", [True, False])
def test_if_follows_the_branch_taken(condition: bool, judge: Judge) -> None:
    got = judge(parse(BRANCHES), {"c": np.array(condition), "x": draw(2, 3), "w": draw(3, 3)})
    assert bool(got["w"].any()) is condition  # the other branch does not read h


NESTED = """(bool c, bool d, float[4] x) => (float[4] y)
{
    y = If (c) <
        then_branch = yes () => (float[4] t) {
            t = If (d) <
                then_branch = deep () => (float[4] dt) { dt = Exp(x) },
                else_branch = deeper () => (float[4] de) { de = Sin(x) }
            >
        },
        else_branch = no () => (float[4] e) { e = Mul(x, x) }
    >
}"""


@pytest.mark.parametrize("taken", [(True, True), (True, False), (False, True)])
def test_if_inside_if(taken: tuple[bool, bool], judge: Judge) -> None:
    judge(parse(NESTED), {"c": np.array(taken[0]), "d": np.array(taken[1]), "x": draw(4)})


COUNTED = """(int64 n, float[3] x, float[3] w) => (float[3] y, float[k,3] each)
<bool yes = {1}>
{
    y, each = Loop (n, yes, x) <
        body = step (int64 i, bool on, float[3] v) => (bool go_on, float[3] next, float[3] out)
        { go_on = Identity(on)  s = Sin(v)  next = Mul(s, w)  out = Add(next, v) }
    >
}"""


@pytest.mark.parametrize("trips", [1, 2, 7])
def test_loop_with_a_trip_count_that_is_fed(trips: int, judge: Judge) -> None:
    judge(parse(COUNTED), {"n": np.array(trips), "x": draw(3), "w": draw(3)})


WHILE = """(float[3] x) => (float[3] y)
<int64 most = {100}, bool yes = {1}, float limit = {4.0}>
{
    y = Loop (most, yes, x) <
        body = step (int64 i, bool on, float[3] v) => (bool go_on, float[3] next)
        { square = Mul(v, v)  s = ReduceSum <keepdims = 0> (square)  go_on = Less(s, limit)  k = Cast <to = 1> (i)
          one = Constant <value_float = 1.3> ()  next = Mul(v, one) }
    >
}"""


def test_loop_that_ends_by_its_condition(judge: Judge) -> None:
    judge(parse(WHILE), {"x": np.array([0.3, -0.2, 0.5], np.float32)}, reference=False)


SCAN = """(float[2] h, float[5,2] x, float[2,2] w) => (float[2] last, float[5,2] each)
{
    last, each = Scan <num_scan_inputs = 1, scan_input_directions = [%d], scan_output_directions = [%d],
        body = step (float[2] state, float[2] item) => (float[2] next, float[2] out)
        { column = Unsqueeze(state, at)  product = MatMul(w, column)  flat = Squeeze(product, at)
          sum = Add(flat, item)  next = Tanh(sum)  out = Mul(next, item) }
    > (h, x)
}"""


@pytest.mark.parametrize(("read", "write"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_scan_in_all_directions(read: int, write: int, judge: Judge) -> None:
    model = parse(SCAN % (read, write))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "at"))
    # onnx's reference evaluator walks in one direction only.
    feeds = {"h": draw(2), "x": draw(5, 2), "w": draw(2, 2)}
    judge(model, feeds, reference=(read, write) == (0, 0), tolerance=3e-2)


def test_scan_along_another_axis(judge: Judge) -> None:
    model = parse(
        """(float[2] h, float[2,5] x) => (float[2] last, float[2,5] each)
        {
            last, each = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [1],
                body = step (float[2] state, float[2] item) => (float[2] next, float[2] out)
                { s = Mul(state, item)  next = Sin(s)  out = Exp(next) }
            > (h, x)
        }"""
    )
    judge(model, {"h": draw(2), "x": draw(2, 5)}, reference=False)


def test_guided_rules_hold_inside_a_branch() -> None:
    model = parse(
        """(bool c, float[4] x) => (float[4] y)
        {
            y = If (c) <
                then_branch = yes () => (float[4] t) { t = Relu(x) },
                else_branch = no () => (float[4] e) { e = Neg(x) }
            >
        }"""
    )
    grad = onnxray.vjp(model, of="y", wrt="x", rules="guided")
    x, dy = np.array([1, -1, 2, -2], np.float32), np.array([1, 1, -1, -1], np.float32)
    got = onnxray.activations(grad, {"c": np.array(True), "x": x, "cotangent/y": dy}, ["grad/x"])["grad/x"]
    np.testing.assert_array_equal(got, [1, 0, 0, 0])


def test_a_loop_over_sequences_is_refused_by_name() -> None:
    model = parse(
        """(float[3] x) => (float[k] y)
        <int64 n = {3}, bool yes = {1}>
        {
            empty = SequenceEmpty()
            all = Loop (n, yes, empty) <
                body = step (int64 i, bool on, seq(float[3]) s) => (bool go_on, seq(float[3]) more)
                { go_on = Identity(on)  more = SequenceInsert(s, x) }
            >
            y = ConcatFromSequence <axis = 0> (all)
        }"""
    )
    with pytest.raises(NoGradient):
        onnxray.vjp(model, of="y", wrt="x")
