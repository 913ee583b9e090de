"""Operators of ai.onnx.ml, the domain that scikit-learn exports use.

Their inputs may be of any number type; the results are float32.
"""

from __future__ import annotations

import math

import numpy as np

from ..emitter.emitter import Emitter
from ..emitter.node import Node
from ..errors import NoGradient
from ..proto.operators import ML
from .indexing import scatter_along
from .reduction import divide_or_zero
from .registry import Cotangents, constant, gradient, refuse


def _coefficients(node: Node, rows: int | None = None) -> np.ndarray:
    """(outputs, features)"""
    flat = np.array(node.attribute("coefficients"), np.float32)
    return flat.reshape(rows or node.attribute("targets", 1), -1)


@gradient("Scaler", domain=ML)
def scaler(node: Node, dy: str, op: Emitter) -> Cotangents:
    """y = (x - offset) scale, one number or one per feature."""
    scale = np.array(node.attribute("scale", [1.0]), np.float32)
    return [op.cast(op.Mul(dy, scale), like=node.inputs[0])]


@gradient("LinearRegressor", domain=ML)
def linear_regressor(node: Node, dy: str, op: Emitter) -> Cotangents:
    targets = _after(node, op, dy, node.outputs[0], node.attribute("targets", 1))
    return [op.cast(op.MatMul(targets, _coefficients(node)), like=node.inputs[0])]


@gradient("LinearClassifier", domain=ML)
def linear_classifier(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents:
    """Scores (outputs 1) are linear in x, then the post transform; the label has no derivative.

    With one row of coefficients the two scores are those of the negative and of the positive class.
    """
    dz = cotangents[1] if len(cotangents) > 1 else None
    if dz is None:
        return [None]
    labels = node.attribute("classlabels_ints") or node.attribute("classlabels_strings") or []
    rows = len(node.attribute("intercepts") or []) or (len(labels) if len(labels) != 2 else 1)
    matrix = _coefficients(node, rows)
    z = node.outputs[1]
    if rows == 1 and op.shape(z)[-1] != 1:
        if node.attribute("post_transform", "NONE") not in ("NONE", "LOGISTIC"):
            raise NoGradient(_unsupported(node))
        # Without a transform the negative score is minus the positive one, with the logistic one 1 minus it.
        dz = _after(node, op, dz, z, 2)
        matrix = np.concatenate([-matrix, matrix])
    else:
        dz = _after(node, op, dz, z, rows)
    return [op.cast(op.MatMul(dz, matrix), like=node.inputs[0])]


def _after(node: Node, op: Emitter, dy: str, y: str, width: int) -> str:
    """The cotangent before the post transform that made y."""
    transform = node.attribute("post_transform", "NONE")
    if transform == "NONE":
        return dy
    if transform == "LOGISTIC":
        return op.Mul(dy, op.Mul(y, op.Sub(1.0, y)))
    if transform in ("SOFTMAX", "SOFTMAX_ZERO"):
        return op.Mul(y, op.Sub(dy, op.ReduceSum(op.Mul(dy, y), [-1], keepdims=1)))
    raise NoGradient(_unsupported(node))


def _unsupported(node: Node) -> str:
    transform = node.attribute("post_transform")
    return (
        f"no gradient for {node.op_type!r} (node {node.label!r}, domain {ML}) with post_transform {transform}: export "
        "the model with raw scores"
    )


@gradient("Normalizer", domain=ML)
def normalizer(node: Node, dy: str, op: Emitter) -> Cotangents:
    """y = x / n, n the largest, the sum of magnitudes (L1) or the length (L2) of each row."""
    y = node.outputs[0]
    x = op.cast(node.inputs[0], like=y)
    along = op.ReduceSum(op.Mul(dy, y), [-1], keepdims=1)
    kind = node.attribute("norm", "MAX")
    if kind == "L2":
        dx = divide_or_zero(op, op.Sub(dy, op.Mul(y, along)), op.ReduceL2(x, [-1], keepdims=1))
    elif kind == "L1":
        dx = divide_or_zero(op, op.Sub(dy, op.Mul(op.Sign(x), along)), op.ReduceL1(x, [-1], keepdims=1))
    else:
        best = op.ReduceMax(x, [-1], keepdims=1)
        first = op.cast(op.Equal(x, best), like=y)
        share = op.Div(along, op.ReduceSum(first, [-1], keepdims=1))
        dx = divide_or_zero(op, op.Sub(dy, op.Mul(first, share)), best)
    return [op.cast(dx, like=node.inputs[0])]


@gradient("Imputer", domain=ML)
def imputer(node: Node, dy: str, op: Emitter) -> Cotangents:
    """dy where the value was not replaced."""
    x = node.inputs[0]
    replaced = node.attribute("replaced_value_float", 0.0)
    missing = op.IsNaN(x) if math.isnan(replaced) else op.Equal(x, op.const(replaced, like=x))
    return [op.Where(missing, 0.0, dy)]


@gradient("FeatureVectorizer", domain=ML)
def feature_vectorizer(node: Node, dy: str, op: Emitter) -> Cotangents:
    """The inputs (N, C_i) side by side."""
    if len(node.inputs) == 1:
        return [op.cast(op.reshape_like(dy, node.inputs[0]), like=node.inputs[0])]
    sizes = op.const(np.array(node.attribute("inputdimensions"), np.int64))
    parts = op.emit_several("Split", dy, sizes, axis=-1, outputs=len(node.inputs))
    return [op.cast(op.reshape_like(p, x), like=x) for p, x in zip(parts, node.inputs, strict=True)]


@gradient("ArrayFeatureExtractor", domain=ML, inputs=(0,))
def array_feature_extractor(node: Node, dy: str, op: Emitter) -> Cotangents:
    """y = x[..., indices]; a vector x gives one row."""

    x = node.inputs[0]
    indices = op.Reshape(node.inputs[1], [-1])
    if op.rank(x) == 1:
        return [scatter_along(op, op.Reshape(dy, [-1]), indices, op.shape_of(x), 0)]
    return [scatter_along(op, dy, indices, op.shape_of(x), op.rank(x) - 1)]


constant(
    "TreeEnsemble",
    "TreeEnsembleClassifier",
    "TreeEnsembleRegressor",
    domain=ML,
    reason="a tree is constant between its thresholds; use a gradient-free method (occlusion)",
)
constant(
    *"Binarizer CastMap CategoryMapper DictVectorizer LabelEncoder OneHotEncoder ZipMap".split(),
    domain=ML,
    reason="maps between categories, strings, maps or bits",
)
refuse(
    "SVMClassifier",
    "SVMRegressor",
    domain=ML,
    reason="no rule is written for support vector machines: use a gradient-free method (occlusion)",
)
