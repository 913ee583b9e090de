"""Relevance rules against a slow textbook version: every layer as its matrix, every contribution written out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine import gradients, relevance
from onnxray.engine.emitter.node import Node
from onnxray.engine.errors import GradientError, MethodError, NoGradient
from onnxray.engine.gradients.registry import Gradient
from onnxray.engine.inference.session import run
from onnxray.engine.methods.lrp import Lrp

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(11)
RULES = ("epsilon", "gamma", "z-plus", "alpha-beta")
OPTIONS: dict[str, Any] = {"epsilon": 0.01, "gamma": 0.3, "alpha": 1.5}


@pytest.fixture(autouse=True)
def reseeded() -> None:
    """Every test draws the same numbers, whatever ran before it."""
    RNG.bit_generator.state = np.random.default_rng(12).bit_generator.state


def weights(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)


def textbook(
    rule: str, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, r: np.ndarray, bias: bool = True
) -> np.ndarray:
    """R_i of one sample: x (I,), w (I, J), b (J,), r (J,); one unit after the other, in float64."""
    x, w, r = (a.astype(np.float64) for a in (x, w, r))
    whole = x @ w + (0 if b is None else b)
    b = np.zeros(w.shape[1]) if b is None or not bias else b.astype(np.float64)
    result = np.zeros(len(x))
    for j in range(w.shape[1]):
        z = x * w[:, j]
        total = z.sum() + b[j]
        positive, negative = np.maximum(z, 0), np.minimum(z, 0)
        above, below = positive.sum() + max(b[j], 0), negative.sum() + min(b[j], 0)
        if rule == "epsilon":
            result += z / (total + (OPTIONS["epsilon"] if total >= 0 else -OPTIONS["epsilon"])) * r[j]
        elif rule == "z-plus":
            result += positive / above * r[j] if above > 0 else 0
        elif rule == "alpha-beta":
            result += OPTIONS["alpha"] * positive / above * r[j] if above > 0 else 0
            result -= (OPTIONS["alpha"] - 1) * negative / below * r[j] if below < 0 else 0
        elif rule == "gamma":
            part, side = (positive, above) if whole[j] > 0 else (negative, below)
            result += (z + OPTIONS["gamma"] * part) / (total + OPTIONS["gamma"] * side) * r[j]
    return result


def as_matrix(
    kernel: np.ndarray, size: int, stride: int, pad: int, group: int = 1
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """A convolution of square maps as a matrix (inputs, outputs), and the shape of its outputs."""
    out, per_group, k, _ = kernel.shape
    count = (size + 2 * pad - k) // stride + 1
    matrix = np.zeros((per_group * group, size, size, out, count, count))
    for o in range(out):
        for c in range(per_group):
            source = (o // (out // group)) * per_group + c
            for y, x in np.ndindex(count, count):
                for dy, dx in np.ndindex(k, k):
                    row, column = y * stride + dy - pad, x * stride + dx - pad
                    if 0 <= row < size and 0 <= column < size:
                        matrix[source, row, column, o, y, x] = kernel[o, c, dy, dx]
    shape = (out, count, count)
    return matrix.reshape(-1, int(np.prod(shape))), shape


def explained(model: Any, x: np.ndarray, target: int = 1, **options: Any) -> Any:
    """LRP with the numbers of the textbook version; those that the rules do not use are refused, so they are left out."""
    rules = {k: v for k, v in options.items() if k in ("composite", "conv", "dense", "first")}
    idle = Lrp(**rules).idle()
    return onnxray.explain(
        model, x, "lrp", target, **{**{k: v for k, v in OPTIONS.items() if k not in idle}, **options}
    )


def near(found: np.ndarray, expected: np.ndarray, tolerance: float = 2e-5) -> None:
    assert found.shape == expected.shape
    most = np.abs(expected).max()
    assert most > 0
    assert np.abs(found - expected).max() <= tolerance * most


# ---- the registry


def test_every_differentiable_operator_has_a_relevance_rule_or_refuses() -> None:
    differentiable = {key for key, entry in gradients.entries() if isinstance(entry, Gradient)}
    assert not {key for key in differentiable if relevance.find(*key) is None}


def test_no_operator_has_two_rules() -> None:
    with pytest.raises(ValueError, match="'Conv' of domain '' has two relevance rules"):
        relevance.relevance("Conv")(lambda node, multipliers, op, lrp: [])


def test_an_operator_without_a_rule_says_what_to_do(parse: Parse) -> None:
    model = parse(
        "m (float[N, 4] x) => (float[N, 1] y) { a = MatMul (x, w) y = ReduceProd <axes = [1]> (a) }",
        w=np.eye(4, dtype=np.float32),
    )
    with pytest.raises(NoGradient, match=r"no relevance rule for 'ReduceProd' \(node 'y'\).*take `gradient`"):
        onnxray.explain(model, np.ones((1, 4), np.float32), "lrp", onnxray.Target.element("y", (0,)))


# ---- layers with weights


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rule", RULES)
def test_dense_layers(parse: Parse, rule: str, bias: bool) -> None:
    w, b = [weights(6, 9), weights(9, 7), weights(7, 3)], [weights(9), weights(7), weights(3)]
    model = parse(
        """
        m (float[N, 6] x) => (float[N, 3] y) {
          a = Gemm (x, w0, b0)  ra = Relu (a)
          c = Gemm (ra, w1, b1)  tc = Tanh (c)
          y = Gemm (tc, w2, b2)
        }
        """,
        **{f"w{i}": a for i, a in enumerate(w)},
        **{f"b{i}": a for i, a in enumerate(b)},
    )
    x = RNG.standard_normal((3, 6)).astype(np.float32)
    found = explained(model, x, composite="epsilon", dense=rule, bias=bias)
    for sample in range(3):
        hidden = np.maximum(x[sample] @ w[0] + b[0], 0)
        bent = np.tanh(hidden @ w[1] + b[1])
        scores = bent @ w[2] + b[2]
        r = textbook(rule, bent, w[2], b[2], scores * (np.arange(3) == 1), bias)
        r = textbook(rule, hidden, w[1], b[1], r, bias)
        near(found[sample].values, textbook(rule, x[sample], w[0], b[0], r, bias), 1e-4)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("last", ["Relu", "Clip", ""])
def test_convolutions(parse: Parse, rule: str, last: str) -> None:
    """Strides, padding, groups; rectifiers with and without an upper bound, or none."""
    kernels, biases = [weights(4, 2, 3, 3), weights(6, 2, 3, 3), weights(6, 24)], [weights(4), weights(6)]
    ends = {"Relu": "d = Relu (c)", "Clip": "d = Clip (c, zero, one)", "": "d = Identity (c)"}[last]
    model = parse(
        f"""
        m (float[N, 2, 6, 6] image) => (float[N, 6] y) {{
          a = Conv <pads = [1, 1, 1, 1]> (image, k0, b0)  r = Relu (a)
          c = Conv <strides = [2, 2], group = 2> (r, k1, b1)
          {ends}
          f = Flatten (d)  y = Gemm <transB = 1> (f, k2)
        }}
        """,
        k0=kernels[0], k1=kernels[1], k2=kernels[2], b0=biases[0], b1=biases[1],
        zero=np.float32(0), one=np.float32(0.5),
    )  # fmt: skip
    x = RNG.standard_normal((2, 2, 6, 6)).astype(np.float32)
    found = explained(model, x, composite="epsilon", conv=rule)
    first, shape = as_matrix(kernels[0], 6, 1, 1)
    second, shape2 = as_matrix(kernels[1], 6, 2, 0, group=2)
    wide = [np.repeat(b, np.prod(s[1:])) for b, s in zip(biases, (shape, shape2), strict=True)]
    for sample in range(2):
        flat = x[sample].ravel()
        hidden = np.maximum(flat @ first + wide[0], 0)
        before = hidden @ second + wide[1]
        after = {"Relu": np.maximum(before, 0), "Clip": np.clip(before, 0, 0.5), "": before}[last]
        scores = after @ kernels[2].T
        r = textbook("epsilon", after, kernels[2].T, None, scores * (np.arange(6) == 1))
        r = textbook(rule, hidden, second, wide[1], r)
        r = textbook(rule, flat, first, wide[0], r)
        near(found[sample].values.ravel(), r, 1e-4)


@pytest.mark.parametrize("rule", ["flat", "w-square", "box"])
@pytest.mark.parametrize("pad", ["attribute", "node"])
def test_rules_of_the_first_layer(parse: Parse, rule: str, pad: str) -> None:
    """Padding gets nothing, be it part of the convolution or a node before it."""
    kernel, bias, head = weights(4, 2, 3, 3), weights(4), weights(4 * 9, 3)
    padded = "p = Identity (image) a = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (p, k, b)"
    if pad == "node":
        padded = "p = Pad (image, pads) a = Conv <strides = [2, 2]> (p, k, b)"
    model = parse(
        f"m (float[N, 2, 6, 6] image) => (float[N, 3] y) {{ {padded} r = Relu (a) f = Flatten (r) y = MatMul (f, h) }}",
        k=kernel, b=bias, h=head, pads=np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
    )  # fmt: skip
    x = np.maximum(RNG.standard_normal((1, 2, 6, 6)), 0).astype(np.float32)
    low, high = -1.5, 3.0
    bounds = {"low": low, "high": high} if rule == "box" else {}
    found = explained(model, x, composite="epsilon", first=rule, **bounds).values
    matrix, _ = as_matrix(kernel, 6, 2, 1)
    there, _ = as_matrix(np.ones_like(kernel), 6, 2, 1)
    flat = x[0].ravel().astype(np.float64)
    hidden = np.maximum(flat @ matrix + np.repeat(bias, 9), 0)
    r = textbook("epsilon", hidden, head, None, (hidden @ head) * (np.arange(3) == 1))
    if rule == "flat":
        share = there
    elif rule == "w-square":
        share = matrix**2
    else:
        share = flat[:, None] * matrix - low * np.maximum(matrix, 0) - high * np.minimum(matrix, 0)
    near(found.ravel(), (share / share.sum(0) * r).sum(1))
    assert np.count_nonzero(found[x[0] == 0]) > 0  # pixels of value 0 may have relevance here
    assert found.sum() == pytest.approx(r.sum(), rel=1e-4)


@pytest.mark.parametrize("rule", RULES)
def test_what_follows_a_layer_is_folded_in(parse: Parse, rule: str) -> None:
    """A normalisation, a factor and a shift behind a layer: as if the weights had them."""
    k, b, head = weights(5, 3, 3, 3), weights(5), weights(5, 4)
    scale, shift, mean, factor = (weights(5) for _ in range(4))
    var = RNG.uniform(0.5, 2, 5).astype(np.float32)
    plain = """
        m (float[N, 3, 7, 7] image) => (float[N, 4] y) {
          a = Conv (image, k, b)  r = Relu (a)  g = GlobalAveragePool (r)  f = Flatten (g)  y = MatMul (f, h)
        }"""
    apart = """
        m (float[N, 3, 7, 7] image) => (float[N, 4] y) {
          a = Conv (image, k, b)  n = BatchNormalization (a, scale, shift, mean, var)
          t = Mul (n, factor)  s = Sub (t, less)  d = Div (s, two)
          r = Relu (d)  g = GlobalAveragePool (r)  f = Flatten (g)  y = MatMul (f, h)
        }"""
    inverse = scale / np.sqrt(var + 1e-5) * factor / 2
    folded = parse(
        plain, k=k * inverse[:, None, None, None], h=head,
        b=(b - mean) * inverse + shift * factor / 2 - np.float32(0.15),
    )  # fmt: skip
    unfolded = parse(
        apart, k=k, b=b, h=head, scale=scale, shift=shift, mean=mean, var=var, two=np.float32(2),
        factor=factor[:, None, None], less=np.full((1, 5, 1, 1), 0.3, np.float32),
    )  # fmt: skip
    x = RNG.standard_normal((1, 3, 7, 7)).astype(np.float32)
    expected = explained(folded, x, composite="epsilon", conv=rule)
    found = explained(unfolded, x, composite="epsilon", conv=rule)
    assert found.score == pytest.approx(expected.score, rel=1e-4)
    near(found.values, expected.values, 1e-4)


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("a = MatMul (x, w)", "right"),
        ("t = Transpose <perm = [1, 0]> (x) u = MatMul (v, t) a = Transpose <perm = [1, 0]> (u)", "left"),
        ("a = Gemm <transB = 1, alpha = 0.5> (x, v2)", "right"),
        ('a = Einsum <equation = "ni,ij->nj"> (x, w)', "right"),
        ("c = Unsqueeze (x, last) d = Conv (c, conv) a = Squeeze (d, last)", "right"),
        ("c = Unsqueeze (x, last) d = ConvTranspose (c, transposed) a = Squeeze (d, last)", "right"),
        ("b = MatMul (x, half) a = Add (b, b)", "right"),
    ],
)
@pytest.mark.parametrize("rule", ["gamma", "z-plus"])
def test_one_layer_in_many_notations(parse: Parse, rule: str, text: str, side: str) -> None:
    w, head = weights(6, 5), np.abs(weights(5, 3))
    model = parse(
        f"m (float[2, 6] x) => (float[2, 3] y) {{ {text} r = Relu (a) y = MatMul (r, head) }}",
        w=w, v=w.T.copy(), v2=2 * w.T, half=w / 2, conv=w.T[..., None].copy(), transposed=w[..., None].copy(), head=head,
        last=np.array([2], np.int64),
    )  # fmt: skip
    x = RNG.standard_normal((2, 6)).astype(np.float32)
    found = explained(model, x, composite="epsilon", dense=rule, conv=rule)
    for sample in range(2):
        hidden = np.maximum(x[sample] @ w, 0)
        r = textbook(rule, hidden, head, None, (hidden @ head) * (np.arange(3) == 1))
        near(found[sample].values, textbook(rule, x[sample], w, None, r))


def test_the_last_layer_is_dense_whatever_it_is(parse: Parse) -> None:
    """A 1x1 convolution as classifier follows the rule of products, one over maps of one position does, too."""
    k, head = weights(5, 3, 3, 3), weights(5, 4)
    common = "a = Conv (image, k) r = Relu (a) g = GlobalAveragePool (r)"
    x = RNG.standard_normal((1, 3, 7, 7)).astype(np.float32)
    maps = []
    for tail in (
        "f = Flatten (g) y = MatMul (f, head)",
        "c = Conv (g, kernel) y = Flatten (c)",
        "c = Conv (r, kernel) p = GlobalAveragePool (c) y = Flatten (p)",
    ):
        model = parse(
            f"m (float[1, 3, 7, 7] image) => (float[1, 4] y) {{ {common} {tail} }}",
            k=k, head=head, kernel=head.T[:, :, None, None].copy(),
        )  # fmt: skip
        maps.append(explained(model, x, composite="epsilon-plus", epsilon=0).values)
    near(maps[1], maps[0])
    near(maps[2], maps[0])


# ---- the input


def test_normalisation_in_the_graph_changes_nothing(parse: Parse) -> None:
    """Pixels that the graph normalises, channels last or first: the relevance of the tensor that comes of them."""
    k, b, head = weights(4, 3, 3, 3), weights(4), weights(4, 3)
    layers = "a = Conv (image, k, b) r = Relu (a) g = GlobalAveragePool (r) f = Flatten (g) y = MatMul (f, h)"
    inside = "s = Sub (pixels, mean) d = Div (s, std) image = Transpose <perm = [0, 3, 1, 2]> (d)"
    mean, std = np.array([120, 110, 100], np.float32), np.array([60, 55, 50], np.float32)
    tensor = parse(f"m (float[N, 3, 6, 6] image) => (float[N, 3] y) {{ {layers} }}", k=k, b=b, h=head)
    pixels = parse(
        f"m (float[N, 6, 6, 3] pixels) => (float[N, 3] y) {{ {inside} {layers} }}", k=k, b=b, h=head, mean=mean, std=std
    )
    x = RNG.integers(0, 256, (1, 6, 6, 3)).astype(np.float32)
    normal = ((x - mean) / std).transpose(0, 3, 1, 2)
    for composite in ("epsilon-plus", "epsilon-plus-flat", "epsilon"):
        expected = explained(tensor, normal, composite=composite).values
        near(explained(pixels, x, composite=composite).values.transpose(2, 0, 1), expected, 1e-4)
    # The limits of the box are those of the input: of pixels here, of the tensor there.
    found = explained(pixels, x, composite="epsilon-gamma-box", low=0, high=255).values
    low, high = ((v - mean) / std for v in (0, 255))
    assert np.isfinite(found).all()
    assert low.max() < high.min()


def test_a_target_before_the_first_layer_is_refused(parse: Parse) -> None:
    model = parse(
        "m (float[N, 4] x) => (float[N, 3] y) { s = Sub (x, m) y = MatMul (s, w) }", m=weights(4), w=weights(4, 3)
    )
    with pytest.raises(MethodError, match="before the first layer with weights"):
        onnxray.explain(model, np.ones((1, 4), np.float32), "lrp", onnxray.Target.element("s", (2,)))


# ---- between layers


def multipliers(parse: Parse, text: str, x: np.ndarray, **constants: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Relevance of x (N, n) behind an identity layer, summed from the scores of `text`: v -> u (N, n); and u."""
    n = x.shape[1]
    eye = np.eye(n, dtype=np.float32)
    model = parse(
        f"m (float[N, {n}] x) => (float[N, {n}] y) {{ v = MatMul (x, eye) {text} y = MatMul (u, eye) }}",
        eye=eye, **constants,
    )  # fmt: skip
    target = onnxray.Target.cotangent("y", np.ones((len(x), n), np.float32))
    found = onnxray.explain(model, x, "lrp", target, composite="epsilon", epsilon=0)
    return np.stack([e.values for e in found]), run(onnxray.load(model), {"x": x})["y"]


