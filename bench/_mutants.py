"""Mutants of models, cards and images, made from a seed: the same seed gives the same mutant."""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import _operators
import cv2
import numpy as np
import onnx
import onnx.parser
from onnx import ModelProto, TensorProto, numpy_helper

import onnxray
from onnxray.cli.files.images import decode
from onnxray.engine.inference.session import Session
from onnxray.engine.inspection import inspect
from onnxray.engine.methods.registry import options_of
from onnxray.engine.preprocess.card import FIELDS, OPTION_FIELDS
from onnxray.engine.preprocess.find import find_card

_HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
_TEXTS = (
    """g (float[N, 3, 16, 16] x) => (float[N, 4] y) {
        a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, k8)  b = Relu(a)
        c = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (b)  p = GlobalAveragePool(c)  f = Flatten(p)
        y = Gemm(f, w84, b4) }""",
    """g (float[N, 3, H, W] x) => (float[N, 4] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, k8)  n = InstanceNormalization(a, one8, one8)
        u = AveragePool <kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1> (n)  s = Sigmoid(u)
        m = ReduceMean <axes = [2, 3], keepdims = 0> (s)  l = MatMul(m, w84)  y = Softmax <axis = 1> (l) }""",
    """g (float[N, 6, 8] x) => (float[N, 4] y) {
        q = MatMul(x, w88)  t = Transpose <perm = [0, 2, 1]> (x)  s = MatMul(q, t)  p = Softmax <axis = 2> (s)
        o = MatMul(p, x)  r = Add(o, x)  m = ReduceMean <axes = [1], keepdims = 0> (r)  y = MatMul(m, w84) }""",
    """g (float[6, N, 8] x) => (float[N, 4] y) {
        h, last = GRU <hidden_size = 8> (x, gw, gr)  z = Squeeze(last, zero)  y = MatMul(z, w84) }""",
    """g (float[N, 8] x) => (float[N, 4] y) {
        s = ReduceSum <keepdims = 0> (x)  c = Greater(s, half)
        i = If (c) <
            then_branch = t () => (float[N, 8] t1) { t1 = Relu(x) },
            else_branch = e () => (float[N, 8] e1) { e1 = Tanh(x) }>
        a, b = Split <axis = 1> (i)  k = Concat <axis = 1> (b, a)  y = MatMul(k, w84) }""",
    """g (float[N, 3, 16, 16] x) => (float[N, 4, 16, 16] y) {
        a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, k8)  q = QuantizeLinear(a, half, zp)
        d = DequantizeLinear(q, half, zp)  u = Resize <mode = "linear"> (d, , scales)
        e = Pad(u, pads)  s = Slice(e, starts, ends)  y = Conv(s, k48) }""",
)
_RNG = np.random.default_rng(0)


def _weights() -> dict[str, np.ndarray]:
    shapes = {"k8": (8, 3, 3, 3), "k48": (4, 8, 1, 1), "w84": (8, 4), "b4": (4,), "w88": (8, 8)}
    shapes |= {"gw": (1, 24, 8), "gr": (1, 24, 8)}
    found: dict[str, np.ndarray] = {n: _RNG.normal(size=s).astype(np.float32) * 0.3 for n, s in shapes.items()}
    found |= {"one8": np.ones(8, np.float32), "half": np.array(0.5, np.float32), "zp": np.array(0, np.int8)}
    found |= {"scales": np.array([1, 1, 2, 2], np.float32), "zero": np.array([0], np.int64)}
    found |= {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)}
    return found | {"starts": np.array([0, 0, 1, 1], np.int64), "ends": np.array([99, 99, 17, 17], np.int64)}


def _bases() -> list[ModelProto]:
    weights, found = _weights(), []
    for text in _TEXTS:
        model = onnx.parser.parse_model(_HEAD + text)
        read = {name for node in model.graph.node for name in node.input}
        model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in weights.items() if n in read)
        found.append(model)
    for file in sorted(Path(os.environ.get("ONNXRAY_ZOO") or "-").glob("frameworks/*/model.onnx")):
        if file.stat().st_size < 200_000:
            found.append(onnx.load(file, load_external_data=False))
    return found


