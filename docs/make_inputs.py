"""Draws the pictures of docs/inputs.md: `python docs/make_inputs.py [KIND ...]`."""

# ruff: noqa: E501 (graphs in ONNX's text form)

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

import onnxray
from onnxray.cli.figures.array_map import figure_of
from onnxray.cli.files.images import write
from onnxray.engine.attribution.columns import background_of_columns
from onnxray.engine.attribution.explanation import Explanation

SAMPLES = Path(__file__).parent.parent / "models/samples"
# What the built-in model's card says.
PREPARED = {"size": [160, 160], "mean": 114.0, "std": 58.0}
SPATTER = 4  # the class of the built-in model
FOLDER = Path(__file__).with_name("images")


def model(text: str, **constants: NDArray[np.generic]) -> onnx.ModelProto:
    """A model in ONNX's own text form."""
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in constants.items())
    return proto


def sound() -> tuple[Explanation, NDArray[np.float32]]:
    """A burst of 25 periods in noise, and a filter of that period."""
    rng, t = np.random.default_rng(0), np.arange(1200)
    x = 0.2 * rng.standard_normal(1200) + np.where((t > 500) & (t < 700), np.sin(t / 4), 0)
    kernel = np.sin(np.arange(64) / 4)[None, None]
    proto = model(
        "m (float[N, 1, 1200] wave) => (float[N, 1] y) { c = Conv (wave, k)  r = Relu (c)  p = GlobalAveragePool (r)  "
        "y = Flatten (p) }",
        k=kernel.astype(np.float32),
    )
    given = x.astype(np.float32)[None]
    return onnxray.explain(onnxray.load(proto, answer="number"), given[None], "input-x-gradient"), given


def series() -> tuple[Explanation, NDArray[np.float32]]:
    """Five features over 60 times; the second one makes a step that the model looks for."""
    x = np.random.default_rng(1).standard_normal((60, 5)).cumsum(axis=0) * 0.2
    x[35:, 1] += 3
    step = np.zeros((1, 5, 8))
    step[0, 1] = np.repeat([-0.25, 0.25], 4)
    proto = model(
        "m (float[N, 60, 5] x) => (float[N, 1] y) { t = Transpose <perm = [0, 2, 1]> (x)  c = Conv (t, k)  r = Relu (c)  "
        "p = GlobalMaxPool (r)  y = Flatten (p) }",
        k=step.astype(np.float32),
    )
    given = x.astype(np.float32)
    return onnxray.explain(onnxray.load(proto, answer="number"), given[None], "occlusion"), given


def table() -> tuple[Explanation, NDArray[np.float32]]:
    """Three columns that are inputs of their own."""
    proto = model(
        "m (float[N, 1] age, float[N, 1] fare, float[N, 1] children) => (float[N, 1] y) { a = Div (age, c)  b = Tanh (a)  "
        "d = Mul (b, fare)  e = Sub (d, children)  y = Sigmoid (e) }",
        c=np.float32(40),
    )
    rng = np.random.default_rng(2)
    rows = {"age": rng.uniform(2, 80, 50), "fare": rng.uniform(0, 3, 50), "children": rng.integers(0, 4, 50)}
    loaded = onnxray.load(proto, answer="number")
    given = {name: np.float32([[value]]) for name, value in (("age", 61), ("fare", 2.4), ("children", 1))}
    background = background_of_columns(loaded, rows)
    e = onnxray.explain(loaded, given, "kernel-shap", background=background)
    return e, np.concatenate([a[0] for a in given.values()])


def volume() -> tuple[Explanation, NDArray[np.float32]]:
    """A ball in noise."""
    z, y, x = np.mgrid[:24, :32, :32]
    ball = ((z - 14) ** 2 + (y - 12) ** 2 + (x - 20) ** 2 < 30).astype(float)
    given = (ball + 0.15 * np.random.default_rng(3).standard_normal(ball.shape)).astype(np.float32)[None]
    proto = model(
        "m (float[N, 1, 24, 32, 32] scan) => (float[N, 4] y) { c = Conv <strides = [2, 2, 2]> (scan, k)  s = Sub (c, h)  "
        "r = Relu (s)  p = GlobalAveragePool (r)  y = Flatten (p) }",
        k=np.full((4, 1, 4, 4, 4), 1 / 64, np.float32) * np.float32([1, 0.8, 0.6, 0.4])[:, None, None, None, None],
        h=np.float32(0.3),
    )
    return onnxray.explain(onnxray.load(proto), given[None], "grad-cam", "mean:y"), given