X = np.array([[0.7, -1.2, 2.0, 0.4], [-0.3, 1.1, -0.8, 3.0]], np.float32)


@pytest.mark.parametrize(
    "text",
    [
        "u = Tanh (v)",
        "u = Sigmoid (v)",
        "u = HardSwish (v)",
        "u = Clip (v, low, high)",
        "u = Elu (v)",
        "s = Sigmoid (v) u = Mul (v, s)",
        "a = Div (v, root) b = Erf (a) c = Add (b, one) d = Mul (v, c) u = Mul (d, half)",
        "a = Tanh (v) c = Add (a, one) u = Mul (c, v)",
        "a = Add (v, one) b = Clip (a, low, high) u = Mul (b, v)",
        "a = Mul (v, v) b = ReduceSum <keepdims = 1> (a, axis) c = Sqrt (b) u = Div (v, c)",
        "a = Reshape (v, planes) b = LRN <size = 3, alpha = 0.5> (a) u = Reshape (b, flat)",
        "s = Softmax (v) u = Mul (s, v)",
        "u = Mul (v, v)",
        "u = Pow (v, two)",
        "u = LpNormalization (v)",
    ],
)
def test_functions_and_gates_pass_relevance_unchanged(parse: Parse, text: str) -> None:
    found, y = multipliers(
        parse, text, X, low=np.float32(-1), high=np.float32(1.5), one=np.float32(1), half=np.float32(0.5),
        root=np.float32(2**0.5), two=np.float32(2), axis=np.array([1], np.int64),
        planes=np.array([0, 4, 1, 1], np.int64), flat=np.array([0, 4], np.int64),
    )  # fmt: skip
    near(found, y)


