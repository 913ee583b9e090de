"""How fast are forward pass and input gradient, against PyTorch on the same card?"""

from __future__ import annotations

import gc
import time
from typing import Any

import numpy as np

from _device.judging import distance, timed
from _device.placement import placement
from _device.sessions import CUDA, Bound, device, options, session
from _device.subjects import exported, inputs, networks, one_hot
from _device.tables import Section, short


def speed_cases(quick: bool) -> list[tuple[str, str, int]]:
    if quick:
        return [("resnet18", "float32", 1)]
    first = [(n, d, b) for d in ("float32", "float16") for n in ("resnet50", "vit-s") for b in (8, 1, 64)]
    others = ("mobilenetv2", "convnext-t", "swin-t", "efficientnet-b0", "bert-small", "resnet18")
    then = [(n, d, b) for d, b in (("float32", 8), ("float32", 1), ("float16", 8), ("float32", 64)) for n in others]
    return first[:3] + first[3:6] + then[:6] + first[6:] + then[6:]


NO_COMPILE: list[bool] = []
CASES: list[tuple[str, str, int]] = []  # those asked for, instead of all
COMPILED = (("float16", 64), ("float32", 8), ("float32", 1), ("float32", 64))


def speed(s: Section) -> None:
    if networks() is None:
        s.row("Forward and input gradient", "all", error="not measured: PyTorch is not installed")
        return
    for name, dtype, batch in CASES or speed_cases(s.quick):
        label = f"{name} {dtype} batch {batch}"
        if not s.due("Forward and input gradient", label, 5 if device() == CUDA else 3):
            break
        with s.item("Forward and input gradient", label) as found:
            speed_case(s, found, name, dtype, batch)


def speed_case(s: Section, found: dict[str, Any], name: str, dtype: str, batch: int) -> None:
    import torch

    import onnxray

    provider = device()
    card = torch.device("cuda" if provider == CUDA and torch.cuda.is_available() else "cpu")
    x, seed = inputs(name, batch, dtype), one_hot(batch, 2 if name == "bert-small" else 1000, dtype)
    model = onnxray.load(exported(name, dtype, s.work))
    gradient = onnxray.vjp(model, of="y", wrt="x")
    feeds, shapes = {"x": x, "cotangent/y": seed}, {"y": (seed.shape, dtype), "grad/x": (x.shape, dtype)}

    def ours(**more: Any) -> Bound:
        fixed = {"batch": batch} if "enable_cuda_graph" in more else None
        with options(**more):
            made = session(gradient.proto, provider, fixed=fixed)
        bound = Bound(made, provider, feeds, shapes)
        bound()
        return bound

    start = time.perf_counter()
    bound = ours()
    found["first_s"] = time.perf_counter() - start  # session and first run
    forward = Bound(session(model.proto, provider), provider, {"x": x}, {"y": shapes["y"]})
    contenders: dict[str, Any] = {
        "forward": forward,
        "gradient": bound,
        "with host copies": lambda: bound.session.run(["y", "grad/x"], feeds),
    }
    errors: dict[str, str] = {}
    ways: dict[str, dict[str, Any]] = {"CUDA graph": {"enable_cuda_graph": 1}}
    if name not in ("vit-s", "bert-small", "swin-t"):
        ways["NHWC"] = {"prefer_nhwc": 1}
    for label, more in ways.items() if provider == CUDA else ():
        try:
            other = ours(**more)
            found[f"{label} distance"] = distance(other.numpy("grad/x"), bound.numpy("grad/x"))
            contenders[label] = other
        except Exception as error:
            errors[label] = short(error)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # as ONNX Runtime does by default
    compiled = not NO_COMPILE and (dtype, batch) in COMPILED and name in ("resnet50", "vit-s")
    theirs = peers_of(name, dtype, card, x, seed, compiled=compiled)
    for label, build in theirs.items():
        try:
            contenders[label] = build()
        except Exception as error:
            errors[label] = short(error)
    if "eager" in contenders:
        # Judged without TF32, which flips ReLU decisions of random networks by the dozen.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        reference = contenders["eager"]().detach().float().cpu().numpy()
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        strict = ours(use_tf32=0).numpy("grad/x") if provider == CUDA else bound.numpy("grad/x")
        found["distance"] = distance(strict.astype(np.float32), reference)
        found["TF32 distance"] = distance(bound.numpy("grad/x").astype(np.float32), reference)
        limit = 0.1 if dtype == "float16" else 3e-2
        found["ok"] = bool(found["distance"] < limit)
    times, more_errors = timed(contenders, min(2.5, max(1.0, s.left() / 8)))
    errors |= more_errors
    found |= times
    best = min((times[k] for k in ("eager", "channels_last", "compile") if k in times), default=None)
    mine = min((times[k] for k in ("gradient", "CUDA graph", "NHWC") if k in times), default=None)
    if best and mine:
        found["x eager"], found["x best"] = times["eager"] / times["gradient"], best / mine
    if errors:
        found["errors"] = "; ".join(f"{k}: {v}" for k, v in errors.items())
    if provider == CUDA and batch == 8:
        placed = placement(gradient.proto, provider, feeds)
        found |= {k: placed[k] for k in ("nodes", "on_cpu", "memcpy", "cpu")}
    contenders.clear()
    gc.collect()
    if card.type == "cuda":
        torch.cuda.empty_cache()


def peers_of(name: str, dtype: str, card, x: np.ndarray, seed: np.ndarray, compiled: bool) -> dict[str, Any]:
    """What makes a call of forward and gradient in PyTorch, by name; the call waits for the device and returns it."""
    import torch

    given, cotangent = torch.from_numpy(x).to(card), torch.from_numpy(seed).to(card)

    def module():
        made = networks().build(name).to(card, torch.from_numpy(x).dtype)
        for parameter in made.parameters():
            parameter.requires_grad_(False)
        return made

    def autograd(run, given):
        def call():
            leaf = given.detach().requires_grad_()
            run(leaf).backward(cotangent)
            if card.type == "cuda":
                torch.cuda.synchronize()
            return leaf.grad

        return call

    found = {"eager": lambda: autograd(module(), given)}
    if x.ndim == 4:
        last = torch.channels_last
        found["channels_last"] = lambda: autograd(module().to(memory_format=last), given.contiguous(memory_format=last))
    if compiled and card.type == "cuda":
        found["compile"] = lambda: autograd(torch.compile(module(), dynamic=False), given)
    return found


def warm(name: str) -> None:
    """Fill the cache of torch.compile with what the section `speed` will ask for."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    card = torch.device("cuda")
    for dtype, batch in COMPILED:
        if CASES and (name, dtype, batch) not in CASES:
            continue
        x, seed = inputs(name, batch, dtype), one_hot(batch, 1000, dtype)
        torch._dynamo.reset()
        peers_of(name, dtype, card, x, seed, True)["compile"]()()
