"""Small networks as exporters, quantisers and simplifiers write them: looked into, explained, held against differences.

Each takes an image, has a convolution that class activation maps can be made at, and three scores.
"""

from __future__ import annotations

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

import onnxray
from onnxray.engine.attribution.quantised_maps import zero_of
from onnxray.engine.errors import NoGradient, SplitError
from onnxray.engine.inference.session import Session
from onnxray.engine.inspection import inspect

HEAD = '<ir_version: 8, opset_import: ["" : {opset}, "com.microsoft" : 1]>\n'
RNG = np.random.default_rng(5)
WEIGHTS = {
    "k": RNG.standard_normal((6, 3, 3, 3)) * 0.3,
    "k2": RNG.standard_normal((6, 6, 3, 3)) * 0.2,
    "b": RNG.standard_normal(6) * 0.1,
    "w": RNG.standard_normal((6, 3)) * 0.5,
    "wt": RNG.standard_normal((3, 6)) * 0.5,
    "c": RNG.standard_normal(3) * 0.1,
    "scale4": np.abs(RNG.standard_normal((1, 6, 1, 1))) + 0.5,
    "bias4": RNG.standard_normal((1, 6, 1, 1)) * 0.1,
    "k1": RNG.standard_normal((6, 6, 1, 5)) * 0.2,
    "half": np.array(0.5),
    "two2": np.array([1, 1, 2, 2]),
    "six": np.array(6.0),
    "nought": np.array(0.0),
}
NUMBERS = {
    "i0": [0], "i1": [1], "i2": [2], "i3": [3], "im1": [-1], "im2": [-2], "hw": [2, 3], "mhw": [-2, -1], "cl": [1, 2],
    "s16": [8, 8], "flat": [-1, 6], "flat0": [0, -1], "split33": [3, 3], "big": [2**63 - 1], "pads": [0, 0, 1, 1, 0, 0, 1, 1],
    "pads2": [1, 1, 1, 1], "z22": [0, 0], "cut": [15, 15], "to4": [0, 6, -1], "size64": [64], "ones2": [1, 1],
}  # fmt: skip

