"""Every other execution provider that works here gives what the CPU provider gives, up to rounding.

Skipped, with the reason, where none does: a second provider is in the packages onnxruntime-gpu (with a card),
onnxruntime-openvino (on any processor), onnxruntime-directml and others. TF32, which is no float32, is switched off.
Distances are the L2 norm of the difference over that of the CPU's result.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.inference.session import Session
from onnxray.engine.runtime.ort import ort
from onnxray.engine.runtime.providers import CPU, unusable_reason

# Per type, of the forward pass and of the gradient.
LIMITS = {np.float64: (1e-10, 1e-8), np.float32: (1e-4, 1e-3), np.float16: (1e-2, 5e-2)}
EXACT = {
    "CUDAExecutionProvider": {"use_tf32": 0},
    "OpenVINOExecutionProvider": {"precision": "FP32", "device_type": "CPU"},
}
# Sends data elsewhere.
REMOTE = ("AzureExecutionProvider",)

NETWORKS = {
    "convolutions": """m (T[N, 3, 24, 24] x) => (T[N, 5] y) {
      a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w)  b = Relu (a)
      c = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (b)  j = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (c, t)
      d = Conv <kernel_shape = [3, 3], strides = [2, 2], pads = [0, 0, 1, 1]> (j, v)  e = Sigmoid (d)  f = Mul (d, e)
      g = AveragePool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (f)
      h = GlobalAveragePool (g)  i = Flatten (h)  y = MatMul (i, u) }""",
    "attention": """m (T[N, 3, 24, 24] x) => (T[N, 5] y) {
      a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w)  b = Conv <kernel_shape = [3, 3], strides = [4, 4]> (a, v)
      c = Flatten <axis = 2> (b)  s = Shape <end = 2> (b)  r = Constant <value = int64[1] {-1}> ()
      g = Concat <axis = 0> (s, r)  d = Reshape (b, g)  q = Transpose <perm = [0, 2, 1]> (d)
      m = ReduceMean <axes = [-1]> (q)  n = Sub (q, m)  k = MatMul (n, d)  p = Softmax <axis = -1> (k)
      o = MatMul (p, q)  e = Erf (o)  z = ReduceMean <axes = [1], keepdims = 0> (e)  y = MatMul (z, u) }""",
    "transformer": """m (T[N, 48] x) => (T[N, 5] y) {
      a = MatMul (x, l)  b = LayerNormalization (a, k)  c = MatMul (b, o)  d = Add (a, c)  e = LayerNormalization (d, k)
      i = Sigmoid (e)  y = MatMul (i, u) }""",
    "products": """m (T[N, 48] x) => (T[N, 5] y) {
      a = MatMul (x, l)  b = Tanh (a)  c = ReduceMean <axes = [-1]> (b)  d = Sub (b, c)  e = Mul (d, d)
      f = ReduceMean <axes = [-1]> (e)  g = Sqrt (f)  h = Div (d, g)  i = Sigmoid (h)  y = MatMul (i, u) }""",
}
# The CPU provider has no convolution of float64.
CASES = [(name, kind) for name in NETWORKS for kind in LIMITS if kind != np.float64 or name == "products"]
NAMED = [f"{name}-{kind.__name__}" for name, kind in CASES]


def usable() -> list[Any]:
    """The providers to compare, each with its options; one that is skipped where there is none."""
    others = [name for name in ort.get_available_providers() if name != CPU and name not in REMOTE]
    reasons = {name: unusable_reason(name) for name in others}
    found = [pytest.param([(n, EXACT.get(n, {}))], id=n) for n, reason in reasons.items() if reason is None]
    said = "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "onnxruntime is built for the CPU only"
    mark = pytest.mark.skip(reason=f"no second execution provider works here: {said}")
    return found or [pytest.param(None, marks=mark, id="none")]


pytestmark = pytest.mark.parametrize("providers", usable())


def network(name: str, kind: Any) -> onnxray.Model:
    text = NETWORKS[name].replace("T[", {np.float16: "float16", np.float32: "float", np.float64: "double"}[kind] + "[")
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
    rng = np.random.default_rng(0)
    shapes = {
        "w": (8, 3, 3, 3),
        "t": (8, 8, 3, 3),
        "v": (16, 8, 3, 3),
        "u": (16, 5),
        "l": (48, 16),
        "k": (16,),
        "o": (16, 16),
    }
    for key, shape in ((key, shapes[key]) for key in shapes if f" {key})" in text):
        weights = (rng.standard_normal(shape) * 0.3).astype(kind)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, key))
    return onnxray.load(proto)


def inputs(model: onnxray.Model, batch: int, kind: Any) -> np.ndarray:
    shape = (batch, *(int(side) for side in (model.inputs[0].shape or ())[1:]))
    return np.random.default_rng(1).standard_normal(shape).astype(kind)


def distance(got: Any, due: Any) -> float:
    a, b = (np.asarray(v, np.float64).ravel() for v in (got, due))
    assert a.shape == b.shape
    return float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30))


def both(model: onnxray.Model, feeds: dict[str, Any], providers: Any) -> list[tuple[Any, Any]]:
    due, got = (Session(model, providers=asked).run(feeds) for asked in ("cpu", providers))
    assert list(due) == list(got)
    assert [v.dtype for v in due.values()] == [v.dtype for v in got.values()]
    return [(got[name], due[name]) for name in due]


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    y, x = np.mgrid[:160, :160]
    stripes = 120 + 60 * np.sin(x / 9) + 40 * np.cos(y / 17)
    return np.stack([stripes, stripes * 0.9, 255 - stripes], -1).astype(np.uint8)


@pytest.mark.parametrize(("name", "kind"), CASES, ids=NAMED)
@pytest.mark.parametrize("batch", [1, 3])
def test_forward(providers: Any, name: str, kind: Any, batch: int) -> None:
    model = network(name, kind)
    for got, due in both(model, {"x": inputs(model, batch, kind)}, providers):
        assert distance(got, due) <= LIMITS[kind][0]


@pytest.mark.parametrize(("name", "kind"), CASES, ids=NAMED)
def test_gradients(providers: Any, name: str, kind: Any) -> None:
    model = network(name, kind)
    seed = np.random.default_rng(2).standard_normal((2, 5)).astype(kind)
    feeds = {"x": inputs(model, 2, kind), "cotangent/y": seed}
    for got, due in both(onnxray.vjp(model, "y", ["x", "u"]), feeds, providers):
        assert distance(got, due) <= LIMITS[kind][1]


METHODS = [
    "grad-cam",
    "layer-cam",
    "gradient",
    "guided-backprop",
    "integrated-gradients",
    "smoothgrad",
    "lrp",
    "occlusion",
    "score-cam",
    "rise",
    "lime",
    "sobol",
]


@pytest.mark.parametrize("method", METHODS)
def test_methods(providers: Any, photo: np.ndarray, method: str) -> None:
    few = {"rise": {"masks": 64}, "lime": {"samples": 64}, "sobol": {"grid": 4, "designs": 4}}.get(method, {})
    due, got = (onnxray.explain("builtin", photo, method=method, providers=p, **few) for p in ("cpu", providers))
    assert isinstance(due, onnxray.Explanation)
    assert isinstance(got, onnxray.Explanation)
    assert distance(got.values, due.values) <= 1e-3
    assert (got.label, got.layer) == (due.label, due.layer)
    assert got.score == pytest.approx(due.score, rel=1e-4)


@pytest.mark.parametrize("method", ["grad-cam", "gradient", "integrated-gradients", "lrp"])
def test_compiled_models(providers: Any, method: str) -> None:
    compiled = onnxray.compile("builtin", method=method)
    x = np.random.default_rng(2).standard_normal((1, 3, 160, 160)).astype(np.float32)
    for got, due in both(compiled, {compiled.inputs[0].name: x}, providers):
        assert distance(got, due) <= 1e-3


def test_several_images(providers: Any, photo: np.ndarray) -> None:
    photos = [photo, photo[::-1].copy(), photo[:, ::-1].copy()]
    due, got = (onnxray.explain("builtin", photos, providers=p) for p in ("cpu", providers))
    for a, b in zip(got, due, strict=True):
        assert distance(a.values, b.values) <= 1e-3


def test_half(providers: Any, photo: np.ndarray) -> None:
    """Both round to float16, in their own places."""
    due, got = (
        onnxray.explain("builtin", photo, method="grad-cam", half=True, providers=p) for p in ("cpu", providers)
    )
    assert isinstance(due, onnxray.Explanation)
    assert isinstance(got, onnxray.Explanation)
    assert distance(got.values, due.values) <= 5e-2


def test_visualization(providers: Any) -> None:
    """Differences grow with the steps: after two of them there are none to speak of."""
    due, got = (onnxray.visualize("builtin", target=0, steps=2, providers=p) for p in ("cpu", providers))
    assert distance(got.pictures, due.pictures) <= 1e-3
    assert distance(got.history[0], due.history[0]) <= 1e-3
