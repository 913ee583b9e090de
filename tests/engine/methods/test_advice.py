"""What a refusal advises works on the very input that was refused: every method on every kind of input."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.methods.registry import methods

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(9)
QUICK: dict[str, dict[str, Any]] = {
    "integrated-gradients": {"steps": 2},
    "smoothgrad": {"samples": 2},
    "smoothgrad-squared": {"samples": 2},
    "vargrad": {"samples": 2},
    "lam": {"steps": 2},
    "lime": {"samples": 40},
    "kernel-shap": {"samples": 300},
    "rise": {"masks": 20},
    "sobol": {"designs": 2},
}


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


IMAGE = "m (float[N, 3, 8, 8] x) => ({}) {{ c = Conv <pads = [1, 1, 1, 1]> (x, w)  r = Relu (c)  g = GlobalAveragePool (r)  f = Flatten (g)  {} }}"
TEXT = "m (int64[N, 6] x) => ({}) {{ e = Gather (w, x)  p = ReduceMean <axes = [1], keepdims = 0> (e)  {} }}"
# Kind -> the network, its constants, what it is given.
KINDS: dict[str, tuple[str, dict[str, np.ndarray], np.ndarray]] = {
    "image": (IMAGE.format("float[N, 4] y", "y = Identity (f)"), {"w": normal(4, 3, 3, 3)}, normal(1, 3, 8, 8)),
    "image without classes": (
        IMAGE.format("float[N, 1] y", "y = MatMul (f, h)"),
        {"w": normal(4, 3, 3, 3), "h": normal(4, 1)},
        normal(1, 3, 8, 8),
    ),
    "image without a layer": (
        "m (float[N, 3, 8, 8] x) => (float[N, 4] y) { f = Flatten (x)  y = MatMul (f, w) }",
        {"w": normal(192, 4)},
        normal(1, 3, 8, 8),
    ),
    "image behind a choice": (
        IMAGE.format("float[N, 1] y", "m1, i1 = TopK <axis = 1> (f, k)  y = Cast <to = 1> (i1)"),
        {"w": normal(4, 3, 3, 3), "k": np.array([1])},
        normal(1, 3, 8, 8),
    ),
    "table": ("m (float[N, 7] x) => (float[N, 3] y) { y = MatMul (x, w) }", {"w": normal(7, 3)}, normal(1, 7)),
    "table behind a step": (
        "m (float[N, 7] x) => (float[N, 3] y) { r = Round (x)  c = Cast <to = 7> (r)  d = Cast <to = 1> (c)  y = MatMul (d, w) }",
        {"w": normal(7, 3)},
        normal(1, 7),
    ),
    "text": (
        TEXT.format("float[N, 3] y", "y = MatMul (p, h)"),
        {"w": normal(20, 8), "h": normal(8, 3)},
        RNG.integers(0, 20, (1, 6)),
    ),
    "signal": (
        "m (float[N, 2, 32] x) => (float[N, 4] y) { c = Conv (x, w)  r = Relu (c)  y = ReduceMean <axes = [2], keepdims = 0> (r) }",
        {"w": normal(4, 2, 5)},
        normal(1, 2, 32),
    ),
    "series": (
        "m (float[N, 12, 4] x) => (float[N, 3] y) { h = MatMul (x, w)  t = Tanh (h)  y = ReduceMean <axes = [1], keepdims = 0> (t) }",
        {"w": normal(4, 3)},
        normal(1, 12, 4),
    ),
    "volume": (
        "m (float[N, 1, 6, 6, 6] x) => (float[N, 4] y) { c = Conv (x, w)  r = Relu (c)  y = ReduceMean <axes = [2, 3, 4], keepdims = 0> (r) }",
        {"w": normal(4, 1, 3, 3, 3)},
        normal(1, 1, 6, 6, 6),
    ),
    "numbers": ("m (float[N] x) => (float[N] y) { y = Tanh (x) }", {}, normal(3)),
    "one long row": (
        "m (float[N, 5000] x) => (float[N, 2] y) { y = MatMul (x, w) }",
        {"w": normal(5000, 2)},
        normal(1, 5000),
    ),
}


def explained(model: onnxray.Model, x: np.ndarray, method: str) -> None:
    options = QUICK.get(method, {})
    if x.size >= 5000 and method in ("ablation", "sobol"):
        options = {**options, "segments": np.arange(5000) // 500}  # what is tested is the input's kind
    onnxray.explain(model, x, method, **options)


@pytest.mark.parametrize("name", sorted(methods()))
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_refusal_advises_works(parse: Parse, kind: str, name: str) -> None:
    text, constants, x = KINDS[kind]
    model = onnxray.load(parse(text, **constants))
    try:
        explained(model, x, name)
    except onnxray.OnnxrayError as error:
        said = str(error)
        words = set(
            re.findall(r"[a-z][a-z0-9+-]*[a-z0-9+]", said.partition("use ")[2] or said.partition("gradient-free")[2])
        )
        for advised in sorted((words & set(methods())) - {name}):
            try:
                explained(model, x, advised)
            except onnxray.OnnxrayError as refused:
                pytest.fail(f"{name} advises {advised} ({said}), which says: {refused}")


def test_there_is_advice_for_every_refusal_of_an_input(parse: Parse) -> None:
    for kind, method in [
        ("table", "rise"),
        ("table", "grad-cam"),
        ("text", "grad-cam"),
        ("image", "attention-rollout"),
    ]:
        text, constants, x = KINDS[kind]
        with pytest.raises(onnxray.OnnxrayError, match="use (grad-cam|gradient|occlusion|kernel-shap|ablation)"):
            explained(onnxray.load(parse(text, **constants)), x, method)
