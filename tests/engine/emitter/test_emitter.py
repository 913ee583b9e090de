"""What the emitter gives back, and how it takes numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from onnxray.engine.emitter.emitter import Emitter
from onnxray.engine.emitter.graph_types import GraphTypes
from onnxray.engine.load import load


@pytest.fixture
def op(parse: Callable[..., onnx.ModelProto]) -> Emitter:
    model = load(parse("g (double[6] x) => (double[6] y) { y = Relu(x) }"))
    return Emitter(GraphTypes(model, list(model.graph.node), model.opset))


def test_an_operator_gives_one_name_and_several_outputs_a_list(op: Emitter) -> None:
    name = op.Neg("x")
    assert (name, op.shape(name)) == ("grad/Neg_0", (6,))
    parts = op.emit_several("Split", "x", [2, 4], outputs=2, axis=0)
    assert [op.shape(part) for part in parts] == [(2,), (4,)]
    assert op.emit_several("Split", "x", [2, 4], outputs=2, axis=0) == parts
    assert len(op.emit_several("Split", "x", outputs=1)) == 1
    assert [node.op_type for node in op.nodes] == ["Neg", "Split", "Split"]


def test_outputs_are_no_attribute(op: Emitter) -> None:
    with pytest.raises(TypeError, match=r"outputs=2.*emit_several\('Split', \.\.\., outputs=2\)"):
        op.Split("x", outputs=2)


def test_numbers_take_the_type_of_their_sibling_or_of_like(op: Emitter) -> None:
    for number in (op.producer(op.Add("x", 1)).input[1], op.const(1, like="x")):
        assert op.constant_value(number).dtype == np.float64
    assert op.constant_value(op.const(1)).dtype == np.int64
