"""onnxray on every provider that works here: the same results as on the CPU, how fast, what is copied, what falls back.

    python bench/device.py [--seconds 440] [--out device] [--zoo FOLDER] [--only equality,speed] [--quick]

Writes OUT.json and OUT.md as it goes, each under a temporary name first. Sections run in order of importance, each in a
process of its own that is stopped at its deadline; what was not reached is said. Without a GPU it runs in the same form
on the CPU provider; `--quick` ends in 90 seconds on two processors. FOLDER is the zoo (else $ONNXRAY_ZOO); PyTorch,
captum and grad-cam are compared with where they are installed.

equality    every method, compiled models and gradients on the provider against the CPU, without TF32 and with it
placement   the gradient graphs of all framework cases: results, nodes on the CPU by gradient rule, copies
speed       forward, forward and gradient against PyTorch on the same card: batch 1, 8, 64, fp32, fp16, CUDA graphs
methods     methods of `onnxray.explain` against captum and pytorch-grad-cam
copies      copies between host and device in a method, from CUPTI's activity record; memory
experiments occluded copies made on the device, values that stay there, provider options
folder      `onnxray explain` on a folder of images against the bare forward pass
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from _device import (
    COMMAND,
    CPU,
    CUDA,
    MADE,
    TOLERANCE,
    Bound,
    Section,
    builtin,
    distance,
    form_for,
    markdown,
    options,
    ort,
    overheard,
    placement,
    session,
    short,
    timed,
    usable,
    value,
    where,
    why_not,
    write,
)

warnings.filterwarnings("ignore")

# Share of the time up to the end of each section; what one leaves over goes to the next.
SECTIONS = {
    "equality": 0.20,
    "placement": 0.28,
    "precision": 0.34,
    "speed": 0.57,
    "methods": 0.76,
    "copies": 0.82,
    "experiments": 0.93,
    "folder": 1.0,
}
GRACE = 6.0  # seconds that a section gets to end an item
WORKERS = 5  # processes of the section `placement`


def device() -> str:
    """The provider that is measured: the best one that works here."""
    return usable()[0]


def networks():
    """bench/networks.py, or None where PyTorch is not installed."""
    try:
        import networks as found
    except ImportError:
        return None
    return found


def exported(name: str, dtype: str, work: Path) -> Path:
    """A benchmark network as a file, made once. float16: the module itself in half precision."""
    path = work / f"{name}-{dtype}.onnx"
    if not path.exists():
        found = networks()
        import torch

        module = found.build(name)
        half = dtype == "float16"
        file = tempfile.NamedTemporaryFile(dir=work, delete=False)  # noqa: SIM115
        batch = {"x": {0: "batch"}, "y": {0: "batch"}}
        module = module.half() if half else module
        x = torch.zeros(1, *found.NETWORKS[name].shape, dtype=torch.float16 if half else torch.float32)
        names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": batch}
        torch.onnx.export(module, (x,), file.name, opset_version=17, dynamo=False, **names)
        os.replace(file.name, path)
    return path


def inputs(name: str, batch: int, dtype: str = "float32") -> np.ndarray:
    shape = networks().NETWORKS[name].shape
    return np.random.default_rng(0).standard_normal((batch, *shape)).astype(dtype)


# ---- equality --------------------------------------------------------------------------------------------------------

FEWER = {
    "rise": {"masks": 256},
    "lime": {"samples": 200},
    "kernel-shap": {"samples": 200},
    "sobol": {"designs": 4},
    "integrated-gradients": {"steps": 16},
    "smoothgrad": {"samples": 6},
    "smoothgrad-squared": {"samples": 6},
    "vargrad": {"samples": 6},
    "score-cam": {"channels": 32},
}
MODELS = ("builtin", "vit_mnist", "mobilenet_v1_025_224", "resnet20_cifar10", "mobilenet_v2_int8_qdq_nhwc")


def equality(s: Section) -> None:
    import onnxray

    provider = device()
    for name in MODELS[: 1 if s.quick else None]:
        if name != "builtin" and (s.zoo is None or not (s.zoo / "models" / f"{name}.onnx").exists()):
            s.row("Methods, against the CPU provider", name, error="not measured: no zoo")
            continue
        path = builtin() if name == "builtin" else s.zoo / "models" / f"{name}.onnx"
        with s.item("Models", name) as found:
            model = onnxray.load(path)
            x = example(model)
            found["input"] = str(list(x.shape))
        if "error" in found:
            continue
        each_method(s, name, model, x, provider)
        if name == "builtin":
            each_compiled(s, model, x, provider)


def example(model) -> np.ndarray:
    """A ready tensor for a model of images: smooth noise, seeded, in the units that the model is fed."""
    declared = model.inputs[0]
    shape = [d if isinstance(d, int) else 1 for d in declared.shape]
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    for axis in [i for i, d in enumerate(shape) if d > 8]:
        x = sum(np.roll(x, k, axis) for k in range(5)) / 2
    if declared.dtype == np.uint8:
        return np.clip(128 + 60 * x, 0, 255).astype(np.uint8)
    return x.astype(declared.dtype)


def each_method(s: Section, name: str, model, x: np.ndarray, provider: str) -> None:
    import onnxray

    table = "Methods, against the CPU provider"
    for method in onnxray.methods():
        if not s.due(table, name, 2, method=method):
            break
        with s.item(table, name, method=method) as found, options(use_tf32=0, cudnn_conv_algo_search="HEURISTIC"):
            more = FEWER.get(method, {})
            start = time.perf_counter()
            try:
                expected = onnxray.explain(model, x, method, providers="cpu", **more)
            except onnxray.OnnxrayError as error:
                found["note"] = f"refused: {str(error)[:80]}"
                continue
            found["cpu_s"] = time.perf_counter() - start
            del MADE[:]
            start = time.perf_counter()
            got = onnxray.explain(model, x, method, providers=where(provider), **more)
            found["device_s"] = time.perf_counter() - start
            found["on_cpu"] = f"{MADE.count(CPU)} of {len(MADE)} sessions" if provider != CPU else ""
            found["distance"] = distance(got.values, expected.values)
            found["score"] = abs(got.score - expected.score) / max(abs(expected.score), 1e-12)
            found["ok"] = bool(found["distance"] <= TOLERANCE["float32"][1] and str(got.target) == str(expected.target))


def each_compiled(s: Section, model, x: np.ndarray, provider: str) -> None:
    import onnxray

    table = "Compiled models, against the CPU provider"
    for method, cls in onnxray.methods().items():
        if not cls.can_be_compiled() or (s.quick and method not in ("grad-cam", "gradient")):
            continue
        if not s.due(table, "builtin", 2, method=method):
            break
        with s.item(table, "builtin", method=method) as found, options(use_tf32=0):
            more = {k: v for k, v in FEWER.get(method, {}).items() if k in ("steps", "samples")}
            try:
                proto = onnxray.compile(model, method, **more).proto
            except onnxray.OnnxrayError as error:
                found["note"] = f"refused: {str(error)[:80]}"
                continue
            feeds = {model.inputs[0].name: x}
            expected = session(proto, CPU).run(["saliency_map"], feeds)[0]
            placed = placement(proto, provider, feeds, runs=3)
            found["distance"] = distance(placed["outputs"]["saliency_map"], expected)
            found |= {k: placed[k] for k in ("nodes", "on_cpu", "memcpy", "ms", "cpu")}
            found["ok"] = bool(found["distance"] <= TOLERANCE["float32"][1])


def tf32(s: Section) -> None:
    """How far TF32, ONNX Runtime's default on CUDA, takes results from those of the CPU."""
    import onnxray

    for name in ("mobilenet_v2_100_224", "mobilenet_v1_025_224") if s.zoo else ():
        if not s.due("Gradient graphs of trained networks, batch 8", name, 5):
            break
        with s.item("Gradient graphs of trained networks, batch 8", name) as found:
            model = onnxray.load(s.zoo / "models" / f"{name}.onnx")
            output, given = model.outputs[0].name, model.inputs[0].name
            gradient = onnxray.vjp(model, of=output, wrt=given).proto
            x = np.repeat(example(model), 8, 0)
            feeds = {given: x, f"cotangent/{output}": one_hot(8, model.outputs[0].shape[-1])}
            start = time.perf_counter()
            placed = placement(gradient, device(), feeds)
            found["seconds"] = time.perf_counter() - start
            found |= {k: placed[k] for k in ("nodes", "on_cpu", "memcpy", "ms", "cpu_ms", "copy_ms", "cpu")}
    found_networks = networks() if device() == CUDA else None
    if found_networks is None:
        s.row("TF32", "all", error="not measured: needs CUDA and PyTorch")
    for name in ("resnet50", "vit-s", "mobilenetv2") if found_networks else ():
        if not s.due("TF32", name, 5):
            break
        with s.item("TF32", name) as found:
            model = onnxray.load(exported(name, "float32", s.work))
            gradient = onnxray.vjp(model, of="y", wrt="x").proto
            x = inputs(name, 2)
            feeds = {"x": x, "cotangent/y": one_hot(2)}
            expected = session(gradient, CPU).run(["y", "grad/x"], feeds)
            for use in (0, 1):
                with options(use_tf32=use):
                    got = session(gradient, CUDA).run(["y", "grad/x"], feeds)
                label = "TF32" if use else "fp32"
                found[f"forward {label}"] = distance(got[0], expected[0])
                found[f"gradient {label}"] = distance(got[1], expected[1])


