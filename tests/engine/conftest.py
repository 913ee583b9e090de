"""What several tests of the engine share: a small transformer, in the many ways in which attention is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import pytest

HEADS, WIDTH, LAYERS, CLASSES, PATCHES = 2, 6, 2, 3, (2, 3)
TOKENS = PATCHES[0] * PATCHES[1] + 1

_SPLIT = """
  q4{i} = Reshape (q{i}, split) k4{i} = Reshape (k{i}, split) v4{i} = Reshape (v{i}, split)"""
_TO_HEADS = """
  qh{i} = Transpose <perm = [0, 2, 1, 3]> (q4{i}) kh{i} = Transpose <perm = [0, 2, 3, 1]> (k4{i})
  vh{i} = Transpose <perm = [0, 2, 1, 3]> (v4{i})"""
_FROM_HEADS = """
  yt{i} = Transpose <perm = [0, 2, 1, 3]> (yh{i}) y{i} = Reshape (yt{i}, joined)"""

# How exporters write what lies between queries, keys, values (N, T, D) and the sum of values (N, T, D).
FORMS = {
    "plain": _SPLIT
    + _TO_HEADS
    + """
  l{i} = MatMul (qh{i}, kh{i}) s{i} = Mul (l{i}, scale) a{i} = Softmax <axis = -1> (s{i})
  yh{i} = MatMul (a{i}, vh{i})"""
    + _FROM_HEADS,
    "cast, dropped out, masked": _SPLIT
    + _TO_HEADS
    + """
  l{i} = MatMul (qh{i}, kh{i}) s{i} = Mul (l{i}, scale) a{i} = Softmax <axis = 3> (s{i})
  c{i} = Cast <to = 1> (a{i}) o{i} = Dropout (c{i}) isnan{i} = IsNaN (o{i}) w{i} = Where (isnan{i}, zero, o{i})
  yh{i} = MatMul (w{i}, vh{i})"""
    + _FROM_HEADS,
    "batch and heads in one axis": _SPLIT
    + _TO_HEADS
    + """
  qf{i} = Reshape (qh{i}, folded) kf{i} = Reshape (kh{i}, foldedt) vf{i} = Reshape (vh{i}, folded)
  l{i} = MatMul (qf{i}, kf{i}) s{i} = Mul (l{i}, scale) a{i} = Softmax <axis = -1> (s{i})
  yf{i} = MatMul (a{i}, vf{i}) yh{i} = Reshape (yf{i}, unfolded)"""
    + _FROM_HEADS,
    "softmax apart, product in one axis": _SPLIT
    + _TO_HEADS
    + """
  l{i} = MatMul (qh{i}, kh{i}) s{i} = Mul (l{i}, scale) a{i} = Softmax <axis = -1> (s{i})
  af{i} = Reshape (a{i}, foldeda) vf{i} = Reshape (vh{i}, folded)
  yf{i} = MatMul (af{i}, vf{i}) yh{i} = Reshape (yf{i}, unfolded)"""
    + _FROM_HEADS,
    "queries before heads": _SPLIT
    + _TO_HEADS
    + """
  l{i} = MatMul (qh{i}, kh{i}) lt{i} = Transpose <perm = [0, 2, 1, 3]> (l{i}) s{i} = Mul (lt{i}, scale)
  a{i} = Softmax <axis = -1> (s{i}) at{i} = Transpose <perm = [0, 2, 1, 3]> (a{i}) yh{i} = MatMul (at{i}, vh{i})"""
    + _FROM_HEADS,
    "Einsum": _SPLIT
    + """
  l{i} = Einsum <equation = "bqhd,bkhd->bhqk"> (q4{i}, k4{i}) s{i} = Mul (l{i}, scale)
  a{i} = Softmax <axis = -1> (s{i}) yh{i} = Einsum <equation = "bhqk,bkhd->bqhd"> (a{i}, v4{i})
  y{i} = Reshape (yh{i}, joined)""",
    "Einsum, keys first": _SPLIT
    + """
  l{i} = Einsum <equation = "bqhd,bkhd->bkhq"> (q4{i}, k4{i}) s{i} = Mul (l{i}, scale)
  a{i} = Softmax <axis = 1> (s{i}) yh{i} = Einsum <equation = "bkhd, bkhq -> bqhd"> (v4{i}, a{i})
  y{i} = Reshape (yh{i}, joined)""",
    "com.microsoft.MultiHeadAttention": """
  y{i} = com.microsoft.MultiHeadAttention <num_heads = 2> (q{i}, k{i}, v{i})""",
    "com.microsoft.Attention": """
  y{i} = com.microsoft.Attention <num_heads = 2> (n{i}, wqkv{i}, bqkv{i})""",
    "Attention": """
  y{i} = Attention <q_num_heads = 2, kv_num_heads = 2> (q{i}, k{i}, v{i})""",
}
_LAYER = """
  n{i} = LayerNormalization (x{i}, one, none) {project} {attend}
  z{i} = MatMul (y{i}, wo{i}) r{i} = Add (x{i}, z{i})
  m{i} = LayerNormalization (r{i}, one, none) h{i} = MatMul (m{i}, w1{i}) g{i} = Relu (h{i}) u{i} = MatMul (g{i}, w2{i})
  x{j} = Add (r{i}, u{i})"""
_PROJECT = "q{i} = MatMul (n{i}, wq{i}) k{i} = MatMul (n{i}, wk{i}) v{i} = MatMul (n{i}, wv{i})"
_HEADS = {
    "class": "last = Gather <axis = 1> (final, first)",
    "mean": "last = ReduceMean <axes = [1], keepdims = 0> (final)",
    "patches": "rest = Slice (final, from, to, axis) last = ReduceMean <axes = [1], keepdims = 0> (rest)",
}


@dataclass(frozen=True)
class Transformer:
    """A class token and 2 x 3 patches of an image (2, 4, 6); two layers of two heads. `proto` in ONNX, the rest in
    NumPy, float64, one sample at a time.
    """

    proto: onnx.ModelProto
    weights: dict[str, np.ndarray]
    pool: str

    def run(self, x: np.ndarray, extra: Sequence[np.ndarray] | None = None) -> tuple[np.ndarray, list[np.ndarray]]:
        """Class scores (3,) and the attention maps (heads, T, T) of the layers; `extra` is added to the maps."""
        w = {name: array.astype(np.float64) for name, array in self.weights.items()}
        rows, columns = PATCHES
        patches = [
            np.einsum("chw,dchw->d", x[:, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2].astype(np.float64), w["patch"])
            for r in range(rows)
            for c in range(columns)
        ]
        stream = np.stack([w["cls"][0, 0], *patches]) + w["pos"][0]
        maps = []
        for i in range(LAYERS):
            normed = _normed(stream)
            q, k, v = (normed @ w[f"w{letter}{i}"] for letter in "qkv")
            outs = []
            attention = np.empty((HEADS, TOKENS, TOKENS))
            for head in range(HEADS):
                own = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
                logits = q[:, own] @ k[:, own].T / np.sqrt(WIDTH / HEADS)
                powers = np.exp(logits - logits.max(axis=1, keepdims=True))
                attention[head] = powers / powers.sum(axis=1, keepdims=True)
                weights = attention[head] if extra is None else attention[head] + extra[i][head]
                outs.append(weights @ v[:, own])
            maps.append(attention)
            stream = stream + np.concatenate(outs, axis=1) @ w[f"wo{i}"]
            stream = stream + np.maximum(_normed(stream) @ w[f"w1{i}"], 0) @ w[f"w2{i}"]
        final = _normed(stream)
        read = {"class": final[0], "mean": final.mean(axis=0), "patches": final[1:].mean(axis=0)}[self.pool]
        return read @ w["head"], maps

    def read(self) -> np.ndarray:
        """(T,): what the head reads of every token."""
        rows = {"class": [0], "mean": list(range(TOKENS)), "patches": list(range(1, TOKENS))}[self.pool]
        return np.isin(np.arange(TOKENS), rows) / len(rows)

    def slopes(self, x: np.ndarray, target: int, step: float = 1e-5) -> list[np.ndarray]:
        """The gradient of a class's score by every attention map, one number after the other, by central differences."""
        found = [np.zeros((HEADS, TOKENS, TOKENS)) for _ in range(LAYERS)]
        for i in range(LAYERS):
            for place in np.ndindex(HEADS, TOKENS, TOKENS):
                extra = [np.zeros((HEADS, TOKENS, TOKENS)) for _ in range(LAYERS)]
                extra[i][place] = step
                above = self.run(x, extra)[0][target]
                extra[i][place] = -step
                found[i][place] = (above - self.run(x, extra)[0][target]) / (2 * step)
        return found


