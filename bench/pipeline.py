"""Do explanations of many images run as fast as the compiled model alone in plain ONNX Runtime?

The bare loop runs the model compiled with the method, in plain ONNX Runtime with all processors, on a tensor that lies
ready: no image is decoded, prepared, drawn or written. `Pipeline` gets arrays, or PNG files, of which it makes overlays
that are written as PNG. Values are compared with those of `onnxray.explain` first. Rounds take turns.

Goals on two processors: 0.95 of the bare loop for arrays, 0.9 with decoding and PNG writing where those fit beside
inference: `both` are two bare loops side by side of one thread each, which leave no processor idle.

--soak MINUTES: images without end, and the memory of the process once a minute.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
from _harness import Table, arguments

import onnxray
from onnxray.cli.files.images import write
from onnxray.engine.preprocess.find import find_card

METHOD = "grad-cam"
# Images of one round: so many that what fills and drains the pipeline, 32 images, counts little.
IMAGES = 192


def more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", default=["builtin"], help="models (default: builtin)")
    parser.add_argument("--batch", type=int, default=8, help="images that run together, at most (default 8)")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="watch the memory for so long instead")


def main() -> None:
    options = arguments(__doc__, rounds=5, more=more)
    if options.soak:
        soak(options.models[0], options.soak, options.batch)
        return
    columns = ["model", "bare/s", "both/s", "arrays/s", "share", "files/s", "share", "p50 ms", "p99 ms"]
    table = Table("pipeline", columns, options, ("numpy", "onnxruntime-gpu", "opencv-python"))
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            table.row(*measured(name, options, Path(folder)))
    table.done()


def measured(name: str, options: argparse.Namespace, folder: Path) -> list[Any]:
    model = onnxray.load(name)
    card = find_card(model)
    rng = np.random.default_rng(0)
    size = (*card.size, 3)
    coarse = rng.integers(0, 256, (8, size[0] // 8 + 1, size[1] // 8 + 1, 3), np.uint8)
    photos = [cv2.resize(c, size[1::-1], interpolation=cv2.INTER_CUBIC) for c in coarse]
    files = [folder / f"{Path(name).stem}-{n}.png" for n in range(len(photos))]
    for file, photo in zip(files, photos, strict=True):
        cv2.imwrite(str(file), photo[..., ::-1])
    check(model, photos, options.batch)
    whole, single = bare(model, options.threads), bare(model, 1)
    rates: dict[str, list[float]] = {key: [] for key in ("bare", "both", "arrays", "files")}

    def written(e: Any) -> None:
        write(folder / "out" / f"{id(e)}.png", e.overlay())

    (folder / "out").mkdir(exist_ok=True)
    sizes = {"workers": 2, "queue": 2 * options.batch, "batch": options.batch}
    with (
        onnxray.Pipeline(model, METHOD, **sizes) as arrays,
        onnxray.Pipeline(model, METHOD, render=written, **sizes) as drawn,
        ThreadPoolExecutor(2) as pool,
    ):
        turns = {
            "bare": lambda: [whole() for _ in range(IMAGES)],
            "both": lambda: list(pool.map(lambda _: single(), range(IMAGES))),
            "arrays": lambda: list(arrays.map(photos * (IMAGES // 8))),
            "files": lambda: list(drawn.map(files * (IMAGES // 8))),
        }
        for turn in turns.values():
            turn()
        for _ in range(options.rounds):
            for key, turn in turns.items():
                start = time.perf_counter()
                turn()
                rates[key].append(IMAGES / (time.perf_counter() - start))
        total = drawn.stats().stages["total"]
    rate = {key: statistics.median(found) for key, found in rates.items()}
    shares = [
        statistics.median(a / b for a, b in zip(rates[key], rates["bare"], strict=True)) for key in ("arrays", "files")
    ]
    row = [Path(name).stem, rate["bare"], rate["both"], rate["arrays"], shares[0], rate["files"], shares[1]]
    return [*row, total.p50, total.p99]


def check(model: Any, photos: list[Any], batch: int) -> None:
    """The values are those of `explain`: bit for bit alone, within 1e-5 of the range in batches."""
    wanted = [onnxray.explain(model, photo, METHOD) for photo in photos]
    for size in (1, batch):
        with onnxray.Pipeline(model, METHOD, batch=size, max_delay_ms=100) as pipeline:
            for e, one in zip(pipeline.map(photos), wanted, strict=True):
                most = np.abs(one.values).max()
                apart = float(np.abs(e.values - one.values).max())
                assert apart <= (0 if size == 1 else 1e-5 * most), (size, apart, most)


def bare(model: Any, threads: int) -> Any:
    """One run of the compiled model in plain ONNX Runtime."""
    compiled = onnxray.compile(model, METHOD, upsample="none")
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    session = ort.InferenceSession(compiled.proto.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    x = np.random.default_rng(1).standard_normal([d if isinstance(d, int) else 1 for d in given.shape])
    feeds = {given.name: x.astype(np.float32)}
    return lambda: session.run(None, feeds)


def soak(name: str, minutes: float, batch: int) -> None:
    """Images without end; prints the resident memory, and how far its last half moved."""
    photos = list(np.random.default_rng(0).integers(0, 256, (16, 200, 240, 3), np.uint8))
    start, done, seen = time.monotonic(), 0, []
    with onnxray.Pipeline(name, METHOD, batch=batch, queue=2 * batch, render=lambda e: e.overlay()) as pipeline:
        while time.monotonic() - start < 60 * minutes:
            until = time.monotonic() + min(60.0, 6 * minutes)
            while time.monotonic() < until:
                done += sum(1 for _ in pipeline.map(photos))
            seen.append(resident())
            print(f"{(time.monotonic() - start) / 60:6.1f} min {done:9d} images {seen[-1]:8.1f} MiB")
            sys.stdout.flush()
        stats = pipeline.stats()
    half = seen[len(seen) // 2 :]
    total = stats.stages["total"]
    print(f"last half: {min(half):.1f} to {max(half):.1f} MiB; total p50 {total.p50} ms, p99 {total.p99} ms")


def resident() -> float:
    """MiB of memory that the process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


if __name__ == "__main__":
    main()
