"""Gradient, integrated gradients and SmoothGrad against Captum; Score-CAM and Ablation-CAM against pytorch-grad-cam.

    python bench/saliency.py [--rounds 5] [--threads 2] [--only resnet18] [--slow[=mobilenetv2]]

Same weights, same threads, one image; integrated gradients with 50 steps, SmoothGrad with 25 samples, each peer at the
best of several internal batch sizes. With --slow also Score-CAM and Ablation-CAM on ResNet-50 (or the network named),
once each, ours warm, in processor time of all threads: minutes. Goals: 2 times Captum, 5 times pytorch-grad-cam.
Results are compared first.
"""

from __future__ import annotations

import functools
import sys
import time

import numpy as np
import peers
from _harness import Table, Timing, arguments, compare
from peers import RUNTIME

NETWORKS = ("resnet18", "resnet50", "mobilenetv2")
BATCHES = (1, 5, 10, 25)


def main() -> None:
    only, slow = NETWORKS, ""
    for argument in [a for a in sys.argv if a.split("=")[0] == "--slow"]:
        slow = argument.partition("=")[2] or "resnet50"
        sys.argv.remove(argument)
    if "--only" in sys.argv:
        at = sys.argv.index("--only")
        only = tuple(name for name in sys.argv[at + 1].split(",") if name)
        del sys.argv[at : at + 2]
    options = arguments(__doc__, rounds=5)
    columns = ["network", "method", "ours", "captum", "its batch", "ratio"]
    if only:
        table = Table("Pixel-wise methods, one image", columns, options, (*RUNTIME, "torch", "captum"), width=14)
        for name in only:
            measure(name, options, table)
        table.done()
    if slow:
        channels(slow, options)


def measure(name: str, options, table: Table) -> None:
    import torch
    from networks import build, export

    import onnxray

    attr = peers.captum()
    torch.set_num_threads(options.threads)
    running = {"threads": options.threads, "providers": "cpu"}
    module = build(name)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    model = onnxray.load(export(name, module))
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    tensor = torch.from_numpy(x)
    target = int(module(tensor).argmax())
    saliency, integrated = attr.Saliency(module), attr.IntegratedGradients(module)
    tunnel = attr.NoiseTunnel(saliency)

    def gradient(_):
        return saliency.attribute(tensor.clone().requires_grad_(), target=target, abs=False)

    def along(batch):
        return integrated.attribute(tensor, target=target, n_steps=50, internal_batch_size=batch)

    def noisy(batch):
        options_of_noise = {"nt_type": "smoothgrad", "nt_samples": 25, "nt_samples_batch_size": batch, "stdevs": 1.0}
        return tunnel.attribute(tensor.clone(), **options_of_noise, target=target, abs=False)

    for method, theirs, batches in (
        ("gradient", gradient, (1,)),
        ("integrated-gradients", along, BATCHES),
        ("smoothgrad", noisy, BATCHES),
    ):

        def ours(method=method):
            return onnxray.explain(model, x, method, target, **running).values

        check(method, ours(), theirs(batches[0]).detach().numpy()[0])
        best = min(batches, key=lambda b, theirs=theirs: once(functools.partial(theirs, b)))
        peer = functools.partial(theirs, best)
        times = compare({"ours": ours, "captum": peer}, rounds=options.rounds, warm=1, pause=0.02)
        ratio = times["captum"].median / times["ours"].median
        table.row(name, method, times["ours"], times["captum"], best, ratio)


def channels(name: str, options) -> None:
    """Score-CAM and Ablation-CAM: one network run per channel."""
    cam = peers.grad_cam()
    import torch
    from networks import build, export
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    import onnxray

    running = {"threads": options.threads, "providers": "cpu"}
    torch.set_num_threads(options.threads)
    module = build(name)
    model = onnxray.load(export(name, module))
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    tensor = torch.from_numpy(x)
    layer = peers.pooled_layer(module)
    chosen = [ClassifierOutputTarget(int(module(tensor).argmax()))]
    columns, measured = ["method", "ours", "grad-cam", "ratio"], f"processor time, {options.threads} thread(s)"
    table = Table(f"{name}, once each", columns, options, ("grad-cam",), width=14, measured=measured)
    # Both enlarge the masks from the centres of their cells here; the peer aligns corners, which gives another map.
    torch.nn.UpsamplingBilinear2d = functools.partial(torch.nn.Upsample, mode="bilinear", align_corners=False)
    for method, kind, least in (("ablation-cam", cam.AblationCAM, 0.999), ("score-cam", cam.ScoreCAM, 0.98)):
        for _ in range(2):  # the first prepares the model, which the peer need not
            start = time.process_time()
            ours = onnxray.explain(model, x, method, **running).heatmap
            taken = {"ours": time.process_time() - start}
        start = time.process_time()
        theirs = kind(model=module, target_layers=[layer])(tensor, chosen)[0]
        taken["grad-cam"] = time.process_time() - start
        alike = float(np.corrcoef(np.maximum(ours, 0).ravel(), theirs.ravel())[0, 1])
        if not alike >= least:
            raise SystemExit(f"wrong result: {method} correlates with pytorch-grad-cam's by {alike:.3f} only")
        times = {who: Timing(t, t, t, 1) for who, t in taken.items()}
        table.row(method, times["ours"], times["grad-cam"], times["grad-cam"].median / times["ours"].median)


def check(method: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    """The same attributions, but for single ReLU decisions; SmoothGrad's noise differs: only its size is compared."""
    if method == "smoothgrad":
        ratio = np.linalg.norm(ours) / np.linalg.norm(theirs)
        if not 0.3 < ratio < 3:
            raise SystemExit(f"wrong result: smoothgrad's magnitudes differ by a factor of {ratio:.2g}")
        return
    distance = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    if not distance < 3e-2:
        raise SystemExit(f"wrong result: {method} differs by {distance:.2g}")


def once(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
