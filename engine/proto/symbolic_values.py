"""Integer tensors computed from sizes, element by element: a rule per operator, for `symbolic_shapes.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto

from .arguments import slice_of
from .expressions import Expressions
from .known_sizes import MOST_ELEMENTS, TO_THE_END, KnownSizes, objects


def _elementwise(function: Callable[[Expressions, Any, Any], Any]) -> Callable[..., np.ndarray | None]:
    def evaluate(walk: KnownSizes, node: NodeProto, given: Mapping[str, Any]) -> np.ndarray | None:
        a, b = walk.value(node.input[0]), walk.value(node.input[1])
        if a is None or b is None:
            return None
        a, b = np.broadcast_arrays(a, b)
        pairs = zip(a.reshape(-1), b.reshape(-1), strict=True)
        return objects([function(walk.sizes, x, y) for x, y in pairs]).reshape(a.shape)

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


def _shape_value(walk: KnownSizes, node: NodeProto, given: Mapping[str, Any]) -> np.ndarray | None:
    shape = walk.shape(node.input[0])
    return None if shape is None else objects(list(shape[given.get("start", 0) : given.get("end")]))


def _same(walk: KnownSizes, node: NodeProto, given: Mapping[str, Any]) -> np.ndarray | None:
    return walk.value(node.input[0])


def _cast(walk: KnownSizes, node: NodeProto, given: Mapping[str, Any]) -> np.ndarray | None:
    value = walk.value(node.input[0])
    if value is None or given["to"] in (onnx.TensorProto.BOOL, onnx.TensorProto.STRING):
        return None
    whole = given["to"] not in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)
    if whole and any(isinstance(v, float) and not math.isfinite(v) for v in value.reshape(-1)):
        return None  # what that becomes is the machine's business
    items = [int(v) if whole and isinstance(v, (float, bool)) else v for v in value.reshape(-1)]
    return objects(items).reshape(value.shape)


def _reshaped(walk: KnownSizes, node: NodeProto, given: Mapping[str, Any]) -> np.ndarray | None:
    """Reshape, Squeeze and Unsqueeze between numbers and vectors."""
    value, shape = walk.value(node.input[0]), walk.shape(node.output[0])
    if value is None or shape is None or len(shape) > 1:
        return None
    return value.reshape(() if not shape else (-1,)) if value.size == 1 or len(shape) == 1 else None


def _gather(walk: KnownSizes, node: NodeProto, given: Mapping[str, Any]) -> np.ndarray | None:
    value, indices = walk.value(node.input[0]), walk.value(node.input[1])
    if value is None or indices is None or value.ndim != 1:
        return None
    places = indices.reshape(-1)
    if not all(isinstance(i, int) and -len(value) <= i < len(value) for i in places):
        return None
    return objects([value[i] for i in places]).reshape(indices.shape)


def _slice(walk: KnownSizes, node: NodeProto, given: Mapping[str, Any]) -> np.ndarray | None:
    value = walk.value(node.input[0])
    if value is None or value.ndim != 1:
        return None
    for _, start, end, step in slice_of(node, 1, walk.known):
        value = value[start : None if end < -TO_THE_END else end : step]
    return value


def _concat(walk: KnownSizes, node: NodeProto, given: Mapping[str, Any]) -> np.ndarray | None:
    parts: list[Any] = []
    for name in node.input:
        value, shape = walk.value(name), walk.shape(name)
        if value is not None and value.ndim == 1:
            parts.extend(value)
        elif shape is not None and len(shape) == 1 and isinstance(shape[0], int) and shape[0] <= MOST_ELEMENTS:
            parts.extend([None] * shape[0])
        else:
            return None
    return objects(parts)


def _where(walk: KnownSizes, node: NodeProto, given: Mapping[str, Any]) -> np.ndarray | None:
    found = [walk.value(name) for name in node.input]
    if any(value is None for value in found):
        return None
    condition, a, b = np.broadcast_arrays(*(v for v in found if v is not None))
    chosen = [
        (x if c else y) if isinstance(c, (bool, int)) else (x if x is not None and x == y else None)
        for c, x, y in zip(condition.reshape(-1), a.reshape(-1), b.reshape(-1), strict=True)
    ]
    return objects(chosen).reshape(condition.shape)


def _filled(walk: KnownSizes, node: NodeProto, given: Mapping[str, Any]) -> np.ndarray | None:
    count = walk.numbers(node.input[0])
    if count is None or len(count) > 1 or math.prod(count) > MOST_ELEMENTS:
        return None
    fill = onnx.numpy_helper.to_array(given["value"]).reshape(-1)[0] if "value" in given else np.float32(0)
    return objects([fill.item()] * math.prod(count)).reshape(count) if fill.dtype.kind in "iub" else None


def _product(walk: KnownSizes, node: NodeProto, given: Mapping[str, Any]) -> np.ndarray | None:
    value = walk.value(node.input[0])
    if value is None or None in value.reshape(-1) or any(isinstance(v, float) for v in value.reshape(-1)):
        return None
    return objects([walk.sizes.product(list(value.reshape(-1)))]).reshape((1,) if given.get("keepdims", 1) else ())


VALUES: dict[str, Callable[[KnownSizes, NodeProto, Mapping[str, Any]], np.ndarray | None]] = {
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
