"""Are results on the device the same as on the CPU? Methods, compiled models, gradients without TF32 and with it."""

from __future__ import annotations

import time

import numpy as np

from _device.judging import TOLERANCE, distance
from _device.placement import placement
from _device.sessions import CPU, CUDA, MADE, device, options, session
from _device.subjects import builtin, example, exported, inputs, networks, one_hot
from _device.tables import Section

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


# Of all methods, with --quick; and their options.
QUICK = ("gradient", "grad-cam", "integrated-gradients", "occlusion", "rise", "score-cam", "ablation-cam", "smoothgrad")
FEWEST = {
    "rise": {"masks": 16},
    "integrated-gradients": {"steps": 4},
    "smoothgrad": {"samples": 2},
    "score-cam": {"channels": 8},
    "occlusion": {"patch": 80, "stride": 80},
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


def each_method(s: Section, name: str, model, x: np.ndarray, provider: str) -> None:
    import onnxray

    table = "Methods, against the CPU provider"
    for method in QUICK if s.quick else onnxray.methods():
        if not s.due(table, name, 1 if s.quick else 2, method=method):
            break
        with s.item(table, name, method=method) as found, options(use_tf32=0, cudnn_conv_algo_search="HEURISTIC"):
            more = {**FEWER.get(method, {}), **(FEWEST.get(method, {}) if s.quick else {})}
            start = time.perf_counter()
            try:
                expected = onnxray.explain(model, x, method, providers="cpu", **more)
            except onnxray.OnnxrayError as error:
                found["note"] = f"refused: {str(error)[:80]}"
                continue
            found["cpu_s"] = time.perf_counter() - start
            del MADE[:]
            start = time.perf_counter()
            got = onnxray.explain(model, x, method, providers=provider, **more)
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
        if not s.due(table, "builtin", 1 if s.quick else 2, method=method):
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

    batch = 2 if s.quick else 8
    table = f"Gradient graphs of trained networks, batch {batch}"
    for name in ("mobilenet_v2_100_224", "mobilenet_v1_025_224")[s.quick :] if s.zoo else ():
        if not s.due(table, name, 1 if s.quick else 5):
            break
        with s.item(table, name) as found:
            model = onnxray.load(s.zoo / "models" / f"{name}.onnx")
            output, given = model.outputs[0].name, model.inputs[0].name
            gradient = onnxray.vjp(model, of=output, wrt=given).proto
            x = np.repeat(example(model), batch, 0)
            feeds = {given: x, f"cotangent/{output}": one_hot(batch, model.outputs[0].shape[-1])}
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
