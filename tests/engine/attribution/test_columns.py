"""Tables whose columns are inputs of their own: all columns are features, judged by brute force over coalitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import onnxray
from onnxray.engine.attribution.columns import background_of_columns
from onnxray.engine.errors import ShapeError

ROWS = {
    "age": np.float32([[20], [35], [70]]),
    "fare": np.float32([[8], [30], [100]]),
    "sex": np.array([["m"], ["f"], ["m"]]),
}
PERSON = {"age": np.float32([[50]]), "fare": np.float32([[12.5]]), "sex": np.array([["f"]])}


def pipeline(text: bool) -> onnx.ModelProto:
    """score = tanh(age / 50) * fare / 40 + (1 if sex is "f"), of three inputs (N, 1)."""
    kinds = {
        "age": TensorProto.FLOAT,
        "fare": TensorProto.FLOAT,
        "sex": TensorProto.STRING if text else TensorProto.INT64,
    }
    coded = [
        helper.make_node(
            "LabelEncoder",
            ["sex"],
            ["code"],
            domain="ai.onnx.ml",
            keys_strings=["m", "f"],
            values_floats=[0.0, 1.0],
            default_float=-5.0,
        )
    ]
    if not text:
        coded = [helper.make_node("Cast", ["sex"], ["code"], to=TensorProto.FLOAT)]
    nodes = [
        *coded,
        helper.make_node("Div", ["age", "fifty"], ["a"]),
        helper.make_node("Tanh", ["a"], ["t"]),
        helper.make_node("Div", ["fare", "forty"], ["f"]),
        helper.make_node("Mul", ["t", "f"], ["m"]),
        helper.make_node("Add", ["m", "code"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "pipeline",
        [helper.make_tensor_value_info(name, kind, ["N", 1]) for name, kind in kinds.items()],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N", 1])],
        [onnx.numpy_helper.from_array(np.float32(v), n) for n, v in (("fifty", 50), ("forty", 40))],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def score(age: float, fare: float, sex: str) -> float:
    return math.tanh(age / 50) * fare / 40 + {"m": 0.0, "f": 1.0}[sex]


def shapley() -> list[float]:
    names = list(PERSON)

    def value(kept: tuple[str, ...]) -> float:
        rows = []
        for b in range(3):
            rows.append(score(*((PERSON if n in kept else ROWS)[n][0 if n in kept else b, 0] for n in names)))
        return float(np.mean(rows))

    found = []
    for name in names:
        others = [n for n in names if n != name]
        total = 0.0
        for size in range(3):
            share = math.factorial(size) * math.factorial(2 - size) / 6
            total += sum(share * (value((*c, name)) - value(c)) for c in itertools.combinations(others, size))
        found.append(total)
    return found


@pytest.mark.parametrize("text", [True, False])
def test_every_column_is_a_feature(text: bool) -> None:
    code = {"m": 0, "f": 1}

    def coded(table: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return table if text else table | {"sex": np.vectorize(code.get)(table["sex"]).astype(np.int64)}

    model = onnxray.load(pipeline(text), answer="number")
    background = background_of_columns(model, coded(ROWS))
    e = onnxray.explain(model, coded(PERSON), "kernel-shap", background=background)
    np.testing.assert_allclose(e.values, shapley(), atol=1e-5)
    assert list(e.parts) == ["age", "fare", "sex"]
    assert float(e.parts["sex"]) == pytest.approx(shapley()[2], abs=1e-5)
    assert not [text for text in e.warnings if "kept the values given" in text]


def test_gradients_of_numbers_and_one_column_by_name() -> None:
    model = onnxray.load(pipeline(False), answer="number")
    given = PERSON | {"sex": np.int64([[1]])}
    e = onnxray.explain(model, given, "gradient")
    slope = (1 - math.tanh(1.0) ** 2) / 50 * 12.5 / 40
    np.testing.assert_allclose(e.values[:2], [slope, math.tanh(1.0) / 40], rtol=1e-5)
    one = onnxray.explain(onnxray.load(pipeline(False), answer="number", input="fare"), given, "gradient")
    assert list(one.parts) == ["fare"]
    assert any("kept the values given" in text for text in one.warnings)


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ShapeError, match="different numbers of rows"):
        onnxray.explain(pipeline(True), PERSON | {"age": np.float32([[1], [2]])}, "ablation")
    with pytest.raises(ShapeError, match="lacks the columns sex"):
        background_of_columns(onnxray.load(pipeline(True)), {"age": [1], "fare": [2]})


def test_shap_agrees() -> None:
    """The library that users compare with, where it is installed; brute force above is the judge elsewhere."""
    shap = pytest.importorskip("shap", reason="shap is not installed: coalitions are judged by brute force alone")
    background = np.concatenate([ROWS["age"], ROWS["fare"], np.float32([[0], [1], [0]])], axis=1)
    given = np.float32([[50, 12.5, 1]])

    def scores(rows: np.ndarray) -> np.ndarray:
        return np.array([score(age, fare, "mf"[int(code)]) for age, fare, code in rows])

    expected = shap.KernelExplainer(scores, background).shap_values(given, nsamples=200)
    model = onnxray.load(pipeline(False), answer="number")
    rows = {"age": background[:, :1], "fare": background[:, 1:2], "sex": background[:, 2:].astype(np.int64)}
    person = {"age": given[:, :1], "fare": given[:, 1:2], "sex": given[:, 2:].astype(np.int64)}
    e = onnxray.explain(model, person, "kernel-shap", background=background_of_columns(model, rows))
    np.testing.assert_allclose(e.values, np.asarray(expected).reshape(-1), atol=1e-4)
