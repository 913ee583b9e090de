"""Sequences of known members: the same values without a sequence, and gradients; the others stay as they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose
from onnxruntime import InferenceSession

import onnxray
from onnxray.engine.inference.session import Session

Parse = Callable[..., onnx.ModelProto]
NUMBERS = {"i0": 0, "i1": 1, "im1": -1, "two": 2, "parts": [1, 3, 2], "ones": [1, 1]}
KNOWN = {
    "chunks": "s = SplitToSequence <axis = 1> (x, two) a = SequenceAt(s, i1) b = SequenceAt(s, im1) y = Mul(a, b)",
    "parts": "s = SplitToSequence <axis = -1> (x, parts) a = SequenceAt(s, i1) y = Mul(a, a)",
    "unbound": "s = SplitToSequence <axis = 0, keepdims = 0> (x) a = SequenceAt(s, i0) y = Mul(a, a)",
    "single": "s = SplitToSequence <axis = 1> (x) a = SequenceAt(s, i1) b = ConcatFromSequence <axis = 1> (s) y = Mul(a, b)",
    "constructed": "q = Mul(x, x) s = SequenceConstruct(x, q) y = ConcatFromSequence <axis = 1, new_axis = 1> (s)",
    "inserted": """e = SequenceEmpty() f = SequenceInsert(e, x) q = Mul(x, x) s = SequenceInsert(f, q, i0)
                   a = SequenceAt(s, i0) y = Mul(a, x)""",
    "length": """s = SplitToSequence <axis = 1> (x, two) n = SequenceLength(s) f = Cast <to = 1> (n) q = Mul(x, x)
                 y = Mul(q, f)""",
}  # fmt: skip
OPEN = {
    "computed place": """m = ReduceMax <keepdims = 0> (x) z = Sub(m, m) c = Cast <to = 7> (z)
                         s = SplitToSequence <axis = 1> (x, two) y = SequenceAt(s, c)""",
    "still read": """s = SplitToSequence <axis = 1> (x, two) m = ReduceMax <keepdims = 0> (x) z = Sub(m, m)
                     c = Cast <to = 7> (z) a = SequenceAt(s, c) b = SequenceAt(s, i0) y = Add(a, b)""",
}


def _model(parse: Parse, body: str, opset: int = 17) -> onnx.ModelProto:
    numbers = {n: np.array(v, np.int64) for n, v in NUMBERS.items() if any(f"{n}{end}" in body for end in "),")}
    return parse(f"m (float[2, 6] x) => (float y) {{ {body} }}".replace("float y", "float[] y"), opset=opset, **numbers)


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("name", KNOWN)
def test_known_members(parse: Parse, name: str, opset: int) -> None:
    proto = _model(parse, KNOWN[name], opset)
    del proto.graph.output[0].type.tensor_type.shape.dim[:]
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    x = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)
    (before,) = InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})
    model = onnxray.load(proto)
    assert not any("Sequence" in node.op_type for node in model.graph.node)
    assert_allclose(onnxray.activations(model, x, "y")["y"], before, rtol=1e-6)
    dy = np.random.default_rng(1).standard_normal(before.shape).astype(np.float32)
    gradient = Session(onnxray.vjp(model, "y", "x"))
    found = gradient.run({"x": x, "cotangent/y": dy})["grad/x"].astype(np.float64)
    direction = np.random.default_rng(2).standard_normal(x.shape)
    high, low = (
        onnxray.activations(model, (x + sign * 1e-2 * direction).astype(np.float32), "y")["y"] for sign in (1, -1)
    )
    assert_allclose(
        ((high - low).astype(np.float64) * dy).sum() / 2e-2, (found * direction).sum(), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("name", OPEN)
def test_members_that_a_run_decides_stay(parse: Parse, name: str) -> None:
    proto = _model(parse, OPEN[name])
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    x = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)
    (before,) = InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})
    model = onnxray.load(proto)
    assert "SequenceAt" in {node.op_type for node in model.graph.node}
    assert_allclose(onnxray.activations(model, x, "y")["y"], before, rtol=1e-6)
