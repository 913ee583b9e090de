"""What an explanation of boxes costs, in forward passes of the detector.

    python bench/detection.py [--model NET.onnx] [--masks 400] [--rounds 5] [--threads 2]

D-RISE for all boxes of an image (at least three) against plain ONNX Runtime runs, as many as there are masks; and the
default explanation (hires-cam at the layer of the box's scale) of one box against one forward pass. The model is given
by the option, else a detector with random weights and the cost of a small real one is built. The maps are checked
first: those of all boxes together equal those of each alone.

Goals: D-RISE 1.1 forward passes a mask, a default explanation 4 forward passes. Incremental inference does not help
D-RISE: a mask changes 93 % of the pixels, and what a place of a map reads (31 pixels and more) stays the same for 1 %.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from _harness import Table, arguments, compare

SIDE = 320


def built() -> bytes:
    """A detector in the manner of YOLOv8: nine convolutions, three levels, 4 + 20 columns."""
    from onnx import TensorProto, helper, numpy_helper

    random, nodes, constants = np.random.default_rng(0), [], []

    def add(kind: str, *inputs: str, **options: object) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [f"v{len(nodes)}"], **options))
        return str(nodes[-1].output[0])

    def const(array: object) -> str:
        constants.append(numpy_helper.from_array(np.asarray(array), f"c{len(constants)}"))
        return str(constants[-1].name)

    def conv(x: str, before: int, after: int, stride: int = 1, size: int = 3) -> str:
        w = random.normal(0, np.sqrt(2 / (before * size * size)), (after, before, size, size)).astype(np.float32)
        more = {"strides": [stride] * 2, "pads": [size // 2] * 4}
        return add("Conv", x, const(w), const(random.normal(0, 0.3, after).astype(np.float32)), **more)

    x = "image"
    for before, after in ((3, 16), (16, 32)):
        x = add("Relu", conv(x, before, after, 2))
    boxes, scores, channels = [], [], 32
    for i in range(3):
        x = add("Relu", conv(add("Relu", conv(x, channels, 64, 2)), 64, 64))
        channels, stride = 64, 8 << i
        h = SIDE // stride
        y, across = np.mgrid[:h, :h]
        base = np.stack([across, y, 0 * y, 0 * y]).reshape(1, 4, -1) * stride
        raw = add("Reshape", add("Sigmoid", conv(x, 64, 4, size=1)), const(np.array([1, 4, -1])))
        scale = np.array([stride, stride, 6 * stride, 6 * stride], np.float32).reshape(1, 4, 1)
        boxes.append(add("Add", add("Mul", raw, const(scale)), const(base.astype(np.float32))))
        scores.append(add("Reshape", conv(x, 64, 20, size=1), const(np.array([1, 20, -1]))))
    table = add("Concat", *boxes, axis=2)
    add("Concat", table, add("Sigmoid", add("Concat", *scores, axis=2)), axis=1)
    nodes[-1].output[0] = "output0"
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])]
    outputs = [helper.make_tensor_value_info("output0", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "detector", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def main() -> None:
    def more(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--model", type=Path, help="a detector; else one with random weights")
        parser.add_argument("--masks", type=int, default=400)

    options = arguments(__doc__, rounds=5, more=more)
    import onnxray
    from onnxray.engine.explain import problem_of
    from onnxray.engine.inference.session import session

    model = onnxray.load(str(options.model) if options.model else built(), std=255)
    photo = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    least = 0.25
    while len(onnxray.detect(model, photo, detector={"threshold": least})) < 3:
        least /= 2
    model = onnxray.load(model, detector={"threshold": least})
    count = len(onnxray.detect(model, photo))
    running = {"threads": options.threads, "providers": "cpu"}

    def d_rise(target: str = "box:top:10") -> list[np.ndarray]:
        found = onnxray.explain(model, photo, "d-rise", target, masks=options.masks, **running)
        return [e.values for e in ([found] if isinstance(found, onnxray.Explanation) else found)]

    np.testing.assert_array_equal(d_rise()[1], d_rise("box:2")[0])
    problem = problem_of(model, photo, "box")
    plain = session(model, **running)
    feeds = {problem.input.name: problem.input.x}

    def forward(runs: int) -> None:
        for _ in range(runs):
            plain.run(feeds)

    name = options.model.name if options.model else "random weights"
    columns = ["detector", "boxes", "d-rise", "forward passes", "ratio", "hires-cam", "forward pass", "ratio "]
    table = Table("boxes of a detector", columns, options, width=14)
    many = compare({"ours": d_rise, "plain": lambda: forward(options.masks)}, rounds=max(1, options.rounds // 2))
    one = compare(
        {"ours": lambda: onnxray.explain(model, photo, target="box", **running), "plain": lambda: forward(1)},
        rounds=options.rounds,
    )
    ratios = [pair["ours"].median / pair["plain"].median for pair in (many, one)]
    table.row(
        name, min(count, 10), many["ours"], many["plain"], ratios[0], one["ours"], one["plain"], ratios[1]
    )  # fmt: skip
    table.done()


if __name__ == "__main__":
    main()
