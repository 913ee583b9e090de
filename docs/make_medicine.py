"""The picture of docs/medicine.md, `python docs/make_medicine.py`: a made-up chest with a nodule, and a small model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from scipy.ndimage import gaussian_filter

import onnxray
from onnxray.cli.figures.volume import figure_of
from onnxray.cli.files.images import write

IMAGES = Path(__file__).parent / "images"
SIZE, SPACING = (40, 96, 112), (5.0, 3.0, 3.0)
NODULE = (24, 52, 34)


def finder() -> onnx.ModelProto:
    """(N, 1, D, H, W) in Hounsfield units -> (N, 1): how much looks like a small ball in air, weights set by hand."""
    z, y, x = np.mgrid[-2:3, -4:5, -4:5].astype(np.float64)
    far = np.sqrt((z * SPACING[0]) ** 2 + (y * SPACING[1]) ** 2 + (x * SPACING[2]) ** 2)
    ball, air = (far <= 6).astype(np.float64), ((far > 8) & (far <= 13)).astype(np.float64)
    weight = (ball / ball.sum() - air / air.sum())[None, None] / 1000
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[2, 4, 4, 2, 4, 4], kernel_shape=[5, 9, 9]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2, 2], strides=[2, 2, 2]),
        helper.make_node("ReduceMax", ["p"], ["y"], axes=[2, 3, 4], keepdims=0),
    ]
    arrays = {"w": np.repeat(weight, 4, 0).astype(np.float32), "b": np.full(4, -0.62, np.float32)}
    graph = helper.make_graph(
        nodes,
        "finder",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, "D", "H", "W"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def chest() -> NDArray[np.float32]:
    """A body, two lungs, a spine and a nodule, in Hounsfield units."""
    z, y, x = np.meshgrid(*[np.arange(n) for n in SIZE], indexing="ij")
    found = np.full(SIZE, -1000.0)
    found[((y - 48) / 40) ** 2 + ((x - 56) / 52) ** 2 <= 1] = 40
    for middle in (33, 79):
        lung = ((y - 46) / 27) ** 2 + ((x - middle) / 17) ** 2 + ((z - 21) / 20) ** 2 <= 1
        found[lung] = -850
    found[(y - 80) ** 2 + (x - 56) ** 2 <= 40] = 500
    far = [((at - n) * step) ** 2 for at, n, step in zip((z, y, x), NODULE, SPACING, strict=True)]
    found[far[0] + far[1] + far[2] <= 49] = 30
    noise = np.random.default_rng(0).standard_normal(SIZE)
    return (gaussian_filter(found, (0.4, 0.7, 0.7)) + 18 * noise).astype(np.float32)


def main() -> None:
    affine = np.diag([-SPACING[2], -SPACING[1], SPACING[0], 1.0])
    volume = onnxray.Volume(chest(), affine=affine, window=(-1100, 500))
    e = onnxray.explain(finder(), volume, "grad-cam", target=0)
    write(IMAGES / "medicine-nodule.png", figure_of(e, "Explanation of chest.nii.gz"))


if __name__ == "__main__":
    main()
