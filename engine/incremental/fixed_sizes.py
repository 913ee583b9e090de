"""A model for inputs of given sizes, and the sizes of all its values in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnx import GraphProto

from ..graph.constant_folding import fold_constants
from ..graph.model import Model
from ..inspect.concrete_shapes import concrete_shapes


def with_fixed_sizes(model: Model, source: str, shape: Sequence[int], shapes: Mapping[str, Sequence[int]]) -> Model:
    """The model for inputs of these sizes, the batch left open; sizes computed from sizes become constants."""
    if all(isinstance(d, int) for value in model.inputs for d in (value.shape or (None, None))[1:]):
        return model
    graph = GraphProto()
    graph.CopyFrom(model.graph)
    for info in graph.input:
        sizes = shape if info.name == source else shapes.get(info.name)
        dims = info.type.tensor_type.shape.dim
        if sizes is None or len(dims) != len(sizes):
            continue
        for dim, size in list(zip(dims, sizes, strict=True))[1:]:
            dim.dim_value = int(size)
    for info in (*graph.output, *graph.value_info):
        info.type.tensor_type.ClearField("shape")
    del graph.value_info[:]
    made = model.with_graph(graph)

    proto = type(made.proto)()
    proto.CopyFrom(made.proto)
    return Model(fold_constants(proto), folder=model.folder, overrides=model.overrides)


def sizes_in_numbers(model: Model, shape: Sequence[int], source: str) -> Any:
    """Shapes in numbers, for a batch of 2 where it is open: a size of 1 could be any axis."""
    first = (model.value(source).shape or (None,))[0]
    if isinstance(first, str):  # where nothing but the batch is open, nothing has to be computed
        found = {name: tuple(2 if d == first else d for d in v.shape or (None,)) for name, v in model.values.items()}
        if all(isinstance(d, int) for sizes in found.values() for d in sizes):
            return {name: () if model.values[name].shape == () else sizes for name, sizes in found.items()}
    graph = GraphProto()
    graph.CopyFrom(model.graph)
    for info in graph.input:
        dims = info.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value"):
            dims[0].dim_value = 2
    for info in (*graph.output, *graph.value_info):
        info.type.tensor_type.ClearField("shape")
    return concrete_shapes(model.with_graph(graph))
