"""Writing nodes without knowing a model: names that nobody has, constants, nodes in their order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto


class Writer:
    """Nodes and constants on their way into a graph.

    nodes         what was written, in order
    initializers  name -> constant
    taken         names that values of the graph have; shared with `outer`, the writer of the graph around this one
    """

    def __init__(self, taken: Iterable[str] = (), outer: Writer | None = None) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self.taken: set[str] = set(taken) if outer is None else outer.taken
        self._counts: dict[str, int] = {} if outer is None else outer._counts

    def numbered(self, stem: str) -> str:
        """A name that nobody has: `<stem>_<k>`."""
        while True:
            count = self._counts[stem] = self._counts.get(stem, -1) + 1
            name = f"{stem}_{count}"
            if name not in self.taken:
                self.taken.add(name)
                return name

    def initializer(self, name: str, array: np.ndarray) -> str:
        """Store a constant under this name, which is returned."""
        self.initializers[name] = onnx.numpy_helper.from_array(array, name)
        return name

    def add(self, node: NodeProto) -> None:
        """Append a node that is made already."""
        self.nodes.append(node)

    def node(self, op_type: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> str:
        """Append a node, which is called as its first output; that name."""
        self.add(onnx.helper.make_node(op_type, list(inputs), list(outputs), name=outputs[0], **attributes))
        return outputs[0]
