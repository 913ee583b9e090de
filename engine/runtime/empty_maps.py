"""Maps without a pixel and sequences without a step, found before the model runs.

ONNX Runtime divides by the sizes of maps and steps through sequences: where one is 0, some of its operators end the
whole process (SIGFPE, abort) instead of failing. So sizes are inferred for what is about to be fed, and a model that
would come to such a value is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnx import GraphProto, ModelProto

from ..errors import ShapeError
from ..proto.edit import copy_fields
from ..proto.guarded_inference import INFERENCE_ERRORS, infer_graph
from ..proto.nodes import all_nodes, label
from ..proto.shape_inference import bare_graph, is_risky

_WINDOWS = frozenset(
    """Conv FusedConv NhwcFusedConv ConvInteger QLinearConv ConvTranspose DeformConv MaxPool AveragePool LpPool
    GlobalAveragePool GlobalMaxPool GlobalLpPool QLinearAveragePool QLinearGlobalAveragePool MaxUnpool MaxRoiPool
    RoiAlign Resize Upsample GridSample InstanceNormalization LRN DepthToSpace SpaceToDepth
    BatchNormalization""".split()
)
_RECURRENT = frozenset(("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"))


class EmptyMaps:
    """Checks feeds of one model; what was found for their shapes is kept."""

    def __init__(self, proto: ModelProto) -> None:
        operators = {node.op_type for node in all_nodes(proto.graph)}
        self._open = _open_inputs(proto.graph) if operators & (_WINDOWS | _RECURRENT) else None
        self._proto = _bare(proto) if self._open is not None else None  # without the weights, which are the session's
        self._found: dict[Any, str | None] = {}

    def check(self, feeds: Mapping[str, Any]) -> None:
        """Raise ShapeError where a map or a sequence would have the size 0."""
        if self._proto is None or self._open is None:
            return
        # An OrtValue's shape is a method.
        sizes = {name: x.shape() if callable(x.shape) else x.shape for name, x in feeds.items() if hasattr(x, "shape")}
        shapes = {name: tuple(shape) for name, shape in sizes.items()}
        # Inputs whose sizes the model fixes were judged when it was loaded: only their number can vary.
        if self._open.isdisjoint(shapes) and all(0 not in shape for shape in shapes.values()):
            return
        # Of the batch only counts whether there is one.
        key = tuple(sorted((name, bool(shape[:1] and shape[0]), shape[1:]) for name, shape in shapes.items()))
        if key not in self._found:
            self._found[key] = _empty_map(self._proto, shapes)
        reason = self._found[key]
        if reason is not None:
            raise ShapeError(reason)


def _open_inputs(graph: GraphProto) -> frozenset[str]:
    """The inputs that maps and sequences come from, of which a size behind the first axis, or the rank, is not fixed.

    Where there are inputs of three axes and more, those of fewer (class numbers, weights of terms) make no maps.
    """
    kinds = {info.name: info.type.tensor_type for info in graph.input}
    deep = {name for name, kind in kinds.items() if len(kind.shape.dim) > 2}
    return frozenset(
        name
        for name, kind in kinds.items()
        if not kind.HasField("shape")
        or ((name in deep or not deep) and not all(dim.HasField("dim_value") for dim in kind.shape.dim[1:]))
    )


def _bare(proto: ModelProto) -> ModelProto:
    """A copy without the data of large tensors and without what is declared of values inside."""
    bare = ModelProto()
    copy_fields(proto, bare, but=("graph",))
    bare_graph(proto.graph, bare.graph)
    del bare.graph.value_info[:]
    return bare


def _empty_map(proto: ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """What to say of the first node that reads an empty map or sequence, or would make one; None: there is none."""
    sizes = _sizes(proto, shapes)
    for node in proto.graph.node:
        recurrent = node.op_type in _RECURRENT
        if not recurrent and node.op_type not in _WINDOWS:
            continue
        first = 0 if recurrent else 2
        for name in (*node.input[:1], *node.output[:1]):
            shape = sizes.get(name)
            if shape is None or not any(d is not None and d <= 0 for d in shape[first:]):
                continue
            shown = [d if d is None else max(0, d) for d in shape]
            given = ", ".join(f"{n} {list(s)}" for n, s in shapes.items())
            what = "a sequence" if recurrent else "a map"
            verb = "reads" if name in node.input else "makes"
            return f"{label(node)} {verb} {what} of size 0, {shown}, for the input {given}: give a larger one"
    return None


def _sizes(proto: ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int | None, ...]]:
    """The sizes of all values for inputs of these shapes, as far as onnx can infer them."""
    bare = _bare(proto)
    for info in bare.graph.input:
        if info.name in shapes and info.type.HasField("tensor_type"):
            dims = info.type.tensor_type.shape
            del dims.dim[:]
            for size in shapes[info.name]:
                dims.dim.add(dim_value=size)
    for info in bare.graph.output:
        if info.type.HasField("tensor_type"):
            info.type.tensor_type.ClearField("shape")
    try:
        inferred = infer_graph(bare)
        if not is_risky(bare.graph, inferred):
            inferred = infer_graph(bare, data=True)
    except INFERENCE_ERRORS:
        return {}
    return _known(inferred)


def _known(graph: GraphProto) -> dict[str, tuple[int | None, ...]]:
    found = {}
    for info in (*graph.input, *graph.value_info, *graph.output):
        kind = info.type.tensor_type
        if info.type.HasField("tensor_type") and kind.HasField("shape"):
            found[info.name] = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
    return found
