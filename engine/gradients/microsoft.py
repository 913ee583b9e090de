"""ONNX Runtime's own operators (domain com.microsoft): written out in standard operators before differentiation.

Files saved by ONNX Runtime's optimiser or its transformer tools hold these. What they compute is defined by ONNX
Runtime's ContribOperators.md; ONNX Runtime fuses the standard form again when it loads the gradient graph, as far as a
rule does not need what lies in between.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ShapeError
from ..proto.operators import MICROSOFT
from .registry import decompose, refuse

if TYPE_CHECKING:
    from ..emitter.emitter import Emitter
    from ..emitter.node import Node

_CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


def _kept(node: Node, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name in names if (value := node.attribute(name)) is not None}


def _activate(op: Emitter, x: str, kind: str | None, parameters: list[float]) -> str:
    """The activation that a fused operator carries along, by name."""
    if not kind:
        return x
    if kind in ("Relu", "Sigmoid", "Tanh", "Softplus", "Softsign"):
        return op.emit(kind, x)
    if kind == "LeakyRelu":
        return op.LeakyRelu(x, alpha=parameters[0] if parameters else 0.01)
    if kind == "Clip":
        low, high = (op.const(p, like=x) for p in parameters)
        return op.Clip(x, low, high)
    if kind == "HardSigmoid":
        alpha, beta = parameters or (0.2, 0.5)
        return op.HardSigmoid(x, alpha=alpha, beta=beta)
    if kind == "Elu":
        return op.Elu(x, alpha=parameters[0] if parameters else 1.0)
    if kind in ("HardSwish", "Mish", "Selu"):
        return op.emit(kind, x)
    raise ShapeError(f"the fused activation {kind!r} is not known: save the model without ONNX Runtime's fusions")


@decompose("FusedConv", "NhwcFusedConv", domain=MICROSOFT)
def fused_conv(node: Node, op: Emitter) -> list[str | None]:
    """Conv, then + Z, then an activation; the Nhwc form has channels last."""
    x, z = node.inputs[0], node.input(3)
    last = node.op_type.startswith("Nhwc")
    rank = op.rank(x)
    if last:
        x = op.Transpose(x, perm=[0, rank - 1, *range(1, rank - 1)])
    y = op.Conv(x, node.inputs[1], node.input(2), **_kept(node, _CONV))
    if last:
        y = op.Transpose(y, perm=[0, *range(2, rank), 1])
    if z is not None:
        y = op.Add(y, z)
    return [_activate(op, y, node.attribute("activation"), node.attribute("activation_params", []))]


@decompose("FusedGemm", domain=MICROSOFT)
def fused_gemm(node: Node, op: Emitter) -> list[str | None]:
    y = op.Gemm(*node.inputs, **_kept(node, ("alpha", "beta", "transA", "transB")))
    given = [node.attribute(f"activation_{name}") for name in ("alpha", "beta", "gamma")]
    return [_activate(op, y, node.attribute("activation"), [g for g in given if g is not None])]


@decompose("FusedMatMul", "TransposeMatMul", domain=MICROSOFT)
def fused_matmul(node: Node, op: Emitter) -> list[str | None]:
    """alpha * MatMul, with the last two axes of either factor swapped, or its first axis moved before the last."""
    factors = []
    for index, letter in enumerate("AB"):
        x = node.inputs[index]
        rank = op.rank(x)
        axes = list(range(rank))
        if node.attribute(f"transBatch{letter}", 0):
            axes = [*axes[1:-1], 0, axes[-1]]
        if node.attribute(f"trans{letter}", 0) and rank > 1:
            axes[-1], axes[-2] = axes[-2], axes[-1]
        factors.append(x if axes == list(range(rank)) else op.Transpose(x, perm=axes))
    y = op.MatMul(*factors)
    alpha = node.attribute("alpha", 1.0)
    return [y if alpha == 1.0 else op.Mul(y, float(alpha))]


# ---- activations


def _gelu(op: Emitter, x: str) -> str:
    return op.Mul(op.Mul(x, 0.5), op.Add(op.Erf(op.Mul(x, 1 / math.sqrt(2))), 1.0))


@decompose("Gelu", domain=MICROSOFT)
def gelu(node: Node, op: Emitter) -> list[str | None]:
    return [_gelu(op, node.inputs[0])]


@decompose("BiasGelu", domain=MICROSOFT)
def bias_gelu(node: Node, op: Emitter) -> list[str | None]:
    return [_gelu(op, op.Add(node.inputs[0], node.inputs[1]))]


@decompose("FastGelu", domain=MICROSOFT)
def fast_gelu(node: Node, op: Emitter) -> list[str | None]:
    """The tanh approximation (Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2)."""
    x, bias = node.inputs[0], node.input(1)
    if bias is not None:
        x = op.Add(x, bias)
    inner = op.Mul(x, op.Add(op.Mul(op.Mul(x, x), 0.044715), 1.0))
    tanh = op.Tanh(op.Mul(inner, math.sqrt(2 / math.pi)))
    return [op.Mul(op.Mul(x, 0.5), op.Add(tanh, 1.0))]


@decompose("QuickGelu", domain=MICROSOFT)
def quick_gelu(node: Node, op: Emitter) -> list[str | None]:
    x, alpha = node.inputs[0], float(node.attribute("alpha", 1.702))
    return [op.Mul(x, op.Sigmoid(x if alpha == 1.0 else op.Mul(x, alpha)))]


@decompose("BiasSplitGelu", domain=MICROSOFT)
def bias_split_gelu(node: Node, op: Emitter) -> list[str | None]:
    first, second = op.emit_several("Split", op.Add(node.inputs[0], node.inputs[1]), outputs=2, axis=-1, num_outputs=2)
    return [op.Mul(first, _gelu(op, second))]


@decompose("BiasAdd", domain=MICROSOFT)
def bias_add(node: Node, op: Emitter) -> list[str | None]:
    return [op.Add(op.Add(node.inputs[0], node.inputs[1]), node.inputs[2])]


# ---- normalization


def _layer_norm(op: Emitter, x: str, scale: str, bias: str | None, epsilon: float) -> list[str | None]:
    y, mean, inverse = op.emit_several("LayerNormalization", x, scale, bias, outputs=3, axis=-1, epsilon=epsilon)
    return [y, mean, inverse]


def _rms_norm(op: Emitter, x: str, scale: str, epsilon: float, axis: int = -1) -> list[str | None]:
    axes = list(range(axis % op.rank(x), op.rank(x)))
    mean = op.ReduceMean(op.Mul(x, x), axes, keepdims=1)
    inverse = op.Reciprocal(op.Sqrt(op.Add(mean, epsilon)))
    return [op.Mul(op.Mul(x, inverse), scale), inverse]


def _skip_sum(node: Node, op: Emitter, bias: str | None) -> str:
    x = op.Add(node.inputs[0], node.inputs[1])
    return x if bias is None else op.Add(x, bias)


@decompose("SkipLayerNormalization", domain=MICROSOFT)
def skip_layer_norm(node: Node, op: Emitter) -> list[str | None]:
    x = _skip_sum(node, op, node.input(4))
    return [*_layer_norm(op, x, node.inputs[2], node.input(3), node.attribute("epsilon", 1e-12)), x]


@decompose("SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def skip_rms_norm(node: Node, op: Emitter) -> list[str | None]:
    x = _skip_sum(node, op, node.input(3))
    y, inverse = _rms_norm(op, x, node.inputs[2], node.attribute("epsilon", 1e-12))
    return [y, None, inverse, x]


@decompose("SimplifiedLayerNormalization")
def simplified_layer_norm(node: Node, op: Emitter) -> list[str | None]:
    """RMSNormalization (Zhang & Sennrich 2019) under the name that ONNX Runtime gave it before the standard had it."""
    return _rms_norm(op, node.inputs[0], node.inputs[1], node.attribute("epsilon", 1e-5), node.attribute("axis", -1))


@decompose("EmbedLayerNormalization", domain=MICROSOFT)
def embed_layer_norm(node: Node, op: Emitter) -> list[str | None]:
    ids, segments, words, positions = node.inputs[:4]
    total = op.Gather(words, ids, axis=0)
    if node.input(8) is not None:
        place = node.inputs[8]
    else:
        length = op.Squeeze(op.size_of(ids, 1), [0])
        place = op.Range(op.const(0), length, op.const(1))
    total = op.Add(total, op.Gather(positions, place, axis=0))
    if segments and node.input(4) is not None:
        total = op.Add(total, op.Gather(node.inputs[4], segments, axis=0))
    y = _layer_norm(op, total, node.inputs[5], node.input(6), node.attribute("epsilon", 1e-12))[0]
    return [y, None, total]


# ---- attention


def _to_heads(op: Emitter, x: str, heads: int) -> str:
    """(batch, length, heads * width) -> (batch, heads, length, width)."""
    return op.Transpose(op.Reshape(x, [0, 0, heads, -1]), perm=[0, 2, 1, 3])


def _attend(node: Node, op: Emitter, q: str, k: str, v: str, masks: list[str]) -> str:
    """softmax(q k^T * scale + masks) v for (batch, heads, length, width) values, as (batch, length, heads * width)."""
    scale = node.attribute("scale", 0.0) or None
    if scale is None:
        width = op.shape(q)[-1]
        if isinstance(width, int):
            scale = 1 / math.sqrt(width)
    if scale is not None:
        q = op.Mul(q, float(scale))
    else:
        q = op.Div(q, op.Sqrt(op.Cast(op.size_of(q, -1), to=op.elem_type(q))))
    logits = op.MatMul(q, op.Transpose(k, perm=[0, 1, 3, 2]))
    for mask in masks:
        logits = op.Add(logits, mask)
    if node.attribute("unidirectional", 0):
        allowed = op.Trilu(op.Expand(op.const(1.0, like=q), op.shape_of(logits, 2)), upper=0)
        logits = op.Where(op.Greater(allowed, 0.0), logits, _filter(node))
    y = op.Transpose(op.MatMul(op.Softmax(logits, axis=-1), v), perm=[0, 2, 1, 3])
    return op.Reshape(y, [0, 0, -1])


def _filter(node: Node) -> float:
    return float(node.attribute("mask_filter_value", -10000.0))


def _padding_mask(node: Node, op: Emitter, mask: str, keys: str, like: str) -> str | None:
    """What is added to the logits for a key mask (batch, keys), (batch, queries, keys) or of lengths (batch)."""
    rank = op.rank(mask)
    if rank == 1:
        length = op.shape(mask)[0]
        batch = op.shape(keys)[0]
        if isinstance(length, int) and isinstance(batch, int) and length != batch:
            return None  # start and end positions, or cumulated lengths: not written out here
        places = op.Range(op.const(0), op.Squeeze(op.size_of(keys, 2), [0]), op.const(1))
        allowed = op.Less(places, op.Unsqueeze(op.Cast(mask, to=np.int64), [1]))
        mask, rank = op.Cast(allowed, to=np.int32), 2
    if rank == 2:
        mask = op.Unsqueeze(mask, [1, 2])
    elif rank == 3:
        mask = op.Unsqueeze(mask, [1])
    kept = op.Cast(mask, to=op.elem_type(like))
    return op.Mul(op.Sub(op.const(1.0, like=like), kept), _filter(node))


@decompose("Attention", domain=MICROSOFT)
def attention(node: Node, op: Emitter) -> list[str | None] | None:
    """One projection to queries, keys and values, then attention; without past keys and rotation."""
    if node.input(4) is not None or node.attribute("do_rotary", 0):
        return None
    heads = node.attribute("num_heads")
    projected = op.MatMul(node.inputs[0], node.inputs[1])
    if node.input(2) is not None:
        projected = op.Add(projected, node.inputs[2])
    sizes = node.attribute("qkv_hidden_sizes")
    if sizes:
        parts = op.emit_several("Split", projected, list(sizes), outputs=3, axis=-1)
    else:
        parts = op.emit_several("Split", projected, outputs=3, axis=-1, num_outputs=3)
    q, k, v = (_to_heads(op, part, heads) for part in parts)
    masks = [node.inputs[5]] if node.input(5) is not None else []
    if node.input(3) is not None:
        mask = _padding_mask(node, op, node.inputs[3], k, q)
        if mask is None:
            return None
        masks.append(mask)
    return [_attend(node, op, q, k, v, masks)]


@decompose("MultiHeadAttention", domain=MICROSOFT)
def multi_head_attention(node: Node, op: Emitter) -> list[str | None] | None:
    """Attention on queries, keys and values given apart (or packed); without past keys."""
    heads = node.attribute("num_heads")
    query, key, value, bias = node.inputs[0], node.input(1), node.input(2), node.input(3)
    if any(node.input(i) is not None for i in (6, 7, 8, 9)):
        return None
    if op.rank(query) == 5 and key is None:  # (batch, length, heads, 3, width)
        query, key, value = (op.Reshape(part, [0, 0, -1]) for part in _unpack(op, query, 3))
    elif key is not None and op.rank(key) == 5 and value is None:  # (batch, length, heads, 2, width)
        key, value = (op.Reshape(part, [0, 0, -1]) for part in _unpack(op, key, 2))
    if key is None or value is None:
        return None
    if bias is not None:
        widths = [op.shape(x)[-1] if op.rank(x) == 3 else None for x in (query, key, value)]
        if not all(isinstance(w, int) for w in widths):
            return None
        parts = op.emit_several("Split", bias, [int(w) for w in widths if isinstance(w, int)], outputs=3, axis=0)
        query, key, value = (op.Add(x, b) for x, b in zip((query, key, value), parts, strict=True))
    q, k, v = (_to_heads(op, x, heads) if op.rank(x) == 3 else x for x in (query, key, value))
    masks = [node.inputs[5]] if node.input(5) is not None else []
    if node.input(4) is not None:
        mask = _padding_mask(node, op, node.inputs[4], k, q)
        if mask is None:
            return None
        masks.append(mask)
    return [_attend(node, op, q, k, v, masks), k, v]


def _unpack(op: Emitter, x: str, count: int) -> list[str]:
    parts = op.emit_several("Split", x, outputs=count, axis=3, num_outputs=count)
    return [op.Squeeze(part, [3]) for part in parts]


# ---- older names of operators that are in the standard now


@decompose("ExpandDims", domain=MICROSOFT)
def expand_dims(node: Node, op: Emitter) -> list[str | None]:
    return [op.Unsqueeze(node.inputs[0], op.Reshape(op.Cast(node.inputs[1], to=np.int64), [1]))]


@decompose("Trilu", domain=MICROSOFT)
def trilu(node: Node, op: Emitter) -> list[str | None]:
    return [op.Trilu(node.inputs[0], node.input(1), upper=node.attribute("upper", 1))]


@decompose("GridSample", domain=MICROSOFT)
def grid_sample(node: Node, op: Emitter) -> list[str | None]:
    mode = node.attribute("mode", "bilinear")
    if op.opset >= 20:
        mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    return [
        op.GridSample(
            node.inputs[0],
            node.inputs[1],
            mode=mode,
            padding_mode=node.attribute("padding_mode", "zeros"),
            align_corners=node.attribute("align_corners", 0),
        )
    ]


refuse(
    *"""QLinearAdd QLinearMul QLinearConcat QLinearSigmoid QLinearSoftmax QLinearLeakyRelu QLinearAveragePool
    QLinearConv QLinearGlobalAveragePool QLinearReduceMean QLinearWhere QGemm QAttention
    QEmbedLayerNormalization MulInteger DynamicQuantizeMatMul DynamicQuantizeLSTM MatMulIntegerToFloat
    MatMulInteger16 ReduceSumInteger""".split(),
    domain=MICROSOFT,
    reason="it computes with 8-bit integers, a step function whose derivative is zero or undefined everywhere: use the "
    "float model, a QDQ export (straight-through gradient), or a gradient-free method (occlusion, rise, score-cam)",
)