# name -> (graph as text, opset)
NETWORKS: dict[str, tuple[str, int]] = {
    "tf2onnx, channels last": (
        """g (float[N,16,16,3] x) => (float[N,3] y) {
        t = Transpose <perm = [0,3,1,2]> (x)  a = Conv <auto_pad = "SAME_UPPER", strides = [2,2]> (t, k, b)  r = Relu(a)
        q = Transpose <perm = [0,2,3,1]> (r)  u = Transpose <perm = [0,3,1,2]> (q)
        z = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (u, , twice)
        d = Conv <auto_pad = "SAME_LOWER", strides = [2,2]> (z, k2)  v = Transpose <perm = [0,2,3,1]> (d)
        p = Relu(v)  m = ReduceMean <axes = [1,2], keepdims = 0> (p)  y = Gemm(m, w, c) }""",
        15,
    ),
    "tf2onnx, one-dimensional convolution": (
        """g (float[N,3,16,16] x) => (float[N,3] y) {
        a = Conv <pads = [1,1,1,1]> (x, k, b)  r = Relu(a)  f = ReduceMax <axes = [3], keepdims = 0> (r)
        e = Unsqueeze(f, i2)  d = Conv <pads = [0,2,0,2]> (e, k1)  s = Squeeze(d, i2)  p = Relu(s)
        m = ReduceMean <axes = [-1], keepdims = 0> (p)  h = MatMul(m, w)  y = Add(h, c) }""",
        13,
    ),
    "paddle": (
        """g (float[N,3,16,16] x) => (float[N,3] y) {
        a = Conv <pads = [1,1,1,1], strides = [2,2], dilations = [1,1], group = 1> (x, k)
        n = Mul(a, scale4)  o = Add(n, bias4)  h1 = Add(o, three)  h2 = Clip(h1, nought, six)  h3 = Div(h2, six)
        r = Mul(o, h3)  sh = Shape(r)  bs = Slice(sh, i0, i1)  sz = Concat <axis = 0> (bs, sixes)
        z = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (r, none, none, sz)
        g = GlobalAveragePool(z)  gs = Shape(g)  b1 = Slice(gs, i0, i1)  fs = Concat <axis = 0> (b1, im1)
        f = Reshape(g, fs)  l = MatMul(f, w)  e = Add(l, c)  y = Identity(e) }""",
        13,
    ),
    "paddle, pool with ceil_mode": (
        """g (float[N,3,16,16] x) => (float[N,3] y) {
        a = Conv <pads = [1,1,1,1]> (x, k, b)  r = Relu(a)
        p = AveragePool <kernel_shape = [3,3], strides = [2,2], ceil_mode = 1, count_include_pad = 0> (r)
        q = MaxPool <kernel_shape = [3,3], strides = [2,2], ceil_mode = 1> (p)
        g = GlobalAveragePool(q)  f = Squeeze(g, hw)  y = Gemm <transB = 1> (f, wt, c) }""",
        13,
    ),
    "jax2onnx": (
        """g (float[N,16,16,3] x) => (float[N,3] y) {
        t = Transpose <perm = [0,3,1,2]> (x)  a = Conv <pads = [1,1,1,1]> (t, k)  q = Transpose <perm = [0,2,3,1]> (a)
        e = Add(q, b)  r = Max(e, nought)  s = Reshape(r, tokens)  l = Einsum <equation = "bnc,cd->bnd"> (s, w)
        m = ReduceMean(l, i1)  o = Squeeze(m, i1)  y = Add(o, c) }""",
        18,
    ),
    "dynamo": (
        """g (float[N,3,16,16] x) => (float[N,3] y) {
        a = Conv <pads = [1,1,1,1], strides = [2,2], auto_pad = "NOTSET"> (x, k, b)
        u, v = Split <axis = 1, num_outputs = 2> (a)  i = Concat <axis = 1> (v, u)
        sq = SplitToSequence <axis = 1> (i, split33)  first = SequenceAt(sq, zero)  second = SequenceAt(sq, one)
        j = Concat <axis = -3> (first, second)  z = Sigmoid(j)  r = Mul(j, z)
        m = ReduceMean <keepdims = 0, noop_with_empty_axes = 0> (r, mhw)  y = Gemm <transB = 1, beta = 1.0> (m, wt, c) }""",
        18,
    ),
    "dynamo, attention": (
        """g (float[N,3,16,16] x) => (float[N,3] y) {
        a = Conv <pads = [0,0,0,0], strides = [2,2]> (x, k, b)  s = Shape <start = 0, end = 2> (a)
        sz = Concat <axis = 0> (s, im1)  f = Reshape <allowzero = 1> (a, sz)  t = Transpose <perm = [0,2,1]> (f)
        n = LayerNormalization <axis = -1> (t, b)  q = MatMul(n, f)  p = Softmax <axis = -1> (q)  o = MatMul(p, t)
        r = Gelu <approximate = "tanh"> (o)  m = ReduceMean <keepdims = 0> (r, i1)  y = Gemm <transB = 1> (m, wt, c) }""",
        20,
    ),
    "pads and slices with axes": (
        """g (float[N,3,16,16] x) => (float[N,3] y) {
        a = Conv (x, k, b)  r = Relu(a)  e = Pad(r, pads2, , hw)  s = Slice(e, ones2, cut, mhw)  t = Transpose <perm = [0,2,3,1]> (s)
        d = Slice(t, im1, neg, i1, im1)  v = Transpose <perm = [0,3,1,2]> (d)
        m = ReduceSum <keepdims = 0, noop_with_empty_axes = 1> (v, hw)  i = Mul(m, small)  y = Gemm(i, w, c) }""",
        18,
    ),
}
EXTRA = {
    "twice": np.array([1.0, 1, 2, 2]), "sixes": np.array([6, 12, 12]), "tokens": np.array([-1, 256, 6]),
    "zero": np.array(0), "one": np.array(1), "neg": np.array([-(2**63)]), "three": np.array(3.0), "small": np.array(0.01),
    "none": np.zeros(0, np.float32),
}  # fmt: skip


def _stored() -> dict[str, NDArray]:
    found = {name: np.asarray(array, np.float32) for name, array in WEIGHTS.items()}
    found |= {name: np.asarray(numbers, np.int64) for name, numbers in NUMBERS.items()}
    return found | {n: np.asarray(a, np.float32 if a.dtype.kind == "f" else np.int64) for n, a in EXTRA.items()}


def build(name: str) -> onnx.ModelProto:
    text, opset = NETWORKS[name]
    model = onnx.parser.parse_model(HEAD.format(opset=opset) + text)
    read = {i for node in model.graph.node for i in node.input}
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in _stored().items() if n in read)
    return model


def as_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Old converters and simplifiers: every stored tensor is listed as an input as well, as IR version 3 wants it."""
    changed = copy.deepcopy(model)
    changed.ir_version = 3
    for tensor in model.graph.initializer:
        changed.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return changed


def as_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Stored tensors as nodes, as some exporters write everything."""
    changed = copy.deepcopy(model)
    nodes = [helper.make_node("Constant", [], [t.name], value=t) for t in model.graph.initializer]
    del changed.graph.initializer[:], changed.graph.node[:]
    changed.graph.node.extend([*nodes, *model.graph.node])
    return changed


