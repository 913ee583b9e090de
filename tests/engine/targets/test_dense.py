"""Maps that answers are made of."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.engine.errors import TargetError
from onnxray.engine.targets.dense import check_cells


@pytest.mark.parametrize("shape", [(0, 4, 4), (3, 0, 4), (1, 4, 0)])
def test_a_map_without_a_class_or_a_place_has_no_region(shape: tuple[int, ...]) -> None:
    with pytest.raises(TargetError, match="no region in a map of shape .* it has no class or no place"):
        check_cells(np.zeros(shape, np.float32))
    check_cells(np.zeros((1, 1, 1), np.float32))
