"""Every transform: what its seed gives, where its moves lead, that they compose into one map."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.engine.errors import MethodError
from onnxray.engine.optimize.transform import TRANSFORMS, Moment, matrix_of, noise_of
from onnxray.engine.optimize.transforms.moves import Crop, Jitter, Mirror, Pad, Rotate, Scale

SIZE = (20, 30)
MOMENT = Moment(0, 10, SIZE)


def moved(part: object, seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    return matrix_of([part], np.random.default_rng(seed), MOMENT, size)  # type: ignore[list-item]


@pytest.mark.parametrize("name", TRANSFORMS.all())
def test_the_seed_says_it_all(name: str) -> None:
    part = TRANSFORMS.make(name)

    def drawn(seed: int) -> tuple[np.ndarray, np.ndarray | None]:
        rng = np.random.default_rng(seed)
        return matrix_of([part], rng, MOMENT, SIZE), noise_of([part], rng, MOMENT, 3)

    for one, other in zip(drawn(1), drawn(1), strict=True):
        assert one is other or (one == other).all()
    assert drawn(1)[0].shape == (2, 3)


def test_nothing_moves_without_transforms() -> None:
    np.testing.assert_allclose(matrix_of([], np.random.default_rng(0), MOMENT, SIZE), np.eye(3)[:2], atol=1e-12)


def test_a_larger_picture_is_seen_whole() -> None:
    matrix = matrix_of([], np.random.default_rng(0), MOMENT, (40, 60))
    # The outer edges of the outer pixels fall on one another.
    np.testing.assert_allclose(matrix @ (-0.5, -0.5, 1), (-0.5, -0.5), atol=1e-12)
    np.testing.assert_allclose(matrix @ (19.5, 29.5, 1), (39.5, 59.5), atol=1e-12)


def test_the_centre_stays_where_it_is_turned_and_scaled() -> None:
    centre = (9.5, 14.5)
    for part in (Rotate(40), Scale(0.5, 2), Pad(5), Mirror()):
        np.testing.assert_allclose(moved(part) @ (*centre, 1), centre, atol=1e-9)
    shift = moved(Jitter(8))[:, 2]
    assert (np.abs(shift) <= 8).all()
    assert (shift == np.round(shift)).all()


def test_the_linear_parts() -> None:
    rotation = moved(Rotate(40))[:, :2]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(2), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    for seed in range(20):
        assert 0.9 <= 1 / moved(Scale(), seed)[0, 0] <= 1.1
    assert moved(Pad(5))[0, 0] == pytest.approx(1.5)


def test_crops_lie_inside_and_shrink() -> None:
    for seed in range(50):
        for step, share in ((0, 0.5), (9, 0.2)):
            matrix = matrix_of([Crop(spread=0)], np.random.default_rng(seed), Moment(step, 10, SIZE), SIZE)
            assert matrix[0, 0] == pytest.approx(share)
            corners = [matrix @ (y, x, 1) for y in (-0.5, 19.5) for x in (-0.5, 29.5)]
            assert np.min(corners) >= -0.5 - 1e-9
            assert (np.max(corners, axis=0) <= np.array([19.5, 29.5]) + 1e-9).all()


def test_the_first_acts_on_the_picture_first() -> None:
    rng = np.random.default_rng(0)
    both = matrix_of([Jitter(4), Scale(0.5, 0.5)], rng, MOMENT, SIZE)
    shift = moved(Jitter(4))[:, 2]
    np.testing.assert_allclose(both @ (9.5, 14.5, 1), np.array([9.5, 14.5]) + shift, atol=1e-9)


def test_a_range_the_wrong_way_round() -> None:
    with pytest.raises(MethodError, match="is not a range"):
        TRANSFORMS.make("scale:1.2,high=0.8")
