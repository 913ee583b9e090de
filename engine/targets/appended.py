"""Nodes that a target needs behind a value of the model."""

from __future__ import annotations

from ..graph.model import Model
from ..proto.writer import Writer


def appended(model: Model, writer: Writer, value: str) -> Model:
    """The model with what was written, `value` among its outputs."""
    with model.edited() as edit:
        edit.graph.initializer.extend(writer.initializers.values())
        edit.graph.node.extend(writer.nodes)
        if value not in {v.name for v in edit.graph.output}:
            edit.graph.output.add(name=value)
    return edit.model
