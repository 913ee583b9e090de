"""A graph of its own that is written as parts of a compiled model are: what stands between two graphs on a device.

What a method emits into a compiled model it emits here behind inputs that are values of another graph, so that its
arithmetic runs where these values are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

from onnx import GraphProto
from onnx.helper import make_graph, make_model, make_opsetid, make_tensor_value_info

from ..caches import Kept
from ..emitter.assemble import finish
from ..graph.model import Model
from ..graph.upgrade import GRADIENT_OPSET
from .build import Build

# Element type and shape of a value; None: an axis of any size.
Kind = tuple[int, tuple[int | None, ...]]


class Stage(Build):
    """`Build` behind values of any graph, without a problem: for what asks for nothing but nodes. `names`: of these
    values."""

    def __init__(self, values: Mapping[str, Kind]) -> None:
        self.names = tuple(values)
        infos = [
            make_tensor_value_info(name, kind, ["rows" if side is None else side for side in shape])
            for name, (kind, shape) in values.items()
        ]
        graph = make_graph([], "stage", infos, infos[:1])
        opset = [make_opsetid("", GRADIENT_OPSET)]
        self._model, self._op = Model(make_model(graph, opset_imports=opset, ir_version=8)), None


_stages = Kept[Hashable, Model](16)


def stage_of(key: Hashable, values: Mapping[str, Kind], emit: Callable[[Stage], str]) -> Model:
    """The graph whose inputs are `values` and whose output `made` is what `emit` emits.

    Kept for the next call with the same key, which tells apart what is emitted, and the same values.
    """

    def make() -> Model:
        build = Stage(values)
        made = emit(build)
        op, graph = build.op, GraphProto(name="stage")
        op.rename(op.nodes, [(made, "made")])
        graph.input.extend(build.model.untyped.graph.input)
        graph.output.append(make_tensor_value_info("made", op.elem_type("made"), None))
        return finish(op, graph, op.nodes, {})

    return _stages.get((key, tuple(values.items())), make)
