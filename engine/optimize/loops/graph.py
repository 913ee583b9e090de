"""What both files have in common: a gradient's graph as the body of a Loop, and the model around it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, ValueInfoProto

from ...autodiff.vjp import vjp
from ...errors import Disconnected
from ...graph.model import Model
from ...graph.split import extract
from ...proto.edit import rename
from ...proto.nodes import DOMAIN_NAMES
from ...proto.writer import Writer
from ..build import Build
from ..canvas import Canvas
from ..objective import Objective

IMAGE, STEPS, PICTURE, SCORE = "image", "steps", "picture", "objective"
METADATA = "onnxray.compile"
# Random moves are drawn once and stored; more steps than that begin with the first again.
TABLE = 256
_PREFIX = "loop/"


class Graph(Writer):
    """Nodes and constants under names that nobody has."""

    def op(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """The name of a new node's output."""
        return self.node(op_type, inputs, [self.numbered(f"{_PREFIX}{op_type.lower()}")], **attributes)

    def constant(self, array: Any) -> str:
        """The name of a constant: float64 becomes float32."""
        value = np.asarray(array)
        value = value.astype(np.float32) if value.dtype == np.float64 else value
        return self.initializer(self.numbered(f"{_PREFIX}constant"), value)

    def integers(self, *values: int) -> str:
        """The name of a list of whole numbers."""
        return self.constant(np.array(values, np.int64))


def seen(graph: Graph, canvas: Canvas, picture: str) -> str:
    """The network's input of a picture (1, C, H, W) in 0..1 with the channels of the eye."""
    value = picture
    if canvas.order != tuple(range(canvas.channels)):
        value = graph.op("Gather", value, graph.integers(*canvas.order), axis=1)
    gain, shift = (np.reshape(np.array(part, np.float32), (1, -1, 1, 1)) for part in (canvas.gain, canvas.shift))
    value = graph.op("Add", graph.op("Mul", value, graph.constant(gain)), graph.constant(shift))
    missing = [letter for letter in "NCHW" if letter not in canvas.layout]
    perm = ["NCHW".index(letter) for letter in (*canvas.layout, *missing)]
    if perm != [0, 1, 2, 3]:
        value = graph.op("Transpose", value, perm=perm)
    if missing:
        value = graph.op("Squeeze", value, graph.integers(*range(len(canvas.layout), 4)))
    return value


def with_objective(
    head: Model,
    model: Model,
    canvas: Canvas,
    objective: Objective,
    labels: tuple[str, ...] | None,
    before: Graph,
    inputs: Sequence[ValueInfoProto],
    image: str,
) -> tuple[Model, str]:
    """`before`, which makes the value `image`, then the head, then the objective: a model of `inputs`, and its score.

    Raises TargetError, ShapeError.
    """

    def evaluate(value: str, pixels: NDArray[Any]) -> NDArray[Any]:
        raise Disconnected(f"{objective} compares with an image: a file holds objectives that need none")

    build = Build(model, head, 1, labels, evaluate)
    score = objective.emit(build)
    with head.edited() as edit:
        graph = edit.graph
        nodes = list(graph.node)
        # The file's own inputs and outputs have these names.
        names = {name: f"{_PREFIX}inner/{name}" for name in (IMAGE, STEPS, PICTURE, SCORE) if name in head.values}
        for node in nodes:
            rename(node, names)
        for tensor in graph.initializer:
            tensor.name = names.get(tensor.name, tensor.name)
        del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
        graph.node.extend(before.nodes)
        graph.node.append(onnx.helper.make_node("Identity", [image], [names.get(canvas.input, canvas.input)]))
        graph.node.extend(nodes)
        for node in build.nodes:
            rename(node, names)
        graph.node.extend(build.nodes)
        constants = {**before.initializers, **build.initializers}
        for name, array in build.parameters.items():
            constants[name] = onnx.numpy_helper.from_array(array, name)
        graph.initializer.extend(constants.values())
        graph.input.extend(inputs)
        graph.output.append(onnx.helper.make_tensor_value_info(score, TensorProto.FLOAT, [1]))
    return edit.model, score


def gradient_of(model: Model, score: str, value: str) -> tuple[Model, str]:
    """The gradient of `score` by `value` as a model without a seed, and its name there. Raises GradientError."""
    try:
        made = vjp(model, score, value)
    except Disconnected as error:
        raise Disconnected(f"there is nothing to optimise: {error}") from None
    made = extract(made, outputs=list(made.untyped.graph.output))
    seed = next(v.name for v in made.inputs if v.name.startswith("cotangent/"))
    with made.edited() as edit:
        kept = [info for info in edit.graph.input if info.name != seed]
        del edit.graph.input[:]
        edit.graph.input.extend(kept)
        edit.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(1, np.float32), seed))
    name = next(v.name for v in edit.graph.output if v.name.startswith("grad/"))
    return edit.model, name


