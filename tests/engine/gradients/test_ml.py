"""Operators of ai.onnx.ml, against central differences of ONNX Runtime itself."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from onnxray.engine.autodiff.vjp import vjp
from onnxray.engine.errors import Disconnected, GradientError, NoGradient

ML = "ai.onnx.ml"


def model_of(op, x, outputs, extra=(), **attributes):
    node = helper.make_node(op, ["x", *(t.name for t in extra)], [name for name, _ in outputs], domain=ML, **attributes)
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    infos = [helper.make_tensor_value_info(name, elem, None) for name, elem in outputs]
    for info, rank in zip(infos, (1, 2) if len(infos) == 2 else (2,), strict=True):
        info.type.tensor_type.shape.dim.extend(onnx.TensorShapeProto.Dimension() for _ in range(rank))
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", kind, ["N", *x.shape[1:]])], infos, extra
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(ML, 3)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def run(proto, feeds, names):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(
        names, feeds
    )


def judge(model, x, of):
    rng = np.random.default_rng(0)
    gradient = vjp(model, of, "x").proto
    (y,) = run(model, {"x": x}, [of])
    dy = rng.standard_normal(y.shape).astype(np.float32)
    (dx,) = run(gradient, {"x": x, f"cotangent/{of}": dy}, ["grad/x"])
    assert dx.shape == x.shape
    assert dx.dtype == x.dtype
    for _ in range(3):
        direction = rng.standard_normal(x.shape)
        high, low = (run(model, {"x": (x + s * 1e-2 * direction).astype(x.dtype)}, [of])[0] for s in (1, -1))
        numeric = ((high.astype(np.float64) - low) * dy).sum() / 2e-2
        np.testing.assert_allclose((dx * direction).sum(), numeric, rtol=2e-2, atol=2e-3)


def data(*shape):
    return np.random.default_rng(1).uniform(0.2, 1.5, shape).astype(np.float32)


FLOAT, INT = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


@pytest.mark.parametrize("scale", [[2.0], [0.5, -1.0, 3.0]])
def test_scaler(scale):
    x = data(4, 3)
    judge(model_of("Scaler", x, [("y", FLOAT)], offset=[0.3] * len(scale), scale=scale), x, "y")


@pytest.mark.parametrize("norm", ["L1", "L2", "MAX"])
def test_normalizer(norm):
    x = data(4, 3)
    judge(model_of("Normalizer", x, [("y", FLOAT)], norm=norm), x, "y")


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX"])
def test_linear_regressor(transform):
    x = data(4, 3)
    coefficients = data(6).tolist()
    model = model_of(
        "LinearRegressor", x, [("y", FLOAT)], coefficients=coefficients, intercepts=[0.1, -0.2], targets=2,
        post_transform=transform,
    )  # fmt: skip
    judge(model, x, "y")


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX"])
def test_linear_classifier(transform):
    x = data(4, 3)
    model = model_of(
        "LinearClassifier", x, [("label", INT), ("scores", FLOAT)], coefficients=(data(9) - 0.8).tolist(),
        intercepts=[0.1, -0.2, 0.3], classlabels_ints=[0, 1, 2], post_transform=transform,
    )  # fmt: skip
    judge(model, x, "scores")
    with pytest.raises(GradientError, match="value 'label' is int64"):
        vjp(model, "label", "x")


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC"])
def test_binary_linear_classifier_with_one_row(transform):
    x = data(4, 3)
    model = model_of(
        "LinearClassifier", x, [("label", INT), ("scores", FLOAT)], coefficients=[0.5, -1.0, 0.7], intercepts=[0.1],
        classlabels_ints=[0, 1], post_transform=transform,
    )  # fmt: skip
    judge(model, x, "scores")


def test_a_transform_without_a_rule_is_named():
    x = data(4, 3)
    model = model_of(
        "LinearRegressor", x, [("y", FLOAT)], coefficients=[0.1, 0.2, 0.3], intercepts=[0.1], post_transform="PROBIT"
    )
    with pytest.raises(NoGradient, match=r"'LinearRegressor' .* post_transform PROBIT"):
        vjp(model, "y", "x")


def test_imputer():
    x = data(4, 3)
    x[1, 2] = np.nan
    model = model_of("Imputer", x, [("y", FLOAT)], imputed_value_floats=[9.0], replaced_value_float=float("nan"))
    dy = data(4, 3)
    (dx,) = run(vjp(model, "y", "x").proto, {"x": x, "cotangent/y": dy}, ["grad/x"])
    np.testing.assert_array_equal(dx, np.where(np.isnan(x), 0, dy))


def test_array_feature_extractor():
    x = data(4, 5)
    index = onnx.numpy_helper.from_array(np.array([3, 0, 3]), "i")
    judge(model_of("ArrayFeatureExtractor", x, [("y", FLOAT)], [index]), x, "y")


def test_feature_vectorizer():
    x = data(4, 5)
    judge(model_of("FeatureVectorizer", x, [("y", FLOAT)], inputdimensions=[5]), x, "y")


def test_trees_end_the_path():
    x = data(4, 1)
    attributes = {
        "nodes_treeids": [0, 0, 0], "nodes_nodeids": [0, 1, 2], "nodes_featureids": [0, 0, 0],
        "nodes_values": [0.7, 0.0, 0.0], "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_truenodeids": [1, 0, 0], "nodes_falsenodeids": [2, 0, 0], "nodes_hitrates": [1.0] * 3,
        "nodes_missing_value_tracks_true": [0] * 3, "target_treeids": [0, 0], "target_nodeids": [1, 2],
        "target_ids": [0, 0], "target_weights": [1.0, 2.0], "n_targets": 1,
    }  # fmt: skip
    with pytest.raises(Disconnected, match="a tree is constant between its thresholds"):
        vjp(model_of("TreeEnsembleRegressor", x, [("y", FLOAT)], **attributes), "y", "x")
