"""Layers' answers as maps, tables and vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from onnxray.cli.figures.layer_view import (
    around_activation,
    block_layers,
    statistics_of,
    strongest,
    token_grid,
    view_of,
    walk_layers,
)
from onnxray.engine.activations import activations
from onnxray.engine.graph.model import Model
from onnxray.engine.inspect.layers import find_layer
from onnxray.engine.load import load

Parse = Callable[..., onnx.ModelProto]


def seen(model: Model, name: str, *shape: int):  # type: ignore[no-untyped-def]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    value = activations(model, x, name)[name]
    return view_of(model, find_layer(model, name), value), value


def test_maps(cnn: onnx.ModelProto) -> None:
    view, value = seen(load(cnn), "features", 1, 3, 16, 16)
    assert (view.kind, view.item, view.on_image) == ("maps", "channel", True)
    np.testing.assert_array_equal(view.values, value[0])


def test_maps_of_one_cell_are_a_vector(cnn: onnx.ModelProto) -> None:
    view, value = seen(load(cnn), "gap", 1, 3, 16, 16)
    assert (view.kind, view.item) == ("vector", "channel")
    np.testing.assert_array_equal(view.values, value.ravel())


def test_channels_last(parse: Parse) -> None:
    model = load(
        parse(
            """
            g (float[N, 6, 8, 3] x) => (float[N, 6, 8, 4] y)
            {
              moved = Transpose <perm = [0, 3, 1, 2]> (x)
              maps = Conv <kernel_shape = [1, 1]> (moved, w)
              y = Transpose <perm = [0, 2, 3, 1]> (maps)
            }
            """,
            w=np.ones((4, 3, 1, 1), np.float32) * np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1),
        )
    )
    view, value = seen(model, "y", 1, 6, 8, 3)
    assert view.values.shape == (4, 6, 8)
    np.testing.assert_array_equal(view.values, value[0].transpose(2, 0, 1))


def test_recurrent_layers_are_time_by_units(parse: Parse) -> None:
    rng = np.random.default_rng(0)
    model = load(
        parse(
            """
            g (float[T, 1, 5] x) => (float[T, 2, 1, 3] y)
            { y = GRU <hidden_size = 3, direction = "bidirectional"> (x, w, r) }
            """,
            w=rng.standard_normal((2, 9, 5)).astype(np.float32),
            r=rng.standard_normal((2, 9, 3)).astype(np.float32),
        )
    )
    view, value = seen(model, "y", 7, 1, 5)
    assert (view.kind, view.rows) == ("table", "time step")
    assert view.values.shape == (7, 6)
    np.testing.assert_array_equal(view.values[:, 3:], value[:, 1, 0])


def test_tokens_and_heads(parse: Parse) -> None:
    model = load(
        parse(
            """
            g (float[N, 5, 8] x) => (float[N, 2, 5, 5] y)
            {
              tokens = Relu (x)
              shape = Constant <value = int64[4] {0, 5, 2, 4}> ()
              parts = Reshape (tokens, shape)
              q = Transpose <perm = [0, 2, 1, 3]> (parts)
              k = Transpose <perm = [0, 2, 3, 1]> (parts)
              y = MatMul (q, k)
            }
            """
        )
    )
    tokens, value = seen(model, "tokens", 1, 5, 8)
    assert (tokens.kind, tokens.rows, tokens.item) == ("table", "token", "feature")
    np.testing.assert_array_equal(tokens.values, value[0])
    heads, value = seen(model, "y", 1, 5, 8)
    assert (heads.kind, heads.on_image) == ("maps", False)
    np.testing.assert_array_equal(heads.values, value[0])


def test_statistics_leave_out_what_is_not_finite(cnn: onnx.ModelProto) -> None:
    model = load(cnn)
    layer = find_layer(model, "features")
    values = np.zeros((1, 8, 8, 8), np.float32)
    values[0, 0, 0, 0], values[0, 1, 0, 0], values[0, 2] = np.nan, np.inf, 3.0
    found = statistics_of(view_of(model, layer, values))
    assert (found.min, found.max, found.items, found.silent) == (0.0, 3.0, 8, 5)
    assert found.mean == pytest.approx(3 * 64 / 510)
    assert found.zeros == pytest.approx(446 / 510)
    assert strongest(view_of(model, layer, values))[:2] == [1, 2]  # nothing is greater than infinity
    empty = statistics_of(view_of(model, layer, np.full((1, 8, 8, 8), np.nan, np.float32)))
    assert (empty.min, empty.max, empty.silent) == (0.0, 0.0, 0)


def test_what_is_before_and_after_an_activation_function(parse: Parse, cnn: onnx.ModelProto) -> None:
    model = load(cnn)
    pairs = {layer.name: around_activation(model, layer) for layer in model.layers}
    assert pairs["stem"] == pairs["stem_relu"] == ("stem", "stem_relu")
    assert pairs["joined"] == pairs["features"] == ("joined", "features")
    assert pairs["pooled"] is pairs["logits"] is None
    gated = load(parse("g (float[N, 4] x) => (float[N, 4] y) { a = Neg (x)  s = Sigmoid (a)  y = Mul (s, a) }"))
    assert around_activation(gated, find_layer(gated, "y")) == ("a", "y")
    assert around_activation(gated, find_layer(gated, "a")) == ("a", "y")
    product = load(parse("g (float[N, 4] x) => (float[N, 4] y) { a = Neg (x)  b = Abs (x)  y = Mul (a, b) }"))
    assert around_activation(product, find_layer(product, "y")) is None


def test_a_walk_leaves_out_what_computes_nothing(cnn: onnx.ModelProto) -> None:
    model = load(cnn)
    assert [layer.name for layer in model.layers if layer not in walk_layers(model)] == ["flat"]


def test_blocks_end_at_joins_and_before_the_resolution_changes(parse: Parse) -> None:
    model = load(
        parse(
            """
            g (float[N, 3, 8, 8] x) => (float[N, 4] y)
            {
              a = Conv <pads = [1, 1, 1, 1]> (x, w1)
              b = Relu (a)
              c = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (b)
              d = Conv <pads = [1, 1, 1, 1]> (c, w2)
              e = Relu (d)
              f = Add (c, e)
              h = Relu (f)
              p = GlobalAveragePool (h)
              q = Flatten (p)
              y = Gemm (q, v)
            }
            """,
            w1=np.ones((4, 3, 3, 3), np.float32),
            w2=np.ones((4, 4, 3, 3), np.float32),
            v=np.ones((4, 4), np.float32),
        )
    )
    assert [layer.output for layer in block_layers(model)] == ["b", "h", "y"]


def test_tokens_of_a_vision_transformer_tile_the_image(parse: Parse) -> None:
    model = load(parse("g (float[N, T, 2] x) => (float[N, T, 2] y) { y = Relu (x) }"))
    layer = find_layer(model, "y")

    def grid(tokens: int, size: tuple[int, int]) -> np.ndarray | None:
        values = np.zeros((1, tokens, 2), np.float32)
        values[0, :, 0], values[0, :, 1] = 3 * np.arange(tokens), 4 * np.arange(tokens)
        return token_grid(view_of(model, layer, values), size)

    found = grid(17, (28, 28))
    assert found is not None
    np.testing.assert_array_equal(found, 5 * np.arange(1, 17, dtype=np.float32).reshape(4, 4))
    wide = grid(18, (30, 60))
    assert wide is not None
    assert wide.shape == (3, 6)
    for tokens, size in ((15, (28, 28)), (2, (28, 28)), (18, (28, 28)), (49, (30, 60))):
        assert grid(tokens, size) is None
