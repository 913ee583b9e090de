"""LayerCAM: pytorch-grad-cam's maps, and the formula."""

from __future__ import annotations

from typing import Any

import numpy as np

import onnxray


def test_it_matches_the_reference(reference: Any, difference: Any) -> None:
    assert difference(reference.explain("layer-cam").values, reference.raw("layercam")) < 1e-4


def test_it_is_the_paper_s_formula(pooled: Any) -> None:
    expected = np.einsum("k,khw->hw", np.maximum(pooled.head[:, 0], 0) / 35, pooled.maps[0])
    assert np.allclose(onnxray.explain(pooled.proto, pooled.x, "layer-cam", 0).values, expected, rtol=1e-4, atol=1e-6)
