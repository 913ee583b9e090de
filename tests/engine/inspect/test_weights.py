"""Weights in one form: against the numbers they were made of, and against what the layer computes with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from onnxray.engine.errors import MethodError
from onnxray.engine.inspect.layers import find_layer
from onnxray.engine.inspect.weights import weighted_layers, weights
from onnxray.engine.load import load

RNG = np.random.default_rng(3)


def array(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def only(model: onnx.ModelProto, name: str = "y") -> Any:
    loaded = load(model)
    return weights(loaded, find_layer(loaded, name))


def test_convolution(parse: Callable[..., onnx.ModelProto]) -> None:
    w = array(4, 2, 3, 5)
    found = only(parse("g (float[1, 4, 8, 8] x) => (float[1, 4, a, b] y) { y = Conv <group = 2> (x, w) }", w=w))
    np.testing.assert_array_equal(found.values, w)
    assert (found.spatial, found.groups, found.kernel, found.name, found.note) == (2, 2, (3, 5), "w", "")
    np.testing.assert_allclose(found.norms, [np.linalg.norm(k) for k in w], rtol=1e-6)


def test_transposed_convolution_by_groups(parse: Callable[..., onnx.ModelProto]) -> None:
    w = array(4, 3, 2, 2)  # 4 inputs in 2 groups, 3 outputs each
    found = only(
        parse("g (float[1, 4, 5, 5] x) => (float[1, 6, a, b] y) { y = ConvTranspose <group = 2> (x, w) }", w=w)
    )
    assert found.values.shape == (6, 2, 2, 2)
    for group in range(2):
        for out in range(3):
            for source in range(2):
                np.testing.assert_array_equal(found.values[3 * group + out, source], w[2 * group + source, out])


@pytest.mark.parametrize(
    ("node", "shape", "transposed"),
    [
        ("Gemm (x, w)", (6, 3), True),
        ("Gemm <transB = 1> (x, w)", (3, 6), False),
        ("MatMul (x, w)", (6, 3), True),
    ],
)
def test_dense_layers_are_out_by_in(
    parse: Callable[..., onnx.ModelProto], node: str, shape: tuple[int, ...], transposed: bool
) -> None:
    w = array(*shape)
    found = only(parse(f"g (float[N, 6] x) => (float[N, 3] y) {{ y = {node} }}", w=w))
    np.testing.assert_array_equal(found.values, w.T if transposed else w)
    assert found.spatial == 0


def test_weights_on_the_left(parse: Callable[..., onnx.ModelProto]) -> None:
    w = array(3, 6)
    found = only(parse("g (float[6, 2] x) => (float[3, 2] y) { y = MatMul (w, x) }", w=w))
    np.testing.assert_array_equal(found.values, w)


def test_dequantised_weights(parse: Callable[..., onnx.ModelProto]) -> None:
    q = RNG.integers(-127, 128, (4, 2, 3, 3)).astype(np.int8)
    scale = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    found = only(
        parse(
            """
            g (float[1, 2, 8, 8] x) => (float[1, 4, a, b] y)
            { w = DequantizeLinear <axis = 0> (q, s)  y = Conv (x, w) }
            """,
            q=q,
            s=scale,
        )
    )
    np.testing.assert_allclose(found.values, q * scale[:, None, None, None], rtol=1e-6)


def test_quantised_operators(parse: Callable[..., onnx.ModelProto]) -> None:
    q = RNG.integers(0, 256, (3, 2, 2, 2)).astype(np.uint8)
    scale, zero = np.array([0.5, 0.25, 2.0], np.float32), np.array([128, 0, 7], np.uint8)
    one, nought = np.float32(1), np.uint8(0)
    found = only(
        parse(
            """
            g (uint8[1, 2, 8, 8] x) => (uint8[1, 3, a, b] y)
            { y = QLinearConv (x, s, z, q, ws, wz, s, z) }
            """,
            q=q,
            ws=scale,
            wz=zero,
            s=np.asarray(one),
            z=np.asarray(nought),
        )
    )
    wanted = (q.astype(np.float32) - zero[:, None, None, None]) * scale[:, None, None, None]
    np.testing.assert_allclose(found.values, wanted, rtol=1e-6)
    assert found.note == "dequantised from uint8"
    q2 = RNG.integers(-5, 6, (4, 3)).astype(np.int8)
    found = only(
        parse(
            "g (uint8[N, 4] x) => (int32[N, 3] y) { y = MatMulInteger (x, q, z, wz) }",
            q=q2,
            z=np.asarray(nought),
            wz=np.array([1, -2, 0], np.int8),
        )
    )
    np.testing.assert_array_equal(found.values, (q2.astype(np.float32) - [1, -2, 0]).T)


def test_a_layer_without_weights_names_one_that_has(parse: Callable[..., onnx.ModelProto]) -> None:
    model = load(
        parse(
            "g (float[N, 6] x) => (float[N, 3] y) { a = MatMul (x, w)  b = Relu (a)  y = MatMul (b, v) }",
            w=array(6, 6),
            v=array(6, 3),
        )
    )
    with pytest.raises(MethodError, match=r"'b' \(Relu\) has no stored weights: take 'a' \(MatMul\); 2 layers"):
        weights(model, find_layer(model, "b"))
    assert [layer.name for layer in weighted_layers(model)] == ["a", "y"]


def test_products_of_two_inputs_have_none(parse: Callable[..., onnx.ModelProto]) -> None:
    model = load(parse("g (float[2, 3] x, float[3, 2] z) => (float[2, 2] y) { y = MatMul (x, z) }"))
    assert weighted_layers(model) == []
    with pytest.raises(MethodError, match="no layer of the model has stored weights"):
        weights(model, model.layers[0])


def test_weights_that_are_listed_as_inputs_too(parse: Callable[..., onnx.ModelProto]) -> None:
    w = array(3, 6)
    model = parse("g (float[6, 2] x, float[3, 6] w) => (float[3, 2] y) { y = MatMul (w, x) }", w=w)
    np.testing.assert_array_equal(only(model).values, w)
