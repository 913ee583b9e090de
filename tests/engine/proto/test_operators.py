"""What is known of operators by name: names that exist, and weights where ONNX says they are."""

from __future__ import annotations

import onnx
import pytest
from onnx import helper

from onnxray.engine.proto.operators import MICROSOFT, POINTWISE, POINTWISE_WITH_CHANNELS, weight_of, weight_place

STANDARD = {s.name: s for s in onnx.defs.get_all_schemas() if s.domain == ""}


def test_pointwise_operators_exist() -> None:
    names = {op for domain, op in POINTWISE | POINTWISE_WITH_CHANNELS if domain == ""}
    assert names <= set(STANDARD)
    assert not POINTWISE & POINTWISE_WITH_CHANNELS
    assert not names & {"Softmax", "LRN", "CumSum", "MatMul", "Concat"}


@pytest.mark.parametrize("op", ["Conv", "ConvInteger", "QLinearConv", "ConvTranspose", "LSTM", "GRU", "RNN"])
def test_weights_are_where_onnx_names_them(op: str) -> None:
    names = [i.name for i in STANDARD[op].inputs]
    place = weight_place(helper.make_node(op, names, ["y"]))
    assert place is not None
    assert names[place].lower() == "w"


def test_products_keep_them_in_the_second_factor() -> None:
    for op, place in (("MatMul", 1), ("Gemm", 1), ("MatMulInteger", 1), ("QLinearMatMul", 3)):
        assert weight_place(helper.make_node(op, ["a", "b"], ["y"])) == place
    assert weight_place(helper.make_node("QGemm", ["a"], ["y"], domain=MICROSOFT)) == 3


def test_what_is_no_layer_has_none() -> None:
    assert weight_of(helper.make_node("Conv", ["x", "w"], ["y"])) == "w"
    assert weight_of(helper.make_node("QLinearConv", ["x", "s", "z"], ["y"])) == ""
    assert weight_of(helper.make_node("Relu", ["x"], ["y"])) == ""
    assert weight_of(helper.make_node("Conv", ["x", "w"], ["y"], domain="own")) == ""
