"""Probabilities and the best classes."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.engine.errors import ShapeError
from onnxray.engine.inspect.signature import ClassOutput
from onnxray.engine.targets.classify import best, probabilities, scores_of, shown_as


def output(scores: str = "logits", axis: int = 1) -> ClassOutput:
    return ClassOutput("y", axis, None, scores, "")


@pytest.mark.parametrize(
    ("shape", "axis", "rows"),
    [((2, 5), 1, 2), ((5,), 0, 1), ((2, 5, 1, 1), 1, 2), ((2, 1, 1, 5), 3, 2), ((1, 5), 1, 1)],
)
def test_scores_are_rows_of_classes(shape: tuple[int, ...], axis: int, rows: int) -> None:
    values = np.arange(np.prod(shape), dtype=np.float16).reshape(shape)
    found = scores_of(values, output(axis=axis))
    assert found.shape == (rows, 5)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found.ravel(), np.arange(rows * 5))


@pytest.mark.parametrize("shape", [(2, 5, 7), (2, 5, 3, 3), ()])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="'y'"):
        scores_of(np.zeros(shape, np.float32), output())


def test_softmax_is_exact_for_large_logits() -> None:
    found = probabilities(np.array([[1000.0, 1000.0 + np.log(3), -1e9]]), output())
    np.testing.assert_allclose(found, [[0.25, 0.75, 0.0]], atol=1e-12)
    np.testing.assert_allclose(probabilities(np.log([[0.1, 0.9]]), output("log-probabilities")), [[0.1, 0.9]])
    np.testing.assert_array_equal(probabilities(np.array([[0.4, 0.5]]), output("probabilities")), [[0.4, 0.5]])
    assert "softmax of the logits 'y'" in shown_as(output())
    assert "exp of the log-probabilities" in shown_as(output("log-probabilities"))
    assert "as it is" in shown_as(output("probabilities"))


def test_equal_scores_keep_the_order_of_classes() -> None:
    (guesses,) = best(np.array([[1, 3, 3, 0]], np.float32), output(), ("a", "b", "c", "d"), top=3)
    assert [(g.index, g.label, g.raw) for g in guesses] == [(1, "b", 3.0), (2, "c", 3.0), (0, "a", 1.0)]
    assert sum(g.score for g in best(np.zeros((1, 4)), output(), None, top=9)[0]) == pytest.approx(1)
    assert best(np.zeros((1, 4)), output(), ("too", "few"))[0][0].label is None
