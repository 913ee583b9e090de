"""Writing an objective into the graph of a network: names, parameters that are fed, and what is read from the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ..errors import ModelError, ShapeError, TargetError
from ..graph.model import Model
from ..inspect.concrete_shapes import concrete_shapes
from ..inspect.layers import value_of
from ..preprocess.answers import answer_of
from ..proto.writer import Writer
from ..targets.classes import class_index
from ..targets.units import unit_axes
from .linear import Linear, activated, linear_value

PREFIX = "objective/"


@dataclass(frozen=True)
class UnitPlace:
    """A layer in a head: its linear value in the graph, the value `after` its activation function, and their axes."""

    layer: str
    linear: str
    after: str
    shape: tuple[int, ...]
    channel: int
    places: tuple[int, ...]

    @property
    def channels(self) -> int:
        return self.shape[self.channel]


class Build(Writer):
    """An objective on its way into the graph of `head`, the part of `model` that computes what the objective reads.

    `rows`: pictures of one run. `evaluate` gives a value of the head for an image, uint8 (H, W, 3). `parameters` are
    arrays (1, ...) that are fed with every run, so that objectives that differ in them share one graph. `linear` and
    `after` name the two numbers that are reported, (N,), None where the objective has none.
    """

    def __init__(
        self,
        model: Model,
        head: Model,
        rows: int,
        labels: tuple[str, ...] | None,
        evaluate: Callable[[str, NDArray[Any]], NDArray[Any]],
    ) -> None:
        super().__init__(head.values)
        self.model, self.head, self.rows, self.labels, self.evaluate = model, head, rows, labels, evaluate
        self.parameters: dict[str, NDArray[np.float32]] = {}
        self.linear: str | None = None
        self.after: str | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._made: dict[Any, str] = {}

    def op(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """The name of a new node's output."""
        name = self.numbered(f"{PREFIX}{op_type.lower()}")
        return self.node(op_type, inputs, [name], **attributes)

    def constant(self, array: Any) -> str:
        """The name of a constant."""
        return self.initializer(self.numbered(f"{PREFIX}constant"), np.asarray(array))

    def axes(self, *axes: int) -> str:
        """A constant list of axes."""
        return self.constant(np.array(axes, np.int64))

    def parameter(self, array: Any) -> str:
        """The name of an input that is fed `array` (1, ...), one for each row."""
        name = self.numbered(f"{PREFIX}parameter")
        self.parameters[name] = np.ascontiguousarray(array, np.float32)
        return name

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a value of the head, in numbers. Raises ShapeError."""
        if name not in self._shapes:
            declared = self.head.value(name).shape
            if declared is not None and all(isinstance(d, int) for d in declared):
                self._shapes[name] = tuple(int(d or 0) for d in declared)
            else:
                found = concrete_shapes(self.head).get(name)
                if found is None:
                    raise ShapeError(
                        f"the shape of {name!r} is not known for a picture of this size: choose another size or layer"
                    )
                self._shapes[name] = found
        return self._shapes[name]

    def rank(self, name: str) -> int:
        """Of a value of the head, whose sizes may be open. Raises ShapeError."""
        found = self.head.value(name).rank
        return len(self.shape(name)) if found is None else found

    def unit(self, layer: str) -> UnitPlace:
        """A layer to be read before its activation function. Raises UnknownName, TargetError, ShapeError."""
        value, channel, places = unit_axes(self.model, layer)
        linear = linear_value(self.model, value)
        after = activated(self.model, value) if linear == Linear(value) else value
        name = self._joined(linear)
        return UnitPlace(layer, name, after, self.shape(value), channel, places)

    def _joined(self, linear: Linear) -> str:
        if linear.name:
            return linear.name
        if linear not in self._made:
            self._made[linear] = self.op("Concat", *(self._joined(p) for p in linear.parts), axis=linear.axis)
        return self._made[linear]

    def total(self, value: str, rank: int) -> str:
        """(N,): the sum of a value (N, ...) of that rank."""
        summed = self.op("ReduceSum", value, self.axes(*range(1, rank)), keepdims=0) if rank > 1 else value
        return self.op("Reshape", summed, self.constant(np.array([self.rows], np.int64)))

    def weighted(self, unit: UnitPlace, weights: NDArray[Any]) -> str:
        """(N,): the sum of the linear value times `weights` (1, ...); both numbers are reported."""
        fed = self.parameter(weights)
        scores = [
            self.total(self.op("Mul", name, fed), len(unit.shape)) for name in dict.fromkeys((unit.linear, unit.after))
        ]
        self.report(scores[0], scores[-1])
        return scores[0]

    def report(self, linear: str, after: str) -> None:
        """The first objective says which numbers are reported."""
        if self.linear is None:
            self.linear, self.after = linear, after

    def class_scores(self, which: int | str) -> tuple[str, int, int]:
        """The value with the scores of all classes before softmax or sigmoid, (N, classes), and (index, count).

        Raises TargetError where the model has no classes or only probabilities, UnknownName for a label.
        """
        name, axis, two_sided = logits_of(self.model)
        shape = self.shape(name)
        axis = min(axis, len(shape) - 1)
        count = 2 if two_sided else shape[axis]
        index = class_index(which, self.labels, count)
        if ("logits",) not in self._made:
            self._made["logits",] = self._columns(name, shape, axis, two_sided)
        return self._made["logits",], index, count

    def _columns(self, name: str, shape: Sequence[int], axis: int, two_sided: bool) -> str:
        """(N, classes), means over all places."""
        others = [a for a in range(1, len(shape)) if a != axis]
        if others:
            name = self.op("ReduceMean", name, self.axes(*others), keepdims=0)
        name = self.op("Reshape", name, self.constant(np.array([self.rows, -1], np.int64)))
        return self.op("Concat", self.op("Neg", name), name, axis=1) if two_sided else name


def logits_of(model: Model) -> tuple[str, int, bool]:
    """The value with the class scores before softmax or sigmoid, its class axis, and whether one stands for two.

    Raises TargetError.
    """
    try:
        answer = answer_of(model)
    except ModelError as error:
        raise TargetError(f"{error}; visualize a layer or a channel instead") from None
    if not answer.has_classes and answer.kind != "number":
        raise TargetError(
            f"the output {answer.output!r} has no classes ({answer.reason}): visualize a layer or a channel instead"
        )
    if answer.scores == "logits":
        return answer.value, max(answer.axis, 1), answer.two_sided
    if answer.logits is None:
        raise TargetError(
            f"the scores before the probabilities {answer.value!r} cannot be found: visualize the channel of the layer "
            "before them"
        )
    return answer.logits[0], max(answer.logits[1], 1), answer.two_sided


def values_of_layer(model: Model, layer: str) -> tuple[str, ...]:
    """The values that a unit of `layer` is read from. Raises UnknownName."""
    value = value_of(model, layer)
    linear = linear_value(model, value)
    after = activated(model, value) if linear == Linear(value) else value
    return (*linear.values, value, after)


def apply(head: Model, build: Build, outputs: dict[str, str]) -> Model:
    """The head with what was written as further nodes; its outputs are `outputs`: name -> the value (N,) it shows."""
    with head.edited() as edit:
        graph = edit.graph
        graph.node.extend(build.nodes)
        graph.initializer.extend(build.initializers.values())
        for name, array in build.parameters.items():
            shape = [build.rows, *array.shape[1:]]
            graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
        del graph.output[:]
        for name, value in outputs.items():
            graph.node.append(onnx.helper.make_node("Identity", [value], [name], name=name))
            graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [build.rows]))
    return edit.model
