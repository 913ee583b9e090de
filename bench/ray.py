"""Does a run on Ray go twice as fast with two actors, and does the driver stay small, however many images there are?

Actors: `onnxray predict` and `explain` of the same images by one and by two actors of one processor each, results
compared too; the share of linear is in processor time, images for each second of it, so that what else the machine
does counts little. The first block of each actor, in which it reads the model, is left out. Driver: blocks whose images
are not real (records are written, no model runs), from 1,000 to 100,000 images, and the most memory that the process of
the driver held. Simulation: such blocks that take a known time, against the time that docs/scale.md's formula gives.

--kills MINUTES: a cluster of two nodes whose actors and nodes are killed at random meanwhile; the result is compared
with that of a local run.

Goals: 0.85 of linear from one to two actors; the driver's memory flat.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _harness import Table, arguments

from onnxray.cli.commands import explain, predict
from onnxray.cli.files.images import write
from onnxray.cli.pages.microscope import write_pages
from onnxray.cli.pages.report import document
from onnxray.cli.parameters.scale import Scale
from onnxray.cli.tasks.cluster import on_ray as module
from onnxray.cli.tasks.cluster.job import Job, Pages
from onnxray.cli.tasks.cluster.store import Outcome

PAGES = Pages(document, write_pages)
# Blocks of the simulation: images of each, and seconds that an image takes.
BLOCK, EACH = 50, 0.004


def more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=int, default=256, help="images for one and two actors (default 256)")
    parser.add_argument(
        "--synthetic", type=int, nargs="*", default=[1_000, 100_000], help="images of the driver's runs"
    )
    parser.add_argument("--kills", type=float, metavar="MINUTES", help="kill actors and nodes for so long instead")
    parser.add_argument("--one", nargs=2, metavar=("FOLDER", "COUNT"), help=argparse.SUPPRESS)


def main() -> None:
    # This file has the name of the package that it measures: its folder must not be looked into for that.
    sys.path[:] = [name for name in sys.path if Path(name).resolve() != Path(__file__).parent.resolve()]
    options = arguments(__doc__, rounds=1, more=more)
    if options.one:
        driver(Path(options.one[0]), int(options.one[1]))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.kills:
            kills(folder, options.kills)
            return
        table = Table("ray", ["run", "timed", "actors", "processor s", "images/s of it", "share"], options, ("ray",))
        for command in ("predict", "explain"):
            actors(table, command, folder / command, options.images)
        table.done()
        table = Table("ray driver", ["images", "most MiB", "seconds", "predicted s"], options, ("ray",))
        for count in options.synthetic:
            said = subprocess.run(
                [sys.executable, __file__, "--one", str(folder / str(count)), str(count)],
                capture_output=True,
                text=True,
                check=True,
            )
            memory, seconds = map(float, said.stdout.split()[-2:])
            table.row(count, memory, seconds, count * EACH / 2)
        table.done()


def asked(command: str, images: Path, out: Path, *more: str) -> Any:
    """The options of a command's task, as its command line makes them."""
    found: list[Any] = []
    names = {"predict": predict, "explain": explain}[command]
    line = ["builtin", str(images), "-q", "-o", str(out), "--on", "ray", *more]
    before, names.finish_on = names.finish_on, lambda *given: found.append(given)
    try:
        names.command.main(line, standalone_mode=False)
    finally:
        names.finish_on = before
    return found[0]


def pictures(folder: Path, count: int) -> Path:
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (96, 96, 3), np.uint8)
        write(folder / f"{number:06d}.png", pixels)
    return folder


def actors(table: Table, command: str, folder: Path, count: int) -> None:
    images, rates = pictures(folder / "images", count), []
    more = ("-m", "grad-cam", "--format", "npy,overlay") if command == "explain" else ()
    for number in (1, 2):
        line = ("--actors", str(number), "--block", "16", *more)
        name, options, scale = asked(command, images, folder / str(number), *line)
        found = module.on_ray(name, options, scale, PAGES)
        rates.append(found.timed / found.processor)
        table.row(command, found.timed, number, found.processor, rates[-1], rates[-1] / rates[0])
    different = filecmp.dircmp(folder / "1", folder / "2")
    assert not [*different.left_only, *different.right_only, *different.diff_files]


