"""What a model answers: the one place that knows what its output means, and why.

    classes      one score per class, one of them is true: softmax
    two          one score that says which of two classes it is: sigmoid; the negative side is class 0
    labels       one score per label, each true or not by itself: sigmoid
    number       one number per sample, or several that name nothing: a regression, landmarks, an anomaly score
    embedding    a vector that is compared with others
    map          a score for every class and place
    boxes        candidates of a detector
    state        what a recurrent model hands to its next step

Structure decides first (softmax, sigmoid, argmax, a norm, an input of the same shape), then the number of labels, then
names of outputs; what nothing supports is said to be assumed. `Hints` override everything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import CardError, ModelError, ShapeError, UnknownName
from ..graph.model import Model
from ..proto.attributes import attributes
from ..proto.values import Value
from .answer_kinds import as_state, class_axis, not_one_row, of_columns
from .batch_axis import is_bare_map, is_rows_of_one_sample
from .chosen_rows import rows_of_boxes
from .score_functions import ScoreFunction, as_scores, last_node, score_function

Kind = Literal["classes", "two", "labels", "number", "embedding", "map", "boxes", "state"]
Scores = Literal["logits", "probabilities", "log-probabilities"]
KINDS: tuple[str, ...] = get_args(Kind)
SCORES: tuple[str, ...] = get_args(Scores)
# Kinds that have classes, with a score each.
_OF_CLASSES = ("classes", "two", "labels")


@dataclass(frozen=True)
class Hints:
    """What is known of the answer from outside the graph.

    output, kind, scores, threshold: said by the caller or by a card, and obeyed. labels: how many names there are.
    """

    output: str | None = None
    kind: str | None = None
    scores: str | None = None
    threshold: float | None = None
    labels: int | None = None


@dataclass(frozen=True)
class Answer:
    """What one output of a model means.

    output: the output. value: the value that holds the scores: the output itself, or what its argmax, top-k or
    comparison reads. axis: of the classes or numbers in `value`. columns: how many there are, None where that is not
    fixed. scores: what `value` holds. logits: the value before the softmax or sigmoid and its class axis, if there is
    one. threshold: the probability from which a label, or the positive one of two classes, is true. reason: why all
    this is believed. assumed: nothing but its shape speaks for it.
    """

    output: str
    value: str
    kind: Kind
    axis: int
    columns: int | None
    scores: Scores
    reason: str
    logits: tuple[str, int] | None = None
    threshold: float = 0.5
    assumed: bool = False

    @property
    def has_classes(self) -> bool:
        return self.kind in _OF_CLASSES

    @property
    def classes(self) -> int | None:
        """How many classes can be named: two for one score that says which of two it is. None where not fixed."""
        if not self.has_classes:
            return None
        return 2 if self.two_sided else self.columns

    @property
    def two_sided(self) -> bool:
        """Whether one score stands for two classes, and class 0 is its negative side."""
        return self.kind == "two" and self.columns == 1

    @property
    def function(self) -> str:
        """What makes probabilities of the scores: "softmax", "sigmoid", "exp", or "" for probabilities."""
        if self.scores == "probabilities":
            return ""
        if self.scores == "log-probabilities":
            return "exp"
        return "softmax" if self.kind == "classes" or (self.kind == "two" and not self.two_sided) else "sigmoid"

    def rows(self, values: NDArray[np.generic]) -> NDArray[np.float64]:
        """`value` of a batch as float64 (N, columns), the model's own numbers. Raises ShapeError."""
        array = np.asarray(values)
        if array.dtype.kind not in "fiu":
            raise ShapeError(f"output {self.output!r} holds {array.dtype}, not numbers")
        if array.ndim <= 1:
            return array.astype(np.float64).reshape((1, -1) if self.axis == 0 else (-1, 1))
        columns = array.shape[self.axis] if self.axis < array.ndim else 1
        if array.size != array.shape[0] * columns:
            raise ShapeError(
                f"output {self.output!r} of shape {list(array.shape)} is not one score per class: name another output"
            )
        return np.asarray(np.moveaxis(array, min(self.axis, array.ndim - 1), -1).reshape(-1, columns), np.float64)

    def sides(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, columns) -> (N, classes): the number of every class, -z for the negative side of a logit z."""
        if not self.two_sided:
            return rows
        if self.scores == "probabilities":
            return np.concatenate([1 - rows, rows], axis=1)
        if self.scores == "log-probabilities":
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.concatenate([np.log1p(-np.exp(rows)), rows], axis=1)
        return np.concatenate([-rows, rows], axis=1)

    def probabilities(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, columns) -> (N, classes): the probability of every class. Raises ModelError for kinds without classes."""
        if not self.has_classes:
            raise ModelError(f"output {self.output!r} is not a set of classes ({self.reason}): it has no probabilities")
        with np.errstate(invalid="ignore", over="ignore"):
            if self.function == "exp":
                shown = np.exp(rows)
            elif self.function == "sigmoid":
                shown = np.where(rows >= 0, 1 / (1 + np.exp(-np.abs(rows))), 1 - 1 / (1 + np.exp(-np.abs(rows))))
            elif self.function == "softmax":
                powers = np.exp(rows - rows.max(axis=1, keepdims=True))
                shown = powers / powers.sum(axis=1, keepdims=True)
            else:
                shown = rows
        return np.concatenate([1 - shown, shown], axis=1) if self.two_sided else np.asarray(shown)

    @property
    def shown_as(self) -> str:
        """How `probabilities` are made, in words: "softmax of output 'logits'"."""
        kind = ", independent labels" if self.kind == "labels" else ""
        what = f"{'output' if self.value == self.output else 'value'} {self.value!r}"
        return f"{self.function} of {what}{kind}" if self.function else f"{what} as it is{kind}"


