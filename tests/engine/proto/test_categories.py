"""Words for string inputs, and what a trial run learns with them."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import onnxray
from onnxray.engine.inspect.concrete_shapes import concrete_shapes
from onnxray.engine.proto.categories import category


def _encoder(name, words, **more):
    return helper.make_node("OneHotEncoder", [name], [f"{name}_hot"], domain="ai.onnx.ml", cats_strings=words, **more)


def test_a_word_that_the_encoder_knows():
    nodes = [helper.make_node("Identity", ["x"], ["c"]), _encoder("c", ["red", "blue"])]
    assert category(nodes, "x") == "red"
    assert category(nodes, "other") == "a"


def test_a_word_that_all_encoders_of_a_column_know():
    assert category([_encoder("x", ["red", "blue"]), _encoder("x", ["green", "blue"])], "x") == "blue"


def test_sizes_behind_an_encoder_that_refuses_other_words_are_found():
    """The size of y depends on a number that only a run knows."""
    nodes = [
        _encoder("x", ["red", "blue"], zeros=0),
        helper.make_node("ReduceSum", ["x_hot"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["n"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["n", "one"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["y"]),
    ]
    infos = (
        [helper.make_tensor_value_info("x", TensorProto.STRING, [1, 1])],
        [helper.make_tensor_value_info("y", 1, None)],
    )
    graph = helper.make_graph(nodes, "g", *infos, [numpy_helper.from_array(np.array([1]), "one")])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = onnxray.load(helper.make_model(graph, opset_imports=opsets, ir_version=8))
    assert concrete_shapes(model)["y"] == (1,)
