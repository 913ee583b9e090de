"""What the tests of methods share: a network with a known head, and the reference maps of the zoo."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray

CASES = ("t_resnet_basic_op17", "t_vgg_op13")


@dataclass(frozen=True)
class Reference:
    """A case of the zoo with other tools' maps: `meta`, `arrays`, and the model."""

    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]
    model: onnxray.Model

    @property
    def x(self) -> np.ndarray:
        return next(a for k, a in self.arrays.items() if k.startswith("in:"))

    @property
    def input(self) -> str:
        return next(k[3:] for k in self.arrays if k.startswith("in:"))

    def raw(self, method: str) -> np.ndarray:
        """The raw map (h, w) of a CAM method, before ReLU and normalisation."""
        return self.arrays[f"cam:{method}:raw"][0]

    def explain(self, method: str, **options: Any) -> onnxray.Explanation:
        """The method at the layer and for the class of the reference."""
        cam = self.meta["cam"]
        found = onnxray.explain(self.model, self.x, method, cam["target"], cam["tensor"], **options)
        assert isinstance(found, onnxray.Explanation)
        return found


@pytest.fixture
def load_reference(zoo: Path) -> Callable[[str], Reference]:
    """load_reference(case): a case of the zoo by its name."""

    def load(case: str) -> Reference:
        folder = zoo / "frameworks" / case
        with np.load(folder / "io.npz") as arrays:
            kept = {k: arrays[k] for k in arrays.files}
        return Reference(json.loads((folder / "meta.json").read_text()), kept, onnxray.load(folder / "model.onnx"))

    return load


@pytest.fixture(params=CASES)
def reference(request: pytest.FixtureRequest, load_reference: Callable[[str], Reference]) -> Reference:
    """pytorch-grad-cam's and captum's maps on two networks."""
    return load_reference(request.param)


@pytest.fixture
def difference() -> Callable[[np.ndarray, np.ndarray], float]:
    """difference(a, b): the greatest one, in parts of the greatest magnitude of b."""

    def measure(a: np.ndarray, b: np.ndarray) -> float:
        assert a.shape == b.shape
        return float(np.abs(a - b).max() / np.abs(b).max())

    return measure


@pytest.fixture
def noisy_gradients() -> Callable[..., np.ndarray]:
    """noisy_gradients(model, x, target, samples, noise, seed) -> (samples, C, H, W), computed one by one."""

    def make(model: object, x: np.ndarray, target: int, samples: int, noise: float, seed: int) -> np.ndarray:
        found = []
        for k in range(samples):
            drawn = np.random.default_rng((seed, k)).standard_normal(x.shape[1:], np.float32)
            found.append(onnxray.explain(model, x + noise * np.ptp(x) * drawn, "gradient", target).values)  # type: ignore[arg-type]
        return np.stack(found)

    return make


@dataclass(frozen=True)
class Pooled:
    """image -> 1x1 convolution -> Relu `maps` -> mean over places -> head: every part known.

    `maps` (1, C, h, w) and `scores` (1, K) are computed by NumPy alone.
    """

    proto: onnx.ModelProto
    x: np.ndarray
    maps: np.ndarray
    head: np.ndarray
    scores: np.ndarray


@pytest.fixture
def pooled(parse: Callable[..., onnx.ModelProto]) -> Pooled:
    rng = np.random.default_rng(5)
    kernel, head, bias = (rng.standard_normal(s).astype(np.float32) for s in ((6, 3), (6, 4), (4,)))
    proto = parse(
        """
        m (float[N, 3, 5, 7] image) => (float[N, 4] y)
        {
          before = Conv (image, w)
          maps = Relu (before)
          gap = GlobalAveragePool (maps)
          flat = Flatten (gap)
          y = Gemm (flat, head, bias)
        }
        """,
        w=kernel[:, :, None, None],
        head=head,
        bias=bias,
    )
    x = rng.standard_normal((1, 3, 5, 7)).astype(np.float32)
    maps = np.maximum(np.einsum("kc,nchw->nkhw", kernel, x), 0)
    return Pooled(proto, x, maps, head, maps.mean(axis=(2, 3)) @ head + bias)


@pytest.fixture
def with_dead_channels(cnn: onnx.ModelProto) -> onnx.ModelProto:
    """The small network, channels 1 and 4 of its features 0 for every image."""
    dead = onnx.ModelProto.FromString(cnn.SerializeToString())
    for tensor in dead.graph.initializer:
        if tensor.name in ("w1", "b1", "w2", "b2"):
            array = onnx.numpy_helper.to_array(tensor).copy()
            array[[1, 4]] = 0
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    return dead