def find_answer(model: Model, hints: Hints | None = None) -> Answer:
    """What the model answers.

    Raises UnknownName for an output that does not exist, CardError for a kind or scores that do not exist or that the
    output cannot be, ModelError for a model without an output that can be read.
    """
    hints = hints or Hints()
    if hints.scores is not None and hints.scores not in SCORES:
        raise CardError(f"scores must be one of {', '.join(SCORES)}, got {hints.scores!r}")
    if hints.kind is not None and hints.kind not in KINDS:
        raise CardError(f"answer must be one of {', '.join(KINDS)}, got {hints.kind!r}")
    names = [v.name for v in model.outputs]
    if hints.output is not None and hints.output not in model.values:
        raise UnknownName("model output", hints.output, names)
    asked = [model.value(hints.output)] if hints.output is not None else list(model.outputs)
    read: list[tuple[float, Answer]] = []
    reasons = []
    for value in asked:
        found = _read(model, value, hints)
        if isinstance(found, str):
            reasons.append(f"{value}: {found}")
        else:
            read.append((_weight(model, found, hints), found))
    if not read:
        raise ModelError(f"no output of the model can be read ({'; '.join(reasons) or 'it has none'}): name one")
    read = [(weight - 2 * _is_on_the_way(model, found, [a for _, a in read]), found) for weight, found in read]
    best = max(range(len(read)), key=lambda i: (read[i][0], -i))
    found = read[best][1]
    place = "as given" if hints.output else "the only output" if len(names) == 1 else _among(read, best)
    return replace(found, reason=f"{place}; {found.reason}")


def _among(read: list[tuple[float, Answer]], best: int) -> str:
    others = ", ".join(f"{a.output} ({a.kind})" for i, (_, a) in enumerate(read) if i != best)
    return f"chosen among the outputs; the others: {others}" if others else "the only output that can be read"


# ---- which output

_TELLS_CLASSES = re.compile(r"logit|prob|class|softmax|score|pred|cls|label|output|^y$|^out", re.I)


def _weight(model: Model, answer: Answer, hints: Hints) -> float:
    """How much speaks for an output being the answer."""
    weight = {"classes": 3.0, "two": 3.0, "labels": 3.0, "number": 2.0, "map": 1.5, "boxes": 1.5}.get(answer.kind, 0.0)
    if answer.kind == "state":
        weight -= 4
    if answer.kind == "boxes" and rows_of_boxes(model, model.value(answer.output)):
        weight += 3
    if answer.has_classes and not answer.assumed:
        weight += 3
    if hints.labels is not None and answer.classes == hints.labels:
        weight += 3
    if _TELLS_CLASSES.search(answer.output):
        weight += 1
    return weight


def _is_on_the_way(model: Model, answer: Answer, all_: list[Answer]) -> bool:
    """Whether another output that can be the answer is computed from this one: features before logits."""
    return any(
        other.output != answer.output and answer.value in model.ancestors(other.value) and other.kind != "state"
        for other in all_
    )


# ---- what one output is


def _read(model: Model, value: Value, hints: Hints) -> Answer | str:
    """The output as an answer, or why it is none."""
    source, why, threshold = behind(model, value.name)
    held = model.value(source)
    if refused := _not_numbers(model, held):
        return refused
    function = score_function(model, source)
    answer = _kind_of(model, value, held, function, hints)
    if isinstance(answer, str):
        return answer
    logits = None
    if function is not None and function.logits is not None and answer.has_classes:
        axis = _logits_axis(model, function, answer)
        logits = None if axis is None else (function.logits, axis)
    scores: Scores = as_scores(function)
    if hints.scores is not None and (answer.has_classes or answer.kind == "map"):
        scores = hints.scores  # type: ignore[assignment]  # checked above
        told = f"{scores}: as given"
    elif function is not None:
        told = f"{scores}: it comes out of {function.where}" + _DIALECT.get(function.kind, "")
    else:
        told = f"{scores}: no softmax or sigmoid after {_last(model, source)}"
    if threshold is not None and function is None:
        threshold = float(1 / (1 + np.exp(-threshold)))
    limit = hints.threshold if hints.threshold is not None else 0.5 if threshold is None else threshold
    parts = (why, answer.reason, told if answer.has_classes or answer.kind == "map" else "")
    return replace(answer, scores=scores, logits=logits, threshold=limit, reason="; ".join(filter(None, parts)))


