"""What class activation maps have in common: which layer they take."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray

TWO = """m (float[N, 3, 16, 16] x) => (float[N, 128, 5] y) {
  stem = Conv <pads = [1, 1, 1, 1]> (x, s)  r = Relu (stem)
  a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (r, u)  ra = Relu (a)  fa = Reshape (ra, flat)  ta = Transpose <perm = [0, 2, 1]> (fa)
  b = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (r, v)  rb = Relu (b)  fb = Reshape (rb, flat)  tb = Transpose <perm = [0, 2, 1]> (fb)
  y = Concat <axis = 1> (ta, tb) }"""


@pytest.mark.parametrize("method", ["grad-cam", "eigen-cam", "recipro-cam", "score-cam"])
@pytest.mark.parametrize(("row", "layer"), [(10, "a"), (74, "b")])
def test_of_two_branches_the_one_that_the_target_is_about(
    parse: Callable[..., onnx.ModelProto], method: str, row: int, layer: str
) -> None:
    """A detector's heads: the last layer of the graph belongs to one of them."""
    rng = np.random.default_rng(0)
    model = parse(
        TWO,
        s=rng.standard_normal((8, 3, 3, 3)).astype(np.float32),
        u=rng.standard_normal((5, 8, 3, 3)).astype(np.float32),
        v=rng.standard_normal((5, 8, 3, 3)).astype(np.float32),
        flat=np.array([0, 5, 64]),
    )
    x = rng.standard_normal((1, 3, 16, 16)).astype(np.float32)
    column = int(onnxray.activations(model, x, ["y"])["y"][0, row].argmax())
    e = onnxray.explain(model, x, method, f"element:y:{row},{column}")
    assert (e.layer or "").lstrip("r") == layer
