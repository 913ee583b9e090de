"""Feature visualization: whether pictures show what they should, and how fast a step is.

    ONNXRAY_ZOO=... python bench/visualize.py transfer channels speed [--classes 20] [--channels 200] [--json FILE]

transfer   Pictures of ImageNet classes, made on MobileNetV2 and on SqueezeNet, are shown to other classifiers of the
           zoo: a class counts where it is in the top 5 of at least two of three (MobileNetV1-0.75, a MobileNetV2 of
           another training in 8 bits, and the other maker). A network's own confidence proves nothing: pixel noise
           reaches p = 1.00. Goal: at least 60 % of the classes; the control (pixels, no transforms) at most 5 %.
           Energy above 0.25 cycles per pixel under .15.
channels   Random live channels: the linear value, mean over the map, against that of every sample image. Goal: at least
           99 % above all; median ratio at least 5 in the middle third of the layers.
speed      Steps per second against Lucent's loop in PyTorch (Fourier, colours, the same affine warp by grid_sample,
           backward, Adam; eager and channels_last, the faster counts), same weights and threads. Goal: 2x in the
           geometric mean, no network under 1.7x; the loop's own work at most 20 % of the network's. Units of
           MobileNetV2 per core-hour at the default settings, over random channels of all layers: goal 2,000.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _harness import Table, arguments, compare
from _lucent import lucent

import onnxray
from onnxray.cli.files import images as files
from onnxray.engine.errors import Disconnected
from onnxray.engine.optimize.canvas import canvas_of, labels_of
from onnxray.engine.optimize.linear import linear_value
from onnxray.engine.optimize.loop import Recipe, optimise
from onnxray.engine.optimize.network import Network
from onnxray.engine.optimize.objectives.classes import Logit
from onnxray.engine.preprocess.image import find_card, prepare, prepare_batch
from onnxray.engine.targets.classes import label_of
from onnxray.engine.targets.units import unit_axes
from onnxray.tests.engine import zoo

MAKERS = ("mobilenet_v2_100_224", "squeezenet_v1_1")
# Judges of a maker's pictures, with the other maker: another architecture, another training of the same one. SMALL, the
# weakest network of the zoo, is reported besides.
JUDGES = ("mobilenet_v1_075_192", "mobilenet_v2_int8_qlinear")
SMALL = "mobilenet_v1_025_224"
OTHER = {"mobilenet_v2_100_224": "squeezenet_v1_1", "squeezenet_v1_1": "mobilenet_v2_100_224"}
AT_ONCE = 4
CONTROL: dict[str, Any] = {"parametrisation": "pixels", "transforms": ()}


def options_of() -> argparse.Namespace:
    def more(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("what", nargs="*", default=["transfer", "channels", "speed"])
        parser.add_argument("--classes", type=int, default=20)
        parser.add_argument("--channels", type=int, default=200)
        parser.add_argument("--steps", type=int, default=128)

    return arguments(__doc__, rounds=7, more=more)


def folder() -> Path:
    place = os.environ.get("ONNXRAY_ZOO")
    if not place:
        raise SystemExit("ONNXRAY_ZOO must name the folder of the model zoo")
    return Path(place)


def name_of(label: str) -> str:
    return (label_of(0, (label,)) or "").casefold()


def rank(model: onnxray.Model, image: np.ndarray, name: str) -> int:
    """Of the class called `name` among the scores of the model for the image, 0 for the best."""
    card = find_card(model)
    names = [name_of(label) for label in card.labels or ()]
    x = prepare(image, card).tensor
    output = model.outputs[0].name
    scores = onnxray.activations(model, x, [output])[output].reshape(-1)
    return int((scores > scores[names.index(name)]).sum())


def high_energy(picture: np.ndarray) -> float:
    """The share of the energy above 0.25 cycles per pixel; picture (C, H, W)."""
    plane = picture.mean(axis=0) - picture.mean()
    power = np.abs(np.fft.fft2(plane)) ** 2
    f = np.hypot(np.fft.fftfreq(plane.shape[0])[:, None], np.fft.fftfreq(plane.shape[1])[None])
    return float(power[f > 0.25].sum() / power.sum())


def transfer(options: argparse.Namespace) -> None:
    place = folder()
    table = Table(
        "transfer",
        ["made on", "how", "own p", "in 2 of 3", "in SMALL", "energy", "steps", "s each"],
        options,
        ("numpy",),
        20,
        f"{options.classes} classes, at most {options.steps} steps",
    )
    labels = [name_of(label) for label in (place / "labels" / "imagenet.txt").read_text().splitlines()]
    chosen = np.random.default_rng(12).choice(len(labels), options.classes, replace=False)
    models = {name: zoo.opened(place, name) for name in (*MAKERS, *JUDGES, SMALL)}
    for maker in MAKERS:
        own = [name_of(label) for label in labels_of(models[maker]) or ()]
        judges = (*JUDGES, OTHER[maker], SMALL)
        settings: dict[str, Any]
        for how, settings in (("default", {}), ("control", CONTROL)):
            good, better, sure, energy, steps, spent = 0, 0, [], [], [], 0.0
            for index in chosen:
                start = time.process_time()
                v = onnxray.visualize(
                    models[maker],
                    target=own.index(labels[index]),
                    steps=options.steps,
                    threads=options.threads,
                    **settings,
                )
                spent += time.process_time() - start
                ranks = [rank(models[judge], v.images[0], labels[index]) for judge in judges]
                good += sum(r < 5 for r in ranks[:3]) >= 2
                better += ranks[3] < 5
                sure.append(float(v.after[0]))
                energy.append(high_energy(v.pictures[0]))
                steps.append(len(v.history[0]))
                print(f"    {labels[index][:30]:30s} {ranks}", flush=True)
            n = len(chosen)
            table.row(
                maker,
                how,
                statistics.mean(sure),
                f"{100 * good / n:.0f} %",
                f"{100 * better / n:.0f} %",
                statistics.median(energy),
                statistics.mean(steps),
                spent / n,
            )
    table.done()


def photographs(place: Path) -> list[np.ndarray]:
    found = sorted([*(place / "images" / "photos").iterdir(), *(place / "images" / "imagenet_samples").iterdir()])
    return [files.read(path) for path in found if path.suffix.lower() in (".jpg", ".jpeg", ".png")]


def live_channels(model: onnxray.Model, count: int, seed: int) -> list[tuple[str, int, float]]:
    """(layer, channel, depth 0..1) of random channels of all layers with maps."""
    maps = [entry for entry in model.layers if entry.map_axes and entry.op in ("Conv", "Relu", "Clip", "Add", "Concat")]
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        at = int(rng.integers(len(maps)))
        value, axis, _ = unit_axes(model, maps[at].name)
        size = model.value(value).shape
        assert size is not None
        found.append((maps[at].name, int(rng.integers(int(size[axis] or 1))), at / max(1, len(maps) - 1)))
    return found


def best_of_photos(model: onnxray.Model, layer: str, x: np.ndarray) -> np.ndarray:
    """(photos, channels): the mean over the map of the linear value.

    A few photos at a time: each of the sessions that are kept holds the memory of its largest run.
    """
    value, axis, _ = unit_axes(model, layer)
    linear = linear_value(model, value)
    found = []
    for few in (x[at : at + AT_ONCE] for at in range(0, len(x), AT_ONCE)):
        parts = [onnxray.activations(model, few, [name])[name] for name in linear.values]
        whole = parts[0] if linear.name else np.concatenate(parts, axis=linear.axis)
        found.append(np.moveaxis(whole, axis, 1).reshape(len(few), whole.shape[axis], -1).mean(axis=2))
    return np.concatenate(found)


def channels(options: argparse.Namespace) -> None:
    place = folder()
    table = Table(
        "channels",
        ["model", "channels", "above all", "median ratio", "in the middle", "steps", "s each", "per core-hour"],
        options,
        ("numpy",),
        12,
        f"{options.channels} random channels, at most {options.steps} steps",
    )
    images = photographs(place)
    for name in MAKERS:
        model = zoo.opened(place, name)
        x, _ = prepare_batch(images, find_card(model))
        ratios, middle, tried, above, steps, spent, kept = [], [], 0, 0, [], 0.0, {}
        wanted = live_channels(model, options.channels // len(MAKERS), 3)
        for layer, channel, depth in sorted(wanted):
            if layer not in kept:
                kept = {layer: best_of_photos(model, layer, x)}
            photos = kept[layer][:, channel]
            if photos.std() < 1e-6:
                continue  # a dead channel: the same for every image
            tried += 1
            start = time.process_time()
            try:
                v = onnxray.visualize(model, layer, channel, steps=options.steps, threads=options.threads)
            except Disconnected:
                print(f"    no slope from noise: {layer} {channel}", flush=True)
                continue
            spent += time.process_time() - start
            steps.append(len(v.history[0]))
            above += bool(v.before[0] > photos.max())
            # Against the spread of the photographs around their mean, so that negative values have a ratio, too.
            ratio = (v.before[0] - photos.mean()) / max(photos.max() - photos.mean(), 1e-9)
            ratios.append(float(ratio))
            if 1 / 3 <= depth <= 2 / 3:
                middle.append(float(ratio))
            if v.before[0] <= photos.max():
                print(f"    not above: {layer} {channel}: {v.before[0]:.3g} against {photos.max():.3g}", flush=True)
        each = spent / len(ratios)
        table.row(
            name,
            tried,
            f"{100 * above / tried:.1f} %",
            statistics.median(ratios),
            statistics.median(middle),
            statistics.mean(steps),
            each,
            f"{3600 / each:.0f}",
        )
    table.done()


def own_step(model: onnxray.Model, threads: int) -> tuple[Any, Any]:
    """A step of ours, and the network's part of it."""
    canvas = canvas_of(model)
    network = Network(model, canvas, [Logit(3)], threads=threads)
    x = np.zeros(canvas.shape(1), np.float32)

    def steps() -> None:
        optimise(network, Recipe(steps=STEPS, settle=False), threads=threads)

    return steps, lambda: network.run(x)