_DIALECT = {"softmax": "", "sigmoid": "", "votes": ", a classifier"}


def _last(model: Model, name: str) -> str:
    node = last_node(model, name)
    return "the input" if node is None else f"{node.op_type} {node.name or next((o for o in node.output if o), '')!r}"


def _not_numbers(model: Model, value: Value) -> str:
    """Why the value cannot be read as numbers."""
    if value.dtype is None:
        sequence = any(o.name == value.name and o.type.HasField("sequence_type") for o in model.graph.output)
        return "a sequence; export a scikit-learn model with zipmap=False" if sequence else "not a tensor of known type"
    if value.dtype.kind not in "fiu" or (value.dtype.kind in "iu" and value.dtype.itemsize > 4):
        return "not a type for scores"
    return ""


def behind(model: Model, name: str) -> tuple[str, str, float | None]:
    """What the post-processing of an output reads, what that is, and a threshold that it compares with."""
    node = model.producer(name)
    for _ in range(20):
        if node is None or node.op_type not in ("Cast", "Squeeze", "Unsqueeze", "Reshape", "Identity", "Flatten"):
            break
        node = model.producer(node.input[0])
    if node is None:
        return name, "", None
    if node.op_type in ("ArgMax", "TopK") and (node.op_type == "ArgMax" or model.value(name).dtype is not None):
        whole = model.value(name).dtype
        if node.op_type == "ArgMax" or (whole is not None and whole.kind in "iu"):
            return str(node.input[0]), f"looked through {node.op_type} {node.name!r}", None
    if node.op_type in ("Greater", "GreaterOrEqual"):
        limit = model.constant(node.input[1])
        if limit is not None and limit.size == 1:
            return str(node.input[0]), f"looked through {node.op_type} {node.name!r}", float(limit.reshape(()))
    if node.op_type == "Round" and score_function(model, node.input[0]) is not None:
        return str(node.input[0]), f"looked through Round {node.name!r}", None
    return name, "", None


def _kind_of(model: Model, output: Value, value: Value, function: ScoreFunction | None, hints: Hints) -> Answer | str:
    """Kind, axis and number of columns, with the reason. Its scores are filled in by the caller."""

    def made(kind: str, axis: int, columns: int | None, reason: str, assumed: bool = False) -> Answer:
        if hints.kind is not None:
            # One score cannot be a class among others: it says which of two.
            kind = "two" if hints.kind == "classes" and columns == 1 else hints.kind
            reason, assumed = f"{kind}: as given", False
            if kind in _OF_CLASSES and axis < 0:
                raise CardError(f"output {value} cannot be {kind}: it has no axis of classes")
        return Answer(output.name, value.name, kind, axis, columns, "logits", reason, assumed=assumed)  # type: ignore[arg-type]

    state = as_state(model, output)
    if state and hints.output is None and hints.kind is None:
        return made("state", -1, None, state)
    if boxes := rows_of_boxes(model, output):
        return made("boxes", -1, None, boxes)
    if is_bare_map(model, value):
        return made("map", -1, None, "map: rows and columns as those of the image, without samples")
    axis, shape = class_axis(model, value), value.shape
    if axis is not None and axis > 0 and shape is not None and is_rows_of_one_sample(model, value):
        return made("map", -1, None, f"map: {shape[0]} rows where the model takes one sample", True)
    if axis is None:
        return made(*not_one_row(model, value, function))
    size = shape[axis] if shape is not None and axis < len(shape) else None if shape is None else 1
    columns = size if isinstance(size, int) else None
    return made(*of_columns(model, output, axis, columns, function, hints.labels))


def _logits_axis(model: Model, function: ScoreFunction, answer: Answer) -> int | None:
    """The class axis of the value before the softmax or sigmoid."""
    assert function.logits is not None
    shape = model.value(function.logits).shape
    if not function.moved or shape is None:
        return answer.axis
    if function.kind == "sigmoid":
        return next((i for i, d in enumerate(shape) if i > 0 and d != 1), 1)
    axis = attributes(function.node).get("axis", -1 if model.opset >= 13 else 1)
    return int(axis) % len(shape) if isinstance(axis, int) else answer.axis
