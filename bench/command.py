"""The command `onnxray explain` as a whole: one image against loading and running the model, a folder against its runs.

    python bench/command.py MODEL IMAGES [--rounds 3] [--threads 2] [--copies 120]

one image    the process `onnxray explain MODEL IMAGE` over one that loads MODEL into plain ONNX Runtime, decodes the
             image with Pillow and runs it once: processor time and wall time of both, started in turns
folder       images per second of `onnxray explain` on `--copies` links to the images of IMAGES, overlays as JPEG and
             as PNG, start of the process included, over the model's runs alone in plain ONNX Runtime, which does
             nothing else. The goals are 0.8 (JPEG) and 0.5 (PNG)

MODEL has one image input of 3 x 224 x 224. First, the map that the command wrote is compared with `onnxray.explain`.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from _harness import Table, arguments, processors

BARE = """
import sys, numpy as np, onnxruntime
from PIL import Image
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[4])
options.add_session_config_entry("session.intra_op.allow_spinning", "0")
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
image = Image.open(sys.argv[2]).convert("RGB").resize((224, 224))
x = np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 255
for _ in range(int(sys.argv[3])):
    session.run(None, {session.get_inputs()[0].name: x})
"""


def main() -> None:
    options = arguments(__doc__, rounds=3, more=more)
    model, images = options.model, sorted(p for p in options.images.iterdir() if p.is_file())
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        check(model, images[0], place)
        table = Table("onnxray explain", ["what", "onnxray", "ONNX Runtime", "share, wall", "share, CPU"], options)
        ours, bare = turns(
            options, explain(model, images[0], place / "one", *threads(options)), plain(options, images[0], 1)
        )
        share = bare[0] / ours[0], bare[1] / ours[1]
        table.row("one image, whole process", f"{ours[1]:.2f} s", f"{bare[1]:.2f} s", *share)
        folder = place / "photos"
        folder.mkdir()
        for number in range(options.copies):
            photo = images[number % len(images)]
            (folder / f"{number:05d}-{photo.name}").symlink_to(photo.resolve())
        for name in ("jpeg", "png"):
            call = explain(model, folder, place / name, "--format", f"overlay,{name}", *threads(options))
            ours, bare = turns(options, call, plain(options, images[0], options.copies))
            share = bare[0] / ours[0], bare[1] / ours[1]
            table.row(f"{options.copies} images, {name}", f"{ours[1]:.2f} s", f"{bare[1]:.2f} s", *share)
        table.done()


def more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--copies", type=int, default=120)


def check(model: Path, image: Path, place: Path) -> None:
    """The command's map is that of the library; compiles what is not compiled yet."""
    import onnxray

    run(explain(model, image, place / "checked", "--format", "npy"))
    (written,) = place.glob("checked/*/*.npy")
    expected = onnxray.explain(str(model), str(image)).values
    np.testing.assert_allclose(np.load(written), expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def explain(model: Path, images: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "onnxray", "explain", str(model), str(images), "-o", str(out), "--force", "-q", *more]


def threads(options: argparse.Namespace) -> list[str]:
    """Of the command, which shares all processors between images where none are asked for."""
    return [] if options.threads == processors() else ["--threads", str(options.threads)]


def plain(options: argparse.Namespace, image: Path, count: int) -> list[str]:
    return [sys.executable, "-c", BARE, str(options.model), str(image), str(count), str(options.threads)]


def turns(options: argparse.Namespace, *calls: list[str]) -> list[tuple[float, float]]:
    """(wall, processor) seconds of each call, medians of rounds in which they take turns."""
    times: list[list[tuple[float, float]]] = [[] for _ in calls]
    for _ in range(options.rounds):
        for call, found in zip(calls, times, strict=True):
            found.append(run(call))
    return [(median(wall for wall, _ in found), median(cpu for _, cpu in found)) for found in times]


def run(call: list[str]) -> tuple[float, float]:
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(call, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu


if __name__ == "__main__":
    main()