def optimised(model: onnx.ModelProto, folder, level: str = "ORT_ENABLE_EXTENDED") -> onnx.ModelProto:
    """As ONNX Runtime's optimiser writes it: fused operators of com.microsoft."""
    _session(model, level, str(folder / "o.onnx"))
    return onnx.load(folder / "o.onnx")


def _session(model: onnx.ModelProto, level: str = "ORT_DISABLE_ALL", save: str = "") -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = save
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _image(model: onnx.ModelProto) -> NDArray[np.float32]:
    shape = [d.dim_value or 2 for d in model.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def _check_gradient(model: onnx.ModelProto, x: NDArray[np.float32], tolerance: float = 0.02) -> None:
    """The gradient of a class against differences, along itself and along random directions."""
    run = _session(model)
    found = onnxray.explain(model, x, method="gradient", target=1)
    given = np.stack([part.values for part in found]) if len(x) > 1 else found.values[None]
    for sample in range(len(x)):
        gradient = given[sample].reshape(x[sample].shape).astype(np.float64)
        assert np.abs(gradient).max() > 0
        for direction in (gradient, np.random.default_rng(2).standard_normal(gradient.shape)):
            step = direction / np.linalg.norm(direction)
            exact = float((gradient * step).sum())
            tries = []
            for size in (3e-2, 1e-2, 3e-3):
                moved = [x.copy(), x.copy()]
                moved[0][sample] += (size * step).astype(np.float32)
                moved[1][sample] -= (size * step).astype(np.float32)
                high, low = (float(run.run(["y"], {"x": at})[0][sample, 1]) for at in moved)
                tries.append(abs((high - low) / (2 * size) - exact))
            assert min(tries) <= tolerance * np.linalg.norm(gradient), (sample, exact, tries)


def _check_grad_cam(model: onnx.ModelProto, x: NDArray[np.float32]) -> None:
    """The map against differences: each channel of the layer weighs as much as the score moves when it is lifted.

    Lifted by an input of its own behind the layer: channel by channel, for the whole map at once.
    """
    found = onnxray.explain(model, x[:1], method="grad-cam", target=1)
    loaded = onnxray.load(model)
    value = next(layer.output for layer in loaded.layers if layer.name == found.layer)
    try:
        tail = onnxray.split(loaded, value)[1]
    except SplitError:
        assert np.isfinite(found.values).all()
        return
    maps = onnxray.activations(loaded, x[:1], value)[value].astype(np.float32)
    axis = 3 if maps.shape[3] == 6 and maps.shape[1] != 6 else 1
    session, others = Session(tail), {"x": x[:1]} if "x" in {v.name for v in tail.inputs} else {}
    weights = []
    for channel in range(maps.shape[axis]):
        lift = np.zeros_like(maps)
        lift[(slice(None),) * axis + (channel,)] = 1e-2
        high, low = (session.run({value: maps + sign * lift, **others})["y"][0, 1] for sign in (1, -1))
        weights.append((high - low) / 2e-2)
    places = maps[0].size // maps.shape[axis]
    weighed = np.tensordot(np.moveaxis(maps[0], axis - 1, 0), np.asarray(weights) / places, (0, 0))
    shown = np.asarray(found.values, np.float64).squeeze()
    assert np.linalg.norm(shown - weighed.squeeze()) <= 0.05 * np.linalg.norm(weighed)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("form", ["as exported", "as inputs", "as constants", "optimised"])
def test_networks(name: str, form: str, tmp_path) -> None:
    model = build(name)
    if form == "optimised":
        model = optimised(model, tmp_path)
    elif form != "as exported":
        model = as_inputs(model) if form == "as inputs" else as_constants(model)
    x = _image(model)
    report = inspect(model)
    assert report.layers
    assert any(layer.cam for layer in report.layers)
    _check_gradient(model, x)
    _check_grad_cam(model, x)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_that_onnx_runtime_saved_at_its_default_level(name: str, tmp_path) -> None:
    """Blocked layouts are for the machine that wrote them: no gradients, and what can be had is said and right."""
    model = optimised(build(name), tmp_path, "ORT_ENABLE_ALL")
    x = _image(model)
    assert inspect(model).layers
    blocked = any("nchwc" in node.domain for node in model.graph.node)
    if blocked:
        with pytest.raises(NoGradient, match="nchwc"):
            onnxray.explain(model, x, method="gradient", target=1)
        onnxray.explain(model, x[:1], method="occlusion", target=1)
    else:
        _check_gradient(model, x)


class _Samples(CalibrationDataReader):
    def __init__(self, x: NDArray[np.float32]) -> None:
        self.left = [{"x": x + np.float32(i)} for i in (-1, 0, 1)]

    def get_next(self) -> dict | None:
        return self.left.pop() if self.left else None


def quantised(model: onnx.ModelProto, form: str, x: NDArray[np.float32], folder) -> onnx.ModelProto:
    """As ONNX Runtime's own tools quantise it."""
    source, target = folder / "m.onnx", folder / "q.onnx"
    onnx.save(model, source)
    if form == "dynamic":
        quantize_dynamic(source, target, weight_type=QuantType.QUInt8)
    else:
        layout = QuantFormat.QDQ if form == "QDQ" else QuantFormat.QOperator
        quantize_static(source, target, _Samples(x), quant_format=layout, per_channel=form == "QDQ")
    return onnx.load(target)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "dynamo, attention"])
