"""Straight-through gradients of QuantizeLinear and DequantizeLinear, against the estimator written in NumPy."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from onnxray.engine.autodiff.vjp import vjp
from onnxray.tests.rounding import ROUNDING, apart


def run(proto, feeds, names):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(
        names, feeds
    )


def pair(parse, shape, scale, zero, **attributes):
    """x -> QuantizeLinear -> DequantizeLinear -> y"""
    given = ", ".join(f"{k} = {v}" for k, v in attributes.items())
    given = f"<{given}>" if given else ""
    dims = ",".join(map(str, shape))
    nodes = f"q = QuantizeLinear{given}(x, s, z) y = DequantizeLinear{given}(q, s, z)"
    return parse(f"g (float[{dims}] x) => (float[{dims}] y) {{ {nodes} }}", opset=21, ir=10, s=scale, z=zero)


@pytest.mark.parametrize(
    ("dtype", "zero"), [(np.uint8, 0), (np.uint8, 100), (np.int8, 0), (np.int8, -128), (np.int16, 7), (np.uint16, 9)]
)
def test_passes_within_the_range_and_nothing_beyond(parse, dtype, zero):
    limits = np.iinfo(dtype)
    scale = np.float32(0.037)
    edges = (np.array([limits.min, limits.max]) - zero) * scale
    around = (np.arange(-5, 5, 0.5) + 0.13) * scale
    x = np.concatenate([edges[0] + around, edges[1] + around]).astype(np.float32)
    model = pair(parse, x.shape, scale.reshape(()), np.array(zero, dtype))
    dy = np.random.default_rng(0).standard_normal(x.shape).astype(np.float32)
    grad = vjp(model, "y", "x").proto
    onnx.checker.check_model(grad, full_check=True)
    (dx,) = run(grad, {"x": x, "cotangent/y": dy}, ["grad/x"])
    rounded = np.rint(x.astype(np.float64) / scale) + zero
    inside = (rounded >= limits.min) & (rounded <= limits.max)
    assert 0 < inside.sum() < inside.size
    np.testing.assert_allclose(dx, np.where(inside, dy, 0), rtol=1e-5)


def test_a_scale_per_channel(parse):
    scale = np.array([0.01, 0.1, 1.0], np.float32)
    model = pair(parse, (2, 3, 4), scale, np.array([0, 10, -10], np.int8), axis=1)
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((2, 3, 4)) * 2).astype(np.float32)
    dy = rng.standard_normal(x.shape).astype(np.float32)
    (dx,) = run(vjp(model, "y", "x").proto, {"x": x, "cotangent/y": dy}, ["grad/x"])
    rounded = np.rint(x / scale[:, None]) + np.array([0, 10, -10])[:, None]
    np.testing.assert_allclose(dx, np.where(np.abs(rounded + 0.5) < 128, dy, 0), rtol=1e-5)
    assert (dx == 0).any()
    assert (dx != 0).any()


def test_a_scale_per_block(parse):
    scale = np.array([[0.01, 1.0], [0.1, 0.5]], np.float32)
    model = pair(parse, (2, 6), scale, np.zeros((2, 2), np.int8), axis=1, block_size=3)
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((2, 6)).astype(np.float32) * 2 for _ in range(2))
    (dx,) = run(vjp(model, "y", "x").proto, {"x": x, "cotangent/y": dy}, ["grad/x"])
    np.testing.assert_allclose(dx, np.where(np.abs(np.rint(x / scale.repeat(3, 1)) + 0.5) < 128, dy, 0), rtol=1e-5)


def test_what_moves_quantised_values_is_passed(parse):
    """Integers between the pair: a pool, a transposition."""
    model = parse(
        """g (float[1,2,4,4] x) => (float[1,2,2,2] y) {
             q = QuantizeLinear(x, s, z) p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(q)
             t = Transpose<perm = [0, 1, 3, 2]>(p) y = DequantizeLinear(t, s, z) }""",
        opset=18,
        s=np.float32(0.05),
        z=np.uint8(128),
    )
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((1, 2, 4, 4)).astype(np.float32), rng.standard_normal((1, 2, 2, 2)).astype(np.float32)
    (dx,) = run(vjp(model, "y", "x").proto, {"x": x, "cotangent/y": dy}, ["grad/x"])
    blocks = dx.reshape(1, 2, 2, 2, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(1, 2, 2, 2, 4)
    np.testing.assert_allclose(blocks.sum(-1), dy.transpose(0, 1, 3, 2), rtol=1e-5)
    assert ((blocks != 0).sum(-1) == 1).all()


def test_weights_kept_as_integers(parse):
    """By an input: through the de-quantised weights. By their scale: the share of the weights in it."""
    rng = np.random.default_rng(0)
    q, scale = rng.integers(-100, 100, (3, 4)).astype(np.int8), np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    model = parse(
        "g (float[2,3] x) => (float[2,4] y) { w = DequantizeLinear<axis = 1>(q, s) y = MatMul(x, w) }",
        opset=18,
        q=q,
        s=scale,
    )
    x, dy = rng.standard_normal((2, 3)).astype(np.float32), rng.standard_normal((2, 4)).astype(np.float32)
    dx, ds = run(vjp(model, "y", ["x", "s"]).proto, {"x": x, "cotangent/y": dy}, ["grad/x", "grad/s"])
    assert apart(dx, dy @ (q * scale).T) <= ROUNDING
    assert apart(ds, ((x.T @ dy) * q).sum(0)) <= ROUNDING
