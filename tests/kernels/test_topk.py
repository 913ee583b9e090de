"""Streaming top-k against one stable sort of everything."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.kernels.topk import empty, merge, update


def judge(scores: np.ndarray, ids: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((ids, -scores), axis=0)[:k]
    return np.take_along_axis(scores, order, 0).T, np.take_along_axis(ids, order, 0).T


@pytest.mark.parametrize("levels", [1, 3, 1000])
@pytest.mark.parametrize("batch", [1, 7, 100])
def test_batches_do_not_matter(levels, batch):
    """Few levels: many ties."""
    rng = np.random.default_rng(levels)
    scores = rng.integers(-levels, levels, (100, 11)).astype(np.float32)
    ids = rng.permutation(1000)[:100]
    state = empty(11, 9)
    for start in range(0, 100, batch):
        assert update(state, scores[start : start + batch], ids[start : start + batch]) is state
    expected, names = judge(scores, np.broadcast_to(ids[:, None], scores.shape), 9)
    np.testing.assert_array_equal(state.scores, expected)
    np.testing.assert_array_equal(state.ids, names)


def test_ids_of_their_own():
    rng = np.random.default_rng(5)
    scores = rng.integers(0, 3, (40, 6)).astype(np.float64)
    ids = np.stack([rng.permutation(500)[:40] for _ in range(6)], axis=1)
    state = update(empty(6, 4), scores, ids)
    expected, names = judge(scores, ids, 4)
    np.testing.assert_array_equal(state.scores, expected)
    np.testing.assert_array_equal(state.ids, names)


def test_fewer_than_k():
    state = update(empty(2, 3), [[1.0, -np.inf], [2.0, 5.0]], [4, 9])
    np.testing.assert_array_equal(state.ids, [[9, 4, -1], [9, 4, -1]])
    np.testing.assert_array_equal(state.scores, np.float32([[2, 1, -np.inf], [5, -np.inf, -np.inf]]))


def test_nan_is_never_among_the_best():
    state = update(empty(1, 2), [[np.nan], [-3.0], [np.nan]], [0, 1, 2])
    np.testing.assert_array_equal(state.ids, [[1, -1]])


def test_empty_batch_and_no_units():
    state = update(empty(3, 2), np.zeros((0, 3)), np.zeros(0, int))
    assert (state.ids == -1).all()
    assert update(empty(0, 2), np.zeros((5, 0)), np.arange(5)).scores.shape == (0, 2)


@pytest.mark.parametrize(
    ("scores", "ids", "message"),
    [
        (np.zeros((2, 4)), [0, 1], r"shape \(n, 3\)"),
        (np.zeros(3), [0], r"shape \(n, 3\)"),
        (np.zeros((2, 3)), [0], "ids must have shape"),
        (np.zeros((2, 3)), [0, -1], "negative"),
    ],
)
def test_misuse(scores, ids, message):
    with pytest.raises(ValueError, match=message):
        update(empty(3, 2), scores, ids)


def test_misused_state():
    with pytest.raises(ValueError, match="k at least 1"):
        empty(3, 0)


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_parts_merge_to_the_whole(parts):
    """Ids come several times, in the same part and in others."""
    rng = np.random.default_rng(parts)
    ids = rng.integers(0, 60, 100)
    scores = rng.integers(-3, 3, (60, 8)).astype(np.float32)[ids]
    places = np.broadcast_to(ids[:, None] * 2, scores.shape)
    whole = update(empty(8, 9), scores, ids, places)
    state = empty(8, 9)
    for chosen in np.array_split(rng.permutation(100), parts):
        assert merge(state, update(empty(8, 9), scores[chosen], ids[chosen], places[chosen])) is state
    for name in ("scores", "ids", "places"):
        np.testing.assert_array_equal(getattr(state, name), getattr(whole, name))
    assert all(len(set(row.tolist())) == 9 for row in state.ids)
    np.testing.assert_array_equal(state.places, 2 * state.ids)


def test_an_id_that_comes_again_keeps_its_highest_score():
    state = update(empty(1, 3), [[1.0], [4.0], [2.0], [3.0], [4.0]], [7, 8, 7, 7, 8], [[0], [1], [2], [3], [4]])
    assert state.ids.tolist() == [[8, 7, -1]]
    assert state.scores[0, :2].tolist() == [4, 3]
    assert state.places[0, :2].tolist() == [1, 3]


def test_places_must_fit_and_units_must_agree():
    with pytest.raises(ValueError, match="places must have shape"):
        update(empty(3, 2), np.zeros((2, 3)), [0, 1], [[0, 1]])
    with pytest.raises(ValueError, match="cannot be merged"):
        merge(empty(3, 2), empty(4, 2))
