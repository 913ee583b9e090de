"""The pictures of boxes in docs/detection.md: `python docs/make_detection.py ultraface_rfb_320.onnx`.

The model is UltraFace RFB-320 of the ONNX model zoo. The photographs are E. Collins (NASA, of scikit-image) and G.
Hopper (US Navy, of matplotlib), both in the public domain.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from matplotlib.cbook import get_sample_data
from numpy.typing import NDArray
from skimage import data

from onnxray.cli.files.images import read, write
from onnxray.cli.main import main as onnxray
from onnxray.kernels.resize import resize

IMAGES = Path(__file__).with_name("images")
HEIGHT = 320


def people() -> NDArray[np.uint8]:
    """Two portraits side by side."""
    hopper = read(Path(str(get_sample_data("grace_hopper.jpg", asfileobj=False))))[40:440]
    smaller = resize(hopper, (HEIGHT, HEIGHT * hopper.shape[1] // len(hopper)), "bilinear")
    return np.concatenate([data.astronaut()[:HEIGHT, 60:400], smaller], axis=1)


def main(model: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "people.png", people())
        (folder / "labels.txt").write_text("face\n", encoding="utf-8")
        asked = ["--target", "box:all", "--method", "hires-cam", "--mean", "127", "--std", "128"]
        asked += ["--labels", str(folder / "labels.txt"), "-o", str(folder / "out")]
        done = CliRunner().invoke(onnxray, ["explain", model, str(folder / "people.png"), *asked])
        if done.exit_code:
            raise SystemExit(done.output)
        write(IMAGES / "detection-boxes.jpg", read(folder / "out" / "people" / "hires-cam-box-overlay.png"))
        write(IMAGES / "detection-sheet.jpg", read(folder / "out" / "people" / "sheet.png"))


if __name__ == "__main__":
    main(sys.argv[1])
