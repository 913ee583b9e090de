"""Probabilities and the best classes."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.engine.errors import ShapeError
from onnxray.engine.inspect.answer import Answer
from onnxray.engine.targets.classify import best, class_probabilities


def output(scores: str = "logits", axis: int = 1, kind: str = "classes", **more: float) -> Answer:
    return Answer("y", "y", kind, axis, None, scores, "", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "axis", "rows"),
    [((2, 5), 1, 2), ((5,), 0, 1), ((2, 5, 1, 1), 1, 2), ((2, 1, 1, 5), 3, 2), ((1, 5), 1, 1)],
)
def test_scores_are_rows_of_classes(shape: tuple[int, ...], axis: int, rows: int) -> None:
    values = np.arange(np.prod(shape), dtype=np.float16).reshape(shape)
    found = output(axis=axis).rows(values)
    assert found.shape == (rows, 5)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found.ravel(), np.arange(rows * 5))


@pytest.mark.parametrize("shape", [(2, 5, 7), (2, 5, 3, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="'y'"):
        output().rows(np.zeros(shape, np.float32))
    with pytest.raises(ShapeError, match="not numbers"):
        output().rows(np.array([["a"]]))


def test_softmax_is_exact_for_large_logits() -> None:
    found = output().probabilities(np.array([[1000.0, 1000.0 + np.log(3), -1e9]]))
    np.testing.assert_allclose(found, [[0.25, 0.75, 0.0]], atol=1e-12)
    np.testing.assert_allclose(output("log-probabilities").probabilities(np.log([[0.1, 0.9]])), [[0.1, 0.9]])
    np.testing.assert_array_equal(output("probabilities").probabilities(np.array([[0.4, 0.5]])), [[0.4, 0.5]])
    assert "softmax of output 'y'" in output().shown_as
    assert "exp of output" in output("log-probabilities").shown_as
    assert "as it is" in output("probabilities").shown_as
    assert "sigmoid of output 'y', independent labels" in output(kind="labels").shown_as


def test_labels_hold_by_themselves() -> None:
    answer = output("probabilities", kind="labels", threshold=0.3)
    (guesses,) = best(np.array([[0.2, 0.9, 0.3]]), answer, ("a", "b", "c"))
    assert [(g.label, g.probability, g.holds) for g in guesses] == [
        ("b", 0.9, True),
        ("c", 0.3, True),
        ("a", 0.2, False),
    ]
    assert best(np.zeros((1, 3)), output(), None)[0][0].holds is None


def test_one_of_two_by_its_threshold() -> None:
    answer = Answer("y", "y", "two", 1, 1, "logits", "", threshold=0.9)
    (guesses,) = best(np.array([[1.0]]), answer, ("good", "bad"))
    p = 1 / (1 + np.exp(-1))
    assert [(g.label, g.holds) for g in guesses] == [("bad", False), ("good", True)]
    np.testing.assert_allclose([g.probability for g in guesses], [p, 1 - p])
    assert [g.score for g in guesses] == [1.0, -1.0]


def test_equal_scores_keep_the_order_of_classes() -> None:
    (guesses,) = best(np.array([[1, 3, 3, 0]], np.float32), output(), ("a", "b", "c", "d"), top=3)
    assert [(g.index, g.label, g.score) for g in guesses] == [(1, "b", 3.0), (2, "c", 3.0), (0, "a", 1.0)]
    assert sum(g.probability for g in best(np.zeros((1, 4)), output(), None, top=9)[0]) == pytest.approx(1)
    assert best(np.zeros((1, 4)), output(), ("too", "few"))[0][0].label is None


@pytest.mark.parametrize(
    ("scores", "kind", "columns"),
    [
        ("logits", "classes", 3),
        ("log-probabilities", "classes", 3),
        ("probabilities", "classes", 3),
        ("logits", "labels", 3),
        ("logits", "two", 1),
        ("logits", "two", 2),
        ("log-probabilities", "two", 1),
        ("probabilities", "two", 1),
    ],
)
def test_probabilities_of_explained_scores_are_those_of_the_answer(scores: str, kind: str, columns: int) -> None:
    answer = Answer("y", "y", kind, 1, columns, scores, "")
    rows = np.random.default_rng(0).standard_normal((4, columns))
    if scores != "logits":
        rows = np.exp(rows) / (np.exp(rows).sum(axis=1, keepdims=True) + 1)
        rows = np.log(rows) if scores == "log-probabilities" else rows
    found = class_probabilities(answer, answer.sides(rows))
    np.testing.assert_allclose(found, answer.probabilities(rows), rtol=1e-12)
    np.testing.assert_array_equal(class_probabilities(answer, found, "prob"), found)
