"""A node as a gradient rule sees it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import onnx
from onnx import AttributeProto, NodeProto


class Node:
    """A node as a rule sees it. `proto` is the driver's own copy.

    inputs, outputs   value names, "" where left out
    wants             per input: whether its cotangent is used
    active            every value of this graph whose cotangent is used, those that subgraphs capture included
    asked             the values whose cotangents are the result
    """

    def __init__(
        self,
        proto: NodeProto,
        wants: Sequence[bool] | None = None,
        active: Collection[str] = frozenset(),
        asked: Collection[str] = frozenset(),
    ) -> None:
        self.proto = proto
        self.active, self.asked = active, asked
        self.op_type: str = proto.op_type
        self.domain: str = "" if proto.domain == "ai.onnx" else proto.domain
        self.inputs: tuple[str, ...] = tuple(proto.input)
        self.outputs: tuple[str, ...] = tuple(proto.output)
        self.wants: tuple[bool, ...] = tuple(wants) if wants is not None else (True,) * len(self.inputs)

    @property
    def label(self) -> str:
        """For messages: the node's name, or the value it makes."""
        return self.proto.name or next((o for o in self.outputs if o), "?")

    def input(self, index: int) -> str | None:
        """The name of an input, None where it is left out."""
        return (self.inputs[index] or None) if index < len(self.inputs) else None

    def output(self, index: int) -> str | None:
        return (self.outputs[index] or None) if index < len(self.outputs) else None

    def attribute(self, name: str, default: Any = None) -> Any:
        """The attribute's value: str (not bytes), float, int, list, TensorProto or GraphProto."""
        for attribute in self.proto.attribute:
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                if isinstance(value, bytes):
                    return value.decode()
                if attribute.type == AttributeProto.STRINGS:
                    return [text.decode() for text in value]
                return list(value) if attribute.type in (AttributeProto.INTS, AttributeProto.FLOATS) else value
        return default