@pytest.mark.parametrize("form", ["QDQ", "QLinear", "dynamic"])
def test_quantised_networks(name: str, form: str, tmp_path) -> None:
    """Gradients go straight through the rounding of QDQ; integer kernels have none, and say what can be had."""
    model = build(name)
    x = _image(model)
    changed = quantised(model, form, x, tmp_path)
    assert inspect(changed).layers
    if form == "QDQ":
        methods = ["gradient", "grad-cam"]
    else:
        methods = ["recipro-cam", "occlusion"]
        with pytest.raises(NoGradient, match="QDQ|QuantizeLinear/DequantizeLinear"):
            onnxray.explain(changed, x[:1], method="gradient", target=1)
        _check_occlusion(changed, x[:1])
    for method in methods:
        before, after = (onnxray.explain(m, x[:1], method=method, target=1) for m in (model, changed))
        assert np.isfinite(after.values).all()
        if method == "recipro-cam":
            _check_recipro_cam(changed, after, x[:1])
        # What integers leave of scores as small as these says little about the others.
        elif form == "QDQ" and before.values.shape == after.values.shape and np.linalg.norm(before.values):
            a, b = before.values.ravel(), after.values.ravel()
            assert np.dot(a, b) > 0.75 * np.linalg.norm(a) * np.linalg.norm(b), method


def _check_occlusion(model: onnx.ModelProto, x: NDArray[np.float32]) -> None:
    """The map against ONNX Runtime on copies of the image with a window painted over."""
    if x.ndim != 4:
        assert np.isfinite(onnxray.explain(model, x, method="occlusion", target=1).values).all()
        return
    found = onnxray.explain(model, x, method="occlusion", target=1, patch=4, stride=4, fill=0.0).values
    rows = 2 if x.shape[1] <= 4 else 1
    run = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    due = np.zeros((x.shape[rows] // 4, x.shape[rows + 1] // 4))
    for y, c in np.ndindex(*due.shape):
        copy = x.copy()
        copy[(slice(None),) * rows + (slice(4 * y, 4 * y + 4), slice(4 * c, 4 * c + 4))] = 0
        due[y, c] = run.run(["y"], {"x": x})[0][0, 1] - run.run(["y"], {"x": copy})[0][0, 1]
    assert np.abs(due).max() > 0
    np.testing.assert_allclose(found, due, atol=1e-4 * np.abs(due).max())


def _check_recipro_cam(model: onnx.ModelProto, found: onnxray.Explanation, x: NDArray[np.float32]) -> None:
    """The map against runs of the rest of the network on the layer's value with all but one neighbourhood zero."""
    loaded = onnxray.load(model)
    (layer,) = [layer for layer in loaded.layers if layer.name == found.layer]
    value = onnxray.activations(loaded, x, layer.output)[layer.output]
    assert layer.map_axes is not None
    sides = tuple(value.shape[axis] for axis in layer.map_axes)
    assert found.values.size == np.prod(sides) > 1
    try:
        tail = onnxray.split(loaded, layer.output)[1]
    except SplitError:
        assert np.isfinite(found.values).all()
        return
    session, others = Session(tail), {"x": x} if "x" in {v.name for v in tail.inputs} else {}
    zero, integers = zero_of(loaded, layer), value.dtype.kind in "iu"

    def score(mask: NDArray[np.float64]) -> float:
        shape = [side if axis in layer.map_axes else 1 for axis, side in enumerate(value.shape)]
        masked = (value.astype(np.float64) - zero) * mask.reshape(shape) + zero
        masked = np.rint(masked) if integers else masked
        return float(session.run({layer.output: masked.astype(value.dtype), **others})["y"][0, 1])

    nothing, due = score(np.zeros(sides)), np.zeros(sides)
    for at in np.ndindex(*sides):
        near = [np.maximum(0, 1 - np.abs(np.arange(side) - place) / 2) for side, place in zip(sides, at, strict=True)]
        due[at] = score(np.multiply.outer(*near) if len(sides) == 2 else near[0]) - nothing
    assert np.abs(due).max() > 0
    shown = np.asarray(found.values, np.float64).reshape(sides)
    np.testing.assert_allclose(shown, due, atol=2e-3 * np.abs(due).max() + 1e-6)
