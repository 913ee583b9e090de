"""Where ONNX Runtime runs the nodes of gradient graphs, which of them fall back to the CPU, and what that costs."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from _device.judging import TOLERANCE, distance
from _device.sessions import CPU, device, options, ort, overheard, session
from _device.tables import Section

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


QUICK_CASES = ("t_resnet_basic_op17", "t_lstm_op13", "hf_vit_op17", "k_cnn_op17")
WORKERS = 5  # processes of the section `placement`


def placements(s: Section) -> None:
    if s.zoo is None:
        s.row("Gradient graphs of the framework cases", "all", error="not measured: no zoo")
        return
    root = s.zoo / "frameworks"
    cases = sorted(p.name for p in root.iterdir() if (p / "meta.json").exists())
    cases = [c for c in cases if not s.quick or c in QUICK_CASES]
    # Forked before this process has woken the card, which a child could not use then.
    workers = 1 if s.quick else max(1, min(WORKERS, len(os.sched_getaffinity(0)) // 2))
    children = []
    for number in range(workers):
        child = os.fork()
        if child == 0:
            try:
                provider = device()
                for case in cases[number::workers]:
                    if s.due("Gradient graphs of the framework cases", case, 1):
                        framework_case(s, root / case, provider)
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


def framework_case(s: Section, path: Path, provider: str) -> None:
    import onnxray

    with s.item("Gradient graphs of the framework cases", path.name) as found, np.load(path / "io.npz") as stored:
        stored = {k: stored[k] for k in stored.files}
        feeds = {k[3:]: v for k, v in stored.items() if k.startswith("in:")}
        of = [k[4:] for k in stored if k.startswith("cot:")]
        wrt = [k.partition(":")[2] for k in stored if k.startswith(("grad:", "gradmid:"))]
        model = onnxray.load(path / "model.onnx")
        if of and wrt:
            try:
                model = onnxray.vjp(model, of=of, wrt=wrt)
            except onnxray.OnnxrayError as error:
                found["note"] = f"no gradient: {str(error)[:60]}"
        feeds |= {f"cotangent/{n}": stored[f"cot:{n}"] for n in of}
        found["nodes"] = None
        folder = getattr(model, "folder", None)
        made = session(model.proto, CPU, folder=folder, threads=2)
        names = [o.name for o in made.get_outputs()]
        expected = made.run(names, {i.name: feeds[i.name] for i in made.get_inputs() if i.name in feeds})
        with options(use_tf32=0, cudnn_conv_algo_search="HEURISTIC"):
            placed = placement(model.proto, provider, feeds, folder=folder, threads=2)
        worst, ok = {"forward": 0.0, "gradient": 0.0}, True
        for name, want in zip(names, expected, strict=True):
            got = placed["outputs"][name]
            if not isinstance(want, np.ndarray):
                continue
            kind = "gradient" if name.startswith("grad/") else "forward"
            off = distance(got, want)
            limit = TOLERANCE.get(want.dtype.name, (0.0, 0.0))[kind == "gradient"]
            ok &= bool(off <= limit)
            worst[kind] = max(worst[kind], off) if off == off else off
            about = [f"{part}:{name[5:]}" for part in ("grad64", "gradmid64", "grad", "gradmid")]
            reference = next((stored[k] for k in about if k in stored), None)
            if kind == "gradient" and reference is not None:
                found["of reference"] = max(found.get("of reference", 0.0), distance(got, reference))
                found["CPU of reference"] = max(found.get("CPU of reference", 0.0), distance(want, reference))
        found |= worst | {"ok": ok}
        found |= {k: placed[k] for k in ("nodes", "on_cpu", "memcpy", "memcpy_said", "ms", "cpu_ms", "copy_ms", "cpu")}
        if not ok:
            found["sample"] = placed["log"][-1500:]


def grouped(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Nodes on the CPU over all gradient graphs, by gradient rule, operator and reason."""
    found: dict[tuple[str, str, str], list[Any]] = {}
    for row in rows:
        if row["section"] not in ("placement", "speed"):
            continue
        for rule, op, reason, count in row.get("cpu") or ():
            entry = found.setdefault((rule, op, reason), [0, set()])
            entry[0] += count
            entry[1].add(row["item"])
    return [
        {
            "section": "placement",
            "table": "Nodes on the CPU, by the gradient rule that emitted them",
            "item": rule,
            "operator": op,
            "reason": reason,
            "nodes": nodes,
            "graphs": len(items),
            "for instance": ", ".join(sorted(items)[:3]),
        }
        for (rule, op, reason), (nodes, items) in sorted(found.items(), key=lambda e: -len(e[1][1]))
    ]
