"""Compiled models of texts: token ids in, the answer and the relevance of every token out, as `explain` has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import onnxray
from onnxray.engine.errors import MethodError
from onnxray.tests.engine.text import small

COUNT = len(dict.fromkeys([*small.SPECIAL, *small.WORDS]))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> onnxray.Model:
    path = small.encoder(tmp_path_factory.mktemp("c"), small.wordpiece(), small.weights(COUNT), segments=True)
    return onnxray.load(path)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("gradient", {}),
        ("input-x-gradient", {}),
        ("integrated-gradients", {"steps": 20, "baseline": "zero"}),
        ("lrp", {}),
    ],
)
def test_relevance_is_that_of_explain(model: onnxray.Model, method: str, options: dict, tmp_path: Path) -> None:
    given = onnxray.Text("the film was not bad", "very old story")
    e = onnxray.explain(model, given, method, 1, **options)
    compiled = onnxray.compile(model, method, target=1, **options)
    session = onnxruntime.InferenceSession(compiled.save(tmp_path / "c.onnx"), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["input_ids", "attention_mask", "token_type_ids"]
    feeds = e.reading.feeds(model)
    logits, relevance = session.run(["logits", "token_relevance"], feeds)
    due = e.values.sum(axis=-1)
    np.testing.assert_allclose(relevance[0], due, atol=1e-5 * np.abs(due).max())
    assert logits[0, 1] == pytest.approx(e.score, rel=1e-5)
    two = session.run(["token_relevance"], {name: np.repeat(array, 2, 0) for name, array in feeds.items()})[0]
    np.testing.assert_allclose(two, np.repeat(relevance, 2, 0), atol=1e-5 * np.abs(due).max())


def test_what_is_of_images_is_refused(model: onnxray.Model) -> None:
    for asked in ({"normalize": "minmax"}, {"upsample": "none"}):
        with pytest.raises(MethodError, match="the model takes texts: preprocess, upsample, normalize and novelty"):
            onnxray.compile(model, "gradient", **asked)