def one_hot(batch: int, classes: int = 1000, dtype: str = "float32") -> np.ndarray:
    seed = np.zeros((batch, classes), dtype)
    seed[:, 1] = 1
    return seed


# ---- placement -------------------------------------------------------------------------------------------------------

QUICK_CASES = ("t_resnet_basic_op17", "t_lstm_op13", "hf_vit_op17", "k_cnn_op17")


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


# ---- speed -----------------------------------------------------------------------------------------------------------


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


# ---- methods ---------------------------------------------------------------------------------------------------------


def methods(s: Section) -> None:
    if networks() is None:
        s.row("Methods, ms", "all", error="not measured: PyTorch is not installed")
        return
    import peers
    import torch

    import onnxray

    provider = device()
    card = torch.device("cuda" if provider == CUDA and torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    name = "resnet18" if s.quick else "resnet50"
    model = onnxray.load(exported(name, "float32", s.work))
    module = networks().build(name).to(card)
    x = inputs(name, 1)
    tensor = torch.from_numpy(x).to(card)
    target = int(module(tensor).argmax())
    layer = peers.pooled_layer(module)
    running = {"providers": where(provider)}

    def waits(call):
        def done():
            found = call()
            if card.type == "cuda":
                torch.cuda.synchronize()
            return found.detach().cpu().numpy() if hasattr(found, "detach") else found

        return done

    def explained(method: str, batch: int = 1, heat: bool = False, **more: Any):
        rows = np.repeat(x, batch, 0)

        def call():
            found = onnxray.explain(model, rows, method, target, **running, **more)
            return [e.heatmap for e in found] if heat and batch > 1 else found.heatmap if heat else found

        return call

    def peer(make):
        try:
            return waits(make())
        except Exception as error:
            said = short(error)

            def broken():
                raise RuntimeError(said)

            return broken

    attr = functools.cache(peers.captum)
    cam = functools.cache(peers.grad_cam)

    def their_cam(kind: str, batch: int = 1):
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        made = getattr(cam(), kind)(model=module, target_layers=[layer])
        many = tensor.repeat(batch, 1, 1, 1)
        return lambda: made(input_tensor=many, targets=[ClassifierOutputTarget(target)] * batch)

    def case(item: str, need: float, seconds: float, most: int = 20, **contenders: Any) -> None:
        if not s.due("Methods, ms", item, need):
            return
        with s.item("Methods, ms", f"{name}: {item}") as found:
            times, errors = timed(contenders, seconds, most)
            found |= times
            rivals = [t for k, t in times.items() if k in ("captum", "grad-cam", "torch")]
            if "ours" in times and rivals:
                found["ratio"] = min(rivals) / times["ours"]
            if errors:
                found["errors"] = "; ".join(f"{k}: {v}" for k, v in errors.items())

    graph = onnxray.compile(model, "grad-cam", upsample="none").proto
    compiled, plain = session(graph, provider), session(model.proto, provider)
    for batch in (1,) if s.quick else (1, 8, 64):
        rows = np.repeat(x, batch, 0)
        case(
            f"grad-cam, heat map, batch {batch}", 3, 1.5,
            ours=explained("grad-cam", batch, True),
            captum=peer(lambda batch=batch: functools.partial(
                attr().LayerGradCam(module, layer).attribute, tensor.repeat(batch, 1, 1, 1), target=target)),
            **{
                "grad-cam": peer(lambda batch=batch: their_cam("GradCAM", batch)),
                "compiled": lambda rows=rows: compiled.run(None, {"x": rows}),
                "forward": lambda rows=rows: plain.run(None, {"x": rows}),
            },
        )  # fmt: skip
    with s.item("Agreement with peers, L2 distance", f"{name}: grad-cam") as found:
        theirs = peer(lambda: functools.partial(attr().LayerGradCam(module, layer).attribute, tensor, target=target))()
        found["distance"] = distance(explained("grad-cam")().values, theirs[0, 0])
    steps = 8 if s.quick else 50
    saliency = peer(lambda: functools.partial(attr().Saliency(module).attribute, tensor, target=target, abs=False))
    case("gradient", 2, 1.0, ours=explained("gradient"), captum=saliency)
    case(
        f"integrated-gradients, {steps} steps", 3, 2.0,
        ours=explained("integrated-gradients", steps=steps),
        captum=peer(lambda: functools.partial(
            attr().IntegratedGradients(module).attribute, tensor, target=target, n_steps=steps,
            internal_batch_size=steps)),
        **{"ours, batch 64": explained("integrated-gradients", steps=steps)
           if s.quick else functools.partial(batched, model, x, "integrated-gradients", target, running, 64,
                                             {"steps": steps})},
    )  # fmt: skip
    with s.item("Agreement with peers, L2 distance", f"{name}: integrated-gradients") as found:
        theirs = peer(lambda: functools.partial(
            attr().IntegratedGradients(module).attribute, tensor, target=target, n_steps=steps))()  # fmt: skip
        found["distance"] = distance(explained("integrated-gradients", steps=steps)().values, theirs[0])
    case(
        "smoothgrad, 25 samples", 3, 2.0,
        ours=explained("smoothgrad"),
        captum=peer(lambda: functools.partial(
            attr().NoiseTunnel(attr().Saliency(module)).attribute, tensor, nt_type="smoothgrad", nt_samples=25,
            nt_samples_batch_size=25, stdevs=1.0, target=target, abs=False)),
    )  # fmt: skip
    patch, stride = (56, 56) if s.quick else (32, 16)
    case(
        f"occlusion, patch {patch}, stride {stride}", 6, 4.0, 8,
        ours=explained("occlusion", patch=patch, stride=stride, fill="zero"),
        captum=peer(lambda: functools.partial(
            attr().Occlusion(module).attribute, tensor, (3, patch, patch), (3, stride, stride), target=target,
            perturbations_per_eval=64)),
        **({} if s.quick else {
            "ours, batch 64": explained("occlusion", patch=patch, stride=stride, fill="zero", batch=64),
            "ours, CPU exact": functools.partial(
            onnxray.explain, model, x, "occlusion", target, providers="cpu", patch=patch, stride=stride, fill="zero")}),
    )  # fmt: skip
    if s.quick:
        return
    case(
        "rise, 4000 masks", 8, 6.0, 4,
        ours=explained("rise", masks=4000),
        torch=peer(lambda: functools.partial(rise_in_torch, module, tensor, target, 4000)),
        **{"ours, batch 64": explained("rise", masks=4000, batch=64)},
    )  # fmt: skip
    case(
        "score-cam, all channels", 10, 6.0, 3,
        ours=explained("score-cam", heat=True),
        **{"grad-cam": peer(lambda: their_cam("ScoreCAM"))},
    )  # fmt: skip
    case("ablation-cam", 6, 4.0, 3, ours=explained("ablation-cam", heat=True),
         **{"grad-cam": peer(lambda: their_cam("AblationCAM"))})  # fmt: skip


def batched(model, x, method, target, running, batch, more):
    import onnxray

    return onnxray.explain(model, x, method, target, **running, batch=batch, **more)


def rise_in_torch(module, tensor, target: int, count: int, batch: int = 64):
    """What one writes in PyTorch, on the device: grids enlarged and shifted, multiplied, run, summed up."""
    import torch
    import torch.nn.functional as F

    generator = torch.Generator(tensor.device).manual_seed(0)
    total = torch.zeros(224, 224, device=tensor.device)
    with torch.no_grad():
        for _ in range(0, count, batch):
            grid = (torch.rand(batch, 1, 7, 7, generator=generator, device=tensor.device) < 0.5).float()
            large = F.interpolate(grid, (256, 256), mode="bilinear", align_corners=False)
            at = torch.randint(0, 32, (batch, 2), generator=generator, device=tensor.device).tolist()
            ready = torch.stack([m[:, y : y + 224, x : x + 224] for m, (y, x) in zip(large, at, strict=True)])
            total += torch.tensordot(module(tensor * ready)[:, target], ready[:, 0], 1)
    return total


# ---- copies ----------------------------------------------------------------------------------------------------------


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


# ---- experiments -----------------------------------------------------------------------------------------------------


def occluding(side: int = 224) -> bytes:
    """A graph that makes occluded copies: image x (1, 3, H, W), boxes (B, 4) int64 -> copies (B, 3, H, W)."""
    import onnx

    text = f"""
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[1,3,{side},{side}] x, int64[B,4] boxes) => (float[B,3,{side},{side}] copies)
    <int64[{side}] line = {{{",".join(map(str, range(side)))}}}, float zero = {{0}}, int64[1] last = {{1}},
     int64[4] four = {{1,1,1,1}}, int64[3] tall = {{1,{side},1}}, int64[3] wide = {{1,1,{side}}},
     int64[2] axes = {{1,2}}, int64[1] one = {{1}}>
    {{
        y0, x0, y1, x1 = Split <axis = 1> (boxes, four)
        a0 = Unsqueeze(y0, last)
        b0 = Unsqueeze(x0, last)
        a1 = Unsqueeze(y1, last)
        b1 = Unsqueeze(x1, last)
        rows = Reshape(line, tall)
        columns = Reshape(line, wide)
        r0 = GreaterOrEqual(rows, a0)
        r1 = Less(rows, a1)
        c0 = GreaterOrEqual(columns, b0)
        c1 = Less(columns, b1)
        r = And(r0, r1)
        c = And(c0, c1)
        inside = And(r, c)
        mask = Unsqueeze(inside, one)
        copies = Where(mask, zero, x)
    }}"""
    return onnx.parser.parse_model(text).SerializeToString()


def masking(side: int = 224) -> bytes:
    """Masked copies as RISE makes them, without shifts: grids (B, 1, 8, 8) enlarged, multiplied with the image."""
    import onnx

    text = f"""
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[1,3,{side},{side}] x, float[B,1,8,8] grids) => (float[B,3,{side},{side}] copies)
    <float[4] scales = {{1,1,{side / 8},{side / 8}}}>
    {{
        large = Resize <mode = "linear"> (grids, , scales)
        copies = Mul(x, large)
    }}"""
    return onnx.parser.parse_model(text).SerializeToString()


def experiments(s: Section) -> None:
    if networks() is None:
        s.row("Experiments, ms", "all", error="not measured: PyTorch is not installed")
        return
    import onnxray

    provider = device()
    name, batch = ("resnet18", 2) if s.quick else ("resnet50", 64)
    model = onnxray.load(exported(name, "float32", s.work))
    x = inputs(name, 1)
    plain = session(model.proto, provider)
    shapes = {"y": ((batch, 1000), "float32")}
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 190, (batch, 2))
    boxes = np.concatenate([corner, corner + 32], 1).astype(np.int64)
    grids = (rng.random((batch, 1, 8, 8)) < 0.5).astype(np.float32)

    def by_numpy() -> np.ndarray:
        made = np.repeat(x, batch, 0)
        for copy, (y0, x0, y1, x1) in zip(made, boxes, strict=True):
            copy[:, y0:y1, x0:x1] = 0
        return made

    for label, graph, second in (
        ("occluded copies", occluding(), {"boxes": boxes}),
        ("masks of RISE", masking(), {"grids": grids}),
    ):
        item = f"{name}, {batch} {label}"
        if not s.due("Experiments, ms", item, 4):
            return
        with s.item("Experiments, ms", item) as found:
            maker = Bound(
                session(graph, provider), provider, {"x": x, **second}, {"copies": ((batch, *x.shape[1:]), "float32")}
            )
            maker()
            ready = maker.numpy("copies")
            if label == "occluded copies":
                assert np.array_equal(ready, by_numpy()), "wrong result: the copies differ"
            network = Bound(plain, provider, {"x": maker.outputs["copies"]}, shapes)

            def on_device(maker=maker, network=network, second=second):
                for n, array in second.items():
                    maker.binding.bind_ortvalue_input(n, value(array, provider))
                maker()
                network()
                return network.numpy("y")

            contenders = {
                "network alone": network,
                "making alone": maker,
                "made on the device": on_device,
                "arrays fed, ready": lambda ready=ready: plain.run(["y"], {"x": ready}),
            }
            if label == "occluded copies":
                contenders["made on the host, fed"] = lambda: plain.run(["y"], {"x": by_numpy()})
            times, errors = timed(contenders, 3.0)
            found |= times
            if errors:
                found["errors"] = str(errors)

    forms(s, provider)
    staying(s, name, provider)
    knobs(s, name, provider)
    exhausted(s, name, provider)
    changing(s, name, provider)


