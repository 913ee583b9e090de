"""What all benchmarks share: interleaved rounds, medians, one table, the machine it was measured on.

    from _harness import Table, arguments, compare

    options = arguments(__doc__)
    table = Table("render", ["size", "ours", "OpenCV", "ratio"], options)
    times = compare({"ours": ours, "OpenCV": theirs}, rounds=options.rounds)
    table.row("224x224", times["ours"], times["OpenCV"], times["OpenCV"].median / times["ours"].median)
    table.done()

A benchmark checks its result before it times anything. Contenders run in the same process, warm, with the same number
of threads, and take turns round by round, so that whatever else the machine does hits all of them alike; the median of
the rounds counts. `best` is the fastest round: what the code can do when nothing is in its way. `processor` is the
median processor time, all threads together.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path


@dataclass(frozen=True)
class Timing:
    """Seconds for one call."""

    median: float
    best: float
    processor: float
    rounds: int


def arguments(
    description: str | None,
    *,
    rounds: int = 30,
    more: Callable[[argparse.ArgumentParser], object] | None = None,
) -> argparse.Namespace:
    """The options of every benchmark: .rounds, .threads, .json; `more` may add others."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=rounds, help=f"rounds per comparison (default {rounds})")
    parser.add_argument(
        "--threads", type=int, default=None, help="threads of every contender (default: the processors)"
    )
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="also write the figures as JSON")
    if more is not None:
        more(parser)
    options = parser.parse_args()
    options.threads = options.threads or processors()
    return options


def processors() -> int:
    """The number of processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compare(
    contenders: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 30,
    warm: int = 2,
    sample: float = 2e-3,
    pause: float = 0.0,
) -> dict[str, Timing]:
    """Time every contender `rounds` times, taking turns; in a round, short calls are repeated for `sample` seconds.

    `pause` seconds pass before each turn: thread pools that wait actively (ONNX Runtime's) take the processors from
    whoever comes next for some milliseconds.
    """
    repeats = {}
    for name, call in contenders.items():
        for _ in range(warm):
            call()
        start = time.perf_counter()
        call()
        repeats[name] = max(1, round(sample / max(time.perf_counter() - start, 1e-7)))
    walls: dict[str, list[float]] = {name: [] for name in contenders}
    cpus: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:  # nobody always runs after the same neighbour
            call, count = contenders[name], repeats[name]
            if pause:
                time.sleep(pause)
                call()
            cpu, wall = time.process_time(), time.perf_counter()
            for _ in range(count):
                call()
            walls[name].append((time.perf_counter() - wall) / count)
            cpus[name].append((time.process_time() - cpu) / count)
    return {
        name: Timing(statistics.median(walls[name]), min(walls[name]), statistics.median(cpus[name]), rounds)
        for name in names
    }


def machine(*packages: str) -> str:
    """One line: processor, processors usable, load, Python, versions of `packages`."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass  # not Linux
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    return f"{model}, {processors()} usable{load}; {platform.system()}, Python {platform.python_version()}; {versions}"


class Table:
    """Prints rows as they come, aligned, and writes them as JSON at the end if that was asked for.

    `measured` says how the figures came about, where they are no times.
    """

    def __init__(
        self,
        title: str,
        columns: Sequence[str],
        options: argparse.Namespace,
        packages: Sequence[str] = ("numpy",),
        width: int = 11,
        measured: str | None = None,
    ) -> None:
        self.title, self.columns, self.options, self.width = title, list(columns), options, width
        self.rows: list[list[object]] = []
        self.machine = machine(*packages)
        how = measured or f"median of {options.rounds} interleaved rounds, {options.threads} thread(s)"
        print(f"{title}\n{self.machine}\n{how}\n")
        print(" ".join(f"{name:>{max(width, len(name))}}" for name in self.columns))

    def row(self, *cells: object) -> None:
        """One row; a Timing is shown as its median in ms, other numbers with two decimals."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns")
        texts = (f"{_text(cell):>{max(self.width, len(name))}}" for cell, name in zip(cells, self.columns, strict=True))
        print(" ".join(texts))
        sys.stdout.flush()
        self.rows.append([vars(cell) if isinstance(cell, Timing) else cell for cell in cells])

    def done(self) -> None:
        """Write the JSON file, if asked for."""
        if self.options.json:
            figures = {
                "title": self.title,
                "machine": self.machine,
                "threads": self.options.threads,
                "rounds": self.options.rounds,
                "columns": self.columns,
                "rows": self.rows,
            }
            temporary = self.options.json.with_name(self.options.json.name + ".part")
            temporary.write_text(json.dumps(figures, indent=1) + "\n")
            temporary.replace(self.options.json)


def _text(cell: object) -> str:
    if isinstance(cell, Timing):
        return f"{cell.median * 1e3:.3f} ms"
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)
