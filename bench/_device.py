"""What `bench/device.py` stands on: rows that survive a kill, sessions with provider options, profiles, placement.

Everything here that touches ONNX Runtime below onnxray's public interface is in the first part of the file.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

# ---- ONNX Runtime and the inside of onnxray: here and nowhere else ---------------------------------------------------

# Options that every session made on a provider gets, those that onnxray makes included (`options`).
_OPTIONS: dict[str, dict[str, str]] = {}
# First provider of every session made, the engine's own included: shows who runs where without being told.
MADE: list[str] = []


class _Session(ort.InferenceSession):
    """As ONNX Runtime's, with the options above; never answers by another provider than the one asked for."""

    def __init__(self, model: Any, sess_options: Any = None, providers: Any = None, **more: Any) -> None:
        names = [p if isinstance(p, str) else p[0] for p in providers or [CPU]]
        given = [(p, _OPTIONS[p]) if isinstance(p, str) and _OPTIONS.get(p) else p for p in providers or [CPU]]
        super().__init__(model, sess_options, providers=given, **{"enable_fallback": 0, **more})
        MADE.append(self.get_providers()[0])
        if self.get_providers()[0] != names[0]:
            raise RuntimeError(f"asked for {names[0]}, got {self.get_providers()[0]}")


ort.InferenceSession = _Session


@contextmanager
def options(**values: Any) -> Iterator[None]:
    """Within the block, sessions on CUDA are made with these provider options."""
    before = dict(_OPTIONS)
    _OPTIONS[CUDA] = {**_OPTIONS.get(CUDA, {}), **{k: str(v) for k, v in values.items()}}
    try:
        yield
    finally:
        _OPTIONS.clear()
        _OPTIONS.update(before)


def usable() -> list[str]:
    """The providers that onnxray finds usable here, the CPU last."""
    from onnxray.engine.session import providers

    return list(providers())


def why_not(provider: str) -> str | None:
    from onnxray.engine.session import unusable_reason

    return unusable_reason(provider)


def builtin() -> Path:
    from onnxray import models

    return models.path("builtin")


@contextmanager
def form_for(target: str) -> Iterator[None]:
    """Within the block, `vjp` writes convolutions' data gradients for "cpu" or "cuda"."""
    from onnxray.engine.gradients import convolution

    before = convolution.data_form.__defaults__
    convolution.data_form.__defaults__ = (target,)
    try:
        yield
    finally:
        convolution.data_form.__defaults__ = before


COMMAND = "from onnxray.cli.main import main; main()"


def session(proto: Any, provider: str, *, folder: Path | None = None, fixed: Mapping[str, int] | None = None, **more):
    """A plain ONNX Runtime session. `fixed`: sizes of symbolic axes; `profile`: the stem of its profile's file;
    `verbose`: it writes its placement to stderr; `threads`; `fallback`: ONNX Runtime's own, to the CPU."""
    settings = ort.SessionOptions()
    settings.log_severity_level = 0 if more.get("verbose") else 4
    settings.intra_op_num_threads = more.get("threads") or len(os.sched_getaffinity(0))
    if folder:
        settings.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    for name, size in (fixed or {}).items():
        settings.add_free_dimension_override_by_name(name, size)
    if more.get("profile"):
        settings.enable_profiling = True
        settings.profile_file_prefix = str(more["profile"])
    data = proto if isinstance(proto, bytes) else proto.SerializeToString()
    chosen = [provider] if provider == CPU else [provider, CPU]
    return ort.InferenceSession(data, settings, providers=chosen, enable_fallback=int(more.get("fallback", 0)))


def where(provider: str) -> str:
    return "cuda" if provider == CUDA else "cpu"


def value(array: np.ndarray, provider: str) -> Any:
    return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), where(provider), 0)


class Bound:
    """A session with its inputs and outputs bound to memory of its device, once: what a call then costs is the run."""

    def __init__(self, made: Any, provider: str, feeds: Mapping[str, Any], outputs: Mapping[str, tuple[Any, Any]]):
        self.session, self.binding = made, made.io_binding()
        self.feeds = {n: x if isinstance(x, ort.OrtValue) else value(x, provider) for n, x in feeds.items()}
        self.outputs = {
            name: ort.OrtValue.ortvalue_from_shape_and_type(list(shape), np.dtype(dtype), where(provider), 0)
            for name, (shape, dtype) in outputs.items()
        }
        for name, x in self.feeds.items():
            self.binding.bind_ortvalue_input(name, x)
        for name, x in self.outputs.items():
            self.binding.bind_ortvalue_output(name, x)

    def __call__(self) -> None:
        self.session.run_with_iobinding(self.binding)

    def numpy(self, name: str) -> np.ndarray:
        return self.outputs[name].numpy()