def _normed(x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5))


@pytest.fixture(scope="session")
def transformer(parse: Callable[..., onnx.ModelProto]) -> Callable[..., Transformer]:
    """transformer(form="plain", pool="class", batch="N"): see Transformer; `form` one of FORMS, `pool` one of _HEADS."""

    def make(form: str = "plain", pool: str = "class", batch: str | int = "N") -> Transformer:
        rng = np.random.default_rng(4)

        def draw(*shape: int) -> np.ndarray:
            return (rng.standard_normal(shape) * 1.5 / np.sqrt(shape[-2] if len(shape) == 2 else 8)).astype(np.float32)

        weights = {"patch": draw(WIDTH, 2, 2, 2), "cls": draw(1, 1, WIDTH), "pos": draw(1, TOKENS, WIDTH)}
        weights["head"] = draw(WIDTH, CLASSES)
        for i in range(LAYERS):
            weights.update({f"w{letter}{i}": draw(WIDTH, WIDTH) for letter in "qkvo"})
            weights.update({f"w1{i}": draw(WIDTH, 8), f"w2{i}": draw(8, WIDTH)})
        constants = {
            "one": np.ones(WIDTH, np.float32),
            "none": np.zeros(WIDTH, np.float32),
            "zero": np.zeros((), np.float32),
            "scale": np.float32(1 / np.sqrt(WIDTH / HEADS)),
            "split": np.array([0, 0, HEADS, WIDTH // HEADS]),
            "joined": np.array([0, 0, WIDTH]),
            "folded": np.array([-1, TOKENS, WIDTH // HEADS]),
            "foldedt": np.array([-1, WIDTH // HEADS, TOKENS]),
            "foldeda": np.array([-1, TOKENS, TOKENS]),
            "unfolded": np.array([-1, HEADS, TOKENS, WIDTH // HEADS]),
            "flat": np.array([0, WIDTH, -1]),
            "first": np.array(0),
            "from": np.array([1]),
            "to": np.array([TOKENS]),
            "axis": np.array([1]),
            "batch": np.array([0]),
            "rest": np.array([1, WIDTH]),
            "start": np.array([0]),
            "end": np.array([1]),
        }
        for i in range(LAYERS):
            constants[f"wqkv{i}"] = np.concatenate([weights[f"w{letter}{i}"] for letter in "qkv"], axis=1)
            constants[f"bqkv{i}"] = np.zeros(3 * WIDTH, np.float32)
        body = "".join(
            _LAYER.format(
                i=i,
                j=i + 1,
                project="" if form == "com.microsoft.Attention" else _PROJECT.format(i=i),
                attend=FORMS[form].format(i=i),
            )
            for i in range(LAYERS)
        )
        opset = 23 if form == "Attention" else 17
        head = _HEADS[pool] if opset < 18 else _HEADS[pool].replace("<axes = [1], keepdims", "<keepdims").replace("(final)", "(final, axis)").replace("(rest)", "(rest, axis)")  # fmt: skip
        text = f"""<ir_version: 10, opset_import: ["" : {opset}, "com.microsoft" : 1]>
        small (float[{batch}, 2, 4, 6] image) => (float[{batch}, {CLASSES}] y)
        {{
          maps = Conv <kernel_shape = [2, 2], strides = [2, 2]> (image, patch)
          rowed = Reshape (maps, flat) tokens = Transpose <perm = [0, 2, 1]> (rowed)
          size = Shape (image) number = Slice (size, start, end, batch) shape = Concat <axis = 0> (number, rest)
          spread = Expand (cls, shape) both = Concat <axis = 1> (spread, tokens)
          x0 = Add (both, pos) {body}
          final = LayerNormalization (x{LAYERS}, one, none) {head}
          y = MatMul (last, head)
        }}
        """
        text = text.replace("(number, rest)", "(number, rest_size)")
        constants["rest_size"] = constants.pop("rest")
        proto = parse(text, **weights, **constants)
        used = {name for node in proto.graph.node for name in node.input}
        kept = [t for t in proto.graph.initializer if t.name in used]
        del proto.graph.initializer[:]
        proto.graph.initializer.extend(kept)
        onnx.checker.check_model(proto) if form in ("plain", "Einsum", "Attention") else None
        return Transformer(proto, weights, pool)

    return make
