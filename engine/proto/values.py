"""Values: the named tensors of a graph."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, TypeProto, ValueInfoProto

from ..errors import ModelError, ShapeError


def constant_tensor(node: NodeProto) -> TensorProto | None:
    """A copy of the tensor that a `Constant` node holds; None for sparse and string ones."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            if attribute.t.data_type == TensorProto.STRING:
                return None
            tensor = TensorProto()
            tensor.CopyFrom(attribute.t)
            return tensor
        value: Any = onnx.helper.get_attribute_value(attribute)
        if attribute.name in ("value_float", "value_floats"):
            return onnx.numpy_helper.from_array(np.asarray(value, np.float32))
        if attribute.name in ("value_int", "value_ints"):
            return onnx.numpy_helper.from_array(np.asarray(value, np.int64))
    return None


# Of a symbolic size in a message.
_LONGEST = 28
FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16})


def tensor_type(elem_type: int, shape: Shape | None) -> TypeProto:
    return onnx.helper.make_tensor_type_proto(elem_type, shape)


def elem_of(kind: TypeProto | None) -> int:
    """The element type of a tensor type; UNDEFINED for what is unknown or no tensor."""
    if kind is None or not kind.HasField("tensor_type"):
        return int(TensorProto.UNDEFINED)
    return int(kind.tensor_type.elem_type)


def shape_of(kind: TypeProto | None) -> Shape | None:
    if kind is None or not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    return tuple(d.dim_value if d.HasField("dim_value") else (d.dim_param or None) for d in kind.tensor_type.shape.dim)


Shape: TypeAlias = tuple["int | str | None", ...]


@dataclass(frozen=True)
class Value:
    """A named tensor of the graph.

    `shape` holds an int for a known size, a str for a named symbolic one, None for an unknown one; it is None where
    even the rank is unknown. `dtype` is None for values that are no tensors or whose type cannot be inferred.
    """

    name: str
    dtype: np.dtype[Any] | None
    shape: Shape | None

    @property
    def rank(self) -> int | None:
        return None if self.shape is None else len(self.shape)

    def __str__(self) -> str:
        dims = "?" if self.shape is None else ", ".join("?" if d is None else _dim(d) for d in self.shape)
        return f"{self.name}: {self.dtype or 'unknown type'} [{dims}]"


def _dim(size: int | str) -> str:
    """A size in messages; exporters write sums of hundreds of characters, which are cut."""
    text = str(size)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


@lru_cache(maxsize=256)
def dtype_of(elem_type: int) -> np.dtype[Any] | None:
    """The NumPy type of an ONNX element type; None for "undefined". Raises ModelError for a number that is no type."""
    if elem_type == TensorProto.UNDEFINED:
        return None
    try:
        dtype: np.dtype[Any] = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type))
    except KeyError:
        raise ModelError(f"the model uses the element type {elem_type}, which onnx {onnx.__version__} lacks") from None
    return dtype


def from_info(info: ValueInfoProto) -> Value:
    """The value that `info` declares."""
    if not info.type.HasField("tensor_type"):
        return Value(info.name, None, None)
    tensor = info.type.tensor_type
    dtype = dtype_of(tensor.elem_type)
    if not tensor.HasField("shape"):
        return Value(info.name, dtype, None)
    dims: list[int | str | None] = []
    for dim in tensor.shape.dim:
        if dim.HasField("dim_value") and dim.dim_value >= 0:
            dims.append(dim.dim_value)
        else:  # -1 is how some exporters write "unknown"
            dims.append(dim.dim_param or None)
    return Value(info.name, dtype, tuple(dims))


def without_invented_sizes(value: Value, named: Collection[str]) -> Value:
    """`value`, its sizes unknown where onnx's inference made up a symbol ("unk__0") that no input has."""
    if value.shape is None:
        return value
    shape = tuple(None if isinstance(d, str) and d.startswith("unk__") and d not in named else d for d in value.shape)
    return Value(value.name, value.dtype, shape)


def to_info(value: Value) -> ValueInfoProto:
    """`value` as ONNX declares it. Raises ShapeError when its type is unknown."""
    if value.dtype is None:
        raise ShapeError(f"the type of the value {value.name!r} cannot be known: choose a value near it")
    return onnx.helper.make_tensor_value_info(
        value.name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
    )


def fed(graph: GraphProto) -> tuple[Value, ...]:
    """What has to be fed; initializers that are listed as inputs too (defaults) are left out."""
    stored = {t.name for t in graph.initializer}
    return tuple(from_info(v) for v in graph.input if v.name not in stored)
