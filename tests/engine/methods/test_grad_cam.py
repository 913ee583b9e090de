"""Grad-CAM: pytorch-grad-cam's maps, and a network whose map can be written down."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.tests.engine.zoo import feeds_of
from onnxray.tests.rounding import ROUNDING, apart


def test_it_matches_the_reference(reference: Any, difference: Any) -> None:
    assert difference(reference.explain("grad-cam").values, reference.raw("gradcam")) < 1e-4


def test_on_a_pooled_network_it_is_the_head_over_the_number_of_places(pooled: Any) -> None:
    e = onnxray.explain(pooled.proto, pooled.x, "grad-cam", 2)
    expected = np.einsum("k,khw->hw", pooled.head[:, 2], pooled.maps[0]) / 35
    assert e.layer == "maps"
    assert np.allclose(e.values, expected, atol=1e-5)
    assert e.score == pytest.approx(float(pooled.scores[0, 2]), rel=1e-5)


def test_it_is_linear_in_the_target(cnn: onnx.ModelProto) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    both = onnxray.explain(cnn, x, "grad-cam", "contrast:3,1").values
    a, b = (onnxray.explain(cnn, x, "grad-cam", c).values for c in (3, 1))
    assert np.allclose(both, a - b, atol=1e-5)


def test_several_layers_are_merged_at_the_finest_size(cnn: onnx.ModelProto) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    fine, coarse = (onnxray.explain(cnn, x, "grad-cam", 1, layer) for layer in ("stem_relu", "features"))
    merged = onnxray.explain(cnn, x, "grad-cam", 1, ["stem_relu", "features", "stem_relu"])
    from onnxray.kernels.upsample import upsample

    expected = (
        fine.values / np.abs(fine.values).max() + upsample(coarse.values / np.abs(coarse.values).max(), (16, 16))
    ) / 2
    assert apart(merged.values, expected) <= ROUNDING
    assert merged.layer == "stem_relu+features"
    assert "divided by its greatest magnitude" in str(merged.reason)


def test_the_layer_lies_before_the_target(cnn: onnx.ModelProto) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    assert onnxray.explain(cnn, x).layer == "features"
    assert onnxray.explain(cnn, x, "grad-cam", "unit:inner:2").layer == "pooled"
    with pytest.raises(onnxray.OnnxrayError, match="does not depend"):
        onnxray.explain(cnn, x, "grad-cam", "unit:pooled:2", "features")


def test_maps_with_channels_last_are_read_as_they_lie(zoo: Any) -> None:
    folder = zoo / "frameworks" / "t_uint8_nhwc_op17"
    x = next(iter(feeds_of(folder).values()))
    e = onnxray.explain(folder / "model.onnx", x)
    assert e.values.shape == (10, 11)
    assert e.heatmap.shape == (40, 44)
    assert e.overlay().shape == (40, 44, 3)


def test_of_two_branches_the_one_that_the_target_depends_on(parse: Any) -> None:
    rng = np.random.default_rng(0)
    model = parse(
        """
        m (float[1, 3, 8, 8] image) => (float[1, 80, 4] scores)
        {
          a = Conv <pads = [1, 1, 1, 1]> (image, w1)
          b = Conv <strides = [2, 2]> (a, w2)
          fa = Reshape (a, s1)
          fb = Reshape (b, s2)
          ta = Transpose <perm = [0, 2, 1]> (fa)
          tb = Transpose <perm = [0, 2, 1]> (fb)
          scores = Concat <axis = 1> (ta, tb)
        }
        """,
        w1=rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        w2=rng.standard_normal((4, 4, 2, 2)).astype(np.float32),
        s1=np.array([1, 4, 64], np.int64),
        s2=np.array([1, 4, 16], np.int64),
    )
    x = rng.standard_normal((1, 3, 8, 8)).astype(np.float32)
    late = onnxray.explain(model, x, "hires-cam", "element:scores:70,1")
    early = onnxray.explain(model, x, "hires-cam", "element:scores:9,1")
    assert (late.layer, late.values.shape) == ("b", (4, 4))
    assert (early.layer, early.values.shape) == ("a", (8, 8))
    assert early.reason == "the last map that this target depends on"
    assert np.argwhere(early.values).tolist() == [[1, 1]]


def test_a_unit_of_the_layer_that_the_map_is_taken_at(cnn: onnx.ModelProto) -> None:
    """The value is asked for once, though it is what is explained and the layer."""
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    e = onnxray.explain(cnn, x, "grad-cam", "unit:features:1", layer="features")
    assert e.values.any()
