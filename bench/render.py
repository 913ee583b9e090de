"""Is the fused render faster than OpenCV's resize, applyColorMap and addWeighted?

OpenCV gets its best case: the map is normalised while it is small, every step writes into a buffer that exists already,
and it uses as many threads. Both results are checked first against the float64 definition: at most one grey level off.
The last columns compare with the time to copy the output once, by one thread, which no implementation can beat.

Goals: 2x (bilinear) and 3x (bicubic) at 224x224; 3x and 5x at 1920x1080 and 3840x2160; within 5 copies. At 224x224 five
copies are about 10 microseconds, of which the Python call alone takes most: that goal is not met there.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from _harness import Table, arguments, compare

from onnxray.kernels.colormap import table as colour_table
from onnxray.kernels.render import render
from onnxray.kernels.upsample import taps

ALPHA = 0.5
SIZES = [(224, 224), (1080, 1920), (2160, 3840)]
GOALS = {(224, "bilinear"): 2, (224, "bicubic"): 3, (1080, "bilinear"): 3, (1080, "bicubic"): 5}
FLAGS = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


def definition(map: np.ndarray, image: np.ndarray, colours: np.ndarray, mode: str) -> np.ndarray:
    """The result before its last rounding, in float64 (the weights are those of `taps`, tested on their own)."""

    def matrix(n: int, length: int) -> np.ndarray:
        index, weight = taps(n, length, mode)
        full = np.zeros((length, n))
        np.add.at(full, (np.arange(length)[:, None], index), weight.astype(np.float64))
        return full

    height, width = image.shape[:2]
    v = matrix(len(map), height) @ map.astype(np.float64) @ matrix(map.shape[1], width).T
    p = np.clip((v - map.min()) / (float(map.max()) - map.min()), 0, 1) * 255
    c = np.stack([np.interp(p, np.arange(256), colours[:, i].astype(np.float64)) for i in range(3)], axis=-1)
    return image * (1 - ALPHA) + c * ALPHA


def opencv(map: np.ndarray, image: np.ndarray, colours: np.ndarray, mode: str, out: np.ndarray) -> Callable[[], object]:
    """The usual way, without its usual waste. A table in RGB order gives RGB colours."""
    height, width = image.shape[:2]
    table = np.ascontiguousarray(colours[:, None])
    large = np.empty((height, width), np.float32)
    entries = np.empty((height, width), np.uint8)
    coloured = np.empty_like(image)
    lo, hi = float(map.min()), float(map.max())

    def call() -> object:
        small = (map - lo) * np.float32(255 / (hi - lo))
        cv2.resize(small, (width, height), dst=large, interpolation=FLAGS[mode])
        # Bicubic overshoots below zero, of which convertScaleAbs would take the magnitude.
        if mode == "bicubic":
            cv2.max(large, 0, dst=large)
        cv2.convertScaleAbs(large, dst=entries)
        cv2.applyColorMap(entries, table, dst=coloured)
        return cv2.addWeighted(image, 1 - ALPHA, coloured, ALPHA, 0, dst=out)

    return call


def main() -> None:
    options = arguments(__doc__, rounds=25)
    cv2.setNumThreads(options.threads)
    columns = [
        "output",
        "map",
        "mode",
        "render",
        "OpenCV",
        "ratio",
        "best",
        "goal",
        "copy",
        "in copies",
        "off by",
        "cv off",
    ]
    table = Table("render: upsample + colour + blend", columns, options, ("numpy", "numba", "opencv-python"), width=9)
    colours = colour_table("lagoon")
    rng = np.random.default_rng(0)
    for height, width in SIZES:
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        out, theirs, copy = np.empty_like(image), np.empty_like(image), np.empty_like(image)
        for side in (7, 14):
            for mode in FLAGS:
                map = rng.random((side, side)).astype(np.float32)
                lo, hi = float(map.min()), float(map.max())

                def ours(map=map, image=image, lo=lo, hi=hi, mode=mode, out=out) -> object:
                    return render(map, image, colours, lo, hi, ALPHA, mode, out=out, threads=options.threads)

                other = opencv(map, image, colours, mode, theirs)
                ours()
                other()
                exact = np.floor(definition(map, image, colours, mode) + 0.5)
                off, cv_off = (int(np.abs(got - exact).max()) for got in (out, theirs))
                if off > 1 or cv_off > 2:
                    raise SystemExit(f"wrong result: render off by {off}, OpenCV off by {cv_off}")
                times = compare(
                    {"ours": ours, "OpenCV": other, "copy": lambda copy=copy, image=image: np.copyto(copy, image)},
                    rounds=options.rounds,
                )
                mine, cv, floor = times["ours"], times["OpenCV"], times["copy"]
                goal = GOALS[min(height, 1080), mode]
                table.row(
                    f"{width}x{height}",
                    f"{side}x{side}",
                    mode,
                    mine,
                    cv,
                    cv.median / mine.median,
                    cv.best / mine.best,
                    f"{goal}x",
                    floor,
                    mine.median / floor.median,
                    off,
                    cv_off,
                )
    table.done()


if __name__ == "__main__":
    main()
