"""Modules of PyTorch's exporters: found in names and in metadata, shown, and taken as layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.errors import UnknownName
from onnxray.engine.inspect.modules import SCOPES, module_of


@pytest.mark.parametrize(
    ("name", "scopes", "module"),
    [
        ("/layer4/layer4.1/conv2/Conv", None, "layer4.1.conv2"),
        ("/layers/layers.0/layers.0.0/f/f.0/f.0.0/Conv", None, "layers.0.0.f.0.0"),
        ("/vit/layers.0/attention/q_proj/MatMul", None, "vit.layers.0.attention.q_proj"),
        ("/Flatten", None, ""),
        ("model/block/conv2d/Conv2D", None, ""),
        ("", None, ""),
        ("node_Conv_293", "['', 'layer4', 'layer4.1', 'layer4.1.conv2', 'conv2d_19']", "layer4.1.conv2"),
        ("node_relu_2", "['', 'layer1', 'layer1.0', 'layer1.0.relu@1', 'relu_2']", "layer1.0.relu"),
        ("node_x", '["", "head", "linear"]', "head"),
        ("node_add", "['', 'add']", ""),
        ("node_broken", "no list at all", ""),
        ("node_empty", "", ""),
    ],
)
def test_module_of_a_node(name: str, scopes: str | None, module: str) -> None:
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], name=name)
    if scopes is not None:
        node.metadata_props.add(key=SCOPES, value=scopes)
    assert module_of(node) == module


@pytest.fixture(params=["dynamo", "torchscript"])
def resnet(request: pytest.FixtureRequest, cnn: onnx.ModelProto) -> onnxray.Model:
    """The small classifier as either exporter would name its nodes."""
    proto = onnx.ModelProto()
    proto.CopyFrom(cnn)
    modules = ["trunk.0", "trunk.1", "pool", "body.0.conv", "body.0", "body.0.relu", "gap", "", "fc"]
    for number, (node, module) in enumerate(zip(proto.graph.node, modules, strict=True)):
        parts = module.split(".") if module else []
        paths = [".".join(parts[: i + 1]) for i in range(len(parts))]
        if request.param == "dynamo":
            node.name = f"node_{node.op_type}_{number}"
            node.metadata_props.add(key=SCOPES, value=repr(["", *paths, f"{node.op_type.lower()}_{number}"]))
        else:
            scopes = [p if p.rpartition(".")[2].isdigit() else p.rpartition(".")[2] for p in paths]
            node.name = "/".join(["", *scopes, node.op_type])
    return onnxray.load(proto)


def test_modules_are_on_the_layers(resnet: onnxray.Model) -> None:
    found = [layer.module for layer in resnet.layers]
    assert found == ["trunk.0", "trunk.1", "pool", "body.0.conv", "body.0", "body.0.relu", "gap", "", "fc"]


@pytest.mark.parametrize(
    ("module", "value"),
    [("trunk", "stem_relu"), ("body.0", "features"), ("body", "features"), ("body.0.conv", "inner")],
)
def test_a_module_stands_for_its_output(resnet: onnxray.Model, module: str, value: str) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    found = onnxray.activations(resnet, x, [module, value])
    np.testing.assert_array_equal(found[module], found[value])
    e = onnxray.explain(resnet, x, layer=module)
    assert e.layer == onnxray.explain(resnet, x, layer=value).layer


def test_modules_are_offered(resnet: onnxray.Model) -> None:
    with pytest.raises(UnknownName, match=r"nearest: 'body.0.conv'"):
        onnxray.explain(resnet, np.zeros((1, 3, 16, 16), np.float32), layer="body.0.convv")


def test_inspect_shows_them_where_the_names_do_not(resnet: onnxray.Model, tmp_path: Path) -> None:
    from onnxray.cli.tasks.inspect import as_text, to_mapping

    report = onnxray.inspect(resnet)
    assert ("body.0.conv" in as_text(report, False)) == (resnet.layers[0].name == "node_Conv_0")
    assert to_mapping(report)["layers"][3]["module"] == "body.0.conv"
