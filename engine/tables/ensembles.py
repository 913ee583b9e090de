"""Tree ensembles of ai.onnx.ml as arrays: TreeEnsembleRegressor, TreeEnsembleClassifier, and TreeEnsemble of version 5.

Every leaf has a number for each output of the node, before its post transform: what scikit-learn calls the margin. Of a
classifier of two classes all of whose weights are of one class, that number is the second class's, whichever id they
have, and the other output is its complement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto, helper

from ...kernels.trees import AT_MOST, EQUAL, MEMBER, Nodes
from ..caches import of_model
from ..errors import MethodError, NoSum
from ..graph.model import Model
from ..proto.nodes import label, plain_domain
from ..proto.operators import ML

OPERATORS = ("TreeEnsembleRegressor", "TreeEnsembleClassifier", "TreeEnsemble")
# Comparisons by their name, in the order of the numbers that version 5 has for them: (what the node asks, whether the
# children change places, whether the threshold itself belongs to the other side).
_MODES = {
    "BRANCH_LEQ": (AT_MOST, False, False),
    "BRANCH_LT": (AT_MOST, False, True),
    "BRANCH_GTE": (AT_MOST, True, True),
    "BRANCH_GT": (AT_MOST, True, False),
    "BRANCH_EQ": (EQUAL, False, False),
    "BRANCH_NEQ": (EQUAL, True, False),
    "BRANCH_MEMBER": (MEMBER, False, False),
}
_LEAF = (AT_MOST, False, False)
_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
_AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")


@dataclass(frozen=True)
class Ensemble:
    """nodes: of all trees. weights: float64 (nodes, outputs), of leaves. data, output: the values that the node reads
    and writes."""

    nodes: Nodes
    weights: NDArray[np.float64]
    data: str
    output: str


def is_ensemble(node: NodeProto) -> bool:
    return node.op_type in OPERATORS and plain_domain(node.domain) == ML


def output_of(node: NodeProto) -> str:
    """The value that holds an ensemble's sums, or what its post transform makes of them."""
    return str(node.output[1] if node.op_type == "TreeEnsembleClassifier" and len(node.output) > 1 else node.output[0])


def transform_of(node: NodeProto) -> str:
    """The post transform by its name."""
    for attribute in node.attribute:  # not all of them: those of trees are long
        if attribute.name == "post_transform":
            return _TRANSFORMS[attribute.i] if attribute.type == AttributeProto.INT else _plain(attribute.s)
    return "NONE"


@of_model
def ensemble_of(model: Model, output: str) -> Ensemble:
    """The trees whose sums the value `output` is. Raises MethodError for an ensemble that is not a sum of its trees, or
    one whose attributes fit nothing."""
    node = model.producer(output)
    assert node is not None
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    try:
        read = _of_version_5(given) if node.op_type == "TreeEnsemble" else _of_ids(node, given)
    except (KeyError, IndexError, ValueError, TypeError, StopIteration) as error:
        raise MethodError(f"the trees of node {label(node)} cannot be read: {error!r}") from None
    nodes, weights = read
    how = given.get("aggregate_function", "SUM")
    how = _AGGREGATES[how] if isinstance(how, int) else _plain(how)
    if how not in ("SUM", "AVERAGE"):
        raise NoSum(f"node {label(node)} takes the {how} of its trees, which is no sum of them: use kernel-shap")
    if (transform := transform_of(node)) != "NONE":
        raise NoSum(f"node {label(node)} applies {transform} to each sum, and more comes behind it: use kernel-shap")
    if how == "AVERAGE":
        weights = weights / max(1, len(nodes.roots))
    return Ensemble(nodes, weights, str(node.input[0]), output_of(node))


def _numbers(given: Mapping[str, Any], name: str) -> NDArray[np.float64]:
    """An attribute of numbers, floats or a tensor of doubles."""
    tensor = given.get(f"{name}_as_tensor")
    found = onnx.numpy_helper.to_array(tensor) if tensor is not None else np.array(given.get(name, ()), np.float32)
    return np.asarray(found, np.float64)


def _of_ids(node: NodeProto, given: Mapping[str, Any]) -> tuple[Nodes, NDArray[np.float64]]:
    """Nodes that are named by the number of their tree and their own."""
    trees = np.array(given["nodes_treeids"], np.int64)
    numbers = np.array(given["nodes_nodeids"], np.int64)
    step = int(numbers.max()) + 1
    keys = trees * step + numbers
    order = np.argsort(keys, kind="stable")

    def places(tree: NDArray[np.int64], number: NDArray[np.int64]) -> NDArray[np.int32]:
        wanted = tree * step + number
        found = order[np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)]
        if (keys[found] != wanted).any():
            raise ValueError("a child or a leaf is no node")
        return found.astype(np.int32)

    names, modes = np.unique(np.array(given["nodes_modes"], "S"), return_inverse=True)
    kinds = [_plain(name) for name in names.tolist()]
    inner = np.array([kind != "LEAF" for kind in kinds])[modes]
    yes, no = np.zeros(len(keys), np.int32), np.zeros(len(keys), np.int32)
    for side, name in ((yes, "nodes_truenodeids"), (no, "nodes_falsenodeids")):
        side[inner] = places(trees[inner], np.array(given[name], np.int64)[inner])
    children = np.zeros(len(keys), bool)
    children[yes[inner]] = children[no[inner]] = True
    classifier = node.op_type == "TreeEnsembleClassifier"
    word = "class" if classifier else "target"
    ids = np.array(given[f"{word}_ids"], np.int64)
    leaves = places(np.array(given[f"{word}_treeids"], np.int64), np.array(given[f"{word}_nodeids"], np.int64))
    outputs = _outputs(given, ids) if classifier else int(given.get("n_targets", 1))
    weights = np.zeros((len(keys), outputs))
    own = _numbers(given, f"{word}_weights")
    if classifier and outputs == 2 and len(np.unique(ids)) == 1:
        np.add.at(weights[:, 1], leaves, own)
        weights[:, 0] = -weights[:, 1]
    else:
        np.add.at(weights, (leaves, ids), own)
    nodes = _nodes(
        [_MODES.get(kind, _LEAF) for kind in kinds],
        modes,
        inner,
        np.array(given["nodes_featureids"], np.int64),
        _numbers(given, "nodes_values"),
        np.array(given.get("nodes_missing_value_tracks_true") or np.zeros(len(keys)), bool),
        yes,
        no,
        np.flatnonzero(~children),
    )
    return nodes, weights