def changing(s: Section, name: str, provider: str) -> None:
    """What it costs that a run has another batch size than the one before."""
    import onnxray

    if provider == CPU:
        s.row("Batches of 8 and 7 in turn, ms per run", name, error="not measured: nothing is planned on the CPU")
        return

    for network, algorithm in ((name, "EXHAUSTIVE"), (name, "HEURISTIC"), ("mobilenetv2", "EXHAUSTIVE")):
        item = f"{network}, {algorithm}"
        if not s.due("Batches of 8 and 7 in turn, ms per run", item, 25 if network == "mobilenetv2" else 10):
            return
        with s.item("Batches of 8 and 7 in turn, ms per run", item) as found, options(cudnn_conv_algo_search=algorithm):
            model = onnxray.load(exported(network, "float32", s.work))
            x, seed = inputs(network, 8), one_hot(8)
            for label, graph in (("forward", model), ("gradient", onnxray.vjp(model, of="y", wrt="x"))):
                made = session(graph.proto, provider)
                feeds = {"x": x, "cotangent/y": seed} if label == "gradient" else {"x": x}
                fewer = {n: a[:7] for n, a in feeds.items()}
                for given in (feeds, fewer, feeds):
                    made.run(None, given)
                start = time.perf_counter()
                for _ in range(5):
                    made.run(None, feeds)
                found[f"{label}, always 8"] = (time.perf_counter() - start) * 200
                start = time.perf_counter()
                made.run(None, fewer)
                made.run(None, feeds)
                found[f"{label}, in turn"] = (time.perf_counter() - start) * 500


