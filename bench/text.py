"""Integrated gradients of a text, 50 steps: onnxray against Captum's LayerIntegratedGradients, on the same weights.

    python bench/text.py [--words 24] [--layers 6] [--width 384] [--rounds 30] [--threads 1]

A transformer of the size of MiniLM with random weights, a text of random tokens, batch 1. The values are compared
first (greatest difference relative to the greatest value, at most 1e-4), then the processor time of both, in turns.
Goal: at most Captum's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from _harness import Table, arguments, compare

VOCABULARY = 5000


def network(layers: int, width: int):
    import torch

    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
            self.up, self.down = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)
            self.first, self.second = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)

        def forward(self, x):
            n, t, _ = x.shape
            q, k, v = (part.view(n, t, 12, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
            weights = torch.softmax(q @ k.transpose(2, 3) * q.shape[-1] ** -0.5, dim=-1)
            x = self.first(x + self.out((weights @ v).transpose(1, 2).reshape(n, t, -1)))
            return self.second(x + self.down(torch.nn.functional.gelu(self.up(x))))

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(VOCABULARY, width)
            self.layers = torch.nn.ModuleList(Layer() for _ in range(layers))
            self.head = torch.nn.Linear(width, 2)

        def forward(self, ids):
            x = self.table(ids)
            for layer in self.layers:
                x = layer(x)
            return self.head(x.mean(dim=1))

    torch.manual_seed(0)
    net = Net().eval()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    return net


def sizes(parser: argparse.ArgumentParser) -> None:
    for name, default in (("words", 24), ("layers", 6), ("width", 384)):
        parser.add_argument(f"--{name}", type=int, default=default)


def main() -> int:
    options = arguments(__doc__, rounds=10, more=sizes)
    warnings.filterwarnings("ignore")
    import torch
    from captum.attr import LayerIntegratedGradients

    import onnxray

    torch.set_num_threads(options.threads)
    net = network(options.layers, options.width)
    names = [f"w{n}" for n in range(VOCABULARY)]
    ids = np.random.default_rng(0).integers(1, VOCABULARY, options.words)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            net,
            (torch.from_numpy(ids)[None],),
            path,
            input_names=["input_ids"],
            output_names=["logits"],
            dynamic_axes={"input_ids": {0: "n", 1: "t"}},
            opset_version=17,
            dynamo=False,
        )
        vocabulary = {"[PAD]": 0, **{name: n for n, name in enumerate(names) if n}}
        model = onnxray.load(path, tokenizer={"kind": "words", "vocab": vocabulary, "lower": False})
    text = " ".join(names[n] for n in ids)
    given = torch.from_numpy(ids)[None]
    judge = LayerIntegratedGradients(net, net.table)

    def ours() -> np.ndarray:
        return onnxray.explain(model, text, target=1, steps=50, threads=options.threads, providers="cpu").values

    def theirs() -> np.ndarray:
        found = judge.attribute(given, torch.zeros_like(given), target=1, n_steps=50, method="gausslegendre")
        return found.detach().numpy()[0]

    a, b = ours(), theirs()
    apart = float(np.abs(a - b).max() / np.abs(b).max())
    print(f"greatest difference {apart:.1e} of the greatest value")
    if apart > 1e-4:
        return 1
    table = Table("text", ["words", "onnxray", "Captum", "ratio of processor time"], options)
    times = compare({"onnxray": ours, "Captum": theirs}, rounds=options.rounds)
    ratio = times["onnxray"].processor / times["Captum"].processor
    table.row(options.words, times["onnxray"], times["Captum"], ratio)
    table.done()
    return 0


if __name__ == "__main__":
    sys.exit(main())
