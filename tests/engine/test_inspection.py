"""What `inspect` reports."""

from __future__ import annotations

import onnx

from onnxray.engine.inspection import inspect


def test_the_answer_of_a_model_that_ends_in_maps_is_found() -> None:
    """ZipMap, as skl2onnx writes classifiers by default."""
    domain = "ai.onnx.ml"
    scores = {"classlabels_ints": [0, 1], "coefficients": [1.0, 2.0, -1.0, -2.0], "intercepts": [0.0, 0.0]}
    nodes = [
        onnx.helper.make_node(
            "LinearClassifier", ["x"], ["label", "p"], domain=domain, post_transform="SOFTMAX", **scores
        ),
        onnx.helper.make_node("ZipMap", ["p"], ["z"], domain=domain, classlabels_int64s=[0, 1]),
    ]
    kind = onnx.helper.make_map_type_proto(7, onnx.helper.make_tensor_type_proto(1, []))
    outputs = [
        onnx.helper.make_tensor_value_info("label", 7, ["N"]),
        onnx.helper.make_value_info("z", onnx.helper.make_sequence_type_proto(kind)),
    ]
    graph = onnx.helper.make_graph(nodes, "g", [onnx.helper.make_tensor_value_info("x", 1, ["N", 2])], outputs)
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid(domain, 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    answer = next(d for d in inspect(model).decisions if d.what == "answer")
    assert answer.value == "z (2 classes, probabilities)"
