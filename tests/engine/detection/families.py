"""Small detectors of many families with random weights, and what the formulas of their own packages make of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnxray.engine.graph.model import Model
from onnxray.engine.load import load

Arrays = dict[str, NDArray[np.float32]]
SIZE = (64, 96)


@dataclass(frozen=True)
class Family:
    """`decode` makes boxes (A, 4) x0, y0, x1, y1 and scores (A, C) of the model's outputs, as its package does."""

    name: str
    model: Model
    decode: Callable[[Arrays], tuple[NDArray[np.float64], NDArray[np.float64]]]
    rule: str


class Net:
    """Nodes on their way into a model."""

    def __init__(self, seed: int = 0, size: tuple[int, int] = SIZE) -> None:
        self.random, self.size = np.random.default_rng(seed), size
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.count = 0

    def const(self, array: object, kind: type = np.float32) -> str:
        self.count += 1
        self.constants.append(numpy_helper.from_array(np.array(array, kind), f"c{self.count}"))
        return f"c{self.count}"

    def op(self, kind: str, *inputs: str, outputs: int = 1, name: str = "", **options: object) -> str:
        self.count += 1
        made = [name or f"v{self.count}"] + [f"v{self.count}_{i}" for i in range(1, outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), made, **options))
        return made[0]

    def conv(self, x: str, before: int, after: int, size: int = 1, stride: int = 1, bias: float = 0.0) -> str:
        w = self.random.normal(0, 1.2 / np.sqrt(before * size * size), (after, before, size, size))
        b = self.random.normal(bias, 0.3, after)
        pad = size // 2
        more = {"kernel_shape": [size, size], "strides": [stride, stride], "pads": [pad] * 4}
        return self.op("Conv", x, self.const(w), self.const(b), **more)

    def pyramid(self, levels: int = 3) -> list[str]:
        """Maps of 8 channels at strides 8, 16, 32."""
        x = self.op("Relu", self.conv("image", 3, 8, 3, 2))
        x = self.op("Relu", self.conv(x, 8, 8, 3, 2))
        found = []
        for _ in range(levels):
            x = self.op("Relu", self.conv(x, 8, 8, 3, 2))
            found.append(x)
        return found

    def rows(self, x: str, columns: int) -> str:
        """(1, a * K, h, w) -> (1, h * w * a, K)."""
        return self.op("Reshape", self.op("Transpose", x, perm=[0, 2, 3, 1]), self.const([1, -1, columns], np.int64))

    def part(self, x: str, first: int, end: int, axis: int = 2) -> str:
        ints = [self.const([n], np.int64) for n in (first, end, axis)]
        return self.op("Slice", x, *ints)

    def model(self, outputs: list[str], kinds: dict[str, int] | None = None, **options: object) -> Model:
        graph = helper.make_graph(
            self.nodes,
            "detector",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *self.size])],
            [helper.make_tensor_value_info(o, (kinds or {}).get(o, TensorProto.FLOAT), None) for o in outputs],
            self.constants,
        )
        domains = {node.domain: 1 for node in self.nodes if node.domain} | {"": 17}
        opsets = [helper.make_opsetid(*pair) for pair in domains.items()]
        proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        return load(proto.SerializeToString(), std=255, **options)


