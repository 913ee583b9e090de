"""The value before the softmax or sigmoid that a value comes out of."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from ..errors import TargetError
from ..graph.model import Model
from ..graph.split import value_infos
from ..graph.upgrade import GRADIENT_OPSET, upgraded
from ..inspect.score_functions import ScoreFunction, score_function
from ..proto.attributes import attributes
from ..proto.edit import copied
from ..proto.writer import Writer

_PREFIX = "onnxray/logit"


def before_activation(model: Model, name: str, asked: str) -> tuple[Model, str]:
    """A model and a value in it, shaped like `name`: the input of its sigmoid; log(p / (1 - p)) of its softmax's.

    Operators that only move numbers between the two are made once more. Raises TargetError where `name` comes out of
    neither, or what stands before it cannot be had.
    """
    function = score_function(model, name)
    if function is None:
        raise TargetError(f"{name!r} holds plain numbers, no softmax or sigmoid stands before it: explain {asked}")
    if function.logits is None or function.kind == "votes":
        raise TargetError(f"the scores before the probabilities {name!r} cannot be found: explain {asked}")
    if function.kind == "sigmoid" and not _carriers(model, name, function):
        return model, function.logits
    model = upgraded(model, GRADIENT_OPSET)
    function = score_function(model, name)
    assert function is not None
    assert function.logits is not None
    carriers = _carriers(model, name, function)
    writer = Writer(model.values)
    value = function.logits if function.kind == "sigmoid" else _log_odds(model, writer, function, name)
    for node in reversed(carriers):
        value = _again(writer, node, value)
    (info,) = value_infos(model, [name])
    info.name = value
    with model.edited() as edit:
        edit.graph.initializer.extend(writer.initializers.values())
        edit.graph.node.extend(writer.nodes)
        edit.graph.output.append(info)
    return edit.model, value


def _carriers(model: Model, name: str, function: ScoreFunction) -> list[NodeProto]:
    """The nodes between the function and `name`, the last one first."""
    found: list[NodeProto] = []
    while name not in function.node.output:
        node = model.producer(name)
        if node is None or len(found) > len(model.graph.node):
            raise TargetError(f"what stands between {function.where} and {name!r} cannot be passed over")
        if node.op_type in ("Identity", "Dropout"):
            name = node.input[0]
            continue
        found.append(node)
        name = node.input[0]
    return found


def _again(writer: Writer, node: NodeProto, value: str) -> str:
    """The node once more, reading `value` in the place of its first input."""
    copy = copied(node)
    copy.input[0] = value
    copy.output[:] = [writer.numbered(_PREFIX)]
    copy.name = copy.output[0]
    writer.add(copy)
    return str(copy.output[0])


def _log_odds(model: Model, writer: Writer, function: ScoreFunction, name: str) -> str:
    """Of the scores `name`: z - log(sum of exp of the other z), along the axis of the softmax; no difference of large
    numbers is taken."""
    z = function.logits
    assert z is not None
    value = model.value(z)
    maker = model.producer(z)
    # What is flattened has two axes, whatever is known of its size: softmax up to opset 12.
    known = 2 if maker is not None and maker.op_type == "Flatten" else value.rank
    dtype = value.dtype or model.value(function.node.output[0]).dtype or model.value(name).dtype
    if function.node.op_type not in ("Softmax", "LogSoftmax") or known is None or dtype is None:
        raise TargetError(
            f"the axis of {function.where} cannot be known: explain the value before it, element:{z}:INDEX,..."
        )
    given = attributes(function.node).get("axis", -1)
    axis, rank = int(given if isinstance(given, int) else -1) % known, known

    def one(op_type: str, *inputs: str, **options: object) -> str:
        return writer.node(op_type, inputs, [writer.numbered(_PREFIX)], **options)

    def const(numbers: object, kind: object) -> str:
        return writer.initializer(writer.numbered(_PREFIX), np.array(numbers, kind))  # type: ignore[call-overload]

    zero, unit, first, second = const(0, dtype), const(1, dtype), const([0], np.int64), const([1], np.int64)
    best, places = writer.numbered(_PREFIX), writer.numbered(_PREFIX)
    writer.node("TopK", [z, const([2], np.int64)], [best, places], axis=axis)
    z1, z2 = one("Gather", best, first, axis=axis), one("Gather", best, second, axis=axis)
    count = one("Shape", z, start=axis, end=axis + 1)
    numbers = one("Range", const(0, np.int64), one("Squeeze", count), const(1, np.int64))
    spread = one("Reshape", numbers, const([-1 if a == axis else 1 for a in range(rank)], np.int64))
    top = one("Equal", spread, one("Gather", places, first, axis=axis))
    axes = const([axis], np.int64)
    # What Where leaves out is kept finite: its slope must be 0, not 0 times infinity.
    powers = one("Exp", one("Sub", z, z1))
    rest = one("Sub", one("ReduceSum", powers, axes, keepdims=1), powers)
    of_others = one("Add", z1, one("Log", one("Where", top, unit, rest)))
    lower = one("Exp", one("Where", top, zero, one("Sub", z, z2)))
    without = one("ReduceSum", one("Where", top, zero, lower), axes, keepdims=1)
    of_top = one("Add", z2, one("Log", without))
    return one("Sub", z, one("Where", top, of_top, of_others))