def floats(name: str, shape: Sequence[int | str]) -> ValueInfoProto:
    """A value of float32."""
    return onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def whole_numbers(name: str, shape: Sequence[int]) -> ValueInfoProto:
    """A value of int64."""
    return onnx.helper.make_tensor_value_info(name, TensorProto.INT64, list(shape))


class Loop:
    """A Loop whose body is a gradient's graph with nodes before and behind: `before` and `behind` write them.

    The body's state is `state`: name -> its shape; `number` is the step from 0, an int64 scalar.
    """

    def __init__(self, gradient: Model, state: Mapping[str, Sequence[int | str]]) -> None:
        taken = {*gradient.values, *state, IMAGE, STEPS, PICTURE, SCORE}
        self.gradient, self.state = gradient, dict(state)
        self.before = Graph(taken)
        self.behind = Graph(outer=self.before)
        self.outer = Graph(outer=self.before)
        self.number = f"{_PREFIX}number"

    def add(self, starts: Sequence[str], results: Sequence[str]) -> list[str]:
        """The Loop node in `outer`: the state begins with `starts` and becomes `results`; the last state."""
        outer, true = self.outer, f"{_PREFIX}on"
        same = self.behind.op("Identity", outer.constant(np.array(True)))
        # A result that is an input of the body, or another one's, must be a node's output of its own.
        copies = [self.behind.op("Identity", name) for name in results]
        gradient = self.gradient.graph
        body = onnx.helper.make_graph(
            [*self.before.nodes, *gradient.node, *self.behind.nodes],
            "step",
            [
                onnx.helper.make_tensor_value_info(self.number, TensorProto.INT64, []),
                onnx.helper.make_tensor_value_info(true, TensorProto.BOOL, []),
                *(floats(name, shape) for name, shape in self.state.items()),
            ],
            [
                onnx.helper.make_tensor_value_info(same, TensorProto.BOOL, []),
                *(floats(name, shape) for name, shape in zip(copies, self.state.values(), strict=True)),
            ],
            [tensor for tensor in self._constants(self.before, self.behind) if _is_argument(tensor)],
        )
        count = outer.op("Reshape", STEPS, outer.constant(np.zeros(0, np.int64)))
        count = outer.op("Max", count, outer.constant(np.int64(0)))
        last = [outer.numbered(f"{_PREFIX}last") for _ in starts]
        outer.add(onnx.helper.make_node("Loop", [count, "", *starts], last, name=f"{_PREFIX}steps", body=body))
        return last

    def _constants(self, *parts: Graph) -> Iterator[TensorProto]:
        yield from self.gradient.graph.initializer
        for part in parts:
            yield from part.initializers.values()

    def model(
        self, image: Sequence[int | str], picture: str, score: str, note: Mapping[str, Any], source: Model
    ) -> Model:
        """The model: `image` and `steps` in, `picture` and `objective` out; weights stand outside the Loop."""
        nodes = [
            *self.outer.nodes,
            onnx.helper.make_node("Identity", [picture], [PICTURE], name=PICTURE),
            onnx.helper.make_node("Identity", [score], [SCORE], name=SCORE),
        ]
        inner = [t for t in self._constants(self.before, self.behind) if not _is_argument(t)]
        constants = {t.name: t for t in (*inner, *self.outer.initializers.values())}
        graph = onnx.helper.make_graph(
            nodes,
            "optimisation",
            [floats(IMAGE, image), whole_numbers(STEPS, [1])],
            [floats(PICTURE, image), floats(SCORE, [1])],
            list(constants.values()),
        )
        opsets = [o for o in self.gradient.untyped.opset_import if o.domain in DOMAIN_NAMES]
        proto = onnx.helper.make_model(
            graph, opset_imports=opsets, ir_version=self.gradient.untyped.ir_version, producer_name="onnxray"
        )
        proto.metadata_props.add(key=METADATA, value=json.dumps(note))
        return Model(proto, folder=source.folder, overrides=source.overrides)


def _is_argument(tensor: TensorProto) -> bool:
    """Sizes, axes and the like: onnx's inference reads these in the graph of their node only, not around it."""
    return bool(tensor.data_type == TensorProto.INT64 and np.prod(tensor.dims, dtype=int) <= _MOST_ARGUMENTS)


_MOST_ARGUMENTS = 64
