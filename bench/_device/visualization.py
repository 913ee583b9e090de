"""Feature visualization: steps per second, against Lucent's loop on the same card; the same as on the CPU?"""

from __future__ import annotations

import contextlib
import importlib.util
import time
from typing import Any

from _lucent import lucent

from _device.judging import distance
from _device.sessions import CPU, CUDA, device, options
from _device.subjects import builtin, exported, networks
from _device.tables import Section, short

TABLE = "Feature visualization, steps per second"
CLASS = 3


def visualization(s: Section) -> None:
    import onnxray

    provider = device()
    names = ("builtin",) if s.quick or networks() is None else ("builtin", "mobilenetv2", "resnet50")
    for name in names:
        if not s.due(TABLE, name, 1 if s.quick else 4):
            break
        model = onnxray.load(builtin() if name == "builtin" else exported(name, "float32", s.work))
        with s.item(TABLE, f"{name}: class {CLASS}") as found:
            speed_of(s, found, name, model, provider)
        steps = 2 if s.quick else 5
        item = f"{name}: class {CLASS}, {steps} steps"
        with s.item("Feature visualization, against the CPU provider", item) as found:
            with options(use_tf32=0):
                ours, cpu = (picture(model, p, steps) for p in (provider, CPU))
            found["objective"] = distance(ours.history[0], cpu.history[0])
            found["picture"] = distance(ours.pictures[0], cpu.pictures[0])
            # Steps multiply what rounding differs in: a few of them stay near.
            found["ok"] = bool(found["objective"] < 1e-2 and found["picture"] < 1e-2)


def picture(model: Any, provider: str, steps: int) -> Any:
    import onnxray

    return onnxray.visualize(model, target=CLASS, steps=steps, settle=False, seed=1, providers=provider)


def rate(call, steps: int) -> float:
    start = time.perf_counter()
    call(steps)
    return steps / (time.perf_counter() - start)


def speed_of(s: Section, found: dict[str, Any], name: str, model: Any, provider: str) -> None:
    picture(model, provider, 2)
    steps, rounds = (4, 1) if s.quick else (32, 1) if provider == CPU else (128, 2)

    def ours(count: int) -> None:
        picture(model, provider, count)

    found["ours"] = max(rate(ours, steps) for _ in range(rounds))
    if networks() is None or name == "builtin":
        found["note"] = "Lucent's loop: not measured, no module of this network"
        return
    import torch

    card = torch.device("cuda" if provider == CUDA and torch.cuda.is_available() else "cpu")
    found["by"] = "lucent" if importlib.util.find_spec("lucent") else "the loop of bench/_lucent.py on the card"
    for label, last in (("eager", False), ("channels_last", True)):
        try:
            step = lucent(
                networks().build(name).to(card).eval(), networks().NETWORKS[name].shape[-1], last, CLASS, card
            )

            def theirs(count: int, step=step) -> None:
                for _ in range(count):
                    step()
                if card.type == "cuda":
                    torch.cuda.synchronize()

            theirs(3)
            found[label] = max(rate(theirs, steps) for _ in range(rounds))
        except Exception as error:
            found["errors"] = short(error)
    best = max((found[k] for k in ("eager", "channels_last") if k in found), default=None)
    if best:
        found["ratio"] = found["ours"] / best
    if found["by"] == "lucent":
        with contextlib.suppress(Exception):
            found["lucent"] = installed_lucent(networks().build(name).to(card).eval(), steps)


def installed_lucent(module: Any, steps: int) -> float:
    """Steps per second of `lucent.optvis.render.render_vis` with its own settings."""
    from lucent.optvis import objectives, param, render

    def call(count: int) -> None:
        goal = objectives.channel("labels", CLASS)
        canvas = lambda: param.image(224)  # noqa: E731
        render.render_vis(module, goal, canvas, thresholds=(count,), show_image=False, progress=False)

    call(2)
    return rate(call, steps)
