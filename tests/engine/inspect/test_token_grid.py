"""Where values lie in the image: maps and token grids, with or without class tokens, windows and other layouts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.inspect.position_trace import Trace, trace
from onnxray.engine.inspect.token_grid import Grid

Parse = Callable[..., onnx.ModelProto]


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def transformer(parse: Parse, cls: int, rows: int = 4, columns: int = 6, windows: bool = False) -> onnx.ModelProto:
    """Patches of 2x2 pixels -> tokens of 8 -> one attention -> the class token's (or the mean's) scores."""
    count = rows * columns + cls
    head = (
        "picked = Gather <axis = 1> (stream, zero)"
        if cls
        else "picked = ReduceMean <axes = [1], keepdims = 0> (stream)"
    )
    join = "tokens = Concat <axis = 1> (cls, patches)" if cls else "tokens = Identity (patches)"
    return parse(
        f"""
        vit (float[1, 3, {2 * rows}, {2 * columns}] image) => (float[1, 5] logits, float[1, 5, 8] some)
        {{
          grid = Conv <strides = [2, 2], kernel_shape = [2, 2]> (image, wp)
          flat = Reshape (grid, flat_shape)
          patches = Transpose <perm = [0, 2, 1]> (flat)
          {join}
          placed = Add (tokens, where)
          normed = LayerNormalization <axis = -1> (placed, gamma)
          some = Gather <axis = 1> (normed, few)
          q = MatMul (normed, wq)
          k = MatMul (normed, wk)
          v = MatMul (normed, wv)
          kt = Transpose <perm = [0, 2, 1]> (k)
          s = MatMul (q, kt)
          a = Softmax <axis = -1> (s)
          mixed = MatMul (a, v)
          stream = Add (placed, mixed)
          {head}
          logits = MatMul (picked, wo)
        }}
        """,
        wp=weights(8, 3, 2, 2),
        flat_shape=np.array([1, 8, -1], np.int64),
        cls=weights(1, cls or 1, 8),
        where=weights(1, count, 8),
        gamma=np.ones(8, np.float32),
        wq=weights(8, 8),
        wk=weights(8, 8, seed=1),
        wv=weights(8, 8, seed=2),
        zero=np.array(0, np.int64),
        few=np.array([2, 3, 5, 7, 11], np.int64),
        wo=weights(8, 5, seed=3),
    )


@pytest.mark.parametrize("cls", [0, 1, 2])
def test_tokens_are_a_grid_beside_their_class_tokens(parse: Parse, cls: int) -> None:
    found = trace(onnxray.load(transformer(parse, cls)))
    for value in ("patches", "tokens", "placed", "normed", "q", "v", "mixed", "stream"):
        grid = found.grid(value)
        assert grid is not None, value
        own = 0 if value == "patches" else cls
        assert (grid.shape, grid.axes, grid.channel, grid.others) == ((4, 6), (1,), 2, own)
        assert grid.order is not None
        assert grid.order.tolist() == list(range(own, own + 24))
    flat = found.grid("flat")
    assert flat is not None
    assert (flat.axes, flat.channel) == ((2,), 1)
    plain = found.grid("grid")
    assert plain is not None
    assert (plain.shape, plain.axes, plain.channel, plain.order) == ((4, 6), (2, 3), 1, None)
    assert found.grid("picked") is found.grid("logits") is found.grid("some") is None


def test_after_the_last_attention_only_a_mean_listens_to_patches(parse: Parse) -> None:
    by_token = trace(onnxray.load(transformer(parse, 1))).sources()
    by_mean = trace(onnxray.load(transformer(parse, 0))).sources()
    assert {"grid", "tokens", "placed", "normed", "v"} <= by_token
    assert "stream" not in by_token
    assert "mixed" not in by_token
    assert "stream" in by_mean


def test_the_layer_for_maps_is_the_last_that_the_answer_listens_to(parse: Parse) -> None:
    image = weights(1, 3, 8, 12)
    for cls, layer in ((1, "normed"), (0, "stream")):
        e = onnxray.explain(transformer(parse, cls), image, "hires-cam")
        assert (e.layer, e.values.shape) == (layer, (4, 6))
        assert e.values.any()
        assert "patch" in str(e.reason)
        assert ("the class token is ignored" in str(e.reason)) == bool(cls)


def test_a_patch_is_found_where_it_lies(parse: Parse) -> None:
    """The gradient by one token's vector at (y, x) of the grid must come from the pixels of that patch."""
    model = onnxray.load(transformer(parse, 1))
    grid = trace(model).grid("tokens")
    assert grid is not None
    assert grid.order is not None
    rng = np.random.default_rng(0)
    image = rng.standard_normal((1, 3, 8, 12)).astype(np.float32)
    before = grid.maps(onnxray.activations(model, image, "tokens")["tokens"])
    image[0, :, 4:6, 10:12] += 1
    after = grid.maps(onnxray.activations(model, image, "tokens")["tokens"])
    changed = np.abs(after - before).max(axis=(0, 1)) > 0
    assert np.argwhere(changed).tolist() == [[2, 5]]


