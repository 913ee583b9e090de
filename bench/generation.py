"""Every token that a language model says, by one forward pass: against a forward pass for each token, and PyTorch.

    python bench/generation.py [--words 24] [--said 8] [--layers 6] [--width 384] [--steps 0] [--rounds 10]

A causal transformer with random weights, a prompt of random tokens and a continuation. Gradient times input of all
tokens (`--steps 0`), or integrated gradients of so many steps. PyTorch: autograd with one forward pass that is kept and
one backward pass for each token. The values are compared first (at most 1e-4 of the greatest), then the processor time,
in turns. Goals: less than with a forward pass for each token, and at most PyTorch's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
from _harness import Table, arguments, compare
from text import network

VOCABULARY = 5000


def causal(layers: int, width: int):
    import torch

    base = network(layers, width)

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.layers = base.table, base.layers
            self.head = torch.nn.Linear(width, VOCABULARY)

        def forward(self, ids):
            return self.rest(self.table(ids))

        def rest(self, x):
            hidden = torch.ones(x.shape[1], x.shape[1]).triu(1) * -1e4
            for layer in self.layers:
                n, t, _ = x.shape
                q, k, v = (part.view(n, t, 12, -1).transpose(1, 2) for part in layer.qkv(x).chunk(3, dim=-1))
                weights = torch.softmax(q @ k.transpose(2, 3) * q.shape[-1] ** -0.5 + hidden, dim=-1)
                x = layer.first(x + layer.out((weights @ v).transpose(1, 2).reshape(n, t, -1)))
                x = layer.second(x + layer.down(torch.nn.functional.gelu(layer.up(x))))
            return self.head(x)

    net = Net().eval()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    return net


def sizes(parser: argparse.ArgumentParser) -> None:
    for name, default in (("words", 24), ("said", 8), ("layers", 6), ("width", 384), ("steps", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)


def main() -> int:
    options = arguments(__doc__, rounds=10, more=sizes)
    warnings.filterwarnings("ignore")
    import torch

    import onnxray
    from onnxray.engine.attribution.gradients import Gradients

    torch.set_num_threads(options.threads)
    net = causal(options.layers, options.width)
    names = [f"w{n}" for n in range(VOCABULARY)]
    ids = np.random.default_rng(0).integers(1, VOCABULARY, options.words + options.said)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            net,
            (torch.from_numpy(ids)[None],),
            path,
            input_names=["input_ids"],
            output_names=["logits"],
            dynamic_axes={"input_ids": {0: "n", 1: "t"}, "logits": {0: "n", 1: "t"}},
            opset_version=17,
            dynamo=False,
        )
        vocabulary = {"[PAD]": 0, **{name: n for n, name in enumerate(names) if n}}
        model = onnxray.load(path, tokenizer={"kind": "words", "vocab": vocabulary, "lower": False})
    prompt, said = (" ".join(names[n] for n in part) for part in np.split(ids, [options.words]))
    text = onnxray.Text(prompt, continuation=f" {said}")
    given = torch.from_numpy(ids)[None]
    places, steps = np.arange(options.words - 1, len(ids) - 1), options.steps
    points, weights = np.polynomial.legendre.leggauss(steps) if steps else (np.ones(1), np.full(1, 2.0))

    def ours() -> np.ndarray:
        method = {"method": "integrated-gradients", "steps": steps} if steps else {"method": "input-x-gradient"}
        extra = {"baseline": "zero"} if steps else {}
        found = onnxray.explain(model, text, **method, **extra, threads=options.threads, providers="cpu")
        return np.stack([e.values for e in found])

    def repeated() -> np.ndarray:
        with mock.patch.object(Gradients, "by_one_forward", property(lambda self: False)):
            return ours()

    def theirs() -> np.ndarray:
        x, total = net.table(given), np.zeros((len(places), len(ids), options.width))
        for point, weight in zip(points, weights, strict=True):
            now = (x * ((point + 1) / 2)).float().requires_grad_()
            logits = net.rest(now)[0]
            for k, place in enumerate(places):
                score = logits[place, ids[place + 1]] - logits[place].mean()
                (gradient,) = torch.autograd.grad(score, now, retain_graph=True)
                total[k] += weight / 2 * gradient[0].numpy()
        return total * x[0].numpy()

    a, b, c = ours(), theirs(), repeated()
    apart = max(float(np.abs(a - other).max() / np.abs(b).max()) for other in (b, c))
    print(f"greatest difference {apart:.1e} of the greatest value")
    if apart > 1e-4:
        return 1
    contenders = {"onnxray": ours, "a forward for each": repeated, "PyTorch": theirs}
    table = Table("generation", ["tokens said", *contenders, "to a forward for each", "to PyTorch"], options)
    times = compare(contenders, rounds=options.rounds)
    ratios = [times["onnxray"].processor / times[name].processor for name in list(contenders)[1:]]
    table.row(options.said, *(times[name] for name in contenders), *ratios)
    table.done()
    return 0


if __name__ == "__main__":
    sys.exit(main())
