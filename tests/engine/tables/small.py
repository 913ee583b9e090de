"""Small trees and pipelines as ONNX, and Shapley values by brute force over coalitions of columns."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

ML = "ai.onnx.ml"


def model(nodes: list, inputs: dict, outputs: dict, initializers: Sequence = (), ml: int = 3) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, kind, ["N", width]) for name, (kind, width) in inputs.items()],
        [helper.make_tensor_value_info(name, kind, ["N", width]) for name, (kind, width) in outputs.items()],
        list(initializers),
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(ML, ml)], ir_version=9
    )


def random_trees(
    rng: np.random.Generator, count: int, depth: int, features: int, modes: Sequence[str] = ("BRANCH_LEQ",)
) -> dict[str, list]:
    """The attributes of `count` full trees; thresholds are among 0, 1, ..., 4."""
    found: dict[str, list] = {name: [] for name in "treeids nodeids featureids values modes true false missing".split()}
    leaves: dict[str, list] = {"treeids": [], "nodeids": []}
    inner = 2**depth - 1
    for tree in range(count):
        for node in range(2 ** (depth + 1) - 1):
            leaf = node >= inner
            row = (
                tree, node, 0 if leaf else int(rng.integers(features)), 0.0 if leaf else float(rng.integers(5)),
                "LEAF" if leaf else str(rng.choice(modes)), 0 if leaf else 2 * node + 1, 0 if leaf else 2 * node + 2,
                int(rng.integers(2)),
            )  # fmt: skip
            for name, value in zip(found, row, strict=True):
                found[name].append(value)
            if leaf:
                leaves["treeids"].append(tree)
                leaves["nodeids"].append(node)
    return {
        "nodes_treeids": found["treeids"],
        "nodes_nodeids": found["nodeids"],
        "nodes_featureids": found["featureids"],
        "nodes_values": found["values"],
        "nodes_modes": found["modes"],
        "nodes_truenodeids": found["true"],
        "nodes_falsenodeids": found["false"],
        "nodes_missing_value_tracks_true": found["missing"],
        "leaf_treeids": leaves["treeids"],
        "leaf_nodeids": leaves["nodeids"],
    }


def regressor(rng: np.random.Generator, data: str, output: str, features: int, **more: object) -> onnx.NodeProto:
    modes = more.pop("modes", ("BRANCH_LEQ",))
    trees = random_trees(rng, int(more.pop("count", 3)), int(more.pop("depth", 3)), features, modes)
    weights = rng.normal(size=len(trees["leaf_treeids"])).astype(np.float32).tolist()
    leaves = {
        "target_treeids": trees.pop("leaf_treeids"),
        "target_nodeids": trees.pop("leaf_nodeids"),
        "target_ids": [0] * len(weights),
        "target_weights": weights,
    }
    return helper.make_node(
        "TreeEnsembleRegressor", [data], [output], domain=ML, n_targets=1, **trees, **leaves, **more
    )


def classifier(rng: np.random.Generator, data: str, features: int, classes: int, transform: str) -> onnx.NodeProto:
    """Of two classes all weights are of one, as scikit-learn and LightGBM write them."""
    trees = random_trees(rng, 4, 3, features)
    weights = rng.normal(size=len(trees["leaf_treeids"])).astype(np.float32).tolist()
    ids = [0 if classes == 2 else i % classes for i in range(len(weights))]
    leaves = {
        "class_treeids": trees.pop("leaf_treeids"),
        "class_nodeids": trees.pop("leaf_nodeids"),
        "class_ids": ids,
        "class_weights": weights,
    }
    return helper.make_node(
        "TreeEnsembleClassifier",
        [data],
        ["label", "scores"],
        domain=ML,
        classlabels_int64s=list(range(classes)),
        post_transform=transform,
        **trees,
        **leaves,
    )


def shapley(score: Callable[[np.ndarray], np.ndarray], x: np.ndarray, background: np.ndarray) -> np.ndarray:
    """(columns,), by all coalitions: score takes rows and gives one number for each."""
    count = len(x)
    kept = np.array(list(itertools.product([False, True], repeat=count)))
    rows = np.where(kept[:, None], x, background[None]).reshape(-1, count)
    value = {tuple(k): v for k, v in zip(kept, score(rows).reshape(len(kept), -1).mean(axis=1), strict=True)}
    found = np.zeros(count)
    for k in kept:
        size = int(k.sum())
        for column in np.flatnonzero(~k):
            share = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            more = k.copy()
            more[column] = True
            found[column] += share * (value[tuple(more)] - value[tuple(k)])
    return found


FLOAT, TEXT, INT = TensorProto.FLOAT, TensorProto.STRING, TensorProto.INT64
