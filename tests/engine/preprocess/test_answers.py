"""The answer with what stands next to a model: cards, options, Hugging Face's configuration."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.errors import CardError, TargetError
from onnxray.engine.preprocess.answers import answer_of

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(3)
W = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)


@pytest.fixture
def saved(parse: Parse, tmp_path: Path) -> Callable[..., Path]:
    """A file of a small network whose last layer gives `columns` numbers, `end` behind them."""

    def save(columns: int, end: str = "y = Identity (z)", **files: object) -> Path:
        v = RNG.standard_normal((4, columns)).astype(np.float32)
        proto = parse(
            f"g (float[n, 3, 8, 8] image) => (float[n, {columns}] y) {{ c = Conv <pads = [1, 1, 1, 1]> (image, w) r = Relu (c) "
            f"p = GlobalAveragePool (r) f = Flatten (p) z = MatMul (f, v) {end} }}",
            w=W,
            v=v,
        )
        path = tmp_path / "net.onnx"
        onnx.save(proto, path)
        for name, content in files.items():
            path.with_name(name.replace("_json", ".json").replace("_card", ".card")).write_text(json.dumps(content))
        return path

    return save


@pytest.mark.parametrize(
    ("problem", "columns", "kind"),
    [
        ("regression", 1, "number"),
        ("regression", 5, "number"),
        ("multi_label_classification", 5, "labels"),
        ("single_label_classification", 5, "classes"),
        ("single_label_classification", 1, "two"),
        (None, 5, "classes"),
    ],
)
def test_hugging_face_problem_type(saved: Callable[..., Path], problem: str | None, columns: int, kind: str) -> None:
    config = {"id2label": {str(i): f"name {i}" for i in range(columns)}, "problem_type": problem}
    found = answer_of(onnxray.load(saved(columns, config_json=config)))
    assert found.kind == kind


def test_a_card_decides_and_options_before_it(saved: Callable[..., Path]) -> None:
    path = saved(3, net_card_json={"answer": "labels", "decision_threshold": 0.2, "labels": ["a", "b", "c"]})
    found = answer_of(onnxray.load(path))
    assert (found.kind, found.threshold, found.function) == ("labels", 0.2, "sigmoid")
    assert answer_of(onnxray.load(path, answer="classes")).function == "softmax"
    with pytest.raises(CardError, match="answer in the options must be one of"):
        onnxray.load(path, answer="marks")


def test_both_sides_of_one_score_are_explained(saved: Callable[..., Path]) -> None:
    """z and -z of a logit, p and 1 - p of a probability: gradients of opposite sign, and the numbers themselves."""
    x = RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)
    for end, scores in (("y = Identity (z)", "logits"), ("y = Sigmoid (z)", "probabilities")):
        path = saved(1, end)
        model = onnxray.load(path, labels=["good", "bad"], scores=scores)
        y = float(onnxray.activations(model, x, ["y"])["y"][0, 0])
        good, bad = (onnxray.explain(model, x, "gradient", target=name) for name in ("good", "bad"))
        assert good.values.any()
        assert np.allclose(good.values, -bad.values, atol=1e-6)
        expected = [-y, y] if scores == "logits" else [1 - y, y]
        assert np.allclose([good.score, bad.score], expected, atol=1e-6)
        assert np.allclose(good.scores, expected, atol=1e-6)
        p = y if scores == "probabilities" else 1 / (1 + np.exp(-y))
        assert onnxray.explain(model, x, "gradient", target="prob:bad").score == pytest.approx(p, abs=1e-6)
        occluded = onnxray.explain(model, x, "occlusion", target="bad", patch=4, stride=4, fill=0.0)
        hidden = x.copy()
        hidden[..., :4, :4] = 0
        after = float(onnxray.activations(model, hidden, ["y"])["y"][0, 0])
        assert occluded.values[0, 0] == pytest.approx(y - after, abs=1e-5)
        compiled = onnxray.compile(model, "gradient", target="good")
        assert np.allclose(
            onnxray.activations(compiled, x, ["saliency_map"])["saliency_map"][0], good.values, atol=1e-5
        )


def test_numbers_are_explained_by_index(saved: Callable[..., Path]) -> None:
    x = RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)
    model = onnxray.load(saved(3), answer="number")
    y = onnxray.activations(model, x, ["y"])["y"][0]
    for index in range(3):
        assert onnxray.explain(model, x, "gradient", target=index).score == pytest.approx(float(y[index]), abs=1e-6)
    with pytest.raises(TargetError, match="holds several numbers .*write value:INDEX"):
        onnxray.explain(model, x, "gradient")
    with pytest.raises(TargetError, match="without prob: or logit:"):
        onnxray.explain(model, x, "gradient", target="prob:1")
    one = onnxray.load(saved(1), answer="number")
    assert onnxray.explain(one, x, "gradient").score == pytest.approx(
        float(onnxray.activations(one, x, ["y"])["y"][0, 0])
    )


def test_an_embedding_has_no_prediction(saved: Callable[..., Path]) -> None:
    model = onnxray.load(saved(3, "y = LpNormalization <axis = 1> (z)"))
    with pytest.raises(TargetError, match="has no classes .*element:y:INDEX"):
        onnxray.explain(model, np.zeros((1, 3, 8, 8), np.float32), "gradient")
    x = RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)
    assert onnxray.explain(model, x, "gradient", target="element:y:1").values.any()