def test_windows_rolled_and_merged_are_followed(parse: Parse) -> None:
    """Swin: NHWC maps, rolled by one, cut into 2x2 windows, merged again, then patches merged into half the size."""
    proto = parse(
        """
        swin (float[1, 3, 8, 8] image) => (float[1, 5] logits)
        {
          grid = Conv <strides = [2, 2], kernel_shape = [2, 2]> (image, wp)
          maps = Transpose <perm = [0, 2, 3, 1]> (grid)
          top = Slice (maps, one, four, axis1)
          rest = Slice (maps, zero, one, axis1)
          rolled = Concat <axis = 1> (top, rest)
          cut = Reshape (rolled, cut_shape)
          turned = Transpose <perm = [0, 1, 3, 2, 4, 5]> (cut)
          windows = Reshape (turned, window_shape)
          mixed = MatMul (windows, ww)
          back = Reshape (mixed, turned_shape)
          unturned = Transpose <perm = [0, 1, 3, 2, 4, 5]> (back)
          merged = Reshape (unturned, map_shape)
          even = Slice (merged, zero, four, axis1, two)
          odd = Slice (merged, one, four, axis1, two)
          pairs = Concat <axis = 3> (even, odd)
          e2 = Slice (pairs, zero, four, axis2, two)
          o2 = Slice (pairs, one, four, axis2, two)
          quads = Concat <axis = 3> (e2, o2)
          sequence = Reshape (quads, sequence_shape)
          pooled = ReduceMean <axes = [1], keepdims = 0> (sequence)
          logits = MatMul (pooled, wo)
        }
        """,
        wp=weights(8, 3, 2, 2),
        ww=weights(8, 8),
        wo=weights(32, 5),
        zero=np.array([0], np.int64),
        one=np.array([1], np.int64),
        two=np.array([2], np.int64),
        four=np.array([4], np.int64),
        axis1=np.array([1], np.int64),
        axis2=np.array([2], np.int64),
        cut_shape=np.array([1, 2, 2, 2, 2, 8], np.int64),
        window_shape=np.array([4, 4, 8], np.int64),
        turned_shape=np.array([1, 2, 2, 2, 2, 8], np.int64),
        map_shape=np.array([1, 4, 4, 8], np.int64),
        sequence_shape=np.array([1, 4, 32], np.int64),
    )
    model = onnxray.load(proto)
    found = trace(model)
    rng = np.random.default_rng(1)
    image = rng.standard_normal((1, 3, 8, 8)).astype(np.float32)
    other = image.copy()
    other[0, :, 2:4, 6:8] += 1  # the patch at (1, 3)
    for value, size, at in [
        ("maps", (4, 4), [1, 3]),
        ("rolled", (4, 4), [1, 3]),
        ("merged", (4, 4), [1, 3]),
        ("sequence", (2, 2), None),
    ]:
        grid = found.grid(value)
        assert grid is not None, value
        assert grid.shape == size
        if at is not None:
            first, second = (grid.maps(onnxray.activations(model, x, value)[value]) for x in (image, other))
            assert np.argwhere(np.abs(first - second).max(axis=(0, 1)) > 0).tolist() == [at]
    assert found.grid("windows") is None, "windows have no batch axis"
    order = found.grid("rolled").order  # type: ignore[union-attr]
    assert order is not None
    assert order.reshape(4, 4)[:, 0].tolist() == [12, 0, 4, 8]


@pytest.mark.parametrize(
    "grid",
    [
        Grid((2, 3), (2, 3), 1),
        Grid((2, 3), (1, 2), 3),
        Grid((2, 3), (1,), 2, np.array([1, 2, 3, 4, 5, 6]), 1),
        Grid((2, 3), (2,), 1, np.array([5, 4, 3, 2, 1, 0])),
    ],
)
def test_maps_go_out_and_back_in(grid: Grid) -> None:
    shapes = {(2, 3): (2, 4, 2, 3), (1, 2): (2, 2, 3, 4), (1,): (2, 7, 4), (2,): (2, 4, 6)}
    value = weights(*shapes[grid.axes])
    maps = grid.maps(value)
    assert maps.shape == (2, 4, 2, 3)
    assert np.array_equal(grid.put(value, maps), value)
    other = grid.put(value, maps + 1)
    assert np.array_equal(grid.maps(other), maps + 1)
    assert other.shape == value.shape
    if grid.others:
        assert np.array_equal(other[:, 0], value[:, 0])


