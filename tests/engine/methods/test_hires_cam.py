"""HiResCAM: pytorch-grad-cam's maps; before a linear head the map adds up to the score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import onnxray


def test_it_matches_the_reference(reference: Any, difference: Any) -> None:
    assert difference(reference.explain("hires-cam").values, reference.raw("hirescam")) < 1e-4


def test_before_a_linear_head_it_adds_up_to_the_score_but_for_the_bias(parse: Any) -> None:
    rng = np.random.default_rng(0)
    bias = rng.standard_normal(3).astype(np.float32)
    model = parse(
        """
        m (float[N, 3, 4, 4] image) => (float[N, 3] y)
        {
          a = Conv <pads = [1, 1, 1, 1]> (image, w)
          maps = Relu (a)
          f = Flatten (maps)
          y = Gemm (f, head, bias)
        }
        """,
        w=rng.standard_normal((5, 3, 3, 3)).astype(np.float32),
        head=rng.standard_normal((80, 3)).astype(np.float32),
        bias=bias,
    )
    x = rng.standard_normal((2, 3, 4, 4)).astype(np.float32)
    for e in onnxray.explain(model, x, "hires-cam", "classes:0,1,2"):
        assert e.layer == "maps"
        assert e.values.sum() == pytest.approx(e.score - bias[e.target.class_index], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    ("head", "warned"),
    [
        ("f = Flatten (maps) y = Gemm (f, flat)", True),
        ("p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (maps) f = Flatten (p) y = Gemm (f, pooled)", True),
        ("t = Transpose <perm = [0, 2, 3, 1]> (maps) f = Reshape (t, row) y = MatMul (f, flat)", True),
        ("p = GlobalAveragePool (maps) f = Flatten (p) y = Gemm (f, single)", False),
    ],
)
def test_grad_cam_before_a_flattening_head_points_here(parse: Any, head: str, warned: bool) -> None:
    """Draelos and Carin: Grad-CAM averages the weights that such a head has for each place."""
    rng = np.random.default_rng(0)
    model = parse(
        f"m (float[N, 3, 4, 4] image) => (float[N, 3] y) {{ a = Conv <pads = [1, 1, 1, 1]> (image, w) "
        f"maps = Relu (a) {head} }}",
        w=rng.standard_normal((5, 3, 3, 3)).astype(np.float32),
        flat=rng.standard_normal((80, 3)).astype(np.float32),
        pooled=rng.standard_normal((20, 3)).astype(np.float32),
        single=rng.standard_normal((5, 3)).astype(np.float32),
        row=np.array([0, -1], np.int64),
    )
    x = rng.standard_normal((1, 3, 4, 4)).astype(np.float32)
    for method in ("grad-cam", "grad-cam++", "xgrad-cam", "hires-cam"):
        warnings = onnxray.explain(model, x, method, 0, layer="maps").warnings
        said = any("hires-cam shows those that it does" in text for text in warnings)
        assert said == (warned and method != "hires-cam"), method
