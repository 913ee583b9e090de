"""Tensors whose bytes lie in files next to the model: checked, confined to the model's folder, read lazily.

A model file is untrusted. ONNX lets a tensor name any file (`location`); here only plain relative paths that stay
inside the model's own folder, symbolic links resolved, are followed (ONNX specification, External Data).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO, TypeAlias

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from ..errors import ExternalDataError
from .confinement import leaves

# File, offset and length of a tensor's data.
Place: TypeAlias = "tuple[Path, int, int]"

# Up to this many bytes in all, external tensors are read into the model when it is loaded; protobuf cannot serialise
# more than 2 GiB, and a rewritten graph adds some of its own.
INLINE_LIMIT = 1 << 30
# Smaller ones always are: arguments such as shapes and axes have to be seen when the graph is analysed.
SMALL = 1 << 12


def is_external(tensor: TensorProto) -> bool:
    return bool(tensor.HasField("data_location") and tensor.data_location == TensorProto.EXTERNAL)


def tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Every tensor stored in `graph`: initializers and tensor attributes, sparse ones and subgraphs included."""
    yield from graph.initializer
    yield from _others(graph)


def _others(graph: GraphProto) -> Iterator[TensorProto]:
    """What `tensors` gives, less the dense initializers of `graph` itself."""
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        if node.attribute:
            yield from _of_node(node)


def _of_node(node: NodeProto) -> Iterator[TensorProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            yield attribute.t
        elif attribute.type == AttributeProto.TENSORS:
            yield from attribute.tensors
        elif attribute.type == AttributeProto.SPARSE_TENSOR:
            yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
        elif attribute.type == AttributeProto.SPARSE_TENSORS:
            for sparse in attribute.sparse_tensors:
                yield from (sparse.values, sparse.indices)
        elif attribute.type == AttributeProto.GRAPH:
            yield from tensors(attribute.g)
        elif attribute.type == AttributeProto.GRAPHS:
            for inner in attribute.graphs:
                yield from tensors(inner)


def all_tensors(proto: ModelProto) -> Iterator[TensorProto]:
    """Every tensor stored in the model, those of its functions included."""
    yield from tensors(proto.graph)
    yield from _of_functions(proto)


def _of_functions(proto: ModelProto) -> Iterator[TensorProto]:
    for function in proto.functions:
        for node in function.node:
            yield from _of_node(node)


def inside(proto: ModelProto) -> Iterator[TensorProto]:
    """The tensors whose data is part of the protobuf."""
    return (tensor for tensor in all_tensors(proto) if not is_external(tensor))


def count(tensor: TensorProto) -> int:
    """Number of elements."""
    return math.prod(tensor.dims)


# Types of less than a byte, which are packed, as far as the installed onnx has them; strings have no size of their own.
BITS = {TensorProto.STRING: 0} | {
    getattr(TensorProto, name): bits
    for bits, names in {2: "INT2 UINT2", 4: "INT4 UINT4 FLOAT4E2M1", 6: "FLOAT6E2M3 FLOAT6E3M2"}.items()
    for name in names.split()
    if hasattr(TensorProto, name)
}


def nbytes(tensor: TensorProto) -> int:
    """Bytes of the tensor's data as `raw_data` would hold it; 0 for strings."""
    bits = BITS.get(tensor.data_type)
    if bits is None:
        bits = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize * 8
    return (count(tensor) * bits + 7) // 8


def locate(tensor: TensorProto, folder: Path | None) -> Place:
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
    absolute = posix.is_absolute() or bool(windows.drive or windows.root)
    if not location or "\0" in location or absolute or ".." in posix.parts + windows.parts:
        raise ExternalDataError(f"{what}: only files inside the model's own folder are read; move the data there")
    path = folder / location
    try:
        if leaves(path, folder):
            raise ExternalDataError(f"{what}, which links to a place outside the model's folder: copy the data there")
        if not path.is_file():
            raise ExternalDataError(f"{what}, but there is no such file in {str(folder)!r}: copy it next to the model")
        size = path.stat().st_size
    except OSError as error:
        raise ExternalDataError(f"{what}, which cannot be read: {error.strerror or error}") from None
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries["length"]) if "length" in entries else nbytes(tensor)
    except ValueError:
        raise ExternalDataError(f"{what}: its offset or length is not a number; export the model again") from None
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
        return onnx.numpy_helper.to_array(tensor)  # type: ignore[no-any-return]
    path, offset, length = locate(tensor, folder)
    if tensor.data_type in BITS or length == 0:
        inline = TensorProto()
        inline.CopyFrom(tensor)
        _inline(inline, path, offset, length)
        return onnx.numpy_helper.to_array(inline)  # type: ignore[no-any-return]
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    if dtype.kind in "biufc":
        dtype = dtype.newbyteorder("<")
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=tuple(tensor.dims))