class Synthetic:
    """Writes the records of images that are not there, in a known time."""

    def __init__(self, job: Job, sha256: str, blocks: int, total: int) -> None:
        self.job, self.total, self.blocks = job, total, blocks

    def __call__(self, row: Any) -> dict[str, Any]:
        number = int(row["id"])
        names = [f"synthetic/{number * BLOCK + n:09d}.png" for n in range(BLOCK)]
        head = {"format": 1, "command": "predict", "complete": True, "options": {"shard": [number + 1, self.blocks]}}
        head |= {"model": {}, "card": None, "images": [], "files": [], "versions": {}}
        one = {
            "status": "done",
            "sha256": "0" * 64,
            "top": [{"index": 1, "label": "a", "probability": 0.5}],
            "files": [],
        }
        time.sleep(BLOCK * EACH)
        with tempfile.TemporaryDirectory() as empty:
            self.job.store.put(number, Path(empty), head, [{"path": name, **one} for name in names], BLOCK)
        found = Outcome(number, BLOCK)
        return {"images": found.images, "errors": [], "seconds": 0.0, "name": "", "text": ""}


def driver(folder: Path, count: int) -> None:
    """A run over so many images that are not there, two actors; prints the most memory and the seconds."""
    folder.mkdir()
    write(folder / "one.png", np.zeros((8, 8, 3), np.uint8))
    name, options, _ = asked("predict", folder / "one.png", folder / "out", "--parts", "--block", str(BLOCK))
    module.listing = synthetic_list(count)
    found = module.on_ray(name, options, Scale(address="", actors=2, block=BLOCK, in_parts=True), PAGES, Synthetic)
    assert found.images == count
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, found.seconds)


def synthetic_list(count: int) -> Any:
    def listing(job: Job) -> tuple[int, int]:
        from pathlib import PurePosixPath

        images = ((PurePosixPath(f"synthetic/{n:09d}.png"), None, str(n)) for n in range(count))
        found: tuple[int, int] = job.store.write_list(images, BLOCK)
        return found

    return listing


def kills(folder: Path, minutes: float) -> None:
    """A run on two nodes; actors and nodes are killed at random until the time is over."""
    from ray.cluster_utils import Cluster

    about = {"include_dashboard": False, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **about})
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=80 << 20) for _ in range(2)]
    images = pictures(folder / "images", 160)
    line = [sys.executable, "-m", "onnxray.cli.main", "explain", "builtin", str(images), "-m", "occlusion", "-q"]
    line += ["--format", "npy"]
    try:
        subprocess.run([*line, "-o", str(folder / "local")], check=True, stdout=subprocess.DEVNULL, cwd=folder)
        on = ["--on", f"ray:{cluster.address}", "--block", "2", "--actors", "2", "-o", str(folder / "ray")]
        run = subprocess.Popen([*line, *on], stdout=subprocess.DEVNULL, cwd=folder)
        end, draw = time.monotonic() + 60 * minutes, random.Random(0)
        counts = {"actors": 0, "nodes": 0, "drivers": 0}
        while time.monotonic() < end and run.poll() is None:
            time.sleep(draw.uniform(3, 9))
            what = draw.choice(["actors", "actors", "nodes", "drivers"])
            counts[what] += 1
            if what == "actors":
                kill_actor()
            elif what == "nodes":
                cluster.remove_node(nodes.pop(0), allow_graceful=False)
                nodes.append(cluster.add_node(num_cpus=1, object_store_memory=80 << 20))
            else:
                run.kill()
                run.wait()
                run = subprocess.Popen([*line, *on, "--resume"], stdout=subprocess.DEVNULL, cwd=folder)
        assert run.wait() == 0
    finally:
        cluster.shutdown()
    local, ray = (sorted(p.relative_to(folder / name) for p in (folder / name).rglob("*")) for name in ("local", "ray"))
    assert local == ray
    wrong = [p for p in local if (folder / "local" / p).is_file() and not same(folder, p)]
    assert not wrong, wrong
    print(f"killed {counts}; {len(local)} files equal those of the local run")


def same(folder: Path, name: Path) -> bool:
    return (folder / "local" / name).read_bytes() == (folder / "ray" / name).read_bytes()


def kill_actor() -> None:
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                if (process / "cmdline").read_bytes().startswith(b"ray::MapWorker"):
                    os.kill(int(process.name), signal.SIGKILL)
                    return
            except OSError:
                continue


if __name__ == "__main__":
    main()