def forms(s: Section, provider: str) -> None:
    """The data gradient of convolutions as a convolution with flipped weights, or as ConvTranspose."""
    import onnxray

    names = (("resnet50", 8), ("resnet50", 64), ("mobilenetv2", 8), ("convnext-t", 8))
    for name, batch in names if provider == CUDA else (("resnet18", 1),):
        item = f"{name} batch {batch}"
        if not s.due("Data gradients of convolutions, ms", item, 5):
            return
        with s.item("Data gradients of convolutions, ms", item) as found:
            x, seed = inputs(name, batch), one_hot(batch)
            shapes = {"y": (seed.shape, "float32"), "grad/x": (x.shape, "float32")}
            contenders = {}
            for target, label in (("cpu", "flipped (as it is)"), ("cuda", "ConvTranspose")):
                with form_for(target):
                    model = onnxray.vjp(onnxray.load(exported(name, "float32", s.work)), of="y", wrt="x")
                start = time.perf_counter()
                contenders[label] = Bound(
                    session(model.proto, provider), provider, {"x": x, "cotangent/y": seed}, shapes
                )
                contenders[label]()
                found[f"{label}, first_s"] = time.perf_counter() - start
            times, errors = timed(contenders, 1.5)
            found |= times
            if errors:
                found["errors"] = str(errors)


