"""Which nodes have no kernel: by tables made up here, and by the one of the CUDA provider."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.graph.model import Model
from onnxray.engine.inference import row_graphs
from onnxray.engine.inspect.kernels import Kernel, cuda_table, parse, without_kernel

Parse = Callable[..., onnx.ModelProto]


def names(model: Model, table: str | None = None) -> list[tuple[str, str]]:
    return [(u.op, u.reason) for u in without_kernel(model, None if table is None else parse(table))]


def test_a_table_is_read() -> None:
    table = parse("Add 7-12:fd 13+:f\nNot 1+:b")
    assert table["Add"] == [Kernel(7, 12, "fd"), Kernel(13, None, "f")]
    assert table["Not"] == [Kernel(1, None, "b")]


def test_nodes_without_a_kernel_are_found_by_a_made_up_table(parse: Parse) -> None:
    model = onnxray.load(
        parse("g (float[2] x, bool[2] c) => (float[2] y) { a = Tan(x)  b = Relu(a)  n = Neg(b)  y = Where(c, n, x) }")
    )
    assert names(model, "Tan 7+:f\nRelu 14+:f\nNeg 13+:f\nWhere 16+:f") == []
    assert names(model, "Tan 7+:h\nRelu 14+:*\nNeg 13+:fd") == [
        ("Tan", "no kernel for float32"),
        ("Where", "no kernel of any version"),
    ]
    # Of Where the values decide, not the condition.
    assert names(model, "Tan 7+:f\nRelu 14+:f\nNeg 13+:f\nWhere 16+:b") == [("Where", "no kernel for float32")]


def test_a_kernel_without_an_end_is_for_one_form_alone(parse: Parse) -> None:
    """As ONNX Runtime decides it: Relu of the operator set 17 has the form of 14."""
    model = onnxray.load(parse("g (float[2] x) => (float[2] y) { y = Relu(x) }", opset=17))
    assert names(model, "Relu 14+:f") == []
    assert names(model, "Relu 13-14:f") == []
    for table in ("Relu 13+:f", "Relu 6-13:f", "Relu 15+:f"):
        assert names(model, table) == [("Relu", "no kernel for its form of operator set 14")]


def test_what_is_computed_from_constants_alone_needs_no_kernel(parse: Parse) -> None:
    model = onnxray.load(
        parse("g (float[2] x) => (float[2] y) { t = Tan(w)  y = Add(x, t) }", w=np.ones(2, np.float32))
    )
    assert names(model, "Add 14+:f") == []


def test_the_gradients_that_the_page_names(parse: Parse) -> None:
    """docs/gpu.md: sizes multiplied as integers, and the hyperbolic functions, found again without a card."""
    mean = onnxray.load(parse("g (float[N,M] x) => (float[1,1] y) { y = ReduceMean(x) }", opset=17))
    assert set(names(onnxray.vjp(mean, of="y", wrt="x"))) == {("ReduceProd", "no kernel for int64")}
    cosh = onnxray.load(parse("g (float[2] x) => (float[2] y) { y = Cosh(x) }", opset=17))
    assert names(onnxray.vjp(cosh, of="y", wrt="x")) == [(op, "no kernel of any version") for op in ("Cosh", "Sinh")]


def test_the_gradient_of_an_image_classifier_stays_on_the_card(cnn: onnx.ModelProto) -> None:
    """But for sizes, which are no data."""
    found = names(onnxray.vjp(onnxray.load(cnn), of="logits", wrt="image"))
    assert set(found) <= {("ReduceProd", "no kernel for int64")}


FLOAT, HALF, BYTE = np.dtype(np.float32), np.dtype(np.float16), np.dtype(np.uint8)
X = np.zeros((3, 4, 4), np.float32)
PLANAR = 3, 4, 4, 1


@pytest.mark.parametrize(
    "graph",
    [
        row_graphs.taken(X, FLOAT, lambda n: n),
        row_graphs.interpolated(X[None].astype(HALF), X[None], FLOAT, lambda n: (n, n.astype(np.float32))),
        row_graphs.noisy(X[None], np.ones((1, 1, 1, 1), np.float32), HALF, lambda n: (n, n, X[n])),
        row_graphs.masked(X, PLANAR, X, lambda n: (X[n], np.zeros((len(n), 2), np.int64)), (8, 8)),
        row_graphs.masked(X.astype(BYTE), PLANAR, None, lambda n: (X[n], None)),
        row_graphs.occluded(X, PLANAR, X, lambda n: np.zeros((len(n), 4), np.int64), np.zeros((4, 4), np.int32), np.int32),
        row_graphs.coalitions(X, PLANAR, X, np.zeros((4, 4), np.int32), lambda n: np.ones((len(n), 1), bool)),
        row_graphs.coalitions(X, PLANAR, X, np.zeros((4, 4), np.int32), lambda n: np.ones((len(n), 1)), mixed=True),
        row_graphs.parts_of_value(X[None], lambda n: np.ones((len(n), 3, 1, 1), bool), always=X[None] > 0),
    ],
)  # fmt: skip
def test_the_graphs_that_make_rows_have_a_kernel_for_every_node(graph: row_graphs.RowGraph) -> None:
    assert names(typed(graph.model)) == []


def test_sums_have_a_kernel_for_every_node() -> None:
    assert names(typed(row_graphs.sums(True))) == []


def typed(model: Model) -> Model:
    """With the types of the values inside: shapes are inferred."""
    found = Model(model.untyped, inferred=False)
    inner = {o for node in found.graph.node for o in node.output}
    assert all(found.values[name].dtype is not None for name in inner), "a type is not known"
    return found


def test_the_table_knows_its_operators() -> None:
    for op, kernels in cuda_table().items():
        assert onnx.defs.has(op), op
        assert kernels, op