STEPS = 32


def speed(options: argparse.Namespace) -> None:
    import torch
    from networks import NETWORKS, build, export

    torch.set_num_threads(options.threads)
    table = Table(
        "speed", ["network", "Lucent", "channels_last", "ours", "ratio", "own work"], options, ("numpy", "torch"), 16
    )
    ratios = []
    for name in ("mobilenetv2", "squeezenet1.1", "resnet18"):
        module = build(name)
        model = onnxray.load(export(name, module), mean=120, std=60, size=NETWORKS[name].shape[1])
        ours, network = own_step(model, options.threads)
        side = NETWORKS[name].shape[1]
        eager, last = lucent(module, side, False, 3), lucent(build(name), side, True, 3)
        times = compare({"eager": eager, "last": last, "ours": ours, "network": network}, rounds=options.rounds)
        step = times["ours"].processor / (STEPS + 1)  # and one look at the end
        best = min(times["eager"].processor, times["last"].processor)
        ratios.append(best / step)
        table.row(
            name,
            f"{1e3 * times['eager'].processor:.1f} ms",
            f"{1e3 * times['last'].processor:.1f} ms",
            f"{1e3 * step:.1f} ms",
            best / step,
            f"{100 * (step / times['network'].processor - 1):.0f} %",
        )
    table.row("geometric mean", "", "", "", math.exp(statistics.mean(map(math.log, ratios))), "")
    table.done()


def main(what: Sequence[str], options: argparse.Namespace) -> None:
    for name in what:
        {"transfer": transfer, "channels": channels, "speed": speed}[name](options)


if __name__ == "__main__":
    given = options_of()
    main(given.what, given)
