"""LIME: scikit-learn's ridge regression, the reference's weights, linear models, and what it is told."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.errors import MethodError
from onnxray.engine.methods.lime import draw, proximity, ridge
from onnxray.tests.engine.zoo import feeds_of
from onnxray.tests.rounding import ROUNDING, apart

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(0)
X = RNG.standard_normal((1, 3, 16, 16)).astype(np.float32)


def linear(parse: Parse, features: int) -> tuple[onnx.ModelProto, np.ndarray]:
    w = RNG.standard_normal((features, 3)).astype(np.float32)
    b = RNG.standard_normal(3).astype(np.float32)
    return parse(f"m (float[N, {features}] x) => (float[N, 3] y) {{ y = Gemm (x, w, b) }}", w=w, b=b), w


@pytest.mark.parametrize("alpha", [1.0, 0.05, 30.0])
@pytest.mark.parametrize(("samples", "features"), [(200, 12), (20, 40)])
def test_the_regression_is_scikit_learns_ridge(samples: int, features: int, alpha: float) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    z = RNG.integers(0, 2, (samples, features)).astype(float)
    y, weights = RNG.standard_normal(samples), RNG.random(samples)
    expected = linear_model.Ridge(alpha=alpha, fit_intercept=True).fit(z, y, sample_weight=weights)
    values, intercept = ridge(z, y, weights, alpha)
    assert np.allclose(values, expected.coef_, atol=1e-9)
    assert intercept == pytest.approx(expected.intercept_, abs=1e-9)


def test_weights_are_those_of_the_reference() -> None:
    pairwise = pytest.importorskip("sklearn.metrics").pairwise_distances
    keep = draw(50, 9, 3)
    keep[7] = False
    distance = pairwise(keep.astype(float), keep[:1].astype(float), metric="cosine").ravel()
    assert np.allclose(proximity(keep, 0.25), np.sqrt(np.exp(-(distance**2) / 0.25**2)))


def test_the_explanation_is_that_regression_on_the_networks_scores(cnn: onnx.ModelProto) -> None:
    sklearn = pytest.importorskip("sklearn.linear_model")
    labels = np.arange(256).reshape(16, 16) // 64 * 2 + (np.arange(16) >= 8)
    e = onnxray.explain(cnn, X, "lime", 3, segments=labels, samples=120, fill="blur", seed=4)
    keep = draw(120, 8, 4)
    from onnxray.engine.attribution.baselines import blurred

    inputs = np.where(keep[:, labels][:, None], X, blurred(X, (2, 3)))
    scores = onnxray.activations(cnn, inputs, "logits")["logits"][:, 3]
    fitted = sklearn.Ridge(alpha=1.0).fit(keep, scores, sample_weight=proximity(keep, 0.25))
    assert apart(e.details["weights"], fitted.coef_, np.ptp(scores)) <= ROUNDING
    assert apart(e.values, fitted.coef_[labels], np.ptp(scores)) <= ROUNDING
    assert e.details["r2"] == pytest.approx(fitted.score(keep, scores, sample_weight=proximity(keep, 0.25)), abs=1e-5)
    assert e.details["intercept"] == pytest.approx(fitted.intercept_, abs=1e-5)
    assert e.details["local_prediction"] == pytest.approx(float(fitted.predict(keep[:1])[0]), abs=1e-5)


def test_a_linear_model_is_found_exactly_without_regularisation(parse: Parse) -> None:
    model, w = linear(parse, 10)
    x = RNG.standard_normal((2, 10)).astype(np.float32)
    for e, row in zip(onnxray.explain(model, x, "lime", 1, alpha=0, fill=0.5), x, strict=True):
        assert e.values.shape == (10,)
        assert np.allclose(e.values, w[:, 1] * (row - 0.5), atol=1e-4)
        assert e.details["r2"] == pytest.approx(1)


def test_random_forests_have_no_gradient_and_need_none(zoo: object) -> None:
    folder = zoo / "frameworks" / "s_random_forest_op17"  # type: ignore[operator]
    x = next(iter(feeds_of(folder).values()))
    first, again = (onnxray.explain(folder / "model.onnx", x, "lime") for _ in range(2))
    for e, same in zip(first, again, strict=True):
        assert e.values.shape == x.shape[1:]
        assert e.values.tobytes() == same.values.tobytes()
        assert e.details["r2"] > 0.7


def test_a_batch_size_changes_nothing_but_rounding(cnn: onnx.ModelProto) -> None:
    one, many = (onnxray.explain(cnn, X, "lime", 0, samples=90, segments="grid", grid=4, batch=b) for b in (1, 64))
    assert np.allclose(one.values, many.values, atol=1e-5 * np.abs(one.values).max())
    other = onnxray.explain(cnn, X, "lime", 0, samples=90, segments="grid", grid=4, seed=1)
    assert not np.allclose(one.values, other.values, atol=1e-3 * np.abs(one.values).max())


def test_what_cannot_be_solved_says_so(parse: Parse, cnn: onnx.ModelProto) -> None:
    model, _ = linear(parse, 10)
    with pytest.raises(onnxray.OnnxrayError, match="5 samples do not determine the values of 10 features"):
        onnxray.explain(model, np.ones((1, 10), np.float32), "lime", 0, samples=5, alpha=0)
    with pytest.raises(onnxray.OnnxrayError, match=r"at most 4096.*group them"):
        onnxray.explain(*_wide(parse), "lime", 0)
    with pytest.raises(onnxray.OnnxrayError, match="too many to solve for at once"):
        onnxray.explain(cnn, X, "lime", samples=1_000_000, segments="grid", grid=16)
    with pytest.raises(onnxray.OnnxrayError, match="samples of lime must be an integer from 2"):
        onnxray.explain(cnn, X, "lime", samples=1)


def _wide(parse: Parse) -> tuple[onnx.ModelProto, np.ndarray]:
    model = parse("m (float[N, 5000] x) => (float[N, 1] y) { y = MatMul (x, w) }", w=np.ones((5000, 1), np.float32))
    return model, np.ones((1, 5000), np.float32)


def test_background_rows_and_an_array_to_fill_with(parse):
    """One of them would have no effect."""
    model = parse("m (float[N, 4] x) => (float[N, 4] y) { y = Softmax (x) }")
    rows, x = np.zeros((3, 4), np.float32), np.ones((1, 4), np.float32)
    with pytest.raises(MethodError, match="leave one out"):
        onnxray.explain(model, x, method="kernel-shap", background=rows, fill=np.ones((1, 4), np.float32))
