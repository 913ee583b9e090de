"""Draws the pictures of docs/series.md: `python docs/make_series.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import onnxray
from onnxray.cli.figures.series import series_figure
from onnxray.cli.files.images import write

FOLDER = Path(__file__).with_name("images")
TIMES, NAMES = 120, ("pressure", "flow", "temperature")


def machine() -> np.ndarray:
    """Noise in three sensors; for 16 times the flow drops."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal((TIMES, 3)) * [0.2, 0.3, 0.5] + [5.0, 2.0, 60.0]
    x[70:86, 1] -= 3.0
    return x


def valve() -> onnx.ModelProto:
    """(N, times, sensors) -> how far a mean of 8 flows falls below that of the 24 before."""
    kernel = np.zeros((1, 3, 32), np.float32)
    kernel[0, 1, :24], kernel[0, 1, 24:] = 1 / 24, -1 / 8
    kernel[0, 2] = 0.002
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["t", "k"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalMaxPool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["drop"]),
    ]
    graph = helper.make_graph(
        nodes,
        "valve",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", TIMES, 3])],
        [helper.make_tensor_value_info("drop", TensorProto.FLOAT, ["N", 1])],
        [numpy_helper.from_array(kernel, "k")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main() -> None:
    x, model = machine(), onnxray.load(valve(), answer="number")
    series = onnxray.Series(x, NAMES, np.arange(TIMES) * 0.5, "s")
    times = [f"{t:g}" for t in series.times]
    e = onnxray.explain(model, series, "integrated-gradients")
    lines = [f"{e.method}: {e.label}, {e.score_text}."]
    drawn = series_figure("Explanation of machine.csv", lines, e.values, series.values, series.names, times, "s")
    write(FOLDER / "series-gradients.png", drawn)
    e = onnxray.explain(model, series, "ablation", segments="change-points", fill="interpolate")
    lines = [f"{e.method}: {e.label}, {e.score_text}. {e.details['features']}."]
    drawn = series_figure("Explanation of machine.csv", lines, e.heatmap, series.values, series.names, times, "s")
    write(FOLDER / "series-stretches.png", drawn)


if __name__ == "__main__":
    main()
