"""Models of texts with their explanation: the embeddings are explained, and what looks them up is put back in front."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from ..attribution.inputs import freed
from ..errors import ModelError
from ..graph.dependencies import before, outputs_of
from ..graph.model import Model
from ..graph.upgrade import upgraded
from ..inspect.embedding import embedding_of
from ..proto.edit import copied, ordered
from ..proto.nodes import reads
from ..text.roles import roles_of

RELEVANCE = "token_relevance"


def lookup_of(model: Model) -> str | None:
    """The value of the embeddings that gradients explain in place of token ids; None for models without these."""
    roles = roles_of(model)
    if roles is None or roles.strings:
        return None
    return embedding_of(model, roles.ids[0]) if len(roles.ids) == 1 else None


def at_lookup(model: Model, value: str) -> Model:
    """The model with its embeddings as the explained input."""
    made = freed(model, value)[1]
    return Model(made.untyped, path=None, folder=made.folder, overrides=_without_text(made), inferred=False)


def _without_text(model: Model) -> dict[str, Any]:
    """Its options, but for those that would have its ids looked up once more."""
    return {**{n: v for n, v in model.overrides.items() if n != "tokenizer"}, "kind": "series"}


def with_lookup(compiled: Model, model: Model, value: str, map_name: str) -> Model:
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
        inputs = [v for v in graph.input if v.name != value]
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
