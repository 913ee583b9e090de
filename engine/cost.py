"""Parameters and multiply-accumulate operations of a node, for one sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from onnx import NodeProto

from .attributes import attributes
from .graph import Model, reads

Shapes = Mapping[str, "tuple[int, ...] | None"]


def parameters(model: Model, node: NodeProto) -> int:
    """Elements of the float initializers that the node reads, directly or through a de-quantisation or a transposition."""
    total = 0
    for name in dict.fromkeys(reads(node)):
        tensor = model.initializers.get(_stored(model, name))
        if tensor is None:
            continue
        if model.values[tensor.name].rank == 0 and node.op_type not in ("PRelu",):
            continue  # scalars are constants of the formula or quantisation parameters
        if not _is_shape_argument(model, node, name):
            total += math.prod(tensor.dims)
    return total


def _stored(model: Model, name: str) -> str:
    """The initializer that `name` is a view of."""
    node = model.producer(name)
    while node is not None and node.op_type in ("DequantizeLinear", "Transpose", "Cast", "Identity"):
        name = node.input[0]
        node = model.producer(name)
    return name


_INDEXED = {"Gather": (1,), "Reshape": (1,), "Slice": (1, 2, 3, 4), "Pad": (1, 2, 3), "Resize": (1, 2, 3), "Clip": (1, 2)}


def _is_shape_argument(model: Model, node: NodeProto, name: str) -> bool:
    if list(node.input).index(name) in _INDEXED.get(node.op_type, ()) if name in node.input else True:
        return True
    dtype = model.values[name].dtype
    quantised = node.op_type in ("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "DequantizeLinear")
    return dtype is None or (dtype.kind in "iub" and not quantised)


def macs(model: Model, node: NodeProto, shapes: Shapes) -> int | None:
    """Multiply-accumulates of one run with `shapes` (batch 1): of operators with products only; None where unknown."""
    count = _COUNTS.get(node.op_type)
    if count is None:
        return 0
    try:
        return count(node, shapes)
    except (KeyError, TypeError, IndexError):
        return None  # a shape on the way is not known


def _known(shapes: Shapes, name: str) -> tuple[int, ...]:
    shape = shapes[name]
    if shape is None:
        raise KeyError(name)
    return shape


def _conv(node: NodeProto, shapes: Shapes) -> int:
    weight = _known(shapes, node.input[3 if node.op_type == "QLinearConv" else 1])
    return math.prod(_known(shapes, node.output[0])) * math.prod(weight[1:])


def _conv_transpose(node: NodeProto, shapes: Shapes) -> int:
    return math.prod(_known(shapes, node.input[0])) * math.prod(_known(shapes, node.input[1])[1:])


def _matmul(node: NodeProto, shapes: Shapes) -> int:
    return math.prod(_known(shapes, node.output[0])) * _known(shapes, node.input[0])[-1]


def _gemm(node: NodeProto, shapes: Shapes) -> int:
    first = _known(shapes, node.input[0])
    return math.prod(_known(shapes, node.output[0])) * first[0 if attributes(node).get("transA") else 1]


def _einsum(node: NodeProto, shapes: Shapes) -> int:
    terms = attributes(node)["equation"].replace(" ", "").split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, name in zip(terms, node.input, strict=True):
        shape = _known(shapes, name)
        letters = term.replace("...", "")
        extra = len(shape) - len(letters)
        at = term.find("...")
        named = letters if at < 0 else letters[:at] + "".join(chr(0x2460 + i) for i in range(extra)) + letters[at:]
        sizes.update(zip(named, shape, strict=True))
    return math.prod(sizes.values()) if len(terms) > 1 else 0


def _recurrent(node: NodeProto, shapes: Shapes) -> int:
    steps, batch = _known(shapes, node.input[0])[:2]
    weights = math.prod(_known(shapes, node.input[1])) + math.prod(_known(shapes, node.input[2]))
    return steps * batch * weights


def _attention(node: NodeProto, shapes: Shapes) -> int:
    query, key = _known(shapes, node.input[0]), _known(shapes, node.input[1])
    value = _known(shapes, node.input[2])
    if len(query) == 4:
        batch, heads, length, width = query
        return batch * heads * length * key[2] * (width + value[3])
    return query[0] * query[1] * key[1] * (query[2] + value[2])


_COUNTS: dict[str, Callable[[NodeProto, Shapes], int]] = {
    **dict.fromkeys(("Conv", "FusedConv", "ConvInteger", "QLinearConv"), _conv),
    "ConvTranspose": _conv_transpose,
    **dict.fromkeys(("MatMul", "MatMulInteger", "FusedMatMul", "QLinearMatMul"), _matmul),
    **dict.fromkeys(("Gemm", "FusedGemm"), _gemm),
    "Einsum": _einsum,
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    "Attention": _attention,
}
