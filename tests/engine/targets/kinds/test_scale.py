"""`logit:` in front of values that hold probabilities, in float64 and where the probability has no slope left."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray import Target
from onnxray.engine.errors import TargetError

Parse = Callable[..., onnx.ModelProto]
X = np.random.default_rng(1).standard_normal((1, 2, 5)).astype(np.float32)


def log_odds(z: np.ndarray, axis: int) -> np.ndarray:
    """log(p / (1 - p)) of a softmax, in float64 and class by class."""
    z = np.moveaxis(z.astype(np.float64), axis, -1)
    out = np.empty_like(z)
    for c in range(z.shape[-1]):
        rest = np.delete(z, c, axis=-1)
        m = rest.max(axis=-1)
        out[..., c] = z[..., c] - m - np.log(np.exp(rest - m[..., None]).sum(axis=-1))
    return np.moveaxis(out, -1, axis)


@pytest.mark.parametrize("times", [1.0, 30.0])
@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize(("axis", "c"), [(2, 0), (2, 3), (1, 1)])
def test_the_log_odds_of_a_softmax(parse: Parse, axis: int, c: int, times: float, opset: int) -> None:
    if opset == 11 and axis == 1:
        pytest.skip("before opset 13 a softmax runs over all axes from its own on")
    text = f"m (float[N, 2, 5] x) => (float[N, 2, 5] boxes) {{ z = Mul (x, k)  boxes = Softmax <axis = {axis}> (z) }}"
    model = onnxray.load(parse(text, opset=opset, k=np.float32(times)))
    place = (c, 3) if axis == 1 else (1, c)
    e = onnxray.explain(model, X, "gradient", f"logit:element:boxes:{place[0]},{place[1]}")
    assert e.score == pytest.approx(log_odds(X * times, axis)[0][place], rel=1e-4, abs=1e-4)
    due = np.zeros(X.shape)
    for i in np.ndindex(*X.shape):
        up, down = X.astype(np.float64), X.astype(np.float64)
        up[i] += 1e-6
        down[i] -= 1e-6
        due[i] = (log_odds(up * times, axis) - log_odds(down * times, axis))[0][place] / 2e-6
    np.testing.assert_allclose(e.values, due[0], atol=2e-5 * times)


def test_a_saturated_probability_is_said_and_its_logit_has_a_slope(parse: Parse) -> None:
    model = onnxray.load(
        parse("m (float[N, 2, 5] x) => (float[N, 5, 2] p) { s = Sigmoid (x)  p = Transpose <perm = [0, 2, 1]> (s) }")
    )
    x = X.copy()
    x[0, 1, 2] = 25
    e = onnxray.explain(model, x, "gradient", "element:p:2,1")
    assert any("explain logit:element:p:2,1" in text for text in e.warnings)
    e = onnxray.explain(model, x, "gradient", "logit:element:p:2,1")
    assert e.score == 25
    assert e.values[1, 2] == 1
    assert not [text for text in e.warnings if "gradient vanishes" in text]


def test_texts_and_refusals(parse: Parse) -> None:
    for text in ("logit:element:p:2,1", "logit:mean:p", "logit:unit:conv:3", "logit:value:2"):
        assert str(Target.parse(text)) == text
    plain = onnxray.load(parse("m (float[N, 2, 5] x) => (float[N, 2, 5] y) { y = Neg (x) }"))
    with pytest.raises(TargetError, match="plain numbers"):
        onnxray.explain(plain, X, "gradient", "logit:element:y:0,0")
    with pytest.raises(TargetError, match="names no value"):
        onnxray.explain(plain, X, "gradient", Target.logit(Target.like(np.ones(5, np.float32))))