def staying(s: Section, name: str, provider: str) -> None:
    """A network cut in two: the value between stays on the device, or goes through the host."""
    import onnxray

    batch = 2 if s.quick else 64
    for depth, share in (("early", 0.25), ("late", 0.75)):
        item = f"{name}, cut {depth}, batch {batch}"
        if not s.due("Experiments, ms", item, 4):
            return
        with s.item("Experiments, ms", item) as found:
            model = onnxray.load(exported(name, "float32", s.work))
            values = [n.output[0] for n in model.graph.node if n.op_type == "Relu"]
            for at in values[int(len(values) * share) :]:
                try:
                    head, tail = onnxray.split(model, at)
                    break
                except onnxray.OnnxrayError:
                    continue
            x = inputs(name, batch)
            first, then = session(head.proto, provider), session(tail.proto, provider)
            (middle,) = first.run([at], {"x": x})
            found["MB between"] = middle.nbytes / 1e6
            a = Bound(first, provider, {"x": x}, {at: (middle.shape, "float32")})
            b = Bound(then, provider, {at: a.outputs[at]}, {"y": ((batch, 1000), "float32")})

            def stays(a=a, b=b):
                a()
                b()
                return b.numpy("y")

            def through_host(first=first, then=then, at=at, x=x):
                (middle,) = first.run([at], {"x": x})
                return then.run(["y"], {at: middle})[0]

            assert distance(stays(), through_host()) < 1e-3, "wrong result: the two ways differ"
            times, _ = timed({"stays on the device": stays, "through the host": through_host}, 2.0)
            found |= times


