"""Exact occlusion against plain ONNX Runtime and against Captum, and the approximate mode against plain.

    python bench/occlusion.py [--rounds 3] [--threads 2] [--only vgg16,resnet18] [--windows 64] [--strides 16,8,4]
                              [--patches 16,32] [--captum] [--approximate]

Images of 224 x 224, the networks of `networks.py` with random weights. Exact is timed on whole rows of windows, as many
as hold `--least` windows, evenly spread (its time depends on the place); plain, whose time does not, on `--windows` of
them. First the results of these are compared: they must agree within 1e-5 of the scores' range. Contenders:

plain    ONNX Runtime on whole occluded copies at its best: batches of 1, 4, 8, 16, one session with all threads, or as
         many workers as threads that share a session of one thread; the fastest on a few windows is the baseline
captum   captum.attr.Occlusion on the same weights at the best of several perturbations_per_eval (--captum)
bound    operations of the whole network over those of the parts that change, every layer cut (no overhead, no snapping)

With --approximate, the whole map by `coarse-to-fine` and by `capped` against the exact one on real photographs and a
trained network of ONNXRAY_ZOO: the time of plain for the whole grid over theirs, and the similarity (SSIM) to the exact
map: of the heatmaps on the model's pixels, which are what is shown, and of the bare values, window by window.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import peers
from _harness import Table, compare, processors
from peers import RUNTIME

NETWORKS = ("vgg16", "mobilenetv2", "squeezenet1.1", "resnet18", "resnet50")
SIDE = 224
BATCHES = (1, 4, 8, 16)
PER_EVAL = (1, 4, 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=processors())
    parser.add_argument("--only", default=",".join(NETWORKS))
    parser.add_argument("--windows", type=int, default=48)
    parser.add_argument("--least", type=int, default=400)
    parser.add_argument("--strides", default="16,8,4")
    parser.add_argument("--patches", default="16,32")
    parser.add_argument("--captum", action="store_true")
    parser.add_argument("--approximate", action="store_true")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args()
    if options.approximate:
        approximate(options)
        return
    columns = ["network", "patch", "stride", "stages", "exact", "plain", "ratio", "cpu ratio", "bound", "reached"]
    columns += ["first", "captum", "its ratio"]
    packages = (*RUNTIME, *(("torch", "captum") if options.captum else ()))
    table = Table("Occlusion, per window (first: with planning, all windows timed)", columns, options, packages, 12)
    for name in options.only.split(","):
        network(name, options, table)
    table.done()


def network(name: str, options: argparse.Namespace, table: Table) -> None:
    from networks import build, export

    import onnxray
    from onnxray.engine.attribution.windows import WindowGrid
    from onnxray.engine.incremental.runner import HiddenInput, make_runner
    from onnxray.engine.incremental.windows import Hidden, Windows
    from onnxray.engine.inference.batches import RunOptions

    module = build(name)
    model = onnxray.load(export(name, module))
    x = np.random.default_rng(0).standard_normal((1, 3, SIDE, SIDE)).astype(np.float32)
    fill = np.zeros_like(x[0])
    plain, how = fastest_plain(model, x, fill, options.threads)
    theirs = captum_call(module, x, options) if options.captum else None
    for patch in map(int, options.patches.split(",")):
        for stride in map(int, options.strides.split(",")):
            grid = WindowGrid((SIDE, SIDE), (patch, patch), (stride, stride))
            tall, wide = grid.shape
            rows = np.unique(np.linspace(0, tall - 1, min(tall, -(-options.least // wide))).round().astype(np.int64))
            which = (rows[:, None] * wide + np.arange(wide)).reshape(-1)
            some = which[np.unique(np.linspace(0, len(which) - 1, options.windows).astype(np.int64))]
            start = time.perf_counter()
            runtime = RunOptions(threads=options.threads, providers="cpu")
            ready = make_runner(model, HiddenInput("x", (2, 3), x.shape), ["y"], Windows(grid.boxes), runtime)
            hidden = Hidden(grid.boxes, fill)
            found = np.empty((len(grid.boxes), 1000), np.float32)

            def consume(windows, got, found=found):
                found[windows] = got["y"]

            exact = functools.partial(ready.run, x, hidden, consume, which=which)
            exact()
            first = (time.perf_counter() - start) / len(which)
            expected = plain(grid.boxes[some])
            worst = np.abs(found[some] - expected).max() / np.ptp(expected)
            assert worst <= 1e-5, f"{name}: the scores differ by {worst:.2g} of their range"
            calls = {"exact": exact, "plain": functools.partial(plain, grid.boxes[some])}
            times = compare(calls, rounds=options.rounds, warm=1, pause=0.05)
            ours, baseline = times["exact"], times["plain"]
            bound = flop_bound(ready)
            share = len(which) / len(some)
            ratio = share * baseline.median / ours.median
            cells = ["-", "-"]
            if theirs is not None:
                each = theirs()
                cells = [f"{each * 1e3:.1f} ms", each * len(which) / ours.median]
            table.row(
                *(name, patch, stride, len(ready.plan.stages), f"{ours.median / len(which) * 1e3:.2f} ms"),
                *(f"{baseline.median / len(some) * 1e3:.2f} ms", ratio, share * baseline.processor / ours.processor),
                *(bound, ratio / bound, f"{first * 1e3:.1f} ms", *cells),
            )
    print(f"  plain of {name}: {how}")


def fastest_plain(model, x, fill, threads):
    """A call that runs the network on occluded copies, the fastest way of several; and which one it is."""
    from onnxray.engine.inference.session import Session
    from onnxray.kernels.occlusion import copies

    shared = Session(model, threads=1, providers="cpu", spin=False)
    whole = Session(model, threads=threads, providers="cpu")
    pool = ThreadPoolExecutor(threads)

    def made(boxes):
        out = np.empty((len(boxes), *x.shape[1:], 1), np.float32)
        copies(out, x[0][..., None], fill[..., None], np.ascontiguousarray(boxes))
        return out[..., 0]

    def one_session(batch, boxes):
        return np.concatenate([whole.run({"x": made(b)})["y"] for b in parts(boxes, batch)])

    def workers(batch, boxes):
        return np.concatenate(list(pool.map(lambda b: shared.run({"x": made(b)})["y"], parts(boxes, batch))))

    def parts(boxes, batch):
        return [boxes[at : at + batch] for at in range(0, len(boxes), batch)]

    ways = {
        f"{label}, batch {batch}": functools.partial(call, batch)
        for batch in BATCHES
        for label, call in (("one session", one_session), ("workers", workers))
    }
    trial = np.array([[8 * i, 8 * i, 8 * i + 32, 8 * i + 32] for i in range(16)], np.int64)
    calls = {label: functools.partial(call, trial) for label, call in ways.items()}
    times = compare(calls, rounds=3, warm=1, pause=0.05)
    best = min(times, key=lambda label: times[label].median)
    return ways[best], best


def captum_call(module, x, options):
    """Seconds per window of captum.attr.Occlusion at its best perturbations_per_eval."""
    import torch

    attr = peers.captum()
    torch.set_num_threads(options.threads)
    tensor = torch.from_numpy(x)
    occlusion = attr.Occlusion(module)
    target = int(module(tensor).argmax())

    @functools.cache
    def seconds() -> float:
        # It runs the whole network for every window, whatever its size and place: a coarse grid is timed, once.
        patch = step = 48
        count = (-(-SIDE // step)) ** 2
        best = np.inf
        with torch.no_grad():
            for per_eval in PER_EVAL:
                start = time.perf_counter()
                occlusion.attribute(
                    tensor,
                    sliding_window_shapes=(3, patch, patch),
                    strides=(3, step, step),
                    target=target,
                    perturbations_per_eval=per_eval,
                )
                best = min(best, (time.perf_counter() - start) / count)
        return best

    return seconds


def flop_bound(ready) -> float:
    """Multiply-accumulates of the whole network over those that a window changes, every layer cut."""
    from onnxray.engine.incremental.locality import changed
    from onnxray.engine.inspect.macs import macs

    model, known, windows = ready.network.model, ready.network.known, ready.windows
    spans = [changed(model, known, windows.spans(axis), axis) for axis in (0, 1)]
    total = part = 0.0
    for node in model.graph.node:
        count = macs(model, node, known.sizes) or 0
        total += count
        name = node.output[0]
        if name in spans[0]:
            tall, wide = (np.diff(spans[axis][name], axis=1)[:, 0][windows.of(axis)] for axis in (0, 1))
            count *= float((tall * wide).mean()) / known.size(name, 0) / known.size(name, 1)
        part += count
    return total / part


def approximate(options: argparse.Namespace) -> None:
    import onnxray
    from onnxray.cli.files import images

    zoo = os.environ.get("ONNXRAY_ZOO")
    if not zoo:
        sys.exit("the approximate modes are measured on real photographs: set ONNXRAY_ZOO")
    path = Path(zoo) / "models" / "mobilenet_v2_100_224.onnx"
    model = onnxray.load(path, mean=[127.5] * 3, std=[127.5] * 3)
    pictures = sorted((Path(zoo) / "images" / "imagenet_samples").glob("*.jpg"))[:4]
    columns = ["image", "stride", "mode", "time", "plain", "ratio", "SSIM", "bare SSIM", "reported", "true error"]
    table = Table("Approximate occlusion, MobileNetV2, patch 32", columns, options, RUNTIME, 16)
    running = {"threads": options.threads, "providers": "cpu", "patch": 32}
    modes = {
        "exact": {},
        "coarse-to-fine": {"mode": "coarse-to-fine"},
        "capped": {"mode": "capped"},
    }
    for stride in map(int, options.strides.split(",")):
        for path in pictures:
            image = images.read(path)
            seconds, maps = {}, {}
            for mode, more in (*modes.items(), ("plain", {"mode": "plain"})):
                call = functools.partial(onnxray.explain, model, image, "occlusion", stride=stride, **running, **more)
                call()  # the plan is made, sessions are warm
                start = time.perf_counter()
                maps[mode] = call()
                seconds[mode] = time.perf_counter() - start
            exact = maps["exact"].values
            for mode in modes:
                values, details = maps[mode].values, maps[mode].details
                error = np.abs(values - maps["plain"].values).max() / np.ptp(exact)
                table.row(
                    *(path.stem.split("_", 1)[-1], stride, mode, f"{seconds[mode]:.2f} s", f"{seconds['plain']:.2f} s"),
                    *(seconds["plain"] / seconds[mode], ssim(maps[mode].map, maps["plain"].map, 11)),
                    *(ssim(values, maps["plain"].values), details.get("largest_relative_error", 0.0), float(error)),
                )
    table.done()


def ssim(a: np.ndarray, b: np.ndarray, window: int = 7) -> float:
    """Structural similarity of two maps: Wang, Bovik, Sheikh and Simoncelli, IEEE TIP 13(4), 2004, uniform windows."""
    from numpy.lib.stride_tricks import sliding_window_view

    a, b = a.astype(np.float64), b.astype(np.float64)
    span = max(np.ptp(b), 1e-12)
    window = min(window, *a.shape)
    x, y = (sliding_window_view(m, (window, window)).reshape(-1, window * window) for m in (a, b))
    mx, my = x.mean(axis=1), y.mean(axis=1)
    vx, vy = x.var(axis=1, ddof=1), y.var(axis=1, ddof=1)
    cov = ((x - mx[:, None]) * (y - my[:, None])).sum(axis=1) / (window * window - 1)
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    return float((((2 * mx * my + c1) * (2 * cov + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())


if __name__ == "__main__":
    main()
