"""Memory while explaining thousands of images in one process: it has to stay flat.

Small synthetic images, the built-in model. Each way runs in a process of its own: `onnxray.explain` by two methods in
turn, and `onnxray explain FOLDER`, the command, which writes heat maps. The resident set is sampled as explanations go
by; the slope is fitted to the samples after the first tenth, when everything is loaded and compiled.

    python bench/memory.py                      10,000 explanations, a sample every 500
    python bench/memory.py --images 2000 --every 100 --way command
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from _harness import machine
from peers import RUNTIME

METHODS = ("grad-cam", "gradient")
# More would be growth: an explanation holds half a megabyte of maps, its entry in the command's manifest a kilobyte.
FLAT = 1024


def resident() -> int:
    """Bytes of this process that are in memory."""
    if sys.platform.startswith("linux"):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * 4096
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # elsewhere only the peak is known: as good for a slope
    return peak if sys.platform == "darwin" else peak * 1024


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (96, 128, 3), np.uint8)


class Samples:
    """(explanations so far, resident bytes), one for every `every` explanations."""

    def __init__(self, every: int) -> None:
        self.every, self.found = every, [(0, resident())]

    def at(self, count: int) -> None:
        if count % self.every == 0 and count > self.found[-1][0]:
            self.found.append((count, resident()))


def through_the_api(images: int, every: int) -> list[tuple[int, int]]:
    """Both methods in turn, a new image every time; the heat map at the image's size is made as well."""
    import onnxray
    from onnxray.models import path

    model, samples = onnxray.load(path("builtin")), Samples(every)
    for k in range(images):
        found = onnxray.explain(model, image(k), METHODS[k % len(METHODS)])
        assert found.heatmap.shape == (96, 128)
        assert np.isfinite(found.values).all()
        samples.at(k + 1)
    return samples.found


def through_the_command(images: int, every: int) -> list[tuple[int, int]]:
    """One run of the command over a folder; a thread watches how many maps lie there."""
    import cv2
    from click.testing import CliRunner

    from onnxray.cli.main import main

    methods = ",".join(METHODS)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "images", Path(folder) / "out"
        source.mkdir()
        for k in range(images // len(METHODS)):
            cv2.imwrite(str(source / f"{k:05}.png"), image(k)[..., ::-1])
        samples, done = Samples(every), threading.Event()

        def watch() -> None:
            pause = 0.2
            while not done.wait(pause):
                start = time.perf_counter()
                count = sum(1 for _ in out.rglob("*.npy")) if out.is_dir() else 0
                samples.at(count // every * every)
                pause = max(0.2, 20 * (time.perf_counter() - start))

        watcher = threading.Thread(target=watch)
        watcher.start()
        arguments = ["explain", "builtin", str(source), "--method", methods, "--format", "npy", "--out", str(out), "-q"]
        result = CliRunner().invoke(main, arguments)
        done.set()
        watcher.join()
        if result.exit_code:
            raise SystemExit(f"the command failed: {result.output}")
        written = sum(1 for _ in out.rglob("*.npy"))
        assert written == images // len(METHODS) * len(METHODS), written
    return samples.found


WAYS: dict[str, Callable[[int, int], list[tuple[int, int]]]] = {
    "api": through_the_api,
    "command": through_the_command,
}


def slope(found: list[tuple[int, int]], images: int) -> tuple[float, float]:
    """Bytes for an explanation, and the first settled sample in MiB."""
    settled = [(k, size) for k, size in found if k >= images / 10]
    if len(settled) < 3:
        raise SystemExit("too few samples: more --images, or a smaller --every")
    counts, sizes = np.array(settled, np.float64).T
    return float(np.polyfit(counts, sizes, 1)[0]), sizes[0] / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--images", type=int, default=10_000, help="explanations in each process")
    parser.add_argument("--every", type=int, default=500, help="explanations between samples")
    parser.add_argument("--way", choices=WAYS, action="append", help="only this one")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="also write the samples")
    options = parser.parse_args()
    about = machine(*RUNTIME, "numpy")
    print(f"Memory over {options.images} explanations ({', '.join(METHODS)}), built-in model\n{about}\n")
    print(f"{'way':>10} {'seconds':>9} {'settled':>12} {'last':>12} {'slope':>26}")
    figures, grown = {}, []
    for way in options.way or WAYS:
        start = time.perf_counter()
        with get_context("spawn").Pool(1) as pool:
            found = pool.apply(WAYS[way], (options.images, options.every))
        taken = time.perf_counter() - start
        each, first = slope(found, options.images)
        last = found[-1][1] / 2**20
        print(f"{way:>10} {taken:9.0f} {first:8.1f} MiB {last:8.1f} MiB {each:9.1f} bytes/explanation", flush=True)
        figures[way] = {"bytes_per_explanation": each, "samples": found}
        if each > FLAT:
            grown.append(way)
    if options.json:
        options.json.write_text(json.dumps({"machine": about, "images": options.images, **figures}, indent=1) + "\n")
    if grown:
        raise SystemExit(f"memory grows: {', '.join(grown)}")


if __name__ == "__main__":
    main()