def test_a_sum_is_split_by_contribution(parse: Parse) -> None:
    model = parse(
        "m (float[N, 4] x) => (float[N, 2] y) { a = MatMul (x, w) b = Relu (a) s = Add (b, x) y = MatMul (s, h) }",
        w=np.eye(4, dtype=np.float32) * 2, h=weights(4, 2),
    )  # fmt: skip
    onnx_h = onnx.numpy_helper.to_array(model.graph.initializer[1])
    found = np.stack([e.values for e in explained(model, X, composite="epsilon", epsilon=0)])
    near(found, (np.maximum(2 * X, 0) + X) * onnx_h[:, 1])


def test_attention_weights_count_as_constants(parse: Parse) -> None:
    """softmax(q k) v: all relevance goes to v, through the weights that there were."""
    q, v = weights(3, 3), weights(3, 3)
    model = parse(
        """
        m (float[N, 5, 3] x) => (float[N, 5, 3] y) {
          q = MatMul (x, wq)  t = Transpose <perm = [0, 2, 1]> (x)  s = MatMul (q, t)  p = Softmax <axis = -1> (s)
          v = MatMul (x, wv)  y = MatMul (p, v)
        }
        """,
        wq=q, wv=v,
    )  # fmt: skip
    x = RNG.standard_normal((1, 5, 3)).astype(np.float32)
    scores = (x[0] @ q) @ x[0].T
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    cotangent = RNG.standard_normal((1, 5, 3)).astype(np.float32)
    found = onnxray.explain(model, x, "lrp", onnxray.Target.cotangent("y", cotangent), composite="epsilon", epsilon=0)
    near(found.values, x[0] * (p.T @ cotangent[0] @ v.T))


