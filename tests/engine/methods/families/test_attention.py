"""Attention maps in graphs: what is one and what is not, and which tokens an answer reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.errors import MethodError
from onnxray.engine.explain import problem_of
from onnxray.engine.inspect.attention import attentions
from onnxray.engine.methods.families.attention import attention_maps, gradient_maps, read_tokens

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(6)


def numbers(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def test_maps_and_their_gradients_have_one_layout(transformer: Callable[..., Any]) -> None:
    x = numbers(2, 2, 4, 6)
    for form in ("plain", "batch and heads in one axis", "Einsum, keys first", "queries before heads", "Attention"):
        network = transformer(form)
        problem = problem_of(network.proto, x, "top:2")
        found = attention_maps(problem, "m")
        assert len(found.layers) == len(found.weights) == 2
        assert found.tokens.count == 7
        assert np.array_equal(found.tokens.grid, [[1, 2, 3], [4, 5, 6]])
        for layer, (weights, slopes) in enumerate(zip(found.weights, gradient_maps(found, "m"), strict=True)):
            assert weights.shape == (2, 2, 7, 7)
            assert slopes.shape == (4, 2, 7, 7)
            assert np.allclose(weights.sum(axis=3), 1, atol=1e-5)
            assert np.allclose(weights[1], network.run(x[1])[1][layer], atol=1e-5)
        assert found.problem.rows == 4


# What a softmax is for, besides attention: name -> (inputs, graph, initializers).
NO_ATTENTION = {
    "a classifier's softmax before fixed weights": (
        "float[N, 3, 8] x",
        "s = Softmax <axis = -1> (x) y = MatMul (s, w)",
        {"w": numbers(8, 4)},
    ),
    "weights times a fixed memory": (
        "float[N, 2, 5, 8] x",
        "s = Softmax <axis = -1> (x) y = MatMul (s, w)",
        {"w": numbers(1, 2, 8, 4)},
    ),
    "summed over the queries": (
        "float[N, 2, 5, 5] x",
        "s = Softmax <axis = -1> (x) t = Transpose <perm = [0, 1, 3, 2]> (s) y = MatMul (t, x)",
        {},
    ),
    "over another axis": ("float[N, 2, 5, 5] x", "s = Softmax <axis = 2> (x) y = MatMul (s, x)", {}),
    "the right factor": ("float[N, 2, 5, 5] x", "s = Softmax <axis = -1> (x) y = MatMul (x, s)", {}),
    "gating": ("float[N, 2, 5, 5] x", "s = Softmax <axis = -1> (x) g = Mul (x, s) y = MatMul (g, x)", {}),
    "an Einsum that keeps the keys": (
        "float[N, 2, 5, 5] x",
        's = Softmax <axis = -1> (x) y = Einsum <equation = "bhqk,bhkd->bhqk"> (s, x)',
        {},
    ),
}


@pytest.mark.parametrize("name", NO_ATTENTION)
def test_what_is_no_attention(name: str, parse: Parse) -> None:
    inputs, graph, weights = NO_ATTENTION[name]
    model = onnxray.load(parse(f"m ({inputs}) => (float y) {{ {graph} }}", **weights))
    assert attentions(model) == ()


def test_a_softmax_over_several_axes_of_old_is_none(parse: Parse) -> None:
    text = "m (float[N, 2, 5, 5] x) => (float y) {{ s = Softmax <axis = {axis}> (x) y = MatMul (s, x) }}"
    assert attentions(onnxray.load(parse(text.format(axis=1), opset=11))) == ()
    (found,) = attentions(onnxray.load(parse(text.format(axis=3), opset=11)))
    assert (found.value, found.query, found.key) == ("s", -2, -1)


def test_an_attention_that_keeps_its_map_is_named(parse: Parse) -> None:
    proto = parse(
        """<ir_version: 10, opset_import: ["" : 17, "com.microsoft" : 1]>
        m (float[1, 4, 16] q, int32[1] lengths, int32 total, int64[1, 4] places) => (float[1, 3] y)
        {
          a, pk, pv = com.microsoft.GroupQueryAttention <num_heads = 2, kv_num_heads = 2, do_rotary = 1>
              (q, q, q, , , lengths, total, turn, turn, places)
          m = ReduceMean <axes = [1], keepdims = 0> (a)
          y = MatMul (m, w)
        }""",
        w=numbers(16, 3),
        turn=numbers(8, 4),
    )
    proto.graph.node[0].name = "block/attention"
    feeds = {"q": numbers(1, 4, 16), "lengths": np.array([3], np.int32), "total": np.array(4, np.int32)}
    feeds["places"] = np.arange(4, dtype=np.int64)[None]
    with pytest.raises(
        MethodError, match=r"'block/attention' \(com.microsoft.GroupQueryAttention\) keeps its own inside"
    ):
        onnxray.explain(proto, feeds, "attention-rollout", 0)


SEQUENCE = """
m (float[N, T, 8] x) => (float[N, 3] y)
{{
  q = MatMul (x, wq) k = Transpose <perm = [0, 2, 1]> (q) l = MatMul (q, k)
  a = Softmax <axis = -1> (l) v = MatMul (a, x) r = Add (v, x)
  {read}
  y = MatMul (last, head)
}}
"""
# name -> (how the answer is read, first and last token that it reads)
READS = {
    "first": ("last = Gather <axis = 1> (r, first)", 0, 0),
    "last": ("last = Gather <axis = 1> (r, final)", -1, -1),
    "mean": ("last = ReduceMean <axes = [1], keepdims = 0> (r)", 0, -1),
    "all but the first": ("c = Slice (r, one, many, one) last = ReduceMean <axes = [1], keepdims = 0> (c)", 1, -1),
}


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("length", [5, 16, 40])
def test_the_tokens_that_the_answer_reads(name: str, length: int, parse: Parse) -> None:
    """Whatever the length of the sequence."""
    text, first, last = READS[name]
    proto = parse(
        SEQUENCE.format(read=text),
        wq=numbers(8, 8),
        head=numbers(8, 3),
        first=np.array(0),
        final=np.array(-1),
        one=np.array([1]),
        many=np.array([1 << 40]),
    )
    problem = problem_of(proto, numbers(2, length, 8), "top:2")
    read, _ = read_tokens(attention_maps(problem, "m"), None, "m")
    expected = np.zeros(length)
    expected[first % length : last % length + 1] = 1
    assert np.allclose(read, np.tile(expected / expected.sum(), (4, 1)))


def test_two_heads_of_two_tokens_count_alike(parse: Parse) -> None:
    """A class token and a distillation token, each with its own head, as in DeiT."""
    two = "c = Gather <axis = 1> (r, first) d = Gather <axis = 1> (r, next) e = MatMul (d, we) last = Add (c, e)"
    proto = parse(
        SEQUENCE.format(read=two),
        wq=numbers(8, 8),
        head=numbers(8, 3),
        we=numbers(8, 8),
        first=np.array(0),
        next=np.array(1),
    )
    for length in (6, 16, 30):
        problem = problem_of(proto, numbers(1, length, 8), 0)
        read, words = read_tokens(attention_maps(problem, "m"), None, "m")
        assert np.array_equal(read, [[0.5, 0.5] + [0] * (length - 2)])
        assert "2 tokens" in words


def test_where_reading_cannot_be_followed_the_user_is_asked(parse: Parse) -> None:
    hidden = "rt = Transpose <perm = [1, 0, 2]> (r) o, h = GRU <hidden_size = 8> (rt, w, u) last = Squeeze (h, zero)"
    proto = parse(
        SEQUENCE.format(read=hidden),
        wq=numbers(8, 8),
        head=numbers(8, 3),
        w=numbers(1, 24, 8),
        u=numbers(1, 24, 8),
        zero=np.array([0]),
    )
    x = numbers(1, 5, 8)
    with pytest.raises(MethodError, match=r"cannot see which tokens 'y' reads .* option token, 0 to 4"):
        onnxray.explain(proto, x, "attention-rollout", 0)
    e = onnxray.explain(proto, x, "attention-rollout", 0, token=-1)
    assert e.values.shape == (5,)
    assert "token 4, as given" in str(e.reason)
    assert np.array_equal(e.heatmap, e.values)  # a series lies along its times


def test_scores_per_token_are_read_where_they_are(parse: Parse) -> None:
    proto = parse(
        "m (float[N, T, 8] x) => (float[N, T, 3] y)"
        + SEQUENCE.format(read="last = Identity (r)").partition("=> (float[N, 3] y)")[2],
        wq=numbers(8, 8),
        head=numbers(8, 3),
    )
    problem = problem_of(proto, numbers(1, 9, 8), "element:y:6,1")
    read, words = read_tokens(attention_maps(problem, "m"), None, "m")
    assert np.array_equal(read, np.eye(9)[6:7])
    assert "token 6" in words


def test_patches_of_an_image_of_another_size(parse: Parse) -> None:
    """The model takes any size; the grid has the proportions of the image that was given."""
    proto = parse(
        """
        m (float[N, 3, H, W] image) => (float[N, 3] y)
        {
          p = Conv <kernel_shape = [4, 4], strides = [4, 4]> (image, patch) f = Reshape (p, flat)
          x = Transpose <perm = [0, 2, 1]> (f)
          q = MatMul (x, wq) k = Transpose <perm = [0, 2, 1]> (q) l = MatMul (q, k) a = Softmax <axis = -1> (l)
          v = MatMul (a, x) r = Add (v, x) last = ReduceMean <axes = [1], keepdims = 0> (r) y = MatMul (last, head)
        }
        """,
        patch=numbers(8, 3, 4, 4) / 8,
        wq=numbers(8, 8) / 8,
        head=numbers(8, 3),
        flat=np.array([0, 8, -1]),
    )
    for size, grid in (((224, 224), (56, 56)), ((12, 20), (3, 5)), ((32, 8), (8, 2))):
        e = onnxray.explain(proto, numbers(1, 3, *size), "attention-rollout", 0)
        assert e.values.shape == grid
        assert e.values.sum() == pytest.approx(1, abs=1e-4)