@contextmanager
def overheard() -> Iterator[list[str]]:
    """Collects what native code writes to stdout and stderr."""
    said: list[str] = []
    with tempfile.TemporaryFile() as file:
        saved = [(n, os.dup(n)) for n in (1, 2)]
        for number, _ in saved:
            os.dup2(file.fileno(), number)
        try:
            yield said
        finally:
            for number, copy in saved:
                os.dup2(copy, number)
                os.close(copy)
            file.seek(0)
            said.append(file.read().decode(errors="replace"))


# ---- placement -------------------------------------------------------------------------------------------------------

_NO_KERNEL = re.compile(r"kernel not found in registries for Op type: (\S+) node name: (.*)")
_CHEAP = re.compile(r"Force fallback to CPU execution for node: (.*?) because")
_DROPPED = re.compile(r"Dropping the \w+ node: (\S+) to CPU")
_COPIES = re.compile(r"(\d+) Memcpy nodes are added to the graph (\S+)")


def placement(proto: Any, provider: str, feeds: Mapping[str, np.ndarray], runs: int = 6, **more) -> dict[str, Any]:
    """Where ONNX Runtime runs the nodes of a graph, and what those on the CPU cost.

    nodes, on_cpu, memcpy: executed nodes, by the profile. cpu: (rule, operator, reason) -> nodes; `rule` is the forward
    operator whose gradient emitted the node, "forward" for the model's own. ms, cpu_ms, copy_ms: of one run, the median
    one after the first; time of nodes on a GPU is what launching them took, of copies it includes waiting for the GPU.
    outputs: of the first run.
    """
    with tempfile.TemporaryDirectory() as folder:
        with overheard() as said:
            if provider != CPU:
                ort.set_default_logger_severity(2)
                session(proto, provider, verbose=True, **more)  # of its own: what it writes would slow the runs
                ort.set_default_logger_severity(4)
        made = session(proto, provider, profile=Path(folder) / "p", **more)
        outputs = [o.name for o in made.get_outputs()]
        feeds = {i.name: feeds[i.name] for i in made.get_inputs() if i.name in feeds}
        with overheard():
            got = made.run(outputs, feeds)
            for _ in range(runs - 1):
                made.run(outputs, feeds)
            events = json.loads(Path(made.end_profiling()).read_text())
    text = "".join(said)
    reasons = {name.strip(): "no kernel" for _, name in _NO_KERNEL.findall(text)}
    reasons |= {name.strip(): "cheap on the CPU, says ONNX Runtime" for name in _CHEAP.findall(text)}
    reasons |= dict.fromkeys(_DROPPED.findall(text), "its attributes")
    rule = rules_of(proto)
    nodes: dict[str, tuple[str, str]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            args = event["args"]
            nodes[event["name"].removesuffix("_kernel_time")] = args["op_name"], args.get("provider", "")
    # A run's own event comes after those of its nodes.
    now: Counter[str] = Counter()
    rounds: list[dict[str, float]] = []
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            op, ran = event["args"]["op_name"], event["args"].get("provider", "")
            now["copy" if op.startswith("Memcpy") else "cpu" if ran == CPU else "device"] += event["dur"]
        if event.get("cat") == "Session" and event["name"] == "model_run":
            rounds.append({**now, "all": event["dur"]})
            now = Counter()
    rounds = sorted(rounds[1:] or rounds, key=lambda r: r["all"])
    middle = rounds[len(rounds) // 2] if rounds else {}
    fallen = Counter(
        (rule(name), op, reasons.get(name, "?"))
        for name, (op, ran) in nodes.items()
        if provider != CPU and ran == CPU and not op.startswith("Memcpy")
    )
    return {
        "nodes": len(nodes),
        "on_cpu": sum(fallen.values()),
        "memcpy": sum(op.startswith("Memcpy") for op, _ in nodes.values()),
        "memcpy_said": sum(int(n) for n, _ in _COPIES.findall(text)),
        "cpu": [[*key, count] for key, count in sorted(fallen.items())],
        "ms": middle.get("all", 0) / 1e3,
        "cpu_ms": middle.get("cpu", 0) / 1e3,
        "copy_ms": middle.get("copy", 0) / 1e3,
        "outputs": dict(zip(outputs, got, strict=True)),
        "log": text,
    }


def rules_of(proto: onnx.ModelProto) -> Callable[[str], str]:
    """Of a node's name in a gradient graph, the forward operator whose rule emitted it: "grad/<value>/..."."""
    makers: dict[str, str] = {}

    def collect(graph: onnx.GraphProto) -> None:
        for node in graph.node:
            makers.update((o, node.op_type) for o in node.output if o)
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    collect(attribute.g)

    if isinstance(proto, bytes):
        proto = onnx.load_from_string(proto)
    collect(proto.graph)
    inputs = {i.name for i in proto.graph.input}

    def rule(name: str) -> str:
        if not name.startswith("grad/"):
            return "forward"
        parts = name.split("/")
        for end in range(len(parts) - 1, 1, -1):
            about = "/".join(parts[1:end])
            if about in makers:
                return makers[about]
            if about in inputs:
                return "(sum at an input)"
        return "(shared)"

    return rule


# ---- comparing -------------------------------------------------------------------------------------------------------

# L2 distance over L2 norm: forward, gradient. Gradients differ more: ReLU and MaxPool decisions flip on rounding.
TOLERANCE = {"float64": (1e-10, 1e-8), "float32": (1e-4, 1e-3), "float16": (1e-2, 5e-2), "bfloat16": (5e-2, 2e-1)}


def distance(a: Any, b: Any) -> float:
    """L2 distance of `a` from `b` over the norm of `b`; what is no float has to be the same (0 or infinity)."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return float("inf")
    if b.dtype.kind not in "fV" or a.dtype.kind == "O":
        return 0.0 if np.array_equal(a, b) else float("inf")
    a, b = a.astype(np.float64), b.astype(np.float64)
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return float("nan")
    same = a == b  # infinities too
    with np.errstate(invalid="ignore"):
        off = np.where(same, 0.0, np.nan_to_num(a) - np.nan_to_num(b))
    norm = np.linalg.norm(np.nan_to_num(b, posinf=0, neginf=0))
    return float(np.linalg.norm(off) / norm) if norm else float(np.linalg.norm(off))


# ---- timing ----------------------------------------------------------------------------------------------------------


def timed(contenders: Mapping[str, Callable[[], Any]], seconds: float, most: int = 40) -> tuple[dict, dict[str, str]]:
    """Medians in ms of interleaved rounds that fit into `seconds`, and the errors of those that could not run.

    What takes longer than half of `seconds` by itself is timed once, after its first call.
    """
    from _harness import compare

    able, slow, errors, each = {}, {}, {}, 0.0
    for name, call in contenders.items():
        try:
            call()
            start = time.perf_counter()
            call()
            took = time.perf_counter() - start
            if took > seconds / 2:
                slow[name] = took * 1e3
                continue
            each += max(took, 2e-3)
            able[name] = call
        except Exception as error:
            errors[name] = short(error)
    if not able:
        return slow, errors
    rounds = int(np.clip(seconds / each, 3, most))
    found = compare(able, rounds=rounds, warm=1)
    return {**{name: t.median * 1e3 for name, t in found.items()}, **slow}, errors


def short(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]


# ---- rows ------------------------------------------------------------------------------------------------------------


class Section:
    """One section of the run, in a process of its own: its rows go to a file line by line, so that a kill keeps them.

    `deadline` is a time.monotonic(). `quick`: small sizes, to try the script.
    """

    def __init__(self, name: str, file: Path, deadline: float, quick: bool, work: Path, zoo: Path | None) -> None:
        self.name, self.file, self.deadline, self.quick, self.work, self.zoo = name, file, deadline, quick, work, zoo

    def left(self) -> float:
        return self.deadline - time.monotonic()

    def row(self, table: str, item: str, **fields: Any) -> None:
        line = json.dumps({"section": self.name, "table": table, "item": item, **fields}, default=_plain)
        descriptor = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, (line + "\n").encode())  # one write: several processes may append
        finally:
            os.close(descriptor)

    @contextmanager
    def item(self, table: str, item: str, need: float = 1.0, **fields: Any) -> Iterator[dict[str, Any]]:
        """One row: fill the mapping that it yields. Any error becomes the row's `error`."""
        found: dict[str, Any] = dict(fields)
        try:
            yield found
        except Exception as error:
            found["error"] = short(error)
            found["trace"] = traceback.format_exc()[-1500:]
        self.row(table, item, **found)

    def due(self, table: str, item: str, need: float, **fields: Any) -> bool:
        """Whether there is time for an item of `need` seconds; if not, the row says that it was not measured."""
        if self.left() >= need:
            return True
        self.row(table, item, **fields, error="not measured: no time left")
        return False


def _plain(thing: Any) -> Any:
    if isinstance(thing, np.generic):
        return thing.item()
    if isinstance(thing, np.ndarray):
        return thing.tolist()
    return str(thing)


def write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


def markdown(title: str, about: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as tables, one per `table`; long lists and traces are left to the JSON."""
    lines = [f"# {title}", "", *about]
    for table in dict.fromkeys(row["table"] for row in rows):
        mine = [row for row in rows if row["table"] == table]
        hidden = {"section", "table", "trace", "cpu", "sample", "list"}
        columns = [c for c in dict.fromkeys(c for row in mine for c in row) if c not in hidden]
        lines += ["", f"## {table}", "", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        for row in mine:
            lines.append("| " + " | ".join(_cell(row.get(c)) for c in columns) + " |")
    return "\n".join(lines) + "\n"


def _cell(thing: Any) -> str:
    if thing is None:
        return ""
    if isinstance(thing, float):
        return f"{thing:.3g}" if abs(thing) < 1000 else f"{thing:.0f}"
    return str(thing).replace("|", "\\|").replace("\n", " ")[:160]
