"""Which nodes of a graph an execution provider has no kernel for, found beforehand from a table of its kernels.

ONNX Runtime runs such a node on the CPU, and copies what it reads and what it makes. The table says what can run;
ONNX Runtime besides puts computations of sizes on the CPU on purpose, which costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
import onnx
from onnx import NodeProto

from ..graph.model import Model
from ..proto.nodes import all_nodes, reads
from . import kernel_table


@dataclass(frozen=True)
class Kernel:
    """Operator sets from `first` to `last`, None for those that were newest when it was written; letters of types."""

    first: int
    last: int | None
    types: str

    def runs(self, since: int) -> bool:
        """Whether it is for the form of the operator that the set `since` brought, as ONNX Runtime decides it: a kernel
        without an end is for that one form alone."""
        return self.first == since or (self.last is not None and self.first <= since <= self.last)


KernelTable: TypeAlias = Mapping[str, Sequence[Kernel]]


@dataclass(frozen=True)
class Unsupported:
    """A node without a kernel. dtype: of the value that decides, "" where it is not known; reason: in words."""

    node: str
    op: str
    dtype: str
    reason: str


LETTERS = {
    "bool": "b",
    "float16": "h",
    "bfloat16": "B",
    "float32": "f",
    "float64": "d",
    "int8": "c",
    "uint8": "C",
    "int16": "s",
    "uint16": "S",
    "int32": "i",
    "uint32": "I",
    "int64": "l",
    "uint64": "L",
}
# Which input's type decides, where it is not the first.
DECIDES = {"Where": 1, "OneHot": 2}
# Operators whose first input says nothing of what they make, or that hold graphs.
_ANY = frozenset(("ConstantOfShape", "If", "Loop", "Scan", "EyeLike"))
# Needs no kernel: it is a constant once the model is loaded.
_FOLDED = frozenset(("Constant",))


def parse(text: str) -> KernelTable:
    """A table in the form of `kernel_table.py`."""
    table: dict[str, list[Kernel]] = {}
    for line in text.strip().splitlines():
        op, *entries = line.split()
        for entry in entries:
            span, types = entry.split(":")
            first, _, last = span.rstrip("+").partition("-")
            table.setdefault(op, []).append(Kernel(int(first), int(last) if last else None, types))
    return table


@cache
def cuda_table() -> KernelTable:
    """The CUDA provider's kernels for ai.onnx."""
    return parse(kernel_table.CUDA)


def without_kernel(model: Model, table: KernelTable | None = None) -> list[Unsupported]:
    """The nodes of `model`, those of its subgraphs included, that have no kernel in `table` (the CUDA provider's).

    What is computed from constants alone is left out: it is done when the model is loaded. Operators of other domains
    than ai.onnx and ai.onnx.ml are left out: the table has none of them.
    """
    table = cuda_table() if table is None else table
    constant = set(model.initializers)
    found = []
    for node in all_nodes(model.proto.graph):
        if node.op_type in _FOLDED or (node.input and all(name in constant for name in reads(node))):
            constant.update(node.output)
            continue
        missing = _missing(model, node, table)
        if missing is not None:
            found.append(missing)
    return found


def _missing(model: Model, node: NodeProto, table: KernelTable) -> Unsupported | None:
    name = node.name or node.output[0]
    if node.domain == "ai.onnx.ml":
        return Unsupported(name, node.op_type, "", "no kernel of any version")
    if node.domain not in ("", "ai.onnx"):
        return None
    since = onnx.defs.get_schema(node.op_type, model.opset, "").since_version
    dtype = _dtype(model, node)
    kernels = table.get(node.op_type)
    if not kernels:
        return Unsupported(name, node.op_type, dtype, "no kernel of any version")
    fitting = [kernel for kernel in kernels if kernel.runs(since)]
    if not fitting:
        return Unsupported(name, node.op_type, dtype, f"no kernel for its form of operator set {since}")
    letter = LETTERS.get(dtype, "")
    if node.op_type in _ANY or not dtype or any("*" in k.types or (letter and letter in k.types) for k in fitting):
        return None
    return Unsupported(name, node.op_type, dtype, f"no kernel for {dtype}")


def _dtype(model: Model, node: NodeProto) -> str:
    at = DECIDES.get(node.op_type, 0)
    name = node.input[at] if at < len(node.input) else ""
    value = model.values.get(name)
    if value is not None and value.dtype is not None:
        return str(np.dtype(value.dtype).name)
    tensor = model.initializers.get(name)
    return str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).name) if tensor is not None else ""
