"""Detectors with masks and points, random weights: YOLOv8's segmentation and pose heads, Mask R-CNN, MaskFormer."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from onnxray.engine.graph.model import Model

from .families import SIZE, Net, as_corners, boxes_in_graph, centres

PROTOTYPES = 6
POINTS = 17


def _head(net: Net, maps: list[str], classes: int = 3) -> tuple[str, str]:
    """(1, 4, A) boxes and (1, C, A) sigmoids."""
    boxes = net.op("Transpose", boxes_in_graph(net, maps, False), perm=[0, 2, 1])
    raw = net.op("Concat", *(net.rows(net.conv(x, 8, classes, bias=-1), classes) for x in maps), axis=1)
    return boxes, net.op("Sigmoid", net.op("Transpose", raw, perm=[0, 2, 1]))


def segmenting() -> Model:
    """YOLOv8-seg: (1, 4 + C + K, A) and prototypes (1, K, h, w) at stride 8."""
    net = Net(21)
    maps = net.pyramid()
    boxes, scores = _head(net, maps)
    raw = [net.rows(net.conv(x, 8, PROTOTYPES), PROTOTYPES) for x in maps]
    coefficients = net.op("Transpose", net.op("Concat", *raw, axis=1), perm=[0, 2, 1])
    detected = net.op("Concat", boxes, scores, axis=1)
    net.op("Concat", detected, coefficients, axis=1, name="output0")
    net.op("Relu", net.conv(maps[0], 8, PROTOTYPES, 3), name="output1")
    return net.model(["output0", "output1"])


def segmenting_end_to_end() -> Model:
    """The same behind a selection: (1, 30, 6 + K) and prototypes."""
    net = Net(22)
    maps = net.pyramid()
    boxes = as_corners(net, boxes_in_graph(net, maps, False))
    raw = net.op("Sigmoid", net.op("Concat", *(net.rows(net.conv(x, 8, 3), 3) for x in maps), axis=1))
    coefficients = net.op("Concat", *(net.rows(net.conv(x, 8, PROTOTYPES), PROTOTYPES) for x in maps), axis=1)
    best = net.op("TopK", net.op("Reshape", raw, net.const([1, -1], np.int64)), net.const([30], np.int64), outputs=2)
    index, three = f"{best}_1", net.const([3], np.int64)
    label = net.op("Cast", net.op("Mod", index, three), to=TensorProto.FLOAT)
    row = net.op("Squeeze", net.op("Div", index, three), net.const([0], np.int64))
    columns = [net.op("Unsqueeze", v, net.const([2], np.int64)) for v in (best, label)]
    picked = [net.op("Gather", value, row, axis=1) for value in (boxes, coefficients)]
    net.op("Concat", picked[0], *columns, picked[1], axis=2, name="output0")
    net.op("Relu", net.conv(maps[0], 8, PROTOTYPES, 3), name="output1")
    return net.model(["output0", "output1"])


def posing(numbers: int = 3) -> Model:
    """YOLOv8-pose: (1, 4 + 1 + P * 3, A), points in pixels with a sigmoid each."""
    net = Net(23)
    maps = net.pyramid()
    boxes, scores = _head(net, maps, 1)
    tables = []
    for i, x in enumerate(maps):
        stride, places = 8 << i, centres(8 << i)
        raw = net.op(
            "Reshape", net.rows(net.conv(x, 8, POINTS * 3), POINTS * 3), net.const([1, -1, POINTS, 3], np.int64)
        )
        xy = net.op("Mul", net.part(raw, 0, 2, 3), net.const(2.0 * stride))
        xy = net.op("Add", xy, net.const(places.reshape(1, -1, 1, 2)))
        seen = [net.op("Sigmoid", net.part(raw, 2, 3, 3))] if numbers == 3 else []
        table = net.op("Concat", xy, *seen, axis=3) if seen else xy
        tables.append(net.op("Reshape", table, net.const([1, -1, POINTS * numbers], np.int64)))
    points = net.op("Transpose", net.op("Concat", *tables, axis=1), perm=[0, 2, 1])
    net.op("Concat", boxes, scores, points, axis=1, name="output0")
    return net.model(["output0"])


def queries() -> Model:
    """MaskFormer: logits (1, Q, C + 1), no object last, and masks (1, Q, h, w)."""
    net = Net(24)
    x = net.pyramid()[0]
    flat = net.op("Reshape", x, net.const([1, 8, 96], np.int64))
    mixed = net.op("MatMul", flat, net.const(net.random.normal(0, 0.3, (96, 12))))
    tokens = net.op("Transpose", mixed, perm=[0, 2, 1])
    tokens = net.op("Add", tokens, net.const(net.random.normal(0, 1, (1, 12, 8))))
    logits = net.op("MatMul", tokens, net.const(net.random.normal(0, 1, (8, 5))))
    net.op("Add", logits, net.const([0, 0, 0, 0, 6.0]), name="class_queries_logits")
    masks = net.op("MatMul", net.op("MatMul", tokens, net.const(net.random.normal(0, 1, (8, 8)))), flat)
    masks = net.op("Reshape", masks, net.const([1, 12, 8, 12], np.int64))
    net.op("Sub", masks, net.const(np.float32(1)), name="masks_queries_logits")
    return net.model(["class_queries_logits", "masks_queries_logits"])


def mask_rcnn() -> Model:
    """Torchvision's outputs behind NonZero: boxes (M, 4), labels, scores, masks (M, 1, H, W)."""
    net = Net(25)
    maps = net.pyramid()
    boxes = as_corners(net, boxes_in_graph(net, maps, False))
    raw = net.op("Sigmoid", net.op("Concat", *(net.rows(net.conv(x, 8, 1), 1) for x in maps), axis=1))
    scores = net.op("Reshape", raw, net.const([-1], np.int64))
    kept = net.op("NonZero", net.op("Greater", scores, net.const(np.float32(0.3))))
    kept = net.op("Reshape", kept, net.const([-1], np.int64))
    count = net.op("Reshape", net.op("Size", kept), net.const([1], np.int64))
    count = net.op("Min", count, net.const([10], np.int64))
    best = net.op("TopK", net.op("Gather", scores, kept, axis=0), count, outputs=2)
    rows = net.op("Gather", kept, f"{best}_1", axis=0)
    net.op("Identity", best, name="scores")
    net.op("Gather", net.op("Squeeze", boxes, net.const([0], np.int64)), rows, axis=0, name="boxes")
    net.op("Add", net.op("Mul", rows, net.const([0], np.int64)), net.const([1], np.int64), name="labels")
    coefficients = net.op("Concat", *(net.rows(net.conv(x, 8, 4), 4) for x in maps), axis=1)
    coefficients = net.op("Gather", net.op("Squeeze", coefficients, net.const([0], np.int64)), rows, axis=0)
    flat = net.op("Reshape", net.conv(maps[0], 8, 4), net.const([4, -1], np.int64))
    masks = net.op("Reshape", net.op("MatMul", coefficients, flat), net.const([-1, 1, 8, 12], np.int64))
    size = net.const([1, 1, SIZE[0] / 8, SIZE[1] / 8])
    net.op("Resize", net.op("Sigmoid", masks), "", size, mode="linear", name="masks")
    return net.model(["boxes", "labels", "scores", "masks"], {"labels": TensorProto.INT64})
