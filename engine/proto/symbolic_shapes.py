"""Sizes as expressions over the symbolic dimensions of a model's inputs.

ONNX's shape inference forgets what a symbolic size becomes: behind a reshape to computed sizes, a strided convolution,
a concatenation the size is unknown, and of two unknown sizes nobody can say whether they are equal. Here such a size
gets a name, written so that the same computation gives the same name: `((H - 1) // 2 + 1)`. Two sizes with one name are
equal; that is all that is claimed. Integer tensors computed from sizes are followed element by element
(`symbolic_values.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
import onnx
from onnx import NodeProto, TypeProto

from ..errors import ModelError
from .arguments import Unreadable, pads_of, slice_of
from .attributes import attributes
from .contradictions import CONTRADICTIONS, contradiction
from .expressions import Size
from .guarded_inference import INFERENCE_ERRORS, infer_node
from .known_sizes import MOST_ELEMENTS, TO_THE_END, KnownSizes, dims_of
from .nodes import DOMAIN_NAMES, reads
from .symbolic_values import VALUES
from .values import Shape

V = TypeVar("V")
Rule: TypeAlias = Callable[[KnownSizes, NodeProto, Mapping[str, Any]], V]


def _reshape_shape(walk: KnownSizes, node: NodeProto, given: Mapping[str, Any]) -> list[Shape | None]:
    source, target = walk.shape(node.input[0]), walk.value(node.input[1])
    if target is None or target.ndim != 1:
        return [None]
    dims: list[Size] = []
    for axis, size in enumerate(target):
        if size == 0 and not given.get("allowzero", 0):
            size = source[axis] if source is not None and axis < len(source) else None
        dims.append(size if isinstance(size, (int, str)) else None)
    if -1 in dims:
        rest = [d for d in dims if d != -1]
        complete = source is not None and None not in source and None not in rest
        dims[dims.index(-1)] = walk.sizes.quotient(source or (), rest) if complete else None
    return [tuple(dims)]


def _expand_shape(walk: KnownSizes, node: NodeProto, given: Mapping[str, Any]) -> list[Shape | None]:
    source, target = walk.shape(node.input[0]), walk.value(node.input[1])
    if source is None or target is None or target.ndim != 1:
        return [None]
    rank = max(len(source), len(target))
    pairs = zip((1,) * (rank - len(source)) + source, [1] * (rank - len(target)) + list(target), strict=True)
    return [tuple(b if a == 1 else a if b == 1 or a == b or (isinstance(a, int) and a > 1) else None for a, b in pairs)]


def _sizes_as_value(walk: KnownSizes, node: NodeProto, given: Mapping[str, Any]) -> list[Shape | None]:
    value = walk.value(node.input[0])
    return [None if value is None else tuple(v if isinstance(v, (int, str)) else None for v in value)]


def _windows(walk: KnownSizes, node: NodeProto, given: Mapping[str, Any]) -> list[Shape | None]:
    """Spatial sizes of a convolution or pool; the rest is left to the inference."""
    source = walk.shape(node.input[0])
    weight = walk.shape(node.input[1]) if node.op_type == "Conv" else None
    kernel = given.get("kernel_shape") or (weight[2:] if weight is not None else None)
    if source is None or kernel is None or not all(isinstance(k, int) for k in kernel):
        return [None]
    kernel = [int(k or 0) for k in kernel]
    rank = len(kernel)
    strides, dilations = given.get("strides", [1] * rank), given.get("dilations", [1] * rank)
    pads, mode = given.get("pads", [0] * 2 * rank), given.get("auto_pad", "NOTSET")
    dims: list[Size] = []
    for axis, size in enumerate(source[2:]):
        if mode.startswith("SAME"):
            dims.append(walk.sizes.divide(walk.sizes.add(size, strides[axis] - 1), strides[axis]))
            continue
        around = 0 if mode == "VALID" else pads[axis] + pads[rank + axis]
        ceil = bool(given.get("ceil_mode", 0)) and strides[axis] > 1
        if ceil and around:
            dims.append(None)  # whether the last window counts depends on the size
            continue
        dims.append(walk.sizes.window(size, kernel[axis], strides[axis], dilations[axis], around, ceil))
    return [(None, None, *dims)]


def _resized(walk: KnownSizes, node: NodeProto, given: Mapping[str, Any]) -> list[Shape | None]:
    source = walk.shape(node.input[0])
    if source is None or given.get("axes") or given.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return [None]
    sizes = walk.value(node.input[3]) if len(node.input) > 3 and node.input[3] else None
    if sizes is not None:
        return [tuple(s if isinstance(s, (int, str)) else None for s in sizes)]
    scales = walk.value(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if scales is None or len(scales) != len(source):
        return [None]
    whole = [isinstance(s, (int, float)) and float(s).is_integer() for s in scales]
    return [tuple(walk.sizes.multiply(d, int(s)) if w else None for d, s, w in zip(source, scales, whole, strict=True))]


def _padded(walk: KnownSizes, node: NodeProto, given: Mapping[str, Any]) -> list[Shape | None]:
    source = walk.shape(node.input[0])
    if source is None:
        return [None]
    pads = pads_of(node, len(source), walk.known)
    return [tuple(walk.sizes.add(d, before + after) for d, (before, after) in zip(source, pads, strict=True))]


def _joined(walk: KnownSizes, node: NodeProto, given: Mapping[str, Any]) -> list[Shape | None]:
    shapes = [walk.shape(name) for name in node.input]
    if any(s is None for s in shapes):
        return [None]
    known = [s for s in shapes if s is not None]
    axis = given["axis"] % max(len(known[0]), 1)
    total: Size = 0
    for size in sorted((s[axis] for s in known), key=str):
        total = walk.sizes.add(total, size)
    dims = [next((s[a] for s in known if s[a] is not None), None) for a in range(len(known[0]))]
    dims[axis] = total
    return [tuple(dims)]


def _kept_whole(walk: KnownSizes, node: NodeProto, given: Mapping[str, Any]) -> list[Shape | None]:
    """Axes of which a Slice takes all, and a part of known length of the others."""
    source = walk.shape(node.input[0])
    if source is None:
        return [None]
    dims = list(source)
    for axis, start, end, step in slice_of(node, len(source), walk.known):
        size = source[axis]
        if isinstance(size, int) or size is None:
            dims[axis] = None
        elif start or step != 1 or end < TO_THE_END:
            dims[axis] = f"slice {start}:{end}:{step} of {size}"
    return [tuple(dims)]


def _blocks(walk: KnownSizes, node: NodeProto, given: Mapping[str, Any]) -> list[Shape | None]:
    source = walk.shape(node.input[0])
    if source is None or len(source) != 4:
        return [None]
    block = given["blocksize"]
    change = walk.sizes.multiply if node.op_type == "DepthToSpace" else walk.sizes.divide
    return [(None, None, change(source[2], block), change(source[3], block))]


_SHAPES: dict[str, Rule[list[Shape | None]]] = {
    "Reshape": _reshape_shape,
    "Expand": _expand_shape,
    "ConstantOfShape": _sizes_as_value,
    "Conv": _windows,
    "MaxPool": _windows,
    "AveragePool": _windows,
    "LpPool": _windows,
    "Resize": _resized,
    "Pad": _padded,
    "Concat": _joined,
    "Slice": _kept_whole,
    "DepthToSpace": _blocks,
    "SpaceToDepth": _blocks,
}


def _attempt(rule: Rule[V], walk: KnownSizes, node: NodeProto) -> V | None:
    """What the rule finds; None where an argument is computed or the model contradicts itself."""
    try:
        return rule(walk, node, attributes(node))
    except (Unreadable, ModelError):
        return None


class _Walk(KnownSizes):
    """Visits the nodes in order; each adds what it makes known."""

    def visit(self, node: NodeProto) -> None:
        if node.domain not in DOMAIN_NAMES:
            return
        evaluate = VALUES.get(node.op_type)
        if evaluate is not None and len(node.output) == 1:
            value = _attempt(evaluate, self, node)
            if value is not None and value.size <= MOST_ELEMENTS and value.ndim <= 1:
                self.values[node.output[0]] = value
        shapes = [self.shape(o) for o in node.output if o]
        if all(s is not None and all(isinstance(d, int) for d in s) for s in shapes):
            return
        self._infer(node)
        write = _SHAPES.get(node.op_type)
        if write is not None:
            for name, found in zip(node.output, _attempt(write, self, node) or (), strict=False):
                self._merge(name, found)
        for name in node.output:
            shape = self.shape(name) if name else None
            if shape is not None and None in shape:
                self._merge(name, tuple(f"size {axis} of {name}" for axis in range(len(shape))))

    def _infer(self, node: NodeProto) -> None:
        if not onnx.defs.has(node.op_type, self.opset) or node.op_type in ("If", "Loop", "Scan"):
            return
        schema = onnx.defs.get_schema(node.op_type, self.opset)
        given = {name: self.types.get(name) or TypeProto() for name in reads(node)}
        data = {}
        for name in node.input:
            numbers = self.numbers(name) if name in self.types and self._is_int64(name) else None
            if numbers is not None:
                array = np.array(numbers, np.int64).reshape(self.value(name).shape)  # type: ignore[union-attr]
                data[name] = onnx.numpy_helper.from_array(array, name)
        try:
            found = infer_node(schema, node, given, data, self.opset)
        except INFERENCE_ERRORS:
            return  # contradictory: the runtime is the judge
        for name, kind in found.items():
            if kind.HasField("tensor_type") and kind.tensor_type.HasField("shape"):
                if self.types.get(name) is None or self.shape(name) is None:
                    self.types[name] = kind
                else:
                    self._merge(name, dims_of(kind))

    def _is_int64(self, name: str) -> bool:
        return bool(self.types[name].tensor_type.elem_type == onnx.TensorProto.INT64)

    def _merge(self, name: str, found: Shape | None) -> None:
        """Take over the sizes of `found` where none is known."""
        known = self.shape(name)
        if found is None or known is None or len(known) != len(found) or None not in known:
            return
        shape = tuple(f if k is None else k for k, f in zip(known, found, strict=True))
        self.types[name] = onnx.helper.make_tensor_type_proto(self.types[name].tensor_type.elem_type, shape)


def refine(
    nodes: Sequence[NodeProto],
    types: dict[str, TypeProto],
    constant: Callable[[str], np.ndarray | None],
    opset: int,
) -> None:
    """Fill in what is open in `types`, in place. `constant` gives the array behind a name, None if it is computed."""
    walk = _Walk(types, constant, opset)
    for node in nodes:
        try:
            walk.visit(node)
        except CONTRADICTIONS as error:
            raise contradiction(node, error) from error