def knobs(s: Section, name: str, provider: str) -> None:
    """Provider options: what the first run and later ones take."""
    import onnxray

    if provider != CUDA:
        s.row("Provider options, gradient of batch 8", name, error="not measured: no CUDA")
        return
    batch = 8
    gradient = onnxray.vjp(onnxray.load(exported(name, "float32", s.work)), of="y", wrt="x").proto
    x, seed = inputs(name, batch), one_hot(batch)
    shapes = {"y": (seed.shape, "float32"), "grad/x": (x.shape, "float32")}
    for label, more in (
        ("defaults", {}),
        ("HEURISTIC", {"cudnn_conv_algo_search": "HEURISTIC"}),
        ("DEFAULT", {"cudnn_conv_algo_search": "DEFAULT"}),
        ("workspace limited", {"cudnn_conv_use_max_workspace": 0}),
        ("no TF32", {"use_tf32": 0}),
        ("batch fixed", {}),
    ):
        if not s.due("Provider options, gradient of batch 8", f"{name}: {label}", 3):
            return
        with s.item("Provider options, gradient of batch 8", f"{name}: {label}") as found, options(**more):
            start = time.perf_counter()
            fixed = {"batch": batch} if label == "batch fixed" else None
            made = session(gradient, provider, fixed=fixed)
            found["session_s"] = time.perf_counter() - start
            bound = Bound(made, provider, {"x": x, "cotangent/y": seed}, shapes)
            start = time.perf_counter()
            bound()
            found["first_run_s"] = time.perf_counter() - start
            found["ms"] = timed({"ms": bound}, 1.0)[0]["ms"]


