"""Weights next to their graph rather than in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from .edit import copy_fields
from .external_data import is_external, nbytes
from .nodes import reads

# Bytes of a tensor that is worth it; smaller ones, such as shapes and axes, stay where graphs are analysed.
_LEAST = 1 << 14

_PLAIN = frozenset(
    getattr(TensorProto, name)
    for name in "FLOAT FLOAT16 DOUBLE INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64".split()
)


def weights_apart(proto: ModelProto) -> tuple[ModelProto, dict[str, NDArray[Any]]]:
    """The model without the bytes of its large initializers, which are declared as external data, and these, by name.

    The model itself, and nothing else, where there are none. The arrays are read-only.
    """
    if not any(_is_large(tensor) for tensor in proto.graph.initializer):
        return proto, {}
    # ONNX Runtime drops what no node reads before it looks for weights that lie outside.
    used = {name for node in proto.graph.node for name in reads(node)}
    small = ModelProto()
    copy_fields(proto, small, but=("graph",))
    copy_fields(proto.graph, small.graph, but=("initializer",))
    apart: dict[str, NDArray[Any]] = {}
    for number, tensor in enumerate(proto.graph.initializer):
        data = tensor.raw_data if tensor.name in used and _is_large(tensor) else b""
        # What is wrong with others is for whoever reads the model to say.
        if not data or len(data) != nbytes(tensor):
            small.graph.initializer.append(tensor)
            continue
        stub = small.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        stub.data_location = TensorProto.EXTERNAL
        stub.external_data.add(key="location", value=f"weights/{number}")
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).newbyteorder("<")
        apart[tensor.name] = np.frombuffer(data, dtype).reshape(tuple(tensor.dims))
    return small, apart


def _is_large(tensor: TensorProto) -> bool:
    within = not is_external(tensor) and tensor.HasField("raw_data")
    return within and tensor.data_type in _PLAIN and nbytes(tensor) >= _LEAST
