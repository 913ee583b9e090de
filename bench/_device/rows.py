"""Methods with rows, values and masks that stay on the device, against the same with the host in between.

Both ways run through onnxray itself: the table of what providers can do (`engine/runtime/capabilities.py`) is replaced
for the time of a call. On the CPU provider "device" runs the same graphs, in the host's memory: what they compute is
judged there, what they save is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from _device.judging import distance, timed
from _device.sessions import CPU, CUDA, device, options, ort
from _device.subjects import builtin, exported, inputs, networks
from _device.tables import Section

TABLE = "Rows made on the device, ms"


@contextmanager
def made_on(place: str) -> Iterator[None]:
    """Within the block, rows are made on the "device" or by the "host", whatever the measured provider is."""
    from onnxray.engine.runtime import capabilities

    provider, table = device(), capabilities.CAPABILITIES
    before = table.get(provider)
    table[provider] = replace(capabilities.capability(provider), own_memory=place == "device")
    try:
        yield
    finally:
        if before is None:
            del table[provider]
        else:
            table[provider] = before


@contextmanager
def crossings() -> Iterator[dict[str, float]]:
    """Counts what onnxray gives to ONNX Runtime as arrays and takes from it: on a device, each is a copy."""
    from onnxray.engine.inference import session as sessions

    found = {"arrays in": 0, "MB in": 0.0, "arrays out": 0, "MB out": 0.0}

    def count(way: str, array: Any) -> None:
        if isinstance(array, np.ndarray):
            found[f"arrays {way}"] += 1
            found[f"MB {way}"] += array.nbytes / 1e6

    kept = sessions.Session._call, sessions.Session.run_on_device, sessions.Session.upload, ort.OrtValue.numpy

    def call(self, names, feeds):
        for array in feeds.values():
            count("in", array)
        got = kept[0](self, names, feeds)
        for array in got:
            count("out", array)
        return got

    def bound(self, feeds, outputs=None):
        for array in feeds.values():
            count("in", array)
        return kept[1](self, feeds, outputs)

    def upload(self, array):
        count("in", array)
        return kept[2](self, array)

    def fetch(self):
        array = kept[3](self)
        count("out", array)
        return array

    sessions.Session._call, sessions.Session.run_on_device, sessions.Session.upload = call, bound, upload
    ort.OrtValue.numpy = fetch
    try:
        yield found
    finally:
        sessions.Session._call, sessions.Session.run_on_device, sessions.Session.upload = kept[:3]
        ort.OrtValue.numpy = kept[3]


def rows(s: Section) -> None:
    import onnxray
    from onnxray.engine.runtime.capabilities import capability

    provider = device()
    if provider != CPU and not capability(provider).own_memory:
        s.row(TABLE, "all", error="not measured: for this provider the host makes rows")
        return
    few = s.quick or provider == CPU  # a processor would take minutes
    if networks() is None or few:
        name, model = "builtin", onnxray.load(builtin())
        x = inputs_of(model)
    else:
        name = "resnet50"
        model, x = onnxray.load(exported(name, "float32", s.work)), inputs(name, 1)
    cases: list[tuple[str, int, dict[str, Any]]] = [
        ("integrated-gradients", 1, {"steps": 3 if few else 50}),
        ("smoothgrad", 1, {"samples": 3 if few else 25}),
        ("rise", 1, {"masks": 16 if few else 1000}),
        ("lime", 1, {"samples": 16 if few else 1000, "segments": "grid"}),
        ("occlusion", 1, {"patch": 80 if few else 32, "stride": 80 if few else 16, "fill": "zero", "mode": "plain"}),
        ("score-cam", 1, {"channels": 8 if few else 256}),
        *([] if few else [("ablation-cam", 1, {})]),
        ("grad-cam", 2 if few else 64, {}),
    ]
    for method, batch, more in cases:
        item = f"{name}: {method}, {batch} image{'s' * (batch > 1)}, {', '.join(f'{k} {v}' for k, v in more.items())}"
        if not s.due(TABLE, item, 0.5 if few else 3):
            continue
        with s.item(TABLE, item) as found, options(use_tf32=0):
            many = np.repeat(x, batch, 0)

            def call(place: str, many=many, method=method, more=more):
                with made_on(place):
                    return onnxray.explain(model, many, method, 1, providers=provider, **more)

            got = {}
            for place in ("device", "host"):
                with crossings() as crossed:
                    got[place] = call(place)
                found |= {f"{key}, {place}": amount for key, amount in crossed.items() if key.startswith("MB")}
                found |= {f"{key}, {place}": amount for key, amount in crossed.items() if key.startswith("arrays")}
            pairs = zip(*([one] if batch == 1 else one for one in got.values()), strict=True)
            found["distance"] = max(distance(a.values, b.values) for a, b in pairs)
            found["ok"] = bool(found["distance"] < 1e-3)
            calls = {f"made on the {place}": (lambda place=place: call(place)) for place in ("device", "host")}
            times, errors = timed(calls, 0.2 if few else 3.0, 10)
            found |= times
            if len(times) == 2 and provider == CUDA:
                found["ratio"] = times["made on the host"] / times["made on the device"]
            if errors:
                found["errors"] = str(errors)


def inputs_of(model: Any) -> np.ndarray:
    from _device.subjects import example

    return example(model)
