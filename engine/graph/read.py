"""Reading a model file into a Model; the only reader of model files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from google.protobuf.message import DecodeError
from onnx import ModelProto, TypeProto

from ...models import file_of
from ..errors import ModelError
from ..proto import external_data as external
from ..proto.confinement import home_of
from ..proto.nodes import DOMAIN_NAMES
from ..proto.shape_inference import infer_shapes
from ..proto.validate import check_wellformed
from ..proto.values import to_info
from ..runtime import trial
from .model import Model, Source
from .other_formats import HEAD_BYTES, known_format
from .prepare import prepare

# Protobuf's limit, less what a rewrite adds.
_MOST_PROTO_BYTES = (2 << 30) - (64 << 20)


def read(source: Source) -> Model:
    """A model from a path or a name of `onnxray models list`, the bytes of a file or an onnx.ModelProto (left as it
    is); a Model as it is.

    Raises ModelError, ExternalDataError, OpsetError, UnknownName.
    """
    if isinstance(source, Model):
        return source
    path = folder = digest = None
    if isinstance(source, ModelProto):
        proto = ModelProto()
        proto.CopyFrom(source)
        _check_is_model(proto, "the ModelProto given")
    else:
        if isinstance(source, (bytes, bytearray, memoryview)):
            data, where = bytes(source), f"the {len(source)} bytes given"
        elif isinstance(source, (str, os.PathLike)):
            path = file_of(source) if isinstance(source, str) else Path(source)
            data, where = _read_file(path), repr(str(path))
            folder = home_of(path)
        else:
            kind = type(source).__name__
            raise ModelError(
                f"a model cannot be loaded from {kind}: give a path, the bytes of a file or an onnx.ModelProto"
            )
        proto = _parse(data, where)
        digest = hashlib.sha256(data).hexdigest()
        del data
    check_wellformed(proto)
    if sum(external.nbytes(t) for t in external.inside(proto)) > _MOST_PROTO_BYTES:
        raise ModelError("the model is too large for one protobuf (2 GiB): save it with external data, load the file")
    stays, places = external.settle(proto, folder)
    if not stays:
        folder = None
    proto = prepare(proto)
    _type_rest(proto, folder)
    key = ("file", digest) if digest and not places else None
    model = Model(proto, path=path, folder=folder, sha256=digest, key=key, data=places)
    if places and not stays:
        model.sha256  # noqa: B018, of the data that was read in: the files may change or go away
    return model


def _type_rest(proto: ModelProto, folder: Path | None) -> None:
    """Add types and shapes that ONNX Runtime can infer and onnx cannot (foreign operators, a few standard ones)."""
    foreign = {o for n in proto.graph.node if n.domain not in DOMAIN_NAMES for o in n.output}
    infos = {v.name: v.type for v in (*proto.graph.value_info, *proto.graph.output)}
    made = [name for node in proto.graph.node for name in node.output if name]
    fed = [v.name for v in proto.graph.input if not v.type.tensor_type.elem_type]
    unknown = [*fed, *(name for name in made if _is_unknown(infos.get(name), name in foreign))]
    if not unknown:
        return

    try:
        found = trial.infer_types(proto, folder, unknown)
    except ModelError:
        return  # an operator that this ONNX Runtime does not have: the rest of the model can still be looked at
    kept = [v for v in proto.graph.value_info if v.name not in found]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend([*kept, *(to_info(v) for v in found.values())])
    infer_shapes(proto)


def _is_unknown(kind: TypeProto | None, foreign: bool) -> bool:
    """Whether nothing is said of a value's type, of a foreign operator's also if nothing is said of its shape."""
    if kind is None or not kind.WhichOneof("value"):
        return True
    return foreign and not (kind.HasField("tensor_type") and kind.tensor_type.HasField("shape"))


def _read_file(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise ModelError(f"{str(path)!r} is a folder: give the .onnx file in it")
        if path.exists() and not path.is_file():
            raise ModelError(f"{str(path)!r} is not a regular file: give an .onnx file")
        if path.is_file() and path.stat().st_size >= 2 << 30:
            with path.open("rb") as file:
                _refuse_other_format(file.read(HEAD_BYTES), repr(str(path)))
            raise ModelError(f"{str(path)!r} is larger than a protobuf can be (2 GiB): save it with external data")
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"no such model file: {str(path)!r}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"cannot read the model {str(path)!r}: {reason}") from None
    if not data:
        raise ModelError(f"the model file {str(path)!r} is empty: export or copy it again")
    return data


def _parse(data: bytes, where: str) -> ModelProto:
    proto = ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError:
        _refuse_other_format(data[:HEAD_BYTES], where)
        kind = "a text file" if _is_text(data[:4096]) else "truncated, or another format"
        raise ModelError(f"{where} is not an ONNX model ({kind}): give a complete .onnx file") from None
    if not _is_model(proto):
        _refuse_other_format(data[:HEAD_BYTES], where)
    _check_is_model(proto, where)
    return proto


def _refuse_other_format(head: bytes, where: str) -> None:
    """Raise ModelError for a file that is known to be something else."""
    known = known_format(head)
    if known is not None:
        raise ModelError(f"{where} is not an ONNX model but {known[0]}: {known[1]}")


def _is_text(data: bytes) -> bool:
    return not any(byte < 32 and byte not in b"\t\n\v\f\r\x1b" for byte in data)


def _is_model(proto: ModelProto) -> bool:
    return proto.HasField("graph") and bool(proto.graph.node or proto.graph.output)


def _check_is_model(proto: ModelProto, where: str) -> None:
    if not _is_model(proto):
        raise ModelError(
            f"{where} is not an ONNX model, or a truncated one (no graph in it): give a complete .onnx file"
        )
