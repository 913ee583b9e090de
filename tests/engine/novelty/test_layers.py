"""Layers by rule: middle maps of two scales, behind the last residual sum."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxray
from onnxray.engine.novelty.features import sparse_projection
from onnxray.engine.novelty.layers import choose_layers
from onnxray.engine.survey.scan import sized


def chosen(path: object) -> tuple[list[tuple[int, ...]], list[str], str]:
    model, card = sized(onnxray.load(path))  # type: ignore[arg-type]
    layers, reason = choose_layers(model, None, card.size)
    return [layer.grid for layer in layers], [layer.name for layer in layers], reason


def test_of_the_built_in_model() -> None:
    grids, names, reason = chosen("builtin")
    assert grids == [(40, 40), (20, 20)]
    assert names == ["stage2/relu2", "stage3/relu2"]
    assert reason.startswith("the last layers of the middle maps, 40x40 and 20x20, the coarsest scale left out")


def residual(activation: bool) -> onnx.ModelProto:
    """Strides 2, 4, 8: at each a block with a residual sum, behind it a convolution of more channels."""
    rng = np.random.default_rng(0)
    nodes, arrays, last, channels = [], {}, "x", 3

    def conv(read: str, wide: int, stride: int, name: str) -> str:
        nonlocal channels
        arrays[f"{name}.w"] = rng.standard_normal((wide, channels, 3, 3)).astype(np.float32) / 9
        nodes.append(
            helper.make_node("Conv", [read, f"{name}.w"], [name], name, pads=[1] * 4, strides=[stride, stride])
        )
        channels = wide
        return name

    for scale in (1, 2, 3):
        down = conv(last, 8, 2, f"down{scale}")
        inner = conv(down, 8, 1, f"inner{scale}")
        nodes.append(helper.make_node("Add", [down, inner], [f"sum{scale}"], f"sum{scale}"))
        last = f"sum{scale}"
        if activation:
            nodes.append(helper.make_node("Relu", [last], [f"relu{scale}"], f"relu{scale}"))
            last = f"relu{scale}"
        last = conv(last, 24, 1, f"wide{scale}")
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["p"], "pool"))
    nodes.append(helper.make_node("Flatten", ["p"], ["y"], "flat"))
    graph = helper.make_graph(
        nodes,
        "residual",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 64, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 24])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("activation", [False, True])
def test_behind_the_last_residual_sum(activation: bool) -> None:
    grids, names, _ = chosen(residual(activation))
    assert grids == [(32, 32), (16, 16)]
    assert names == (["relu1", "relu2"] if activation else ["sum1", "sum2"])


@pytest.mark.parametrize(("width", "dimensions"), [(400, 120), (1000, 300)])
def test_projections_keep_distances(width: int, dimensions: int) -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((40, width))
    made = sparse_projection(width, dimensions, 0)
    assert (made != 0).mean() == pytest.approx(1 / width**0.5, rel=0.1)
    i, j = np.triu_indices(40, 1)
    before = np.linalg.norm(points[i] - points[j], axis=1)
    after = np.linalg.norm((points @ made)[i] - (points @ made)[j], axis=1)
    assert np.abs(after / before - 1).max() < 0.35
    assert after.mean() / before.mean() == pytest.approx(1, abs=0.03)