BASES = _bases()
_OPERATORS = """Relu Add Mul Conv MatMul Gemm Concat Reshape Transpose Softmax MaxPool AveragePool Flatten Squeeze
    Unsqueeze Slice Gather Pad Resize ReduceMean GlobalAveragePool BatchNormalization LayerNormalization Split Expand
    Tile Where Cast TopK LSTM GRU RNN ConvTranspose Einsum Identity Clip Sigmoid Nope""".split()
_SIZES = (-1, 0, 1, 2, 3, 5, 7, 8, 16, 64, 1 << 20, (1 << 31) - 1, 1 << 40)


# --- models ---


def _change_node(random_: random.Random, model: ModelProto) -> None:
    node = random_.choice(model.graph.node)
    ways: list[Callable[[], Any]] = [
        lambda: setattr(node, "op_type", random_.choice(_OPERATORS)),
        lambda: setattr(node, "domain", random_.choice(["com.microsoft", "ai.onnx.ml", "nowhere", ""])),
        lambda: node.input.pop() if node.input else None,
        lambda: node.input.append(random_.choice(_names(model))),
        lambda: node.output.pop() if len(node.output) > 1 else node.output.append("extra"),
        lambda: node.attribute.pop() if node.attribute else None,
        lambda: node.attribute.append(onnx.helper.make_attribute("axis", random_.choice(_SIZES))),
    ]
    if node.input:
        place = random_.randrange(len(node.input))
        ways.append(lambda: node.input.__setitem__(place, random_.choice(["", *_names(model)])))
    for attribute in node.attribute:
        ways.append(lambda a=attribute: _change_attribute(random_, a))  # type: ignore[misc]
    random_.choice(ways)()


def _change_attribute(random_: random.Random, attribute: onnx.AttributeProto) -> None:
    if attribute.ints:
        attribute.ints[random_.randrange(len(attribute.ints))] = random_.choice(_SIZES)
        if random_.random() < 0.3:
            attribute.ints.pop()
    elif attribute.type == onnx.AttributeProto.INT:
        attribute.i = random_.choice(_SIZES)
    elif attribute.type == onnx.AttributeProto.FLOAT:
        attribute.f = random_.choice([0.0, -1.0, float("nan"), float("inf"), 1e30])
    elif attribute.type == onnx.AttributeProto.STRING:
        attribute.s = random_.choice([b"", b"nearest", b"cubic", b"SAME_UPPER", b"\xff\xfe", b"ij,jk->ik"])
    else:
        attribute.type = random_.choice([1, 2, 3, 6, 7])


def _names(model: ModelProto) -> list[str]:
    graph = model.graph
    computed = [name for node in graph.node for name in node.output]
    return [*(v.name for v in graph.input), *(t.name for t in graph.initializer), *computed]


def _change_tensor(random_: random.Random, model: ModelProto) -> None:
    if not model.graph.initializer:
        return
    tensor = random_.choice(model.graph.initializer)
    way = random_.randrange(5)
    if way == 0 and tensor.dims:
        tensor.dims[random_.randrange(len(tensor.dims))] = random_.choice(_SIZES)
    elif way == 1:
        tensor.data_type = random_.choice([0, 1, 6, 7, 9, 10, 11, 16, 99])
    elif way == 2 and tensor.raw_data:
        data = bytearray(tensor.raw_data)
        data[random_.randrange(len(data))] = random_.randrange(256)
        tensor.raw_data = bytes(data)
    elif way == 3:
        tensor.name = random_.choice(_names(model))
    else:
        array = np.asarray(random_.choices(_SIZES, k=random_.randrange(5)), np.int64)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _change_info(random_: random.Random, model: ModelProto) -> None:
    info = random_.choice([*model.graph.input, *model.graph.output])
    kind, way = info.type.tensor_type, random_.randrange(5)
    if way == 0 and kind.shape.dim:
        dim = kind.shape.dim[random_.randrange(len(kind.shape.dim))]
        dim.dim_value = random_.choice(_SIZES)
    elif way == 1 and kind.shape.dim:
        kind.shape.dim[random_.randrange(len(kind.shape.dim))].dim_param = random_.choice(["N", "H", ""])
    elif way == 2:
        kind.elem_type = random_.choice([0, 1, 2, 3, 7, 8, 9, 10, 11, 99])
    elif way == 3:
        kind.shape.dim.add(dim_value=random_.choice(_SIZES))
    else:
        info.name = random_.choice(_names(model))


