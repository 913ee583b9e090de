"""The value that holds what token ids stand for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.inspect.embedding import embedding_of

TABLE = np.ones((9, 4), np.float32)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = Gather (table, ids)", "y"),
        # TensorFlow's wrapping of negative ids.
        ("a = Add (ids, n)  l = Less (ids, zero)  i = Where (l, a, ids)  e = Gather (table, i)  y = Tanh (e)", "e"),
        ("y = OneHot (ids, nine, off_on)", "y"),
        # As JAX writes it.
        ("a = Unsqueeze (ids, axes)  s = Expand (a, wide)  q = Equal (s, row)  y = Cast <to = 1> (q)", "y"),
        ("q = Equal (ids, zero)  y = Cast <to = 1> (q)", None),
        ("f = Cast <to = 1> (ids)  y = Unsqueeze (f, axes)", None),
        ("i = Shape (ids)  y = Gather (table, i)", None),
    ],
)
def test_rows_of_a_table(body: str, expected: str | None, parse: Callable[..., onnx.ModelProto]) -> None:
    arrays = {"table": TABLE, "n": np.int64(9), "zero": np.int64(0), "axes": np.int64([2]), "nine": np.int64([9])}
    arrays |= {"off_on": np.float32([0, 1]), "wide": np.int64([1, 1, 9]), "row": np.arange(9).reshape(1, 1, 9)}
    arrays = {name: array for name, array in arrays.items() if name in body}
    proto = parse(f"m (int64[N, T] ids) => (float[N, T, D] y) {{ {body} }}", **arrays)
    assert embedding_of(onnxray.load(proto), "ids") == expected


def test_the_fused_operator() -> None:
    node = onnx.helper.make_node(
        "EmbedLayerNormalization", ["ids", "", "words", "places", "", "g", "b"], ["e", ""], domain="com.microsoft"
    )
    info = onnx.helper.make_tensor_value_info
    arrays = {"words": TABLE, "places": TABLE, "g": TABLE[0], "b": TABLE[0]}
    graph = onnx.helper.make_graph(
        [node],
        "m",
        [info("ids", onnx.TensorProto.INT32, ["N", 3])],
        [info("e", onnx.TensorProto.FLOAT, ["N", 3, 4])],
        [onnx.numpy_helper.from_array(a, n) for n, a in arrays.items()],
    )
    imports = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    assert embedding_of(onnxray.load(onnx.helper.make_model(graph, opset_imports=imports, ir_version=8)), "ids") == "e"


def test_models_of_text(zoo: Path) -> None:
    for case, table in (("k_gru_text_op13", 12), ("hf_distilbert_op17", 32), ("t_textcnn_op13", 16)):
        model = onnxray.load(zoo / "frameworks" / case / "model.onnx")
        found = embedding_of(model, model.inputs[0].name)
        assert found is not None
        assert (model.value(found).shape or ())[-1] == table
