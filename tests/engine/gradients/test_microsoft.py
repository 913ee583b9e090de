"""Operators of ONNX Runtime: the form that is written out computes the same, and its gradient is right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx.parser
import pytest

import onnxray
from onnxray.engine.errors import NoGradient

IMPORTS = '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>\n'


def numbers(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


BYTES = np.random.default_rng(5).integers(0, 256, 4096).astype(np.uint8)
ANGLES = np.arange(9)[:, None] / 10.0 ** (np.arange(8) / 4)
TURNS = {"c": np.cos(ANGLES).astype(np.float32), "d": np.sin(ANGLES).astype(np.float32)}
EMPTY = {name: np.zeros((1, 2, 0, 16), np.float32) for name in "ab"}
# name -> (graph, shapes of its float inputs, other inputs)
CASES: dict[str, tuple[str, dict[str, tuple[int, ...]], dict[str, np.ndarray]]] = {
    "FusedConv": (
        """(float[1,3,6,6] x, float[4,3,3,3] w, float[4] b, float[1,4,4,4] z) => (float[1,4,4,4] y)
        { y = com.microsoft.FusedConv <activation = "LeakyRelu", activation_params = [0.2]> (x, w, b, z) }""",
        {"x": (1, 3, 6, 6), "w": (4, 3, 3, 3), "b": (4,), "z": (1, 4, 4, 4)},
        {},
    ),
    "FusedConv, HardSigmoid": (
        """(float[1,3,6,6] x, float[4,3,3,3] w) => (float[1,4,3,3] y)
        { y = com.microsoft.FusedConv <strides = [2, 2], pads = [1, 1, 0, 0], activation = "HardSigmoid",
          activation_params = [0.05, 0.5]> (x, w) }""",
        {"x": (1, 3, 6, 6), "w": (4, 3, 3, 3)},
        {},
    ),
    "FusedMatMul": (
        """(float[2,3,4] x, float[2,5,3] w) => (float[2,4,5] y)
        { y = com.microsoft.FusedMatMul <transA = 1, transB = 1, alpha = 0.5> (x, w) }""",
        {"x": (2, 3, 4), "w": (2, 5, 3)},
        {},
    ),
    "FusedMatMul, batch": (
        """(float[3,2,4] x, float[2,4,5] w) => (float[2,3,5] y)
        { y = com.microsoft.FusedMatMul <transBatchA = 1> (x, w) }""",
        {"x": (3, 2, 4), "w": (2, 4, 5)},
        {},
    ),
    "FusedGemm": (
        """(float[3,4] x, float[4,5] w, float[5] b) => (float[3,5] y)
        { y = com.microsoft.FusedGemm <activation = "LeakyRelu", activation_alpha = 0.1> (x, w, b) }""",
        {"x": (3, 4), "w": (4, 5), "b": (5,)},
        {},
    ),
    "Gelu": ("(float[3,4] x) => (float[3,4] y) { y = com.microsoft.Gelu(x) }", {"x": (3, 4)}, {}),
    "BiasGelu": (
        "(float[3,4] x, float[4] b) => (float[3,4] y) { y = com.microsoft.BiasGelu(x, b) }",
        {"x": (3, 4), "b": (4,)},
        {},
    ),
    "FastGelu": (
        "(float[3,4] x, float[4] b) => (float[3,4] y) { y = com.microsoft.FastGelu(x, b) }",
        {"x": (3, 4), "b": (4,)},
        {},
    ),
    "QuickGelu": ("(float[3,4] x) => (float[3,4] y) { y = com.microsoft.QuickGelu(x) }", {"x": (3, 4)}, {}),
    "SkipLayerNormalization": (
        """(float[2,3,4] x, float[2,3,4] s, float[4] g, float[4] b, float[4] c) => (float[2,3,4] y, float[2,3,4] total)
        { y, mean, inverse, total = com.microsoft.SkipLayerNormalization(x, s, g, b, c) }""",
        {"x": (2, 3, 4), "s": (2, 3, 4), "g": (4,), "b": (4,), "c": (4,)},
        {},
    ),
    "SkipSimplifiedLayerNormalization": (
        """(float[2,3,4] x, float[2,3,4] s, float[4] g, float[4] b) => (float[2,3,4] y)
        { y = com.microsoft.SkipSimplifiedLayerNormalization(x, s, g, b) }""",
        {"x": (2, 3, 4), "s": (2, 3, 4), "g": (4,), "b": (4,)},
        {},
    ),
    "SimplifiedLayerNormalization": (
        "(float[2,3,4] x, float[4] g) => (float[2,3,4] y) { y = SimplifiedLayerNormalization(x, g) }",
        {"x": (2, 3, 4), "g": (4,)},
        {},
    ),
    "EmbedLayerNormalization": (
        """(int32[2,3] i, int32[2,3] s, float[7,8] w, float[5,8] p, float[2,8] t, float[8] g, float[8] b)
        => (float[2,3,8] y) { y, mask = com.microsoft.EmbedLayerNormalization(i, s, w, p, t, g, b) }""",
        {"w": (7, 8), "p": (5, 8), "t": (2, 8), "g": (8,), "b": (8,)},
        {"i": np.array([[1, 2, 3], [4, 5, 6]], np.int32), "s": np.array([[0, 1, 0], [1, 1, 0]], np.int32)},
    ),
    "Attention": (
        """(float[2,3,8] x, float[8,24] w, float[24] b) => (float[2,3,8] y)
        { y = com.microsoft.Attention <num_heads = 2> (x, w, b) }""",
        {"x": (2, 3, 8), "w": (8, 24), "b": (24,)},
        {},
    ),
    "Attention, causal": (
        """(float[2,3,8] x, float[8,24] w, float[24] b) => (float[2,3,8] y)
        { y = com.microsoft.Attention <num_heads = 2, unidirectional = 1> (x, w, b) }""",
        {"x": (2, 3, 8), "w": (8, 24), "b": (24,)},
        {},
    ),
    "Attention, padding mask": (
        """(float[2,3,8] x, float[8,24] w, float[24] b, int32[2,3] m) => (float[2,3,8] y)
        { y = com.microsoft.Attention <num_heads = 2> (x, w, b, m) }""",
        {"x": (2, 3, 8), "w": (8, 24), "b": (24,)},
        {"m": np.array([[1, 1, 0], [1, 1, 1]], np.int32)},
    ),
    "Attention, lengths": (
        """(float[2,3,8] x, float[8,24] w, float[24] b, int32[2] m) => (float[2,3,8] y)
        { y = com.microsoft.Attention <num_heads = 2> (x, w, b, m) }""",
        {"x": (2, 3, 8), "w": (8, 24), "b": (24,)},
        {"m": np.array([2, 3], np.int32)},
    ),
    "MultiHeadAttention": (
        """(float[2,3,8] q, float[2,5,8] k, float[2,5,8] v, float[24] b) => (float[2,3,8] y)
        { y = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k, v, b) }""",
        {"q": (2, 3, 8), "k": (2, 5, 8), "v": (2, 5, 8), "b": (24,)},
        {},
    ),
    "MatMulNBits": (
        """(float[2,3,40] x, uint8[6,2,16] b, float[12] s) => (float[2,3,6] y)
        { y = com.microsoft.MatMulNBits <K = 40, N = 6, bits = 4, block_size = 32> (x, b, s) }""",
        {"x": (2, 3, 40)},
        {"b": BYTES[: 6 * 2 * 16].reshape(6, 2, 16), "s": np.linspace(0.01, 0.03, 12, dtype=np.float32)},
    ),
    "MatMulNBits, zero points": (
        """(float[3,64] x, uint8[5,2,16] b, float[10] s, uint8[5] z) => (float[3,5] y)
        { y = com.microsoft.MatMulNBits <K = 64, N = 5, bits = 4, block_size = 32> (x, b, s, z) }""",
        {"x": (3, 64)},
        {
            "b": BYTES[: 5 * 2 * 16].reshape(5, 2, 16),
            "s": np.linspace(0.01, 0.03, 10, dtype=np.float32),
            "z": BYTES[-5:],
        },
    ),
    "MatMulNBits, 8 bits": (
        """(float[3,32] x, uint8[4,1,32] b, float[4] s) => (float[3,4] y)
        { y = com.microsoft.MatMulNBits <K = 32, N = 4, bits = 8, block_size = 32> (x, b, s) }""",
        {"x": (3, 32)},
        {"b": BYTES[:128].reshape(4, 1, 32), "s": np.linspace(0.01, 0.03, 4, dtype=np.float32)},
    ),
    "GroupQueryAttention": (
        """(float[1,5,32] q, float[1,5,16] k, float[1,5,16] v, int32[1] s, int32 t) => (float[1,5,32] y)
        { y, pk, pv = com.microsoft.GroupQueryAttention <num_heads = 4, kv_num_heads = 2> (q, k, v, , , s, t) }""",
        {"q": (1, 5, 32), "k": (1, 5, 16), "v": (1, 5, 16)},
        {"s": np.array([4], np.int32), "t": np.array(5, np.int32)},
    ),
    "GroupQueryAttention, rotated": (
        """(float[1,5,64] q, float[1,5,32] k, float[1,5,32] v, float[1,2,0,16] a, float[1,2,0,16] b, int32[1] s, int32 t,
        float[9,8] c, float[9,8] d) => (float[1,5,64] y) { y, pk, pv = com.microsoft.GroupQueryAttention <num_heads = 4,
        kv_num_heads = 2, do_rotary = 1> (q, k, v, a, b, s, t, c, d) }""",
        {"q": (1, 5, 64), "k": (1, 5, 32), "v": (1, 5, 32)},
        {**EMPTY, "s": np.array([4], np.int32), "t": np.array(5, np.int32), **TURNS},
    ),
    "GroupQueryAttention, interleaved": (
        """(float[1,5,64] q, float[1,5,32] k, float[1,5,32] v, float[1,2,0,16] a, float[1,2,0,16] b, int32[1] s, int32 t,
        float[9,8] c, float[9,8] d) => (float[1,5,64] y) { y, pk, pv = com.microsoft.GroupQueryAttention <num_heads = 4,
        kv_num_heads = 2, do_rotary = 1, rotary_interleaved = 1, scale = 0.3> (q, k, v, a, b, s, t, c, d) }""",
        {"q": (1, 5, 64), "k": (1, 5, 32), "v": (1, 5, 32)},
        {**EMPTY, "s": np.array([4], np.int32), "t": np.array(5, np.int32), **TURNS},
    ),
    "GroupQueryAttention, window": (
        """(float[1,5,32] q, float[1,5,16] k, float[1,5,16] v, int32[1] s, int32 t) => (float[1,5,32] y)
        { y, pk, pv = com.microsoft.GroupQueryAttention <num_heads = 4, kv_num_heads = 2, local_window_size = 2>
        (q, k, v, , , s, t) }""",
        {"q": (1, 5, 32), "k": (1, 5, 16), "v": (1, 5, 16)},
        {"s": np.array([4], np.int32), "t": np.array(5, np.int32)},
    ),
    "GroupQueryAttention, capped scores and a bias": (
        """(float[1,5,32] q, float[1,5,16] k, float[1,5,16] v, int32[1] s, int32 t, float[1,4,5,5] z) => (float[1,5,32] y)
        { y, pk, pv = com.microsoft.GroupQueryAttention <num_heads = 4, kv_num_heads = 2, softcap = 1.5>
        (q, k, v, , , s, t, , , , z) }""",
        {"q": (1, 5, 32), "k": (1, 5, 16), "v": (1, 5, 16), "z": (1, 4, 5, 5)},
        {"s": np.array([4], np.int32), "t": np.array(5, np.int32)},
    ),
    "GroupQueryAttention, a sink of no number": (
        """(float[1,5,32] q, float[1,5,16] k, float[1,5,16] v, int32[1] s, int32 t) => (float[1,5,32] y)
        { y, pk, pv = com.microsoft.GroupQueryAttention <num_heads = 4, kv_num_heads = 2, smooth_softmax = 1>
        (q, k, v, , , s, t) }""",
        {"q": (1, 5, 32), "k": (1, 5, 16), "v": (1, 5, 16)},
        {"s": np.array([4], np.int32), "t": np.array(5, np.int32)},
    ),
    "GroupQueryAttention, sinks of every head": (
        """(float[1,5,32] q, float[1,5,16] k, float[1,5,16] v, int32[1] s, int32 t, float[4] z) => (float[1,5,32] y)
        { y, pk, pv = com.microsoft.GroupQueryAttention <num_heads = 4, kv_num_heads = 2, local_window_size = 3>
        (q, k, v, , , s, t, , , , , z) }""",
        {"q": (1, 5, 32), "k": (1, 5, 16), "v": (1, 5, 16)},
        {"s": np.array([4], np.int32), "t": np.array(5, np.int32), "z": np.array([0.5, -1, 2, 0], np.float32)},
    ),
    "GroupQueryAttention, packed": (
        """(float[1,5,64] q, int32[1] s, int32 t) => (float[1,5,32] y) { y, pk, pv = com.microsoft.GroupQueryAttention
        <num_heads = 4, kv_num_heads = 2> (q, , , , , s, t) }""",
        {"q": (1, 5, 64)},
        {"s": np.array([4], np.int32), "t": np.array(5, np.int32)},
    ),
}


def parse(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f"{IMPORTS}g {text}")


@pytest.mark.parametrize("name", CASES)
def test_written_out_form_and_gradient(name: str, judge: Callable[..., dict[str, np.ndarray]]) -> None:
    text, shapes, others = CASES[name]
    judge(parse(text), {**{n: numbers(*s) for n, s in shapes.items()}, **others}, reference=False)


def test_integer_arithmetic_is_refused_by_name() -> None:
    model = parse(
        """(uint8[2,3] a, float s, uint8 z, float[2,3] x) => (float[2,3] y)
        { q = QuantizeLinear(x, s, z)  r = com.microsoft.QLinearAdd(q, s, z, a, s, z, s, z)
          y = DequantizeLinear(r, s, z) }"""
    )
    with pytest.raises(NoGradient, match="QLinearAdd.*float model"):
        onnxray.vjp(model, of="y", wrt="x")
