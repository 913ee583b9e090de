"""How much memory does one explanation of a photo of 100 megapixels take?

    python bench/large_photo.py [--side 10000]

Writes a JPEG of side x side pixels, runs `onnxray explain builtin photo.jpg -m grad-cam` on it in a process of its own,
checks the result, and prints the process's peak beyond the decoded image, next to the same for a small photo: the
baseline, which is what the program itself takes. Exits with 1 above the promise of 1 GiB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from onnxray import models
from onnxray.cli.files.images import read, write
from onnxray.engine.explain import explain

LIMIT = 1 << 30
MEASURE = (
    "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(done.returncode)"
)


def photo(path: Path, side: int) -> None:
    """A sample of the built-in model, enlarged, with noise as a camera makes it."""
    sample = read(next((Path(models.__file__).parent / "samples").glob("*.png")))
    rows = np.arange(side) * len(sample) // side
    columns = np.arange(side) * sample.shape[1] // side
    pixels = np.empty((side, side, 3), np.uint8)
    noise = np.random.default_rng(0).integers(0, 12, (64, side, 3), np.uint8)
    for start in range(0, side, 64):
        part = sample[rows[start : start + 64]][:, columns]
        pixels[start : start + 64] = np.minimum(part, 243) + noise[: len(part)]
    write(path, pixels)


def peak(image: Path, folder: Path) -> tuple[int, float]:
    """The greatest resident size in bytes, and seconds."""
    start = time.monotonic()
    command = [sys.executable, "-m", "onnxray.cli.main", "explain", "builtin", str(image), "-m", "grad-cam"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command, "--out", str(folder), "--force", "-q"],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout) * 1024, time.monotonic() - start


def check(image: Path, folder: Path) -> None:
    """The pictures have the photo's size, and the map is that of the photo in Python."""
    (entry,) = json.loads((folder / "manifest.json").read_text())["images"]
    values = np.load(folder / next(name for name in entry["files"] if name.endswith(".npy")))
    pixels = read(image)
    want = explain(models.path("builtin"), pixels, "grad-cam")
    assert np.array_equal(values, want.values)
    for name, rows in (("heatmap", want.picture), ("overlay", lambda: want.overlay(0.6))):
        file = next(folder / n for n in entry["files"] if n.endswith(f"-{name}.png"))
        found = read(file)
        assert found.shape == pixels.shape
        assert np.array_equal(found, rows()), name


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=10_000)
    side = parser.parse_args().side
    beyond = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, length in (("small", 500), ("large", side)):
            image, out = Path(folder, f"{name}.jpg"), Path(folder, name)
            photo(image, length)
            most, seconds = peak(image, out)
            check(image, out)
            beyond[name] = most - 3 * length * length
            print(
                f"{name}: {length} x {length} pixels, {3 * length * length >> 20} MiB decoded; peak {most >> 20} MiB, "
                f"{beyond[name] >> 20} MiB beyond the decoded image; {seconds:.1f} s"
            )
    print(f"large / small: {beyond['large'] / beyond['small']:.2f}")
    return int(beyond["large"] > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
