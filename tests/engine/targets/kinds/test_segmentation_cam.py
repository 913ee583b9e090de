"""Grad-CAM of segmentation networks, as pytorch-grad-cam has it: the sum of a class's scores where a mask is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray import Target
from onnxray.engine.inference.session import run
from onnxray.tests.engine.zoo import feeds_of

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(8)
W, K, H = (RNG.standard_normal(s).astype(np.float32) for s in ((6, 3, 3, 3), (8, 6, 3, 3), (3, 8, 1, 1)))
X = RNG.standard_normal((1, 3, 16, 16)).astype(np.float32)
# Of tokens they take what a function of the user's makes of them: a convolutional map of the decoder there.
LAYERS = {"hf_segformer_op13": "/m/decode_head/linear_fuse/Conv"}
MISSING = "is not installed: the formula alone is the judge"
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


def judge(
    model: onnxray.Model, net: Any, feeds: dict[str, np.ndarray], modules: dict[str, Any], at: str | None = None
) -> None:
    """`GradCAM` of pytorch-grad-cam itself, with its target, on a module with the same weights."""
    torch = pytest.importorskip("torch", reason=f"PyTorch {MISSING}")
    theirs = pytest.importorskip("pytorch_grad_cam", reason=f"pytorch-grad-cam {MISSING}")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")

    class Scores(torch.nn.Module):  # type: ignore[misc,name-defined]
        """The module's scores alone, where it has labels as well."""

        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Any) -> Any:
            found = self.net(x)
            return found[0] if isinstance(found, list | tuple) else found

    output = model.outputs[0].name
    y = onnxray.activations(model, feeds, [output])[output]
    category = int(np.bincount(y[0].argmax(axis=0).ravel()).argmax())
    mask = y[0].argmax(axis=0) == category
    e = onnxray.explain(model, feeds, "grad-cam", Target.region(category, output=output), layer=at)
    assert e.layer is not None
    module = modules[model.layers[e.layer].output]
    (x,) = feeds.values()
    asked = [targets.SemanticSegmentationTarget(category, mask.astype(np.float32))]
    with theirs.GradCAM(Scores(), [module]) as cam:
        cam(torch.tensor(x), asked)
        taps = cam.activations_and_grads
        maps, gradients = (taps.activations[0].numpy(), taps.gradients[0].numpy())
        due = cam.get_cam_image(torch.tensor(x), module, asked, maps, gradients)[0]
    np.testing.assert_allclose(e.values * mask.sum(), due, atol=1e-5 * np.abs(due).max())


@pytest.fixture
def small(parse: Parse) -> onnx.ModelProto:
    return parse(
        """m (float[N, 3, 16, 16] image) => (float[N, 3, 16, 16] y) { c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (image, w)
             r = Relu (c)  d = Conv <pads = [1, 1, 1, 1]> (r, k)  s = Relu (d)
             u = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (s, , scales)  y = Conv (u, h) }""",
        w=W,
        k=K,
        h=H,
        scales=np.array([1, 1, 2, 2], np.float32),
    )


def test_a_small_network(small: onnx.ModelProto) -> None:
    check(onnxray.load(small), {"image": X}, "y")


def test_pytorch_grad_cam_has_the_same_map_of_a_small_network(small: onnx.ModelProto) -> None:
    nn = pytest.importorskip("torch", reason=f"PyTorch {MISSING}").nn
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Conv2d(8, 3, 1, bias=False),
    )
    for at, weight in ((0, W), (2, K), (5, H)):
        net[at].weight.data[:] = net[at].weight.data.new_tensor(weight)
    judge(onnxray.load(small), net, {"image": X}, {"c": net[0], "r": net[1], "d": net[2], "s": net[3]})


@pytest.mark.parametrize("name", CASES)
def test_segmenters_of_the_zoo(name: str, zoo: Path) -> None:
    folder = zoo / "frameworks" / name
    feeds = {key: array[:1] for key, array in feeds_of(folder).items()}
    model = onnxray.load(folder / "model.onnx")
    check(model, feeds, model.outputs[0].name, LAYERS.get(name))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of the converter
@pytest.mark.parametrize("name", CASES)
def test_pytorch_grad_cam_has_the_same_map_of_segmenters(name: str, zoo: Path) -> None:
    onnx2torch = pytest.importorskip(
        "onnx2torch", reason=f"onnx2torch, which makes a PyTorch module of them, {MISSING}"
    )
    proto = onnx.load(zoo / "frameworks" / name / "model.onnx")
    net = onnx2torch.convert(proto)
    modules = {node.output[0]: getattr(net, node.name.strip("/").replace(".", "/"), None) for node in proto.graph.node}
    feeds = {key: array[:1] for key, array in feeds_of(zoo / "frameworks" / name).items()}
    judge(onnxray.load(proto), net, feeds, modules, LAYERS.get(name))
