"""Sobol indices against functions whose indices are known, and what masks do to images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.methods.sobol import designs, indices

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(4)
X = RNG.standard_normal((1, 3, 16, 16)).astype(np.float32)


@pytest.fixture
def ishigami(parse: Parse) -> onnx.ModelProto:
    """sin(x1) + 7 sin(x2)^2 + 0.1 x3^4 sin(x1); masks in 0..1 make x in -pi..pi of input pi and fill -pi."""
    return parse(
        """
        m (float[N, 3] x) => (float[N, 1] y)
        {
          x1, x2, x3 = Split <axis = 1> (x, parts)
          s1 = Sin (x1)  s2 = Sin (x2)  square = Mul (s2, s2)  seven = Mul (square, a)
          power = Pow (x3, four)  tenth = Mul (power, b)  both = Mul (tenth, s1)
          first = Add (s1, seven)  y = Add (first, both)
        }
        """,
        parts=np.array([1, 1, 1], np.int64),
        a=np.float32([7]),
        b=np.float32([0.1]),
        four=np.float32([4]),
    )


def test_ishigamis_function(ishigami: onnx.ModelProto) -> None:
    x = np.full((1, 3), np.pi, np.float32)
    e = onnxray.explain(ishigami, x, "sobol", 0, fill=-np.pi, designs=4096)
    a, b = 7.0, 0.1
    own = np.array([0.5 * (1 + b * np.pi**4 / 5) ** 2, a**2 / 8, 0])
    together = b**2 * np.pi**8 * 8 / 225  # x1 with x3
    variance = own.sum() + together
    assert e.details["variance"] == pytest.approx(variance, rel=0.02)
    assert np.allclose(e.values, (own + np.array([together, 0, together])) / variance, atol=0.01)
    assert np.allclose(e.details["first_order"], own / variance, atol=0.02)
    assert e.details["runs"] == 4096 * 5


def test_sobols_g_function(parse: Parse) -> None:
    """The product of (|4 m_i - 2| + a_i) / (1 + a_i)."""
    a = np.array([0, 1, 4.5, 9, 99], np.float32)
    model = parse(
        """
        m (float[N, 5] x) => (float[N, 1] y)
        {
          four = Mul (x, c4)  moved = Sub (four, c2)  size = Abs (moved)  above = Add (size, a)  part = Div (above, below)
          y = ReduceProd <axes = [1], keepdims = 1> (part)
        }
        """,
        c4=np.float32([4]),
        c2=np.float32([2]),
        a=a,
        below=1 + a,
    )
    e = onnxray.explain(model, np.ones((1, 5), np.float32), "sobol", 0, designs=4096)
    own = 1 / 3 / (1 + a.astype(float)) ** 2
    total = np.prod(1 + own) - 1
    expected = np.array([own[i] * np.prod(1 + np.delete(own, i)) for i in range(5)]) / total
    assert np.allclose(e.values, expected, atol=0.01)
    assert np.allclose(e.details["first_order"], own / total, atol=0.02)


def test_a_linear_models_indices_are_its_squared_effects(parse: Parse) -> None:
    w = RNG.standard_normal((6, 1)).astype(np.float32)
    w[2] = 0
    model = parse("m (float[N, 6] x) => (float[N, 1] y) { y = MatMul (x, w) }", w=w)
    x = RNG.standard_normal((1, 6)).astype(np.float32)
    effects = (w[:, 0] * (x[0] - 0.3)) ** 2
    e = onnxray.explain(model, x, "sobol", 0, fill=0.3, designs=1024)
    assert np.allclose(e.values, effects / effects.sum(), atol=0.01)
    assert e.values[2] == pytest.approx(0, abs=1e-10)
    assert (e.values >= 0).all()


def test_the_estimators_are_written_out(cnn: onnx.ModelProto) -> None:
    a, b, c = RNG.standard_normal(32), RNG.standard_normal(32), RNG.standard_normal((4, 32))
    total, first, variance = indices(a, b, c)
    assert variance == pytest.approx(sum((v - a.mean()) ** 2 for v in a) / 31)
    for i in range(4):
        jansen = sum((a[k] - c[i, k]) ** 2 for k in range(32)) / (2 * 32)
        assert total[i] == pytest.approx(jansen / variance)
        assert first[i] == pytest.approx(sum((b[k] - b.mean()) * (c[i, k] - a[k]) for k in range(32)) / 32 / variance)
    zero, _, _ = indices(np.full(8, 3.0), b[:8], np.full((4, 8), 3.0))
    assert not zero.any()


def test_designs_fill_the_cube_evenly() -> None:
    a, b = designs(5, 64, 3)
    assert a.shape == b.shape == (64, 5)
    for column in np.hstack([a, b]).T:  # one point in each 64th: what random numbers do not do
        assert sorted(np.floor(column * 64).astype(int)) == list(range(64))
    assert np.array_equal(a, designs(5, 64, 3)[0])
    assert not np.array_equal(a, designs(5, 64, 4)[0])


def test_masks_multiply_cells_of_a_grid(cnn: onnx.ModelProto) -> None:
    e = onnxray.explain(cnn, X, "sobol", 1, grid=2, designs=8, seed=5, fill="mean")
    a, b = (d.astype(np.float32) for d in designs(4, 8, 5))
    base = X.mean(axis=(2, 3), keepdims=True)
    cells = np.arange(16)[:, None] // 8 * 2 + np.arange(16) // 8

    def run(shares: np.ndarray) -> np.ndarray:
        m = shares[:, cells][:, None]
        return onnxray.activations(cnn, base * (1 - m) + X * m, "logits")["logits"][:, 1].astype(float)

    at_c = []
    for i in range(4):
        c = a.copy()
        c[:, i] = b[:, i]
        at_c.append(run(c))
    expected, _, _ = indices(run(a), run(b), np.stack(at_c))
    assert np.allclose(e.values, expected[cells], atol=1e-3)
    assert e.display == "positive"
    assert e.details["features"] == "a grid of 2 x 2"


def test_a_batch_size_changes_nothing_but_rounding(cnn: onnx.ModelProto) -> None:
    one, many = (onnxray.explain(cnn, X, "sobol", 0, grid=4, designs=8, batch=b) for b in (1, 64))
    assert np.allclose(one.values, many.values, atol=1e-4 * np.abs(one.values).max())


def test_bad_options(cnn: onnx.ModelProto, parse: Parse) -> None:
    with pytest.raises(onnxray.OnnxrayError, match="power of two of designs, not 20"):
        onnxray.explain(cnn, X, "sobol", designs=20)
    with pytest.raises(onnxray.OnnxrayError, match="finer than the input of 16 x 16"):
        onnxray.explain(cnn, X, "sobol", grid=17)
    with pytest.raises(onnxray.OnnxrayError, match="'inpaint' is for what is hidden wholly"):
        onnxray.explain(cnn, X, "sobol", fill="inpaint")
    wide = parse("m (float[N, 12000] x) => (float[N, 1] y) { y = MatMul (x, w) }", w=np.ones((12000, 1), np.float32))
    with pytest.raises(onnxray.OnnxrayError, match="sequences for 10600 features and the input has 12000"):
        onnxray.explain(wide, np.ones((1, 12000), np.float32), "sobol", 0)
