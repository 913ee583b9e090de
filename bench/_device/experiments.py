"""What could be faster: copies made on the device, values that stay there, provider options, other graphs."""

from __future__ import annotations

import time

import numpy as np
import onnx

from _device.judging import distance, timed
from _device.sessions import CPU, CUDA, Bound, device, form_for, options, overheard, session, value
from _device.subjects import exported, inputs, networks, one_hot
from _device.tables import Section, short


def occluding(side: int = 224) -> bytes:
    """A graph that makes occluded copies: image x (1, 3, H, W), boxes (B, 4) int64 -> copies (B, 3, H, W)."""

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
