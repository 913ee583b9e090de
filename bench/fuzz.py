"""Mutants of models, cards, images and options: how many end in raw errors, crashes or hangs.

Every mutant is made from its kind and seed alone and tried in a child process with limits of time (10 s) and memory; a
child that dies or hangs is replaced. What is not one line of `OnnxrayError` counts as a fault and is listed with its
seed and place; `--seed KIND:SEED` tries one again, in this process.

    python bench/fuzz.py                          10 minutes, all kinds, two workers
    python bench/fuzz.py --minutes 2 --kinds card,image --from 5000
    python bench/fuzz.py --seed model:1234        with the traceback
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import select
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS = 10.0
# Of address space: threads of ONNX Runtime reserve much of it and use little.
BYTES = 24 << 30


@dataclass(frozen=True)
class Outcome:
    """What became of one mutant: "right", "refused", or a fault: "raw", "crash", "hang". `where`: of a fault."""

    kind: str
    seed: int
    what: str
    where: str = ""

    @property
    def is_fault(self) -> bool:
        return self.what not in ("right", "refused")


def attempt(kind: str, seed: int) -> Outcome:
    """Try one mutant in this process."""
    from _mutants import KINDS, REFUSALS

    try:
        KINDS[kind](random.Random(f"{kind}:{seed}"))
    except REFUSALS as error:
        if "\n" in str(error):
            return Outcome(kind, seed, "raw", f"{type(error).__name__} of several lines: {str(error)[:200]!r}")
        return Outcome(kind, seed, "refused")
    except Exception as error:  # whatever it is, it is what is looked for
        return Outcome(kind, seed, "raw", _place(error))
    return Outcome(kind, seed, "right")


def _place(error: Exception) -> str:
    """Type, message and the last line of ours that it came through."""
    ours = [f for f in traceback.extract_tb(error.__traceback__) if f"{os.sep}bench{os.sep}" not in f.filename]
    ours = [f for f in ours if "site-packages" not in f.filename] or ours
    at = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
    return f"{type(error).__name__} at {at}: {' '.join(str(error).split())[:120]}"


class Worker:
    """A child process that tries mutants, one at a time."""

    def __init__(self, operators: bool = False) -> None:
        """operators: whether models of one operator are among what it tries; their bases take seconds to build."""
        self.operators = operators
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, "--worker", *(["--operators"] if self.operators else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self._line(600.0) == b"ready\n", "the worker did not start"

    def _line(self, seconds: float) -> bytes | None:
        """What the child says next; b"" at its end, None where it says nothing in time."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        return self.process.stdout.readline() if ready else None

    def attempt(self, kind: str, seed: int) -> Outcome:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{kind} {seed}\n".encode())
        self.process.stdin.flush()
        line = self._line(SECONDS)
        if line:
            return Outcome(kind, seed, *json.loads(line))
        code = self.stop()
        self.start()
        return Outcome(kind, seed, "hang") if line is None else Outcome(kind, seed, "crash", f"exit {code}")

    def stop(self) -> int:
        """End the child; its exit code."""
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        return self.process.wait()


def serve(operators: bool) -> None:
    """The child: mutants from stdin, outcomes to stdout."""
    import _mutants

    _mutants.warm_up(operators)  # before the first clock runs: kernels are compiled at their first call

    if sys.platform.startswith("linux"):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what native code prints is no answer
    out.write(b"ready\n")
    for line in sys.stdin:
        kind, seed = line.split()
        found = attempt(kind, int(seed))
        out.write(json.dumps([found.what, found.where]).encode() + b"\n")


def run(mutants: Iterable[tuple[str, int]], workers: int = 1, operators: bool = False) -> Iterator[Outcome]:
    """The outcomes of mutants (kind, seed), in any order. operators: whether that kind is among them."""
    source, turn, found = iter(mutants), threading.Lock(), list[Outcome]()
    ready = threading.Condition()
    left = workers

    def work() -> None:
        nonlocal left
        worker = Worker(operators)
        try:
            while True:
                with turn:
                    mutant = next(source, None)
                if mutant is None:
                    return
                outcome = worker.attempt(*mutant)
                with ready:
                    found.append(outcome)
                    ready.notify()
        finally:
            worker.stop()
            with ready:
                left -= 1
                ready.notify()

    for _ in range(workers):
        threading.Thread(target=work, daemon=True).start()
    while True:
        with ready:
            while not found and left:
                ready.wait()
            if not found:
                return
            outcome = found.pop(0)
        yield outcome


def endless(kinds: Sequence[str], first: int, until: float) -> Iterator[tuple[str, int]]:
    seed = first
    while time.monotonic() < until:
        for kind in kinds:
            yield kind, seed
        seed += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--kinds", default="model,gradient,operator,card,image,options")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", help="KIND:SEED, tried in this process")
    parser.add_argument("--keep", type=Path, help="a file for the seeds of faults, one a line")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--operators", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        serve(given.operators)
        return
    if given.seed:
        from _mutants import KINDS

        kind, seed = given.seed.split(":")
        KINDS[kind](random.Random(f"{kind}:{seed}"))
        return
    counts: Counter[tuple[str, str]] = Counter()
    places: dict[str, list[Outcome]] = {}
    until = time.monotonic() + 60 * given.minutes
    kinds = given.kinds.split(",")
    for outcome in run(endless(kinds, given.first, until), given.workers, "operator" in kinds):
        counts[outcome.kind, outcome.what] += 1
        if outcome.is_fault:
            place = f"{outcome.what} {outcome.where.partition(': ')[0]}"
            places.setdefault(place, []).append(outcome)
            if given.keep:
                with given.keep.open("a") as file:
                    file.write(f"{outcome.kind}:{outcome.seed} {outcome.what} {outcome.where}\n")
    report(counts, places)


def report(counts: Counter[tuple[str, str]], places: dict[str, list[Outcome]]) -> None:
    whats = ("right", "refused", "raw", "crash", "hang")
    print(f"{'kind':<10}" + "".join(f"{what:>9}" for what in whats))
    for kind in sorted({kind for kind, _ in counts}):
        print(f"{kind:<10}" + "".join(f"{counts[kind, what]:>9}" for what in whats))
    for place, found in sorted(places.items(), key=lambda item: -len(item[1])):
        seeds = ", ".join(f"{one.kind}:{one.seed}" for one in found[:4])
        print(f"{len(found):>5}  {found[0].what}  {found[0].where or place}  ({seeds})")


if __name__ == "__main__":
    main()
