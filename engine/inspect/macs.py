"""Parameters and multiply-accumulate operations of a node."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from onnx import GraphProto, NodeProto, TensorProto

from ..graph.model import Model
from ..proto.attributes import attributes
from ..proto.nodes import plain_domain, reads, subgraphs
from ..proto.operators import MICROSOFT, ML, weight_of

Shapes = Mapping[str, "tuple[int, ...] | None"]


def parameters(model: Model, node: NodeProto) -> dict[str, int]:
    """Parameters that the node reads, directly or through a de-quantisation or a transposition: name -> elements.

    Parameters are stored floats and quantised weights that are no scalars, running statistics included, and no sizes,
    axes, limits or scales of a quantisation.
    """
    found = {}
    for name in dict.fromkeys(reads(node)):
        tensor = model.initializers.get(_stored(model, name))
        if tensor is not None and _is_parameter(model, node, name):
            found[tensor.name] = math.prod(tensor.dims)
    for graph in subgraphs(node):
        found.update(_inner(graph))
    if node.domain == ML:  # linear models keep theirs in attributes
        for name, value in attributes(node).items():
            if name in ("coefficients", "intercepts"):
                found[f"{node.output[0]}/{name}"] = len(value)
    return found


_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


def _inner(graph: GraphProto) -> Iterator[tuple[str, int]]:
    for tensor in graph.initializer:
        if tensor.dims and tensor.data_type in _FLOATS:
            yield tensor.name, math.prod(tensor.dims)
    for node in graph.node:
        for inner in subgraphs(node):
            yield from _inner(inner)


def _stored(model: Model, name: str) -> str:
    """The initializer that `name` is a view of."""
    node = model.producer(name)
    while node is not None and node.op_type in ("DequantizeLinear", "Transpose", "Cast", "Identity"):
        name = node.input[0]
        node = model.producer(name)
    return name


# Inputs that are arguments, not data; of a quantised operator, those that are data.
_ARGUMENTS = {
    "Gather": (1,),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Pad": (1, 2, 3),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
    "Clip": (1, 2),
    "Tile": (1,),
    "Expand": (1,),
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
}
_QUANTISED = {
    "ConvInteger": (0, 1),
    "MatMulInteger": (0, 1),
    "QLinearConv": (0, 3, 8),
    "QLinearMatMul": (0, 3),
    "QGemm": (0, 3, 6),
    "DynamicQuantizeMatMul": (0, 1, 4),
    "MatMulIntegerToFloat": (0, 1, 6),
    "QLinearAdd": (0, 3),
    "QLinearMul": (0, 3),
}


def _is_parameter(model: Model, node: NodeProto, name: str) -> bool:
    stored = model.values[_stored(model, name)]
    if not stored.rank and node.op_type != "PRelu":
        return False  # scalars are constants of the formula or of the quantisation
    places = [i for i, read in enumerate(node.input) if read == name]
    if node.op_type in _QUANTISED:
        return any(i in _QUANTISED[node.op_type] for i in places)
    if places and all(i in _ARGUMENTS.get(node.op_type, ()) for i in places):
        return False
    return _is_float(model, name) or (node.op_type == "DequantizeLinear" and (stored.rank or 0) > 1)


def _is_float(model: Model, name: str) -> bool:
    dtype = model.values[name].dtype
    return dtype is not None and (dtype.kind == "f" or dtype.name == "bfloat16")


def macs(model: Model, node: NodeProto, shapes: Shapes) -> int | None:
    """Multiply-accumulates of one run with `shapes`, of operators that are products; None where it cannot be known."""
    domain = plain_domain(node.domain)
    if any(subgraphs(node)):
        inner = (n for graph in subgraphs(node) for n in graph.node)
        return 0 if all(_is_free(n) for n in inner) else None
    if _is_free(node):
        return 0
    count = _COUNTS.get((domain, node.op_type))
    if count is None:
        return None
    try:
        return count(node, shapes)
    except (_Unknown, IndexError):
        return None  # a shape on the way is not known, or an argument is missing


_FREE_MS = frozenset(
    """BiasGelu FastGelu QuickGelu Gelu QLinearAdd QLinearMul QLinearLeakyRelu QLinearSigmoid QLinearSoftmax
    QLinearConcat QLinearAveragePool QLinearGlobalAveragePool NhwcMaxPool SkipLayerNormalization
    EmbedLayerNormalization BiasSoftmax SimplifiedLayerNormalization SkipSimplifiedLayerNormalization
    QuantizeLinear DequantizeLinear BiasSplitGelu GroupNorm SkipGroupNorm Pad Unique ExpandDims""".split()
)
# Products that are not counted, so that nothing is said of a model that has them.
_UNCOUNTED = frozenset("DFT STFT Det SVMClassifier SVMRegressor".split())


def _is_free(node: NodeProto) -> bool:
    """Whether the operator needs no multiply-accumulates worth counting: no convolution, product of matrices, ..."""
    domain = plain_domain(node.domain)
    if any(subgraphs(node)):
        return all(_is_free(n) for graph in subgraphs(node) for n in graph.node)
    if domain == MICROSOFT:
        return node.op_type in _FREE_MS
    return domain in ("", ML) and (domain, node.op_type) not in _COUNTS and node.op_type not in _UNCOUNTED


class _Unknown(Exception):
    """A shape that is not known."""


def _known(shapes: Shapes, name: str) -> tuple[int, ...]:
    shape = shapes.get(name)
    if shape is None:
        raise _Unknown(name)
    return shape


def _conv(node: NodeProto, shapes: Shapes) -> int:
    weight = _known(shapes, weight_of(node))
    return math.prod(_known(shapes, node.output[0])) * math.prod(weight[1:])


def _conv_transpose(node: NodeProto, shapes: Shapes) -> int:
    return math.prod(_known(shapes, node.input[0])) * math.prod(_known(shapes, node.input[1])[1:])


def _matmul(node: NodeProto, shapes: Shapes) -> int:
    given = attributes(node)
    left = _known(shapes, node.input[0])
    contracted = left[-2] if given.get("transA") else left[-1]
    return math.prod(_known(shapes, node.output[0])) * contracted


def _gemm(node: NodeProto, shapes: Shapes) -> int:
    first = _known(shapes, node.input[0])
    return math.prod(_known(shapes, node.output[0])) * first[0 if attributes(node).get("transA") else 1]


def _linear(node: NodeProto, shapes: Shapes) -> int:
    """The linear models of ai.onnx.ml: coefficients of all classes, for every row."""
    return _known(shapes, node.input[0])[0] * len(attributes(node).get("coefficients", ()))


def _einsum(node: NodeProto, shapes: Shapes) -> int:
    """Of a contraction in one step: the product of the sizes of all letters."""
    terms = attributes(node)["equation"].replace(" ", "").split("->")[0].split(",")
    if len(terms) != len(node.input):
        raise _Unknown(node.name)
    sizes: dict[str, int] = {}
    for term, name in zip(terms, node.input, strict=True):
        shape = _known(shapes, name)
        before, dots, after = term.partition("...")
        extra = len(shape) - len(before) - len(after)
        if extra < 0 or (extra and not dots):
            raise _Unknown(name)
        # Broadcast axes are aligned from the right.
        named = [*before, *(f"...{i}" for i in range(extra, 0, -1)), *after]
        for letter, size in zip(named, shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    return math.prod(sizes.values()) if len(terms) > 1 else 0


def _recurrent(node: NodeProto, shapes: Shapes) -> int:
    steps, batch = _known(shapes, node.input[0])[:2]
    weights = math.prod(_known(shapes, node.input[1])) + math.prod(_known(shapes, node.input[2]))
    return steps * batch * weights


def _attention(node: NodeProto, shapes: Shapes) -> int:
    """softmax(Q K') V of opset 23: both products; queries that share keys count each."""
    query, key, value = (_known(shapes, name) for name in node.input[:3])
    given = attributes(node)
    if len(query) == 4:
        batch, heads, length, width = query
        return batch * heads * length * key[2] * (width + value[3])
    heads = int(given.get("q_num_heads", 1))
    shared = max(heads // max(int(given.get("kv_num_heads", 1)), 1), 1)
    return query[0] * query[1] * key[1] * (query[2] + value[2] * shared)


def _fused_attention(node: NodeProto, shapes: Shapes) -> int:
    """Attention of com.microsoft: the projections of queries, keys and values, and both products."""
    batch, length, _ = _known(shapes, node.input[0])
    weight = _known(shapes, node.input[1])
    width = weight[1] // 3
    return batch * length * math.prod(weight) + 2 * batch * length * length * width


_COUNTS: dict[tuple[str, str], Callable[[NodeProto, Shapes], int]] = {
    **dict.fromkeys((("", op) for op in ("Conv", "ConvInteger", "QLinearConv", "DeformConv")), _conv),
    (MICROSOFT, "FusedConv"): _conv,
    ("", "ConvTranspose"): _conv_transpose,
    **dict.fromkeys((("", op) for op in ("MatMul", "MatMulInteger", "QLinearMatMul")), _matmul),
    **dict.fromkeys(
        ((MICROSOFT, op) for op in ("FusedMatMul", "DynamicQuantizeMatMul", "MatMulIntegerToFloat")), _matmul
    ),
    ("", "Gemm"): _gemm,
    **dict.fromkeys(((MICROSOFT, op) for op in ("FusedGemm", "QGemm")), _gemm),
    ("", "Einsum"): _einsum,
    **dict.fromkeys((("", op) for op in ("LSTM", "GRU", "RNN")), _recurrent),
    ("", "Attention"): _attention,
    **dict.fromkeys(((MICROSOFT, op) for op in ("Attention", "QAttention")), _fused_attention),
    **dict.fromkeys(((ML, op) for op in ("LinearClassifier", "LinearRegressor")), _linear),
}
