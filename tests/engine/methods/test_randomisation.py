"""Which maps depend on what the network has learned (Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018).

A trained network's last four weight tensors are replaced by random ones of the same spread; the rank correlation between
the magnitudes of the maps of the same class, before and after, says how much of a map survives. What the documentation
says of a method (`Method.randomisation`) must be what is measured here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.methods.registry import find, methods

CARD = {"size": 32, "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "resize": "stretch"}
QUICK = {"integrated-gradients": {"steps": 8}, "smoothgrad": {"samples": 8}, "vargrad": {"samples": 8}}
QUICK["smoothgrad-squared"] = {"samples": 8}
PERTURBING = {
    "ablation": {"segments": 30},
    "lime": {"segments": 30, "samples": 150},
    "kernel-shap": {"segments": 30, "samples": 150},
    "sobol": {"grid": 5, "designs": 8},
}
QUICK.update(PERTURBING)

# Guided backpropagation keeps 0.85 of its map on this network and every method that passes at most 0.62.
SURVIVES, CHANGES = 0.8, 0.7


@pytest.fixture(scope="module")
def images(zoo: Path) -> list[np.ndarray]:
    names = [f"{kind}_000{i}" for kind in ("airplane", "cat", "dog", "horse", "ship", "truck") for i in (0, 2)]
    return [cv2.imread(str(zoo / "images" / "cifar10" / f"{name}.jpg"))[..., ::-1] for name in names]


@pytest.fixture(scope="module")
def trained(zoo: Path) -> onnxray.Model:
    return onnxray.load(zoo / "models" / "resnet20_cifar10.onnx", **CARD)


@pytest.fixture(scope="module")
def randomised(trained: onnxray.Model) -> onnxray.Model:
    proto = onnx.ModelProto.FromString(trained.proto.SerializeToString())
    rng = np.random.default_rng(0)
    weights = [t for t in proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) >= 2]
    for tensor in weights[-4:]:
        array = onnx.numpy_helper.to_array(tensor)
        drawn = (rng.standard_normal(array.shape) * array.std()).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(drawn, tensor.name))
    return onnxray.load(proto, **CARD)


def survival(
    name: str, before: onnxray.Model, after: onnxray.Model, images: Sequence[np.ndarray], **options: object
) -> float:
    found, options = [], {**QUICK.get(name, {}), **options}
    for image in images:
        first = onnxray.explain(before, image, name, **options)  # type: ignore[arg-type]
        second = onnxray.explain(after, image, name, first.target, **options)  # type: ignore[arg-type]
        ranks = [np.argsort(np.argsort(np.abs(e.map).ravel())) for e in (first, second)]
        found.append(np.corrcoef(*ranks)[0, 1])
    return float(np.mean(found))


def names() -> list[str]:
    # Other gradient-free ones are slow and take the weights as they run; what fits no such network says so itself.
    named = [n for n, cls in methods().items() if cls.needs == "gradient" and cls.randomisation != "does not apply"]
    return [*named, *PERTURBING]


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_maps_change_with_the_weights_unless_the_documentation_says_otherwise(
    name: str, trained: onnxray.Model, randomised: onnxray.Model, images: list[np.ndarray]
) -> None:
    try:
        kept = survival(name, trained, randomised, images)
    except onnxray.OnnxrayError as error:
        pytest.skip(f"{name} does not fit this network: {error}")
    if find(name).randomisation == "passes":
        assert kept < CHANGES
    if name == "guided-backprop":
        assert kept > SURVIVES


@pytest.mark.slow
@pytest.mark.parametrize("composite", ["z-plus", "epsilon-plus", "epsilon-gamma", "epsilon-alpha-beta-flat"])
def test_relevance_propagation_depends_on_the_composite(
    composite: str, trained: onnxray.Model, randomised: onnxray.Model, images: list[np.ndarray]
) -> None:
    kept = survival("lrp", trained, randomised, images, composite=composite)
    assert kept > SURVIVES if composite == "z-plus" else kept < CHANGES


def test_guided_backpropagation_hardly_tells_classes_apart(trained: onnxray.Model, images: list[np.ndarray]) -> None:
    """The other half of the finding: its maps of two classes are alike, those of Grad-CAM are not."""
    alike = {}
    for name in ("guided-backprop", "grad-cam"):
        pairs = [list(onnxray.explain(trained, image, name, "top:2")) for image in images]
        alike[name] = np.mean([np.corrcoef(np.abs(a.map).ravel(), np.abs(b.map).ravel())[0, 1] for a, b in pairs])
    assert alike["guided-backprop"] > 0.8
    assert alike["guided-backprop"] > alike["grad-cam"] + 0.2
