"""How values are written in messages."""

from __future__ import annotations

import numpy as np

from onnxray.engine.proto.values import Value


def test_long_symbolic_sizes_are_cut_in_messages() -> None:
    """As exporters of detectors write them."""
    size = "floor(floor(height/2 - 1/2)/2 - 1/2)*" * 20
    text = str(Value("x", np.dtype(np.float32), ("batch", 3, size)))
    assert text == "x: float32 [batch, 3, floor(floor(height/2 - 1/...]"
