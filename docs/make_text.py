"""The pictures of docs/text.md, `python docs/make_text.py`: small models with weights that are set by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import onnxray
from onnxray.cli.figures.text_layout import svg

IMAGES = Path(__file__).parent / "images"
WORDS = {
    "wonderful": 2.4, "touching": 1.6, "unforgettable": 2.0, "fine": 0.9, "loved": 1.8, "funny": 1.2, "good": 1.3,
    "long": -0.7, "dull": -1.9, "terrible": -2.4, "bored": -1.8, "flat": -1.1, "bad": -1.6, "predictable": -0.9,
}  # fmt: skip
REVIEW = (
    "A wonderful, touching film, if a little long: the plot is predictable and the middle dull, but the co-star's "
    "unforgettable last scene wasn't. I laughed, I was never bored, and I loved every minute of the music."
)
VOCABULARY = ["<PAD>", "<UNKNOWN>", *WORDS]


def sentiment() -> onnxray.Model:
    """A word's number, squashed, and the mean over the words: (negative, positive)."""
    draw = np.random.default_rng(0)
    table = draw.normal(size=(len(VOCABULARY), 4)).astype(np.float32) * 0.05
    table[0] = 0
    table[2:, 0] = list(WORDS.values())
    head = np.zeros((4, 2), np.float32)
    head[0] = -4, 4
    nodes = [
        helper.make_node("Gather", ["table", "token_ids"], ["embedded"]),
        helper.make_node("Tanh", ["embedded"], ["squashed"]),
        helper.make_node("ReduceMean", ["squashed"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "head"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "sentiment",
        [helper.make_tensor_value_info("token_ids", TensorProto.INT64, ["N", "T"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(head, "head")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    said = {"kind": "words", "vocab": VOCABULARY, "lower": True, "unknown": "<UNKNOWN>", "pad": "<PAD>"}
    return onnxray.load(proto, tokenizer=said, labels=["negative", "positive"])


def main() -> None:
    model = sentiment()
    pictures = {
        "text-words": onnxray.explain(model, REVIEW, target="positive"),
        "text-sentences": onnxray.explain(model, onnxray.Text(REVIEW, unit="sentence"), "kernel-shap", "positive"),
    }
    for name, e in pictures.items():
        (IMAGES / f"{name}.svg").write_text(svg(e), encoding="utf-8")


if __name__ == "__main__":
    main()
