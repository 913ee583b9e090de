"""The images that excite objectives most, and what is held in memory of them."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import onnxray
from onnxray.engine.optimize.examples import Scorer
from onnxray.engine.optimize.objective import parse
from onnxray.engine.preprocess.card import Card
from onnxray.engine.preprocess.find import find_card
from onnxray.engine.survey.exciting import exciting_images
from onnxray.engine.survey.pictures import Picture

SURFACE = Path(onnxray.__file__).parent / "models" / "surface.onnx"
COUNT = 60


@pytest.fixture(scope="module")
def scored() -> tuple[Scorer, Card]:
    model = onnxray.load(SURFACE)
    return Scorer(model, [parse(f"channel:stage2/relu2:{n}") for n in range(16)]), find_card(model)


def _noise(seed: int) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(0, 256, (64, 64, 3)).astype(np.uint8)


def test_pictures_of_files_are_not_kept(scored: tuple[Scorer, Card]) -> None:
    made: list[weakref.ref[NDArray[Any]]] = []
    alive: list[int] = []

    def images() -> Iterator[Picture]:
        for seed in range(COUNT):
            pixels = _noise(seed)
            made.append(weakref.ref(pixels))
            yield Picture(str(seed), pixels, again=partial(_noise, seed))
            del pixels
            alive.append(sum(ref() is not None for ref in made))

    found = exciting_images(*scored, images(), 4)
    assert len({image.name for row in found for image in row}) > 20
    assert max(alive) < 20  # those prepared ahead
    for image in found[0]:
        np.testing.assert_array_equal(image.pixels, _noise(int(image.name)))


def test_arrays_that_no_file_holds_are_the_same_images(scored: tuple[Scorer, Card]) -> None:
    again = exciting_images(*scored, [Picture(str(n), _noise(n), again=partial(_noise, n)) for n in range(9)], 4)
    arrays = exciting_images(*scored, [Picture(str(n), _noise(n)) for n in range(9)], 4)
    assert [[(i.name, i.value) for i in row] for row in again] == [[(i.name, i.value) for i in row] for row in arrays]
    np.testing.assert_array_equal(again[3][0].pixels, arrays[3][0].pixels)
