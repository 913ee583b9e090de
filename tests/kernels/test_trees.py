"""The kernel of tree-shap: paths, players that are several features, threads."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.kernels.trees import AT_MOST, MOST_PLAYERS, Nodes, places, shapley, shares


def chain(length: int) -> Nodes:
    """A tree that asks for x[i] <= 0 one after the other; every "no" is a leaf."""
    inner = np.arange(length)
    feature = np.full(2 * length + 1, -1, np.int32)
    feature[:length] = inner
    yes, no = np.zeros(len(feature), np.int32), np.zeros(len(feature), np.int32)
    yes[:length] = [*range(1, length), 2 * length]
    no[:length] = length + inner
    zeros = np.zeros(len(feature))
    return Nodes(
        feature,
        zeros,
        np.full(len(feature), AT_MOST, np.uint8),
        zeros.astype(bool),
        yes,
        no,
        zeros.astype(np.int32),
        np.zeros(1, np.int32),
        np.zeros(0),
    )


def test_shares_are_the_weights_of_coalitions() -> None:
    found = shares(3)
    assert found[0, 0] == pytest.approx(1.0)
    assert found[1, 2] == pytest.approx(1 * 2 / 24)


def test_a_conjunction_is_shared_alike() -> None:
    """All of six conditions hold for x and none for the background: each player has a sixth."""
    nodes = chain(6)
    where = places(nodes, np.arange(6, dtype=np.int32))
    weight = np.zeros(len(nodes.feature))
    weight[-1] = 12.0
    found = shapley(nodes, where, weight, np.full((3, 6), -1.0), np.ones((2, 6)), 6, threads=2)
    np.testing.assert_allclose(found, np.full((3, 6), 2.0))


def test_features_of_one_player_go_together() -> None:
    nodes = chain(6)
    where = places(nodes, np.array([0, 0, 0, 0, 1, 1], np.int32))
    weight = np.zeros(len(nodes.feature))
    weight[-1] = 12.0
    found = shapley(nodes, where, weight, np.full((1, 6), -1.0), np.ones((2, 6)), 2)
    np.testing.assert_allclose(found, [[6.0, 6.0]])
    # The background row meets the condition of one feature of the first player: it is the same player.
    half = np.ones((1, 6))
    half[0, 0] = -1.0
    np.testing.assert_allclose(shapley(nodes, where, weight, np.full((1, 6), -1.0), half, 2), [[6.0, 6.0]])


def test_as_many_players_on_a_path_as_a_word_has_bits() -> None:
    nodes = chain(MOST_PLAYERS)
    where = places(nodes, np.arange(MOST_PLAYERS, dtype=np.int32))
    weight = np.zeros(len(nodes.feature))
    weight[-1] = 64.0
    found = shapley(nodes, where, weight, np.full((1, 64), -1.0), np.ones((1, 64)), 64)
    np.testing.assert_allclose(found, np.ones((1, 64)))
    more = chain(MOST_PLAYERS + 1)
    with pytest.raises(ValueError, match="65 players"):
        places(more, np.arange(MOST_PLAYERS + 1, dtype=np.int32))
    places(more, np.zeros(MOST_PLAYERS + 1, np.int32))
