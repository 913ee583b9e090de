"""RISE per mask: onnxray on ONNX Runtime against a PyTorch loop in the manner of Captum, and against DIANNA.

    python bench/rise.py [--masks 4000] [--rounds 3] [--threads 2] [--only resnet18,mobilenetv2]

The same network, image, masks and number of threads. The PyTorch loop makes masks with F.interpolate, batch by batch,
and runs the module eagerly at the best of several batch sizes. DIANNA (if it is installed) is given the path of the
model, as in its tutorials, at its best batch size, and then a function around one session that stays: with a path it
makes a new session for every batch. It keeps all masks and masked images in memory, so it gets at most 400 masks a
round; times are per mask. Maps are compared first, made from the same masks: within 1e-3 of the spread of the map.

Goal: 3 times as fast as either.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _harness import Table, Timing, arguments
from peers import RUNTIME

from onnxray.kernels import masks as kernels

NETWORKS = ("resnet18", "mobilenetv2")
BATCHES = (4, 8, 32)
THEIR_BATCHES = (32, 100, 400)
CELLS, PROBABILITY = 7, 0.5
CHECKED, TRIED, MOST = 96, 64, 400


def taken(name: str, default: str) -> str:
    """The value of an option of this benchmark alone."""
    if name not in sys.argv:
        return default
    at = sys.argv.index(name)
    value = sys.argv[at + 1]
    del sys.argv[at : at + 2]
    return value


def main() -> None:
    only = taken("--only", ",".join(NETWORKS)).split(",")
    count = int(taken("--masks", "4000"))
    options = arguments(__doc__, rounds=3)
    there = importlib.util.find_spec("dianna") is not None
    columns = ["network", "masks", "ours", "torch", "its batch", "ratio", "DIANNA", "its batch ", "ratio ", "function"]
    columns += ["ratio  ", "forward"]
    packages = (*RUNTIME, "torch", *(["dianna"] if there else []))
    table = Table("RISE, one image, per mask", columns, options, packages, width=9)
    if not there:
        print("DIANNA is not installed here: its columns stay empty", file=sys.stderr)
    for name in only:
        measure(name, count, there, options, table)
    table.done()


def measure(name: str, count: int, there: bool, options, table: Table) -> None:
    import torch
    from networks import build, export

    import onnxray
    from onnxray.engine.inference.session import session

    torch.set_num_threads(options.threads)
    module = build(name)
    exported = export(name, module)
    model = onnxray.load(exported)
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    with torch.no_grad():
        target = int(module(torch.from_numpy(x)).argmax())

    def ours(n: int) -> np.ndarray:
        chosen = {"masks": n, "cells": CELLS, "probability": PROBABILITY}
        values = onnxray.explain(model, x, "rise", target, **chosen, threads=options.threads, providers="cpu").values
        return np.asarray(values)

    def loop(batch: int) -> Callable[[int], np.ndarray]:
        return lambda n: eager(module, x, target, n, batch)

    plain, rows = session(model, threads=options.threads, providers="cpu"), np.repeat(x, 4, 0)

    def forward(n: int) -> None:
        for _ in range(n // 4):
            plain.run({"x": rows})

    expected = ours(CHECKED)
    agree(name, "torch", loop(8)(CHECKED), expected)
    best = min(BATCHES, key=lambda b: clock(loop(b), TRIED)[0])
    contenders: dict[str, Callable[[int], object]] = {"ours": ours, "torch": loop(best), "forward": forward}
    their_best: object = "-"
    with tempfile.TemporaryDirectory() as folder:
        if there:
            path = Path(folder) / "model.onnx"
            path.write_bytes(exported)
            agree(name, "DIANNA", dianna(str(path), x, target, CHECKED, 32, same=True), expected)

            def function(rows: np.ndarray) -> np.ndarray:
                return plain.run({"x": np.ascontiguousarray(rows, np.float32)})["y"]

            tried = [b for b in THEIR_BATCHES if b <= max(count, THEIR_BATCHES[0])]
            costs = [clock(lambda n, b=b: dianna(str(path), x, target, n, b), b)[0] for b in tried]
            their_best = chosen_batch = tried[int(np.argmin(costs))]
            contenders["DIANNA"] = lambda n: dianna(str(path), x, target, n, chosen_batch)
            contenders["function"] = lambda n: dianna(function, x, target, n, 4)
        times = rounds(contenders, count, options.rounds)
    empty = ["-"] * 2
    ratio = {who: times[who].median / times["ours"].median for who in times}
    table.row(
        name,
        count,
        times["ours"],
        times["torch"],
        best,
        ratio["torch"],
        *([times["DIANNA"], their_best, ratio["DIANNA"]] if there else ["-", *empty]),
        *([times["function"], ratio["function"]] if there else empty),
        times["forward"],
    )


def rounds(contenders: dict[str, Callable[[int], object]], count: int, number: int) -> dict[str, Timing]:
    """Per mask, interleaved."""
    walls: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for call in contenders.values():
        call(32)
    names = list(contenders)
    for turn in range(number):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            time.sleep(0.05)  # threads that wait actively have given up by then
            n = min(count, MOST) if name in ("DIANNA", "function") else count
            walls[name].append(clock(contenders[name], n))
    return {
        name: Timing(
            statistics.median(w for w, _ in found), min(found)[0], statistics.median(c for _, c in found), number
        )
        for name, found in walls.items()
    }


def clock(call: Callable[[int], object], n: int) -> tuple[float, float]:
    """Seconds and processor seconds per mask."""
    wall, cpu = time.perf_counter(), time.process_time()
    call(n)
    return (time.perf_counter() - wall) / n, (time.process_time() - cpu) / n


def drawn(n: int) -> tuple[kernels.Rise, np.ndarray, np.ndarray]:
    masks = kernels.Rise((224, 224), CELLS, PROBABILITY)
    return masks, *masks.draw(0, n)


def eager(module, x: np.ndarray, target: int, n: int, batch: int) -> np.ndarray:
    """What one writes in PyTorch: masks of a batch, enlarged at once, cropped, multiplied, run, summed up."""
    import torch
    import torch.nn.functional as F

    masks, grids, shifts = drawn(n)
    image, total = torch.from_numpy(x), torch.zeros(224, 224)
    with torch.no_grad():
        for start in range(0, n, batch):
            grid = torch.from_numpy(grids[start : start + batch])[:, None]
            large = F.interpolate(grid, masks.enlarged, mode="bilinear", align_corners=False)
            at = shifts[start : start + batch].tolist()
            ready = torch.stack([m[:, y : y + 224, x : x + 224] for m, (y, x) in zip(large, at, strict=True)])
            scores = module(image * ready)[:, target]
            total += torch.tensordot(scores, ready[:, 0], 1)
    return total.numpy() / (PROBABILITY * n)


def dianna(model, x: np.ndarray, target: int, n: int, batch: int, same: bool = False) -> np.ndarray:
    """DIANNA's RISE; with masks of its own, or with ours (`same`)."""
    from dianna.methods import rise_image

    explainer = rise_image.RISEImage(n, CELLS, PROBABILITY, {0: "channels"})
    own = rise_image.generate_interpolated_float_masks_for_image
    if same:
        masks, grids, shifts = drawn(n)
        full = np.empty((n, 1, 224, 224, 1), np.float32)
        ones = np.ones((1, 224, 224, 1), np.float32)
        kernels.apply(full, ones, None, grids, enlarged=masks.enlarged, shifts=shifts)
        rise_image.generate_interpolated_float_masks_for_image = lambda *_: full[:, 0]
    try:
        return np.asarray(explainer.explain(model, x[0], [target], batch_size=batch))[0]
    finally:
        rise_image.generate_interpolated_float_masks_for_image = own


def agree(name: str, who: str, theirs: np.ndarray, expected: np.ndarray) -> None:
    off = float(np.abs(theirs - expected).max() / np.ptp(expected))
    if not off < 1e-3:
        raise SystemExit(f"wrong result: {name}: {who} is off by {off:.2g} of the map's spread")


if __name__ == "__main__":
    main()
