"""Receptive fields against what moves when one pixel of the input moves."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxray
from onnxray.engine.inference.session import Session

SIZE = 48


def network(seed: int) -> onnx.ModelProto:
    """A random stack of convolutions, pools and additions on 1 x 1 x SIZE x SIZE, with positive weights."""
    rng = np.random.default_rng(seed)
    nodes, weights, x, channels = [], [], "x", 1
    for index in range(int(rng.integers(2, 5))):
        y = f"v{index}"
        kernel = int(rng.integers(1, 6))
        stride, dilation = int(rng.choice([1, 1, 2])), int(rng.choice([1, 1, 2]))
        auto = str(rng.choice(["NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
        common = {"kernel_shape": [kernel, kernel], "strides": [stride, stride], "auto_pad": auto}
        if auto == "NOTSET":
            common["pads"] = [int(rng.integers(0, kernel)) for _ in range(2)] * 2
        kind = rng.choice(["Conv", "Conv", "AveragePool"])
        if kind == "Conv":
            if not auto.startswith("SAME"):
                common["dilations"] = [dilation, dilation]
            weights.append(
                numpy_helper.from_array(rng.uniform(0.5, 1, (2, channels, kernel, kernel)).astype("f"), f"w{index}")
            )
            nodes.append(helper.make_node("Conv", [x, f"w{index}"], [y], **common))
            channels = 2
        else:
            nodes.append(helper.make_node(kind, [x], [y], count_include_pad=1, **common))
        x = y
        if rng.random() < 0.3:
            nodes.append(helper.make_node("Abs", [x], [f"{y}a"]))
            nodes.append(helper.make_node("Add", [x, f"{y}a"], [f"{y}s"]))
            x = f"{y}s"
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, SIZE, SIZE])
    output = helper.make_tensor_value_info(x, TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [given], [output], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("seed", range(25))
def test_field_is_where_pixels_count(seed: int) -> None:
    model = onnxray.load(network(seed))
    layer = model.layers[-1]
    assert layer.receptive_field is not None
    (size, _), (stride, _), (offset, _) = layer.receptive_field
    session = Session(model, threads=1)
    base = session.run({"x": np.ones((1, 1, SIZE, SIZE), np.float32)})[layer.output]
    middle = base.shape[2] // 2
    low, high = middle * stride + offset - (size - 1) / 2, middle * stride + offset + (size - 1) / 2
    seen = []
    for row in range(SIZE):
        x = np.ones((1, 1, SIZE, SIZE), np.float32)
        x[0, 0, row] = 2
        moved = session.run({"x": x})[layer.output]
        if np.abs(moved[0, :, middle] - base[0, :, middle]).max() > 1e-6 * np.abs(base).max():
            seen.append(row)
    assert (min(seen), max(seen)) == (max(0, low), min(SIZE - 1, high))


def test_global_operators_end_it() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1,1,8,8] x, float[2,1,3,3] w) => (float[1,2,6,6] y)
    { a = Conv(x, w)  p = GlobalAveragePool(a)  y = Mul(a, p) }"""
    fields = {layer.output: layer.receptive_field for layer in onnxray.load(onnx.parser.parse_model(text)).layers}
    assert fields["a"] is not None
    assert tuple(fields["a"]) == ((3, 3), (1, 1), (1.0, 1.0))
    assert fields["p"] is None
    assert fields["y"] is None
