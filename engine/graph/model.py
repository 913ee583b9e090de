"""Load, index and save ONNX models; the only reader of model files.

The graph stays an `onnx.ModelProto`: the ONNX project's `onnx_ir` was measured and costs 0.25 s more to import (it
brings sympy), which a command that has to answer in a second cannot spare.

    file -> parse -> external data checked -> prepare (see there) -> operators of other domains typed -> Model
"""

from __future__ import annotations

import hashlib
import html
import os
import threading
from collections.abc import Hashable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from ..atomic import atomic
from ..errors import OutputError, UnknownName
from ..proto import external_data as external
from ..proto.bodies import inside
from ..proto.edit import copied, copy_fields
from ..proto.nodes import DOMAIN_NAMES, MIN_IR, opset_of, plain_domain, reads
from ..proto.shape_inference import infer_shapes
from ..proto.values import Value, dtype_of, from_info, without_invented_sizes

if TYPE_CHECKING:
    from ..inspect.layer_list import Layers

Source: TypeAlias = "str | os.PathLike[str] | bytes | ModelProto | Model"


class Model:
    """An ONNX model and what is known of it. Nothing changes it: every rewrite returns a new one.

    Attributes: `proto` (onnx.ModelProto, functions inlined, constants folded, shapes inferred; do not modify),
    `untyped` (the same, but shapes may not have been inferred yet: for what asks for no types), `path` (the file it was
    loaded from, None for a model in memory), `folder` (where external data lies that was too large to be read in, else
    None), `overrides` (card fields given to `load`), `kept` (what `caches.of_model` keeps).
    """

    def __init__(
        self,
        proto: ModelProto,
        *,
        path: Path | None = None,
        folder: Path | None = None,
        overrides: Mapping[str, Any] | None = None,
        sha256: str | None = None,
        inferred: bool = True,
        key: Hashable = None,
        data: Iterable[external.Place] = (),
    ) -> None:
        """`inferred`: whether shapes have been inferred; if not, that is done in place when somebody asks for them.

        `key`: what the model was made from and how, in place of a hash of all that is in it: see `content_key`. `data`:
        where weights lay that are in other files than the one whose hash `sha256` is.
        """
        self.untyped = proto
        self._inferred = inferred
        self._inferring = threading.Lock()
        self._declared: tuple[ValueInfoProto, ...] | None = None
        self.path = path
        self.folder = folder
        self.overrides: Mapping[str, Any] = MappingProxyType(dict(overrides or {}))
        self._sha256 = sha256
        self._data = tuple(data)
        self.key = key
        self.kept: dict[Any, Any] = {}

    def __repr__(self) -> str:
        where = str(self.path) if self.path else f"<{self.untyped.graph.name or 'in memory'}>"
        return f"Model({where}, opset {self.opset}, {len(self.untyped.graph.node)} nodes)"

    def _repr_html_(self) -> str:
        """File, inputs, outputs and layers, for notebooks."""
        ends = [("input", self.inputs), ("output", self.outputs)]
        lines = "".join(f"<li>{what} {html.escape(str(value))}</li>" for what, values in ends for value in values)
        layers = f"<details><summary>{len(self.layers)} layers</summary>{self.layers._repr_html_()}</details>"
        return f"<p>{html.escape(repr(self))}</p><ul>{lines}</ul>{layers}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as a whole, but for what is computed from it. Weights in data files stay there."""
        data = self.untyped.SerializeToString()
        sha256 = self.sha256 if self._data else self._sha256
        return _unpickled, (data, self.path, self.folder, dict(self.overrides), sha256, self._inferred)

    @property
    def proto(self) -> ModelProto:
        """The model as onnx has it, shapes inferred: do not modify it."""
        if not self._inferred:
            with self._inferring:
                if not self._inferred:
                    self._declared = tuple(copied(info) for info in _infos(self.untyped.graph))
                    infer_shapes(self.untyped)
                    self._inferred = True
        return self.untyped

    @property
    def graph(self) -> GraphProto:
        """The graph of `proto`: do not modify it."""
        return self.proto.graph

    @cached_property
    def opset(self) -> int:
        """The version of the standard operator set (domain ai.onnx)."""
        return opset_of(self.untyped)

    @cached_property
    def opsets(self) -> Mapping[str, int]:
        """domain -> version; the standard domain is ""."""
        return MappingProxyType({plain_domain(o.domain): o.version for o in self.untyped.opset_import})

    @cached_property
    def metadata(self) -> Mapping[str, str]:
        """The model's metadata properties."""
        return MappingProxyType({p.key: p.value for p in self.untyped.metadata_props})

    @cached_property
    def sha256(self) -> str:
        """Of the file it was loaded from, with the content of its data files if it has any, else of its serialised
        form. Raises ExternalDataError."""
        if self._sha256 is None:
            return self._with_data(hashlib.sha256(self.proto.SerializeToString(deterministic=True)))
        if not self._data:
            return self._sha256
        digest = hashlib.sha256(self._sha256.encode())
        external.add_content(digest, self._data)
        return digest.hexdigest()

    @property
    def file_sha256(self) -> str:
        """Of the file it was loaded from without data files, else as `sha256`."""
        return self._sha256 or self.sha256

    @cached_property
    def content_key(self) -> Hashable:
        """Equal for models of equal content: made from the same file in the same way, or with equal graphs as they were
        made, whether or not their shapes have been inferred since.

        Data files count by place, size and time.
        """
        if self.key is not None:
            return self.key, self._with_data(hashlib.sha256())
        graph, digest = self.untyped.graph, hashlib.sha256()
        about, declared = ModelProto(), self._declared or _infos(graph)
        copy_fields(self.untyped, about, but=("graph",))
        copy_fields(graph, about.graph, but=("node", "initializer", "value_info", "output"))
        # Which values are outputs: moved there from the other values that are declared, nothing else need change.
        digest.update("\0".join(v.name for v in graph.output).encode("utf-8", "surrogateescape") + b"\0\0")
        for part in (about, *graph.node, *graph.initializer, *declared):
            data = part.SerializeToString(deterministic=True)
            digest.update(len(data).to_bytes(8, "little") + data)
        return self._with_data(digest)

    def _with_data(self, digest: hashlib._Hash) -> str:
        """The hash with the data files added, by place, size and time."""
        for tensor in self.untyped.graph.initializer:
            if external.is_external(tensor):
                file = external.locate(tensor, self.folder)[0]
                state = file.stat()
                digest.update(f"{file}\0{state.st_size}\0{state.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    @cached_property
    def initializers(self) -> Mapping[str, TensorProto]:
        """name -> stored tensor, of weights and constants."""
        return MappingProxyType({t.name: t for t in self.untyped.graph.initializer})

    @cached_property
    def inputs(self) -> tuple[Value, ...]:
        """What has to be fed; initializers that are listed as inputs too (defaults) are left out."""
        return tuple(from_info(v) for v in self.untyped.graph.input if v.name not in self.initializers)

    @cached_property
    def outputs(self) -> tuple[Value, ...]:
        """The outputs: name, type, shape."""
        return tuple(self.values[v.name] for v in self.graph.output)

    @cached_property
    def values(self) -> Mapping[str, Value]:
        """Every value of the main graph: inputs, initializers, then node outputs in graph order."""
        known = {v.name: v for v in (*self.graph.value_info, *self.graph.output)}
        found: dict[str, Value] = {v.name: from_info(v) for v in self.graph.input}
        named = {d for v in found.values() for d in v.shape or () if isinstance(d, str)}
        for tensor in self.graph.initializer:
            found[tensor.name] = Value(tensor.name, dtype_of(tensor.data_type), tuple(tensor.dims))
        for sparse in self.graph.sparse_initializer:
            name = sparse.values.name
            found[name] = Value(name, dtype_of(sparse.values.data_type), tuple(sparse.dims))
        for node in self.graph.node:
            for name in node.output:
                if name:
                    value = from_info(known[name]) if name in known else Value(name, None, None)
                    found[name] = without_invented_sizes(value, named)
        return MappingProxyType(found)

    def value(self, name: str) -> Value:
        """The value called `name`. Raises UnknownName with the nearest names."""
        found = self.values.get(name)
        if found is None:
            remedy = inside(self.graph, name) or "`onnxray inspect` lists them"
            raise UnknownName("value", name, self.values, remedy)
        return found

    @cached_property
    def _producers(self) -> dict[str, NodeProto]:
        return {name: node for node in self.untyped.graph.node for name in node.output if name}

    @cached_property
    def _consumers(self) -> dict[str, tuple[NodeProto, ...]]:
        found: dict[str, list[NodeProto]] = {}
        for node in self.untyped.graph.node:
            for name in dict.fromkeys(reads(node)):
                found.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    def producer(self, name: str) -> NodeProto | None:
        """The node that computes the value, None for inputs and initializers."""
        return self._producers.get(name)

    def consumers(self, name: str) -> tuple[NodeProto, ...]:
        """The nodes that read the value, those included whose subgraphs do."""
        return self._consumers.get(name, ())

    def ancestors(self, name: str) -> frozenset[str]:
        """The value and all values that it is computed from."""
        if name not in self._ancestors:
            needed = {name}
            for node in reversed(self.untyped.graph.node):
                if not needed.isdisjoint(node.output):
                    needed.update(reads(node))
            self._ancestors[name] = frozenset(needed)
        return self._ancestors[name]

    @cached_property
    def _ancestors(self) -> dict[str, frozenset[str]]:
        return {}

    @cached_property
    def operators(self) -> frozenset[tuple[str, str]]:
        """(domain, operator) of the nodes of the main graph; ONNX's own domain is ""."""
        nodes = self.untyped.graph.node
        return frozenset((plain_domain(node.domain), node.op_type) for node in nodes)

    def constant(self, name: str) -> np.ndarray | None:
        """The values of an initializer that no feed can override, else None. External data is memory-mapped."""
        tensor = self.initializers.get(name)
        if tensor is None or name in self._fed:
            return None
        return external.read(tensor, self.folder)

    @cached_property
    def _fed(self) -> frozenset[str]:
        return frozenset(v.name for v in self.untyped.graph.input)

    @cached_property
    def layers(self) -> Layers:
        """The layers of the network, in graph order, a tuple of `Layer`; `layers[name]` is one by its name."""
        from ..inspect.layers import layers

        return layers(self)

    def with_graph(
        self, graph: GraphProto, *, metadata: Mapping[str, str] | None = None, opset: int | None = None
    ) -> Model:
        """A new model with another graph and the same opsets, metadata and data folder; shapes are inferred anew, when
        somebody asks for them.
        """
        with self.edited(graph, metadata=metadata, opset=opset) as edit:
            pass
        return edit.model

    def edited(
        self, graph: GraphProto | None = None, *, metadata: Mapping[str, str] | None = None, opset: int | None = None
    ) -> Edit:
        """For a `with` statement: `graph` inside is a copy to be changed, this model's if none is given; afterwards
        `model` is the new model.

        Weights are best added inside: those of `graph` are copied.
        """
        proto = ModelProto()
        copy_fields(self.untyped, proto, but=("graph",))
        proto.graph.CopyFrom(self.untyped.graph if graph is None else graph)
        return self._edit(proto, metadata, opset)

    def consumed(
        self, graph: GraphProto | None = None, *, metadata: Mapping[str, str] | None = None, opset: int | None = None
    ) -> Edit:
        """`edited` without a copy of the weights: the new model takes this one's place, which must not be used
        afterwards. `graph` inside is this model's; if one is given, that one with this model's initializers as well.

        For models that were just made and that nobody else knows. No initializer of `graph` may have the name of one of
        this model's.
        """
        if graph is not None:
            own = self.untyped.graph
            for field, _ in own.ListFields():
                if field.name not in _WEIGHTS:
                    own.ClearField(field.name)
            copy_fields(graph, own, but=_WEIGHTS)
            own.initializer.extend(graph.initializer)
            own.sparse_initializer.extend(graph.sparse_initializer)
        return self._edit(self.untyped, metadata, opset)

    def _edit(self, proto: ModelProto, metadata: Mapping[str, str] | None, opset: int | None) -> Edit:
        for imported in proto.opset_import:
            imported.domain = imported.domain  # written out, the standard one too
            if opset and imported.domain in DOMAIN_NAMES:
                imported.version = opset
        texts = {**self.metadata, **(metadata or {})}
        del proto.metadata_props[:]
        for key, text in texts.items():
            proto.metadata_props.add(key=key, value=text)
        proto.ir_version = max(proto.ir_version, MIN_IR)
        return Edit(self, proto)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the model to `path`; see `save`."""
        return save(self, path)


def _unpickled(
    data: bytes, path: Path | None, folder: Path | None, overrides: dict[str, Any], sha256: str | None, inferred: bool
) -> Model:
    proto = ModelProto.FromString(data)
    return Model(proto, path=path, folder=folder, overrides=overrides, sha256=sha256, inferred=inferred)


class Edit:
    """A model in the making: `graph` may be changed until the `with` statement ends, then `model` is there."""

    model: Model

    def __init__(self, source: Model, proto: ModelProto) -> None:
        self.graph = proto.graph
        self._source, self._proto = source, proto

    def __enter__(self) -> Edit:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            source = self._source
            self.model = Model(self._proto, folder=source.folder, overrides=source.overrides, inferred=False)


_WEIGHTS = ("initializer", "sparse_initializer")


def _infos(graph: GraphProto) -> tuple[ValueInfoProto, ...]:
    """What shape inference changes."""
    return (*graph.value_info, *graph.output)


def save(model: Model, path: str | os.PathLike[str]) -> Path:
    """Write `model` to `path`, whole or not at all; over 1 GiB of weights, they go to `<path>.data` next to it.

    Raises OutputError when the place cannot be written.
    """
    path = Path(path)
    total = sum(external.nbytes(t) for t in external.all_tensors(model.proto))
    if total <= external.INLINE_LIMIT and model.folder is None:
        with atomic(path) as temporary:
            temporary.write_bytes(model.proto.SerializeToString())
        return path
    data = path.with_name(path.name + ".data")
    if model.folder is not None and data.exists():
        used = {external.locate(t, model.folder)[0] for t in model.graph.initializer if external.is_external(t)}
        if any(data.samefile(file) for file in used):
            raise OutputError(f"{str(data)!r} holds the weights that the model reads: save it under another name")
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    # When both are written, the data take their name first: a new model is never there without its data.
    with atomic(path) as temporary, atomic(data) as temporary_data:
        external.move_out(proto, model.folder, temporary_data, data.name)
        temporary.write_bytes(proto.SerializeToString())
    return path