def sigmoid(x: NDArray[np.floating]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def softmax(x: NDArray[np.floating]) -> NDArray[np.float64]:
    e = np.exp(np.asarray(x, np.float64) - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def cells(stride: int, size: tuple[int, int] = SIZE) -> tuple[int, int]:
    return -(-size[0] // stride), -(-size[1] // stride)


def centres(stride: int, half: float = 0.5) -> NDArray[np.float64]:
    h, w = cells(stride)
    y, x = np.mgrid[:h, :w]
    return np.stack([x, y], -1).reshape(-1, 2) * stride + half * stride


def corners(b: NDArray[np.floating]) -> NDArray[np.float64]:
    b = np.asarray(b, np.float64)
    return np.concatenate([b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2], axis=1)


def boxes_in_graph(net: Net, maps: list[str], relative: bool) -> str:
    """(1, A, 4): centre and size of boxes around the places of the maps."""
    made = []
    for i, x in enumerate(maps):
        stride = 8 << i
        raw = net.op("Sigmoid", net.rows(net.conv(x, 8, 4), 4))
        scale = np.array([stride, stride, 4 * stride, 4 * stride], np.float32)
        box = net.op("Mul", raw, net.const(scale))
        base = np.concatenate([centres(stride, 0.0), np.zeros((len(centres(stride)), 2))], axis=1)
        made.append(net.op("Add", box, net.const(base[None])))
    table = net.op("Concat", *made, axis=1)
    height, width = net.size
    return net.op("Div", table, net.const([width, height, width, height])) if relative else table


def as_corners(net: Net, table: str) -> str:
    centre, size = net.part(table, 0, 2), net.op("Mul", net.part(table, 2, 4), net.const(0.5))
    return net.op("Concat", net.op("Sub", centre, size), net.op("Add", centre, size), axis=2)


def ssd() -> Family:
    """Corners in parts of the plane, softmax with the background first."""
    net = Net(1)
    maps = net.pyramid()
    net.op("Identity", as_corners(net, boxes_in_graph(net, maps, True)), name="boxes")
    raw = net.op("Concat", *(net.rows(net.conv(x, 8, 4), 4) for x in maps), axis=1)
    net.op("Softmax", net.op("Add", raw, net.const([2.5, 0, 0, 0])), name="scores", axis=2)

    def decode(o: Arrays) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return o["boxes"][0] * np.tile(SIZE[::-1], 2), o["scores"][0, :, 1:]

    return Family("ssd", net.model(["scores", "boxes"]), decode, "two-outputs")


def detr() -> Family:
    """Twenty queries: logits with no object last, centre and size in parts of the plane."""
    net = Net(2)
    x = net.pyramid()[0]
    flat = net.op("Reshape", x, net.const([1, 8, 96], np.int64))
    mixed = net.op("MatMul", flat, net.const(net.random.normal(0, 0.3, (96, 20))))
    tokens = net.op("Transpose", mixed, perm=[0, 2, 1])
    tokens = net.op("Add", tokens, net.const(net.random.normal(0, 1, (1, 20, 8))))
    logits = net.op("MatMul", tokens, net.const(net.random.normal(0, 1, (8, 6))))
    net.op("Add", logits, net.const([0, 0, 0, 0, 0, 8.0]), name="logits")
    box = net.op("MatMul", tokens, net.const(net.random.normal(0, 1, (8, 4))))
    net.op("Sigmoid", box, name="pred_boxes")

    def decode(o: Arrays) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return corners(o["pred_boxes"][0]) * np.tile(SIZE[::-1], 2), softmax(o["logits"][0])[:, :-1]

    return Family("detr", net.model(["logits", "pred_boxes"]), decode, "two-outputs")


def yolo5() -> Family:
    """(1, A, 5 + C) with three anchors, objectness and sigmoids."""
    net, tables = Net(3), []
    from onnxray.engine.detection.rules.levels import ANCHORS

    for i, x in enumerate(net.pyramid()):
        stride, (h, w) = 8 << i, cells(8 << i)
        raw = net.op("Reshape", net.conv(x, 8, 3 * 8), net.const([1, 3, 8, h, w], np.int64))
        y = net.op("Sigmoid", net.op("Transpose", raw, perm=[0, 1, 3, 4, 2]))
        grid = (centres(stride, 0.0).reshape(1, 1, h, w, 2) / stride - 0.5) * stride
        xy = net.op("Add", net.op("Mul", net.part(y, 0, 2, 4), net.const(2.0 * stride)), net.const(grid))
        two = net.op("Mul", net.part(y, 2, 4, 4), net.const(2.0))
        sizes = np.array(ANCHORS[stride])[:, ::-1].reshape(1, 3, 1, 1, 2)
        wh = net.op("Mul", net.op("Mul", two, two), net.const(sizes))
        table = net.op("Concat", xy, wh, net.part(y, 4, 8, 4), axis=4)
        tables.append(net.op("Reshape", table, net.const([1, -1, 8], np.int64)))
    net.op("Concat", *tables, axis=1, name="output0")

    def decode(o: Arrays) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        t = o["output0"][0].astype(np.float64)
        return corners(t[:, :4]), t[:, 4:5] * t[:, 5:]

    return Family("yolo5", net.model(["output0"]), decode, "one-output")


def yolo5_heads() -> Family:
    """The heads of YOLOv5 as they leave their convolutions: (1, 3, h, w, 5 + C) for each level."""
    from onnxray.engine.detection.rules.levels import ANCHORS

    net = Net(4)
    for i, x in enumerate(net.pyramid()):
        h, w = cells(8 << i)
        raw = net.op("Reshape", net.conv(x, 8, 3 * 7), net.const([1, 3, 7, h, w], np.int64))
        net.op("Transpose", raw, perm=[0, 1, 3, 4, 2], name=f"head{i}")

    def decode(o: Arrays) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        boxes, scores = [], []
        for i in range(3):
            stride, y = 8 << i, sigmoid(o[f"head{i}"][0])
            h, w = cells(stride)
            grid = centres(stride, 0.0).reshape(1, h, w, 2) / stride
            xy = (y[..., :2] * 2 - 0.5 + grid) * stride
            wh = (y[..., 2:4] * 2) ** 2 * np.array(ANCHORS[stride])[:, ::-1].reshape(3, 1, 1, 2)
            boxes.append(corners(np.concatenate([xy, wh], -1).reshape(-1, 4)))
            scores.append((y[..., 4:5] * y[..., 5:]).reshape(-1, y.shape[-1] - 5))
        return np.concatenate(boxes), np.concatenate(scores)

    return Family("yolo5-heads", net.model(["head0", "head1", "head2"]), decode, "levels")


def yolo8() -> Family:
    """(1, 4 + C, A): boxes and sigmoids put together."""
    net = Net(5)
    maps = net.pyramid()
    boxes = net.op("Transpose", boxes_in_graph(net, maps, False), perm=[0, 2, 1])
    raw = net.op("Concat", *(net.rows(net.conv(x, 8, 5, bias=-1), 5) for x in maps), axis=1)
    scores = net.op("Sigmoid", net.op("Transpose", raw, perm=[0, 2, 1]))
    net.op("Concat", boxes, scores, axis=1, name="output0")

    def decode(o: Arrays) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return corners(o["output0"][0, :4].T), o["output0"][0, 4:].T.astype(np.float64)

    return Family("yolo8", net.model(["output0"]), decode, "one-output")


def yolox() -> Family:
    """(1, A, 5 + C), boxes not decoded."""
    net, tables = Net(6), []
    for x in net.pyramid():
        box = net.conv(x, 8, 4)
        sure, scores = net.op("Sigmoid", net.conv(x, 8, 1)), net.op("Sigmoid", net.conv(x, 8, 3))
        tables.append(net.rows(net.op("Concat", box, sure, scores, axis=1), 8))
    net.op("Concat", *tables, axis=1, name="output")

    def decode(o: Arrays) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        t = o["output"][0].astype(np.float64)
        base = np.concatenate([centres(8 << i, 0.0) for i in range(3)])
        stride = np.concatenate([np.full((len(centres(8 << i)), 1), 8 << i) for i in range(3)])
        boxes = np.concatenate([t[:, :2] * stride + base, np.exp(t[:, 2:4]) * stride], axis=1)
        return corners(boxes), t[:, 4:5] * t[:, 5:]

    return Family("yolox", net.model(["output"]), decode, "one-output")


def fcos(sigmoids: bool = False) -> Family:
    """Class logits, distances in pixels and centredness for each level, as maps."""
    net, outputs = Net(7), []
    for i, x in enumerate(net.pyramid()):
        scale = net.const(float(8 << i))
        outputs.append(net.op("Add", net.conv(x, 8, 4), net.const(np.float32(-1)), name=f"cls{i}"))
        outputs.append(net.op("Mul", net.op("Exp", net.conv(x, 8, 4)), scale, name=f"reg{i}"))
        outputs.append(net.op("Add", net.conv(x, 8, 1), net.const(np.float32(0)), name=f"ctr{i}"))

    def decode(o: Arrays) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        boxes, scores = [], []
        for i in range(3):
            cls, reg, ctr = (
                np.moveaxis(o[f"{n}{i}"][0], 0, -1).reshape(-1, k) for n, k in (("cls", 4), ("reg", 4), ("ctr", 1))
            )
            p = centres(8 << i)
            boxes.append(np.concatenate([p - reg[:, :2], p + reg[:, 2:]], axis=1))
            scores.append(np.sqrt(sigmoid(cls) * sigmoid(ctr)))
        return np.concatenate(boxes), np.concatenate(scores)

    return Family("fcos", net.model(outputs), decode, "levels")


def scrfd() -> Family:
    """Scores, distances in strides and landmarks (h * w * 2, k) for each level, no batch."""
    net = Net(8)
    for i, x in enumerate(net.pyramid()):
        for name, k, function in (("score", 1, "Sigmoid"), ("bbox", 4, "Relu"), ("kps", 10, "Identity")):
            rows = net.op("Transpose", net.conv(x, 8, 2 * k, bias=0.5), perm=[2, 3, 0, 1])
            net.op(function, net.op("Reshape", rows, net.const([-1, k], np.int64)), name=f"{name}_{8 << i}")
    outputs = [f"{n}_{s}" for n in ("score", "bbox", "kps") for s in (8, 16, 32)]

    def decode(o: Arrays) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        boxes, scores = [], []
        for s in (8, 16, 32):
            p, d = np.repeat(centres(s, 0.0), 2, axis=0), o[f"bbox_{s}"] * float(s)
            boxes.append(np.concatenate([p - d[:, :2], p + d[:, 2:]], axis=1))
            scores.append(o[f"score_{s}"].astype(np.float64))
        return np.concatenate(boxes), np.concatenate(scores)

    return Family("scrfd", net.model(outputs), decode, "levels")


def nanodet() -> Family:
    """Sigmoids and eight bins a side for each level."""
    net, outputs = Net(9), []
    for i, x in enumerate(net.pyramid()):
        outputs.append(net.op("Sigmoid", net.rows(net.conv(x, 8, 6, bias=-1), 6), name=f"cls_{i}"))
        outputs.append(net.op("Identity", net.rows(net.conv(x, 8, 32), 32), name=f"dis_{i}"))

    def decode(o: Arrays) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        boxes = []
        for i in range(3):
            d = softmax(o[f"dis_{i}"][0].reshape(-1, 4, 8)) @ np.arange(8) * (8 << i)
            p = centres(8 << i)
            boxes.append(np.concatenate([p - d[:, :2], p + d[:, 2:]], axis=1))
        return np.concatenate(boxes), np.concatenate([o[f"cls_{i}"][0] for i in range(3)]).astype(np.float64)

    return Family("nanodet", net.model(outputs), decode, "levels")


def centernet() -> Family:
    """Heat map, sizes and offsets at stride 4."""
    net = Net(10)
    x = net.op("Relu", net.conv(net.op("Relu", net.conv("image", 3, 8, 3, 2)), 8, 8, 3, 2))
    net.op("Sigmoid", net.conv(x, 8, 3, 3), name="hm")
    net.op("Exp", net.conv(x, 8, 2, bias=1.0), name="wh")
    net.op("Sigmoid", net.conv(x, 8, 2), name="reg")

    def decode(o: Arrays) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        hm, wh, reg = (np.asarray(o[n][0], np.float64) for n in ("hm", "wh", "reg"))
        padded = np.pad(hm, ((0, 0), (1, 1), (1, 1)))
        most = np.max([padded[:, i : i + hm.shape[1], j : j + hm.shape[2]] for i in range(3) for j in range(3)], axis=0)
        heat = np.where(most == hm, hm, 0)
        flat = [np.moveaxis(a, 0, -1).reshape(-1, len(a)) for a in (wh, reg, heat)]
        return corners(np.concatenate([centres(4, 0.0) + flat[1] * 4, flat[0] * 4], axis=1)), flat[2]

    return Family("centernet", net.model(["hm", "wh", "reg"]), decode, "centre")


def centerface() -> Family:
    """Certainty, logarithms of height and width, offsets y and x from the middle of the cell, and five points."""
    net = Net(14)
    x = net.op("Relu", net.conv(net.op("Relu", net.conv("image", 3, 8, 3, 2)), 8, 8, 3, 2))
    net.op("Sigmoid", net.conv(x, 8, 1, 3), name="heat")
    net.op("Identity", net.conv(x, 8, 2, bias=1.5), name="scale")
    net.op("Sigmoid", net.conv(x, 8, 2, bias=-1.0), name="offset")
    net.op("Identity", net.conv(x, 8, 10), name="points")

    def decode(o: Arrays) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        heat, scale, offset = (np.asarray(o[n][0], np.float64) for n in ("heat", "scale", "offset"))
        flat = [np.moveaxis(a, 0, -1).reshape(-1, len(a)) for a in (heat, np.exp(scale), offset)]
        xy = centres(4) + flat[2][:, ::-1] * 4
        return corners(np.concatenate([xy, flat[1][:, ::-1] * 4], axis=1)), flat[0]

    return Family("centerface", net.model(["heat", "scale", "offset", "points"]), decode, "centre")


def nms_in_graph() -> Family:
    """NonMaxSuppression and what is gathered behind it; the table is what it reads."""
    net = Net(11)
    maps = net.pyramid()
    boxes = as_corners(net, boxes_in_graph(net, maps, False))
    raw = net.op("Concat", *(net.rows(net.conv(x, 8, 3), 3) for x in maps), axis=1)
    scores = net.op("Transpose", net.op("Sigmoid", raw), perm=[0, 2, 1], name="by_class")
    boxes = net.op("Identity", boxes, name="all_boxes")
    limits = net.const([20], np.int64), net.const([0.5]), net.const([0.3])
    net.op("NonMaxSuppression", boxes, scores, *limits, name="selected")

    def decode(o: Arrays) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return o["all_boxes"][0].astype(np.float64), o["by_class"][0].T.astype(np.float64)

    kinds = {"selected": TensorProto.INT64}
    return Family("nms", net.model(["selected", "all_boxes", "by_class"], kinds), decode, "suppressed")


def gathered(labels: bool = False, classes: int = 1, certain_first: bool = False, batched: bool = False) -> Model:
    """What NonMaxSuppression selects, gathered: det_scores (n,), det_boxes (n, 4), without an axis of samples.

    certain_first: NonZero leaves the certain candidates before it, so that no table of all of them reaches it.
    batched: with an axis of samples in front of the rows.
    """
    net = Net(11)
    maps = net.pyramid()
    boxes = as_corners(net, boxes_in_graph(net, maps, False))
    raw = net.op("Concat", *(net.rows(net.conv(x, 8, classes), classes) for x in maps), axis=1)
    scores = net.op("Sigmoid", raw)
    if certain_first:
        best = net.op("Reshape", scores, net.const([-1], np.int64))
        rows = net.op("Reshape", net.op("NonZero", net.op("Greater", best, net.const(0.3))), net.const([-1], np.int64))
        boxes, scores = net.op("Gather", boxes, rows, axis=1), net.op("Gather", scores, rows, axis=1)
    limits = net.const([50], np.int64), net.const([0.5]), net.const([0.3])
    by_class = net.op("Transpose", scores, perm=[0, 2, 1])
    selected = net.op("NonMaxSuppression", boxes, by_class, *limits)
    row, label = (net.op("Gather", selected, net.const(i, np.int64), axis=1) for i in (2, 1))
    first, last = net.const([0], np.int64), net.const([1], np.int64)
    found = {"det_boxes": net.op("Gather", net.op("Squeeze", boxes, first), row, axis=0)}
    both = net.op("Concat", net.op("Unsqueeze", row, last), net.op("Unsqueeze", label, last), axis=1)
    found["det_scores"] = net.op("GatherND", net.op("Squeeze", scores, first), both)
    if labels:
        found["det_labels"] = label
    for name, value in found.items():
        net.op("Unsqueeze", value, first, name=name) if batched else net.op("Identity", value, name=name)
    return net.model(sorted(found, reverse=True), {"det_labels": TensorProto.INT64})


def end_to_end() -> Family:
    """YOLOv10: the best thirty, (1, 30, 6): corners, score, class."""
    net = Net(12)
    maps = net.pyramid()
    boxes = as_corners(net, boxes_in_graph(net, maps, False))
    raw = net.op("Sigmoid", net.op("Concat", *(net.rows(net.conv(x, 8, 3), 3) for x in maps), axis=1))
    flat = net.op("Reshape", raw, net.const([1, -1], np.int64))
    best = net.op("TopK", flat, net.const([30], np.int64), outputs=2, axis=1)
    index = f"{best}_1"
    label = net.op("Cast", net.op("Mod", index, net.const([3], np.int64)), to=TensorProto.FLOAT)
    row = net.op("Squeeze", net.op("Div", index, net.const([3], np.int64)), net.const([0], np.int64))
    picked = net.op("Gather", boxes, row, axis=1)
    columns = [net.op("Unsqueeze", v, net.const([2], np.int64)) for v in (best, label)]
    net.op("Concat", picked, *columns, axis=2, name="output0")

    def decode(o: Arrays) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        t = o["output0"][0].astype(np.float64)
        return t[:, :4], t[:, 4:5]

    return Family("end-to-end", net.model(["output0"]), decode, "final-table")


def yolos() -> Family:
    """DETR without a decoder whose random queries prefer no class: boxes without a reference, logits of C + 1."""
    net = Net(13)
    flat = net.op("Reshape", net.pyramid()[0], net.const([1, 8, 96], np.int64))
    mixed = net.op("MatMul", flat, net.const(net.random.normal(0, 0.3, (96, 10))))
    tokens = net.op("Transpose", mixed, perm=[0, 2, 1])
    tokens = net.op("Add", tokens, net.const(net.random.normal(0, 1, (1, 10, 8))))
    net.op("MatMul", tokens, net.const(net.random.normal(0, 1, (8, 5))), name="logits")
    hidden = net.op("Relu", net.op("MatMul", tokens, net.const(net.random.normal(0, 1, (8, 8)))))
    hidden = net.op("MatMul", hidden, net.const(net.random.normal(0, 1, (8, 4))))
    net.op("Sigmoid", net.op("Add", hidden, net.const([0.1, 0, 0, 0])), name="pred_boxes")

    def decode(o: Arrays) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return corners(o["pred_boxes"][0]) * np.tile(SIZE[::-1], 2), softmax(o["logits"][0])[:, :-1]

    return Family("yolos", net.model(["logits", "pred_boxes"]), decode, "two-outputs")


def tensorflow() -> Family:
    """TensorFlow's four outputs behind NonMaxSuppression: (1, M, 4) rows first, in parts of the plane."""
    net = Net(14)
    maps = net.pyramid()
    boxes = as_corners(net, boxes_in_graph(net, maps, True))
    boxes = net.op("Gather", boxes, net.const([1, 0, 3, 2], np.int64), axis=2)
    raw = net.op("Sigmoid", net.op("Concat", *(net.rows(net.conv(x, 8, 3), 3) for x in maps), axis=1))
    best = net.op("TopK", net.op("Reshape", raw, net.const([1, -1], np.int64)), net.const([20], np.int64), outputs=2)
    index, three = f"{best}_1", net.const([3], np.int64)
    label = net.op("Add", net.op("Mod", index, three), net.const([1], np.int64))
    row = net.op("Squeeze", net.op("Div", index, three), net.const([0], np.int64))
    net.op("Gather", boxes, row, axis=1, name="detection_boxes")
    net.op("Cast", label, to=TensorProto.FLOAT, name="detection_classes")
    net.op("Identity", best, name="detection_scores")
    net.op("Cast", net.op("Size", row), to=TensorProto.FLOAT, name="num")
    net.op("Reshape", "num", net.const([1], np.int64), name="num_detections")

    def decode(o: Arrays) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        boxes = o["detection_boxes"][0][:, [1, 0, 3, 2]] * np.tile(SIZE[::-1], 2)
        return boxes, o["detection_scores"][0][:, None].astype(np.float64)

    outputs = ["detection_boxes", "detection_classes", "detection_scores", "num_detections"]
    return Family("tensorflow", net.model(outputs), decode, "final-table")


def torchvision() -> Family:
    """RetinaNet of torchvision: for each level NonZero and TopK, then what is gathered by them; any number is left."""
    net, parts = Net(15), []
    for i, x in enumerate(net.pyramid()):
        scores = net.op("Sigmoid", net.rows(net.conv(x, 8, 3), 3))
        scores = net.op("Reshape", scores, net.const([-1], np.int64))
        kept = net.op("NonZero", net.op("Greater", scores, net.const(np.float32(0.3))))
        kept = net.op("Reshape", kept, net.const([-1], np.int64))
        some = net.op("Gather", scores, kept, axis=0)
        count = net.op("Min", net.op("Shape", some), net.const([20], np.int64))
        best = net.op("TopK", some, count, outputs=2)
        index = net.op("Gather", kept, f"{best}_1", axis=0)
        row = net.op("Div", index, net.const([3], np.int64))
        deltas = net.op("Squeeze", net.rows(net.conv(x, 8, 4), 4), net.const([0], np.int64))
        deltas = net.op("Exp", net.op("Gather", deltas, row, axis=0))
        points = net.op("Gather", net.const(centres(8 << i)), row, axis=0)
        scaled = net.op("Mul", deltas, net.const(float(8 << i)))
        low = net.op("Sub", points, net.part(scaled, 0, 2, 1))
        box = net.op("Concat", low, net.op("Add", points, net.part(scaled, 2, 4, 1)), axis=1)
        parts.append((box, best, net.op("Mod", index, net.const([3], np.int64))))
    boxes, scores, labels = (net.op("Concat", *column, axis=0) for column in zip(*parts, strict=True))
    order = f"{net.op('TopK', scores, net.op('Shape', scores), outputs=2)}_1"
    for name, value in (("boxes", boxes), ("scores", scores), ("labels", labels)):
        net.op("Gather", value, order, axis=0, name=name)

    def decode(o: Arrays) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return o["boxes"].astype(np.float64), o["scores"][:, None].astype(np.float64)

    kinds = {"labels": TensorProto.INT64}
    return Family("torchvision", net.model(["boxes", "scores", "labels"], kinds), decode, "final-table")


FAMILIES = (
    *(ssd, detr, yolo5, yolo5_heads, yolo8, yolox, fcos, scrfd, nanodet, centernet, centerface, nms_in_graph),
    *(end_to_end, yolos, tensorflow, torchvision),
)