def exhausted(s: Section, name: str, provider: str) -> None:
    """What happens when the card's memory does not suffice: the error, and whether the CPU answers unasked."""
    import onnxray

    if provider != CUDA:
        return
    gradient = onnxray.vjp(onnxray.load(exported(name, "float32", s.work)), of="y", wrt="x").proto
    for fallback in (False, True):
        label = "ONNX Runtime's fallback" if fallback else "no fallback"
        if not s.due("Too little memory: 400 MB for a gradient of batch 64", label, 3):
            return
        with s.item("Too little memory: 400 MB for a gradient of batch 64", label) as found:
            with options(gpu_mem_limit=400_000_000, cudnn_conv_algo_search="HEURISTIC"):
                made = session(gradient, provider, fallback=fallback)
            try:
                with overheard():
                    made.run(["y"], {"x": inputs(name, 64), "cotangent/y": one_hot(64)})
                found["answered by"] = made.get_providers()[0]
            except Exception as error:
                found["raises"] = short(error)
            found["providers afterwards"] = made.get_providers()[0]


# ---- folder ----------------------------------------------------------------------------------------------------------


def folder(s: Section) -> None:
    import onnxray

    provider = device()
    pictures = sorted((s.zoo / "images" / "imagenet_samples").glob("*.jpg")) if s.zoo else []
    path = s.zoo / "models" / "mobilenet_v2_100_224.onnx" if s.zoo else None
    if not pictures or not path.exists():
        s.row("A folder of images", "all", error="not measured: no zoo")
        return
    count = 4 if s.quick else 32
    many = s.work / "pictures"
    many.mkdir(exist_ok=True)
    for number in range(count):
        shutil.copy(pictures[number % len(pictures)], many / f"{number:04d}.jpg")
    model = onnxray.load(path)
    x = example(model)
    plain = session(model.proto, provider)
    name = model.inputs[0].name
    rows = np.repeat(x, 8, 0)
    for label, more in (("npy only", ["--format", "npy"]), ("everything", [])):
        for ran in dict.fromkeys((provider, CPU)):
            item = f"mobilenet_v2, {count} images, grad-cam, {label}, {where(ran)}"
            if not s.due("A folder of images", item, 6):
                return
            with s.item("A folder of images", item) as found:
                seconds = {}
                for images in (1, count):
                    files = sorted(many.glob("*.jpg"))[:images]
                    out = s.work / f"out-{where(ran)}-{images}-{label[:3]}"
                    command = [sys.executable, "-c", COMMAND, "explain", str(path), *map(str, files)]
                    command += ["--provider", where(ran), "--out", str(out), "--mean", "127.5,127.5,127.5"]
                    command += ["--std", "127.5,127.5,127.5", "-q", *more]
                    start = time.perf_counter()
                    done = subprocess.run(command, capture_output=True, text=True, timeout=max(5, s.left() + GRACE))
                    seconds[images] = time.perf_counter() - start
                    if done.returncode:
                        raise RuntimeError(done.stderr[-300:])
                    found[f"s for {images}"] = seconds[images]
                more_s = seconds[count] - seconds[1]
                found["images/s after the first"] = (count - 1) / more_s if more_s > 0 else None
                times, _ = timed({"f": lambda: plain.run(None, {name: x}), "f8": lambda: plain.run(None, {name: rows})},
                                 1.0)  # fmt: skip
                found["forward images/s, batch 1"], found["batch 8"] = 1e3 / times["f"], 8e3 / times["f8"]


