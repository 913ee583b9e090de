"""Windows as pairs of intervals of rows and columns."""

from __future__ import annotations

import numpy as np

from onnxray.engine.incremental.windows import Windows


def test_windows_are_pairs_of_intervals() -> None:
    boxes = np.array([(y, x, y + 5, x + 5) for y in range(0, 16, 4) for x in range(0, 16, 4)], np.int64)
    windows = Windows(boxes)
    rows, columns = windows.spans(0), windows.spans(1)
    assert len(rows) == len(columns) == 4
    np.testing.assert_array_equal(rows[windows.of(0)], boxes[:, [0, 2]])
    np.testing.assert_array_equal(columns[windows.of(1)], boxes[:, [1, 3]])
    assert windows.count == 16
    assert Windows(boxes, share=0.25).count == 4
