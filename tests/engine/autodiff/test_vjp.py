"""`vjp`: what the driver does around the rules. Judges: derivatives written by hand in NumPy."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from onnxray.engine import gradients
from onnxray.engine.autodiff.vjp import vjp
from onnxray.engine.emitter.node import Node
from onnxray.engine.errors import Disconnected, GradientError, NoGradient, UnknownName
from onnxray.engine.gradients import registry
from onnxray.engine.load import load
from onnxray.tests.rounding import ROUNDING, apart


def run(model, feeds, *outputs):
    proto = model if isinstance(model, onnx.ModelProto) else model.proto
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(list(outputs) or None, feeds)


def whole(model):
    """Valid under strict inference, standard operators only."""
    onnx.checker.check_model(model.proto, full_check=True)
    assert {node.domain for node in model.proto.graph.node} <= {"", "ai.onnx"}
    return model


def random(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def test_interface_follows_the_contract(parse):
    model = parse("g (float[N,3] x, float[3] b) => (float[N,3] y, float[N,3] z) { y = Mul(x, b)  z = Exp(x) }")
    grad = whole(vjp(model, ["y", "z"], ["x", "b"]))
    assert [v.name for v in grad.inputs] == ["x", "b", "cotangent/y", "cotangent/z"]
    assert [v.name for v in grad.outputs] == ["y", "z", "grad/x", "grad/b"]
    assert [v.shape for v in grad.outputs[2:]] == [("N", 3), (3,)]
    assert grad.metadata["onnxray.vjp"] == "of=y,z; wrt=x,b; rules=none"
    assert grad.opset >= 18
    x, b, dy, dz = random(4, 3), random(3, seed=1), random(4, 3, seed=2), random(4, 3, seed=3)
    got = run(grad, {"x": x, "b": b, "cotangent/y": dy, "cotangent/z": dz})
    expected = [x * b, np.exp(x), dy * b + dz * np.exp(x), (dy * x).sum(0)]
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-5, atol=1e-6)


def test_the_given_model_is_not_touched(cnn):
    before = cnn.SerializeToString()
    loaded = load(cnn)
    held = loaded.proto.SerializeToString()
    vjp(cnn, "logits", "image")
    vjp(loaded, "logits", ["image", "features", "w1"])
    assert cnn.SerializeToString() == before
    assert loaded.proto.SerializeToString() == held


def test_two_runs_give_the_same_bytes(cnn):
    first, second = (vjp(cnn, "logits", ["image", "pooled"]).proto for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def test_path_bytes_proto_and_model_are_accepted(cnn, tmp_path):
    path = tmp_path / "cnn.onnx"
    path.write_bytes(cnn.SerializeToString())
    texts = {
        vjp(source, "logits", "image").proto.graph.SerializeToString(deterministic=True)
        for source in (path, str(path), path.read_bytes(), cnn, load(path))
    }
    assert len(texts) == 1


def test_a_value_read_twice_gets_the_sum(parse):
    grad = whole(vjp(parse("g (float[5] x) => (float[5] y) { a = Mul(x, x)  y = Mul(a, x) }"), "y", ["x", "a"]))
    x, dy = random(5), random(5, seed=1)
    dx, da = run(grad, {"x": x, "cotangent/y": dy}, "grad/x", "grad/a")
    np.testing.assert_allclose(dx, 3 * x**2 * dy, rtol=1e-5)
    np.testing.assert_allclose(da, x * dy, rtol=1e-6)


def test_a_node_that_reads_one_value_twice(parse):
    grad = whole(vjp(parse("g (float[2,3] x) => (float[4,3] y) { y = Concat<axis=0>(x, x) }"), "y", "x"))
    dy = random(4, 3)
    (dx,) = run(grad, {"x": random(2, 3), "cotangent/y": dy}, "grad/x")
    np.testing.assert_allclose(dx, dy[:2] + dy[2:], rtol=1e-6)


@pytest.mark.parametrize("shape", [(3,), (1, 3), (4, 1, 1), (1, 2, 1), (1, 1, 3), (), (4, 2, 3)])
def test_broadcasts_are_reduced(parse, shape):
    kind = f"float[{','.join(map(str, shape))}]" if shape else "float"
    model = parse(f"g (float[4,2,3] x, {kind} b) => (float[4,2,3] y) {{ y = Add(x, b) }}")
    dy = random(4, 2, 3)
    (db,) = run(whole(vjp(model, "y", "b")), {"x": dy, "b": random(*shape), "cotangent/y": dy}, "grad/b")
    assert db.shape == shape
    axes = tuple(range(3 - len(shape))) + tuple(i + 3 - len(shape) for i, n in enumerate(shape) if n == 1)
    expected = dy.sum(axis=tuple(a for a in axes if dy.shape[a] != 1)).reshape(shape)
    assert apart(db, expected, np.ptp(dy)) <= ROUNDING


def test_equal_symbols_need_no_reduction_and_stay_symbolic(parse):
    model = parse("g (float[N,T] x, float[N,T] m, float[T] b) => (float[N,T] y) { a = Mul(x, m)  y = Add(a, b) }")
    grad = whole(vjp(model, "y", ["x", "m"]))
    assert {n.op_type for n in grad.proto.graph.node} == {"Mul", "Add"}
    assert all(v.shape == ("N", "T") for v in grad.outputs[1:])
    for batch, length in ((1, 4), (3, 1), (1, 1), (2, 5)):
        x, m, dy = (random(batch, length, seed=s) for s in range(3))
        got = run(grad, {"x": x, "m": m, "b": random(length), "cotangent/y": dy}, "grad/x", "grad/m")
        np.testing.assert_allclose(got, [dy * m, dy * x], rtol=1e-6)


@pytest.mark.parametrize(("rows", "others"), [(4, 1), (4, 4), (1, 4), (1, 1)])
def test_a_broadcast_that_only_shows_at_run_time(parse, rows, others):
    model = parse("g (float[N,3] x, float[M,3] b) => (float[K,3] y) { y = Add(x, b) }")
    grad = whole(vjp(model, "y", ["x", "b"]))
    dy = random(max(rows, others), 3)
    feeds = {"x": random(rows, 3), "b": random(others, 3), "cotangent/y": dy}
    for found, count in zip(run(grad, feeds, "grad/x", "grad/b"), (rows, others), strict=True):
        np.testing.assert_allclose(found, dy if count == len(dy) else dy.sum(0, keepdims=True), rtol=1e-6)


def test_wrt_a_value_downstream_of_another(parse):
    model = parse("g (float[3] x) => (float[3] y) { a = Exp(x)  b = Mul(a, a)  c = Add(b, a)  y = Mul(c, x) }")
    grad = whole(vjp(model, "y", ["x", "a", "b", "c"]))
    x, dy = random(3), random(3, seed=1)
    a = np.exp(x)
    dx, da, db, dc = run(grad, {"x": x, "cotangent/y": dy}, "grad/x", "grad/a", "grad/b", "grad/c")
    np.testing.assert_allclose(dc, dy * x, rtol=1e-6)
    np.testing.assert_allclose(db, dy * x, rtol=1e-6)
    np.testing.assert_allclose(da, dy * x * (2 * a + 1), rtol=1e-5)
    np.testing.assert_allclose(dx, dy * (a * a + a) + dy * x * (2 * a + 1) * a, rtol=1e-5)


def test_of_a_value_inside_and_of_itself(parse):
    model = parse("g (float[3] x) => (float[3] y) { a = Exp(x)  y = Mul(a, a) }")
    grad = whole(vjp(model, ["a", "y"], ["a", "x"]))
    assert [v.name for v in grad.outputs] == ["y", "grad/a", "grad/x"]
    x, ca, cy = random(3), random(3, seed=1), random(3, seed=2)
    da, dx = run(grad, {"x": x, "cotangent/a": ca, "cotangent/y": cy}, "grad/a", "grad/x")
    np.testing.assert_allclose(da, ca + 2 * np.exp(x) * cy, rtol=1e-5)
    np.testing.assert_allclose(dx, da * np.exp(x), rtol=1e-5)
    same = whole(vjp(model, "y", "y"))
    np.testing.assert_array_equal(run(same, {"x": x, "cotangent/y": cy}, "grad/y")[0], cy)


def test_wrt_an_input_that_is_an_output(parse):
    model = parse("g (float[3] x) => (float[3] x, float[3] y) { y = Neg(x) }")
    x = random(3)
    grad = vjp(model, ["x", "y"], "x")
    (dx,) = run(grad, {"x": x, "cotangent/x": 2 * x, "cotangent/y": x}, "grad/x")
    np.testing.assert_allclose(dx, x, rtol=1e-6)


def test_wrt_weights(cnn):
    grad = whole(vjp(cnn, "logits", ["w3", "b3"]))
    image, dy = random(2, 3, 16, 16), random(2, 5, seed=1)
    dw, db = run(grad, {"image": image, "cotangent/logits": dy}, "grad/w3", "grad/b3")
    (flat,) = run(_with_output(cnn, "flat"), {"image": image}, "flat")
    np.testing.assert_allclose(dw, dy.T @ flat, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(db, dy.sum(0), rtol=1e-5)


def _with_output(proto, name):
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    copy.graph.output.append(onnx.ValueInfoProto(name=name))
    return copy


def test_gradient_of_a_network_by_central_differences(cnn):
    grad = whole(vjp(cnn, "logits", "image"))
    image, dy = random(2, 3, 16, 16), random(2, 5, seed=1)
    logits, dx = run(grad, {"image": image, "cotangent/logits": dy}, "logits", "grad/image")
    assert apart(logits, run(cnn, {"image": image})[0]) <= ROUNDING
    evaluator = ReferenceEvaluator(cnn)  # fed with float64 it computes in float64: the differences are no rounding
    for seed in range(3):
        direction = random(2, 3, 16, 16, seed=10 + seed, dtype=np.float64)
        high, low = (evaluator.run(["logits"], {"image": image + s * 1e-6 * direction})[0] for s in (1, -1))
        assert high.dtype == low.dtype == np.float64
        numeric = ((high - low) * dy).sum() / 2e-6
        np.testing.assert_allclose((dx * direction).sum(), numeric, rtol=1e-3)


def test_dead_branches_are_dropped(parse):
    model = parse(
        """g (float[3] x, float[3] w) => (float[3] y) {
             y = Exp(x)  unused = Softplus(w)  also = Mul(unused, x) }"""
    )
    grad = whole(vjp(model, "y", "x"))
    assert [n.op_type for n in grad.proto.graph.node] == ["Exp", "Mul"]
    assert [v.name for v in grad.inputs] == ["x", "w", "cotangent/y"]


def test_only_the_nodes_between_are_differentiated(parse):
    """NonMaxSuppression and friends may be anywhere else."""
    model = parse(
        """g (float[4] x) => (float[4] y, int64[1] best) {
             h = Hardmax(x)  a = Mul(x, h)  y = Exp(a)  best = ArgMax<axis = 0>(y) }"""
    )
    x, dy = random(4), random(4, seed=1)
    (dx,) = run(whole(vjp(model, "y", "x")), {"x": x, "cotangent/y": dy}, "grad/x")
    hard = (np.arange(4) == x.argmax()).astype(np.float32)
    np.testing.assert_allclose(dx, dy * np.exp(x * hard) * hard, rtol=1e-5)


def test_values_captured_by_a_subgraph_survive_pruning(parse):
    model = parse(
        """g (float[3] x, bool c) => (float[3] y, float[3] z) {
             outer = Neg(x)
             z = If (c) <then_branch = t () => (float[3] p) { p = Exp(outer) },
                         else_branch = e () => (float[3] q) { q = Abs(outer) }>
             y = Exp(x) }"""
    )
    grad = whole(vjp(model, "y", "x"))
    x = random(3)
    y, z, dx = run(grad, {"x": x, "c": np.array(True), "cotangent/y": x})
    np.testing.assert_allclose(z, np.exp(-x), rtol=1e-6)
    np.testing.assert_allclose(dx, x * y, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types_are_differentiated_in_their_own(parse, dtype):
    kind = {np.float16: "float16", np.float64: "double"}[dtype]
    model = parse(
        f"""g ({kind}[N,4] x, {kind}[4,3] w) => ({kind}[N,2] y) {{
              h = MatMul(x, w)  r = Tanh(h)  s = Softmax<axis = -1>(r)
              two = Constant<value = int64[2] {{0, 2}}>()  y = Gather<axis = 1>(s, two) }}"""
    )
    grad = whole(vjp(model, "y", ["x", "w"]))
    assert all(v.dtype == dtype for v in grad.outputs)
    x, w, dy = random(5, 4, dtype=dtype), random(4, 3, seed=1, dtype=dtype), random(5, 2, seed=2, dtype=dtype)
    dx, dw = run(grad, {"x": x, "w": w, "cotangent/y": dy}, "grad/x", "grad/w")
    assert dx.dtype == dw.dtype == dtype
    x, w, dy = (a.astype(np.float64) for a in (x, w, dy))
    r = np.tanh(x @ w)
    s = np.exp(r) / np.exp(r).sum(1, keepdims=True)
    ds = np.stack([dy[:, 0], 0 * dy[:, 0], dy[:, 1]], 1)
    dh = s * (ds - (ds * s).sum(1, keepdims=True)) * (1 - r * r)
    tolerance = {"rtol": 1e-2, "atol": 2e-3} if dtype == np.float16 else {"rtol": 1e-9, "atol": 1e-12}
    np.testing.assert_allclose(dx, dh @ w.T, **tolerance)
    np.testing.assert_allclose(dw, x.T @ dh, **tolerance)


def test_integer_arithmetic_on_shapes_passes_untouched(parse):
    model = parse(
        """g (float[N,2,6] x) => (float[N,12] y) {
             s = Shape(x)  zero = Constant<value = int64 {0}>()  n = Gather(s, zero)
             axis = Constant<value = int64[1] {0}>()  n1 = Unsqueeze(n, axis)
             rest = Constant<value = int64[1] {-1}>()  to = Concat<axis = 0>(n1, rest)
             flat = Reshape(x, to)  y = Exp(flat) }"""
    )
    grad = whole(vjp(model, "y", "x"))
    for batch in (1, 3):
        x = random(batch, 2, 6)
        y, dx = run(grad, {"x": x, "cotangent/y": np.ones((batch, 12), np.float32)}, "y", "grad/x")
        np.testing.assert_allclose(dx.reshape(batch, 12), y, rtol=1e-6)


def test_the_vjp_of_a_vjp_is_a_second_derivative(parse):
    first = vjp(parse("g (float[4] x) => (float[4] y) { y = Exp(x) }"), "y", "x")
    second = whole(vjp(first, "grad/x", ["x", "cotangent/y"]))
    assert [v.name for v in second.outputs] == ["y", "grad/x", "grad/grad/x", "grad/cotangent/y"]
    x, c, v = random(4), random(4, seed=1), random(4, seed=2)
    feeds = {"x": x, "cotangent/y": c, "cotangent/grad/x": v}
    ddx, dc = run(second, feeds, "grad/grad/x", "grad/cotangent/y")
    np.testing.assert_allclose(ddx, np.exp(x) * c * v, rtol=1e-5)
    np.testing.assert_allclose(dc, np.exp(x) * v, rtol=1e-5)


def test_own_rules_replace_those_of_the_registry(parse):
    model = parse("g (float[3] x) => (float[3] y) { a = Relu(x)  y = Neg(a) }")
    grad = whole(vjp(model, "y", "x", rules={"Relu": lambda node, cotangents, op: [op.Mul(cotangents[0], 10.0)]}))
    dy = random(3)
    (dx,) = run(grad, {"x": random(3, seed=1), "cotangent/y": dy}, "grad/x")
    np.testing.assert_allclose(dx, -10 * dy, rtol=1e-6)
    assert grad.metadata["onnxray.vjp"].endswith("rules=own rules for Relu")


def test_own_rules_make_unknown_operators_differentiable(parse):
    model = parse("g (float[3] x) => (float[3] y) { a = Round(x)  y = Mul(a, a) }")
    with pytest.raises(Disconnected):
        vjp(model, "y", "x")
    grad = vjp(model, "y", "x", rules={("", "Round"): lambda node, cotangents, op: list(cotangents)})
    x, dy = random(3), random(3, seed=1)
    np.testing.assert_allclose(run(grad, {"x": x, "cotangent/y": dy}, "grad/x")[0], 2 * np.round(x) * dy, rtol=1e-6)


def test_own_rules_may_take_the_one_cotangent(parse):
    model = parse("g (float[3] x) => (float[3] y) { a = Relu(x)  y = Neg(a) }")
    every = vjp(model, "y", "x", rules={"Relu": lambda node, cotangents, op: [op.Mul(cotangents[0], 10.0)]})
    for rules in ({"Relu": lambda node, dy, op: [op.Mul(dy, 10.0)]}, {"Relu": lambda n, c, o: [o.Mul(c[0], 10.0)]}):
        assert vjp(model, "y", "x", rules=rules).proto == every.proto


def test_a_rule_of_one_cotangent_leaves_the_integer_outputs_alone(parse):
    model = parse("g (float[5] x) => (float[2] y, int64[2] i) { y, i = TopK<axis = 0>(x, k) }", k=np.array([2]))
    grad = vjp(model, "y", "x", rules={"TopK": lambda node, dy, op: [op.Expand(op.ReduceSum(dy, keepdims=1), [5])]})
    (dx,) = run(grad, {"x": random(5), "cotangent/y": np.array([1, 2], np.float32)}, "grad/x")
    np.testing.assert_array_equal(dx, [3] * 5)


@pytest.mark.parametrize("used", ["b", "a, b"])
def test_a_rule_of_one_cotangent_drops_no_other(parse, used):
    model = parse(f"g (float[4] x) => (float[2] y) {{ a, b = Split(x) y = Sum({used}) }}")
    with pytest.raises(GradientError, match=r"rule of 'Split' \(node 'a'\) takes `dy`.*output 'b' .*`cotangents`"):
        vjp(model, "y", "x", rules={"Split": lambda node, dy, op: [op.Concat(dy, dy, axis=0)]})


def test_a_rule_of_one_cotangent_is_not_called_without_it():
    called = []

    def rule(node, dy, op):
        called.append(dy)
        return [dy]

    node = Node(onnx.helper.make_node("Relu", ["x"], ["y"]))
    adapted = registry.of_all_outputs(rule, "the rule")
    assert adapted(node, [None], None) == []
    assert not called
    assert adapted(node, ["c"], None) == ["c"]


@pytest.mark.parametrize(
    ("rule", "parameters"),
    [
        (lambda node, op: [], r"\(node, op\)"),
        (lambda dy, node, op: [dy], r"\(dy, node, op\)"),
        (lambda node, dy, op, extra: [dy], r"\(node, dy, op, extra\)"),
    ],
)
def test_own_rules_with_other_parameters_are_refused(parse, rule, parameters):
    model = parse("g (float[3] x) => (float[3] y) { y = Relu(x) }")
    with pytest.raises(GradientError, match=rf"'Relu' has the parameters {parameters}: write \(node, dy, op\).*"):
        vjp(model, "y", "x", rules={"Relu": rule})


def test_a_rule_that_gives_a_wrong_shape_is_stopped(parse):
    model = parse("g (float[3,2] x) => (float[3] y) { y = ReduceSum<keepdims = 0>(x, a) }", a=np.array([1]))
    with pytest.raises(GradientError, match=r"for 'x' of shape \[3, 2\] a cotangent of shape \[3\]"):
        vjp(model, "y", "x", rules={"ReduceSum": lambda node, cotangents, op: [cotangents[0]]})


def test_post_activation_values_are_read(cnn):
    """Nobody but Relu reads what the convolutions give, so that the runtime can still fuse the two."""
    grad = vjp(cnn, "logits", "image")
    readers = {n.op_type for n in grad.proto.graph.node if "stem" in n.input}
    assert readers == {"Relu"}


def test_a_given_gradient_graph_runs_at_any_batch(cnn):
    grad = vjp(cnn, "logits", "image")
    image, dy = random(3, 3, 16, 16), random(3, 5, seed=1)
    (together,) = run(grad, {"image": image, "cotangent/logits": dy}, "grad/image")
    for i in range(3):
        alone = run(grad, {"image": image[i : i + 1], "cotangent/logits": dy[i : i + 1]}, "grad/image")[0]
        assert apart(alone[0], together[i]) <= ROUNDING


# ---- bad input


def test_unknown_names_offer_the_nearest(cnn):
    with pytest.raises(UnknownName, match="no value named 'logit'; nearest: 'logits'"):
        vjp(cnn, "logit", "image")
    with pytest.raises(UnknownName, match="no value named 'imag'; nearest: 'image'"):
        vjp(cnn, "logits", "imag")
    with pytest.raises(UnknownName, match="no set of rules named 'guide'; nearest: 'guided'"):
        vjp(cnn, "logits", "image", rules="guide")


def test_empty_and_repeated_names(cnn):
    with pytest.raises(GradientError, match="`wrt` names no value"):
        vjp(cnn, "logits", [])
    with pytest.raises(GradientError, match="`of` names a value twice"):
        vjp(cnn, ["logits", "logits"], "image")


def test_integers_have_no_derivative(parse):
    model = parse("g (float[3] x, int64[2] i) => (float[2] y, int64[1] k) { y = Gather(x, i)  k = ArgMax<axis=0>(y) }")
    with pytest.raises(GradientError, match="value 'i' is int64: only float tensors"):
        vjp(model, "y", "i")
    with pytest.raises(GradientError, match="value 'k' is int64"):
        vjp(model, "k", "x")


def test_no_dependence_at_all(parse):
    model = parse("g (float[3] x, float[3] w) => (float[3] y, float[3] z) { y = Exp(x)  z = Exp(w) }")
    with pytest.raises(Disconnected, match=r"'y' does not depend on 'w'.*other inputs are 'x'"):
        vjp(model, "y", ["x", "w"])


@pytest.mark.parametrize(
    ("body", "operator", "reason"),
    [
        ("i = ArgMax<axis = 0, keepdims = 0>(x)  y = Cast<to = 1>(i)", "ArgMax", "integer"),
        ("i = Cast<to = 7>(x)  y = Cast<to = 1>(i)", "Cast", "int64"),
        ("a = Exp(x)  i = Floor(a)  y = Exp(i)", "Floor", "step function"),
        ("s = Shape(x)  y = Cast<to = 1>(s)", "Shape", "integer"),
        ("c = Greater(x, x)  y = Cast<to = 1>(c)", "Greater", "truth value"),
    ],
)
def test_the_break_is_named(parse, body, operator, reason):
    model = parse(f"g (float[N] x) => (float[K] y) {{ {body} }}")
    with pytest.raises(Disconnected, match=rf"'y' depends on 'x' only .* ends at '{operator}' \(node .*{reason}"):
        vjp(model, "y", "x")


def test_arguments_without_a_derivative(parse):
    model = parse("g (float[3] x, float r) => (float[3] y) { y = Dropout(x, r) }")
    with pytest.raises(
        Disconnected, match=r"'y' depends on 'r' only .* ends at 'Dropout' .* argument has no derivative"
    ):
        vjp(model, "y", "r")


def test_an_operator_without_a_gradient_is_named():
    nodes = [
        helper.make_node("SequenceConstruct", ["x", "x"], ["s"]),
        helper.make_node("SequenceAt", ["s", "place"], ["y"], name="chosen"),
    ]
    infos = [helper.make_tensor_value_info(n, 1, [2, 2]) for n in "xy"]
    infos.insert(1, helper.make_tensor_value_info("place", 7, []))
    imports = [helper.make_opsetid("", 18)]
    model = helper.make_model(helper.make_graph(nodes, "g", infos[:2], infos[2:]), opset_imports=imports, ir_version=8)
    with pytest.raises(NoGradient, match=r"no gradient for 'SequenceAt' \(node 'chosen', opset 18\): it works"):
        vjp(model, "y", "x")


def test_operators_of_unknown_domains_are_named():
    node = helper.make_node("Warp", ["x"], ["y"], domain="my.domain")
    infos = [helper.make_tensor_value_info(n, 1, [2]) for n in ("x", "y")]
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("my.domain", 1)]
    model = helper.make_model(helper.make_graph([node], "g", infos[:1], infos[1:]), opset_imports=imports, ir_version=8)
    with pytest.raises(NoGradient, match=r"'my.domain::Warp' \(node 'y'.*rules=\{\.\.\.\}"):
        vjp(model, "y", "x")


def test_integer_models_are_refused(parse):
    model = parse(
        """g (float[2,3] x) => (float[2,2] y) {
             q, s, z = DynamicQuantizeLinear(x)  m = MatMulInteger(q, w, z)  f = Cast<to = 1>(m)  y = Mul(f, s) }""",
        w=np.ones((3, 2), np.int8),
    )
    with pytest.raises(NoGradient, match=r"MatMulInteger.*computes in integers.*float model"):
        vjp(model, "y", "x")


def test_errors_are_one_line(parse):
    model = parse("g (float[3] x, float[3] w) => (float[3] y) { y = Floor(x) }")
    for of, wrt in (("y", "x"), ("y", "w"), ("nope", "x"), ("y", [])):
        with pytest.raises((GradientError, UnknownName)) as caught:
            vjp(model, of, wrt)
        assert "\n" not in str(caught.value)


# ---- the registry


def test_registering_an_operator_twice_is_an_error():
    gradients.find("", "Relu")
    with pytest.raises(ValueError, match="operator 'Relu' of domain '' is registered twice"):
        gradients.constant("Relu", reason="it is not")
    with pytest.raises(ValueError, match="registered twice"):
        gradients.gradient("Relu")(lambda node, cotangents, op: [])


@pytest.mark.parametrize(
    "rule", [lambda node, dx, op: [], lambda op, dy, node: [], lambda node, cotangents: [], lambda node, dy, x, op: []]
)
def test_a_registered_rule_names_its_parameters(rule):
    with pytest.raises(GradientError, match=r"the rule of Nothing, None has the parameters \(.*write \(node, dy, op\)"):
        gradients.gradient("Nothing", "None")(rule)
    assert gradients.find("", "Nothing") is None


def test_an_operator_that_nothing_runs_has_no_advice_that_needs_a_run(parse):
    """Gradient-free methods run the model: ONNX Runtime does not."""
    text = """m (float[N, 3, 8, 8] x) => (float[N, 3] y)
              { f = my.ops.Fancy (x) g = GlobalAveragePool (f) y = Flatten (g) }"""
    model = parse(text)
    model.opset_import.add(domain="my.ops", version=1)
    with pytest.raises(NoGradient, match="the model cannot be run either: operator 'Fancy'") as caught:
        vjp(model, "y", "x")
    assert "gradient-free" not in str(caught.value)
