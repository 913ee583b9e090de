"""Numbers that are not finite: said or refused, with the cause."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.errors import ModelError
from onnxray.engine.inspect.answer import find_answer
from onnxray.engine.inspect.finite import why_not_finite
from onnxray.engine.targets.classify import best

Parse = Callable[..., onnx.ModelProto]


def model(parse: Parse, weight: float) -> onnx.ModelProto:
    k = np.ones((4, 3, 3, 3), np.float32)
    k[0] = weight
    return parse(
        """g (float[N, 3, 8, 8] x) => (float[N, 4] y) {
            c = Conv <pads = [1, 1, 1, 1]> (x, k)  r = Relu(c)  p = GlobalAveragePool(r)  y = Flatten(p) }""",
        k=k,
    )


@pytest.mark.parametrize("weight", [np.nan, np.inf])
@pytest.mark.parametrize("method", ["gradient", "grad-cam", "occlusion"])
def test_weights_are_named(parse: Parse, weight: float, method: str) -> None:
    found = onnxray.explain(model(parse, weight), np.ones((1, 3, 8, 8), np.float32), method=method, target=0)
    assert any("27 of 108 numbers of the weights 'k' are NaN or infinite" in text for text in found.warnings)
    for method in ("kernel-shap", "rise"):
        with pytest.raises(onnxray.OnnxrayError, match="weights 'k' are NaN or infinite"):
            onnxray.explain(model(parse, weight), np.ones((1, 3, 8, 8), np.float32), method=method, target=0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_input_is_named(parse: Parse, value: float) -> None:
    x = np.ones((1, 3, 8, 8), np.float32)
    x[0, 1, 2, 3] = value
    for method in ("kernel-shap", "rise"):
        with pytest.raises(
            onnxray.OnnxrayError, match="finite number: 1 of 192 numbers of the input '.*' are NaN or inf"
        ):
            onnxray.explain(model(parse, 1.0), x, method=method, target=0)
    found = onnxray.explain(model(parse, 1.0), x, method="gradient", target=0)
    assert any("1 of 192 numbers of the input" in text for text in found.warnings)


def test_a_model_that_overflows(parse: Parse) -> None:
    assert why_not_finite(onnxray.load(model(parse, 1.0))) == "the model overflows on this input"


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_there_is_no_best_class_of_such_scores(parse: Parse, score: float) -> None:
    answer = find_answer(onnxray.load(model(parse, 1.0)))
    with pytest.raises(onnxray.OnnxrayError, match="1 of 2 samples are not finite"):
        best(np.array([[0, 1, 2, 3], [0, score, 2, 3]], np.float32), answer, None)


def test_predict_names_the_weights(parse: Callable[..., onnx.ModelProto]) -> None:
    weights = np.ones((3, 4), np.float32)
    weights[1, 2] = np.nan
    model = onnxray.load(parse("m (float[N, 3] x) => (float[N, 4] y) { y = MatMul (x, w) }", w=weights))
    with pytest.raises(ModelError, match="not finite numbers: 1 of 12 numbers of the weights 'w' are NaN"):
        onnxray.predict(model, np.ones((1, 3), np.float32))
