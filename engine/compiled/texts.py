"""Models of texts with their explanation: the embeddings are explained, and what looks them up is put back in front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from ..attribution.inputs import freed
from ..errors import ModelError
from ..graph.dependencies import before, outputs_of
from ..graph.model import Model
from ..graph.upgrade import upgraded
from ..inspect.embedding import embedding_of
from ..proto.edit import copied, ordered, rename
from ..proto.nodes import reads
from ..text.find import reader_of
from ..text.reader import STAND_INS
from ..text.roles import roles_of
from .passes import TOKEN_BASELINE

RELEVANCE = "token_relevance"


@dataclass(frozen=True)
class StandIn:
    """What stands for nothing in a graph: the token `code` in the place of every one but the `special` ones."""

    code: int
    special: tuple[int, ...]


def stand_in_of(model: Model, kind: object) -> StandIn | None:
    """The tokens of a baseline "pad", "mask" or "unk"; None for other baselines. Raises TextError."""
    if not isinstance(kind, str) or kind not in STAND_INS:
        return None
    reader = reader_of(model)
    code = reader.replacement(kind)
    pad = reader.replacement("pad")
    around = [t.id for t in reader.encode("a", None, None).tokens if t.special]
    return StandIn(code, tuple(dict.fromkeys([*around, pad])))


def lookup_of(model: Model) -> str | None:
    """The value of the embeddings that gradients explain in place of token ids; None for models without these."""
    roles = roles_of(model)
    if roles is None or roles.strings:
        return None
    return embedding_of(model, roles.ids[0]) if len(roles.ids) == 1 else None


def at_lookup(model: Model, value: str, with_baseline: bool = False) -> Model:
    """The model with its embeddings as the explained input. with_baseline: and with one more input, the embeddings of
    what stands for nothing."""
    made = freed(model, value)[1]
    if with_baseline:
        with made.edited() as edit:
            info = copied(next(v for v in edit.graph.input if v.name == value))
            info.name = TOKEN_BASELINE
            edit.graph.input.append(info)
        made = Model(edit.model.untyped, folder=made.folder, overrides=made.overrides, inferred=False)
    return Model(made.untyped, path=None, folder=made.folder, overrides=_without_text(made), inferred=False)


def _without_text(model: Model) -> dict[str, Any]:
    """Its options, but for those that would have its ids looked up once more."""
    return {**{n: v for n, v in model.overrides.items() if n != "tokenizer"}, "kind": "series"}


def with_lookup(compiled: Model, model: Model, value: str, map_name: str, stand_in: StandIn | None = None) -> Model:
    """A compiled model of `at_lookup` that takes token ids again, its map (N, T, D) summed over the dimensions as
    `token_relevance`, float32 (N, T). Raises ModelError where the model has a value of that name."""
    source = upgraded(model, compiled.opset)
    if RELEVANCE in source.values or RELEVANCE in compiled.values:
        raise ModelError(f"the model has a value called {RELEVANCE!r} already, the name of the relevance: rename it")
    with compiled.edited() as edit:
        graph = edit.graph
        fed = {v.name for v in graph.input} - {value}
        there = outputs_of(graph.node) | {i.name for i in graph.initializer} | fed
        nodes = [copied(node) for node in before(source, [value], there)]
        needed = dict.fromkeys(name for node in nodes for name in reads(node))
        stored = source.initializers
        graph.initializer.extend(stored[name] for name in needed if name in stored and name not in there)
        roles = roles_of(model)
        if stand_in is not None and roles is not None:
            nodes += _replaced(graph, nodes, roles.ids[0], value, stand_in)
        inputs = [v for v in graph.input if v.name not in (value, TOKEN_BASELINE)]
        outputs = [v for v in graph.output if v.name != map_name]
        del graph.input[:], graph.output[:]
        graph.input.extend(inputs)
        graph.output.extend(outputs)
        axes = f"{RELEVANCE}/axes"
        graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1], np.int64), axes))
        summed = onnx.helper.make_node("ReduceSum", [map_name, axes], [RELEVANCE], name=RELEVANCE, keepdims=0)
        all_nodes = ordered([*nodes, *graph.node, summed], [v.name for v in outputs] + [RELEVANCE])
        del graph.node[:]
        graph.node.extend(all_nodes)
        graph.output.append(onnx.helper.make_tensor_value_info(RELEVANCE, onnx.TensorProto.FLOAT, None))
    return edit.model


def _replaced(
    graph: onnx.GraphProto, lookup: Sequence[onnx.NodeProto], ids: str, value: str, stand_in: StandIn
) -> list[onnx.NodeProto]:
    """The nodes of a lookup once more, for the ids with their tokens replaced: they end in the baseline's input."""
    kind = next(v.type.tensor_type.elem_type for v in graph.input if v.name == ids)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
    stem = f"{TOKEN_BASELINE}/"
    given = {"special": np.array(stand_in.special, dtype), "code": np.array(stand_in.code, dtype)}
    given |= {"last": np.array([-1], np.int64)}
    graph.initializer.extend(onnx.numpy_helper.from_array(array, f"{stem}{name}") for name, array in given.items())
    steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Unsqueeze", [ids, f"{stem}last"], "each", {}),
        ("Equal", [f"{stem}each", f"{stem}special"], "same", {}),
        ("Cast", [f"{stem}same"], "number", {"to": onnx.TensorProto.INT32}),
        ("ReduceMax", [f"{stem}number", f"{stem}last"], "most", {"keepdims": 0}),
        ("Cast", [f"{stem}most"], "kept", {"to": onnx.TensorProto.BOOL}),
        ("Where", [f"{stem}kept", ids, f"{stem}code"], "ids", {}),
    ]
    made = [onnx.helper.make_node(op, given, [f"{stem}{out}"], **more) for op, given, out, more in steps]
    names = {ids: f"{stem}ids"}
    for node in lookup:
        if any(name in names for name in reads(node)):
            again = copied(node)
            names |= {name: TOKEN_BASELINE if name == value else f"{stem}{name}" for name in node.output if name}
            rename(again, names)
            again.name = f"{stem}{node.name}" if node.name else ""
            made.append(again)
    return made