def _change_graph(random_: random.Random, model: ModelProto) -> None:
    graph, way = model.graph, random_.randrange(6)
    if way == 0:
        del graph.node[random_.randrange(len(graph.node))]
    elif way == 1:
        graph.node.append(random_.choice(graph.node))
    elif way == 2:
        graph.output.add(name=random_.choice(_names(model)))
    elif way == 3 and model.opset_import:
        model.opset_import[0].version = random_.choice([0, 1, 6, 7, 9, 11, 13, 18, 21, 23, 99])
    elif way == 4:
        graph.value_info.append(onnx.helper.make_tensor_value_info(random_.choice(_names(model)), 1, [1, 2, 3]))
    else:
        nodes = list(graph.node)
        random_.shuffle(nodes)
        del graph.node[:]
        graph.node.extend(nodes)


def mutated_model(random_: random.Random) -> bytes | ModelProto:
    model = ModelProto()
    model.CopyFrom(random_.choice(BASES))
    if random_.random() < 0.15:
        return mutated_bytes(random_, model.SerializeToString())
    return mutated(random_, model)


def mutated(random_: random.Random, model: ModelProto) -> ModelProto:
    """The model, changed in place."""
    for _ in range(random_.choice([1, 1, 1, 2, 3])):
        if model.graph.node:
            change = random_.choice([_change_node, _change_node, _change_tensor, _change_info, _change_graph])
            change(random_, model)
    return model


