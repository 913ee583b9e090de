"""The last linear layer of a classifier: its gradient by one class is a row of its weights.

To send a one-hot cotangent through the layer would multiply its whole matrix by zeros, and store it transposed. So
gradients begin at what the layer reads, with the row as their cotangent.
"""

from __future__ import annotations

from dataclasses import dataclass

from onnx import NodeProto

from ..graph.model import Model
from ..proto.attributes import attributes
from ..proto.nodes import DOMAIN_NAMES

_MOVES = frozenset("Identity Reshape Flatten Squeeze Unsqueeze Dropout".split())


@dataclass(frozen=True)
class Head:
    """`value` is what the layer reads, (N, D) or (N, D, 1, 1); `weights` its matrix, the classes along `axis`."""

    value: str
    weights: str
    axis: int


def find_head(model: Model, of: str, axis: int) -> Head | None:
    """The linear layer that ends in `of`, the scores of classes along `axis`, one for every sample and class.

    Only moves of elements, and biases, may stand between them; None where there is no such layer.
    """
    node = model.producer(of)
    while node is not None and node.domain in DOMAIN_NAMES:
        if node.op_type in ("Gemm", "MatMul", "Conv"):
            head = _linear(model, node)
            return head if head is not None and _is_scores(model, of, axis, head) else None
        if node.op_type == "Add":
            computed = [name for name in node.input if name not in model.initializers]
            biases = [name for name in node.input if name in model.initializers]
            if len(computed) != 1 or not _fits(model, biases[0], computed[0]):
                return None
            node = model.producer(computed[0])
        elif node.op_type in _MOVES:
            if len(node.input) > 2 and node.input[2]:  # a Dropout that may be training
                return None
            node = model.producer(node.input[0])
        else:
            return None
    return None


def _linear(model: Model, node: NodeProto) -> Head | None:
    value, weights, given = node.input[0], node.input[1], attributes(node)
    shape = model.value(value).shape
    if weights not in model.initializers or value in model.initializers or shape is None:
        return None
    if len(node.input) > 2 and node.input[2] and node.input[2] not in model.initializers:
        return None  # a bias that is computed may depend on the image as well
    if node.op_type == "Conv":
        kernel = model.value(weights).shape
        whole = len(shape) == 4 and tuple(shape[2:]) == (1, 1) and kernel is not None and tuple(kernel[2:]) == (1, 1)
        plain = given.get("group", 1) == 1 and not any(given.get("pads", ())) and set(given.get("strides", (1,))) == {1}
        return Head(value, weights, 0) if whole and plain else None
    if len(shape) != 2 or model.value(weights).rank != 2:
        return None
    if given.get("transA", 0) or given.get("alpha", 1.0) != 1.0:
        return None
    return Head(value, weights, 0 if given.get("transB", 0) else 1)


def _is_scores(model: Model, of: str, axis: int, head: Head) -> bool:
    """Whether `of` holds as many classes as the layer makes numbers of a row: then each row is a sample."""
    shape, matrix = model.value(of).shape, model.value(head.weights).shape
    if shape is None or matrix is None or len(shape) <= axis:
        return False
    places = [d for a, d in enumerate(shape) if a not in (0, axis)]
    return shape[axis] == matrix[head.axis] and all(d == 1 for d in places)


def _fits(model: Model, bias: str, name: str) -> bool:
    """Whether a sum with the constant `bias` has the shape of `name`."""
    small, shape = model.value(bias).shape, model.value(name).shape
    if small is None or shape is None or len(small) > len(shape):
        return False
    return all(d in (1, wide) for d, wide in zip(reversed(small), reversed(shape), strict=False))
