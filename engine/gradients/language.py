"""Operators of language models as onnxruntime-genai exports them: attention in groups with rotated positions, and
products with weights of few bits. ONNX Runtime's ContribOperators.md defines both."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..proto.operators import MICROSOFT
from .registry import decompose

if TYPE_CHECKING:
    from ..emitter.emitter import Emitter
    from ..emitter.node import Node


@decompose("MatMulNBits", domain=MICROSOFT)
def matmul_n_bits(node: Node, op: Emitter) -> list[str | None] | None:
    """x times the float weight that the packed numbers stand for, (q - zero point) * scale in blocks along K: it is a
    constant, so that the slope by x is that of a plain product."""
    bits = node.attribute("bits", 4)
    if bits not in (4, 8) or node.input(4) is not None:
        return None
    count, inner, block = node.attribute("N"), node.attribute("K"), node.attribute("block_size")
    blocks = -(-inner // block)
    x, packed, scales, zeros = node.inputs[0], node.inputs[1], node.inputs[2], node.input(3)
    numbers = op.Reshape(_unpacked(op, packed, bits), [count, blocks, block])
    scale = op.Reshape(scales, [count, blocks, 1])
    levels = op.Cast(numbers, to=op.elem_type(scales))
    if zeros is None:
        level = op.const(float(1 << (bits - 1)), like=scales)
    elif op.elem_type(zeros) == op.elem_type(scales):
        level = op.Reshape(zeros, [count, blocks, 1])
    else:
        wide = op.Reshape(_unpacked(op, zeros, bits), [count, -1])
        level = op.Reshape(op.Cast(op.Slice(wide, [0], [blocks], [1]), to=op.elem_type(scales)), [count, blocks, 1])
    weight = op.Reshape(op.Mul(op.Sub(levels, level), scale), [count, blocks * block])
    if blocks * block != inner:
        weight = op.Slice(weight, [0], [inner], [1])
    y = op.MatMul(x, op.Transpose(weight, perm=[1, 0]))
    return [y if node.input(5) is None else op.Add(y, node.inputs[5])]


def _unpacked(op: Emitter, packed: str, bits: int) -> str:
    """int32 numbers of uint8 values, two of 4 bits in each, the lower one first; in one row."""
    whole = op.Reshape(op.Cast(packed, to=np.int32), [-1])
    if bits == 8:
        return whole
    sixteen = op.const(16, dtype=np.int32)
    high = op.Div(whole, sixteen)
    low = op.Sub(whole, op.Mul(high, sixteen))
    pairs = op.Concat(op.Unsqueeze(low, [1]), op.Unsqueeze(high, [1]), axis=1)
    return op.Reshape(pairs, [-1])


@decompose("GroupQueryAttention", domain=MICROSOFT)
def group_query_attention(node: Node, op: Emitter) -> list[str | None] | None:
    """Causal attention in which several queries share a key, with rotated positions, behind what a cache holds.

    Windows, capped scores, sinks and biases are written out as well; given positions and caches of few bits are not.
    Rows of a batch are as long as each other.
    """
    heads, shared = node.attribute("num_heads"), node.attribute("kv_num_heads")
    if any(node.input(place) is not None for place in (9, 12, 13)):
        return None
    query, key, value = node.inputs[0], node.input(1), node.input(2)
    if key is None or value is None:
        width = op.shape(query)[-1]
        if not isinstance(width, int):
            return None
        size = width // (heads + 2 * shared)
        parts = [heads * size, shared * size, shared * size]
        query, key, value = op.emit_several("Split", query, parts, outputs=3, axis=-1)
    q, k, v = (_in_heads(op, x, n) for x, n in ((query, heads), (key, shared), (value, shared)))
    past = node.input(3)
    start = op.const(np.zeros(1, np.int64)) if past is None else op.size_of(past, 2)
    if node.attribute("do_rotary", 0):
        half = op.shape(node.inputs[7])[-1]
        if not isinstance(half, int):
            return None
        ends = op.Add(start, op.size_of(q, 2))
        cos, sin = (op.Slice(node.inputs[place], start, ends, [0]) for place in (7, 8))
        interleaved = bool(node.attribute("rotary_interleaved", 0))
        q, k = (_rotated(op, x, cos, sin, half, interleaved) for x in (q, k))
    if past is not None:
        k, v = op.Concat(past, k, axis=2), op.Concat(node.inputs[4], v, axis=2)
    wide_k, wide_v = (_repeated(op, x, heads // shared) for x in (k, v))
    made: list[str | None] = [_causal(node, op, q, wide_k, wide_v, start), k, v]
    return made[: max(1, len(node.outputs))]


def _in_heads(op: Emitter, x: str, heads: int) -> str:
    """(batch, length, heads * size) -> (batch, heads, length, size)."""
    return op.Transpose(op.Reshape(x, [0, 0, heads, -1]), perm=[0, 2, 1, 3])


def _rotated(op: Emitter, x: str, cos: str, sin: str, half: int, interleaved: bool) -> str:
    """Rotary position embedding (Su et al. 2021, arXiv:2104.09864) of (batch, heads, length, size); cos, sin: (length,
    half), `half` of what is rotated."""
    size = op.shape(x)[-1]
    rest = None
    if size != 2 * half:
        rest = op.Slice(x, [2 * half], [1 << 31], [3])
        x = op.Slice(x, [0], [2 * half], [3])
    if interleaved:
        pairs = op.Reshape(x, [0, 0, 0, half, 2])
        a, b = (op.Squeeze(op.Slice(pairs, [n], [n + 1], [4]), [4]) for n in (0, 1))
    else:
        a, b = op.Slice(x, [0], [half], [3]), op.Slice(x, [half], [2 * half], [3])
    first = op.Sub(op.Mul(a, cos), op.Mul(b, sin))
    second = op.Add(op.Mul(b, cos), op.Mul(a, sin))
    if interleaved:
        stacked = op.Concat(op.Unsqueeze(first, [4]), op.Unsqueeze(second, [4]), axis=4)
        turned = op.Reshape(stacked, [0, 0, 0, 2 * half])
    else:
        turned = op.Concat(first, second, axis=3)
    return turned if rest is None else op.Concat(turned, rest, axis=3)


def _repeated(op: Emitter, x: str, times: int) -> str:
    """Every head of (batch, heads, length, size) so many times, one behind the other."""
    if times == 1:
        return x
    copies = op.Concat(*[op.Unsqueeze(x, [2])] * times, axis=2)
    shape = op.Concat(op.shape_of(x, 0, 1), op.const(np.array([-1])), op.shape_of(x, 2), axis=0)
    return op.Reshape(copies, shape)


def _causal(node: Node, op: Emitter, q: str, k: str, v: str, start: str) -> str:
    """softmax(q k^T * scale) v over keys that are not behind the query, as (batch, length, heads * size).

    softcap c: scores become c tanh(score / c). A bias is added behind that. local_window_size w: the last w keys alone.
    A sink is one more score, of no key: it takes a share of the softmax and gives nothing; without a number for each
    head (head_sink) smooth_softmax has one of 0.
    """
    size = op.shape(q)[-1]
    scale = node.attribute("scale", 0.0) or (1 / math.sqrt(size) if isinstance(size, int) else None)
    assert scale is not None
    logits = op.MatMul(op.Mul(q, float(scale)), op.Transpose(k, perm=[0, 1, 3, 2]))
    cap, window = node.attribute("softcap", 0.0), node.attribute("local_window_size", -1)
    if cap:
        logits = op.Mul(op.Tanh(op.Div(logits, float(cap))), float(cap))
    if node.input(10) is not None:
        logits = op.Add(logits, node.inputs[10])
    zero, one = op.const(0), op.const(1)
    own = op.Add(op.Range(zero, op.Squeeze(op.size_of(q, 2), [0]), one), start)
    other = op.Range(zero, op.Squeeze(op.size_of(k, 2), [0]), one)
    seen = op.LessOrEqual(op.Unsqueeze(other, [0]), op.Unsqueeze(own, [1]))
    if window > 0:
        first = op.Sub(op.Unsqueeze(own, [1]), op.const(window))
        seen = op.And(seen, op.Greater(op.Unsqueeze(other, [0]), first))
    weights = _with_sink(node, op, op.Where(seen, logits, op.const(-1e9, like=logits)))
    return op.Reshape(op.Transpose(op.MatMul(weights, v), perm=[0, 2, 1, 3]), [0, 0, -1])


def _with_sink(node: Node, op: Emitter, logits: str) -> str:
    """The softmax of scores (batch, heads, length, keys), less what the sink takes."""
    sink = node.input(11)
    if sink is None and node.attribute("smooth_softmax", 0) <= 0:
        return op.Softmax(logits, axis=-1)
    column = op.Mul(op.Slice(logits, [0], [1], [3]), 0.0)
    if sink is not None:
        column = op.Add(column, op.Reshape(sink, [1, -1, 1, 1]))
    shares = op.Softmax(op.Concat(logits, column, axis=3), axis=-1)
    return op.Slice(shares, [0], [-1], [3])
