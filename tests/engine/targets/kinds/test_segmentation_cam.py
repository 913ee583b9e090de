"""Grad-CAM of segmentation networks, as pytorch-grad-cam has it: the sum of a class's scores where a mask is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxray
from onnxray import Target
from onnxray.engine.inference.session import run
from onnxray.tests.engine.zoo import feeds_of

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(8)
CASES = ("hf_segformer_op13", "t_unet_bilinear_op11", "t_unet_convt_op13", "t_fcn_deeplab_op16")


def of_pytorch_grad_cam(
    model: onnxray.Model, feeds: dict[str, np.ndarray], layer: str, output: str, category: int, mask: np.ndarray
) -> np.ndarray:
    """`GradCAM` with `SemanticSegmentationTarget(category, mask)`: (model_output[category] * mask).sum(), and the mean
    gradient of every channel as its weight. Without the ReLU and the scaling that follow."""
    graph = onnxray.vjp(model, of=[output], wrt=[layer])
    found = run(graph, feeds | {graph.inputs[-1].name: cotangent_of(model, feeds, output, category, mask)})
    gradient = found[next(v.name for v in graph.outputs if v.name not in {o.name for o in model.outputs})]
    maps = onnxray.activations(model, feeds, [layer])[layer]
    return np.asarray((gradient.mean(axis=(2, 3), keepdims=True) * maps).sum(axis=1)[0])


def cotangent_of(
    model: onnxray.Model, feeds: dict[str, np.ndarray], output: str, category: int, mask: np.ndarray
) -> np.ndarray:
    y = onnxray.activations(model, feeds, [output])[output]
    cotangent = np.zeros(y.shape, np.float32)
    cotangent[:, category] = mask
    return cotangent


def check(model: onnxray.Model, feeds: dict[str, np.ndarray], output: str, at: str | None = None) -> None:
    y = onnxray.activations(model, feeds, [output])[output]
    category = int(np.bincount(y[0].argmax(axis=0).ravel()).argmax())
    mask = y[0].argmax(axis=0) == category
    e = onnxray.explain(model, feeds, "grad-cam", Target.region(category, output=output), layer=at)
    assert e.layer is not None
    layer = onnxray.load(model).layers[e.layer].output
    due = of_pytorch_grad_cam(model, feeds, layer, output, category, mask.astype(np.float32))
    found = e.values * mask.sum()  # a region is the mean, theirs the sum
    np.testing.assert_allclose(found, due, atol=1e-5 * np.abs(due).max())


def test_a_small_network(parse: Parse) -> None:
    proto = parse(
        """m (float[N, 3, 16, 16] image) => (float[N, 3, 16, 16] y) { c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (image, w)
             r = Relu (c)  d = Conv <pads = [1, 1, 1, 1]> (r, k)  s = Relu (d)
             u = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (s, , scales)  y = Conv (u, h) }""",
        w=RNG.standard_normal((6, 3, 3, 3)).astype(np.float32),
        k=RNG.standard_normal((8, 6, 3, 3)).astype(np.float32),
        h=RNG.standard_normal((3, 8, 1, 1)).astype(np.float32),
        scales=np.array([1, 1, 2, 2], np.float32),
    )
    check(onnxray.load(proto), {"image": RNG.standard_normal((1, 3, 16, 16)).astype(np.float32)}, "y")


@pytest.mark.parametrize("name", CASES)
def test_segmenters_of_the_zoo(name: str, zoo: Path) -> None:
    folder = zoo / "frameworks" / name
    feeds = {key: array[:1] for key, array in feeds_of(folder).items()}
    model = onnxray.load(folder / "model.onnx")
    # Of tokens they take what a function of the user's makes of them: a convolutional map of the decoder there.
    at = "/m/decode_head/linear_fuse/Conv" if name == "hf_segformer_op13" else None
    check(model, feeds, model.outputs[0].name, at)
