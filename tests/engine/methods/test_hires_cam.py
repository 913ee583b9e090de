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
