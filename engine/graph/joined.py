"""Inputs of one kind as one input: columns of a table, images or texts next to each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import DTypeLike

from ..proto.nodes import opset_of
from ..proto.writer import Writer
from .model import Model

TABLE, SET = "table", "inputs"


def column_inputs(model: Model) -> tuple[str, ...]:
    """The names of the inputs, where there are several and each is one column (N, 1); else none."""
    inputs = model.inputs
    if len(inputs) < 2:
        return ()
    columns = all(v.shape is not None and len(v.shape) == 2 and v.shape[1] == 1 for v in inputs)
    return tuple(v.name for v in inputs) if columns and all(v.dtype is not None for v in inputs) else ()


def joined(
    model: Model, columns: Sequence[str], dtype: DTypeLike, widths: Sequence[int] | None = None
) -> tuple[Model, str]:
    """A model with one input (N, columns) of `dtype` in place of the inputs `columns`, and its name.

    widths: how many columns each of the inputs takes, one by default.
    dtype: that of the columns, or one that holds them all, strings (object) included: then each column is cast to its
    own type inside.
    """
    writer = Writer(model.values)
    name = TABLE if TABLE not in model.values else writer.numbered(TABLE)
    kind = (
        onnx.TensorProto.STRING if np.dtype(dtype) == object else onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    )
    own = {v.name: v.type.tensor_type.elem_type for v in model.untyped.graph.input}
    place, widths = 0, widths or [1] * len(columns)
    for column, width in zip(columns, widths, strict=True):
        at = writer.initializer(writer.numbered(f"{name}/at"), np.arange(place, place + width))
        place += width
        if own[column] == kind:
            writer.node("Gather", [name, at], [column], axis=1)
        else:
            part = writer.node("Gather", [name, at], [writer.numbered(f"{name}/column")], axis=1)
            writer.node("Cast", [part], [column], to=own[column])
    first = onnx.helper.make_tensor_value_info(name, kind, [None, sum(widths)])
    return _replaced(model, columns, first, writer), name


def laid_together(model: Model, names: Sequence[str], axis: int, shapes: Sequence[Sequence[int]]) -> tuple[Model, str]:
    """A model with one input in place of the inputs `names` of one type, next to each other along `axis`, and its name.

    shapes: of one sample of each, without the axis of samples. Where they differ in another axis than `axis`, the one
    input is as large as the largest there, and each of `names` is its first part.
    """
    writer = Writer(model.values)
    name = SET if SET not in model.values else writer.numbered(SET)
    split = [shape[axis - 1] for shape in shapes]
    largest = [max(sizes) for sizes in zip(*shapes, strict=True)]
    differ = [at for at, sizes in enumerate(zip(*shapes, strict=True), 1) if at != axis and len(set(sizes)) > 1]
    if differ:
        _sliced(writer, name, names, axis, shapes, opset_of(model.untyped))
    elif opset_of(model.untyped) < 13:
        writer.node("Split", [name], list(names), axis=axis, split=split)
    else:
        writer.node(
            "Split",
            [name, writer.initializer(writer.numbered(f"{name}/sizes"), np.array(split, np.int64))],
            list(names),
            axis=axis,
        )
    own = next(v for v in model.untyped.graph.input if v.name == names[0]).type.tensor_type
    first = onnx.helper.make_tensor_value_info(name, own.elem_type, [None] * len(own.shape.dim))
    for place, dim in enumerate(own.shape.dim):
        first.type.tensor_type.shape.dim[place].CopyFrom(dim)
    first.type.tensor_type.shape.dim[axis].dim_value = sum(split)
    for at in differ:
        first.type.tensor_type.shape.dim[at].dim_value = largest[at - 1]
    return _replaced(model, names, first, writer), name


def _sliced(
    writer: Writer, name: str, names: Sequence[str], axis: int, shapes: Sequence[Sequence[int]], opset: int
) -> None:
    """Each of `names` as a part of `name` that begins at 0 in every axis but `axis`."""
    left = 0
    for part, shape in zip(names, shapes, strict=True):
        axes = list(range(1, len(shape) + 1))
        starts = [left if at == axis else 0 for at in axes]
        ends = [start + size for start, size in zip(starts, shape, strict=True)]
        if opset < 10:
            writer.node("Slice", [name], [part], axes=axes, starts=starts, ends=ends)
        else:
            given = [
                writer.initializer(writer.numbered(f"{name}/part"), np.array(v, np.int64)) for v in (starts, ends, axes)
            ]
            writer.node("Slice", [name, *given], [part])
        left += shape[axis - 1]


def _replaced(model: Model, names: Sequence[str], first: onnx.ValueInfoProto, writer: Writer) -> Model:
    """The model with the input `first`, and what was written to make the inputs `names` of it."""
    with model.edited() as edit:
        graph = edit.graph
        batch = next(v.type.tensor_type.shape.dim[0] for v in graph.input if v.name == names[0])
        kept = [v for v in graph.input if v.name not in names]
        first.type.tensor_type.shape.dim[0].CopyFrom(batch)
        nodes = [*writer.nodes, *graph.node]
        copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
        del graph.input[:], graph.node[:]
        graph.input.extend([first, *kept])
        graph.node.extend(copies)
        graph.initializer.extend(writer.initializers.values())
    return edit.model
