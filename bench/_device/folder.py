"""How fast is `onnxray explain` on a folder of images, against the bare forward pass?"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time

import numpy as np

from _device.judging import timed
from _device.sessions import CPU, device, session
from _device.subjects import example
from _device.tables import GRACE, Section

COMMAND = "from onnxray.cli.main import main; main()"


def folder(s: Section) -> None:
    import onnxray

    provider = device()
    pictures = sorted((s.zoo / "images" / "imagenet_samples").glob("*.jpg")) if s.zoo else []
    path = s.zoo / "models" / "mobilenet_v2_100_224.onnx" if s.zoo else None
    if not pictures or not path.exists():
        s.row("A folder of images", "all", error="not measured: no zoo")
        return
    count = 4 if s.quick else 32
    many = s.work / "pictures"
    many.mkdir(exist_ok=True)
    for number in range(count):
        shutil.copy(pictures[number % len(pictures)], many / f"{number:04d}.jpg")
    model = onnxray.load(path)
    x = example(model)
    plain = session(model.proto, provider)
    name = model.inputs[0].name
    rows = np.repeat(x, 8, 0)
    for label, more in (("npy only", ["--format", "npy"]), ("everything", [])):
        for ran in dict.fromkeys((provider, CPU)):
            item = f"mobilenet_v2, {count} images, grad-cam, {label}, {ran.removesuffix('ExecutionProvider')}"
            if not s.due("A folder of images", item, 6):
                return
            with s.item("A folder of images", item) as found:
                seconds = {}
                for images in (1, count):
                    files = sorted(many.glob("*.jpg"))[:images]
                    out = s.work / f"out-{ran}-{images}-{label[:3]}"
                    command = [sys.executable, "-c", COMMAND, "explain", str(path), *map(str, files)]
                    command += ["--provider", ran, "--out", str(out), "--mean", "127.5,127.5,127.5"]
                    command += ["--std", "127.5,127.5,127.5", "-q", *more]
                    start = time.perf_counter()
                    done = subprocess.run(command, capture_output=True, text=True, timeout=max(5, s.left() + GRACE))
                    seconds[images] = time.perf_counter() - start
                    if done.returncode:
                        raise RuntimeError(done.stderr[-300:])
                    found[f"s for {images}"] = seconds[images]
                more_s = seconds[count] - seconds[1]
                found["images/s after the first"] = (count - 1) / more_s if more_s > 0 else None
                times, _ = timed({"f": lambda: plain.run(None, {name: x}), "f8": lambda: plain.run(None, {name: rows})},
                                 1.0)  # fmt: skip
                found["forward images/s, batch 1"], found["batch 8"] = 1e3 / times["f"], 8e3 / times["f8"]