def _outputs(given: Mapping[str, Any], ids: NDArray[np.int64]) -> int:
    labels = given.get("classlabels_int64s") or given.get("classlabels_strings") or ()
    return max(len(labels), int(ids.max()) + 1)


def _of_version_5(given: Mapping[str, Any]) -> tuple[Nodes, NDArray[np.float64]]:
    """Inner nodes and leaves in lists of their own: leaves come behind the nodes here."""
    features = np.array(given["nodes_featureids"], np.int64)
    splits = np.asarray(onnx.numpy_helper.to_array(given["nodes_splits"]), np.float64)
    modes = onnx.numpy_helper.to_array(given["nodes_modes"]).astype(np.int64)
    own = np.asarray(onnx.numpy_helper.to_array(given["leaf_weights"]), np.float64)
    targets = np.array(given["leaf_targetids"], np.int64)
    inner, total = len(features), len(features) + len(own)
    sides = []
    for children, are_leaves in (("nodes_truenodeids", "nodes_trueleafs"), ("nodes_falsenodeids", "nodes_falseleafs")):
        side = np.array(given[children], np.int64) + inner * np.array(given[are_leaves], np.int64)
        sides.append(np.concatenate([side, np.zeros(len(own), np.int64)]).astype(np.int32))
    weights = np.zeros((total, int(given.get("n_targets", 1))))
    weights[inner + np.arange(len(own)), targets] = own
    roots = np.array(given["tree_roots"], np.int64)
    missing = np.array(given.get("nodes_missing_value_tracks_true") or np.zeros(inner), bool)
    empty = np.zeros(len(own), np.int64)
    nodes = _nodes(
        list(_MODES.values()),
        np.concatenate([modes, empty]),
        np.arange(total) < inner,
        np.concatenate([features, empty]),
        np.concatenate([splits, empty]),
        np.concatenate([missing, empty]).astype(bool),
        sides[0],
        sides[1],
        roots,
        _members(modes.tolist(), given),
    )
    return nodes, weights


def _members(modes: Sequence[int], given: Mapping[str, Any]) -> list[tuple[float, ...]]:
    """Of each node its set, which the attribute holds one after the other, a NaN behind each."""
    sets: list[tuple[float, ...]] = []
    values = given.get("membership_values")
    current: list[float] = []
    for value in () if values is None else onnx.numpy_helper.to_array(values).tolist():
        if np.isnan(value):
            sets.append(tuple(current))
            current = []
        else:
            current.append(float(value))
    if current:
        sets.append(tuple(current))
    left = iter(sets)
    member = list(_MODES).index("BRANCH_MEMBER")
    return [next(left) if mode == member else () for mode in modes]


def _plain(mode: Any) -> str:
    return mode.decode() if isinstance(mode, bytes) else str(mode)


def _nodes(
    kinds: Sequence[tuple[int, bool, bool]],
    modes: NDArray[np.int64],
    inner: NDArray[np.bool_],
    features: NDArray[np.int64],
    splits: NDArray[np.float64],
    missing: NDArray[np.bool_],
    yes: NDArray[np.int32],
    no: NDArray[np.int32],
    roots: NDArray[np.int64],
    members: Sequence[tuple[float, ...]] = (),
) -> Nodes:
    """Every comparison as one of the three that the kernel knows. modes: (nodes,), the places of theirs in `kinds`."""
    asked = np.array(kinds, np.int64)[modes] * inner[:, None]
    kind, turned, below = asked[:, 0].astype(np.uint8), asked[:, 1] > 0, asked[:, 2] > 0
    threshold = splits.copy()
    # Numbers of single precision are compared in double: what lies right below a threshold is so in both.
    threshold[below] = np.nextafter(threshold[below], -np.inf)
    count = np.zeros(len(features), np.int32)
    count[: len(members)] = [len(m) for m in members]
    sets = kind == MEMBER
    threshold[sets] = (np.cumsum(count) - count)[sets]
    return Nodes(
        feature=np.where(inner, features, -1).astype(np.int32),
        threshold=threshold,
        kind=kind,
        # A missing value goes where NaN's comparison does, which is false but for "unequal", or to the true side.
        missing=(missing ^ turned) & ~(turned & (kind == EQUAL)),
        yes=np.where(turned, no, yes).astype(np.int32),
        no=np.where(turned, yes, no).astype(np.int32),
        count=count,
        roots=roots.astype(np.int32),
        members=np.array([value for m in members for value in m], np.float64),
    )
