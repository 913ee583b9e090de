"""Tensors whose bytes lie in files beside the model: checked, confined to the model's folder, read lazily.

A model file is untrusted. ONNX lets a tensor name any file (`location`); here only plain relative paths that stay inside
the model's own folder, symbolic links resolved, are followed (ONNX specification, External Data).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto

from .errors import ExternalDataError

# Up to this many bytes in all, external tensors are read into the model when it is loaded; protobuf cannot serialise
# more than 2 GiB, and a rewritten graph adds some of its own.
INLINE_LIMIT = 1 << 30


def is_external(tensor: TensorProto) -> bool:
    return bool(tensor.HasField("data_location") and tensor.data_location == TensorProto.EXTERNAL)


def tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Every tensor stored in `graph`: initializers and tensor attributes, subgraphs included."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            elif attribute.type == AttributeProto.TENSORS:
                yield from attribute.tensors
            elif attribute.type == AttributeProto.GRAPH:
                yield from tensors(attribute.g)
            elif attribute.type == AttributeProto.GRAPHS:
                for inner in attribute.graphs:
                    yield from tensors(inner)


def all_tensors(proto: ModelProto) -> Iterator[TensorProto]:
    yield from tensors(proto.graph)
    for function in proto.functions:
        for node in function.node:
            for attribute in node.attribute:
                if attribute.type == AttributeProto.TENSOR:
                    yield attribute.t


def nbytes(tensor: TensorProto) -> int:
    """Bytes of the tensor's data as `raw_data` would hold it."""
    bits = _BITS.get(tensor.data_type)
    if bits is None:
        bits = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize * 8
    count = 1
    for dim in tensor.dims:
        count *= dim
    return (count * bits + 7) // 8


_BITS = {TensorProto.INT4: 4, TensorProto.UINT4: 4, TensorProto.FLOAT4E2M1: 4, TensorProto.STRING: 0}


def locate(tensor: TensorProto, folder: Path | None) -> tuple[Path, int, int]:
    """(file, offset, length in bytes) of an external tensor, checked. Raises ExternalDataError."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    what = f"tensor {tensor.name!r} has its data in {location!r}"
    if folder is None:
        raise ExternalDataError(
            f"{what}, but the model was given as bytes without a folder: load it from its file, or save it with its "
            "data inside"
        )
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    if not location or posix.is_absolute() or windows.drive or windows.root or ".." in posix.parts + windows.parts:
        raise ExternalDataError(f"{what}: only files inside the model's own folder are read; move the data there")
    path = folder / location
    home = os.path.realpath(folder)
    if os.path.commonpath([home, os.path.realpath(path)]) != home:
        raise ExternalDataError(f"{what}, which links to a place outside the model's folder: copy the data there")
    if not path.is_file():
        raise ExternalDataError(f"{what}, but there is no such file in {str(folder)!r}: copy it beside the model")
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries["length"]) if "length" in entries else nbytes(tensor)
    except ValueError:
        raise ExternalDataError(f"{what}: its offset or length is not a number; export the model again") from None
    size = path.stat().st_size
    if offset < 0 or length < 0 or offset + length > size:
        raise ExternalDataError(
            f"{what} at bytes {offset} to {offset + length}, but the file has {size}: the copy is not complete"
        )
    if length != nbytes(tensor):
        raise ExternalDataError(
            f"{what} with {length} bytes, but its shape {list(tensor.dims)} needs {nbytes(tensor)}: export it again"
        )
    return path, offset, length


def read(tensor: TensorProto, folder: Path | None) -> np.ndarray:
    """The tensor's values; an external one is memory-mapped, read-only."""
    if not is_external(tensor):
        return onnx.numpy_helper.to_array(tensor)
    path, offset, length = locate(tensor, folder)
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    if tensor.data_type in _BITS or length == 0:
        inline = TensorProto()
        inline.CopyFrom(tensor)
        _inline(inline, path, offset, length)
        return onnx.numpy_helper.to_array(inline)
    return np.memmap(path, dtype=dtype.newbyteorder("<"), mode="r", offset=offset, shape=tuple(tensor.dims))


def settle(proto: ModelProto, folder: Path | None) -> bool:
    """Check every external tensor and read them in, unless they are too large in all; True if some stay outside."""
    outside = [(tensor, locate(tensor, folder)) for tensor in all_tensors(proto) if is_external(tensor)]
    total = sum(length for _, (_, _, length) in outside)
    if total > INLINE_LIMIT:
        return True
    for tensor, (path, offset, length) in outside:
        _inline(tensor, path, offset, length)
    return False


def _inline(tensor: TensorProto, path: Path, offset: int, length: int) -> None:
    with open(path, "rb") as file:
        file.seek(offset)
        tensor.raw_data = file.read(length)
    del tensor.external_data[:]
    tensor.ClearField("data_location")


def move_out(proto: ModelProto, folder: Path | None, data: Path, location: str, threshold: int = 1024) -> None:
    """Write every initializer over `threshold` bytes into the file `data` and let `proto` point to it as `location`."""
    with open(data, "wb") as file:
        for tensor in tensors(proto.graph):
            if nbytes(tensor) <= threshold and not is_external(tensor):
                continue
            if tensor.data_type == TensorProto.STRING:
                continue
            file.write(b"\0" * (-file.tell() % 4096))  # page-aligned, so that readers can memory-map each tensor
            offset = file.tell()
            _copy_bytes(tensor, folder, file)
            tensor.ClearField("raw_data")
            for field in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
                tensor.ClearField(field)
            del tensor.external_data[:]
            tensor.data_location = TensorProto.EXTERNAL
            entries = (("location", location), ("offset", str(offset)), ("length", str(file.tell() - offset)))
            for key, value in entries:
                tensor.external_data.add(key=key, value=value)


def _copy_bytes(tensor: TensorProto, folder: Path | None, file: object) -> None:
    write = file.write  # type: ignore[attr-defined]
    if is_external(tensor):
        path, offset, length = locate(tensor, folder)
        with open(path, "rb") as source:
            source.seek(offset)
            while length:
                block = source.read(min(length, 1 << 24))
                write(block)
                length -= len(block)
    elif tensor.HasField("raw_data"):
        write(tensor.raw_data)
    else:
        write(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor)).raw_data)
