"""Classes: scores, probabilities, indices and labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx

from ..errors import ModelError, TargetError, UnknownName
from ..graph.model import Model
from ..graph.split import value_infos
from ..inspect.answer import Answer
from ..preprocess.answers import answer_of
from .dense import is_dense
from .resolved import ClassTarget, Place

if TYPE_CHECKING:
    from .target import Target

PROBABILITIES, SIDES = "onnxray/probabilities", "onnxray/sides"


def class_scores(place: Place, kind: str, target: Target) -> ClassTarget:
    """Targets made of classes: `kind` is "model" (the output as it is), "prob" or "logit"."""
    target.check_samples(place.samples)
    answer = _answer(place.model, numbers=kind == "model")
    model, name, axis = _scores_in(place.model, answer, kind)
    rows = target.terms(place, answer.classes if answer.has_classes else answer.columns)
    wide = max(len(row) for row in rows)
    codes = np.array([[c for c, _ in row] + [row[0][0]] * (wide - len(row)) for row in rows], np.int64)
    weights = np.array([[w for _, w in row] + [0.0] * (wide - len(row)) for row in rows], np.float32)
    return ClassTarget(model, name, axis, codes, weights, kind, target.samples is not None)


def the_number(model: Model) -> Answer | None:
    """The answer, if it is numbers and no classes. Raises TargetError where a model without classes has no number."""
    try:
        answer = answer_of(model)
    except ModelError:
        return None
    return answer if answer.kind == "number" else None


def dense_answer(model: Model) -> Answer | None:
    """The answer, if it is a map with a score for every place."""
    try:
        answer = answer_of(model)
    except ModelError:
        return None
    return answer if answer.kind == "map" else None


_ELSEWHERE = {
    "embedding": "explain like:FILE, or one of its numbers with element:{value}:INDEX",
    "map": "explain region:CLASS, or one of its numbers with element:{value}:INDEX,...",
    "boxes": "explain a box with box, box:class=NUMBER or box:LABEL, or a number with element:{value}:INDEX,...",
    "state": "name another output with output=, or explain element:{value}:INDEX,...",
    "number": "explain value:INDEX, without prob: or logit:",
}
# Of maps whose numbers lie on no places of an image.
_NO_PLACES = "explain mean:{value}, or one of its numbers with element:{value}:INDEX,..."


def _answer(model: Model, numbers: bool) -> Answer:
    """The answer of a model that has classes, or several `numbers`. Raises TargetError for others."""
    try:
        answer = answer_of(model)
    except ModelError as error:
        raise TargetError(
            f"{error}; for other outputs the target is element:VALUE:INDEX, region:CLASS or unit:LAYER:CHANNEL"
        ) from None
    if not answer.has_classes and not (numbers and answer.kind == "number"):
        elsewhere = _NO_PLACES if answer.kind == "map" and not is_dense(model) else _ELSEWHERE[answer.kind]
        remedy = elsewhere.format(value=answer.value)
        said = "; if it does hold classes, say answer='classes', 'two' or 'labels'" if answer.axis >= 0 else ""
        raise TargetError(f"the output {answer.output!r} has no classes ({answer.reason}): {remedy}{said}")
    return answer


def _scores_in(model: Model, answer: Answer, kind: str) -> tuple[Model, str, int]:
    """The model, with nodes added where that is needed, and the value in it with a score for every class, and its axis.

    One score that says which of two classes it is becomes two: z and -z of a logit, p and 1 - p of a probability.
    """
    name, axis, scores = answer.value, max(answer.axis, 1), answer.scores
    nodes: list[onnx.NodeProto] = []
    if kind == "logit" and scores != "logits":
        if answer.logits is None:
            raise TargetError(
                f"the scores before the probabilities {name!r} cannot be found: explain the class without logit:"
            )
        (name, axis), scores = answer.logits, "logits"
    elif kind == "prob" and scores != "probabilities":
        nodes.append(_probabilities(model, answer, name, axis))
        name, scores = PROBABILITIES, "probabilities"
    if answer.two_sided:
        nodes += _both_sides(model, answer, name, axis, scores)
        name = SIDES
    if not nodes:
        return model, name, axis
    info = _declared(model, answer, name, axis)
    with model.edited() as edit:
        edit.graph.node.extend(nodes)
        edit.graph.output.append(info)
    return edit.model, name, axis


def _declared(model: Model, answer: Answer, name: str, axis: int) -> onnx.ValueInfoProto:
    """The value that was added, as an output: shaped like the answer, with a column for each class."""
    (info,) = value_infos(model, [answer.value])
    info.name = name
    shape = info.type.tensor_type.shape
    if answer.two_sided and axis < len(shape.dim):
        shape.dim[axis].Clear()
        shape.dim[axis].dim_value = 2
    elif answer.two_sided:
        shape.dim.add(dim_value=2)
    return info


def _probabilities(model: Model, answer: Answer, name: str, axis: int) -> onnx.NodeProto:
    """The node that makes probabilities of the scores `name`."""
    operator = {"exp": "Exp", "sigmoid": "Sigmoid", "softmax": "Softmax"}[answer.function]
    node = onnx.helper.make_node(operator, [name], [PROBABILITIES], name=PROBABILITIES)
    if operator == "Softmax":
        # Before opset 13 a softmax runs over all axes from `axis` on: the same where the others after it have size 1.
        node.attribute.append(onnx.helper.make_attribute("axis", axis if model.opset >= 13 else min(axis, 1)))
    return node


def _both_sides(model: Model, answer: Answer, name: str, axis: int, scores: str) -> list[onnx.NodeProto]:
    """Nodes that put the negative side in front of the one column of `name` along `axis`."""
    nodes, other, dtype = [], f"{SIDES}/other", model.value(answer.value).dtype

    def node(operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(onnx.helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    rank = model.value(name if name in model.values else answer.value).rank
    if rank is not None and rank <= axis:
        one = f"{SIDES}/axis"
        if model.opset >= 13:
            axes = onnx.numpy_helper.from_array(np.array([axis], np.int64), one)
            node("Constant", [], one, value=axes)
            name = node("Unsqueeze", [name, one], f"{SIDES}/column")
        else:
            name = node("Unsqueeze", [name], f"{SIDES}/column", axes=[axis])
    if scores == "logits":
        node("Neg", [name], other)
    else:
        whole = onnx.numpy_helper.from_array(np.ones((), dtype), f"{SIDES}/one")
        node("Constant", [], f"{SIDES}/one", value=whole)
        p = node("Exp", [name], f"{SIDES}/p") if scores == "log-probabilities" else name
        rest = node("Sub", [f"{SIDES}/one", p], other if p == name else f"{SIDES}/rest")
        if p != name:
            node("Log", [rest], other)
    node("Concat", [other, name], SIDES, axis=axis)
    return nodes


def class_index(which: int | str, labels: Sequence[str] | None, count: int | None) -> int:
    """The index of a class given by index or label. Raises TargetError, UnknownName with the nearest labels.

    A label is matched whole, then without a leading WordNet id, then by that id ("n01440764") or one of its synonyms
    ("tench, Tinca tinca"), letters of either case.
    """
    if isinstance(which, int):
        if which < 0 or which >= 1 << 31 or (count is not None and which >= count):
            known = f"the model has classes 0 to {count - 1}" if count is not None else "classes are counted from 0"
            first, last = (f" ({labels[0]!r}", f" ... {labels[-1]!r})") if labels and len(labels) == count else ("", "")
            raise TargetError(f"class {which} does not exist: {known}{first}{last}")
        return which
    if not labels:
        raise TargetError(
            f"the class {which!r} cannot be looked up, the model has no labels: give the class's index, or labels=..."
        )
    wanted = _plain(which)
    names: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        synset, bare = _synset_and_name(label)
        parts = (label, bare, *([synset] if synset else []), *bare.split(","))
        for name in dict.fromkeys(map(_plain, parts)):
            names.setdefault(name, []).append(index)
    exact = [i for i, label in enumerate(labels) if label == which]
    found = exact or [i for i, label in enumerate(labels) if _plain(label) == wanted] or names.get(wanted, [])
    if not found:
        raise UnknownName(
            "label", which, [bare for label in labels if (bare := _synset_and_name(label)[1])] + list(names)
        )
    if len(found) > 1:
        listed = ", ".join(f"{i} ({labels[i]})" for i in found[:5])
        raise TargetError(f"the label {which!r} stands for several classes: {listed}; give the index")
    if count is not None and found[0] >= count:
        raise TargetError(
            f"the label {which!r} is class {found[0]}, the model has classes 0 to {count - 1}: give its own labels"
        )
    return found[0]


def _synset_and_name(label: str) -> tuple[str, str]:
    """("n01440764", "tench, Tinca tinca") of "n01440764 tench, Tinca tinca"; ("", label) without a WordNet id."""
    found = re.match(r"(n\d{8})\s+(.*)", label)
    return (found[1], found[2]) if found else ("", label)


def _plain(label: str) -> str:
    return " ".join(label.casefold().replace("_", " ").split())


def label_of(index: int, labels: Sequence[str] | None) -> str | None:
    """The label of a class, without a leading WordNet id."""
    if labels is None or not 0 <= index < len(labels):
        return None
    return _synset_and_name(labels[index])[1] or None