def test_other_products_share_halves(parse: Parse) -> None:
    model = parse(
        "m (float[N, 4] x) => (float[N, 4] y) { a = MatMul (x, p) b = MatMul (x, r) c = Mul (a, b) y = MatMul (c, p) }",
        p=np.eye(4, dtype=np.float32), r=np.eye(4, dtype=np.float32)[::-1].copy(),
    )  # fmt: skip
    target = onnxray.Target.element("y", (0,))
    found = np.stack([e.values for e in onnxray.explain(model, X, "lrp", target, composite="epsilon", epsilon=0)])
    score = X[:, 0] * X[:, 3]
    expected = np.zeros_like(X)
    expected[:, 0] = expected[:, 3] = score / 2
    near(found, expected)


@pytest.mark.parametrize("kind", ["layer", "instance", "group"])
def test_normalisation_by_statistics(parse: Parse, kind: str) -> None:
    """The deviation is a constant, the mean is not: sum over i of (m_i - mean of m) x_i / deviation."""
    x = RNG.standard_normal((2, 4, 6)).astype(np.float32) + 0.5
    scale, shift = weights(6 if kind == "layer" else 4), weights(6 if kind == "layer" else 4)
    text = {
        "layer": "u = LayerNormalization (v, scale, shift)",
        "instance": "u = InstanceNormalization (v, scale, shift)",
        "group": "u = GroupNormalization <num_groups = 2> (v, scale, shift)",
    }[kind]
    eye = np.eye(6, dtype=np.float32)
    given = {"scale": scale, "shift": shift}
    if kind == "group":  # one number per group before opset 21
        given = {"scale": scale[:2].copy(), "shift": shift[:2].copy()}
    model = parse(
        f"m (float[N, 4, 6] x) => (float[N, 4, 6] y) {{ v = MatMul (x, eye) {text} y = MatMul (u, eye) }}",
        opset=18, eye=eye, **given,
    )  # fmt: skip
    cotangent = RNG.standard_normal(x.shape).astype(np.float32)
    target = onnxray.Target.cotangent("y", cotangent)
    found = np.stack([e.values for e in onnxray.explain(model, x, "lrp", target, composite="epsilon", epsilon=0)])
    grouped = {"layer": (2, 4, 6), "instance": (2, 4, 6), "group": (2, 2, 12)}[kind]
    slope = {"layer": scale, "instance": scale[:, None], "group": np.repeat(scale[:2], 2)[:, None]}[kind]
    values, m = x.reshape(grouped), (cotangent * slope).reshape(grouped)
    deviation = np.sqrt(values.var(axis=2, keepdims=True) + 1e-5)
    near(found, ((m - m.mean(axis=2, keepdims=True)) / deviation * values).reshape(x.shape), 1e-4)