# ---- the run ---------------------------------------------------------------------------------------------------------

WORK = {
    "equality": equality,
    "placement": placements,
    "precision": tf32,
    "speed": speed,
    "methods": methods,
    "copies": copies,
    "experiments": experiments,
    "folder": folder,
}


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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=None, help="of the whole run (default 440; 75 with --quick)")
    parser.add_argument("--out", type=Path, default=Path("device"), help="stem of the two files (default: device)")
    parser.add_argument("--zoo", type=Path, default=os.environ.get("ONNXRAY_ZOO"))
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, comma separated")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the script")
    parser.add_argument("--cases", default="", help="of the section speed: NETWORK:float16:8,...")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile")
    parser.add_argument("--warm", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    NO_COMPILE.extend([True] * asked.no_compile)
    CASES.extend((n, d, int(b)) for n, d, b in (case.split(":") for case in asked.cases.split(",") if case))
    if asked.warm:
        warm(asked.warm)
        return
    asked.seconds = asked.seconds or (75 if asked.quick else 440)
    Run(asked).all()


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
        self.child(states, "providers", 30)
        warmers = self.prepare(chosen)
        total = sum(share - before for share, before in self.shares(chosen))
        done = 0.0
        begun = time.monotonic() - self.start
        for name, (share, before) in zip(chosen, self.shares(chosen), strict=True):
            done += (share - before) / total
            if name == "speed":
                self.end(warmers, 20)
            at = self.start + begun + (self.asked.seconds - begun) * done
            started = time.monotonic()
            self.child(WORK[name], name, at - time.monotonic())
            self.notes.append({"section": name, "table": "Sections", "item": name,
                               "seconds": time.monotonic() - started, "planned": at - started})  # fmt: skip
        self.end(warmers, 0)
        self.save()
        shutil.rmtree(self.work, ignore_errors=True)

    @staticmethod
    def shares(chosen: list[str]) -> list[tuple[float, float]]:
        ends = list(SECTIONS.values())
        names = list(SECTIONS)
        return [(SECTIONS[n], ends[names.index(n) - 1] if names.index(n) else 0.0) for n in chosen]

    def prepare(self, chosen: list[str]) -> list[subprocess.Popen]:
        """Export the networks side by side; start filling torch.compile's cache while results are compared."""
        wanted = {"precision", "speed", "methods", "copies", "experiments"} & set(chosen)
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
                    [sys.executable, __file__, "--warm", name, "--cases", self.asked.cases],
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

    def child(self, work, name: str, seconds: float) -> None:
        """Run a section in a process of its own, until its deadline and a little longer."""
        print(f"{time.monotonic() - self.start:6.1f} s  {name}, {seconds:.0f} s", flush=True)
        if seconds < 1:
            self.notes.append({"section": name, "table": "Sections", "item": name, "error": "not reached"})
            return
        deadline = time.monotonic() + seconds
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            code = 0
            section = Section(name, self.file, deadline, self.asked.quick, self.work, self.zoo)
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
            if time.monotonic() > deadline + GRACE:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                self.notes.append({"section": name, "table": "Sections", "item": name,
                                   "error": f"stopped after {seconds + GRACE:.0f} s"})  # fmt: skip
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


if __name__ == "__main__":
    main()
