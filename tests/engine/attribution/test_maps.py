"""Maps: where values lie on the plane that is shown."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.engine.attribution.inputs import Input
from onnxray.engine.attribution.maps import GridMaps, InputMaps, Maps

RNG = np.random.default_rng(0)
IMAGE = Input("x", np.zeros((2, 3, 4, 6), np.float32), {}, "NCHW")
TABLE = Input("x", np.zeros((2, 5), np.float32), {})
VALUES = RNG.standard_normal((2, 3, 4, 6)).astype(np.float32)


def test_a_grid_is_shown_as_it_is() -> None:
    values = VALUES[:, 0]
    for given in (IMAGE, TABLE):
        np.testing.assert_array_equal(GridMaps(values).shown(1, given), values[1])
    assert GridMaps(VALUES).shown(0, IMAGE) is None


def test_channels_of_the_input_become_one_number() -> None:
    np.testing.assert_array_equal(InputMaps(VALUES, reduce="sum").shown(1, IMAGE), VALUES[1].sum(axis=0))
    strongest = np.take_along_axis(VALUES[1], np.abs(VALUES[1]).argmax(axis=0)[None], axis=0)[0]
    np.testing.assert_array_equal(InputMaps(VALUES, reduce="max-abs").shown(1, IMAGE), strongest)
    assert InputMaps(VALUES).shown(0, IMAGE) is None


def test_a_sequence_is_one_row() -> None:
    values = VALUES[:, 0, 0]
    np.testing.assert_array_equal(InputMaps(values).shown(1, TABLE), values[1:2])
    np.testing.assert_array_equal(InputMaps(VALUES[:, 0]).shown(1, TABLE), VALUES[1, 0])
    assert InputMaps(VALUES).shown(0, TABLE) is None


@pytest.mark.parametrize("kind", [GridMaps, InputMaps])
def test_a_plane_of_its_own_comes_first(kind: type[Maps]) -> None:
    plane = RNG.standard_normal((2, 7, 7)).astype(np.float32)
    np.testing.assert_array_equal(kind(VALUES, plane=plane).shown(1, IMAGE), plane[1])