def test_layer_normalisation_as_several_nodes(parse: Parse) -> None:
    x = RNG.standard_normal((2, 5)).astype(np.float32)
    scale, shift, head = weights(5), weights(5), weights(5, 3)
    nodes = """
        mu = ReduceMean <axes = [-1]> (v)  c = Sub (v, mu)  q = Pow (c, two)  s = ReduceMean <axes = [-1]> (q)
        e = Add (s, eps)  d = Sqrt (e)  n = Div (c, d)  k = Mul (n, scale)  u = Add (k, shift)"""
    maps = []
    for text in (nodes, "u = LayerNormalization (v, scale, shift)"):
        model = parse(
            f"m (float[N, 5] x) => (float[N, 3] y) {{ v = MatMul (x, eye) {text} y = MatMul (u, head) }}",
            eye=np.eye(5, dtype=np.float32), scale=scale, shift=shift, head=head, two=np.float32(2), eps=np.float32(1e-5),
        )  # fmt: skip
        maps.append(np.stack([e.values for e in explained(model, x, composite="epsilon")]))
    near(maps[0], maps[1], 1e-4)


def test_the_winner_of_a_maximum_takes_all(parse: Parse) -> None:
    model = parse(
        """
        m (float[1, 1, 4, 4] image) => (float[1, 2] y) {
          a = Conv (image, k)  p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (a)  f = Flatten (p)  y = MatMul (f, h)
        }""",
        k=np.ones((1, 1, 1, 1), np.float32), h=np.ones((4, 2), np.float32),
    )  # fmt: skip
    x = RNG.permutation(16).reshape(1, 1, 4, 4).astype(np.float32) + 1
    found = explained(model, x, composite="z-plus").values[0]
    blocks = x[0, 0].reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(4, 4)
    expected = np.where(np.isin(x[0, 0], blocks.max(axis=1)), x[0, 0], 0)
    near(found, expected)


