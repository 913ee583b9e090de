"""The layer of class activation maps: what is taken where positions are hard to follow, and what is said about it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest

import onnxray
from onnxray.engine.attribution.layer_choice import why_fitting
from onnxray.engine.errors import Disconnected, MethodError
from onnxray.engine.inspect.blocked_layout import blocked_values

RNG = np.random.default_rng(5)
X = RNG.normal(size=(1, 3, 16, 16)).astype(np.float32)


def normal(*shape: int) -> np.ndarray:
    return (RNG.normal(size=shape) * 0.3).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


HEAD = "p = GlobalAveragePool(b)  f = Flatten(p)  y = MatMul(f, v) }"


def test_height_and_width_merged_and_restored_do_not_move_the_layer_back(parse: Callable[..., onnx.ModelProto]) -> None:
    text = f"""g (float[N, 3, 16, 16] x) => (float[N, 2] y) {{
        a = Conv <pads = [1, 1, 1, 1]> (x, k)
        r = Reshape(a, groups)  t = Transpose <perm = [0, 2, 1, 3]> (r)  s = Reshape(t, image)
        b = Conv <pads = [1, 1, 1, 1]> (s, k2) {HEAD}"""
    model = parse(
        text, k=normal(8, 3, 3, 3), k2=normal(8, 8, 3, 3), v=normal(8, 2), groups=ints(-1, 2, 4, 256),
        image=ints(-1, 8, 16, 16),
    )  # fmt: skip
    found = onnxray.explain(model, X, method="grad-cam", target=1)
    assert found.layer == "b"
    assert not [w for w in found.warnings if "not the last" in w]
    maps = onnxray.activations(model, X, ["b"])["b"][0]
    weights = onnx.numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == "v"))[:, 1] / 256
    np.testing.assert_allclose(found.values, np.einsum("c,chw->hw", weights, maps), atol=1e-5)


def test_attention_of_fewer_queries_than_keys_keeps_the_places_of_the_queries(
    parse: Callable[..., onnx.ModelProto],
) -> None:
    # 8 x 8 keys, 4 x 4 queries: what LeViT does where it makes the map smaller.
    text = """g (float[1, 3, 16, 16] x) => (float[1, 2] y) {
        a = Conv <strides = [2, 2], kernel_shape = [2, 2]> (x, k)
        small = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (a)
        kt = Reshape(a, tokens)  q0 = Reshape(small, queries)  q = Transpose <perm = [0, 2, 1]> (q0)
        s = MatMul(q, kt)  w = Softmax <axis = 2> (s)  v0 = Transpose <perm = [0, 2, 1]> (kt)
        o = MatMul(w, v0)  z = Add(o, q)  m = ReduceMean <axes = [1], keepdims = 0> (z)  y = MatMul(m, v)
    }"""
    model = parse(text, k=normal(8, 3, 2, 2), v=normal(8, 2), tokens=ints(1, 8, 64), queries=ints(1, 8, 16))
    found = onnxray.explain(model, X, method="grad-cam", target=1)
    assert (found.layer, found.values.shape) == ("z", (4, 4))


def test_a_layer_that_may_be_a_map_and_is_passed_over_is_named(parse: Callable[..., onnx.ModelProto]) -> None:
    text = f"""g (float[1, 3, 16, 16] x) => (float[1, 2] y) {{
        a = Conv <pads = [1, 1, 1, 1]> (x, k)
        r = Reshape(a, flat)  t = GatherElements <axis = 1> (r, every)  s = Reshape(t, image)
        b = Conv <pads = [1, 1, 1, 1]> (s, k2) {HEAD}"""
    model = parse(
        text, k=normal(8, 3, 3, 3), k2=normal(8, 8, 3, 3), v=normal(8, 2), flat=ints(1, 2048),
        every=np.arange(2048, dtype=np.int64)[None], image=ints(1, 8, 16, 16),
    )  # fmt: skip
    found = onnxray.explain(model, X, method="grad-cam", target=1)
    assert found.layer == "a"
    (warning,) = [w for w in found.warnings if "not the last" in w]
    assert all(text in warning for text in ("'b' (Conv)", "GatherElements", "layer='b'"))
    # The advice works on this very model.
    followed = onnxray.explain(model, X, method="grad-cam", target=1, layer="b")
    assert followed.values.shape == (16, 16)


@pytest.mark.parametrize("method", ["grad-cam", "layer-cam", "recipro-cam", "eigen-cam"])
def test_signals_have_class_activation_maps(parse: Callable[..., onnx.ModelProto], method: str) -> None:
    text = """g (float[N, 2, 64] x) => (float[N, 3] y) {
        c = Conv <pads = [2, 2], strides = [2]> (x, k)  r = Relu(c)
        m = ReduceMean <axes = [2], keepdims = 0> (r)  y = MatMul(m, v)
    }"""
    model = parse(text, k=normal(8, 2, 5), v=normal(8, 3))
    x = RNG.normal(size=(2, 2, 64)).astype(np.float32)
    found = onnxray.explain(model, x, method=method, target=2)
    assert found.values.shape == (2, 32)
    assert found[0].map.shape == (1, 32)
    if method == "grad-cam":
        maps = onnxray.activations(model, x, ["r"])["r"]
        weights = onnx.numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == "v"))[:, 2] / 32
        np.testing.assert_allclose(found.values, np.einsum("c,ncl->nl", weights, maps), atol=1e-5)


def test_volumes_have_class_activation_maps(parse: Callable[..., onnx.ModelProto]) -> None:
    text = """g (float[N, 1, 4, 6, 8] x) => (float[N, 3] y) {
        c = Conv <pads = [1, 1, 1, 1, 1, 1]> (x, k)  r = Relu(c)
        m = ReduceMean <axes = [2, 3, 4], keepdims = 0> (r)  y = MatMul(m, v)
    }"""
    model = parse(text, k=normal(8, 1, 3, 3, 3), v=normal(8, 3))
    x = RNG.normal(size=(1, 1, 4, 6, 8)).astype(np.float32)
    found = onnxray.explain(model, x, method="grad-cam", target=2)
    maps = onnxray.activations(model, x, ["r"])["r"][0]
    weights = onnx.numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == "v"))[:, 2] / 192
    np.testing.assert_allclose(found.values, np.einsum("c,cdhw->dhw", weights, maps), atol=1e-5)
    assert onnxray.explain(model, x, method="recipro-cam", target=2).values.shape == (4, 6, 8)
    assert onnxray.explain(model, x, method="recipro-cam", target=2, mask="single").values.shape == (4, 6, 8)


def test_values_in_the_blocked_layout_are_no_maps(parse: Callable[..., onnx.ModelProto], tmp_path) -> None:
    text = f"""g (float[N, 3, 16, 16] x) => (float[N, 2] y) {{
        c = Conv <pads = [1, 1, 1, 1]> (x, k)  a = Relu(c)  d = Conv <pads = [1, 1, 1, 1]> (a, k2)
        b = Relu(d) {HEAD}"""
    model = parse(text, k=normal(16, 3, 3, 3), k2=normal(16, 16, 3, 3), v=normal(16, 2))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "saved.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    saved = onnxray.load(tmp_path / "saved.onnx")
    if not blocked_values(saved):
        pytest.skip("this processor has no blocked layout")
    for method in ("recipro-cam", "score-cam", "eigen-cam", "ablation-cam"):
        with pytest.raises(onnxray.OnnxrayError, match="nchwc.*ORT_ENABLE_EXTENDED"):
            onnxray.explain(saved, X, method=method)
    (last, *_) = sorted(blocked_values(saved))
    with pytest.raises(onnxray.OnnxrayError, match="nchwc"):
        onnxray.explain(saved, X, method="occlusion", target=onnxray.Target.unit(last, 0))
    # The advice works.
    options.optimized_model_filepath = str(tmp_path / "extended.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    right = onnxray.explain(model, X, method="recipro-cam", target=1).values
    again = onnxray.explain(tmp_path / "extended.onnx", X, method="recipro-cam", target=1).values
    np.testing.assert_allclose(again, right, atol=1e-5)


@pytest.fixture(scope="module")
def tokens(parse: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    """A transformer in small: patches of 4 x 4, a normalisation, a residual sum, the mean of all tokens, a head."""
    rng = np.random.default_rng(0)
    return parse(
        """
        vit (float[N, 3, 16, 16] image) => (float[N, 5] logits)
        {
          patches = Conv <kernel_shape = [4, 4], strides = [4, 4]> (image, w1)
          flat = Reshape (patches, shape)
          sequence = Transpose <perm = [0, 2, 1]> (flat)
          normed = LayerNormalization (sequence, scale)
          mixed = MatMul (normed, w2)
          summed = Add (sequence, mixed)
          last = LayerNormalization (summed, scale)
          pooled = ReduceMean <axes = [1], keepdims = 0> (last)
          logits = Gemm <transB = 1> (pooled, w3)
        }
        """,
        w1=rng.standard_normal((8, 3, 4, 4)).astype(np.float32),
        shape=np.array([0, 8, 16]),
        scale=np.ones(8, np.float32),
        w2=rng.standard_normal((8, 8)).astype(np.float32),
        w3=rng.standard_normal((5, 8)).astype(np.float32),
    )


@pytest.mark.parametrize("kind", ["cnn", "tokens"])
def test_inspect_names_the_layer_that_explain_takes(kind: str, request: pytest.FixtureRequest) -> None:
    model = onnxray.load(request.getfixturevalue(kind))
    e = onnxray.explain(model, np.random.default_rng(0).random((1, 3, 16, 16), np.float32))
    (decision,) = [d for d in onnxray.inspect(model).decisions if d.what == "layer for class activation maps"]
    assert (decision.value, decision.reason) == (e.layer, e.reason)
    fits, _ = why_fitting(model, model.layers[e.layer])
    assert fits


@pytest.mark.parametrize("method", ["eigen-cam", "score-cam", "ablation-cam", "recipro-cam", "grad-cam"])
def test_a_layer_that_the_target_is_not_computed_from_is_refused(
    parse: Callable[..., onnx.ModelProto], method: str
) -> None:
    model = parse(
        """g (float[N, 3, 16, 16] x) => (float[N, 4, 14, 14] y, float[N, 4] z) {
            c = Conv (x, k)  a = Relu (c)  d = Conv (a, k2)  e = Relu (d)  y = Conv (a, k1)
            p = GlobalAveragePool (e)  z = Flatten (p) }""",
        k=normal(8, 3, 3, 3), k2=normal(4, 8, 3, 3), k1=normal(4, 8, 1, 1),
    )  # fmt: skip
    assert onnxray.explain(model, X, method, "element:y:1,3,3").layer == "a"
    with pytest.raises(Disconnected, match="'y' does not depend on the layer 'e': choose a layer before it"):
        onnxray.explain(model, X, method, "element:y:1,3,3", layer="e")


def suppressed(parse: Callable[..., onnx.ModelProto], scores: str, sharp: float) -> onnx.ModelProto:
    """Boxes from the map b, scores from `scores`, both behind NonMaxSuppression."""
    return parse(
        f"""g (float[1, 3, 16, 16] x) => (float[K] kept, float[K, 4] boxes) {{
            a = Conv <pads = [1, 1, 1, 1]> (x, ka)  {scores}  cs = Reshape (c, s1)  cq = Mul (cs, sharp)  sc = Sigmoid (cq)
            b = Conv (a, kb)  bt = Reshape (b, s2)  bx = Transpose <perm = [0, 2, 1]> (bt)
            i = NonMaxSuppression (bx, sc, most, iou, least)  r = Gather <axis = 1> (i, two)  f = Gather <axis = 1> (r, zero)
            s0 = Reshape (sc, sf)  kept = Gather (s0, f)  b0 = Reshape (bx, sb)  boxes = Gather (b0, f) }}""",
        ka=normal(8, 3, 3, 3), kc=normal(1, 8, 3, 3), kb=normal(4, 8, 3, 3), kx=normal(1, 3, 3, 3),
        s1=ints(1, 1, 196), s2=ints(1, 4, 196), most=ints(5), iou=np.array([0.5], np.float32),
        least=np.array([0.1], np.float32), two=ints(2), zero=np.array(0), sf=ints(196), sb=ints(196, 4),
        sharp=np.float32(sharp),
    )  # fmt: skip


@pytest.mark.parametrize("sharp", [1, 1e4])
def test_a_score_behind_suppression_has_its_map_on_its_own_branch(
    parse: Callable[..., onnx.ModelProto], sharp: float
) -> None:
    """The boxes' branch, the last one, reaches it only through the choice; a saturated score has no slope anywhere."""
    found = onnxray.explain(suppressed(parse, "c = Conv (a, kc)", sharp), X, "grad-cam", "element:kept:0")
    assert found.layer == "a"
    assert found.values.any() == (sharp == 1)


def test_where_no_map_has_a_slope_the_choice_is_named(parse: Callable[..., onnx.ModelProto]) -> None:
    with pytest.raises(MethodError, match="'kept' has no gradient at any map of the image: a choice, .*: use gradient"):
        onnxray.explain(suppressed(parse, "c = Conv (x, kx)", 1), X, "grad-cam", "element:kept:0")


def test_what_depends_on_nothing_is_not_sent_to_methods_that_refuse_it_too(
    parse: Callable[..., onnx.ModelProto],
) -> None:
    model = parse("g (float[N, 4] x) => (float[N, 4] y, float[3] q) { y = Relu (x)  q = Identity (c) }", c=normal(3))
    with pytest.raises(Disconnected, match="choose another target$"):
        onnxray.explain(model, np.ones((1, 4), np.float32), "gradient", "element:q:0")


@pytest.mark.parametrize("method", ["grad-cam", "layer-cam", "eigen-cam", "score-cam", "recipro-cam"])
@pytest.mark.parametrize("target", ["element:y", "mean:y"])
def test_a_scalar_has_class_activation_maps(method: str, target: str, parse: Callable[..., onnx.ModelProto]) -> None:
    text = "g (float[N, 3, 16, 16] x) => (float y) { a = Conv (x, k)  r = Relu (a)  y = ReduceMean <keepdims = 0> (r) }"
    e = onnxray.explain(parse(text, k=normal(8, 3, 3, 3)), X, method, target)
    assert e.layer == "r"
    assert e.values.shape == (14, 14)


@pytest.mark.parametrize("order", ["times", "features"])
def test_times_of_a_series_without_a_convolution(order: str, parse: Callable[..., onnx.ModelProto]) -> None:
    """Grad-CAM of mean over T of relu(x w) v is the sum over c of relu(x w) v / T, whichever axis comes first."""
    w, v, x = normal(5, 8), normal(8, 2), normal(1, 12, 5)
    first = "(x, w)" if order == "times" else "(t, w)"
    moved = "" if order == "times" else "t = Transpose <perm = [0, 2, 1]> (x)"
    sizes = "12, 5" if order == "times" else "5, 12"
    text = (
        f"g (float[N, {sizes}] x) => (float[N, 2] y) {{ {moved}  h = MatMul {first}  r = Relu (h)  "
        "m = ReduceMean <axes = [1], keepdims = 0> (r)  y = MatMul (m, v) }"
    )
    given = x if order == "times" else np.ascontiguousarray(x.transpose(0, 2, 1))
    e = onnxray.explain(parse(text, w=w, v=v), given, "grad-cam", 1)
    expected = np.maximum(x[0] @ w, 0) @ v[:, 1] / 12
    np.testing.assert_allclose(e.values, expected, rtol=1e-5, atol=1e-7)
    assert e.heatmap.shape == (12,)
