"""Load, validate, index and save ONNX models; the only reader of model files.

The graph stays an `onnx.ModelProto`: the ONNX project's `onnx_ir` was measured and costs 0.25 s more to import (it brings
sympy), which a command that has to answer in a second cannot spare.

    file -> parse -> external data checked -> functions inlined -> opset >= 7 -> constants folded -> shapes inferred -> Model
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx
import onnx.shape_inference
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto

from . import external
from .errors import ModelError, OpsetError, ShapeError, UnknownName

if TYPE_CHECKING:
    from .inspect import Layer

Shape: TypeAlias = tuple["int | str | None", ...]
Source: TypeAlias = "str | os.PathLike[str] | bytes | ModelProto | Model"

OLDEST_OPSET = 7
DOMAIN_NAMES = ("", "ai.onnx")


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
        dims = "?" if self.shape is None else ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.name}: {self.dtype or 'unknown type'} [{dims}]"


class Model:
    """An ONNX model and what is known of it. Nothing changes it: every rewrite returns a new one.

    Attributes: `proto` (onnx.ModelProto, functions inlined, constants folded, shapes inferred; do not modify),
    `path` and `folder` (where it was loaded from, None for a model in memory), `overrides` (card fields given to `load`).
    """

    def __init__(
        self,
        proto: ModelProto,
        *,
        path: Path | None = None,
        folder: Path | None = None,
        overrides: Mapping[str, Any] | None = None,
        sha256: str | None = None,
    ) -> None:
        self.proto = proto
        self.path = path
        self.folder = folder
        self.overrides: Mapping[str, Any] = MappingProxyType(dict(overrides or {}))
        self._sha256 = sha256

    def __repr__(self) -> str:
        where = str(self.path) if self.path else f"<{self.proto.graph.name or 'in memory'}>"
        return f"Model({where}, opset {self.opset}, {len(self.graph.node)} nodes)"

    @property
    def graph(self) -> GraphProto:
        return self.proto.graph

    @cached_property
    def opset(self) -> int:
        """The version of the standard operator set (domain ai.onnx)."""
        return opset_of(self.proto)

    @cached_property
    def opsets(self) -> Mapping[str, int]:
        """domain -> version; the standard domain is ""."""
        return MappingProxyType({_plain(o.domain): o.version for o in self.proto.opset_import})

    @cached_property
    def metadata(self) -> Mapping[str, str]:
        return MappingProxyType({p.key: p.value for p in self.proto.metadata_props})

    @cached_property
    def sha256(self) -> str:
        """Of the file it was loaded from, else of its serialised form."""
        return self._sha256 or self.content_key

    @cached_property
    def content_key(self) -> str:
        """Hash of the graph as it is now (external tensors by reference); equal for equal graphs."""
        digest = hashlib.sha256(self.proto.SerializeToString(deterministic=True))
        digest.update(str(self.folder).encode())
        return digest.hexdigest()

    @cached_property
    def initializers(self) -> Mapping[str, TensorProto]:
        return MappingProxyType({t.name: t for t in self.graph.initializer})

    @cached_property
    def inputs(self) -> tuple[Value, ...]:
        """What has to be fed; initializers that are listed as inputs too (defaults) are left out."""
        return tuple(_value(v) for v in self.graph.input if v.name not in self.initializers)

    @cached_property
    def outputs(self) -> tuple[Value, ...]:
        return tuple(_value(v) for v in self.graph.output)

    @cached_property
    def values(self) -> Mapping[str, Value]:
        """Every value of the main graph: inputs, initializers, then node outputs in graph order."""
        known = {v.name: v for v in (*self.graph.value_info, *self.graph.output)}
        found: dict[str, Value] = {v.name: _value(v) for v in self.graph.input}
        for tensor in self.graph.initializer:
            found[tensor.name] = Value(tensor.name, _dtype(tensor.data_type), tuple(tensor.dims))
        for sparse in self.graph.sparse_initializer:
            name = sparse.values.name
            found[name] = Value(name, _dtype(sparse.values.data_type), tuple(sparse.dims))
        for node in self.graph.node:
            for name in node.output:
                if name:
                    found[name] = _value(known[name]) if name in known else Value(name, None, None)
        return MappingProxyType(found)

    def value(self, name: str) -> Value:
        """The value called `name`. Raises UnknownName with the nearest names."""
        found = self.values.get(name)
        if found is None:
            raise UnknownName("value", name, self.values, "`onnxray inspect` lists them")
        return found

    @cached_property
    def _producers(self) -> dict[str, NodeProto]:
        return {name: node for node in self.graph.node for name in node.output if name}

    @cached_property
    def _consumers(self) -> dict[str, tuple[NodeProto, ...]]:
        found: dict[str, list[NodeProto]] = {}
        for node in self.graph.node:
            for name in dict.fromkeys(reads(node)):
                found.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    def producer(self, name: str) -> NodeProto | None:
        """The node that computes the value, None for inputs and initializers."""
        return self._producers.get(name)

    def consumers(self, name: str) -> tuple[NodeProto, ...]:
        """The nodes that read the value, those included whose subgraphs do."""
        return self._consumers.get(name, ())

    def constant(self, name: str) -> np.ndarray | None:
        """The values of an initializer that cannot be overridden by a feed, else None. External data is memory-mapped."""
        tensor = self.initializers.get(name)
        if tensor is None or name in self._fed:
            return None
        return external.read(tensor, self.folder)

    @cached_property
    def _fed(self) -> frozenset[str]:
        return frozenset(v.name for v in self.graph.input)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of the network, in graph order: see `onnxray.engine.inspect.Layer`."""
        from .inspect import layers

        return layers(self)

    def with_graph(
        self, graph: GraphProto, *, metadata: Mapping[str, str] | None = None, opset: int | None = None
    ) -> Model:
        """A new model with another graph and the same opsets, metadata and data folder; shapes are inferred anew."""
        proto = ModelProto()
        for field in self.proto.DESCRIPTOR.fields:
            if field.name not in ("graph", "opset_import", "metadata_props"):
                _copy_field(self.proto, proto, field.name)
        proto.graph.CopyFrom(graph)
        for o in self.proto.opset_import:
            version = opset if opset and o.domain in DOMAIN_NAMES else o.version
            proto.opset_import.add(domain=o.domain, version=version)
        for key, text in {**self.metadata, **(metadata or {})}.items():
            proto.metadata_props.add(key=key, value=text)
        proto.ir_version = max(proto.ir_version, _MIN_IR)
        return Model(infer_shapes(proto), folder=self.folder, overrides=self.overrides)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the model to `path`; see `save`."""
        return save(self, path)


_MIN_IR = 7


def load(source: Source, **card: Any) -> Model:
    """Read a model and make it ready: functions inlined, constants folded, shapes inferred, opset at least 7.

    `source` is a path, the bytes of a file, an onnx.ModelProto (left as it is) or a Model. `card` overrides fields of the
    model card (`size`, `mean`, `std`, `order`, `layout`, `resize`, `labels`, ...; see `onnxray.engine.preprocess.Card`).

    Raises ModelError (not an ONNX model, truncated, contradictory), ExternalDataError (data file missing or outside the
    model's folder), OpsetError (older than opset 7 and not convertible), CardError (unknown field).
    """
    if isinstance(source, Model):
        if not card:
            return source
        return Model(
            source.proto,
            path=source.path,
            folder=source.folder,
            overrides={**source.overrides, **card},
            sha256=source._sha256,
        )
    path = folder = None
    if isinstance(source, ModelProto):
        proto = ModelProto()
        proto.CopyFrom(source)
        digest = None
    else:
        if isinstance(source, bytes):
            data, where = source, f"the {len(source)} bytes given"
        else:
            path = Path(source)
            folder = path.resolve().parent
            data, where = _read_file(path), repr(str(path))
        proto = _parse(data, where)
        digest = hashlib.sha256(data).hexdigest()
        del data
    stays_outside = external.settle(proto, folder)
    folder = folder if stays_outside else None
    proto = _type_foreign(prepare(proto), folder)
    return Model(proto, path=path, folder=folder, overrides=card, sha256=digest)


def _type_foreign(proto: ModelProto, folder: Path | None) -> ModelProto:
    """Types and shapes behind operators of other domains, which onnx cannot infer and ONNX Runtime can."""
    foreign = {o for n in proto.graph.node if n.domain not in DOMAIN_NAMES for o in n.output if o}
    typed = {v.name for v in (*proto.graph.value_info, *proto.graph.output) if v.HasField("type")}
    if foreign <= typed:
        return proto
    from . import session

    model = Model(proto, folder=folder)
    unknown = [name for name, value in model.values.items() if value.shape is None and name not in typed]
    try:
        found = session.infer_types(model, unknown)
    except (ModelError, ShapeError):
        return proto  # an operator that this ONNX Runtime does not have: the rest of the model can still be looked at
    proto.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(v.name, onnx.helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for v in found.values()
        if v.dtype is not None
    )
    return proto


def prepare(proto: ModelProto) -> ModelProto:
    """Normalise a parsed model in the order of this module's diagram. The argument may be modified."""
    from .fold import fold_constants

    _check_opsets(proto)
    if proto.functions:
        import onnx.inliner

        proto = onnx.inliner.inline_local_functions(proto)
    proto = _upgrade_ancient(proto)
    if proto.ir_version < 4:
        # Before IR 4 every initializer had to be listed as an input; as plain initializers they can be folded.
        stored = {t.name for t in proto.graph.initializer}
        kept = [v for v in proto.graph.input if v.name not in stored]
        del proto.graph.input[:]
        proto.graph.input.extend(kept)
    proto.ir_version = max(proto.ir_version, _MIN_IR)
    _check_graph(proto.graph)
    return fold_constants(infer_shapes(proto))


def _read_file(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"no such model file: {str(path)!r}") from None
    except IsADirectoryError:
        raise ModelError(f"{str(path)!r} is a folder: give the .onnx file in it") from None
    except OSError as error:
        raise ModelError(f"cannot read the model {str(path)!r}: {error.strerror or error}") from None
    if not data:
        raise ModelError(f"the model file {str(path)!r} is empty: export or copy it again")
    return data


def _parse(data: bytes, where: str) -> ModelProto:
    proto = ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError:
        kind = "a text file" if b"\0" not in data[:4096] else "truncated, or another format"
        raise ModelError(f"{where} is not an ONNX model ({kind}): give a complete .onnx file") from None
    if not proto.HasField("graph") or not (proto.graph.node or proto.graph.output):
        raise ModelError(f"{where} is not an ONNX model, or a truncated one (no graph in it): give a complete .onnx file")
    return proto


def opset_of(proto: ModelProto) -> int:
    return max((o.version for o in proto.opset_import if o.domain in DOMAIN_NAMES), default=1)


def _plain(domain: str) -> str:
    return "" if domain in DOMAIN_NAMES else domain


def _check_opsets(proto: ModelProto) -> None:
    newest = onnx.defs.onnx_opset_version()
    if opset_of(proto) > newest:
        raise OpsetError(
            f"the model uses opset {opset_of(proto)}, the installed onnx {onnx.__version__} knows up to {newest}: "
            "upgrade onnx and onnxruntime, or export with an older opset"
        )
    if not proto.graph.output:
        raise ModelError("the model's graph has no output: the file is truncated or was exported wrongly")


def _upgrade_ancient(proto: ModelProto) -> ModelProto:
    version = opset_of(proto)
    if version >= OLDEST_OPSET or not any(node.domain in DOMAIN_NAMES for node in proto.graph.node):
        return proto
    import onnx.version_converter

    try:
        return onnx.version_converter.convert_version(proto, OLDEST_OPSET)
    except RuntimeError as error:
        reason = str(error).split("\n")[0].strip()
        raise OpsetError(
            f"the model uses opset {version} and cannot be brought to opset {OLDEST_OPSET}, the oldest that ONNX Runtime "
            f"runs ({reason}): {_culprit(proto, version)}; export it again with a newer opset"
        ) from None


def _culprit(proto: ModelProto, version: int) -> str:
    """The first operator that alone stops the conversion, by name."""
    for op in dict.fromkeys(n.op_type for n in proto.graph.node):
        nodes = [n for n in proto.graph.node if n.op_type == op]
        produced = {o for n in nodes for o in n.output}
        untyped = [ValueInfoProto(name=i) for i in dict.fromkeys(i for n in nodes for i in n.input) if i not in produced]
        graph = onnx.helper.make_graph(nodes, "probe", untyped, [ValueInfoProto(name=nodes[-1].output[0])])
        graph.initializer.extend(t for t in proto.graph.initializer if any(t.name in n.input for n in nodes))
        alone = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", version)])
        try:
            onnx.version_converter.convert_version(alone, OLDEST_OPSET)
        except RuntimeError:
            return f"operator {op!r} (node {nodes[0].name or nodes[0].output[0]!r}) has no conversion"
    return "the converter does not say which operator"


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def reads(node: NodeProto) -> Iterator[str]:
    """Names of the outer values that `node` reads, those captured by its subgraphs included."""
    yield from (name for name in node.input if name)
    for graph in subgraphs(node):
        own = {v.name for v in graph.input} | {t.name for t in graph.initializer}
        for inner in graph.node:
            yield from (name for name in reads(inner) if name not in own)
            own.update(inner.output)
        yield from (v.name for v in graph.output if v.name not in own)


def _check_graph(graph: GraphProto) -> None:
    """Names defined once, read after they are defined; nodes are put into topological order where they are not."""
    ready = {v.name for v in graph.input} | {t.name for t in graph.initializer}
    ready |= {s.values.name for s in graph.sparse_initializer}
    seen = set(ready)
    for node in graph.node:
        for name in node.output:
            if name and name in seen:
                raise ModelError(f"two nodes of the model define the value {name!r}: the file is damaged")
            seen.add(name)
    waiting, ordered = list(graph.node), True
    order: list[NodeProto] = []
    while waiting:
        later = []
        for node in waiting:
            if all(name in ready for name in reads(node)):
                order.append(node)
                ready.update(node.output)
            else:
                later.append(node)
        if len(later) == len(waiting):
            lost = next(n for node in later for n in reads(node) if n not in ready)
            why = "in a cycle" if lost in seen else "defined nowhere: the file is truncated or damaged"
            raise ModelError(f"node {_label(later[0])} reads the value {lost!r}, which is {why}")
        ordered = ordered and not later
        waiting = later
    if not ordered:
        copies = [NodeProto.FromString(n.SerializeToString()) for n in order]
        del graph.node[:]
        graph.node.extend(copies)
    for output in graph.output:
        if output.name not in ready:
            raise ModelError(f"the model's output {output.name!r} is computed nowhere: the file is truncated or damaged")


def _label(node: NodeProto) -> str:
    return f"{node.name or (node.output[0] if node.output else '?')!r} ({node.op_type})"


def infer_shapes(proto: ModelProto) -> ModelProto:
    """`proto` with types and shapes of all values that onnx can infer; weights are not copied through the inference."""
    bare = ModelProto()
    for field in proto.DESCRIPTOR.fields:
        if field.name != "graph":
            _copy_field(proto, bare, field.name)
    _bare_graph(proto.graph, bare.graph)
    # Declared shapes of intermediate values can be stale; only where onnx cannot infer any are they of use.
    foreign = {name for node in proto.graph.node if node.domain not in DOMAIN_NAMES for name in node.output}
    del bare.graph.value_info[:]
    bare.graph.value_info.extend(v for v in proto.graph.value_info if v.name in foreign)
    try:
        inferred = onnx.shape_inference.infer_shapes(bare, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        # Contradictory declarations: ONNX Runtime is the judge of such a model; what is declared stays known.
        return proto
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(inferred.graph.value_info)
    for mine, theirs in zip(proto.graph.output, inferred.graph.output, strict=True):
        if theirs.HasField("type"):
            mine.type.CopyFrom(theirs.type)
    return proto


# Shape arguments have to be seen by the inference, weights have not.
_SHAPE_ARGUMENT_BYTES = 4096


def _bare_graph(graph: GraphProto, out: GraphProto) -> None:
    for field in graph.DESCRIPTOR.fields:
        if field.name != "initializer":
            _copy_field(graph, out, field.name)
    for tensor in graph.initializer:
        if external.nbytes(tensor) <= _SHAPE_ARGUMENT_BYTES or tensor.data_type == TensorProto.STRING:
            out.initializer.append(tensor)
        else:
            out.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)


def _copy_field(source: Any, target: Any, name: str) -> None:
    value = getattr(source, name)
    if hasattr(value, "MergeFrom") and hasattr(value, "extend"):
        getattr(target, name).extend(value)
    elif hasattr(value, "CopyFrom"):
        if source.HasField(name):
            getattr(target, name).CopyFrom(value)
    elif source.HasField(name):
        setattr(target, name, value)


def _dtype(elem_type: int) -> np.dtype[Any] | None:
    if elem_type == TensorProto.UNDEFINED:
        return None
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type))


