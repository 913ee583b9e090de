"""What a score is a sum of: trees, and numbers times weights, by which Shapley values have an exact and short form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx import AttributeProto, NodeProto, TensorProto, helper

from ..caches import of_model
from ..errors import NoSum
from ..graph.model import Model
from ..proto.attributes import attributes
from ..proto.edit import copied
from ..proto.nodes import plain_domain
from ..proto.operators import ML
from .ensembles import is_ensemble, output_of, transform_of
from .origins import Origins, of_one_column

# Linear in every input that depends on the table.
_SUMS = frozenset(
    """Identity Add Sub Sum Mean Neg Reshape Flatten Squeeze Unsqueeze Transpose Concat Split Slice Gather ReduceSum
    ReduceMean Expand Dropout ArrayFeatureExtractor FeatureVectorizer Scaler LinearRegressor LinearClassifier""".split()
)
# Linear in one input where the others are constants; of a division it is the first.
_CARRIERS = ("Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze")
_PRODUCTS = frozenset(("Mul", "MatMul", "Gemm", "Div"))
_CLASSIFIERS = ("TreeEnsembleClassifier", "LinearClassifier")
_LINEAR = ("LinearRegressor", "LinearClassifier")
_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)


@dataclass(frozen=True)
class Parts:
    """trees: the ensembles that a score is a weighted sum of. numbers: the values that it is one of besides."""

    trees: tuple[NodeProto, ...]
    numbers: tuple[str, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        """The values that the score is linear in."""
        return (*(output_of(node) for node in self.trees), *self.numbers)


def parts_of(model: Model, of: str, origins: Mapping[str, Origins]) -> Parts:
    """What the value `of` is a sum of, back to trees, to values whose numbers are made of one column each, or to
    operators that are not linear. origins: of all values that depend on the table."""
    trees: list[NodeProto] = []
    numbers: list[str] = []
    front, seen = [of], set()
    while front:
        name = front.pop()
        if name in seen or name not in origins:
            continue
        seen.add(name)
        node = model.producer(name)
        if of_one_column(origins[name]):
            numbers.append(name)
        elif node is not None and is_ensemble(node) and name == output_of(node):
            trees.append(node)
        elif node is not None and _is_linear(model, node, frozenset(origins)):
            front += [i for i in node.input if i]
        else:
            numbers.append(name)
    return Parts(tuple(trees), tuple(numbers))


@of_model
def _depending(model: Model, table: str) -> frozenset[str]:
    found = {table}
    for node in model.graph.node:
        if any(i in found for i in node.input):
            found.update(node.output)
    return frozenset(found)


def _is_linear(model: Model, node: NodeProto, on_table: frozenset[str]) -> bool:
    if plain_domain(node.domain) not in ("", ML):
        return False
    if node.op_type in ("LinearRegressor", "LinearClassifier") and transform_of(node) != "NONE":
        return False
    if node.op_type == "Cast":
        # Of whole numbers it is where numbers begin.
        dtype = model.value(node.input[0]).dtype
        return dtype is not None and dtype.kind == "f" and attributes(node)["to"] in _FLOATS
    if node.op_type in _PRODUCTS:
        given = [i in on_table for i in node.input[:2]]
        return given == [True, False] or (given == [False, True] and node.op_type != "Div")
    return node.op_type in _SUMS and all(i not in on_table for i in _about(node))


def _about(node: NodeProto) -> Sequence[str]:
    """Inputs that say what is done: a shape, indices."""
    several = ("Add", "Sub", "Sum", "Mean", "Concat", "FeatureVectorizer")
    return [] if node.op_type in several else list(node.input[1:])


def transforms(model: Model, of: str, table: str) -> tuple[NodeProto, ...]:
    """The nodes that make the probabilities `of` of scores: a sigmoid or softmax, alone or part of a classifier, and
    what divides its probabilities by their sum. Those further inside, of a hidden layer, are none, nor those of which a
    mixture is taken: a mean of probabilities has no score before it."""
    on_table, found = _depending(model, table), dict[str, NodeProto]()
    front, seen = [of], set()
    while front:
        name = front.pop()
        node = model.producer(name)
        if node is None or name in seen or name not in on_table:
            continue
        seen.add(name)
        if _scores_of(node) == name and _transforms(node):
            found[name] = node
            front += [node.input[0]] if node.op_type == "Normalizer" else []
        elif node.op_type in _CARRIERS or _is_whole(model, node) or _is_side(model, node):
            front += [i for i in node.input if i]
    divided = [node for node in found.values() if node.op_type == "Normalizer"]
    return () if len(divided) == len(found) else tuple(found.values())


def _is_whole(model: Model, node: NodeProto) -> bool:
    """Whether a node multiplies by 1, as exports of LightGBM do."""
    one = model.constant(node.input[1]) if node.op_type == "Mul" else None
    return one is not None and bool((one == 1).all())


def _is_side(model: Model, node: NodeProto) -> bool:
    """Whether a node makes [1 - p, p] of p, or 1 - p."""
    if node.op_type not in ("Concat", "Sub"):
        return False
    if node.op_type == "Sub":
        one = model.constant(node.input[0])
        return one is not None and one.size == 1 and one.item() == 1
    first = model.producer(node.input[0]) if len(node.input) == 2 else None
    return first is not None and first.op_type == "Sub" and first.input[1] == node.input[1] and _is_side(model, first)


def _is_model(node: NodeProto) -> bool:
    return is_ensemble(node) or (plain_domain(node.domain) == ML and node.op_type in _LINEAR)


def _scores_of(node: NodeProto) -> str:
    return str(node.output[1] if node.op_type in _CLASSIFIERS and len(node.output) > 1 else node.output[0])


def _transforms(node: NodeProto) -> bool:
    if _is_model(node):
        return transform_of(node) != "NONE"
    if plain_domain(node.domain) == ML:
        return bool(node.op_type == "Normalizer") and attributes(node).get("norm", "MAX") == "L1"
    return node.op_type in ("Sigmoid", "Softmax") and plain_domain(node.domain) == ""


@of_model
def with_margins(model: Model, of: str, table: str, answer: str) -> Model:
    """The model with scores in the place of the probabilities `of`: class by class, log-odds where a sigmoid is.

    answer: "classes", which become labels where a sigmoid makes the probabilities, "two", or "": none is asked for.
    """
    taken = {_scores_of(node) for node in transforms(model, of, table)}
    graph = copied(model.graph)
    for node in graph.node:
        if node.output and _scores_of(node) in taken:
            _without_transform(node)
    for node in graph.node:
        _with_both_sides(model, node, taken)
    changed = model.with_graph(graph)
    softmax = all(_is_softmax(node) for node in transforms(model, of, table))
    kind = "labels" if answer == "classes" and not softmax else answer
    overrides = {**model.overrides, **({"scores": "logits", "answer": kind} if answer else {})}
    return Model(changed.proto, path=model.path, folder=model.folder, overrides=overrides, sha256=model.sha256)


def _is_softmax(node: NodeProto) -> bool:
    named = transform_of(node) if _is_model(node) else node.op_type
    return named.upper() in ("SOFTMAX", "SOFTMAX_ZERO", "NORMALIZER")


def _without_transform(node: NodeProto) -> None:
    if not _is_model(node):
        node.CopyFrom(helper.make_node("Identity", node.input[:1], list(node.output), name=node.name))
        return
    for attribute in node.attribute:
        if attribute.name == "post_transform":
            none: int | str = 0 if attribute.type == AttributeProto.INT else "NONE"
            attribute.CopyFrom(helper.make_attribute("post_transform", none))


def _with_both_sides(model: Model, node: NodeProto, taken: set[str]) -> None:
    """1 - p beside a probability p is -z beside a score z."""
    one = model.constant(node.input[0]) if node.op_type == "Sub" and len(node.input) == 2 else None
    if one is not None and one.size == 1 and one.item() == 1 and node.input[1] in taken:
        node.CopyFrom(helper.make_node("Neg", [node.input[1]], list(node.output), name=node.name))


def no_sum(what: str) -> NoSum:
    return NoSum(f"tree-shap: {what}: use kernel-shap with a background, which needs no sum")
