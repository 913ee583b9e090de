"""Models whose units are known, built by hand, and images in which what they look for is planted."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import onnxray
from onnxray.engine.survey.pictures import Picture

# Units of the layer "detect": red, green, blue of a single pixel; a vertical edge, dark left of bright; a horizontal one.
UNITS = ("red", "green", "blue", "vertical", "horizontal")
SIDE = 32


def detectors(stride: int = 1, side: int = SIDE, **card: object) -> onnxray.Model:
    """Conv 3x3 "detect" -> ReLU "fire" -> mean over places -> classes "dense": what a unit answers to is known."""
    w = np.zeros((5, 3, 3, 3), np.float32)
    for colour in range(3):
        w[colour, :, 1, 1] = -1
        w[colour, colour, 1, 1] = 1
    edge = np.float32([[-1, 0, 1]] * 3) / 9
    w[3], w[4] = edge, edge.T
    nodes = [
        helper.make_node(
            "Conv", ["x", "w"], ["detect"], "detect", pads=[1] * 4, strides=[stride] * 2, kernel_shape=[3, 3]
        ),
        helper.make_node("Relu", ["detect"], ["fire"], "fire"),
        helper.make_node("GlobalAveragePool", ["fire"], ["pooled"], "pooled"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "d"], ["scores"], "dense"),
    ]
    graph = helper.make_graph(
        nodes,
        "detectors",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, side, side])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(w, "w"), numpy_helper.from_array(np.eye(5, dtype=np.float32) * 100, "d")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    options = {"mean": 0.0, "std": 255.0, "labels": list(UNITS), **card}
    return onnxray.load(proto, **options)


def planted(unit: str, at: tuple[int, int], size: tuple[int, int] = (SIDE, SIDE), spot: int = 1) -> NDArray[np.uint8]:
    """A gray image with what `unit` looks for at the pixels from `at` on."""
    image = np.full((*size, 3), 90, np.uint8)
    y, x = at
    if unit in UNITS[:3]:
        image[y : y + spot, x : x + spot] = 0
        image[y : y + spot, x : x + spot, UNITS.index(unit)] = 255
    elif unit == "vertical":
        image[y - spot : y + 2 * spot, x - spot : x] = 0
        image[y - spot : y + 2 * spot, x + 1 : x + 1 + spot] = 255
    else:
        image[y - spot : y, x - spot : x + 2 * spot] = 0
        image[y + 1 : y + 1 + spot, x - spot : x + 2 * spot] = 255
    return image


def noise(count: int, seed: int = 0, size: tuple[int, int] = (SIDE, SIDE)) -> list[Picture]:
    """Images of nothing in particular: faint gray noise, each with a name."""
    rng = np.random.default_rng(seed)
    gray = rng.integers(80, 100, (count, *size, 1))
    return [Picture(f"noise-{n:03d}.png", np.repeat(g, 3, 2).astype(np.uint8)) for n, g in enumerate(gray)]


def tokens(patch: int = 8) -> onnxray.Model:
    """Patches as a sequence behind a class token, as in a ViT: the layer "tokens", whose units are red, green, blue."""
    w = np.full((3, 3, patch, patch), -1, np.float32) / patch**2
    for colour in range(3):
        w[colour, colour] = 1 / patch**2
    count = (SIDE // patch) ** 2
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "patches", kernel_shape=[patch] * 2, strides=[patch] * 2),
        helper.make_node("Reshape", ["c", "shape"], ["r"], "flat"),
        helper.make_node("Transpose", ["r"], ["t"], "sequence", perm=[0, 2, 1]),
        helper.make_node("Pad", ["t", "pads"], ["p"], "with_class_token"),
        helper.make_node("Mul", ["p", "two"], ["m"], "tokens"),
        helper.make_node("Transpose", ["m"], ["turned"], "turned", perm=[1, 0, 2]),
        helper.make_node("ReduceMean", ["m"], ["y"], "mean", axes=[1], keepdims=0),
    ]
    arrays = {
        "w": w,
        "shape": np.int64([0, 3, count]),
        "pads": np.int64([0, 1, 0, 0, 0, 0]),
        "two": np.float32(2),
    }
    graph = helper.make_graph(
        nodes,
        "tokens",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    return onnxray.load(proto, mean=0.0, std=255.0)
