"""Numbers that models answer with: which one is meant, and its gradient against central differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray import Target
from onnxray.engine.errors import TargetError, UnknownName

Parse = Callable[..., onnx.ModelProto]
W = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
X = np.random.default_rng(1).standard_normal((1, 6)).astype(np.float32)


def differences(f: Callable[[np.ndarray], float], x: np.ndarray) -> np.ndarray:
    grad, step = np.zeros(x.shape), 1e-6
    for i in np.ndindex(*x.shape):
        up, down = x.astype(np.float64), x.astype(np.float64)
        up[i] += step
        down[i] -= step
        grad[i] = (f(up) - f(down)) / (2 * step)
    return grad


def heads(x: np.ndarray) -> np.ndarray:
    return np.tanh(x @ W.astype(np.float64))


MODELS = {
    # [N]: one number per sample. (): one number for a model without a batch. [N, 1]. Several: [N, 3].
    "[N]": (
        "m (float[N, 6] x) => (float[N] age) { h = MatMul (x, w) t = Tanh (h) age = ReduceSum <keepdims = 0> (t, a) }",
        None,
    ),
    "()": ("m (float[6] x) => (float age) { h = MatMul (x, w) t = Tanh (h) age = ReduceSum <keepdims = 0> (t) }", None),
    "[N, 1]": (
        "m (float[N, 6] x) => (float[N, 1] age) { h = MatMul (x, w) t = Tanh (h) age = ReduceSum <keepdims = 1> (t, a) }",
        None,
    ),
    "[N, 3]": ("m (float[N, 6] x) => (float[N, 3] ages) { h = MatMul (x, w) ages = Tanh (h) }", 1),
}


def made(parse: Parse, name: str) -> onnxray.Model:
    constants = {"w": W} | ({"a": np.array([1], np.int64)} if "(t, a)" in MODELS[name][0] else {})
    return onnxray.load(parse(MODELS[name][0], **constants), answer="number")


@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_is_that_of_central_differences(parse: Parse, name: str) -> None:
    model, index = made(parse, name), MODELS[name][1]
    x = X[0] if name == "()" else X
    e = onnxray.explain(model, x, "gradient", "value" if index is None else f"value:{index}")
    due = differences(lambda x: heads(x).sum() if index is None else heads(x)[..., index].sum(), x)
    np.testing.assert_allclose(e.values, due.reshape(e.values.shape), atol=1e-5)
    assert e.label == ("value" if index is None else "value 1")
    assert "class" not in e.label


@pytest.mark.parametrize("name", ["[N]", "()", "[N, 1]"])
def test_it_is_the_default_of_a_regression(parse: Parse, name: str) -> None:
    e = onnxray.explain(made(parse, name), X[0] if name == "()" else X, "gradient")
    assert str(e.target) == "value"
    assert e.score == pytest.approx(heads(X).sum(), rel=1e-5)


def test_which_of_several(parse: Parse) -> None:
    model = made(parse, "[N, 3]")
    with pytest.raises(TargetError, match=r"holds several numbers per sample .*write value:INDEX"):
        onnxray.explain(model, X, "gradient")
    same = [onnxray.explain(model, X, "gradient", t).values for t in (2, "value:2", "value:ages:2", Target.number(2))]
    assert all(np.array_equal(v, same[0]) for v in same)
    named = onnxray.load(model, labels=["a", "b", "c"])
    assert np.array_equal(onnxray.explain(named, X, "gradient", "value:c").values, same[0])
    difference = onnxray.explain(model, X, "gradient", "contrast:2,0")
    np.testing.assert_allclose(difference.values, same[0] - onnxray.explain(model, X, "gradient", 0).values, atol=1e-6)
    with pytest.raises(TargetError, match="out of range"):
        onnxray.explain(model, X, "gradient", "value:3")
    with pytest.raises(UnknownName, match="'age'"):
        onnxray.explain(model, X, "gradient", "value:age")
    with pytest.raises(TargetError, match="no class|has no classes"):
        onnxray.explain(model, X, "gradient", "prob:1")


@pytest.mark.parametrize("text", ["value", "value:3", "value:3,1", "value:price", "value:price:3", "value:a:0:2,1"])
def test_texts(text: str) -> None:
    assert str(Target.parse(text)) == text
    assert Target.parse(str(Target.parse(text))) == Target.parse(text)


def test_a_value_without_a_batch_axis_is_addressed_by_all_its_axes(parse: Parse) -> None:
    """What a non-maximum suppression selects: as many scores as there are boxes, one here."""
    model = parse(
        """m (float[1, 6] x) => (float[K] kept) { h = MatMul (x, w)  t = Tanh (h)  r = Reshape (t, all)
             some = Greater (r, low)  kept = Compress <axis = 0> (r, some) }""",
        w=W,
        all=np.array([-1], np.int64),
        low=np.float32(np.sort(heads(X)[0])[1] + 1e-3),
    )
    best = int(heads(X)[0].argmax())
    e = onnxray.explain(model, X, "gradient", "element:kept:0")
    due = differences(lambda x: heads(x)[0, best], X)
    np.testing.assert_allclose(e.values, due[0], atol=1e-5)
    with pytest.raises(TargetError, match="after the batch|out of range"):
        onnxray.explain(model, X, "gradient", "element:kept:1")
