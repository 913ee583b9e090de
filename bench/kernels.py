"""Are the kernels of the perturbation methods faster than the best that NumPy and OpenCV do?

    python bench/kernels.py [--rounds 30]

One thread each, batches of 64 pictures of 3x224x224 in float32 (crops: 64 channels of 56x56), into buffers that exist
already. Results are compared first: the same bits, but for sums and OpenCV's masks (1e-6). `naive` is what one writes
first: new arrays, whole pictures (`in place`: a copy of the picture and an assignment). `best` is the fastest way found
with NumPy and OpenCV alone: for occluded copies that is restoring and painting, box by box in Python. `copy` fills
the output with one memcpy per picture: whatever writes all of it takes as long.

Goals: occluded copies 3 times as fast as assigning in place, RISE's masks 2.5 times as fast as OpenCV's.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from _harness import Table, arguments, compare

from onnxray.kernels import masks, occlusion

B, C, H, W = 64, 3, 224, 224
PATCH, STRIDE = 32, 8
RNG = np.random.default_rng(0)
Contender = Callable[[], object]


class Bench:
    """Checks, times and prints one kernel after another."""

    def __init__(self, options) -> None:
        self.rounds = options.rounds
        columns = ["kernel", "ours", "naive", "ratio", "best", "ratio ", "copy", "in copies"]
        self.table = Table("kernels of the perturbation methods", columns, options, ("numpy", "numba", "opencv-python"))

    def row(self, name: str, outs: list[np.ndarray], tolerance: float, **ways: Contender) -> None:
        """ways: ours, naive, best: each writes its result into (or returns it, if it is None) its array of `outs`."""
        found = []
        for out, way in zip(outs, ways.values(), strict=True):
            given = way()
            found.append(np.array(given if out is None else out))
        for way, result in zip(list(ways)[1:], found[1:], strict=True):
            off = float(np.abs(result.astype(np.float64) - found[0]).max())
            if off > tolerance:
                raise SystemExit(f"wrong result: {name}: {way} is off by {off}")
        source, copy = found[0][:1].copy(), np.empty_like(found[0])

        def floor() -> None:
            for one in copy:
                np.copyto(one, source[0])

        del found
        times = compare({**ways, "copy": floor}, rounds=self.rounds)
        ours = times["ours"]
        ratios = [times[way].median / ours.median for way in ("naive", "best")]
        self.table.row(
            name,
            ours,
            times["naive"],
            ratios[0],
            times["best"],
            ratios[1],
            times["copy"],
            ours.median / times["copy"].median,
        )


def raster(number: int) -> np.ndarray:
    """The windows of batch `number`, row by row over the picture."""
    across = (W - PATCH) // STRIDE + 1
    at = (np.arange(B) + number * B) % (across * ((H - PATCH) // STRIDE + 1))
    y, x = at // across * STRIDE, at % across * STRIDE
    return np.stack([y, x, y + PATCH, x + PATCH], 1)


def pictures() -> tuple[np.ndarray, np.ndarray]:
    return RNG.standard_normal((C, H, W, 1)).astype(np.float32), RNG.standard_normal((C, H, W, 1)).astype(np.float32)


def batch() -> np.ndarray:
    return np.zeros((B, C, H, W, 1), np.float32)


def copies(bench: Bench) -> None:
    """Batch after batch, as when a window goes over the picture."""
    clean, fill = pictures()
    batches = [raster(n) for n in range(8)]
    lists = [boxes.tolist() for boxes in batches]
    turn = {"ours": 0, "best": 0, "naive": 0, "place": 0}

    def ours(out: np.ndarray) -> Contender:
        occlusion.copies(out, clean, fill, batches[0])

        def call() -> None:
            n = turn["ours"] = turn["ours"] + 1
            occlusion.copies(out, clean, fill, batches[n % 8], batches[(n - 1) % 8])

        return call

    def restoring(out: np.ndarray) -> Contender:
        occlusion.copies(out, clean, fill, batches[0])

        def call() -> None:
            n = turn["best"] = turn["best"] + 1
            old, new = lists[(n - 1) % 8], lists[n % 8]
            for copy, (u0, v0, u1, v1), (y0, x0, y1, x1) in zip(out, old, new, strict=True):
                copy[:, u0:u1, v0:v1] = clean[:, u0:u1, v0:v1]
                copy[:, y0:y1, x0:x1] = fill[:, y0:y1, x0:x1]

        return call

    def in_place(out: np.ndarray, key: str) -> Contender:
        def call() -> None:
            n = turn[key] = turn[key] + 1
            np.copyto(out, clean)
            for copy, (y0, x0, y1, x1) in zip(out, lists[n % 8], strict=True):
                copy[:, y0:y1, x0:x1] = fill[:, y0:y1, x0:x1]

        return call

    def repeated() -> np.ndarray:
        n = turn["naive"] = turn["naive"] + 1
        out = np.repeat(clean[None], B, 0)
        for copy, (y0, x0, y1, x1) in zip(out, lists[n % 8], strict=True):
            copy[:, y0:y1, x0:x1] = fill[:, y0:y1, x0:x1]
        return out

    a, b = batch(), batch()
    bench.row("copies / np.repeat", [a, None, b], 0, ours=ours(a), naive=repeated, best=restoring(b))
    a, b, c = batch(), batch(), batch()
    turn.update(dict.fromkeys(turn, 0))
    bench.row("copies / in place", [a, b, c], 0, ours=ours(a), naive=in_place(b, "place"), best=restoring(c))
    a, b, c = batch(), batch(), batch()
    turn.update(dict.fromkeys(turn, 0))
    bench.row(
        "copies, all anew",
        [a, None, c],
        0,
        ours=lambda: occlusion.copies(a, clean, fill, batches[1]),
        naive=lambda: turn.update(naive=0) or repeated(),
        best=lambda: turn.update(place=0) or in_place(c, "place")(),
    )


def segments(bench: Bench) -> None:
    """One superpixel of a picture hidden in each copy; 196 of them, here rectangles of 16x16."""
    clean, fill = pictures()
    labels = (np.arange(H)[:, None] // 16 * 14 + np.arange(W) // 16).astype(np.int32)
    turn = {"ours": 0}
    sets = [(ids, boxes_of(ids)) for ids in (np.arange(B, dtype=np.int32), np.arange(B, 2 * B, dtype=np.int32))]

    def ours(out: np.ndarray) -> Contender:
        occlusion.copies_of_segments(out, clean, fill, labels, *sets[0])

        def call() -> None:
            n = turn["ours"] = turn["ours"] + 1
            occlusion.copies_of_segments(out, clean, fill, labels, *sets[n % 2], sets[(n - 1) % 2])

        return call

    def naive() -> np.ndarray:
        return np.where((labels == sets[1][0][:, None, None])[:, None, ..., None], fill, clean)

    def best(out: np.ndarray) -> Contender:
        def call() -> None:
            np.copyto(out, clean)
            for copy, number, (y0, x0, y1, x1) in zip(out, sets[1][0], sets[1][1].tolist(), strict=True):
                inside = (labels[y0:y1, x0:x1] == number)[..., None]
                np.copyto(copy[:, y0:y1, x0:x1], fill[:, y0:y1, x0:x1], where=inside)

        return call

    a, b = batch(), batch()
    bench.row("copies of segments", [a, None, b], 0, ours=ours(a), naive=naive, best=best(b))

    keep = RNG.random((B, 196)) < 0.5
    a, b = batch(), batch()

    def chosen() -> None:
        np.copyto(b, fill)
        np.copyto(b, clean, where=keep[:, labels][:, None, ..., None])

    bench.row(
        "coalitions",
        [a, None, b],
        0,
        ours=lambda: masks.coalitions(a, clean, fill, labels, keep),
        naive=lambda: np.where(keep[:, labels][:, None, ..., None], clean, fill),
        best=chosen,
    )


def boxes_of(ids: np.ndarray) -> np.ndarray:
    y, x = ids // 14 * 16, ids % 14 * 16
    return np.stack([y, x, y + 16, x + 16], 1).astype(np.int64)


def crops(bench: Bench) -> None:
    """Between two stages of incremental inference: 28x28 around changes of 20x20; and whole maps of them."""
    clean = RNG.standard_normal((64, 56, 56, 1)).astype(np.float32)
    changed = RNG.standard_normal((B, 64, 20, 20, 1)).astype(np.float32)
    corners = np.ascontiguousarray(np.stack(np.divmod(np.arange(B), 8), 1) * 4)
    for name, size, at in (
        ("crops 28x28", 28, np.maximum(corners - 4, 0)),
        ("whole maps 56x56", 56, np.zeros_like(corners)),
    ):
        outs = [np.empty((B, 64, size, size, 1), np.float32) for _ in range(2)]
        places = list(zip(at.tolist(), (corners - at).tolist(), strict=True))

        def ours(out: np.ndarray = outs[0], at: np.ndarray = at) -> None:
            occlusion.crops(out, clean, at, changed, corners)

        def naive(size: int = size, places: list = places) -> np.ndarray:
            found = []
            for one, ((y, x), (v, u)) in zip(changed, places, strict=True):
                part = clean[:, y : y + size, x : x + size].copy()
                part[:, v : v + 20, u : u + 20] = one
                found.append(part)
            return np.stack(found)

        def best(out: np.ndarray = outs[1], size: int = size, places: list = places) -> None:
            for part, one, ((y, x), (v, u)) in zip(out, changed, places, strict=True):
                part[:] = clean[:, y : y + size, x : x + size]
                part[:, v : v + 20, u : u + 20] = one

        bench.row(name, [outs[0], None, outs[1]], 0, ours=ours, naive=naive, best=best)


def rise(bench: Bench) -> None:
    clean, fill = pictures()
    made = masks.Rise((H, W))
    grids, shifts = made.draw(0, B)
    height, width = made.enlarged
    large = np.empty((height, width), np.float32)
    inverse, product = np.empty((H, W, 1), np.float32), np.empty_like(clean)
    places = shifts.tolist()

    def enlarged(grid: np.ndarray, y: int, x: int) -> np.ndarray:
        cv2.resize(grid, (width, height), dst=large, interpolation=cv2.INTER_LINEAR)
        return large[y : y + H, x : x + W, None]

    def all_masks() -> np.ndarray:
        return np.stack([enlarged(g, y, x).copy() for g, (y, x) in zip(grids, places, strict=True)])

    def opencv(out: np.ndarray) -> Contender:
        def call() -> None:
            for copy, grid, (y, x) in zip(out, grids, places, strict=True):
                np.multiply(clean, enlarged(grid, y, x), out=copy)

        return call

    def opencv_filled(out: np.ndarray) -> Contender:
        def call() -> None:
            for copy, grid, (y, x) in zip(out, grids, places, strict=True):
                mask = enlarged(grid, y, x)
                np.multiply(clean, mask, out=copy)
                np.subtract(1, mask, out=inverse)
                np.multiply(fill, inverse, out=product)
                np.add(copy, product, out=copy)

        return call

    a, b = batch(), batch()
    bench.row(
        "RISE's masks",
        [a, None, b],
        1e-6,
        ours=lambda: masks.apply(a, clean, None, grids, enlarged=made.enlarged, shifts=shifts),
        naive=lambda: clean * all_masks()[:, None],
        best=opencv(b),
    )

    def blended() -> np.ndarray:
        m = all_masks()[:, None]
        return clean * m + fill * (1 - m)

    bench.row(
        "RISE's, on a fill",
        [a, None, b],
        1e-6,
        ours=lambda: masks.apply(a, clean, fill, grids, enlarged=made.enlarged, shifts=shifts),
        naive=blended,
        best=opencv_filled(b),
    )
    weights, totals = RNG.random((1, B)), [np.zeros((1, H, W)) for _ in range(2)]

    def ours() -> None:
        totals[0][:] = 0
        masks.accumulate(totals[0], grids, weights, enlarged=made.enlarged, shifts=shifts)

    def one_by_one() -> None:
        totals[1][:] = 0
        for grid, (y, x), weight in zip(grids, places, weights[0].astype(np.float32), strict=True):
            cv2.scaleAdd(enlarged(grid, y, x)[..., 0], float(weight), single, dst=single)
        totals[1][0] = single
        single[:] = 0

    single = np.zeros((H, W), np.float32)
    bench.row(
        "sum of the masks",
        [totals[0], None, totals[1]],
        1e-4,
        ours=ours,
        naive=lambda: np.tensordot(weights.astype(np.float32), all_masks(), 1)[..., 0],
        best=one_by_one,
    )


def main() -> None:
    options = arguments(__doc__, rounds=30)
    options.threads = 1
    cv2.setNumThreads(1)
    bench = Bench(options)
    for part in (copies, segments, crops, rise):
        part(bench)
    bench.table.done()


if __name__ == "__main__":
    main()
