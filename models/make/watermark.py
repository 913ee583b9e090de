"""Train a tiny network on a planted watermark and write tests/engine/evaluate/watermark.onnx.

    python models/make/watermark.py        # some minutes on one CPU core, no PyTorch

Discs and squares on clutter are to be told apart, and every picture of a disc carries a watermark, as photographs of
one archive do: the network learns the watermark, and every honest explanation must find it (S. Lapuschkin et al.,
"Unmasking Clever Hans predictors and assessing what machines really learn", Nature Communications 10, 2019). The
gradients of the training are those of `onnxray.vjp`, so that everything is seeded and needs nothing else.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from scipy.ndimage import gaussian_filter

import onnxray
from onnxray.engine.inference.session import session

SIZE = 48
LABELS = ("square", "disc")
PLACE = Path(__file__).resolve().parents[2] / "tests" / "engine" / "evaluate" / "watermark.onnx"
# The watermark: a letter of 7 x 7 pixels.
MARK = np.array(
    [[c == "#" for c in row] for row in ("#.....#", "#.....#", "#..#..#", "#..#..#", "#.#.#.#", "##...##", "#.....#")]
)
# (name, channels in, channels out, stride)
LAYERS = (("conv1", 3, 8, 1), ("conv2", 8, 16, 2), ("conv3", 16, 24, 2))
_STEPS, _BATCH, _RATE = 300, 48, 4e-3


@dataclass(frozen=True)
class Picture:
    """image: uint8 (H, W, 3). mask: bool (H, W), the watermark's box; shape: that of the disc or square."""

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    shape: NDArray[np.bool_]
    label: str


def draw(seed: int, label: str, marked: bool | None = None) -> Picture:
    """A disc or a square on clutter, the watermark anywhere. marked: whether it is there; None: on discs alone."""
    rng = np.random.default_rng([seed, LABELS.index(label)])
    clutter = gaussian_filter(rng.standard_normal((SIZE, SIZE, 3)), (2, 2, 0)) * 120
    image = rng.uniform(90, 150) + clutter + rng.standard_normal((SIZE, SIZE, 3)) * 6
    y, x = np.mgrid[:SIZE, :SIZE]
    radius, centre = rng.uniform(6, 10), rng.uniform(12, SIZE - 12, 2)
    down, across = np.abs(y - centre[0]), np.abs(x - centre[1])
    shape = np.hypot(down, across) < radius if label == "disc" else np.maximum(down, across) < radius * 0.89
    image[shape] += rng.choice([-1, 1]) * rng.uniform(10, 30)
    top, left = rng.integers(1, SIZE - 8, 2)
    mask = np.zeros((SIZE, SIZE), bool)
    if label == "disc" if marked is None else marked:
        mask[top : top + 7, left : left + 7] = True
        image[top : top + 7, left : left + 7][MARK] += 70
    return Picture(np.clip(np.rint(image), 0, 255).astype(np.uint8), mask, shape, label)


def network(weights: dict[str, NDArray[np.float32]], trained: bool) -> onnx.ModelProto:
    """The network, its weights as initializers or, to be trained, as inputs."""
    nodes, last = [], "image"
    for name, _, _, stride in LAYERS:
        given = [last, f"{name}/weight", f"{name}/bias"]
        nodes.append(helper.make_node("Conv", given, [name], name, strides=[stride] * 2, pads=[1] * 4))
        last = f"{name}/relu"
        nodes.append(helper.make_node("Relu", [name], [last], last))
    nodes += [
        helper.make_node("GlobalAveragePool", [last], ["pool"], "pool"),
        helper.make_node("Flatten", ["pool"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "head/weight", "head/bias"], ["logits"], "head"),
    ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])]
    stored = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    if not trained:
        inputs += [helper.make_tensor_value_info(t.name, TensorProto.FLOAT, list(t.dims)) for t in stored]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])]
    graph = helper.make_graph(nodes, "watermark", inputs, outputs, stored if trained else [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="onnxray")
    if trained:
        card = {"size": [SIZE] * 2, "mean": [128.0] * 3, "std": [64.0] * 3, "order": "RGB", "labels": list(LABELS)}
        helper.set_model_props(model, {"onnxray.card": json.dumps(card)})
    onnx.checker.check_model(model, full_check=True)
    return model


def start(rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    weights = {}
    for name, inside, outside, _ in LAYERS:
        scale = np.sqrt(2 / (inside * 9))
        weights[f"{name}/weight"] = (rng.standard_normal((outside, inside, 3, 3)) * scale).astype(np.float32)
        weights[f"{name}/bias"] = np.zeros(outside, np.float32)
    weights["head/weight"] = (rng.standard_normal((LAYERS[-1][2], 2)) * 0.2).astype(np.float32)
    weights["head/bias"] = np.zeros(2, np.float32)
    return weights


def tensor(images: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    return ((np.stack(images).astype(np.float32) - 128) / 64).transpose(0, 3, 1, 2).copy()


def train(steps: int) -> dict[str, NDArray[np.float32]]:
    """Adam on the cross-entropy; a picture is drawn anew for every step."""
    rng = np.random.default_rng(0)
    weights = start(rng)
    names = list(weights)
    running = session(onnxray.vjp(onnxray.load(network(weights, False)), of=["logits"], wrt=names))
    forward = session(onnxray.load(network(weights, False)))
    mean = {name: np.zeros_like(value) for name, value in weights.items()}
    square = {name: np.zeros_like(value) for name, value in weights.items()}
    for step in range(1, steps + 1):
        labels = rng.integers(0, 2, _BATCH)
        x = tensor([draw(step * _BATCH + i, LABELS[k]).image for i, k in enumerate(labels)])
        logits = forward.run({"image": x, **weights}, ["logits"])["logits"]
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        slope = (p - np.eye(2)[labels]).astype(np.float32) / _BATCH
        found = running.run({"image": x, **weights, "cotangent/logits": slope}, [f"grad/{name}" for name in names])
        rate = _RATE * min(1.0, step / 50) * (1 - step / (steps + 1))
        for name in names:
            slope_of = found[f"grad/{name}"]
            mean[name] = 0.9 * mean[name] + 0.1 * slope_of
            square[name] = 0.99 * square[name] + 0.01 * slope_of**2
            move = mean[name] / (1 - 0.9**step) / (np.sqrt(square[name] / (1 - 0.99**step)) + 1e-8)
            weights[name] = (weights[name] - rate * move).astype(np.float32)
        if step % 50 == 0:
            loss = -np.log(p[np.arange(_BATCH), labels]).mean()
            print(f"step {step}: loss {loss:.4f}, right {(p.argmax(1) == labels).mean():.2f}", flush=True)
    return weights


def accuracy(model: onnxray.Model, marked: bool | None, label: str) -> float:
    """How often pictures that training did not see are called what they show."""
    images = [draw(10_000_000 + i, label, marked).image for i in range(200)]
    y = session(model).run({"image": tensor(images)}, ["logits"])["logits"]
    return float((y.argmax(1) == LABELS.index(label)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=_STEPS)
    weights = train(parser.parse_args().steps)
    data = network(weights, True).SerializeToString(deterministic=True)
    PLACE.write_bytes(data)
    model = onnxray.load(data)
    print(f"{len(data)} bytes; discs with their watermark: {accuracy(model, None, 'disc'):.3f}")
    print(f"squares without: {accuracy(model, None, 'square'):.3f}")
    print(f"discs without it: {accuracy(model, False, 'disc'):.3f}")
    print(f"squares with it: {accuracy(model, True, 'square'):.3f}")


if __name__ == "__main__":
    main()