def images() -> tuple[Explanation, NDArray[np.float32] | None]:
    """Two pictures of surfaces, compared by what the built-in model makes of them."""
    towers = [onnx.compose.add_prefix(onnxray.load("builtin").proto, f"{side}/") for side in ("first", "second")]
    ends = [tower.graph.node[-1].input[0] for tower in towers]  # before the classes
    both = onnx.compose.merge_models(*towers, io_map=[])
    helper = onnx.helper
    both.graph.node.append(helper.make_node("Mul", ends, ["product"]))
    both.graph.node.append(helper.make_node("ReduceSum", ["product", "axis"], ["likeness"], keepdims=1))
    both.graph.initializer.append(onnx.numpy_helper.from_array(np.int64([1]), "axis"))
    del both.graph.output[:]
    both.graph.output.append(helper.make_tensor_value_info("likeness", onnx.TensorProto.FLOAT, ["N", 1]))
    loaded = onnxray.load(both, answer="number", **PREPARED)
    given = {"first/image": SAMPLES / "03-crack-ceramic.png", "second/image": SAMPLES / "04-crack-concrete.png"}
    return onnxray.explain(loaded, given, "hires-cam"), None


def number() -> tuple[Explanation, None]:
    """A picture, and a number that says how much its spatter counts."""
    proto = onnxray.load("builtin").proto
    helper = onnx.helper
    proto.graph.input.append(helper.make_tensor_value_info("weight", onnx.TensorProto.FLOAT, ["N", 1]))
    proto.graph.node.append(helper.make_node("Gather", [proto.graph.output[0].name, "which"], ["spatter"], axis=1))
    proto.graph.node.append(helper.make_node("Mul", ["spatter", "weight"], ["score"]))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.int64([SPATTER]), "which"))
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info("score", onnx.TensorProto.FLOAT, ["N", 1]))
    given = {"image": SAMPLES / "06-spatter-turned.png", "weight": np.float32([[0.5]])}
    return onnxray.explain(onnxray.load(proto, answer="number", **PREPARED), given, "grad-cam"), None


def text() -> tuple[Explanation, NDArray[np.int64]]:
    """Token ids, and a model that looks for two of them next to each other."""
    rng = np.random.default_rng(6)
    table = rng.standard_normal((30, 8)).astype(np.float32)
    pair = np.stack([table[7], table[12]], axis=1)[None] / 8
    proto = model(
        "m (int64[N, T] ids) => (float[N, 1] y) { e = Gather (table, ids)  t = Transpose <perm = [0, 2, 1]> (e)  "
        "c = Conv (t, k)  r = Relu (c)  p = GlobalMaxPool (r)  y = Flatten (p) }",
        table=table,
        k=pair,
    )
    ids = np.int64([[3, 21, 7, 12, 5, 18, 7, 2]])
    return onnxray.explain(onnxray.load(proto, answer="number"), ids, "integrated-gradients"), ids[0]


def texts() -> tuple[Explanation, NDArray[np.int64]]:
    """Two texts that share a word, 5, and how alike they are."""
    table = np.random.default_rng(4).standard_normal((20, 16)).astype(np.float32)
    table[0] = 0  # the id of padding, which hidden tokens get
    proto = model(
        "m (int64[N, T] question, int64[N, S] answer) => (float[N, 1] y) { q = Gather (table, question)  "
        "a = Gather (table, answer)  s = ReduceMean <keepdims = 0> (q, axis)  t = ReduceMean <keepdims = 0> (a, axis)  "
        "p = Mul (s, t)  y = ReduceSum (p, axis) }",
        table=table,
        axis=np.int64([1]),
    )
    given = {"question": np.int64([[3, 5, 8, 2]]), "answer": np.int64([[11, 7, 5, 14, 9]])}
    found = onnxray.explain(onnxray.load(proto, answer="number"), given, "kernel-shap")
    return found, np.concatenate([ids[0] for ids in given.values()])


KINDS = {
    "number": number,
    "text": text,
    "images": images,
    "texts": texts,
    "sound": sound,
    "series": series,
    "table": table,
    "volume": volume,
}


if __name__ == "__main__":
    for name in sys.argv[1:] or KINDS:
        make = KINDS[name]
        explanation, sample = make()
        write(FOLDER / f"inputs-{name}.png", figure_of(explanation, sample, f"Explanation of {name}"))
