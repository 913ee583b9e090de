"""How much memory and time does a dream of a large photo take?

    python bench/dream.py [--model builtin] [--layer stage3/relu2] [--largest 3840x2160]

Runs one step of DeepDream at growing sizes, each in a process of its own: `onnxray.dream`, in tiles, and the baseline,
the plain loop: the same gradient's graph on the whole picture, `numpy.roll`, SciPy's Gaussian filters. First the result
is checked: tiles against the whole picture. The table has the peak of resident memory, less that of a process that
dreams of 64 x 64 pixels, and seconds of processor time for a step. The baseline is left out where it would take more
than `--most` GiB, by its growth so far.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _harness import machine
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

import onnxray
from onnxray.engine.dream import Dreamer, dreamer_of
from onnxray.engine.optimize.dream.octaves import resized
from onnxray.engine.optimize.dream.recipe import BLURS, DreamRecipe
from onnxray.engine.optimize.objectives.layer import WholeLayer
from onnxray.engine.optimize.parametrisation import COLOURS

Size = tuple[int, int]
LIMIT = 2 << 30  # what a 4K photo may take beyond the process itself
SIZES: tuple[Size, ...] = ((270, 480), (540, 960), (1080, 1920), (2160, 3840))


def photo(size: Size) -> NDArray[np.float32]:
    from onnxray.cli.files.images import read

    pixels = read(onnxray.samples()[4]).transpose(2, 0, 1).astype(np.float32) / 255
    return np.clip(resized(np.ascontiguousarray(pixels), size), 0, 1)


def dreamer(model: str) -> Dreamer:
    return dreamer_of(model, DreamRecipe(octaves=1, steps=1), threads=1)


def plain(model: str, layer: str, picture: NDArray[np.float32], steps: int) -> NDArray[np.float32]:
    """The loop of the notebooks: the whole picture in one run."""
    slope = replace(dreamer(model).slope(WholeLayer(layer), picture.shape[1:]), tile=1 << 20, _networks={})  # type: ignore[arg-type]
    slope.check(picture.shape[1:])  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    covariance = COLOURS @ COLOURS.T
    for _ in range(steps):
        shift = tuple(int(n) for n in rng.integers(-16, 17, 2))
        _, gradient = slope(np.roll(picture, shift, (1, 2)), (0, 0), rng)
        gradient = np.roll(gradient, (-shift[0], -shift[1]), (1, 2))
        gradient = np.tensordot(covariance, gradient, 1)
        gradient = sum(gaussian_filter(gradient, (0, sigma, sigma), mode="mirror", truncate=3) for sigma in BLURS)
        picture = np.clip(picture + 0.0045 * gradient / np.abs(gradient).mean(), 0, 1)
    return picture


def high_water() -> int:
    """The greatest resident size of this program in bytes; `ru_maxrss` would be that of the process it came from."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def run(model: str, layer: str, size: Size, kind: str) -> dict[str, Any]:
    """What a process of its own finds: the peak in bytes, processor seconds of a step, beyond the first."""
    picture = photo(size)
    steps = 2 if size[0] < 1000 else 1

    def once(count: int) -> None:
        if kind == "plain":
            plain(model, layer, picture, count)
        else:
            onnxray.dream(model, picture, layer, octaves=1, steps=count, threads=1)

    times = []
    once(0)  # loads and compiles what there is to load and to compile
    for count in (0, steps):
        start = time.process_time()
        once(count)
        times.append(time.process_time() - start)
    peak = high_water()
    return {"peak": peak, "seconds": max(0.0, times[1] - times[0]) / steps}


def apart(arguments: argparse.Namespace, size: Size, kind: str) -> dict[str, Any]:
    asked = ["--model", arguments.model, "--layer", arguments.layer, "--one", kind, "--largest", f"{size[1]}x{size[0]}"]
    done = subprocess.run([sys.executable, __file__, *asked], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def check(model: str, layer: str) -> float:
    """The mean difference of the tiled gradient from the whole picture's, over the mean magnitude."""
    picture = photo((768, 1024))
    whole = replace(dreamer(model).slope(WholeLayer(layer), (768, 1024)), tile=1 << 20, _networks={})
    tiled = replace(whole, tile=512, overlap=32, _networks={})
    found = []
    for slope in (whole, tiled):
        gradient = slope(picture, (3, 5), np.random.default_rng(0))[1]
        found.append(gradient / np.abs(gradient).mean())
    difference = float(np.abs(found[0] - found[1]).mean())
    assert difference < 0.1, difference
    return difference


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--layer", default="stage3/relu2")
    parser.add_argument("--largest", default="3840x2160")
    parser.add_argument("--most", type=float, default=6.0, help="GiB that the baseline may take")
    parser.add_argument("--one", choices=["plain", "dream"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    width, height = (int(n) for n in arguments.largest.split("x"))
    if arguments.one:
        print(json.dumps(run(arguments.model, arguments.layer, (height, width), arguments.one)))
        return 0
    print(machine("numpy", "scipy"))
    print(f"{Path(arguments.model).name}, {arguments.layer}")
    print(
        f"tiles against the whole picture, mean difference of gradients: {check(arguments.model, arguments.layer):.2g}"
    )
    own = apart(arguments, (64, 64), "dream")["peak"]
    print("pixels        dream MiB  plain MiB  ratio   dream s/step  plain s/step")
    last, most = 0.0, arguments.most * (1 << 30)
    for size in (s for s in SIZES if s[0] <= height and s[1] <= width):
        ours = apart(arguments, size, "dream")
        beyond = ours["peak"] - own
        line = f"{size[1]}x{size[0]}".ljust(12) + f"{beyond / (1 << 20):11.0f}"
        if 4 * last < most:
            theirs = apart(arguments, size, "plain")
            last = float(theirs["peak"])
            line += f"{(last - own) / (1 << 20):11.0f}{(last - own) / max(1, beyond):7.1f}"
            line += f"{ours['seconds']:15.2f}{theirs['seconds']:14.2f}"
        else:
            line += f"{'-':>11}{'-':>7}{ours['seconds']:15.2f}{'-':>14}"
        print(line, flush=True)
    return int(beyond > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
