"""The run: sections one after the other, each in a process of its own that is stopped at its deadline."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _device.copies import copies
from _device.equality import equality, tf32
from _device.experiments import experiments
from _device.folder import folder
from _device.methods import methods
from _device.placement import grouped, placements
from _device.rows import rows
from _device.sessions import CPU, measure, ort, why_not
from _device.speed import CASES, speed, speed_cases
from _device.subjects import exported, networks
from _device.tables import GRACE, Section, markdown, short, write
from _device.throughput import throughput
from _device.visualization import visualization

SCRIPT = Path(__file__).parent.parent / "device.py"
# Share of the time up to the end of each section; what one leaves over goes to the next.
SECTIONS = {
    "equality": 0.18,
    "placement": 0.25,
    "precision": 0.30,
    "speed": 0.50,
    "methods": 0.66,
    "rows": 0.74,
    "copies": 0.79,
    "visualization": 0.84,
    "experiments": 0.92,
    "throughput": 0.96,
    "folder": 1.0,
}
# What is run on every further provider that works here, and the share of all the time that each of these gets.
FURTHER, FURTHER_SHARE = ("equality", "speed", "visualization"), 0.12


WORK = {
    "equality": equality,
    "placement": placements,
    "precision": tf32,
    "speed": speed,
    "methods": methods,
    "copies": copies,
    "experiments": experiments,
    "folder": folder,
    "rows": rows,
    "throughput": throughput,
    "visualization": visualization,
}


def about(asked: argparse.Namespace) -> dict[str, Any]:
    """The machine, without making this process use the card: sections are forked from it."""
    found: dict[str, Any] = {"python": platform.python_version(), "onnxruntime": ort.__version__}
    try:
        import torch

        found["torch"] = torch.__version__
    except ImportError:
        found["torch"] = "not installed"
    try:
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        found["card"] = subprocess.run(query, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        found["card"] = "none"
    found["processors"] = len(os.sched_getaffinity(0))
    found["command"] = "python bench/device.py " + " ".join(sys.argv[1:])
    found["seconds"] = asked.seconds
    return found


def states(s: Section) -> None:
    """Which providers work, and why the others do not; in a process of its own, for it wakes the card."""
    for provider in ort.get_all_providers():
        reason = why_not(provider)
        if reason is None or provider in ort.get_available_providers():
            s.row("Providers", provider, usable=reason is None, reason=reason or "")


class Run:
    """All sections, one after the other, and the two files."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked, self.start = asked, time.monotonic()
        self.zoo = Path(asked.zoo) if asked.zoo else None
        self.work = Path(tempfile.mkdtemp(prefix="onnxray-device-"))
        self.file = self.work / "rows.jsonl"
        self.file.touch()
        self.about = about(asked)
        self.seen = -1
        self.notes: list[dict[str, Any]] = []

    def all(self) -> None:
        chosen = [name for name in SECTIONS if name in self.asked.only.split(",")]
        self.child(states, "providers", 30, "")
        first, *others = self.devices()
        warmers = self.prepare(chosen)
        begun = time.monotonic() - self.start
        left = self.asked.seconds - begun
        share = min(0.5, FURTHER_SHARE * len(others))
        self.sections(chosen, first, left * (1 - share), warmers)
        for number, provider in enumerate(others):
            until = self.asked.seconds - (time.monotonic() - self.start)
            fewer = [name for name in FURTHER if name in chosen]
            self.sections(fewer, provider, until / (len(others) - number), [])
        self.end(warmers, 0)
        self.save()
        shutil.rmtree(self.work, ignore_errors=True)

    def devices(self) -> list[str]:
        """The providers that work here, by the first section; the CPU only where there is no other."""
        found = [json.loads(line) for line in self.file.read_text().splitlines()]
        usable = [row["item"] for row in found if row["table"] == "Providers" and row.get("usable")]
        return [name for name in usable if name != CPU] or [CPU]

    def sections(self, chosen: list[str], provider: str, seconds: float, warmers: list[subprocess.Popen]) -> None:
        """The sections on one provider, each up to its share of the seconds; what one leaves over the next ones get."""
        total = sum(share - before for share, before in self.shares(chosen))
        done, begun = 0.0, time.monotonic()
        for name, (share, before) in zip(chosen, self.shares(chosen), strict=True):
            done += (share - before) / total
            if name == "speed":
                self.end(warmers, 20)
            at = begun + seconds * done
            started = time.monotonic()
            # A short run is there to try every section: those before may have taken longer than planned.
            self.child(WORK[name], name, max(at - started, 4.0 if self.asked.quick else 0.0), provider)
            self.notes.append({"section": name, "table": "Sections", "item": name,
                               "provider": provider.removesuffix("ExecutionProvider"),
                               "seconds": time.monotonic() - started, "planned": at - started})  # fmt: skip

    def shares(self, chosen: list[str]) -> list[tuple[float, float]]:
        """Where each section's part of the time ends and begins; in a short run all parts are alike."""
        ends = [n + 1.0 for n in range(len(SECTIONS))] if self.asked.quick else list(SECTIONS.values())
        at = [list(SECTIONS).index(name) for name in chosen]
        return [(ends[n], ends[n - 1] if n else 0.0) for n in at]

    def prepare(self, chosen: list[str]) -> list[subprocess.Popen]:
        """Export the networks side by side; start filling torch.compile's cache while results are compared."""
        wanted = {"precision", "speed", "methods", "rows", "copies", "visualization", "experiments"} & set(chosen)
        if not wanted or networks() is None:
            return []
        if self.asked.quick:
            jobs = [("resnet18", "float32")]
        else:
            cases = (CASES or speed_cases(False)) if "speed" in wanted else []
            jobs = [(n, d) for n, d, _ in cases]
            jobs += [(n, "float32") for n in ("resnet50", "vit-s", "mobilenetv2")]
        children = []
        for name, dtype in dict.fromkeys(jobs):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    import torch

                    torch.set_num_threads(2)
                    exported(name, dtype, self.work)
                    code = 0
                except BaseException as error:
                    print(f"export of {name} {dtype}: {short(error)}", file=sys.stderr)
                finally:
                    os._exit(code)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        if "speed" not in wanted or self.asked.no_compile or self.about["card"] in ("none", ""):
            return []
        with open(os.devnull, "w") as nowhere:
            return [
                subprocess.Popen(
                    [sys.executable, str(SCRIPT), "--warm", name, "--cases", self.asked.cases],
                    stdout=nowhere,
                    stderr=nowhere,
                )
                for name in ("resnet50", "vit-s")
            ]

    def end(self, warmers: list[subprocess.Popen], patience: float) -> None:
        until = time.monotonic() + patience
        for process in warmers:
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                self.notes.append({"section": "speed", "table": "Sections", "item": "torch.compile's cache",
                                   "error": "not filled in time"})  # fmt: skip
        del warmers[:]

    def child(self, work, name: str, seconds: float, provider: str) -> None:
        """Run a section in a process of its own, until its deadline and a little longer."""
        print(f"{time.monotonic() - self.start:6.1f} s  {name} {provider}, {seconds:.0f} s", flush=True)
        if seconds < 1:
            self.notes.append({"section": name, "table": "Sections", "item": name, "error": "not reached"})
            return
        deadline = time.monotonic() + seconds
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            code = 0
            section = Section(name, self.file, deadline, self.asked.quick, self.work, self.zoo, provider)
            if provider:
                measure(provider)
            try:
                work(section)
            except BaseException as error:
                section.row("Sections", name, error=short(error))
                code = 1
            finally:
                os._exit(code)
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                if os.WIFSIGNALED(status):
                    self.notes.append({"section": name, "table": "Sections", "item": name,
                                       "error": f"killed by signal {os.WTERMSIG(status)}"})  # fmt: skip
                break
            grace = 2.0 if self.asked.quick else GRACE
            if time.monotonic() > deadline + grace:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                self.notes.append({"section": name, "table": "Sections", "item": name,
                                   "error": f"stopped after {seconds + grace:.0f} s"})  # fmt: skip
                break
            self.save()
            time.sleep(0.2)
        self.save()

    def save(self) -> None:
        size = self.file.stat().st_size + len(self.notes)
        if size == self.seen:
            return
        self.seen = size
        rows = [json.loads(line) for line in self.file.read_text().splitlines()]
        rows = [*self.notes, *rows, *grouped(rows)]
        lines = [f"{key}: {content}  " for key, content in self.about.items()]
        out = self.asked.out
        out.parent.mkdir(parents=True, exist_ok=True)
        write(out.with_name(out.name + ".json"), json.dumps({"about": self.about, "rows": rows}) + "\n")
        write(out.with_name(out.name + ".md"), markdown("onnxray on this machine's providers", lines, rows))
