"""`trust`: the checks of maps of the built-in model, and of another version of it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxray
from onnxray import models
from onnxray.engine.errors import MethodError, UnknownName
from onnxray.engine.trust import trust
from onnxray.models.surface import render

SAMPLE = render(3_000_001, "pit")
LAYERS = ["stage1/conv", "stage2/conv1", "stage2/conv2", "stage3/conv1", "stage3/conv2", "stage4/conv1", "stage4/conv2"]


def changed(name: str, factor: float) -> onnx.ModelProto:
    """The built-in model with noise of `factor` times its weights' deviation on one convolution."""
    model = onnx.load(models.path(models.BUILTIN))
    for tensor in model.graph.initializer:
        if tensor.name == f"{name}/weight":
            w = numpy_helper.to_array(tensor)
            noise = np.random.default_rng(0).standard_normal(w.shape) * w.std() * factor
            tensor.CopyFrom(numpy_helper.from_array((w + noise).astype(np.float32), tensor.name))
    return model


CARD = {"mean": [114.0] * 3, "std": [58.0] * 3, "size": [160, 160], "order": "RGB", "resize": "stretch"}


@pytest.mark.parametrize(
    ("name", "light", "second"),
    [("grad-cam", "green", "lrp"), ("lrp", "yellow", "grad-cam"), ("guided-backprop", "red", "grad-cam")],
)
def test_methods_on_the_built_in_model(name: str, light: str, second: str) -> None:
    found = trust("builtin", SAMPLE.image, name, "pit")
    checks = {check.name: check for check in found.checks}
    assert set(checks) == {"values", "randomisation", "deletion", "completeness", "agreement", "shift"}
    assert found.light == light
    assert found.against is None
    assert checks["agreement"].words.endswith(f"with {second}")
    assert (checks["randomisation"].light == "red") == (name == "guided-backprop")


def test_a_map_of_noise_is_found_out() -> None:
    """Gradients' variance lights noise everywhere on these images: its hottest pixels do not matter."""
    found = trust("builtin", SAMPLE.image, "vargrad")
    assert found.light == "red"


@pytest.mark.parametrize("layer", ["stage2/conv2", "stage4/conv1"])
def test_the_layer_that_differs_is_the_first_to_drift(layer: str) -> None:
    original = onnx.load(models.path(models.BUILTIN))
    against = trust(original, SAMPLE.image, against=changed(layer, 1.0), **CARD).against
    assert against is not None
    assert against.first_drift == layer.replace("conv", "relu")
    before = list(against.layers)[: list(against.layers).index(against.first_drift)]
    assert all(against.layers[name] == 0 for name in before)
    assert against.alike is not None


def test_the_same_model_does_not_drift() -> None:
    original = onnx.load(models.path(models.BUILTIN))
    found = trust(original, SAMPLE.image, against=original, **CARD)
    assert found.against is not None
    assert found.against.same
    assert found.against.alike == pytest.approx(1)
    assert max(found.against.layers.values()) == 0
    assert found.checks[-1].light == "green"


def quantised(step: float) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """A network of two layers, and the same whose first layer answers with 8-bit integers of a scale and zero point."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.standard_normal((4, 3, 3, 3)).astype(np.float32), "w"),
        numpy_helper.from_array(rng.standard_normal((16384, 2)).astype(np.float32), "v"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 64, 64])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])
    head = [helper.make_node("Flatten", ["h"], ["f"], "flat"), helper.make_node("MatMul", ["f", "v"], ["y"], "scores")]
    plain = [helper.make_node("Conv", ["x", "w"], ["h"], "first", pads=[1] * 4), *head]
    whole = [
        helper.make_node("Conv", ["x", "w"], ["c"], "inner", pads=[1] * 4),
        helper.make_node("QuantizeLinear", ["c", "s", "z"], ["q"], "first_quant"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["h"], "back"),
        *head,
    ]
    scale = [
        numpy_helper.from_array(np.array(step, np.float32), "s"),
        numpy_helper.from_array(np.array(128, np.uint8), "z"),
    ]
    made = []
    for nodes, more in ((plain, []), (whole, scale)):
        graph = helper.make_graph(nodes, "g", [x], [y], [*weights, *more])
        made.append(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    return made[0], made[1]


@pytest.mark.parametrize(("step", "drifts"), [(0.2, False), (4.0, True)])
def test_integers_of_a_quantised_layer_are_compared_by_their_scale(step: float, drifts: bool) -> None:
    plain, whole = quantised(step)
    x = np.random.default_rng(1).standard_normal((1, 3, 64, 64)).astype(np.float32)
    found = trust(plain, x, "input-x-gradient", 0, against=whole).against
    assert found is not None
    assert (found.first_drift == "first") == drifts
    assert 0 < found.layers["first"] < 1


def test_bad_input() -> None:
    with pytest.raises(MethodError, match="one target"):
        trust("builtin", SAMPLE.image, target="top:2")
    with pytest.raises(UnknownName, match="option"):
        trust("builtin", SAMPLE.image, stpes=3)
    with pytest.raises(MethodError, match="not a list"):
        onnxray.trust("builtin", [*map(str, onnxray.samples()[:2])])


def test_maps_at_a_layer_are_compared_at_the_same_layer() -> None:
    original = onnx.load(models.path(models.BUILTIN))
    found = trust(original, SAMPLE.image, "grad-cam", layer="stage2/relu1", against=original, **CARD).against
    assert found is not None
    assert found.alike == pytest.approx(1)
    other = onnx.load(models.path(models.BUILTIN))
    for node in other.graph.node:
        node.name = f"new/{node.name}"
        for names in (node.input, node.output):
            names[:] = [f"new/{name}" if "relu" in name else name for name in names]
    unlike = trust(original, SAMPLE.image, "grad-cam", layer="stage2/relu1", against=other, **CARD).against
    assert unlike is not None
    assert unlike.alike is None
    assert "not comparable" in unlike.check().words
    assert unlike.check().light == "yellow"
