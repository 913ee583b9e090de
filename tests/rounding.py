"""How far two computations of the same values may be apart.

ONNX Runtime has other kernels for every kind of processor and for many sizes, and fuses nodes as the rest of the graph lets
it: what two graphs, two sizes of batch or another library compute agrees but for rounding, however it was on one machine.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# In parts of the range of the values: what the documentation promises, and the same for half precision.
ROUNDING, HALF = 1e-5, 2e-3


def apart(got: Any, expected: Any, span: float | None = None) -> float:
    """The largest difference, in parts of the range of what is expected.

    span: the range of the numbers that these were made of, where it is another: a difference of scores has their rounding.
    """
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape
    span = float(np.ptp(expected) if span is None else span)
    assert span > 0
    return float(np.abs(got - expected).max() / span)
