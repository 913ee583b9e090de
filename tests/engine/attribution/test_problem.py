"""What methods share on one explanation: scores, activations, gradients, tails, and running in batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.attribution import runs as module
from onnxray.engine.attribution.gradient_graphs import gradient_graph
from onnxray.engine.attribution.tail import Tail
from onnxray.engine.explain import problem_of
from onnxray.engine.inference import batches as running
from onnxray.engine.inference.batches import RunOptions, run_batches
from onnxray.engine.targets.target import Target
from onnxray.tests.rounding import ROUNDING, apart

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 3, 16, 16)).astype(np.float32)


def direct(model: onnxray.Model, x: np.ndarray, cotangent: np.ndarray, wrt: str, rules: object = None) -> np.ndarray:
    """The gradient by plain `vjp`, one sample at a time."""
    graph = onnxray.vjp(model, ["logits"], [wrt], rules)  # type: ignore[arg-type]
    from onnxray.engine.inference.session import run

    rows = [
        run(graph, {"image": x[i : i + 1], "cotangent/logits": cotangent[i : i + 1]})[f"grad/{wrt}"]
        for i in range(len(x))
    ]
    return np.concatenate(rows)


@pytest.mark.parametrize("target", [None, 2, "rank:2", "contrast:1,3", "prob:predicted", "top:3", "classes:4,0"])
@pytest.mark.parametrize("wrt", ["image", "features"])
def test_gradients_are_those_of_the_score(cnn: onnx.ModelProto, target: object, wrt: str) -> None:
    model = onnxray.load(cnn)
    problem = problem_of(model, X, target)
    got = problem.gradients.by([wrt])[wrt]
    logits = onnxray.activations(model, X, "logits")["logits"]
    if str(target).startswith("prob"):
        soft = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        best = soft.argmax(axis=1)
        chosen = np.eye(5)[best] * soft.max(axis=1, keepdims=True) - soft * soft.max(axis=1, keepdims=True)
        cotangent, repeat = chosen, 1
        expected_scores = soft.max(axis=1)
    else:
        cotangent = problem.cotangents
        repeat = problem.target.count
        expected_scores = (np.repeat(logits, repeat, 0) * cotangent).sum(axis=1)
    expected = direct(model, np.repeat(X, repeat, 0), cotangent.astype(np.float32), wrt)
    assert got.shape == expected.shape
    assert apart(got, expected) <= ROUNDING
    assert apart(problem.scores, expected_scores, np.ptp(logits)) <= ROUNDING
    order = np.argsort(-logits, axis=1)
    if target == "top:3":
        assert problem.classes is not None
        assert problem.classes.ravel().tolist() == order[:, :3].ravel().tolist()


def test_the_predicted_class_costs_one_pass(cnn: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []
    true = module.run_batches

    def counted(*args: object, **kwargs: object) -> object:
        runs.append("run")
        return true(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "run_batches", counted)
    problem = problem_of(cnn, X[:1], "top:2")
    problem.gradients.by(["features", "image"])
    assert problem.scores.shape == (2,)
    assert problem.runs.activations(["features"])["features"].shape == (1, 8, 8, 8)
    problem.gradients.by(["image"])
    assert runs == ["run"]


def test_gradient_graphs_are_kept(cnn: onnx.ModelProto) -> None:
    model = onnxray.load(cnn)
    first = gradient_graph(model, "logits", ("image",), None, 1)
    assert gradient_graph(onnxray.load(cnn), "logits", ("image",), None, 1) is first
    assert gradient_graph(model, "logits", ("image",), "guided", 1) is not first


def test_the_gradient_graph_is_a_valid_model_with_dynamic_rows(cnn: onnx.ModelProto) -> None:
    graph = gradient_graph(onnxray.load(cnn), "logits", ("image",), None, 1).model
    onnx.checker.check_model(graph.proto, full_check=True)
    assert [v.name for v in graph.inputs] == ["image", "target/classes", "target/weights"]
    assert not isinstance(graph.value("image").shape[0], int)  # type: ignore[index]
    from onnxray.engine.inference.session import run

    feeds = {"image": X[:2], "target/classes": np.array([[-1], [3]]), "target/weights": np.ones((2, 1), np.float32)}
    got = run(graph, feeds)
    second = problem_of(cnn, X[1:2], 3).gradients.by(["image"])["image"]
    assert apart(got["grad/image"][1:], second) <= ROUNDING


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_precisions(parse: Parse, dtype: type) -> None:
    kind = {np.float16: "float16", np.float64: "double"}[dtype]  # type: ignore[index]
    w = RNG.standard_normal((4, 3)).astype(dtype)
    model = parse(f"m ({kind}[N, 4] x) => ({kind}[N, 3] y) {{ y = MatMul (x, w) }}", w=w)
    x = RNG.standard_normal((2, 4)).astype(dtype)
    problem = problem_of(model, x)
    best = (x.astype(np.float64) @ w).argmax(axis=1)
    assert np.allclose(problem.gradients.by(["x"])["x"], w.T[best], rtol=1e-3)
    assert problem.gradients.by(["x"])["x"].dtype == np.float32


def test_scores_and_gradients_elsewhere_keep_the_row_s_target(cnn: onnx.ModelProto) -> None:
    problem = problem_of(cnn, X, "top:2")
    rows = np.array([5, 0, 3])
    other = RNG.standard_normal((3, 3, 16, 16)).astype(np.float32)
    logits = onnxray.activations(cnn, other, "logits")["logits"]
    assert problem.classes is not None
    expected = logits[np.arange(3), problem.classes[rows, 0]]
    assert apart(problem.runs.scores_at(other, rows), expected, np.ptp(logits)) <= ROUNDING
    gradients, scores = problem.gradients.at(other, rows)
    assert apart(scores, expected, np.ptp(logits)) <= ROUNDING
    single = problem_of(cnn, other[1:2], int(problem.classes[0, 0])).gradients.by(["image"])["image"]
    assert apart(gradients[1], single[0]) <= ROUNDING


def test_targets_that_are_no_classes(cnn: onnx.ModelProto) -> None:
    problem = problem_of(cnn, X, Target.unit("stem_relu", 2, "strongest"))
    stem = onnxray.activations(cnn, X, "stem_relu")["stem_relu"]
    assert problem.scores == pytest.approx(stem[:, 2].max(axis=(1, 2)))
    gradient = problem.gradients.by(["image"])["image"]
    for row in range(3):
        y, x = np.unravel_index(stem[row, 2].argmax(), (16, 16))
        seen = np.argwhere(np.abs(gradient[row]).max(axis=0) > 0)
        assert len(seen) <= 9
        assert (np.abs(seen - (y, x)) <= 1).all()
    user = RNG.standard_normal((3, 5)).astype(np.float32)
    by_hand = problem_of(cnn, X, Target.cotangent("logits", user))
    assert np.allclose(by_hand.gradients.by(["image"])["image"], direct(onnxray.load(cnn), X, user, "image"), atol=1e-5)


def test_a_tail_answers_for_maps_put_in_place(cnn: onnx.ModelProto) -> None:
    problem = problem_of(cnn, X, "top:2")
    clean = problem.runs.activations(["pooled", "inner", "features"])
    rows = np.arange(6)
    for value in ("pooled", "inner", "features"):
        tail = Tail(problem, value)
        assert apart(tail.scores(clean[value][problem.sample], rows), problem.scores) <= ROUNDING
    # The skip connection goes around `inner` and keeps its clean values.
    assert Tail(problem, "inner").sides == ["pooled"]
    zeroed = Tail(problem, "inner").scores(np.zeros_like(clean["inner"])[problem.sample], rows)
    w3, b3 = (onnx.numpy_helper.to_array(t) for t in cnn.graph.initializer if t.name in ("w3", "b3"))
    logits = np.maximum(clean["pooled"], 0).mean(axis=(2, 3)) @ w3.T + b3
    assert problem.classes is not None
    assert apart(zeroed, logits[problem.sample, problem.classes[:, 0]], np.ptp(logits)) <= ROUNDING
    with pytest.raises(onnxray.OnnxrayError, match="does not depend on 'stem_relu'"):
        Tail(problem_of(cnn, X, Target.unit("stem", 0)), "stem_relu")


def test_other_inputs_follow_their_samples(parse: Parse) -> None:
    model = parse(
        "m (float[N, 3] x, float[N, 3] gate, float[3] shift) => (float[N, 3] y) "
        "{ g = Mul (x, gate) y = Add (g, shift) }"
    )
    x, gate = RNG.standard_normal((2, 4, 3)).astype(np.float32)
    feeds = {"x": x, "gate": gate, "shift": np.array([10, 0, 0], np.float32)}
    problem = problem_of(model, feeds, "classes:0,2")
    assert problem.scores == pytest.approx(
        np.stack([x[:, 0] * gate[:, 0] + 10, x[:, 2] * gate[:, 2]], 1).ravel(), rel=1e-5
    )
    gradient = problem.gradients.by(["x"])["x"]
    assert np.allclose(gradient[0::2, 0], gate[:, 0])
    assert np.allclose(gradient[1::2, 2], gate[:, 2])
    at, _ = problem.gradients.at(np.zeros((2, 3), np.float32), np.array([7, 0]))
    assert np.allclose(at, [[0, 0, gate[3, 2]], [gate[0, 0], 0, 0]])


def test_a_baked_batch_runs_one_by_one(parse: Parse) -> None:
    """An exporter wrote [N, ...] on the input and a batch of one into a Reshape."""
    proto = parse(
        "m (float[N, 2, 2] x) => (float[M, 3] y) { f = Reshape (x, s) y = MatMul (f, w) }",
        s=np.array([1, 4], np.int64),
        w=RNG.standard_normal((4, 3)).astype(np.float32),
    )
    model = onnxray.load(proto)
    x = RNG.standard_normal((3, 2, 2)).astype(np.float32)
    together = run_batches(model, {"x": x}, ["y"])["y"]
    assert together.shape == (3, 3)
    assert running.known_one_at_a_time(model).is_set()
    assert np.allclose(
        together, np.concatenate([run_batches(model, {"x": x[i : i + 1]}, ["y"])["y"] for i in range(3)])
    )
    assert problem_of(proto, x).gradients.by(["x"])["x"].shape == (3, 2, 2)


def test_a_fixed_batch_is_filled_up(parse: Parse) -> None:
    model = onnxray.load(parse("m (float[2, 3] x) => (float[2, 3] y) { y = Neg (x) }"))
    x = RNG.standard_normal((5, 3)).astype(np.float32)
    assert np.array_equal(run_batches(model, {"x": x}, ["y"])["y"], -x)
    assert problem_of(model, x).gradients.by(["x"])["x"].sum(axis=1).tolist() == [-1.0] * 5


def test_a_model_without_a_batch(parse: Parse) -> None:
    proto = parse(
        "m (float[3, 4, 4] x) => (float[2] y) { f = Flatten <axis = 0> (x) g = MatMul (f, w) y = Squeeze (g, zero) }",
        w=RNG.standard_normal((48, 2)).astype(np.float32),
        zero=np.array([0], np.int64),
    )
    model = onnxray.load(proto, layout="CHW")
    x = RNG.standard_normal((3, 4, 4)).astype(np.float32)
    problem = problem_of(model, x)
    w = onnx.numpy_helper.to_array(proto.graph.initializer[0])
    best = int((x.reshape(-1) @ w).argmax())
    assert problem.gradients.by(["x"])["x"][0] == pytest.approx(w[:, best].reshape(3, 4, 4))
    assert problem_of(model, np.stack([x, -x])).gradients.by(["x"])["x"].shape == (2, 3, 4, 4)


def test_batches_are_bounded_and_do_not_matter(cnn: onnx.ModelProto) -> None:
    with pytest.raises(onnxray.OnnxrayError, match="a batch of 0"):
        RunOptions(batch=0)
    whole = problem_of(cnn, X).gradients.by(["image"])["image"]
    for batch in (1, 2):
        pieces = problem_of(cnn, X, runtime=RunOptions(batch=batch)).gradients.by(["image"])["image"]
        assert apart(pieces, whole) <= ROUNDING


@pytest.mark.parametrize("target", ["top:2", Target.unit("stem_relu", 2, "strongest")])
@pytest.mark.parametrize("runtime", [RunOptions(), RunOptions(threads=3, batch=2), RunOptions(threads=1, batch=4)])
def test_gradients_of_inputs_that_are_made_on_the_way(
    cnn: onnx.ModelProto, target: object, runtime: RunOptions
) -> None:
    problem = problem_of(cnn, X, target, runtime=runtime)
    inputs = RNG.standard_normal((11, *X.shape[1:])).astype(np.float32)
    rows = RNG.integers(0, problem.rows, 11)
    seen, found = [], []

    def make(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return inputs[numbers], rows[numbers]

    def consume(numbers: np.ndarray, gradients: np.ndarray) -> None:
        seen.extend(numbers.tolist())
        found.extend(gradients)

    problem.gradients.generated(11, make, consume)
    assert seen == list(range(11))
    assert apart(found, problem.gradients.at(inputs, rows)[0]) <= ROUNDING


def test_runs_are_consumed_in_order() -> None:
    seen: list[int] = []
    take = running.in_order(lambda numbers, got: seen.extend(numbers.tolist()))
    for piece in ([4, 5], [2, 3], [0, 1], [8], [6, 7]):
        take(np.array(piece), {})
    assert seen == list(range(9))


def test_an_error_in_a_model_is_not_taken_for_a_baked_batch(parse: Parse) -> None:
    model = onnxray.load(
        parse("m (float[N, 4] x) => (float[A, B] y) { y = Reshape (x, s) }", s=np.array([7, 7], np.int64))
    )
    with pytest.raises(onnxray.OnnxrayError):
        run_batches(model, {"x": np.ones((2, 4), np.float32)}, ["y"])
    assert not running.known_one_at_a_time(model).is_set()


@pytest.mark.parametrize("case", ["t_uint8_nhwc_op17", "t_int8_nchw_op13"])
def test_integer_pixels_have_a_slope(zoo: Path, case: str) -> None:
    folder = zoo / "frameworks" / case
    with np.load(folder / "io.npz") as arrays:
        (name,) = [k[3:] for k in arrays.files if k.startswith("in:")]
        x, y = arrays[f"in:{name}"], next(arrays[k] for k in arrays.files if k.startswith("out:"))
    problem = problem_of(folder / "model.onnx", {name: x}, 1)
    assert problem.scores == pytest.approx(y[:, 1], rel=1e-4)
    gradient = problem.gradients.by([problem.input.name])[problem.input.name]
    assert gradient.shape == x.shape
    # Central differences over a whole step of the integer, where the network is nearly linear.
    direction = np.sign(gradient)
    rows = np.arange(len(x))
    step = 0.05
    up = problem.runs.scores_at((x + step * direction).astype(np.float32), rows)
    down = problem.runs.scores_at((x - step * direction).astype(np.float32), rows)
    slope = (np.abs(gradient).reshape(len(x), -1)).sum(axis=1)
    assert (up - down) / (2 * step) == pytest.approx(slope, rel=0.05)


def test_integers_that_are_computed_with_stay_integers(parse: Parse) -> None:
    model = parse("m (int64[N, 3] x) => (float[N, 4] y) { e = Gather (w, x) y = ReduceSum <keepdims = 0> (e, one) }",
                  w=RNG.standard_normal((9, 4)).astype(np.float32), one=np.array([1], np.int64))  # fmt: skip
    x = np.array([[1, 2, 3]])
    problem = problem_of(model, x)
    assert problem.input.x.dtype == np.int64
    with pytest.raises(onnxray.OnnxrayError, match=r"int64.*gradient-free methods"):
        problem.gradients.by(["x"])
