"""Classifiers as scikit-learn exports them by default: scores in dictionaries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.graph.zipmap import with_tensor_scores
from onnxray.tests.rounding import ROUNDING, apart

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4)).astype(np.float32)
NAMES = np.array(["ash", "birch", "cedar"])
Y = np.argmax(X[:, :3] + 0.3 * RNG.standard_normal((60, 3)), axis=1)


@pytest.fixture(params=["forest", "boosting", "logistic", "svm"])
def trained(request: pytest.FixtureRequest) -> Any:
    pytest.importorskip("skl2onnx")
    from sklearn import ensemble, linear_model, svm

    return {
        "forest": ensemble.RandomForestClassifier(10, random_state=0),
        "boosting": ensemble.GradientBoostingClassifier(n_estimators=10, random_state=0),
        "logistic": linear_model.LogisticRegression(),
        "svm": svm.SVC(),
    }[request.param]


@pytest.mark.parametrize("texts", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_the_default_export_is_explained_as_the_one_with_tensors(trained: Any, texts: bool) -> None:
    from skl2onnx import to_onnx

    classifier = trained.fit(X, NAMES[Y] if texts else Y)
    versions = {"": 17, "ai.onnx.ml": 3}
    plain = to_onnx(classifier, X[:1], options={id(classifier): {"zipmap": False}}, target_opset=versions)
    default = to_onnx(classifier, X[:1], target_opset=versions)
    assert "ZipMap" in {node.op_type for node in default.graph.node}
    found, expected = (onnxray.explain(m, X[:2], "kernel-shap", fill=X.mean(axis=0)) for m in (default, plain))
    for e, same, row in zip(found, expected, X[:2], strict=True):
        assert apart(e.values, same.values, span=np.ptp(same.scores)) <= ROUNDING
        assert apart(e.scores, same.scores) <= ROUNDING
        assert e.score == pytest.approx(same.score, rel=ROUNDING)
        assert e.target == same.target
        if texts:
            chosen = classifier.predict(row[None])[0]
            assert e.label == f"{chosen} ({list(NAMES).index(chosen)})"
            by_name = onnxray.explain(default, row[None], "ablation", "cedar")
            assert np.array_equal(by_name.values, onnxray.explain(default, row[None], "ablation", 2).values)


def test_a_model_without_dictionaries_is_left_alone(cnn: onnx.ModelProto) -> None:
    model = onnxray.load(cnn)
    assert with_tensor_scores(model) is model


def test_labels_that_were_given_stay(parse: Parse) -> None:
    proto = parse(
        """
        <ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3]>
        m (float[N, 2] x) => (float[N, 2] scores, seq(map(string, float)) y)
        {
          scores = Neg (x)
          y = ai.onnx.ml.ZipMap <classlabels_strings = ["no", "yes"]> (scores)
        }
        """
    )
    model = with_tensor_scores(onnxray.load(proto))
    assert [v.name for v in model.outputs] == ["scores", "y"]
    assert model.sha256 == onnxray.load(proto).sha256
    assert model.overrides["labels"] == ("no", "yes")
    own = onnxray.load(proto, labels=["nein", "ja"])
    assert with_tensor_scores(own).overrides["labels"] == ("nein", "ja")
    x = np.float32([[1, -3]])
    assert onnxray.explain(own, x, "ablation", output="y").label == "ja (1)"
    assert onnxray.activations(model, x, "y")["y"].tolist() == [[-1, 3]]
