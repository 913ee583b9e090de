"""Compiled Grad-CAM against the plain forward pass of the same model in ONNX Runtime.

Both as sessions of the same options, batch 1; the compiled model's outputs are checked first: the original ones against
the plain model's, the map against `explain`. The ratio is what explaining costs; at most 1.15 is the aim. `processor`
is the ratio of processor time, which other work on the machine disturbs less.

    python bench/compile.py                          ResNet-18, ResNet-50, MobileNetV2 (exported by PyTorch), and four
                                                     networks of ONNXRAY_ZOO/models where that is set
    python bench/compile.py resnet18 a.onnx ...      others
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path

import numpy as np
from _harness import Table, compare, processors
from peers import RUNTIME

import onnxray
from onnxray.engine.attribution.inputs import example_input
from onnxray.engine.compile import OUTPUT
from onnxray.engine.inference.session import session

NETWORKS = ("resnet18", "resnet50", "mobilenetv2")
ZOO = ("squeezenet_v1_1", "mobilenet_v2_100_224", "mobilenet_v1_075_192", "resnet56_cifar10")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("models", nargs="*", default=None, help="model files, or networks of bench/networks.py")
    parser.add_argument("--method", default="grad-cam")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=processors())
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args()
    names = options.models or [*NETWORKS, *zoo_models()]
    table = Table(
        f"{options.method}, compiled",
        ["model", "forward", "compiled", "ratio", "best", "processor"],
        options,
        RUNTIME,
        21,
    )
    for name in names:
        model = network(name)
        example = example_input(model)
        x = np.random.default_rng(0).standard_normal((1, *example.x.shape[1:])).astype(example.x.dtype)
        feeds = {example.name: x}
        compiled = onnxray.compile(model, options.method)
        plain, explained = (session(m, providers="cpu", threads=options.threads) for m in (model, compiled))
        before, after = plain.run(feeds), explained.run(feeds)
        for output, values in before.items():
            np.testing.assert_allclose(after[output], values, rtol=1e-5, atol=1e-6)
        heat = onnxray.explain(model, x, options.method).heatmap
        assert np.abs(after[OUTPUT][0, 0] - heat).max() <= 1e-5 * np.abs(heat).max()
        calls = {"forward": partial(plain.run, feeds), "compiled": partial(explained.run, feeds)}
        times = compare(calls, rounds=options.rounds, pause=0.02)
        a, b = times["forward"], times["compiled"]
        table.row(Path(name).stem, a, b, b.median / a.median, b.best / a.best, b.processor / a.processor)
    table.done()


def zoo_models() -> list[str]:
    folder = os.environ.get("ONNXRAY_ZOO")
    return [str(Path(folder) / "models" / f"{name}.onnx") for name in ZOO] if folder else []


def network(name: str) -> onnxray.Model:
    if name.endswith(".onnx"):
        return onnxray.load(name)
    from networks import build, export

    return onnxray.load(export(name, build(name)))


if __name__ == "__main__":
    main()
