"""COCO's run-length encoding, read back by pycocotools."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.cli.files.rle import to_rle


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (240, 320), (1, 3000)])
def test_masks_come_back(shape: tuple[int, int], share: float) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(3)
    for mask in (rng.random(shape) < share, np.repeat(rng.random((shape[0], 1)) < share, shape[1], axis=1)):
        rle = to_rle(mask)
        np.testing.assert_array_equal(coco.decode(rle), mask)
        assert rle["counts"] == coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
        assert coco.area(rle) == mask.sum()