def rules_of(*op_types: str) -> Sequence[str]:
    return [o for o in op_types if relevance.find("", o) is not None]


def test_control_flow_hands_relevance_on(parse: Parse) -> None:
    """A branch of an If is propagated through by the rules of what is inside."""
    w = weights(4, 4)
    inner = parse(
        "m (float[N, 4] x) => (float[N, 4] y) { a = MatMul (x, w) s = Sigmoid (a) g = Mul (a, s) y = MatMul (g, w) }",
        w=w,
    )
    branch = """
        m (float[N, 4] x) => (float[N, 4] y) {
          y = If (yes) <
            then_branch = g1 () => (float[N, 4] o) { a = MatMul (x, w) s = Sigmoid (a) g = Mul (a, s) o = MatMul (g, w) },
            else_branch = g2 () => (float[N, 4] o2) { o2 = MatMul (x, w) }
          >
        }"""
    assert rules_of("If", "Loop", "Scan") == ["If", "Loop", "Scan"]
    model = parse(branch, w=w, yes=np.array(True))
    target = onnxray.Target.element("y", (1,))
    both = [
        np.stack([e.values for e in onnxray.explain(m, X, "lrp", target, composite="epsilon", epsilon=0)])
        for m in (model, inner)
    ]
    near(both[0], both[1])


@pytest.mark.parametrize("rule", [lambda node, dy, op, lrp: [], lambda node, m, op: [], lambda m, node, op, lrp: []])
def test_a_registered_rule_names_its_parameters(rule: Callable[..., Any]) -> None:
    with pytest.raises(GradientError, match=r"the relevance rule of Nothing has the parameters .*\(node, m, op, lrp\)"):
        relevance.relevance("Nothing")(rule)
    assert relevance.find("", "Nothing") is None


def test_a_rule_of_one_multiplier_is_called_with_it_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relevance.registry, "_RULES", {})
    relevance.relevance("Nothing")(lambda node, m, op, lrp: [m])
    rule: Any = relevance.find("", "Nothing")
    node = Node(onnx.helper.make_node("Nothing", ["x"], ["y"]))
    assert rule(node, ["m"], None, None) == ["m"]
    assert rule(node, [None], None, None) == []
