"""What an output means: small graphs of every kind, what is said of them, and what overrides it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.errors import CardError, ModelError, TargetError, UnknownName
from onnxray.engine.inference.session import run
from onnxray.engine.inspect.answer import KINDS, Answer, Hints, find_answer

Parse = Callable[..., onnx.ModelProto]
IMAGE = "float[n, 3, 8, 8] image"


def model_of(parse: Parse, outputs: str, nodes: str, inputs: str = IMAGE) -> onnxray.Model:
    """A network whose features `f` (n, 6) are followed by `nodes`."""
    constants = (
        f"float[6, 5] w5 = {{{', '.join(f'{i % 7 - 3}' for i in range(30))}}}, "
        f"float[6, 1] w1 = {{{', '.join(f'{i - 2}' for i in range(6))}}}, "
        f"float[6, 3, 3, 3] k = {{{', '.join(f'{(i * 37 % 11 - 5) / 10}' for i in range(162))}}}, "
        "int64[1] one = {1}, float half = {0.5}"
    )
    return onnxray.load(
        parse(
            f"g ({inputs}) => ({outputs}) <{constants}> {{ c = Conv <pads = [1, 1, 1, 1]> (image, k) "
            f"g = GlobalAveragePool (c) f = Flatten (g) {nodes} }}"
        )
    )


@pytest.mark.parametrize(
    ("outputs", "nodes", "kind", "scores", "classes"),
    [
        ("float[n, 5] y", "y = MatMul (f, w5)", "classes", "logits", 5),
        ("float[n, 5] y", "z = MatMul (f, w5) y = Softmax <axis = 1> (z)", "classes", "probabilities", 5),
        ("float[n, 5] y", "z = MatMul (f, w5) y = LogSoftmax <axis = 1> (z)", "classes", "log-probabilities", 5),
        ("float[n, 5] y", "z = MatMul (f, w5) y = Sigmoid (z)", "labels", "probabilities", 5),
        ("float[n, 1] y", "z = MatMul (f, w1) y = Sigmoid (z)", "two", "probabilities", 2),
        ("float[n, 1] logit", "logit = MatMul (f, w1)", "two", "logits", 2),
        ("float[n, 1] y", "y = MatMul (f, w1)", "number", "logits", None),
        ("float[n] y", "z = MatMul (f, w1) y = Squeeze (z, one)", "number", "logits", None),
        ("float[n, 5] landmarks", "landmarks = MatMul (f, w5)", "number", "logits", None),
        ("float[n, 5] embedding", "embedding = MatMul (f, w5)", "embedding", "logits", None),
        ("float[n, 5] y", "z = MatMul (f, w5) y = LpNormalization <axis = 1> (z)", "embedding", "logits", None),
        (
            "float[n, 5] y",
            "z = MatMul (f, w5) l = ReduceL2 <axes = [1]> (z) y = Div (z, l)",
            "embedding",
            "logits",
            None,
        ),
        ("float[n, 6, 8, 8] y", "y = Identity (c)", "map", "logits", None),
        ("float[n, 6, 1, 1] y", "y = Identity (g)", "classes", "logits", 6),
    ],
)
def test_kinds(parse: Parse, outputs: str, nodes: str, kind: str, scores: str, classes: int | None) -> None:
    found = find_answer(model_of(parse, outputs, nodes))
    assert (found.kind, found.classes) == (kind, classes)
    assert found.scores == scores or not found.has_classes
    assert found.kind in found.reason
    assert found.assumed == ("assumed" in found.reason or "nothing says" in found.reason)


@pytest.mark.parametrize(
    ("outputs", "nodes", "behind"),
    [
        ("int64[n, 1] y", "z = MatMul (f, w5) y = ArgMax <axis = 1> (z)", "z"),
        ("int32[n] y", "z = MatMul (f, w5) a = ArgMax <axis = 1, keepdims = 0> (z) y = Cast <to = 6> (a)", "z"),
        ("int64[n, 1] y", "z = MatMul (f, w5) v, y = TopK <axis = 1> (z, one)", "z"),
        ("bool[n, 1] y", "z = MatMul (f, w1) p = Sigmoid (z) y = Greater (p, half)", "p"),
        ("float[n, 1] y", "z = MatMul (f, w1) p = Sigmoid (z) y = Round (p)", "p"),
    ],
)
def test_post_processing_is_looked_through(parse: Parse, outputs: str, nodes: str, behind: str) -> None:
    found = find_answer(model_of(parse, outputs, nodes))
    assert (found.output, found.value) == ("y", behind)
    assert found.has_classes
    assert "looked through" in found.reason


def test_a_comparison_tells_the_threshold(parse: Parse) -> None:
    nodes = "z = MatMul (f, w1) y = Greater (z, half)"
    found = find_answer(model_of(parse, "bool[n, 1] y", nodes), Hints(kind="two"))
    assert found.threshold == pytest.approx(1 / (1 + np.exp(-0.5)))
    nodes = "z = MatMul (f, w1) p = Sigmoid (z) y = Greater (p, half)"
    assert find_answer(model_of(parse, "bool[n, 1] y", nodes)).threshold == 0.5


@pytest.mark.parametrize(
    ("outputs", "nodes", "answer"),
    [
        ("float[n, 6] pooled, float[n, 5] out", "pooled = Identity (f) out = MatMul (f, w5)", "out"),
        ("float[n, 6] a, float[n, 5] b", "a = Identity (f) b = MatMul (a, w5)", "b"),
        ("float[n, 5] a, float[n, 5] b", "a = MatMul (f, w5) b = Softmax <axis = 1> (a)", "b"),
        ("float[n, 8, 8] m, float[n, 5] y", "m = ReduceMean <axes = [1], keepdims = 0> (c) y = MatMul (f, w5)", "y"),
        ("float[n, 1] d, float[n, 5] y", "d = MatMul (f, w1) y = MatMul (f, w5)", "y"),
    ],
)
def test_of_several_outputs_the_one_that_answers(parse: Parse, outputs: str, nodes: str, answer: str) -> None:
    found = find_answer(model_of(parse, outputs, nodes))
    assert found.output == answer
    assert "chosen among the outputs" in found.reason


def test_a_state_is_no_answer(parse: Parse) -> None:
    inputs = f"{IMAGE}, float[2, n, 6] h0"
    nodes = "hn = Relu (h0) y = MatMul (f, w5)"
    found = find_answer(model_of(parse, "float[2, n, 6] hn, float[n, 5] y", nodes, inputs))
    assert found.output == "y"
    assert "hn (state)" in found.reason
    alone = find_answer(model_of(parse, "float[2, n, 6] hn", "hn = Relu (h0)", inputs))
    assert alone.kind == "state"


def test_labels_decide_between_readings(parse: Parse) -> None:
    one = model_of(parse, "float[n, 1] y", "y = MatMul (f, w1)")
    assert find_answer(one, Hints(labels=2)).kind == "two"
    assert find_answer(one, Hints(labels=1)).kind == "labels"
    named = model_of(parse, "float[n, 5] features", "features = MatMul (f, w5)")
    assert find_answer(named).kind == "embedding"
    assert find_answer(named, Hints(labels=5)).kind == "classes"
    two = model_of(parse, "float[n, 6] a, float[n, 5] b", "a = Identity (f) b = MatMul (f, w5)")
    assert find_answer(two, Hints(labels=6)).output == "a"


def test_hints_override_everything(parse: Parse) -> None:
    model = model_of(parse, "float[n, 5] y, float[n, 1] z", "y = MatMul (f, w5) z = MatMul (f, w1)")
    for kind in KINDS:
        found = find_answer(model, Hints(output="y", kind=kind))
        assert (found.kind, found.output) == (kind, "y")
        assert "as given" in found.reason
    found = find_answer(model, Hints(output="f", scores="probabilities", threshold=0.25))
    assert (found.value, found.scores, found.threshold) == ("f", "probabilities", 0.25)
    assert find_answer(model, Hints(output="z", kind="classes")).kind == "two"
    with pytest.raises(UnknownName, match="'no'"):
        find_answer(model, Hints(output="no"))
    with pytest.raises(CardError, match="scores must be one of"):
        find_answer(model, Hints(scores="marks"))
    with pytest.raises(CardError, match="answer must be one of"):
        find_answer(model, Hints(kind="marks"))
    maps = model_of(parse, "float[n, 6, 8, 8] y", "y = Identity (c)")
    assert find_answer(maps, Hints(kind="classes")).axis == 1


def test_a_model_without_an_output_that_can_be_read(parse: Parse) -> None:
    with pytest.raises(ModelError, match="no output of the model can be read"):
        find_answer(onnxray.load(parse("g (string[n] x) => (string[n] y) { y = Identity (x) }")))


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        ("logit = MatMul (f, w1)", "float[n, 1] logit"),
        ("logit = MatMul (f, w1) p = Sigmoid (logit)", "float[n, 1] p"),
        ("y = MatMul (f, w5)", "float[n, 5] y"),
        ("z = MatMul (f, w5) y = Sigmoid (z)", "float[n, 5] y"),
        ("z = MatMul (f, w5) y = LogSoftmax <axis = 1> (z)", "float[n, 5] y"),
    ],
)
def test_probabilities_by_the_textbook(parse: Parse, nodes: str, outputs: str) -> None:
    """Sigmoid of one logit and of its negative; softmax of several; each of independent labels by itself."""
    model = model_of(parse, outputs, nodes)
    found = find_answer(model)
    x = np.random.default_rng(1).standard_normal((4, 3, 8, 8)).astype(np.float32)
    values = run(model, {"image": x})[found.value].astype(np.float64)
    logits = run(onnxray.expose(model, "logit"), {"image": x})["logit"] if "logit" in nodes else values
    p = found.probabilities(found.rows(values))
    if "logit" in nodes:
        expected = 1 / (1 + np.exp(-logits.astype(np.float64)))
        assert np.allclose(p, np.concatenate([1 - expected, expected], axis=1), atol=1e-6)
        sides = found.sides(found.rows(values))
        assert np.allclose(
            sides, np.concatenate([-values, values] if found.scores == "logits" else [1 - values, values], 1)
        )
    elif "Sigmoid" in nodes:
        assert np.array_equal(p, values)
    elif "LogSoftmax" in nodes:
        assert np.allclose(p, np.exp(values))
    else:
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        assert np.allclose(p, powers / powers.sum(axis=1, keepdims=True))


def test_extreme_logits_give_finite_probabilities() -> None:
    answer = Answer("y", "y", "two", 1, 1, "logits", "")
    rows = np.array([[1e4], [-1e4], [0.0]])
    with np.errstate(all="raise", under="ignore"):
        assert answer.probabilities(rows).tolist() == [[0, 1], [1, 0], [0.5, 0.5]]
    labels = replace(answer, kind="labels", columns=2)
    assert labels.probabilities(np.array([[-800.0, 800.0]])).tolist() == [[0, 1]]
    with pytest.raises(ModelError, match="has no probabilities"):
        replace(answer, kind="embedding").probabilities(rows)


def test_rows_of_one_sample_are_no_batch(parse: Parse) -> None:
    """As where a Loop stacks a row for each of its turns: they were read as three samples with five classes."""
    fixed = "float[1, 3, 8, 8] image"
    model = model_of(parse, "float[3, 5] y", "z = MatMul (f, w5) s = Neg (z) y = Concat <axis = 0> (z, s, z)", fixed)
    answer = find_answer(model)
    assert (answer.kind, answer.axis) == ("map", -1)
    assert "3 rows where the model takes one sample" in answer.reason
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    with pytest.raises(TargetError, match="explain mean:y, or one of its numbers with element:y:INDEX,...$"):
        onnxray.explain(model, x, "gradient")
    with pytest.raises(ModelError, match="nothing to predict.*; explain one of its numbers with the target element:y:"):
        onnxray.predict(model, x)
    y = onnxray.activations(model, x, ["y"])["y"]
    one = onnxray.explain(model, x, "gradient", target="element:y:1,2")
    assert one.score == pytest.approx(float(y[1, 2]), abs=1e-6)
    assert onnxray.explain(model, x, "gradient", target="mean:y").score == pytest.approx(float(y.mean()), abs=1e-6)


def test_a_batch_that_the_model_fixes_stays_one(parse: Parse) -> None:
    batched = "float[3, 3, 8, 8] image"
    assert find_answer(model_of(parse, "float[3, 5] y", "y = MatMul (f, w5)", batched)).kind == "classes"