def settle(proto: ModelProto, folder: Path | None) -> tuple[bool, list[Place]]:
    """Check every external tensor and read them in; whether some initializers stay outside, being too large in all, and
    where the data of all of them lies.

    Only initializers of the main graph can stay outside; ONNX Runtime finds no others there. Raises ExternalDataError.
    """
    initializers = [(t, locate(t, folder)) for t in proto.graph.initializer if is_external(t)]
    others = [(t, locate(t, folder)) for t in (*_others(proto.graph), *_of_functions(proto)) if is_external(t)]
    if sum(length for _, (_, _, length) in others) > INLINE_LIMIT:
        raise ExternalDataError(
            f"the nodes of the model (not its initializers) hold more than {INLINE_LIMIT} bytes of external data: "
            "export it with the weights as initializers"
        )
    large = sum(length for _, (_, _, length) in (*initializers, *others)) > INLINE_LIMIT
    stays = False
    for tensor, (path, offset, length) in initializers:
        if large and length > SMALL:
            stays = True
        else:
            _inline(tensor, path, offset, length)
    for tensor, (path, offset, length) in others:
        _inline(tensor, path, offset, length)
    return stays, [place for _, place in (*initializers, *others)]


def add_content(digest: hashlib._Hash, places: Iterable[Place]) -> None:
    """Add the bytes at `places` to a hash. Raises ExternalDataError."""
    for path, offset, length in places:
        digest.update(length.to_bytes(8, "little"))
        try:
            with open(path, "rb") as file:
                file.seek(offset)
                while length > 0 and (data := file.read(min(length, 1 << 24))):
                    digest.update(data)
                    length -= len(data)
        except OSError as error:
            raise ExternalDataError(
                f"the model has data in {str(path)!r}, which cannot be read: {error.strerror or error}"
            ) from None


def _inline(tensor: TensorProto, path: Path, offset: int, length: int) -> None:
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read(length)
    except OSError as error:
        raise ExternalDataError(
            f"tensor {tensor.name!r} has its data in {str(path)!r}, which cannot be read: {error.strerror or error}"
        ) from None
    if tensor.data_type == TensorProto.STRING:
        raise ExternalDataError(f"tensor {tensor.name!r} holds strings, which cannot be external data: export it again")
    tensor.raw_data = data
    del tensor.external_data[:]
    tensor.ClearField("data_location")


# Page-aligned (64 KiB is the granularity on Windows), so that readers can memory-map each tensor.
_ALIGNMENT = 1 << 16
_DATA_FIELDS = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")


def move_out(proto: ModelProto, folder: Path | None, data: Path, location: str) -> None:
    """Write every larger initializer into the file `data` and let `proto` point to it as `location`."""
    with open(data, "wb") as file:
        for tensor in proto.graph.initializer:
            if tensor.data_type == TensorProto.STRING or (nbytes(tensor) <= SMALL and not is_external(tensor)):
                continue
            file.write(b"\0" * (-file.tell() % _ALIGNMENT))
            offset = file.tell()
            _copy_bytes(tensor, folder, file)
            for field in _DATA_FIELDS:
                tensor.ClearField(field)
            del tensor.external_data[:]
            tensor.data_location = TensorProto.EXTERNAL
            entries = (("location", location), ("offset", str(offset)), ("length", str(file.tell() - offset)))
            for key, value in entries:
                tensor.external_data.add(key=key, value=value)


_BLOCK = 1 << 24


def _copy_bytes(tensor: TensorProto, folder: Path | None, file: BinaryIO) -> None:
    if is_external(tensor):
        path, offset, length = locate(tensor, folder)
        data = np.memmap(path, np.uint8, mode="r", offset=offset, shape=(length,))
        for start in range(0, length, _BLOCK):
            file.write(data[start : start + _BLOCK].data)
    elif tensor.HasField("raw_data"):
        file.write(tensor.raw_data)
    else:
        file.write(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor)).raw_data)
