"""What is copied between host and device in a call, and how much of the card's memory is taken?"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from _device.sessions import CUDA, Bound, device, options, session
from _device.speed import peers_of
from _device.subjects import exported, inputs, networks, one_hot
from _device.tables import Section


def activity(call) -> dict[str, Any]:
    """What a call does on the card, by CUPTI's record: copies between host and device, kernels, wall time."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    call()
    call()
    start = time.perf_counter()
    call()
    wall = time.perf_counter() - start
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as recorded:
        torch.zeros(1, device="cuda")
        call()
        torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(file))
        events = json.loads(file.read_text())["traceEvents"]
    found: dict[str, Any] = {"ms": wall * 1e3}
    for label, part in (("to device", "HtoD"), ("to host", "DtoH"), ("on device", "DtoD")):
        mine = [e for e in events if e.get("cat") == "gpu_memcpy" and part in e["name"]]
        found[f"copies {label}"] = len(mine)
        found[f"MB {label}"] = sum(e["args"].get("bytes", 0) for e in mine) / 1e6
        found[f"ms {label}"] = sum(e["dur"] for e in mine) / 1e3
    work = [e for e in events if e.get("cat") == "kernel"]
    found["kernels"], found["ms kernels"] = len(work), sum(e["dur"] for e in work) / 1e3
    return found


def copies(s: Section) -> None:
    provider = device()
    if provider != CUDA or networks() is None:
        s.row("Copies in one call", "all", error="not measured: needs CUDA and PyTorch's profiler")
        return
    import torch

    import onnxray

    name = "resnet50"
    model = onnxray.load(exported(name, "float32", s.work))
    gradient = onnxray.vjp(model, of="y", wrt="x").proto
    x, seed = inputs(name, 8), one_hot(8)
    one = x[:1]
    running = {"providers": "cuda"}
    shapes = {"y": ((8, 1000), "float32"), "grad/x": (x.shape, "float32")}
    bound = Bound(session(gradient, provider), provider, {"x": x, "cotangent/y": seed}, shapes)
    plain = bound.session
    torch.zeros(1, device="cuda")
    calls = {
        "gradient graph, batch 8, bound on the device": bound,
        "gradient graph, batch 8, arrays in and out": lambda: plain.run(None, {"x": x, "cotangent/y": seed}),
        "explain gradient": lambda: onnxray.explain(model, one, "gradient", 1, **running),
        "explain grad-cam": lambda: onnxray.explain(model, one, "grad-cam", 1, **running),
        "explain integrated-gradients, 50 steps": lambda: onnxray.explain(
            model, one, "integrated-gradients", 1, **running
        ),
        "explain occlusion, patch 32, stride 16": lambda: onnxray.explain(
            model, one, "occlusion", 1, patch=32, stride=16, **running
        ),
        "explain rise, 1000 masks": lambda: onnxray.explain(model, one, "rise", 1, masks=1000, **running),
        "explain score-cam, 256 channels": lambda: onnxray.explain(model, one, "score-cam", 1, channels=256, **running),
        "explain ablation-cam": lambda: onnxray.explain(model, one, "ablation-cam", 1, **running),
    }
    for label, call in calls.items():
        if s.due("Copies in one call", f"{name}: {label}", 2):
            with s.item("Copies in one call", f"{name}: {label}") as found:
                found |= activity(call)
    memory(s, name)


def memory(s: Section, name: str) -> None:
    """Memory of the card that a gradient takes: the arena of ONNX Runtime, the cache of PyTorch."""
    import torch

    import onnxray

    gradient = onnxray.vjp(onnxray.load(exported(name, "float32", s.work)), of="y", wrt="x").proto
    for batch in (1, 64):
        if not s.due("Memory of the card, MB", f"{name} batch {batch}", 4):
            return
        with s.item("Memory of the card, MB", f"{name} float32, forward and gradient, batch {batch}") as found:
            x, seed = inputs(name, batch), one_hot(batch)
            shapes = {"y": (seed.shape, "float32"), "grad/x": (x.shape, "float32")}
            for label, more in (("onnxray", {}), ("onnxray, arena as requested",
                                                  {"arena_extend_strategy": "kSameAsRequested"})):  # fmt: skip
                before = torch.cuda.mem_get_info()[0]
                with options(**more):
                    bound = Bound(session(gradient, CUDA), CUDA, {"x": x, "cotangent/y": seed}, shapes)
                bound()
                found[label] = (before - torch.cuda.mem_get_info()[0]) / 1e6
                del bound
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            call = peers_of(name, "float32", torch.device("cuda"), x, seed, False)["eager"]()
            call()
            found["PyTorch eager, reserved"] = torch.cuda.max_memory_reserved() / 1e6
            found["PyTorch eager, allocated"] = torch.cuda.max_memory_allocated() / 1e6
            del call
            torch.cuda.empty_cache()