def mutated_bytes(random_: random.Random, data: bytes) -> bytes:
    found = bytearray(data)
    for _ in range(random_.choice([1, 1, 2, 4, 16])):
        if not found:
            break
        at, way = random_.randrange(len(found)), random_.randrange(4)
        if way == 0:
            found[at] = random_.randrange(256)
        elif way == 1:
            del found[at : at + random_.choice([1, 4, 64])]
        elif way == 2:
            found[at:at] = random_.randbytes(random_.choice([1, 4, 64]))
        else:
            found[at : at + 4] = random_.choice([b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff"])
    return bytes(found[: random_.randrange(len(found))] if found and random_.random() < 0.1 else found)


def _feeds(model: onnxray.Model, random_: random.Random) -> dict[str, np.ndarray]:
    return {value.name: _feed(value, random_) for value in model.inputs}


def _feed(value: Any, random_: random.Random) -> np.ndarray:
    sizes = [d if isinstance(d, int) else random_.choice([1, 2, 16]) for d in value.shape or ()]
    if value.shape is None or not all(0 <= d <= 4096 for d in sizes) or np.prod(sizes) > 1 << 20:
        sizes = [1]
    dtype = value.dtype or np.dtype(np.float32)
    made = np.random.default_rng(random_.randrange(1 << 30)).normal(size=sizes)
    return np.full(sizes, "a", object) if dtype.kind == "O" else made.astype(dtype)


_CHEAP = ("gradient", "grad-cam", "occlusion", "recipro-cam", "eigen-cam", "guided-backprop", "lrp", "ablation", "cam")


def try_model(random_: random.Random, gradients: bool) -> None:
    """One mutated model, through one of the front doors. `gradients`: those that differentiate as well."""
    source = mutated_model(random_)
    model = onnxray.load(source)
    doors = ["inspect", "explain", "activations", "split"] + (["vjp", "compile", "explain"] if gradients else [])
    door = random_.choice(doors)
    if door == "inspect":
        inspect(model)
        return
    feeds = _feeds(model, random_)
    if door == "activations":
        onnxray.activations(model, feeds, random_.choice(list(model.values)))
    elif door == "split":
        onnxray.split(model, random_.choice(list(model.values)))
    elif door == "vjp":
        onnxray.vjp(model, model.outputs[0].name if model.outputs else "y", [v.name for v in model.inputs][:1])
    elif door == "compile":
        onnxray.compile(model, method=random_.choice(["grad-cam", "gradient", "recipro-cam"]), target=0)
    else:
        usable = _CHEAP if gradients else ("occlusion", "recipro-cam", "eigen-cam", "ablation")
        onnxray.explain(model, feeds, method=random_.choice(usable), target=random_.choice([None, 0, "prob:0", 99]))


def try_operator(random_: random.Random) -> None:
    """One operator with arguments that do not fit, differentiated and explained."""
    model, arrays = _operators.base(random_)
    proto = mutated(random_, model) if random_.random() < 0.9 else model
    model = onnxray.load(proto)
    feeds = {v.name: arrays[v.name] if v.name in arrays else _feed(v, random_) for v in model.inputs}
    door = random_.choice(["vjp", "vjp", "inspect", "explain", "compile", "grad"])
    if door == "inspect":
        inspect(model)
    elif door == "explain":
        onnxray.explain(model, feeds, method=random_.choice(_CHEAP), target=random_.choice(_TARGETS))
    elif door == "compile":
        onnxray.compile(model, method=random_.choice(["grad-cam", "gradient", "recipro-cam"]), target=0)
    elif model.outputs and model.inputs:
        wrt = random_.choice(list(model.inputs)).name
        made = onnxray.vjp(model, model.outputs[0].name, wrt, rules=random_.choice([None, None, "guided"]))
        y = onnxray.activations(model, feeds, [model.outputs[0].name])[model.outputs[0].name]
        Session(made).run({**feeds, made.inputs[-1].name: np.ones_like(y)})


# --- cards ---

_VALUES: tuple[Any, ...] = (
    *(None, True, 0, 1, -1, 7, 224, 1e308, -1e308, 10**400, 10**5000, 0.5, "", "x", "224x224", "NHWC", "BGR", "crop"),
    *([], [1, 2, 3], [1e308] * 3, [0, 0, 0], {}, {"0": "a"}, {"a": 1}, ["a", "b", "c", "d"], "l.txt", "../l.txt"),
    *("9" * 5000, "0x" + "f" * 5000, [[[]]], ["\ud800"], "\x00", {"height": 8, "width": 10**400}),
)
_FOREIGN = """mean std input_size crop_pct interpolation pretrained_cfg architecture image_mean image_std size crop_size
    do_resize do_center_crop rescale_factor resample id2label problem_type label_names label_descriptions
    image_processor_type do_rescale do_normalize crop_mode""".split()
_PBTXT = 'input { name: "x" format: FORMAT_NCHW dims: [ 3, 16, 16 ] } output { name: "y" label_filename: "l.txt" }'
_METADATA = ("names", "task", "imgsz", "stride", "Image.BitmapPixelFormat", "onnxray.card", "model_info mean_values")


def try_card(random_: random.Random) -> None:
    """A model with mutated files beside it, and mutated properties and options."""
    model = ModelProto()
    model.CopyFrom(BASES[random_.randrange(2)])
    for _ in range(random_.randrange(3)):
        deep, digits = "(" * 200, "{0: 0x" + "f" * 5000 + "}"
        text = random_.choice(["{0: 'a'}", "[16, 16]", "classify", "rgb8", deep, digits, "{}"])
        model.metadata_props.add(key=random_.choice(_METADATA), value=text)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(model, folder / "m.onnx")
        (folder / "l.txt").write_bytes(mutated_bytes(random_, b"a\nb\nc\nd\n"))
        for file in random_.choices(["card.json", "config.json", "preprocessor_config.json", "labels.txt"], k=2):
            known = FIELDS if file == "card.json" else _FOREIGN
            content = {random_.choice(known): random_.choice(_VALUES) for _ in range(random_.randrange(1, 6))}
            if file == "config.json" and random_.random() < 0.5:
                content = {"architecture": "r", "pretrained_cfg": content}
            (folder / file).write_bytes(_as_json(random_, content))
        (folder / "config.pbtxt").write_bytes(mutated_bytes(random_, _PBTXT.encode()))
        options = {random_.choice(OPTION_FIELDS): random_.choice(_VALUES)} if random_.random() < 0.5 else {}
        loaded = onnxray.load(folder / "m.onnx", **options)
        find_card(loaded)
        photo = np.random.default_rng(0).integers(0, 256, (random_.choice([1, 9, 300]), 20, 3), dtype=np.uint8)
        onnxray.explain(loaded, photo, method="gradient")


def _as_json(random_: random.Random, content: dict[str, Any]) -> bytes:
    try:
        text = json.dumps(content).encode()
    except ValueError:  # numbers of thousands of digits can be read, not written
        text = b'{"size": ' + b"9" * 5000 + b"}"
    return mutated_bytes(random_, text) if random_.random() < 0.3 else text


# --- images ---


def _pictures() -> Sequence[bytes]:
    image = np.random.default_rng(1).integers(0, 256, (24, 31, 3), dtype=np.uint8)
    alpha, deep = np.concatenate([image, image[..., :1]], axis=2), image.astype(np.uint16) * 257
    made = [(".png", image), (".jpg", image), (".tiff", image), (".bmp", image), (".webp", image)]
    made += [(".png", alpha), (".png", deep), (".tiff", deep), (".png", image[..., 0])]
    return [cv2.imencode(suffix, pixels)[1].tobytes() for suffix, pixels in made]


PICTURES = _pictures()


def try_image(random_: random.Random) -> None:
    found = decode(mutated_bytes(random_, random_.choice(PICTURES)), max_pixels=4_000_000)
    assert found.dtype == np.uint8
    assert found.shape[2:] == (3,)


# --- options of methods ---

_OPTION_VALUES: tuple[Any, ...] = (
    *(None, 0, -1, 1, 3, 1e9, 10**30, float("nan"), float("inf"), "", "2x3", "x", "zero", "#12", "9" * 50, True),
    *([], (1, 2), [1, "a"], np.zeros(0), np.zeros((2, 2)), np.ones((16, 16), int), np.zeros((3, 16, 16), bool), {}),
)
_TARGETS = (
    *("", "prob:", "rank:0", "rank:" + "9" * 5000, "9" * 5000, "unit:a", "unit:a:1,2,3", "element:y:", "element:y:9"),
    *("region:0", "contrast:1,1", "classes:", "top:9", "top:" + "9" * 50, -1, 10**30, [], [0, 1], 0, None, 1.5),
)


def try_options(random_: random.Random) -> None:
    """A right model and input, with options and targets that make no sense."""
    name = random_.choice(list(onnxray.methods()))
    known = options_of(onnxray.methods()[name])
    options = {random_.choice(known).name: random_.choice(_OPTION_VALUES) for _ in range(random_.randrange(3)) if known}
    x = np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32)
    for heavy, few in (("masks", 20), ("samples", 4), ("steps", 4), ("runs", 40)):
        if any(o.name == heavy for o in known):
            options.setdefault(heavy, few)
    onnxray.explain(BASES[0], x, method=name, target=random_.choice(_TARGETS), **options)


def warm_up(operators: bool = False) -> None:
    if operators:
        _operators.bases()
    x = np.zeros((1, 3, 16, 16), np.float32)
    for name in ("guided-grad-cam", "occlusion", "rise", "score-cam"):
        onnxray.explain(BASES[0], x, method=name, **({"masks": 8} if name == "rise" else {}))
    onnxray.explain(BASES[0], np.zeros((40, 40, 3), np.uint8), method="gradient").heatmap.sum()


KINDS: dict[str, Callable[[random.Random], None]] = {
    "model": lambda r: try_model(r, gradients=False),
    "gradient": lambda r: try_model(r, gradients=True),
    "operator": try_operator,
    "card": try_card,
    "image": try_image,
    "options": try_options,
}
# Types that a worker's report knows by name.
REFUSALS = (onnxray.OnnxrayError,)
assert TensorProto.FLOAT == 1  # the numbers of types above are those of the format
