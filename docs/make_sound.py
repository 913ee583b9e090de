"""The picture of docs/sound.md, `python docs/make_sound.py`: a doorbell in a noisy room, and a small model for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import onnxray
from onnxray.cli.figures.sound import figure_of
from onnxray.cli.files.images import write

IMAGES = Path(__file__).parent / "images"
RATE, TONES = 16000, (1319, 1047)


def doorbell() -> onnx.ModelProto:
    """(N, T) -> (N, 1): how loud the two tones of a doorbell are on average, weights set by hand."""
    t = np.arange(512) / RATE
    rows = [np.cos(2 * np.pi * hz * t + p) * np.hanning(512) / 16 for hz in TONES for p in (0, np.pi / 2)]
    nodes = [
        helper.make_node("Unsqueeze", ["sound", "one"], ["channel"]),
        helper.make_node("Conv", ["channel", "tones"], ["waves"], strides=[64]),
        helper.make_node("Mul", ["waves", "waves"], ["power"]),
        helper.make_node("GlobalAveragePool", ["power"], ["average"]),
        helper.make_node("ReduceSum", ["average", "rest"], ["bell"], keepdims=0),
        helper.make_node("Unsqueeze", ["bell", "one"], ["y"]),
    ]
    arrays = {"tones": np.array(rows, np.float32)[:, None], "one": np.array([1]), "rest": np.array([1, 2])}
    graph = helper.make_graph(
        nodes,
        "doorbell",
        [helper.make_tensor_value_info("sound", TensorProto.FLOAT, ["N", "T"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def room() -> NDArray[np.float32]:
    """Two seconds: hum, noise, a whistle, and the two tones of the bell."""
    rng, t = np.random.default_rng(0), np.arange(2 * RATE) / RATE
    x = 0.03 * rng.standard_normal(len(t)) + 0.2 * np.sin(2 * np.pi * 100 * t)
    x += 0.15 * np.sin(2 * np.pi * (2600 * t + 300 * np.sin(2 * np.pi * 1.5 * t) / 1.5)) * (t > 0.2) * (t < 1.8)
    for hz, start in zip(TONES, (0.6, 1.0), strict=True):
        since = t - start
        x += 0.5 * np.sin(2 * np.pi * hz * t) * np.where(since > 0, np.exp(-since / 0.18), 0)
    return x.astype(np.float32)


def main() -> None:
    e = onnxray.explain(doorbell(), onnxray.Sound(room(), RATE), target="value", sound={"rate": RATE})
    write(IMAGES / "sound-doorbell.png", figure_of(e, "Explanation of room.wav"))


if __name__ == "__main__":
    main()
