"""How fast the strongest images are found: against the bare forward pass, and against hooks in PyTorch.

    python bench/top.py [--images 64] [--batch 8] [--json FILE]

bare    ONNX Runtime runs the same model on the same prepared batches and gives its own outputs, nothing else. Goal: at
        least 0.9 of its images per second, with one layer in the middle, the last one and the class scores surveyed.
hooks   The obvious script, where torch is installed: forward hooks on the same layers that keep the maximum over
        places, torch.topk over all images at the end. The same weights and threads; channels as PyTorch has them.
        Goal: 2x.

Networks are those of `networks.py` with torch, else those of the zoo (ONNXRAY_ZOO). Decoding is left out: it overlaps.
Checked first: values and images against a sort of all activations.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _harness import Table, arguments, compare

import onnxray
from onnxray.engine.inference.batches import RunOptions
from onnxray.engine.inference.session import session
from onnxray.engine.survey.pictures import Picture
from onnxray.engine.survey.scan import Ready, Scan, ScanOptions
from onnxray.engine.survey.units import CLASSES

TORCH = importlib.util.find_spec("torch") is not None
K = 9


def options_of() -> argparse.Namespace:
    def more(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--images", type=int, default=64)
        parser.add_argument("--batch", type=int, default=8)

    return arguments(__doc__, rounds=7, more=more)


def surveyed(model: onnxray.Model) -> list[str]:
    """A rectified map in the middle, the last one, and the classes."""
    maps = [layer.name for layer in model.layers if layer.map_axes and layer.op in ("Relu", "Clip")]
    return [maps[len(maps) // 2], maps[-1], CLASSES]


def scan_of(model: onnxray.Model, layers: Sequence[str], before: bool, options: argparse.Namespace) -> Scan:
    runtime = RunOptions(threads=options.threads, batch=options.batch)
    return Scan(model, list(layers), ScanOptions(k=K, before=before), runtime)


def images_of(scan: Scan, count: int) -> list[Ready]:
    """Noise of many scales, prepared."""
    rng = np.random.default_rng(0)
    height, width = scan.card.size
    found = []
    for n in range(count):
        cells = rng.integers(0, 256, (2 + n % 14, 2 + n % 14, 3), np.uint8)
        rows, columns = (np.arange(side) * len(cells) // side for side in (height, width))
        found.append(scan.ready(Picture(str(n), cells[rows][:, columns])))
    return found


def batches(ready: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [ready[at : at + size] for at in range(0, len(ready), size)]


def check(model: onnxray.Model, layers: Sequence[str], ready: Sequence[Ready], options: argparse.Namespace) -> None:
    """Against a sort of all activations."""
    scan = scan_of(model, layers, False, options)
    for batch in batches(ready, options.batch):
        scan.add(batch)
    found = scan.result()
    names = {name: found.layers[name].layer.read[0] for name in layers}
    values = onnxray.activations(model, np.concatenate([r.tensor for r in ready]), list(names.values()))
    ids = np.array([r.entry.id for r in ready])
    for name, value in names.items():
        peaks = values[value].reshape(len(ready), values[value].shape[1], -1).max(2)
        best = found.layers[name].strongest
        wanted = -np.sort(-peaks, axis=0)[:K].T
        np.testing.assert_allclose(best.scores, wanted, rtol=1e-4, atol=1e-4 * float(np.abs(peaks).max()))
        rows = {int(i): n for n, i in enumerate(ids)}
        of = np.array([[peaks[rows[int(i)], unit] for i in best.ids[unit]] for unit in range(len(best.ids))])
        np.testing.assert_allclose(of, wanted, rtol=1e-4, atol=1e-4 * float(np.abs(peaks).max()))


def hooks(module: Any, count: int, tensors: Sequence[Any]) -> Callable[[], object]:
    """What anybody writes: hooks on two rectifiers and the output, maxima kept, top k at the end."""
    import torch

    kinds = (torch.nn.ReLU, torch.nn.ReLU6)
    rectifiers = [part for part in module.modules() if isinstance(part, kinds)]
    kept: dict[int, list[Any]] = {}

    def keep(which: int) -> Callable[..., None]:
        def hook(part: Any, given: Any, out: Any) -> None:
            kept[which].append(out.amax((2, 3)) if out.ndim == 4 else out)

        return hook

    parts = [rectifiers[len(rectifiers) // 2], rectifiers[-1], module] if rectifiers else [module]
    for which, part in enumerate(parts):
        part.register_forward_hook(keep(which))

    def run() -> object:
        kept.update({which: [] for which in range(len(parts))})
        with torch.inference_mode():
            for tensor in tensors:
                module(tensor)
        return [torch.cat(values).topk(min(K, count), dim=0) for values in kept.values()]

    return run


def networks() -> list[tuple[str, Any, onnxray.Model]]:
    """Names, modules (None without torch) and models."""
    if TORCH:
        from networks import NETWORKS, build, export

        found = []
        for name in ("mobilenetv2", "squeezenet1.1", "resnet18"):
            module = build(name).eval()
            side = NETWORKS[name].shape[1]
            found.append((name, module, onnxray.load(export(name, module), mean=120, std=60, size=side)))
        return found
    from onnxray.tests.engine import zoo

    folder = Path(os.environ["ONNXRAY_ZOO"])
    return [(name, None, zoo.opened(folder, name)) for name in ("mobilenet_v2_100_224", "squeezenet_v1_1")]


def main() -> None:
    options = options_of()
    heads = ["network", "bare img/s", "top", "top --after", "ratio", "ratio --after", "hooks img/s", "against hooks"]
    table = Table("top", heads, options, ("numpy", *(("torch",) if TORCH else ())), 16)
    against = []
    for name, module, model in networks():
        layers = surveyed(model)
        scans = {before: scan_of(model, layers, before, options) for before in (True, False)}
        ready = images_of(scans[True], options.images)
        check(model, layers, ready, options)
        parts = batches(ready, options.batch)
        arrays = [np.concatenate([r.tensor for r in part]) for part in parts]
        bare = session(model, threads=options.threads)
        source = str(scans[True].card.input)
        contenders: dict[str, Callable[[], object]] = {
            "bare": lambda bare=bare, source=source, arrays=arrays: [bare.run({source: x}) for x in arrays],
            "top": lambda scan=scans[True], parts=parts: [scan.add(part) for part in parts],
            "after": lambda scan=scans[False], parts=parts: [scan.add(part) for part in parts],
        }
        if module is not None:
            import torch

            torch.set_num_threads(options.threads)
            contenders["hooks"] = hooks(module, len(ready), [torch.from_numpy(x) for x in arrays])
        times = compare(contenders, rounds=options.rounds)
        speed = {what: len(ready) / timing.median for what, timing in times.items()}
        if "hooks" in speed:
            against.append(max(speed["top"], speed["after"]) / speed["hooks"])
        table.row(
            name,
            *(f"{speed[what]:.1f}" for what in ("bare", "top", "after")),
            speed["top"] / speed["bare"],
            speed["after"] / speed["bare"],
            f"{speed['hooks']:.1f}" if "hooks" in speed else "-",
            speed["top"] / speed["hooks"] if "hooks" in speed else "-",
        )
    if against:
        table.row("geometric mean", "", "", "", "", "", "", math.exp(statistics.mean(map(math.log, against))))
    table.done()


if __name__ == "__main__":
    main()
