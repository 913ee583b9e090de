"""XGrad-CAM: pytorch-grad-cam's maps; on maps whose gradient is the same everywhere it is Grad-CAM."""

from __future__ import annotations

from typing import Any

import numpy as np

import onnxray


def test_it_matches_the_reference(reference: Any, difference: Any) -> None:
    assert difference(reference.explain("xgrad-cam").values, reference.raw("xgradcam")) < 1e-4


def test_where_the_gradient_is_the_same_everywhere_it_is_grad_cam(pooled: Any) -> None:
    a, b = (onnxray.explain(pooled.proto, pooled.x, m, 3).values for m in ("xgrad-cam", "grad-cam"))
    assert np.allclose(a, b, rtol=1e-4, atol=1e-6)
