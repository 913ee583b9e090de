"""Files of a newer IR version than ONNX Runtime reads."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import onnxray
from onnxray.engine.errors import OpsetError
from onnxray.engine.graph import ir_version
from onnxray.engine.inference.session import run
from onnxray.engine.runtime.ir_version import newest_ir_version


def network(kind: int = TensorProto.FLOAT, version: int = 14) -> onnx.ModelProto:
    """x (1, 2) -> Relu, next to a Cast to `kind` and back."""
    nodes = [
        helper.make_node("Cast", ["x"], ["c"], to=kind),
        helper.make_node("Cast", ["c"], ["d"], to=TensorProto.FLOAT),
        helper.make_node("Relu", ["x"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("x", "y", "d")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=version)


@pytest.fixture
def reads_up_to_13(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ir_version, "newest_ir_version", lambda: min(13, newest_ir_version()))


@pytest.mark.usefixtures("reads_up_to_13")
@pytest.mark.skipif(onnx.IR_VERSION < 14, reason="this onnx does not know IR version 14")
def test_a_newer_version_is_lowered_and_runs() -> None:
    """ONNX Runtime refused the file with a line of its own sources."""
    proto = network()
    with pytest.warns(UserWarning, match="IR version 14, .* reads up to .*: it is run as version") as said:
        model = onnxray.load(proto)
    assert len(said) == 1
    assert (model.proto.ir_version <= 13, proto.ir_version) == (True, 14)
    x = np.array([[1, -2]], np.float32)
    np.testing.assert_array_equal(run(model, {"x": x})["y"], [[1, 0]])
    made = onnxray.vjp(model, "y", ["x"])
    assert made.proto.ir_version <= 13


@pytest.mark.usefixtures("reads_up_to_13")
@pytest.mark.parametrize(
    ("place", "kind"),
    [("Cast", 27), ("Cast", 1 << 20), ("initializer", 27), ("value", 28), ("Constant", 28), ("input", None)],
)
def test_types_that_the_older_version_lacks_are_refused(place: str, kind: int | None) -> None:
    proto = network()
    if place == "Cast":
        proto.graph.node[0].attribute[0].i = kind or 0
    elif place == "initializer":
        proto.graph.initializer.add(name="w", data_type=kind, dims=[0])
    elif place == "value":
        proto.graph.value_info.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, [1, 2]))
        proto.graph.value_info[-1].type.tensor_type.elem_type = kind or 0
    elif place == "Constant":
        node = proto.graph.node.add(op_type="Constant", output=["k"])
        node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.data_type = kind or 0
    elif hasattr(proto.graph.input[0].type, "opaque_type"):
        proto.graph.input.add(name="o").type.opaque_type.name = "thing"
    else:
        pytest.skip("this onnx has no opaque types")
    with pytest.raises(OpsetError, match="which version .* does not have: upgrade onnxruntime") as refused:
        ir_version.lower_ir_version(proto)
    assert place.split()[0] in str(refused.value) or place in ("Cast", "Constant", "input")


def test_what_is_read_is_left_alone() -> None:
    proto = network(version=newest_ir_version())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ir_version.lower_ir_version(proto)
    assert proto.ir_version == newest_ir_version() >= 10


def test_a_version_whose_types_are_unknown_is_refused() -> None:
    with pytest.raises(OpsetError, match="IR version 99, .* upgrade onnxruntime, or write the file with ir_version="):
        ir_version.lower_ir_version(network(version=99))
