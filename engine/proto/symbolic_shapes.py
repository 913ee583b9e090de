"""Sizes as expressions over the symbolic dimensions of a model's inputs.

ONNX's shape inference forgets what a symbolic size becomes: behind a reshape to computed sizes, a strided convolution,
a concatenation the size is unknown, and of two unknown sizes nobody can say whether they are equal. Here such a size
gets a name, written so that the same computation gives the same name: `((H - 1) // 2 + 1)`. Two sizes with one name are
equal; that is all that is claimed. Integer tensors computed from sizes are followed element by element.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import onnx
from onnx import NodeProto, TypeProto

from ..errors import ModelError
from .arguments import Unreadable, pads_of, slice_of
from .attributes import attributes
from .expressions import Expressions, Size
from .nodes import DOMAIN_NAMES, reads
from .values import Shape

V = TypeVar("V")

_MOST = 64  # elements of an integer tensor that may be a shape
_HUGE = 1 << 30


def refine(
    nodes: Sequence[NodeProto],
    types: dict[str, TypeProto],
    constant: Callable[[str], np.ndarray | None],
    opset: int,
) -> None:
    """Fill in what is open in `types`, in place. `constant` gives the array behind a name, None if it is computed."""
    walk = _Walk(types, constant, opset)
    for node in nodes:
        walk.visit(node)


class _Walk:
    def __init__(self, types: dict[str, TypeProto], constant: Callable[[str], np.ndarray | None], opset: int) -> None:
        self.types, self.constant, self.opset = types, constant, opset
        self.sizes = Expressions()
        self.values: dict[str, np.ndarray] = {}

    def shape(self, name: str) -> Shape | None:
        kind = self.types.get(name)
        if kind is None or not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
            return None
        return _dims(kind)

    def value(self, name: str) -> np.ndarray | None:
        """The elements of a small integer tensor: numbers, names of sizes, None for what is unknown."""
        if name not in self.values:
            shape = self.shape(name)
            if shape is None or any(not isinstance(d, int) for d in shape):
                return None
            if len(shape) > 1 or math.prod(d for d in shape if isinstance(d, int)) > _MOST:
                return None
            array = self.constant(name)
            if array is None or array.dtype.kind not in "iubf":
                return None
            self.values[name] = _objects(array.tolist())
        return self.values[name]

    def numbers(self, name: str | None) -> list[int] | None:
        """An integer vector all of whose elements are known."""
        value = self.value(name) if name else None
        if value is None or not all(isinstance(v, (int, float)) for v in value.reshape(-1)):
            return None
        return [int(v) for v in value.reshape(-1)]

    def known(self, name: str) -> np.ndarray | None:
        """An integer vector, None where an element is not known."""
        numbers = self.numbers(name)
        return None if numbers is None else np.array(numbers, np.int64)

    def visit(self, node: NodeProto) -> None:
        if node.domain not in DOMAIN_NAMES:
            return
        evaluate = _VALUES.get(node.op_type)
        if evaluate is not None and len(node.output) == 1:
            value = _attempt(evaluate, self, node)
            if value is not None and value.size <= _MOST and value.ndim <= 1:
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
        imports = [onnx.helper.make_opsetid("", self.opset)]
        try:
            found = onnx.shape_inference.infer_node_outputs(schema, node, given, data, opset_imports=imports)
        except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError):
            return  # contradictory: the runtime is the judge
        for name, kind in found.items():
            if kind.HasField("tensor_type") and kind.tensor_type.HasField("shape"):
                if self.types.get(name) is None or self.shape(name) is None:
                    self.types[name] = kind
                else:
                    dims = kind.tensor_type.shape.dim
                    self._merge(
                        name, tuple(d.dim_value if d.HasField("dim_value") else (d.dim_param or None) for d in dims)
                    )

    def _is_int64(self, name: str) -> bool:
        return bool(self.types[name].tensor_type.elem_type == onnx.TensorProto.INT64)

    def _merge(self, name: str, found: Shape | None) -> None:
        """Take over the sizes of `found` where none is known."""
        known = self.shape(name)
        if found is None or known is None or len(known) != len(found) or None not in known:
            return
        shape = tuple(f if k is None else k for k, f in zip(known, found, strict=True))
        self.types[name] = onnx.helper.make_tensor_type_proto(self.types[name].tensor_type.elem_type, shape)


def _attempt(rule: Callable[[_Walk, NodeProto, Mapping[str, Any]], V], walk: _Walk, node: NodeProto) -> V | None:
    """What the rule finds; None where an argument is computed or the model contradicts itself."""
    try:
        return rule(walk, node, attributes(node))
    except (Unreadable, ModelError):
        return None


def _dims(kind: TypeProto) -> Shape:
    dims = kind.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else (d.dim_param or None) for d in dims)


def _objects(values: Any) -> np.ndarray:
    array = np.empty(np.shape(values), object)
    array[...] = values
    return array


# ---- integer tensors, element by element


def _elementwise(function: Callable[[Expressions, Any, Any], Any]) -> Callable[..., np.ndarray | None]:
    def evaluate(walk: _Walk, node: NodeProto, given: Mapping[str, Any]) -> np.ndarray | None:
        a, b = walk.value(node.input[0]), walk.value(node.input[1])
        if a is None or b is None:
            return None
        a, b = np.broadcast_arrays(a, b)
        pairs = zip(a.reshape(-1), b.reshape(-1), strict=True)
        return _objects([function(walk.sizes, x, y) for x, y in pairs]).reshape(a.shape)

    return evaluate


def _plain(a: Any, b: Any) -> bool:
    return isinstance(a, (int, float)) and isinstance(b, (int, float))


def _div(sizes: Expressions, a: Any, b: Any) -> Any:
    if _plain(a, b):
        whole = isinstance(a, int) and isinstance(b, int)
        return None if not b else int(a / b) if whole else a / b
    return sizes.divide(a, b) if isinstance(b, int) and b > 0 else None


def _mul(sizes: Expressions, a: Any, b: Any) -> Any:
    if _plain(a, b):
        return a * b
    return None if isinstance(a, float) or isinstance(b, float) else sizes.multiply(a, b)


def _equal(sizes: Expressions, a: Any, b: Any) -> Any:
    if _plain(a, b) or (a is not None and a == b):
        return a == b
    # A size is never negative.
    return False if any(isinstance(v, int) and v < 0 for v in (a, b)) else None


def _compare(function: Callable[[Any, Any], bool]) -> Callable[..., np.ndarray | None]:
    return _elementwise(lambda sizes, a, b: function(a, b) if _plain(a, b) else None)


def _add(sizes: Expressions, a: Any, b: Any) -> Any:
    if _plain(a, b):
        return a + b
    return None if isinstance(a, float) or isinstance(b, float) else sizes.add(a, b)


def _subtract(sizes: Expressions, a: Any, b: Any) -> Any:
    if _plain(a, b):
        return a - b
    if isinstance(b, int):
        return sizes.add(a, -b)
    return 0 if a is not None and a == b else None


def _shape_value(walk: _Walk, node: NodeProto, given: Mapping[str, Any]) -> np.ndarray | None:
    shape = walk.shape(node.input[0])
    return None if shape is None else _objects(list(shape[given.get("start", 0) : given.get("end")]))


def _same(walk: _Walk, node: NodeProto, given: Mapping[str, Any]) -> np.ndarray | None:
    return walk.value(node.input[0])


def _cast(walk: _Walk, node: NodeProto, given: Mapping[str, Any]) -> np.ndarray | None:
    value = walk.value(node.input[0])
    if value is None or given["to"] in (onnx.TensorProto.BOOL, onnx.TensorProto.STRING):
        return None
    whole = given["to"] not in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)
    items = [int(v) if whole and isinstance(v, (float, bool)) else v for v in value.reshape(-1)]
    return _objects(items).reshape(value.shape)


def _reshaped(walk: _Walk, node: NodeProto, given: Mapping[str, Any]) -> np.ndarray | None:
    """Reshape, Squeeze and Unsqueeze between numbers and vectors."""
    value, shape = walk.value(node.input[0]), walk.shape(node.output[0])
    if value is None or shape is None or len(shape) > 1:
        return None
    return value.reshape(() if not shape else (-1,)) if value.size == 1 or len(shape) == 1 else None


def _gather(walk: _Walk, node: NodeProto, given: Mapping[str, Any]) -> np.ndarray | None:
    value, indices = walk.value(node.input[0]), walk.value(node.input[1])
    if value is None or indices is None or value.ndim != 1:
        return None
    places = indices.reshape(-1)
    if not all(isinstance(i, int) and -len(value) <= i < len(value) for i in places):
        return None
    return _objects([value[i] for i in places]).reshape(indices.shape)


def _slice(walk: _Walk, node: NodeProto, given: Mapping[str, Any]) -> np.ndarray | None:
    value = walk.value(node.input[0])
    if value is None or value.ndim != 1:
        return None
    for _, start, end, step in slice_of(node, 1, walk.known):
        value = value[start : None if end < -_HUGE else end : step]
    return value


def _concat(walk: _Walk, node: NodeProto, given: Mapping[str, Any]) -> np.ndarray | None:
    parts: list[Any] = []
    for name in node.input:
        value, shape = walk.value(name), walk.shape(name)
        if value is not None and value.ndim == 1:
            parts.extend(value)
        elif shape is not None and len(shape) == 1 and isinstance(shape[0], int) and shape[0] <= _MOST:
            parts.extend([None] * shape[0])
        else:
            return None
    return _objects(parts)


def _where(walk: _Walk, node: NodeProto, given: Mapping[str, Any]) -> np.ndarray | None:
    found = [walk.value(name) for name in node.input]
    if any(value is None for value in found):
        return None
    condition, a, b = np.broadcast_arrays(*(v for v in found if v is not None))
    chosen = [
        (x if c else y) if isinstance(c, (bool, int)) else (x if x is not None and x == y else None)
        for c, x, y in zip(condition.reshape(-1), a.reshape(-1), b.reshape(-1), strict=True)
    ]
    return _objects(chosen).reshape(condition.shape)


def _filled(walk: _Walk, node: NodeProto, given: Mapping[str, Any]) -> np.ndarray | None:
    count = walk.numbers(node.input[0])
    if count is None or len(count) > 1 or math.prod(count) > _MOST:
        return None
    fill = onnx.numpy_helper.to_array(given["value"]).reshape(-1)[0] if "value" in given else np.float32(0)
    return _objects([fill.item()] * math.prod(count)).reshape(count) if fill.dtype.kind in "iub" else None


def _product(walk: _Walk, node: NodeProto, given: Mapping[str, Any]) -> np.ndarray | None:
    value = walk.value(node.input[0])
    if value is None or None in value.reshape(-1) or any(isinstance(v, float) for v in value.reshape(-1)):
        return None
    return _objects([walk.sizes.product(list(value.reshape(-1)))]).reshape((1,) if given.get("keepdims", 1) else ())


_VALUES: dict[str, Callable[[_Walk, NodeProto, Mapping[str, Any]], np.ndarray | None]] = {
    "Shape": _shape_value,
    "Identity": _same,
    "Floor": _same,
    "Ceil": _same,
    "Cast": _cast,
    "Reshape": _reshaped,
    "Squeeze": _reshaped,
    "Unsqueeze": _reshaped,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Where": _where,
    "ConstantOfShape": _filled,
    "ReduceProd": _product,
    "Add": _elementwise(_add),
    "Sub": _elementwise(_subtract),
    "Mul": _elementwise(_mul),
    "Div": _elementwise(_div),
    "Equal": _elementwise(_equal),
    "Greater": _compare(lambda a, b: bool(a > b)),
    "Less": _compare(lambda a, b: bool(a < b)),
}


# ---- shapes of outputs


def _reshape_shape(walk: _Walk, node: NodeProto, given: Mapping[str, Any]) -> list[Shape | None]:
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


def _expand_shape(walk: _Walk, node: NodeProto, given: Mapping[str, Any]) -> list[Shape | None]:
    source, target = walk.shape(node.input[0]), walk.value(node.input[1])
    if source is None or target is None or target.ndim != 1:
        return [None]
    rank = max(len(source), len(target))
    pairs = zip((1,) * (rank - len(source)) + source, [1] * (rank - len(target)) + list(target), strict=True)
    return [tuple(b if a == 1 else a if b == 1 or a == b or (isinstance(a, int) and a > 1) else None for a, b in pairs)]


def _sizes_as_value(walk: _Walk, node: NodeProto, given: Mapping[str, Any]) -> list[Shape | None]:
    value = walk.value(node.input[0])
    return [None if value is None else tuple(v if isinstance(v, (int, str)) else None for v in value)]


def _windows(walk: _Walk, node: NodeProto, given: Mapping[str, Any]) -> list[Shape | None]:
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


def _resized(walk: _Walk, node: NodeProto, given: Mapping[str, Any]) -> list[Shape | None]:
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


def _padded(walk: _Walk, node: NodeProto, given: Mapping[str, Any]) -> list[Shape | None]:
    source = walk.shape(node.input[0])
    if source is None:
        return [None]
    pads = pads_of(node, len(source), walk.known)
    return [tuple(walk.sizes.add(d, before + after) for d, (before, after) in zip(source, pads, strict=True))]


def _joined(walk: _Walk, node: NodeProto, given: Mapping[str, Any]) -> list[Shape | None]:
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


def _kept_whole(walk: _Walk, node: NodeProto, given: Mapping[str, Any]) -> list[Shape | None]:
    """Axes of which a Slice takes all, and a part of known length of the others."""
    source = walk.shape(node.input[0])
    if source is None:
        return [None]
    dims = list(source)
    for axis, start, end, step in slice_of(node, len(source), walk.known):
        size = source[axis]
        if isinstance(size, int) or size is None:
            dims[axis] = None
        elif start or step != 1 or end < _HUGE:
            dims[axis] = f"slice {start}:{end}:{step} of {size}"
    return [tuple(dims)]


def _blocks(walk: _Walk, node: NodeProto, given: Mapping[str, Any]) -> list[Shape | None]:
    source = walk.shape(node.input[0])
    if source is None or len(source) != 4:
        return [None]
    block = given["blocksize"]
    change = walk.sizes.multiply if node.op_type == "DepthToSpace" else walk.sizes.divide
    return [(None, None, change(source[2], block), change(source[3], block))]


_SHAPES: dict[str, Callable[[_Walk, NodeProto, Mapping[str, Any]], list[Shape | None]]] = {
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
