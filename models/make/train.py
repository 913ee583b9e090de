"""Train the built-in surface inspection network and write models/surface.onnx, its card and its sample images.

    pip install -e ".[torch]"
    python models/make/train.py            # about half an hour on two CPU cores

Everything is seeded. PyTorch's CPU kernels may add up in another order on another machine, so a new run gives a
network of the same quality, not the same bytes.

The network is a plain CNN: 7x7 first layer, final map of 10 x 10 cells, global average pooling, one linear layer (so
that class activation mapping applies as it is). Besides the class of the image it learns, with a weight of 0.5, the
class of each cell of the final map (the defect's where its mask covers a part of the cell, "clean" elsewhere): the
network has to look at the defect, and not at what happens to go with it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import time
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from ..surface import LABELS, render

HERE = Path(__file__).resolve().parent.parent
SIZE, CELLS = 160, 10
MEAN, STD = 114.0, 58.0
TRAIN, HELD_OUT, TEST = range(18_000), range(900_000, 901_000), range(1_000_000, 1_002_000)
# (name, channels out, kernel, stride)
LAYERS = (
    ("stage1/conv", 24, 7, 2),
    ("stage2/conv1", 32, 3, 2),
    ("stage2/conv2", 40, 3, 1),
    ("stage3/conv1", 64, 3, 2),
    ("stage3/conv2", 64, 3, 1),
    ("stage4/conv1", 104, 3, 2),
    ("stage4/conv2", 112, 3, 1),
)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        inside = 3
        for _, outside, kernel, stride in LAYERS:
            self.convs.append(nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False))
            self.norms.append(nn.BatchNorm2d(outside))
            inside = outside
        self.head = nn.Linear(inside, len(LABELS))
        self.sharpness = nn.Parameter(torch.tensor(1.0))  # of the cells' scores against the image's; training only

    def features(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = torch.relu(norm(conv(x)))
        return x

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.features(x)
        cells = torch.einsum("nchw,kc->nkhw", maps, self.head.weight) + self.head.bias[:, None, None]
        return cells.mean((2, 3)), cells * self.sharpness


def draw(seed: int) -> tuple[np.ndarray, int, np.ndarray]:
    sample = render(seed)
    share = sample.mask.reshape(CELLS, SIZE // CELLS, CELLS, SIZE // CELLS).mean((1, 3))
    return sample.image, LABELS.index(sample.label), share.astype(np.float16)


def dataset(seeds: range, cache: Path) -> tuple[Tensor, Tensor, Tensor]:
    """(images uint8 NCHW, labels, share of each cell that the mask covers), rendered once and kept in `cache`."""
    file = cache / f"surface-{seeds.start}-{seeds.stop}.npz"
    if not file.exists():
        with multiprocessing.Pool() as pool:
            images, labels, cells = zip(*pool.imap(draw, seeds, chunksize=32), strict=True)
        np.savez(file, images=np.stack(images).transpose(0, 3, 1, 2), labels=np.array(labels), cells=np.stack(cells))
    with np.load(file) as stored:
        return (
            torch.from_numpy(stored["images"]),
            torch.from_numpy(stored["labels"]).long(),
            torch.from_numpy(stored["cells"]).float(),
        )


def normalised(images: Tensor) -> Tensor:
    return ((images.float() - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def augmented(images: Tensor, cells: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The whole batch turned and mirrored one way, and each image a little brighter or darker."""
    turns = int(rng.integers(4))
    images, cells = torch.rot90(images, turns, (2, 3)), torch.rot90(cells, turns, (1, 2))
    if rng.random() < 0.5:
        images, cells = images.flip(3), cells.flip(2)
    gain = torch.from_numpy(rng.uniform(0.85, 1.15, (len(images), 1, 1, 1))).float()
    return (images.float() * gain).clamp(0, 255), cells


def train(network: Network, cache: Path, epochs: int, batch: int = 64) -> None:
    images, labels, shares = dataset(TRAIN, cache)
    rng = np.random.default_rng(0)
    network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=0.02)
    steps = epochs * (len(images) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, steps, pct_start=0.15)
    started = time.time()
    for epoch in range(epochs):
        network.train()
        order = torch.from_numpy(rng.permutation(len(images)))
        losses = []
        for start in range(0, len(order) - batch + 1, batch):
            index = order[start : start + batch]
            x, share = augmented(images[index], shares[index], rng)
            wanted = torch.where(share > 0.04, labels[index][:, None, None], 0)
            with torch.autocast("cpu", torch.bfloat16):
                scores, cells = network(normalised(x))
            scores, cells = scores.float(), cells.float()
            weight = torch.where((share > 0) & (share <= 0.04), 0.0, 1.0)  # cells that a defect barely touches
            weight = weight * torch.where(wanted > 0, 4.0, 1.0)
            local = nn.functional.cross_entropy(cells, wanted, reduction="none")
            loss = nn.functional.cross_entropy(scores, labels[index]) + 0.5 * (local * weight).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        accuracy = evaluate(network, HELD_OUT, cache)[0]
        print(
            f"epoch {epoch + 1}: loss {np.mean(losses):.3f}, held out {accuracy:.3f}, {time.time() - started:.0f} s",
            flush=True,
        )
        torch.save(network.state_dict(), cache / "surface.pt")


