"""A novelty score is explained where the defect is: real tiles, judged by the masks of their data set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import onnxray
from onnxray.cli.files import images as files
from onnxray.tests.engine.zoo import opened

# Windows of the tiles at their own scale: whole tiles are of very different sizes and would be squeezed into one.
SIDE = 112


def window(picture: np.ndarray, y: int, x: int) -> np.ndarray:
    return np.ascontiguousarray(picture[y : y + SIDE, x : x + SIDE])


def good_windows(tiles: Path, rng: np.random.Generator, count: int) -> Iterator[np.ndarray]:
    """Windows of the six tiles without defects, mirrored at random."""
    for path in sorted(tiles.glob("MT_Free*.jpg")):
        picture = files.read(path)
        for _ in range(count):
            y, x = (int(rng.integers(0, side - SIDE + 1)) for side in picture.shape[:2])
            found = window(picture, y, x)[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]
            yield np.ascontiguousarray(found)


def with_defect(path: Path, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A window with a part of the defect in its middle half, and the mask of it."""
    picture, mask = files.read(path), files.read(path.with_suffix(".png"))[..., 0] > 127
    chosen = rng.choice(np.argwhere(mask))
    corner = [int(np.clip(at - rng.integers(SIDE // 4, 3 * SIDE // 4), 0, side - SIDE))
              for at, side in zip(chosen, mask.shape, strict=True)]  # fmt: skip
    return window(picture, *corner), window(mask, *corner)


@pytest.mark.slow
def test_the_pointing_game_on_tiles(zoo: Path) -> None:
    """The heat's maximum is in the defect, or within a cell of 4 pixels of it, in 8 of 10 windows; chance is below 3."""
    tiles, rng = zoo / "inspection" / "magnetic_tile", np.random.default_rng(1)
    model = opened(zoo, "mobilenet_v2_100_224")
    memory = onnxray.Novelty.fit(model, list(good_windows(tiles, rng, 80)), method="padim")
    compiled = onnxray.compile(model, None, novelty=memory)
    hits, chance = [], []
    for path in sorted(tiles.glob("MT_[BCFU][rlnir]*.jpg")):
        if "Free" in path.name:
            continue
        picture, mask = with_defect(path, rng)
        near = ndimage.distance_transform_edt(~mask) <= 4
        heat = onnxray.explain(compiled, picture, "hires-cam", "value:novelty_score").heatmap
        hits.append(near[np.unravel_index(int(heat.argmax()), heat.shape)])
        chance.append(near.mean())
    assert len(hits) == 30
    assert np.mean(chance) < 0.3
    assert np.mean(hits) >= 0.8
