"""What is known of the shapes and of the small integer tensors of a graph, in numbers and names of sizes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TypeProto

from .expressions import Expressions
from .values import Shape

MOST_ELEMENTS = 64  # of an integer tensor that may be a shape
TO_THE_END = 1 << 30  # the end of a slice from here on means the end of the axis


class KnownSizes:
    """Shapes by `types`; elements of integer tensors as far as they were followed."""

    def __init__(self, types: dict[str, TypeProto], constant: Callable[[str], np.ndarray | None], opset: int) -> None:
        self.types, self.constant, self.opset = types, constant, opset
        self.sizes = Expressions()
        self.values: dict[str, np.ndarray] = {}

    def shape(self, name: str) -> Shape | None:
        kind = self.types.get(name)
        if kind is None or not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
            return None
        return dims_of(kind)

    def value(self, name: str) -> np.ndarray | None:
        """The elements of a small integer tensor: numbers, names of sizes, None for what is unknown."""
        if name not in self.values:
            shape = self.shape(name)
            if shape is None or any(not isinstance(d, int) for d in shape):
                return None
            if len(shape) > 1 or math.prod(d for d in shape if isinstance(d, int)) > MOST_ELEMENTS:
                return None
            array = self.constant(name)
            if array is None or array.dtype.kind not in "iubf":
                return None
            self.values[name] = objects(array.tolist())
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


def dims_of(kind: TypeProto) -> Shape:
    dims = kind.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else (d.dim_param or None) for d in dims)


def objects(values: Any) -> np.ndarray:
    array = np.empty(np.shape(values), object)
    array[...] = values
    return array
