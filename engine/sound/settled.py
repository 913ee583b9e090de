"""A model for one sound: numbers that are the same for all frames as constants, the sizes of its inputs as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, helper, numpy_helper

from ..graph.model import Model
from ..graph.read import read
from ..proto.edit import copied

_DEEPEST = 16


def settled_model(model: Model, constants: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]) -> Model:
    """The model without the inputs `constants`, which are folded: branches for other rates go. shapes: of inputs."""
    with model.edited() as edit:
        graph = edit.graph
        kept = [value for value in graph.input if value.name not in constants]
        del graph.input[:]
        graph.input.extend(kept)
        graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items())
        for info in graph.input:
            for dim, size in zip(info.type.tensor_type.shape.dim, shapes.get(info.name, ()), strict=False):
                dim.dim_value = size
        del graph.value_info[:]
        for output in graph.output:
            output.type.tensor_type.ClearField("shape")
    proto = read(edit.model.untyped).untyped
    # Branches in branches are folded one after the other; ONNX Runtime may crash over a constant condition.
    for _ in range(_DEEPEST):
        if not _without_branches(proto.graph):
            break
        proto = read(proto).untyped
    return Model(
        proto,
        path=model.path,
        folder=model.folder,
        overrides=model.overrides,
        sha256=model.sha256,
    )


def _without_branches(graph: GraphProto) -> bool:
    """Put the branch that is taken in the place of each If whose condition is constant; whether there was one."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[NodeProto] = []
    found = False
    for node in graph.node:
        if node.op_type != "If" or node.input[0] not in constants:
            nodes.append(node)
            continue
        found = True
        taken = bool(numpy_helper.to_array(constants[node.input[0]]).ravel()[0])
        (branch,) = (a.g for a in node.attribute if a.name == ("then_branch" if taken else "else_branch"))
        graph.initializer.extend(branch.initializer)
        nodes += branch.node
        pairs = zip(branch.output, node.output, strict=True)
        nodes += [helper.make_node("Identity", [inner.name], [outer], name=outer) for inner, outer in pairs if outer]
    kept = [copied(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    return found
