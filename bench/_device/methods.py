"""How fast are the methods of `onnxray.explain`, against captum and pytorch-grad-cam?"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from _device.judging import distance, timed
from _device.sessions import CUDA, device, session
from _device.subjects import exported, inputs, networks
from _device.tables import Section, short


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
    running = {"providers": provider}

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
            f"grad-cam, heat map, batch {batch}", 3, 0.5 if s.quick else 1.5,
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
    steps, samples = (4, 4) if s.quick else (50, 25)
    need, seconds = (1, 0.5) if s.quick else (3, 2.0)
    saliency = peer(lambda: functools.partial(attr().Saliency(module).attribute, tensor, target=target, abs=False))
    case("gradient", 1, 0.5 if s.quick else 1.0, ours=explained("gradient"), captum=saliency)
    case(
        f"integrated-gradients, {steps} steps", need, seconds,
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
        f"smoothgrad, {samples} samples", need, seconds,
        ours=explained("smoothgrad", samples=samples),
        captum=peer(lambda: functools.partial(
            attr().NoiseTunnel(attr().Saliency(module)).attribute, tensor, nt_type="smoothgrad", nt_samples=samples,
            nt_samples_batch_size=samples, stdevs=1.0, target=target, abs=False)),
    )  # fmt: skip
    patch, stride = (112, 112) if s.quick else (32, 16)
    case(
        f"occlusion, patch {patch}, stride {stride}", 1 if s.quick else 6, 0.5 if s.quick else 4.0, 8,
        ours=explained("occlusion", patch=patch, stride=stride, fill="zero"),
        captum=peer(lambda: functools.partial(
            attr().Occlusion(module).attribute, tensor, (3, patch, patch), (3, stride, stride), target=target,
            perturbations_per_eval=64)),
        **({} if s.quick else {
            "plain batches": plain_batches(plain, x, target, patch, stride),
            "ours, batch 64": explained("occlusion", patch=patch, stride=stride, fill="zero", batch=64),
            "ours, CPU exact": functools.partial(
            onnxray.explain, model, x, "occlusion", target, providers="cpu", patch=patch, stride=stride, fill="zero")}),
    )  # fmt: skip
    masks = 8 if s.quick else 4000
    case(
        f"rise, {masks} masks", 1 if s.quick else 8, 0.5 if s.quick else 6.0, 4,
        ours=explained("rise", masks=masks),
        torch=peer(lambda: functools.partial(rise_in_torch, module, tensor, target, masks)),
        **{"ours, batch 64": explained("rise", masks=masks, batch=64)},
    )  # fmt: skip
    if s.quick:
        case("score-cam, 8 channels", 1, 0.5, 3, ours=explained("score-cam", channels=8))
        return
    case(
        "score-cam, all channels", 10, 6.0, 3,
        ours=explained("score-cam", heat=True),
        **{"grad-cam": peer(lambda: their_cam("ScoreCAM"))},
    )  # fmt: skip
    case("ablation-cam", 6, 4.0, 3, ours=explained("ablation-cam", heat=True),
         **{"grad-cam": peer(lambda: their_cam("AblationCAM"))})  # fmt: skip


def plain_batches(made, x: np.ndarray, target: int, patch: int, stride: int, batch: int = 64):
    """What one writes in NumPy: copies with a square of zeros, run in batches of 64."""
    corners = [
        (y, z) for y in range(0, x.shape[2] - patch + 1, stride) for z in range(0, x.shape[3] - patch + 1, stride)
    ]

    def call() -> np.ndarray:
        found = []
        for start in range(0, len(corners), batch):
            part = corners[start : start + batch]
            copies = np.repeat(x, len(part), 0)
            for copy, (y, z) in zip(copies, part, strict=True):
                copy[:, y : y + patch, z : z + patch] = 0
            found.append(made.run(None, {"x": copies})[0][:, target])
        return np.concatenate(found)

    return call


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
