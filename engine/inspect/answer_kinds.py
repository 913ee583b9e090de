"""What the numbers of one output are: classes, a number, an embedding, a state, by structure, labels and names."""

from __future__ import annotations

import re

from ..graph.model import Model
from ..proto.values import Value
from .score_functions import ScoreFunction, last_node

_TELLS_STATE = re.compile(r"state|hidden|cache|present|past|memory|^[hc]_?n$|^[hc]n?\d*$|_[hc]$", re.I)
_TELLS_EMBEDDING = re.compile(r"embed|feature|pooled|pooler|last_hidden|descriptor|latent|encod|representation", re.I)
_TELLS_NUMBERS = re.compile(
    r"landmark|keypoint|regress|coord|pose|offset|angle|distance|depth|(^|_)age($|_)|(^|_)value|price|anomaly|quality",
    re.I,
)
_TELLS_LOGIT = re.compile(r"logit|prob|class|cls|sigmoid", re.I)


def of_columns(
    model: Model, output: Value, axis: int, columns: int | None, function: ScoreFunction | None, labels: int | None
) -> tuple[str, int, int | None, str, bool]:
    """What (N, columns) numbers are."""
    name = output.name
    if columns == 1:
        return (*_of_one(output, axis, function, labels),)
    if function is not None and function.kind != "sigmoid":
        return "classes", axis, columns, "classes: they share one probability", False
    if function is not None:
        return "labels", axis, columns, "labels: each has a sigmoid of its own", False
    if _is_normalised(model, name):
        return "embedding", axis, columns, "embedding: its length is normalised to 1", False
    if labels is not None and labels == columns:
        return "classes", axis, columns, f"classes: {columns} labels name them", False
    if _TELLS_EMBEDDING.search(name):
        return "embedding", axis, columns, f"embedding: the output is called {name!r}", False
    if _TELLS_NUMBERS.search(name):
        return "number", axis, columns, f"number: the output is called {name!r}", False
    count = "its" if columns is None else columns
    return "classes", axis, columns, f"assumed to be classes: {count} numbers, and nothing says otherwise", True


def _of_one(
    output: Value, axis: int, function: ScoreFunction | None, labels: int | None
) -> tuple[str, int, int | None, str, bool]:
    """What one number per sample is."""
    if labels == 1:
        return "labels", axis, 1, "labels: one label names the one number", False
    if function is not None:
        return "two", axis, 1, "two: one probability; class 0 is its negative side", False
    if labels == 2:
        return "two", axis, 1, "two: two labels name the sides of one number", False
    if _TELLS_LOGIT.search(output.name):
        return "two", axis, 1, f"two: one number called {output.name!r}; class 0 is its negative side", False
    named = _TELLS_NUMBERS.search(output.name) is not None
    why = f"the output is called {output.name!r}" if named else "nothing says it is a logit"
    return "number", axis, 1, f"number: one number per sample, and {why}", not named


def not_one_row(model: Model, value: Value, function: ScoreFunction | None) -> tuple[str, int, int | None, str, bool]:
    """What values with places, or none at all, are."""
    shape = value.shape or ()
    detector = model.producer(value.name)
    if any(node.op_type in ("NonMaxSuppression", "EfficientNMS_TRT", "BatchedNMS_TRT") for node in model.graph.node):
        return "boxes", -1, None, "boxes: the graph suppresses overlapping boxes (NonMaxSuppression)", False
    if len(shape) >= 4:
        return "map", 1, None, f"map: {len(shape)} axes, scores with places", False
    if len(shape) == 3 and shape[-1] == 4:
        return "boxes", -1, None, "boxes: rows of four coordinates", False
    where = "" if detector is None else f", out of {detector.op_type}"
    return "map", -1, None, f"map: {len(shape)} axes, numbers with places{where}", True


def class_axis(model: Model, value: Value) -> int | None:
    """The axis of the classes in `value`, 1 for a value of one number per sample; None where it has places."""
    shape = value.shape
    if shape is None or len(shape) == 2:
        return 1
    if len(shape) == 0:
        return 0
    if len(shape) == 1:
        batched = any(v.shape and v.shape[0] == shape[0] and len(v.shape) > 1 for v in model.inputs)
        return 0 if isinstance(shape[0], int) and shape[0] > 1 and not batched else 1
    ones = [i for i, d in enumerate(shape) if i > 0 and d == 1]
    if len(shape) == 4 and shape[2:] == (1, 1):
        return 1
    if len(shape) == 4 and shape[1:3] == (1, 1):
        return 3
    if len(ones) == len(shape) - 1:
        return 1
    return None


def as_state(model: Model, output: Value) -> str:
    """Why an output is the state of a recurrent model or a cache; "" where it is none."""
    if output.shape is None:
        return ""
    named = _TELLS_STATE.search(output.name) is not None
    for value in model.inputs:
        if value.shape is None or len(value.shape) != len(output.shape) or value.dtype != output.dtype:
            continue
        same = [
            a == b or not (isinstance(a, int) and isinstance(b, int))
            for a, b in zip(value.shape, output.shape, strict=True)
        ]
        stem = re.sub(r"(_?(in|out|new|next|n)$)|[^a-z]", "", value.name.lower())
        alike = bool(stem) and stem in output.name.lower()
        if all(same) and (named or alike) and value.name != output.name:
            return f"state: it has the shape of the input {value.name!r}, to be fed to the next step"
    recurrent = [node for node in model.graph.node if node.op_type in ("LSTM", "GRU", "RNN")]
    if named and any(output.name in list(node.output)[1:] for node in recurrent):
        return "state: the last state of a recurrent layer"
    return ""


def _is_normalised(model: Model, name: str) -> bool:
    """Whether the value was divided by its own Euclidean length."""
    node = last_node(model, name)
    if node is None:
        return False
    if node.op_type in ("LpNormalization",):
        return True
    if node.op_type not in ("Div", "Mul"):
        return False
    for other in node.input:
        below = last_node(model, other)
        for _ in range(6):
            if below is None:
                break
            if below.op_type == "ReduceL2" or (below.op_type == "Sqrt" and _is_sum_of_squares(model, below.input[0])):
                return True
            below = last_node(model, below.input[0]) if below.op_type in ("Max", "Clip", "Add", "Reciprocal") else None
    return False


def _is_sum_of_squares(model: Model, name: str) -> bool:
    node = last_node(model, name)
    if node is not None and node.op_type in ("Add", "Max", "Clip"):
        node = last_node(model, node.input[0])
    return node is not None and node.op_type in ("ReduceSumSquare", "ReduceSum")