@torch.no_grad()
def evaluate(network: Network, seeds: range, cache: Path) -> tuple[float, list[float]]:
    """Accuracy over all and per class."""
    images, labels, _ = dataset(seeds, cache)
    network.eval()
    said = torch.cat([network(normalised(x))[0].argmax(1) for x in images.split(100)])
    right = (said == labels).float()
    return right.mean().item(), [right[labels == k].mean().item() for k in range(len(LABELS))]


def pointing(network: Network, seeds: range, cache: Path) -> float:
    """How often the maximum of Grad-CAM lies on the defect's cells or next to them, over the defects found."""
    images, labels, shares = dataset(seeds, cache)
    network.eval()
    hits = total = 0
    for image, label, share in zip(images, labels, shares, strict=True):
        if not label:
            continue
        maps = network.features(normalised(image[None])).detach().requires_grad_()
        scores = network.head(maps.mean((2, 3)))[0]
        if int(scores.argmax()) != int(label):
            continue
        scores[label].backward()
        weights = maps.grad.mean((2, 3), keepdim=True)
        heat = (maps * weights).sum(1)[0]
        near = nn.functional.max_pool2d((share > 0).float()[None, None], 3, 1, 1)[0, 0]
        hits += int(near.flatten()[int(heat.argmax())])
        total += 1
    return hits / total


def to_onnx(network: Network) -> onnx.ModelProto:
    """The network with batch normalisation folded into the convolutions and readable names."""
    nodes, weights = [], []

    def store(name: str, value: Tensor) -> str:
        weights.append(numpy_helper.from_array(value.detach().numpy().astype(np.float32), name))
        return name

    x = "image"
    for (name, _, kernel, stride), conv, norm in zip(LAYERS, network.convs, network.norms, strict=True):
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight = store(f"{name}/weight", (conv.weight * scale[:, None, None, None]).contiguous())
        bias = store(f"{name}/bias", norm.bias - norm.running_mean * scale)
        pads = [kernel // 2] * 4
        nodes.append(
            helper.make_node(
                "Conv", [x, weight, bias], [name], name,
                kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads, dilations=[1, 1], group=1,
            )
        )  # fmt: skip
        x = name.replace("conv", "relu")
        nodes.append(helper.make_node("Relu", [name], [x], x))
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["pool"], "pool"))
    nodes.append(helper.make_node("Flatten", ["pool"], ["flat"], "flat", axis=1))
    head = [store("head/weight", network.head.weight), store("head/bias", network.head.bias)]
    nodes.append(helper.make_node("Gemm", ["flat", *head], ["logits"], "head", transB=1))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)])
    graph = helper.make_graph(nodes, "surface", [image], [logits], weights)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="onnxray", producer_version="1"
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def write(network: Network, cache: Path) -> None:
    model = to_onnx(network)
    data = model.SerializeToString(deterministic=True)
    accuracy, per_class = evaluate(network, TEST, cache)
    hits = pointing(network, TEST, cache)
    (HERE / "surface.onnx").write_bytes(data)
    card = {
        "size": [SIZE, SIZE],
        "mean": [MEAN] * 3,
        "std": [STD] * 3,
        "order": "RGB",
        "layout": "NCHW",
        "resize": "stretch",
        "labels": list(LABELS),
        "about": {
            "name": "surface",
            "description": "Surface defects in synthetic inspection images, trained on onnxray.models.surface",
            "licence": "Apache-2.0",
            "sha256": hashlib.sha256(data).hexdigest(),
            "made by": "models/make/train.py",
            "torch": torch.__version__.split("+")[0],
            "output": "logits",
            "accuracy": round(accuracy, 4),
            "accuracy per class": {label: round(a, 4) for label, a in zip(LABELS, per_class, strict=True)},
            "measured on": f"{len(TEST)} images, seeds {TEST.start} to {TEST.stop - 1}, none of them seen in training",
            "training images": len(TRAIN),
            "Grad-CAM pointing game": round(hits, 4),
        },
    }
    (HERE / "surface.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    print(f"accuracy {accuracy:.4f}, per class {per_class}, pointing {hits:.4f}, {len(data) / 1e6:.2f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cache", type=Path, default=Path("build/surface"), help="folder of the rendered images")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--write-only", action="store_true", help="use the weights that a run left in the cache")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    network = Network()
    if options.write_only:
        network.load_state_dict(torch.load(options.cache / "surface.pt"))
    else:
        train(network, options.cache, options.epochs)
    write(network, options.cache)


if __name__ == "__main__":
    main()
