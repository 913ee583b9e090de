"""Does `onnxray watch` lose or repeat an image when it is killed?

A producer drops images without pause, half of them slowly, half renamed into place; the command is killed (SIGKILL) at
random moments and started again. At the end every image has one record, one line of the second sink, and lies among
those that are done.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from _harness import Table, arguments

from onnxray.cli.files.images import encode


def more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kills", type=int, default=50, help="how many times (default 50)")
    parser.add_argument("--rate", type=float, default=5.0, help="images a second (default 5)")


def main() -> None:
    options = arguments(__doc__, rounds=1, more=more)
    columns = ["kills", "images", "lost", "repeated", "in sink", "seconds"]
    table = Table("watch", columns, options, measured="counted")
    with tempfile.TemporaryDirectory() as place:
        table.row(*counted(Path(place), options.kills, options.rate))
    table.done()


def counted(place: Path, kills: int, rate: float) -> list[object]:
    folder, out, moved, sink = (place / name for name in ("in", "out", "moved", "also.jsonl"))
    folder.mkdir()
    ended, dropped = threading.Event(), []
    producer = threading.Thread(target=produce, args=(folder, rate, ended, dropped))
    producer.start()
    chance, start = random.Random(0), time.monotonic()
    arguments_ = ["watch", folder, "--model", "builtin", "-o", out, "--move-to", moved, "--to", f"jsonl:{sink}", "-q"]
    command = [sys.executable, "-m", "onnxray", *map(str, arguments_)]
    for _ in range(kills):
        process = subprocess.Popen(command)
        before = len(lines(out / "records.jsonl"))
        while len(lines(out / "records.jsonl")) == before:  # at work
            time.sleep(0.01)
            assert process.poll() is None
        time.sleep(chance.uniform(0, 0.5))
        process.kill()
        process.wait()
    ended.set()
    producer.join()
    process = subprocess.Popen(command)
    while len(list(moved.glob("*.png"))) < len(dropped):
        time.sleep(0.1)
        assert process.poll() is None
    process.terminate()
    assert process.wait() == 0
    names = Counter(Path(json.loads(line)["path"]).name for line in lines(out / "records.jsonl"))
    also = Counter(Path(json.loads(line)["path"]).name for line in lines(sink))
    lost = len(set(dropped) - set(names))
    repeated = sum(count - 1 for count in names.values())
    assert (lost, repeated, also) == (0, 0, names), (lost, repeated, also - names)
    assert not list(folder.iterdir())
    return [kills, len(dropped), lost, repeated, sum(also.values()), round(time.monotonic() - start)]


def produce(folder: Path, rate: float, ended: threading.Event, dropped: list[str]) -> None:
    number = 0
    while not ended.wait(1 / rate):
        data = encode(np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8))
        name = f"{number}.png"
        if number % 2:
            (folder / f"{name}.part").write_bytes(data)
            (folder / f"{name}.part").rename(folder / name)
        else:
            with (folder / name).open("wb", buffering=0) as file:
                for start in range(0, len(data), 4000):
                    file.write(data[start : start + 4000])
                    time.sleep(0.02)
        dropped.append(name)
        number += 1


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


if __name__ == "__main__":
    main()
