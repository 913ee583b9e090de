"""Forward pass and full input gradient: onnxray.vjp on ONNX Runtime against PyTorch autograd, same weights and threads.

    python bench/gradients.py [--batch 1,8] [--only resnet50,vit-s] [--rounds 15]
    python bench/gradients.py --batch 1 --threads 1 --processor

The second is for machines that others use as well: processor time, all threads together, in place of time that passes.
Baselines: PyTorch eager, eager in channels_last, torch.compile (needs a C++ compiler); the best of them counts. Also
the model's plain forward pass in ONNX Runtime, session creation, the size of the emitted file and the peak of resident
memory while it runs (each network in a process of its own). The result is compared first: L2 distance of the input
gradients, because single ReLU and MaxPool decisions flip on rounding.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import resource
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from _harness import compare, machine, processors

# Forward and gradient over forward. SqueezeNet's forward pass is convolutions of few channels between large maps.
LIMIT, LIMIT_OF_THIN = 2.3, 3.0


def measure(name: str, batch: int, threads: int, rounds: int, compiled: bool, pipe) -> None:
    """Figures of one network, sent through `pipe`."""
    warnings.filterwarnings("ignore")
    import torch  # isort: skip
    from networks import NETWORKS, build, export  # isort: skip

    import onnxray
    from onnxray.engine.inference.session import Session

    torch.set_num_threads(threads)
    module = build(name)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    data = export(name, module)
    figures: dict[str, object] = {"network": name, "batch": batch}
    started = time.perf_counter()
    model = onnxray.load(data)
    gradient = onnxray.vjp(model, of="y", wrt="x")
    figures["transform_s"] = time.perf_counter() - started
    started = time.perf_counter()
    session = Session(gradient, providers="cpu", threads=threads)
    figures["session_s"] = time.perf_counter() - started
    forward = Session(model, providers="cpu", threads=threads)
    figures["file_MB"] = gradient.proto.ByteSize() / 1e6
    figures["model_MB"] = len(data) / 1e6

    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, *NETWORKS[name].shape)).astype(np.float32)
    cotangent = np.zeros(module(torch.from_numpy(x)).shape, np.float32)
    cotangent[:, 1] = 1
    seed = torch.from_numpy(cotangent)

    def autograd(run, given: torch.Tensor):
        def call() -> torch.Tensor:
            leaf = given.detach().requires_grad_()
            run(leaf).backward(seed)
            return leaf.grad

        return call

    plain = torch.from_numpy(x)
    contenders = {
        "onnxray": lambda: session.run({"x": x, "cotangent/y": cotangent}, ["y", "grad/x"])["grad/x"],
        "forward": lambda: forward.run({"x": x})["y"],
        "eager": autograd(module, plain),
    }
    if len(NETWORKS[name].shape) == 3:
        last = build(name).to(memory_format=torch.channels_last)
        for parameter in last.parameters():
            parameter.requires_grad_(False)
        contenders["channels_last"] = autograd(last, plain.to(memory_format=torch.channels_last))
    if compiled:
        contenders["compile"] = autograd(torch.compile(module), plain)
    ours = contenders["onnxray"]()
    theirs = contenders["eager"]().numpy()
    figures["difference"] = float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
    if not figures["difference"] < 3e-2:
        raise SystemExit(f"wrong result: {name}: the gradients differ by {figures['difference']:.2g}")
    figures["memory_MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    times = compare(contenders, rounds=rounds, pause=0.02)
    pipe.send(
        {
            **figures,
            **{k: vars(t) for k, t in times.items()},
            "thin": NETWORKS[name].depthwise or name.startswith("squeezenet"),
        }
    )


def main() -> None:
    from networks import NETWORKS

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default=",".join(NETWORKS), help="networks, comma separated")
    parser.add_argument("--batch", default="1,8")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=processors())
    parser.add_argument("--compile", action="store_true", help="torch.compile as a baseline too")
    parser.add_argument("--processor", action="store_true", help="processor time, all threads together")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(f"gradients: forward + input gradient, ms\n{machine('onnxruntime-gpu', 'torch')}")
    what = "processor time, " if options.processor else ""
    print(f"{what}median of {options.rounds} interleaved rounds, {options.threads} threads\n")
    print(
        f"{'network':>16} batch onnxray  eager ch.last compile  x eager x best forward  / fwd limit "
        "transform session  file  peak"
    )
    rows = []
    context = multiprocessing.get_context("spawn")
    for batch in map(int, options.batch.split(",")):
        for name in options.only.split(","):
            near, far = context.Pipe()
            process = context.Process(
                target=measure, args=(name, batch, options.threads, options.rounds, options.compile, far)
            )
            process.start()
            far.close()
            try:
                row = near.recv()
            except EOFError:
                process.join()
                sys.exit(f"{name}: no figures")
            process.join()
            row["time"] = "processor" if options.processor else "median"
            rows.append(row)
            print(line(row), flush=True)
        mine = [r for r in rows if r["batch"] == batch]
        for against in ("eager", "best"):
            mean = math.exp(sum(math.log(ratio(r, against)) for r in mine) / len(mine))
            least = min(ratio(r, against) for r in mine)
            print(f"batch {batch}: {mean:.2f}x {against} in the geometric mean, at least {least:.2f}x")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine("onnxruntime-gpu", "torch"), "rows": rows}, indent=2))


BASELINES = ("eager", "channels_last", "compile")


def milliseconds(row: dict, name: str) -> float:
    return row[name][row["time"]] * 1e3 if name in row else math.nan


def ratio(row: dict, against: str) -> float:
    theirs = [milliseconds(row, b) for b in BASELINES if b in row]
    return (min(theirs) if against == "best" else milliseconds(row, "eager")) / milliseconds(row, "onnxray")


def line(row: dict) -> str:
    ours, *theirs = (milliseconds(row, k) for k in ("onnxray", *BASELINES))
    forward = milliseconds(row, "forward")
    limit = LIMIT_OF_THIN if row["thin"] else LIMIT
    return (
        f"{row['network']:>16} {row['batch']:>5} {ours:7.1f} {theirs[0]:6.1f} {theirs[1]:7.1f} {theirs[2]:7.1f}"
        f"  {ratio(row, 'eager'):6.2f} {ratio(row, 'best'):6.2f} {forward:7.1f}  {ours / forward:5.2f} {limit:5.1f}"
        f" {row['transform_s']:8.2f}s {row['session_s']:6.2f}s {row['file_MB']:5.0f} {row['memory_MB']:5.0f}"
    )


if __name__ == "__main__":
    main()
