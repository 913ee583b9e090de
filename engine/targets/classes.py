"""Classes: scores, probabilities, indices and labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx

from ..errors import ModelError, TargetError, UnknownName
from ..graph.model import Model
from ..inspect.signature import class_output
from ..proto.attributes import attributes
from ..proto.edit import copied
from .resolved import ClassTarget, Place

if TYPE_CHECKING:
    from .target import Target

PROBABILITIES = "onnxray/probabilities"


def class_scores(place: Place, kind: str, target: Target) -> ClassTarget:
    """Targets made of classes: `kind` is "model" (the output as it is), "prob" or "logit"."""
    model = place.model
    try:
        output = class_output(model)
    except ModelError as error:
        raise TargetError(
            f"{error}; for other outputs the target is element:VALUE:INDEX, region:CLASS or unit:LAYER:CHANNEL"
        ) from None
    name, axis = output.name, max(output.axis, 1)
    if kind == "prob" and output.scores != "probabilities":
        model, name = _with_probabilities(model, output.name, output.axis, output.classes, output.scores)
    elif kind == "logit" and output.scores != "logits":
        name, axis = _before_softmax(model, output.name, axis)
    rows = target.terms(place, output.classes)
    wide = max(len(row) for row in rows)
    codes = np.array([[c for c, _ in row] + [row[0][0]] * (wide - len(row)) for row in rows], np.int64)
    weights = np.array([[w for _, w in row] + [0.0] * (wide - len(row)) for row in rows], np.float32)
    return ClassTarget(model, name, axis, codes, weights, kind)


def _with_probabilities(model: Model, name: str, axis: int, count: int | None, scores: str) -> tuple[Model, str]:
    """The model with probabilities computed after the scores `name`."""
    if scores == "log-probabilities":
        node = onnx.helper.make_node("Exp", [name], [PROBABILITIES], name=PROBABILITIES)
    elif count == 1:
        node = onnx.helper.make_node("Sigmoid", [name], [PROBABILITIES], name=PROBABILITIES)
    elif model.opset >= 13:
        node = onnx.helper.make_node("Softmax", [name], [PROBABILITIES], name=PROBABILITIES, axis=axis)
    else:
        # Before opset 13 a softmax runs over all axes from `axis` on: the same where the others after it have size 1.
        node = onnx.helper.make_node("Softmax", [name], [PROBABILITIES], name=PROBABILITIES, axis=min(axis, 1))
    info = copied(next(v for v in model.graph.output if v.name == name))
    info.name = PROBABILITIES
    with model.edited() as edit:
        edit.graph.node.append(node)
        edit.graph.output.append(info)
    return edit.model, PROBABILITIES


# Operators that may stand between a softmax and the output: they keep the scores' places, or move them.
_KEEPS = ("Identity", "Cast", "QuantizeLinear", "DequantizeLinear")
_MOVES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def _before_softmax(model: Model, name: str, axis: int) -> tuple[str, int]:
    """The value that the softmax or sigmoid before the output `name` reads, and its class axis."""
    node = model.producer(name)
    moved = False
    while node is not None and node.op_type in (*_KEEPS, *_MOVES):
        moved = moved or node.op_type in _MOVES
        node = model.producer(node.input[0])
    if node is None or node.op_type not in ("Softmax", "LogSoftmax", "Sigmoid"):
        raise TargetError(
            f"the scores before the probabilities {name!r} cannot be found: explain the class without logit:"
        )
    logits = node.input[0]
    shape = model.value(logits).shape
    if moved and shape is not None:
        if node.op_type == "Sigmoid":
            axis = next((i for i, d in enumerate(shape) if i > 0 and d != 1), 1)
        else:
            axis = attributes(node).get("axis", -1 if model.opset >= 13 else 1) % len(shape)
    return logits, axis


def class_index(which: int | str, labels: Sequence[str] | None, count: int | None) -> int:
    """The index of a class given by index or label. Raises TargetError, UnknownName with the nearest labels.

    A label is matched whole, then without a leading WordNet id, then by one of its synonyms ("tench, Tinca tinca"),
    letters of either case.
    """
    if isinstance(which, int):
        if which < 0 or (count is not None and which >= count):
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
        bare = re.sub(r"^n\d{8}\s+", "", label)
        for name in dict.fromkeys((_plain(label), _plain(bare), *(_plain(part) for part in bare.split(",")))):
            names.setdefault(name, []).append(index)
    exact = [i for i, label in enumerate(labels) if label == which]
    found = exact or [i for i, label in enumerate(labels) if _plain(label) == wanted] or names.get(wanted, [])
    if not found:
        raise UnknownName("label", which, [label for label in labels if label] + list(names))
    if len(found) > 1:
        listed = ", ".join(f"{i} ({labels[i]})" for i in found[:5])
        raise TargetError(f"the label {which!r} stands for several classes: {listed}; give the index")
    if count is not None and found[0] >= count:
        raise TargetError(
            f"the label {which!r} is class {found[0]}, the model has classes 0 to {count - 1}: give its own labels"
        )
    return found[0]


def _plain(label: str) -> str:
    return " ".join(label.casefold().replace("_", " ").split())


def label_of(index: int, labels: Sequence[str] | None) -> str | None:
    """The label of a class, without a leading WordNet id."""
    if labels is None or not 0 <= index < len(labels):
        return None
    return re.sub(r"^n\d{8}\s+", "", labels[index]) or None
