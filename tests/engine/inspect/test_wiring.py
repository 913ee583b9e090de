"""Strengths between units against loops over the weights."""

from __future__ import annotations

from typing import Any

import numpy as np

import onnxray
from onnxray.engine.inspect.own_units import own_units
from onnxray.engine.inspect.wiring import wiring


def strength(weights: np.ndarray) -> float:
    return float(np.linalg.norm(weights) * (-1 if weights.sum() < 0 else 1))


def test_convolutions_groups_branches_and_flattened_maps(parse: Any) -> None:
    rng = np.random.default_rng(0)
    w, v = rng.normal(size=(4, 3, 3, 3)), rng.normal(size=(4, 1, 3, 3))
    u, h = rng.normal(size=(6, 8, 1, 1)), rng.normal(size=(6 * 16, 2))
    model = onnxray.load(
        parse(
            """
            m (float[N, 3, 8, 8] x) => (float[N, 2] y)
            {
              a = Conv <pads = [1, 1, 1, 1]> (x, w) r = Relu (a) d = Conv <group = 4, pads = [1, 1, 1, 1]> (r, v)
              c = Concat <axis = 1> (d, r) e = Conv (c, u) q = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (e)
              f = Flatten (q) y = Gemm (f, h)
            }
            """,
            **{name: array.astype(np.float32) for name, array in {"w": w, "v": v, "u": u, "h": h}.items()},
        )
    )
    entries = own_units(model)
    counts = (4, 4, 6, 2)
    assert [entry.first.output for entry in entries] == ["a", "d", "e", "y"]
    assert wiring(model, entries, counts, 0) is None
    deep, joined, dense = (wiring(model, entries, counts, n) for n in (1, 2, 3))
    assert deep is not None
    assert joined is not None
    assert dense is not None
    np.testing.assert_allclose(deep.strengths, np.diag([strength(v[i]) for i in range(4)]), rtol=1e-5)
    assert joined.sources == ((1, 4), (0, 4))
    assert joined.source_of(5) == (0, 1)
    np.testing.assert_allclose(joined.strengths, u[:, :, 0, 0], rtol=1e-5)
    expected = [[strength(h[16 * c : 16 * c + 16, k]) for c in range(6)] for k in range(2)]
    np.testing.assert_allclose(dense.strengths, expected, rtol=1e-5)
