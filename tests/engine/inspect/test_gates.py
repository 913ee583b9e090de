"""Activation functions of several nodes: every way to write them is found, and nothing that looks like them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import onnxray
from onnxray.engine.health import health
from onnxray.engine.inspect.gates import gate_ending_at, gate_from
from onnxray.engine.inspect.own_units import chain_of
from onnxray.engine.optimize.linear import Linear, activated, linear_value
from onnxray.engine.survey.measure import health_layers

ERF = "d = Div (x, root) e = Erf (d) s = Add (e, one) "
TANH = "q = Pow (x, three) k = Mul (q, small) u = Add (x, k) m = Mul (u, scale) e = Tanh (m) s = Add (e, one) "
CUBE = (
    "q = Mul (x, x) r = Mul (q, x) k = Mul (r, small) u = Add (x, k) m = Mul (scale, u) e = Tanh (m) s = Add (one, e) "
)
FORMS = {
    "torch": (ERF + "p = Mul (x, s) g = Mul (p, half)", "Gelu"),
    "half first": (ERF + "h = Mul (half, x) g = Mul (h, s)", "Gelu"),
    "half with the factor": (ERF + "h = Mul (s, half) g = Mul (h, x)", "Gelu"),
    "erf of a product": ("d = Mul (x, root) e = Erf (d) s = Add (one, e) p = Mul (s, x) g = Mul (half, p)", "Gelu"),
    "tanh": (TANH + "h = Mul (x, half) g = Mul (h, s)", "Gelu"),
    "tanh of a cube": (CUBE + "h = Mul (half, s) g = Mul (x, h)", "Gelu"),
    "swish": ("s = Sigmoid (x) g = Mul (x, s)", "Swish"),
    "quick": ("k = Mul (x, quick) s = Sigmoid (k) g = Mul (x, s)", "QuickGelu"),
    "hard": ("s = HardSigmoid (x) g = Mul (s, x)", "HardSwish"),
}


@pytest.fixture
def around(parse: Callable[..., Any]) -> Callable[[str], onnxray.Model]:
    """A model whose middle is given: from x, a convolution, to g."""

    def made(body: str) -> onnxray.Model:
        rng = np.random.default_rng(0)
        numbers = {"root": math.sqrt(2), "one": 1, "half": 0.5, "three": 3, "small": 0.044715, "quick": 1.702}
        text = f"""
            m (float[N, 3, 8, 8] i) => (float[N, 2] y)
            {{ x = Conv (i, w) b = Conv (i, w2) {body} f = GlobalAveragePool (g) l = Flatten (f) y = Gemm (l, head) }}
            """
        return onnxray.load(
            parse(
                text,
                w=rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
                w2=rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
                head=rng.normal(size=(4, 2)).astype(np.float32),
                scale=np.float32(math.sqrt(2 / math.pi)),
                **{name: np.float32(number) for name, number in numbers.items()},
            ),
            mean=127.5,
            std=127.5,
        )

    return made


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_found_from_both_ends(around: Callable[[str], onnxray.Model], form: str) -> None:
    body, function = FORMS[form]
    model = around(body)
    ending, going = gate_ending_at(model, "g"), gate_from(model, "x")
    assert ending is not None
    assert (ending.function, ending.source) == (function, "x")
    assert going == ending
    assert ending.inside(model) >= {"s"}
    assert not {"x", "g", "i"} & ending.inside(model)
    assert linear_value(model, "g") == Linear("x")
    assert activated(model, "x") == "g"
    assert [layer.output for layer in chain_of(model, "x").chain] == ["x", "g"]


@pytest.mark.parametrize(
    "body",
    [
        "s = Sigmoid (b) g = Mul (x, s)",
        "d = Div (b, root) e = Erf (d) s = Add (e, one) p = Mul (x, s) g = Mul (p, half)",
        "d = Div (x, root) e = Erf (d) s = Add (e, half) p = Mul (x, s) g = Mul (p, half)",
        "u = Add (x, b) e = Tanh (u) s = Add (e, one) p = Mul (x, s) g = Mul (p, half)",
        "g = Mul (x, x)",
    ],
)
def test_other_products_are_not(around: Callable[[str], onnxray.Model], body: str) -> None:
    model = around(body)
    assert gate_ending_at(model, "g") is None
    assert gate_from(model, "x") is None
    assert activated(model, "x") == "x"


@pytest.mark.parametrize("form", ["torch", "tanh", "swish"])
def test_health_measures_before_and_behind(around: Callable[[str], onnxray.Model], form: str) -> None:
    body, function = FORMS[form]
    model = around(body)
    named = {layer.output: layer.name for layer in model.layers}
    assert [name for name in health_layers(model) if name not in (named["b"], "classes")] == [named["g"]]
    images = list(np.random.default_rng(1).integers(0, 256, (8, 8, 8, 3), np.uint8))
    layer = health(model, images).layer(named["g"])
    values = onnxray.activations(model, images, ["x", "g"])
    assert layer.function == function
    np.testing.assert_allclose(layer.mean, values["g"].mean((0, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(
        layer.quantiles(0.5, before=True), np.median(values["x"], (0, 2, 3)), rtol=0.15, atol=0.05
    )
    np.testing.assert_allclose(layer.quantiles(0.9), np.quantile(values["g"], 0.9, (0, 2, 3)), rtol=0.2)
