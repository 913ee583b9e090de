"""Judges: convolutions written as sums over taps, in float64."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from onnxray.engine.autodiff.vjp import vjp
from onnxray.engine.gradients.convolution import data_form
from onnxray.engine.gradients.windows import Axis
from onnxray.tests.engine.gradients.graphs import model_of


def paddings(sizes, kernel, strides, dilations, pads, auto_pad):
    """(before, after) per axis, from the ONNX specification of Conv."""
    result = []
    for i, (size, k, s, d) in enumerate(zip(sizes, kernel, strides, dilations, strict=True)):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        if auto_pad == "NOTSET":
            result.append((pads[i], pads[i + len(sizes)]))
        elif auto_pad == "VALID":
            result.append((0, 0))
        else:
            small, large = total // 2, total - total // 2
            result.append((small, large) if auto_pad == "SAME_UPPER" else (large, small))
    return result


def taps(kernel, strides, dilations, counts):
    """Per tap its index and the slice of the padded input that it meets."""
    for k in itertools.product(*map(range, kernel)):
        yield (
            k,
            tuple(
                slice(j * d, j * d + (n - 1) * s + 1, s)
                for j, s, d, n in zip(k, strides, dilations, counts, strict=True)
            ),
        )


def conv(x, w, b, strides, dilations, group, pads, auto_pad="NOTSET"):
    kernel = w.shape[2:]
    before_after = paddings(x.shape[2:], kernel, strides, dilations, pads, auto_pad)
    padded = np.pad(x, [(0, 0), (0, 0), *before_after])
    counts = [
        (n - (k - 1) * d - 1) // s + 1 for n, k, s, d in zip(padded.shape[2:], kernel, strides, dilations, strict=True)
    ]
    y = np.zeros((x.shape[0], w.shape[0], *counts))
    inside, outside = w.shape[1], w.shape[0] // group
    for k, where in taps(kernel, strides, dilations, counts):
        read = padded[(slice(None), slice(None), *where)]
        for g in range(group):
            part = read[:, g * inside : (g + 1) * inside]
            weights = w[(slice(g * outside, (g + 1) * outside), slice(None), *k)]
            y[:, g * outside : (g + 1) * outside] += np.einsum("nc...,mc->nm...", part, weights)
    return y if b is None else y + b.reshape(-1, *[1] * len(kernel))


def conv_transpose(x, w, b, strides, dilations, group, pads, output_padding, auto_pad="NOTSET", output_shape=None):
    kernel, counts = w.shape[2:], x.shape[2:]
    full, crops = [], []
    for i, (n, k, s, d, more) in enumerate(zip(counts, kernel, strides, dilations, output_padding, strict=True)):
        length = (n - 1) * s + (k - 1) * d + 1 + more
        before, after = pads[i], pads[i + len(kernel)]
        size = length - before - after
        if output_shape or auto_pad.startswith("SAME"):
            total = max(length - (output_shape[i] if output_shape else n * s), 0)
            before = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
            size = output_shape[i] if output_shape else length - total
        full.append(max(length, before + size))
        crops.append(slice(before, before + size))
    inside, outside = w.shape[0] // group, w.shape[1]
    y = np.zeros((x.shape[0], outside * group, *full))
    for k, where in taps(kernel, strides, dilations, counts):
        for g in range(group):
            weights = w[(slice(g * inside, (g + 1) * inside), slice(None), *k)]
            part = np.einsum("nc...,cm->nm...", x[:, g * inside : (g + 1) * inside], weights)
            y[(slice(None), slice(g * outside, (g + 1) * outside), *where)] += part
    y = y[(slice(None), slice(None), *crops)]
    return y if b is None else y + b.reshape(-1, *[1] * len(kernel))


def draw_conv(rng):
    """Random attributes and arrays of a Conv that its input is large enough for."""
    spatial = int(rng.choice([1, 2, 2, 2, 3]))
    strides, dilations, kernel = (rng.integers(1, high, spatial).tolist() for high in (4, 3, 4))
    if rng.random() < 0.4:
        strides = [1] * spatial
    auto_pad = str(rng.choice(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if auto_pad.startswith("SAME"):
        dilations = [1] * spatial  # ONNX Runtime has no dilations with SAME padding
    group = int(rng.choice([1, 1, 2, 3]))
    inside = int(rng.choice([1, 1, 2, 4]))
    if group == 1 and rng.random() < 0.5:
        inside = 8
    outside = int(rng.choice([1, 2]))
    pads = [int(rng.integers(0, kernel[i % spatial] + 1)) for i in range(2 * spatial)]
    sizes = [int((k - 1) * d + 1 + rng.integers(0, 6)) for k, d in zip(kernel, dilations, strict=True)]
    arrays = {
        "x": rng.standard_normal((int(rng.integers(1, 3)), group * inside, *sizes)),
        "w": rng.standard_normal((group * outside, inside, *kernel)),
        "b": rng.standard_normal(group * outside),
    }
    attributes = {"strides": strides, "dilations": dilations, "group": group, "auto_pad": auto_pad}
    if auto_pad == "NOTSET":
        attributes["pads"] = pads
    return attributes, pads, {k: v.astype(np.float32) for k, v in arrays.items()}


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("seed", range(40))
def test_conv(seed, dynamic, check_gradient):
    attributes, pads, feeds = draw_conv(np.random.default_rng(seed))
    if seed % 3 == 0:
        del feeds["b"]
    node = helper.make_node("Conv", list(feeds), ["y"], **attributes)
    s, d, g, a = (attributes[k] for k in ("strides", "dilations", "group", "auto_pad"))
    gradient = check_gradient(
        model_of(node, feeds, dynamic),
        feeds,
        forward=lambda at: [conv(at["x"], at["w"], at.get("b"), s, d, g, pads, a)],
    )
    assert not [n for n in gradient.graph.node if n.op_type == "Pad"] or (dynamic and a.startswith("SAME"))


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("seed", range(40))
def test_conv_transpose(seed, dynamic, check_gradient):
    rng = np.random.default_rng(seed)
    attributes, pads, feeds = draw_conv(rng)
    spatial = len(attributes["strides"])
    weights = feeds["w"]
    group, outside = attributes["group"], weights.shape[0] // attributes["group"]
    feeds["x"] = feeds["x"][(..., *[slice(int(rng.integers(2, 5))) for _ in range(spatial)])]
    channels = feeds["x"].shape[1]
    feeds["w"] = rng.standard_normal((channels, outside, *weights.shape[2:])).astype(np.float32)
    s, d, a = (attributes[k] for k in ("strides", "dilations", "auto_pad"))
    extents = [(k - 1) * j + 1 for k, j in zip(weights.shape[2:], d, strict=True)]
    # With SAME padding ONNX's shape inference and ONNX Runtime take output_padding differently; beyond the stride the
    # runtime does not take it.
    more = [0 if a.startswith("SAME") else int(rng.integers(0, step)) for step in s]
    attributes["output_padding"] = more
    asked = None
    if a == "NOTSET":
        pads = [min(p, (extents[i % spatial] - 1) // 2) for i, p in enumerate(pads)]
        attributes["pads"] = pads
        if seed % 4 == 0:
            sizes = zip(feeds["x"].shape[2:], s, extents, more, strict=True)
            asked = [max(1, (n - 1) * j + e + m - int(rng.integers(0, min(e, j + 1)))) for n, j, e, m in sizes]
            attributes["output_shape"] = asked
            pads = attributes.pop("pads")
    else:
        pads = [0] * 2 * spatial
    node = helper.make_node("ConvTranspose", list(feeds), ["y"], **attributes)
    check_gradient(
        model_of(node, feeds, dynamic and not asked),
        feeds,
        forward=lambda at: [conv_transpose(at["x"], at["w"], at.get("b"), s, d, group, pads, more, a, asked)],
    )


def one_axis(stride, before=1):
    return Axis(0, kernel=3, stride=stride, dilation=1, size=8, count=8, before=before, after=before)


@pytest.mark.parametrize(
    ("stride", "depthwise", "channels", "target", "form"),
    [
        (1, False, 3, "cpu", "transposed"),
        (1, False, 8, "cpu", "flipped"),
        (1, True, 4, "cpu", "flipped"),
        (2, False, 64, "cpu", "transposed"),
        (2, True, 64, "cpu", "upsampled"),
        (1, False, 64, "cuda", "transposed"),
        (2, True, 64, "cuda", "transposed"),
    ],
)
def test_table_of_forms(stride, depthwise, channels, target, form):
    assert data_form([one_axis(stride)], channels, channels if depthwise else 1, depthwise, target) == form


def test_unknown_padding_needs_the_transposed_form():
    assert data_form([one_axis(2, before=None)], 8, 8, True) == "transposed"


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_does_not_use_a_grouped_conv_transpose(stride, check_gradient):
    rng = np.random.default_rng(0)
    feeds = {"x": rng.standard_normal((2, 6, 9, 8)).astype(np.float32)}
    weights = rng.standard_normal((6, 1, 3, 3)).astype(np.float32)
    attributes = {"strides": [stride] * 2, "pads": [1] * 4, "group": 6}
    model = model_of(helper.make_node("Conv", ["x", "w"], ["y"], **attributes), feeds)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    exact = weights.astype(np.float64)
    gradient = check_gradient(
        model, feeds, forward=lambda at: [conv(at["x"], exact, None, [stride] * 2, [1, 1], 6, [1] * 4)]
    )
    assert "ConvTranspose" not in [node.op_type for node in gradient.graph.node]


def test_weights_are_stored_once_and_flipped_by_the_runtime(tmp_path):
    weights = np.random.default_rng(0).standard_normal((64, 32, 3, 3)).astype(np.float32)
    feeds = {"x": np.zeros((1, 32, 8, 8), np.float32)}
    model = model_of(helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4), feeds, dynamic=True)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    gradient = vjp(model, of="y", wrt="x").proto
    assert gradient.ByteSize() < 1.1 * weights.nbytes
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "opened.onnx")
    onnxruntime.InferenceSession(gradient.SerializeToString(), options, providers=["CPUExecutionProvider"])
    opened = onnx.load(tmp_path / "opened.onnx").graph.node
    assert sorted(node.op_type for node in opened) == ["Conv", "Conv"]


def test_computed_weights(check_gradient):
    """Weights that are no constant, as in a quantised model, and their gradient through what computes them."""
    rng = np.random.default_rng(0)
    feeds = {
        "x": rng.standard_normal((1, 8, 6, 6)).astype(np.float32),
        "s": rng.uniform(0.5, 1, (8, 8, 3, 3)).astype(np.float32),
        "w": rng.standard_normal((8, 8, 3, 3)).astype(np.float32),
    }
    model = model_of(helper.make_node("Conv", ["x", "ws"], ["y"]), feeds)
    model.graph.node.insert(0, helper.make_node("Mul", ["w", "s"], ["ws"]))
    check_gradient(
        model, feeds, forward=lambda at: [conv(at["x"], at["w"] * at["s"], None, [1, 1], [1, 1], 1, [0] * 4)]
    )


@pytest.mark.parametrize("stride", [1, 2])
def test_half_precision(stride, check_gradient):
    rng = np.random.default_rng(0)
    feeds = {
        "x": rng.uniform(-1, 1, (1, 8, 7, 7)).astype(np.float16),
        "w": (rng.uniform(-1, 1, (4, 8, 3, 3)) / 8).astype(np.float16),
    }
    model = model_of(helper.make_node("Conv", ["x", "w"], ["y"], strides=[stride] * 2), feeds, dtype=np.float16)
    check_gradient(model, feeds, forward=lambda at: [conv(at["x"], at["w"], None, [stride] * 2, [1, 1], 1, [0] * 4)])


@pytest.mark.parametrize("pads", [[0, 0, 1, 1], [1, 1, 0, 0], [2, 0, 1, 3]])
@pytest.mark.parametrize("size", [9, 10])
def test_no_transposed_convolution_is_padded_unequally(pads, size):
    """ONNX Runtime's CUDA provider has none: it would run on the CPU, with copies around it."""
    rng = np.random.default_rng(0)
    feeds = {"x": rng.standard_normal((2, 3, size, size)).astype(np.float32)}
    feeds["w"] = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    model = model_of(helper.make_node("Conv", ["x", "w"], ["y"], pads=pads, strides=[2, 2]), feeds)
    gradient = vjp(model, of="y", wrt="x").proto
    emitted = [node for node in gradient.graph.node if node.op_type == "ConvTranspose"]
    assert emitted
    for node in emitted:
        given = next((list(a.ints) for a in node.attribute if a.name == "pads"), [0] * 4)
        assert given[:2] == given[2:]
    session = onnxruntime.InferenceSession(gradient.SerializeToString(), providers=["CPUExecutionProvider"])
    counts = [(size + pads[i] + pads[i + 2] - 3) // 2 + 1 for i in range(2)]
    seed = rng.standard_normal((2, 4, *counts)).astype(np.float32)
    (found,) = session.run(["grad/x"], {**feeds, "cotangent/y": seed})
    wide = np.zeros((2, 3, size + pads[0] + pads[2], size + pads[1] + pads[3]))
    for (i, j), (rows, columns) in taps((3, 3), (2, 2), (1, 1), counts):
        wide[:, :, rows, columns] += np.einsum("nmhw,mc->nchw", seed, feeds["w"][:, :, i, j])
    np.testing.assert_allclose(found, wide[:, :, pads[0] : pads[0] + size, pads[1] : pads[1] + size], atol=1e-4)


def fire_model(sizes):
    """x -> Concat of a Tanh of a Conv for each size -> 3x3 Conv -> y; weights are initializers."""
    rng = np.random.default_rng(0)
    nodes, weights = [], [(rng.standard_normal((8, sum(sizes), 3, 3)) / 8).astype(np.float32)]
    for i, size in enumerate(sizes):
        weights.append((rng.standard_normal((size, 4, 1, 1)) / 2).astype(np.float32))
        nodes += [
            helper.make_node("Conv", ["x", f"w{i + 1}"], [f"c{i}"]),
            helper.make_node("Tanh", [f"c{i}"], [f"t{i}"]),
        ]
    nodes += [
        helper.make_node("Concat", [f"t{i}" for i in range(len(sizes))], ["t"], axis=1),
        helper.make_node("Conv", ["t", "w0"], ["y"], pads=[1, 1, 1, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "fire",
        [helper.make_tensor_value_info("x", 1, ["N", 4, 5, 6])],
        [helper.make_tensor_value_info("y", 1, ["N", 8, 5, 6])],
        [onnx.numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize(("sizes", "split"), [((16, 32), False), ((16, 16, 48), False), ((16, 12), True)])
def test_parts_of_channels_are_convolutions_of_their_own(sizes, split, check_gradient):
    """Rather than one that is split: so they stay in the blocked layout. The whole one is not computed then."""
    feeds = {"x": np.random.default_rng(1).standard_normal((2, 4, 5, 6)).astype(np.float32)}
    gradient = check_gradient(fire_model(sizes), feeds)
    assert ("Split" in {node.op_type for node in gradient.graph.node}) == split
    convolutions = [n for n in gradient.graph.node if n.op_type == "Conv" and n.name.startswith("grad/")]
    assert len(convolutions) == (1 if split else len(sizes))


def test_channels_whose_cotangent_is_asked_for_are_split():
    feeds = {"x": np.random.default_rng(1).standard_normal((1, 4, 5, 6)).astype(np.float32)}
    gradient = vjp(fire_model((16, 16)), "y", ["x", "t"])
    assert "Split" in {node.op_type for node in gradient.graph.node}
    session = onnxruntime.InferenceSession(gradient.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    seed = np.random.default_rng(2).standard_normal((1, 8, 5, 6)).astype(np.float32)
    both = session.run(["grad/x"], {**feeds, "cotangent/y": seed})[0]
    alone = onnxruntime.InferenceSession(
        vjp(fire_model((16, 16)), "y", "x").proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    np.testing.assert_allclose(both, alone.run(["grad/x"], {**feeds, "cotangent/y": seed})[0], rtol=1e-5, atol=1e-6)


def test_channels_whose_cotangent_goes_elsewhere_too_are_split(check_gradient):
    """A sum passes one cotangent on to the Concat and to what is next to it: two convolutions more would be waste."""
    proto = fire_model((16, 16))
    sizes = [helper.make_tensor_value_info("z", 1, ["N", 32, 5, 6])]
    proto.graph.input.extend(sizes)
    proto.graph.node.insert(-1, helper.make_node("Exp", ["z"], ["e"]))
    (last,) = [node for node in proto.graph.node if "t" in node.input]
    at = list(proto.graph.node).index(last)
    proto.graph.node.insert(at, helper.make_node("Add", ["t", "e"], ["sum"]))
    last = proto.graph.node[at + 1]
    last.input[0] = "sum"
    rng = np.random.default_rng(1)
    feeds = {name: rng.standard_normal((2, n, 5, 6)).astype(np.float32) for name, n in (("x", 4), ("z", 32))}
    gradient = check_gradient(proto, feeds)
    assert "Split" in {node.op_type for node in gradient.graph.node}
    assert len([n for n in gradient.graph.node if n.op_type == "Conv" and n.name.startswith("grad/")]) <= 3


def test_a_convolution_of_a_rule_given_is_left_as_it_is():
    """With attributes that the parts would not have."""

    def rule(node, dy, op):
        return [op.Conv(dy, op.Transpose(node.inputs[1], perm=[1, 0, 2, 3]), auto_pad="SAME_UPPER"), None]

    gradient = vjp(fire_model((16, 16)), "y", ["t0", "t1"], {"Conv": rule})
    assert "Split" in {node.op_type for node in gradient.graph.node}
