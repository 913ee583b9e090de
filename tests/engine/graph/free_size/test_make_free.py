"""Freed of its size, a model gives what it gave, and at other sizes what the same network gives there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.errors import ShapeError
from onnxray.engine.graph.free_size.make_free import free_size
from onnxray.engine.graph.split import expose
from onnxray.engine.inference.session import Session

Parse = Callable[..., onnx.ModelProto]

# Sizes are written in as an exporter of one size does it; {h}, {w} stand for the image's, which other exports change.
NETWORKS = {
    "squeeze and excite, layer norm, concatenation": """g (float[1,3,{h},{w}] x) => (float[1,8] y) {{
  a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, k, b) r = Relu (a)
  p = GlobalAveragePool (r) s = Conv (p, g1) q = Sigmoid (s) m = Mul (r, q)
  t = Transpose <perm = [0, 2, 3, 1]> (m) l = MatMul (t, d) n = LayerNormalization <axis = -1> (l, b)
  u = Transpose <perm = [0, 3, 1, 2]> (n) c = Concat <axis = 1> (u, r) y = ReduceMean <axes = [2, 3], keepdims = 0> (c)
}}""",
    "channel shuffle, pooling, slices": """g (float[1,3,{h},{w}] x) => (float[1,4,{h4},{w4}] y)
<int64[5] split = {{1, 2, 2, {h2}, {w2}}}, int64[4] joined = {{1, 4, {h2}, {w2}}}, int64[2] from = {{0, 0}},
 int64[2] far = {{9223372036854775807, 9223372036854775807}}, int64[2] last = {{2, 3}}, int64[2] two = {{2, 2}}> {{
  a = Conv <pads = [1, 1, 1, 1]> (x, k, b) r = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (a)
  f = Reshape (r, split) o = Transpose <perm = [0, 2, 1, 3, 4]> (f) z = Reshape (o, joined)
  y = Slice (z, from, far, last, two) }}""",
    "up by a size": """g (float[1,3,{h},{w}] x) => (float[1,4,{h},{w}] y) <int64[4] sizes = {{1, 4, {h}, {w}}}> {{
  a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, k, b) y = Resize <mode = "linear"> (a, , , sizes) }}""",
}


def built(parse: Parse, name: str, height: int, width: int) -> onnxray.Model:
    rng = np.random.default_rng(0)
    shapes = {"k": (4, 3, 3, 3), "b": (4,), "g1": (4, 4, 1, 1), "d": (4, 4)}
    arrays = {key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}
    halves = {"h2": height // 2, "w2": width // 2, "h4": height // 4, "w4": width // 4}
    text = NETWORKS[name].format(h=height, w=width, **halves)
    return onnxray.load(
        parse(text, **{key: array for key, array in arrays.items() if f"{key})" in text or f" {key}," in text})
    )


def ran(model: onnxray.Model, x: np.ndarray) -> np.ndarray:
    return Session(model, threads=1).run({"x": x})["y"]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(16, 24), (8, 8), (40, 12)])
def test_equals_the_export_of_that_size(name: str, size: tuple[int, int], parse: Parse) -> None:
    freed = free_size(built(parse, name, 16, 24), "x", (2, 3))
    onnx.checker.check_model(freed.proto, full_check=True)
    shape = freed.value("x").shape
    assert shape is not None
    assert all(isinstance(d, str) for d in shape[2:])
    x = np.random.default_rng(1).standard_normal((1, 3, *size)).astype(np.float32)
    np.testing.assert_allclose(ran(freed, x), ran(built(parse, name, *size), x), rtol=1e-5, atol=1e-6)


def test_what_is_free_is_left_alone(parse: Parse) -> None:
    model = onnxray.load(parse("g (float[1,3,h,w] x) => (float[1,3,h,w] y) { y = Relu (x) }"))
    assert free_size(model, "x", (2, 3)) is model


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("f = Flatten (x) y = Relu (f)", "at node 'f' .Flatten. it makes one long row"),
        ("y = Reshape (x, tokens)", "merges height and width with other axes"),
        ("y = Add (x, table)", "'table' holds something of its own for every place"),
        ("y = Concat <axis = 1> (x, table)", "something of a fixed size is joined"),
        ("y = Concat <axis = 2> (x, x)", "it joins along the picture"),
        ("y = ReduceSum (x, both)", "its sum grows with the size"),
        ("y = Slice (x, one, five, two)", "the size is written into what it cuts out"),
        ("t = Transpose <perm = [0, 1, 3, 2]> (x) y = Add (t, x)", "lie on different axes"),
        ("y = Softmax <axis = 3> (x)", "along the picture"),
        ("y = MatMul (x, square)", "it multiplies along the picture"),
        ("y = CumSum (x, axis)", "node 'y' .CumSum. may do something of its own at that size"),
    ],
)
def test_what_is_no_network_of_every_size_is_refused(body: str, words: str, parse: Parse) -> None:
    constants = {
        "tokens": np.array([1, 3, 64], np.int64),
        "table": np.ones((1, 3, 8, 8), np.float32),
        "both": np.array([2, 3], np.int64),
        "one": np.array([1], np.int64),
        "five": np.array([5], np.int64),
        "two": np.array([2], np.int64),
        "square": np.eye(8, dtype=np.float32),
        "axis": np.array(2, np.int64),
    }
    used = {key: array for key, array in constants.items() if f" {key})" in body or f" {key}," in body}
    model = onnxray.load(parse(f"g (float[1,3,8,8] x) => (y) {{ {body} }}", **used))
    with pytest.raises(ShapeError, match=f"the size 8x8 of the image cannot be changed.*{words}"):
        free_size(model, "x", (2, 3))


def test_the_head_is_free_where_the_whole_is_not(parse: Parse) -> None:
    text = "g (float[1,3,8,8] x) => (y) { a = Relu (x) f = Flatten (a) y = MatMul (f, d) }"
    model = onnxray.load(parse(text, d=np.ones((192, 2), np.float32)))
    head = free_size(expose(model, "a", only=True), "x", (2, 3))
    assert Session(head).run({"x": np.ones((1, 3, 5, 9), np.float32)})["a"].shape == (1, 3, 5, 9)
