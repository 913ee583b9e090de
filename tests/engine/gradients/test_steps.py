"""Masks as steep HardSigmoids: the same numbers as a Where, at the bounds and next to them, and when it stays a Where."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

import onnxray
from onnxray.engine.autodiff.vjp import vjp
from onnxray.engine.errors import Disconnected
from onnxray.engine.inspect.blocked_layout import blocked_values

TINY = np.finfo(np.float32).tiny


def near(*values: float) -> np.ndarray:
    """The values, their neighbours among the float32 numbers, and a few others."""
    exact = np.array([*values, 0.0, -0.0, TINY, -TINY, 1e-20, 3.0, -3.0, 1e30, -1e30], np.float32)
    around = [np.nextafter(exact, np.float32(s) * np.float32(np.inf), dtype=np.float32) for s in (1, -1)]
    return np.concatenate([exact, *(a[np.abs(a) >= TINY] for a in around)])


def gradient(parse, text: str, x: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, list[str]]:
    model = vjp(parse(f"g (float[{len(x)}] x) => (float[{len(x)}] y) {{ {text} }}"), "y", "x")
    session = onnxruntime.InferenceSession(model.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (dx,) = session.run(["grad/x"], {"x": x, "cotangent/y": dy})
    return dx, [node.op_type for node in model.graph.node if node.name.startswith("grad")]


BOUNDS = [(0.0, 6.0), (-1.0, 2.5), (0.1, 0.2), (-6.0, 0.0), (3.0, 3.0), (2.0, 1.0), (None, 6.0), (-0.3, None)]


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_clip_passes_what_lies_between_its_bounds(parse, low, high):
    x = near(*(b for b in (low, high) if b is not None))
    dy = np.random.default_rng(0).standard_normal(len(x)).astype(np.float32)
    constants = [f"{n} = Constant<value = float {{{b}}}>()" for n, b in (("l", low), ("h", high)) if b is not None]
    given = "x, l, h" if low is not None and high is not None else "x, l" if high is None else 'x, "", h'
    dx, kinds = gradient(parse, f"{' '.join(constants)} y = Clip({given})", x, dy)
    inside = np.full(len(x), True)
    if low is not None:
        inside &= x > np.float32(low)
    if high is not None:
        inside &= x < np.float32(high)
    if low is not None and high is not None and low > high:
        inside[:] = False
    np.testing.assert_array_equal(dx, np.where(inside, dy, 0))
    assert "Where" not in kinds


def test_relu_passes_every_positive_normal_number(parse):
    x = near()
    dx, kinds = gradient(parse, "y = Relu(x)", x, np.ones_like(x))
    np.testing.assert_array_equal(dx, x > 0)
    assert kinds == ["HardSigmoid", "Mul"]


@pytest.mark.parametrize("bound", [1e-30, 1e20])
def test_bounds_for_which_float32_is_too_narrow_stay_comparisons(parse, bound):
    x = near(bound)
    dx, kinds = gradient(
        parse, f"h = Constant<value = float {{{bound}}}>() z = Neg(x) y = Clip(z, h)", x, np.ones_like(x)
    )
    np.testing.assert_array_equal(dx, -(-x > np.float32(bound)).astype(np.float32))
    assert "Where" in kinds


def test_infinities_do_not_get_through(parse):
    """The slope of a square root at 0 is infinite: the rectifier before it lets nothing of that through."""
    x = np.array([-1.0, 0.0, 4.0], np.float32)
    dx, kinds = gradient(parse, "r = Relu(x) y = Sqrt(r)", x, np.ones_like(x))
    np.testing.assert_array_equal(dx, [0, 0, 0.25])
    assert "Where" in kinds


SPOILED = {
    "a product of matrices": "r = Relu(x) z = MatMul(r, w) y = Sqrt(z)",
    "a norm by hand": "r = Relu(x) z = MatMul(r, w) q = Mul(z, z) s = ReduceSum<keepdims = 0>(q, one) y = Sqrt(s)",
    "a reciprocal": "r = Relu(x) y = Reciprocal(r)",
    "a reciprocal behind a product": "r = Relu(x) z = MatMul(r, w) y = Reciprocal(z)",
    "a quotient by next to nothing": "d = Constant<value = float {1e-39}>() r = Relu(x) y = Div(r, d)",
    "an infinite constant": "r = Relu(x) m = Mul(r, i) y = Where(k, m, x)",
    "an exponential": "r = Relu(x) n = Neg(r) h = Constant<value = float {100.0}>() d = Add(n, h) y = Exp(d)",
}


@pytest.mark.parametrize("text", SPOILED.values(), ids=SPOILED)
def test_rows_that_are_masked_stay_0_whatever_is_made_of_them(parse, text):
    """Of a row without a positive value nothing comes back, though slopes at 0 are infinite."""
    shape = "float[2]" if "ReduceSum" in text else "float[2, 1]" if "MatMul" in text else "float[2, 2]"
    model = parse(
        f"g (float[2, 2] x) => ({shape} y) <float[2, 1] w = {{1, 2}}, int64[1] one = {{1}}, bool[2] k = {{1, 0}}> {{ {text} }}"
    )
    infinite = onnx.numpy_helper.from_array(np.array([1, np.inf], np.float32), "i")
    model.graph.initializer.extend([infinite] * ("Where" in text))
    gradient_of = vjp(model, "y", "x")
    session = onnxruntime.InferenceSession(gradient_of.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    ones = np.ones(session.get_outputs()[0].shape, np.float32)
    (dx,) = session.run(["grad/x"], {"x": np.array([[-1, -2], [1, 2]], np.float32), "cotangent/y": ones})
    np.testing.assert_array_equal(dx[0], [0, 1] if "Where" in text else 0)
    assert "Where" in [node.op_type for node in gradient_of.graph.node]


def test_quotients_by_constants_and_normalisation_are_no_reason_for_a_comparison(parse):
    """Inputs that are normalised in the graph, means that are quotients."""
    text = "d = Constant<value = float {0.25}>() n = Div(x, d) r = Relu(n) q = LayerNormalization(r, w) s = Relu(q) y = Softmax(s)"
    model = parse(f"g (float[2, 2] x) => (float[2, 2] y) <float[2] w = {{1, 2}}> {{ {text} }}")
    assert "HardSigmoid" in [node.op_type for node in vjp(model, "s", "x").graph.node]


def test_hundreds_of_rectifiers(parse):
    """No recursion along the way back."""
    steps = " ".join(f"a{i} = Add(r{i}, x) r{i + 1} = Relu(a{i})" for i in range(1000))
    model = vjp(parse(f"g (float[2] x) => (float[2] y) {{ r0 = Relu(x) {steps} y = Identity(r1000) }}"), "y", "x")
    session = onnxruntime.InferenceSession(model.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (dx,) = session.run(["grad/x"], {"x": np.array([-1, 0.5], np.float32), "cotangent/y": np.ones(2, np.float32)})
    np.testing.assert_array_equal(dx, [0, 1001])


def test_a_slope_of_the_model_that_is_steep_stays_one(parse):
    x = np.array([0.0, 2e-31, -1.0, 1.0], np.float32)
    dx, _ = gradient(parse, "y = HardSigmoid<alpha = 1.5e30, beta = 0.1>(x)", x, np.ones_like(x))
    np.testing.assert_allclose(dx, [1.5e30, 1.5e30, 0, 0], rtol=1e-6)


def test_what_ends_at_a_mask_is_said(parse):
    once = vjp(parse("g (float[2] x) => (float[2] y) { y = Relu(x) }"), "y", "x")
    with pytest.raises(Disconnected, match="mask of a rectifier, whose slope is 0"):
        vjp(once, "grad/x", "x")


def test_masks_have_no_slope(parse):
    """The second derivative of relu(x)^3 is 6 relu(x); nothing of it comes from the mask."""
    x = near()[np.abs(near()) < 1e10]
    once = vjp(
        parse(f"g (float[{len(x)}] x) => (float[{len(x)}] y) {{ r = Relu(x) s = Mul(r, r) y = Mul(s, r) }}"), "y", "x"
    )
    twice = vjp(once, "grad/x", "x")
    assert not [t.name for t in twice.graph.initializer if np.abs(onnx.numpy_helper.to_array(t)).max() > 1e20]
    session = onnxruntime.InferenceSession(twice.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    ones = np.ones_like(x)
    seeds = {i.name: ones for i in session.get_inputs()}
    (result,) = session.run([twice.outputs[-1].name], {**seeds, "x": x})
    np.testing.assert_allclose(result, 6 * np.maximum(x, 0), rtol=1e-6, atol=1e-37)


INVERTED = """
g (float[batch, 16, 16, 16] x) => (float[batch, 16] y) <float[32, 16, 1, 1] a, float[32, 1, 3, 3] b, float[16, 32, 1, 1] c>
{
    zero = Constant<value = float {0.0}>()
    six = Constant<value = float {6.0}>()
    wide = Conv(x, a)
    one = Clip(wide, zero, six)
    deep = Conv<group = 32, strides = [2, 2], pads = [1, 1, 1, 1], kernel_shape = [3, 3]>(one, b)
    two = Clip(deep, zero, six)
    thin = Conv(two, c)
    rectified = Relu(thin)
    mean = GlobalAveragePool(rectified)
    y = Flatten(mean)
}
"""


def test_masks_keep_the_blocked_layout_for_any_batch(parse, tmp_path):
    """Between the convolutions of an inverted residual block nothing is laid out anew but for the strided step."""
    proto = parse(INVERTED)
    rng = np.random.default_rng(0)
    for name, shape in (("a", (32, 16, 1, 1)), ("b", (32, 1, 3, 3)), ("c", (16, 32, 1, 1))):
        proto.graph.initializer.append(
            onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        )
    model = vjp(proto, "y", "x")
    for written in (model.untyped.SerializeToString(), model.proto.SerializeToString()):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        onnxruntime.InferenceSession(written, options, providers=["CPUExecutionProvider"])
        optimised = onnx.load(options.optimized_model_filepath)
        if not blocked_values(onnxray.load(optimised)):
            pytest.skip("this processor has no blocked layout")
        back = [n for n in optimised.graph.node if n.op_type == "ReorderOutput"]
        # The answer, the gradient, the cotangent that is spread out for the strided convolution.
        assert len(back) <= 3, [n.input[0] for n in back]


def test_no_attribute_is_0(parse):
    """OpenVINO's provider (onnxruntime-openvino 1.24.1) takes a beta of 0 for the default, 0.5: gradients were wrong."""
    model = vjp(parse("g (float[4] x) => (float[4] y) { y = Relu(x) }"), "y", "x")
    (step,) = [node for node in model.graph.node if node.op_type == "HardSigmoid"]
    assert all(attribute.f != 0 for attribute in step.attribute)
