"""Grad-CAM per image: onnxray on ONNX Runtime against pytorch-grad-cam and Captum, same weights and threads, batch 1.

    python bench/cam.py [--rounds 15] [--threads 2] [--only resnet18,mobilenetv2]

The heatmap at the image's size is timed against pytorch-grad-cam, which makes that, the map of the layer against
Captum's LayerGradCam, which makes that; then the compiled model against the plain forward pass in ONNX Runtime. Goals:
5 times pytorch-grad-cam, 2 times Captum, compiled at most 1.15 times the forward pass. The maps are compared first.
"""

from __future__ import annotations

import sys

import numpy as np
import peers
from _harness import Table, arguments, compare
from peers import RUNTIME

NETWORKS = ("resnet18", "resnet50", "mobilenetv2")


def main() -> None:
    only = NETWORKS
    if "--only" in sys.argv:
        at = sys.argv.index("--only")
        only = tuple(sys.argv[at + 1].split(","))
        del sys.argv[at : at + 2]
    options = arguments(__doc__, rounds=15)
    columns = ["network", "ours", "heatmap", "grad-cam", "ratio", "captum", "ratio ", "forward", "compiled", "over"]
    table = Table("Grad-CAM, one image", columns, options, (*RUNTIME, "torch", "captum", "grad-cam"))
    for name in only:
        measure(name, options, table)
    table.done()


def measure(name: str, options, table: Table) -> None:
    cam, attr = peers.grad_cam(), peers.captum()
    import torch
    from networks import build, export
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    import onnxray
    from onnxray.engine.inference.session import session

    torch.set_num_threads(options.threads)
    running = {"threads": options.threads, "providers": "cpu"}
    module = build(name)
    model = onnxray.load(export(name, module))
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    tensor = torch.from_numpy(x)
    layer = peers.pooled_layer(module)
    theirs = cam.GradCAM(model=module, target_layers=[layer])
    layered = attr.LayerGradCam(module, layer)
    target = int(module(tensor).argmax())
    chosen = [ClassifierOutputTarget(target)]
    run = session(onnxray.compile(model, method="grad-cam", upsample="none", normalize="none"), **running)
    plain = session(model, **running)

    def ours():
        return onnxray.explain(model, x, "grad-cam", **running)

    contenders = {
        "ours": ours,
        "heatmap": lambda: ours().heatmap,
        "grad-cam": lambda: theirs(input_tensor=tensor, targets=chosen),
        "captum": lambda: layered.attribute(tensor, target=target),
        "forward": lambda: plain.run({"x": x}),
        "compiled": lambda: run.run({"x": x}),
    }
    values = ours().values
    reference = contenders["captum"]().detach().numpy()[0, 0]
    difference = float(np.abs(values - reference).max() / np.abs(reference).max())
    graph = run.run({"x": x})["saliency_map"].reshape(values.shape)
    inside = float(np.abs(graph - values).max() / np.abs(values).max())
    if difference > 1e-2 or inside > 1e-4:
        raise SystemExit(f"wrong result: {name}: {difference:.2g} from Captum, compiled {inside:.2g} from ours")
    times = compare(contenders, rounds=options.rounds, pause=0.02)
    table.row(
        name,
        times["ours"],
        times["heatmap"],
        times["grad-cam"],
        times["grad-cam"].median / times["heatmap"].median,
        times["captum"],
        times["captum"].median / times["ours"].median,
        times["forward"],
        times["compiled"],
        times["compiled"].median / times["forward"].median,
    )


if __name__ == "__main__":
    main()