@pytest.mark.parametrize(
    ("case", "layer", "size", "others"),
    [
        ("hf_vit_op17", "/m/vit/layers.1/layernorm_before/LayerNormalization", (4, 4), 1),
        ("hf_vit_dynamo_op18", "node_layer_norm_2", (4, 4), 1),
        ("hf_beit_op17", None, (4, 4), 1),
        ("hf_swin_op17", "/m/swin/layernorm/LayerNormalization", (8, 8), 0),
        ("o_ortext_hf_vit_op17", "/m/vit/layers.1/layernorm_before/LayerNormalization", (4, 4), 1),
        ("o_slim_hf_swin_op17", "/m/swin/layernorm/LayerNormalization", (8, 8), 0),
        ("t_convnext_op17", "/6/Add", (8, 8), 0),
        ("hf_poolformer_op17", None, (2, 2), 0),
    ],
)
def test_layers_of_real_exports(zoo: Path, case: str, layer: str | None, size: tuple[int, int], others: int) -> None:
    folder = zoo / "frameworks" / case
    model = onnxray.load(folder / "model.onnx")
    with np.load(folder / "io.npz") as arrays:
        feeds = {k[3:]: arrays[k][:1] for k in arrays.files if k.startswith("in:")}
    e = onnxray.explain(model, feeds, "layer-cam")
    assert e.values.shape == size
    assert layer in (None, e.layer)
    assert (" ignored" in str(e.reason)) == bool(others)
    assert e.values.any()


def test_a_sequence_that_is_no_grid_is_refused(parse: Parse) -> None:
    model = onnxray.load(transformer(parse, 1))
    with pytest.raises(
        onnxray.OnnxrayError, match=r"layer 'some' \(Gather\) is not a map .* token sequence that is not a grid"
    ):
        onnxray.explain(model, weights(1, 3, 8, 12), "grad-cam", layer="some")


def test_a_model_without_an_image_has_no_positions(parse: Parse) -> None:
    model = onnxray.load(parse("m (float[N, 7] x) => (float[N, 7] y) { y = Relu (x) }"))
    assert Trace(model).positions == {}
    with pytest.raises(onnxray.OnnxrayError, match="no layer before 'y' is a float map"):
        onnxray.explain(model, weights(1, 7), "grad-cam")


def test_every_image_model_of_the_zoo_is_followed_without_error(zoo: Path) -> None:
    index = json.loads((zoo / "frameworks" / "index.json").read_text())
    names = [
        entry["name"] if isinstance(entry, dict) else entry
        for entry in (index if isinstance(index, list) else index["cases"])
    ]
    seen = 0
    for name in names:
        model = onnxray.load(zoo / "frameworks" / name / "model.onnx")
        found = trace(model)
        found.sources()
        for layer in model.layers:
            grid, shape = found.grid(layer.output), found.shapes.get(layer.output)
            if grid is None or shape is None or layer.map_axes is None or len(layer.map_axes) != 2:
                continue
            seen += 1
            if grid.order is None and len(grid.axes) == 2:
                assert grid.axes == layer.map_axes, (name, layer.name)
    assert seen > 500


@pytest.mark.parametrize(
    ("equation", "axis"), [("btc,cd->btd", 1), ("btc,cd->dtb", 1), ("btc, cd -> bdt", 2), ("btc,cd", 1)]
)
def test_an_einsum_moves_positions_as_it_moves_data(equation: str, axis: int, parse: Parse) -> None:
    proto = parse(
        f"""
        m (float[1, 3, 8, 12] image) => (float y)
        {{
          grid = Conv <strides = [2, 2], kernel_shape = [2, 2]> (image, wp)
          flat = Reshape (grid, shape) tokens = Transpose <perm = [0, 2, 1]> (flat)
          y = Einsum <equation = "{equation}"> (tokens, w)
          s = Einsum <equation = "btc->bc"> (tokens)
        }}
        """,
        wp=weights(8, 3, 2, 2),
        shape=np.array([1, 8, -1]),
        w=weights(8, 5),
    )
    proto.graph.output.add(name="s")
    found = trace(onnxray.load(proto))
    if "->" not in equation:
        assert "y" not in found.positions  # letters in alphabetical order: not followed
        return
    order = found.tokens("y", axis)
    assert order is not None
    assert np.array_equal(order, np.arange(24).reshape(4, 6))
    assert found.tokens("y", 0) is None
    assert found.grid("s") is None
    assert any(name == "tokens" for _, name in found.mixed)


def test_an_image_of_terabytes_has_no_places(parse: Parse) -> None:
    """An array of 256 GiB was asked for, and took a minute to fail."""
    model = onnxray.load(parse("g (float[1, 1, 2147483647, 16] x) => (float[1, 1, 2147483647, 16] y) { y = Relu (x) }"))
    assert trace(model).positions == {}