def _value(info: ValueInfoProto) -> Value:
    kind: TypeProto = info.type
    if not kind.HasField("tensor_type"):
        return Value(info.name, None, None)
    dtype = _dtype(kind.tensor_type.elem_type)
    if not kind.tensor_type.HasField("shape"):
        return Value(info.name, dtype, None)
    dims: list[int | str | None] = []
    for dim in kind.tensor_type.shape.dim:
        if dim.HasField("dim_value") and dim.dim_value >= 0:
            dims.append(dim.dim_value)
        else:
            dims.append(dim.dim_param or None)
    return Value(info.name, dtype, tuple(dims))


def save(model: Model, path: str | os.PathLike[str]) -> Path:
    """Write `model` to `path`, whole or not at all; over 1 GiB of weights, they go to `<path>.data` beside it.

    Raises OutputError when the place cannot be written.
    """
    from .output import atomic

    path = Path(path)
    total = sum(external.nbytes(t) for t in external.all_tensors(model.proto))
    if total <= external.INLINE_LIMIT and model.folder is None:
        with atomic(path) as temporary:
            temporary.write_bytes(model.proto.SerializeToString())
        return path
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    data = path.with_name(path.name + ".data")
    with atomic(data) as temporary_data, atomic(path) as temporary:
        external.move_out(proto, model.folder, temporary_data, data.name)
        temporary.write_bytes(proto.SerializeToString())
    return path
