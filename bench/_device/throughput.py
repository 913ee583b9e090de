"""How many images a second goes `onnxray.Pipeline` through, against the bare compiled model on the same provider?"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from _device.judging import timed
from _device.sessions import device, session
from _device.subjects import builtin
from _device.tables import Section

TABLE = "Pipeline, images per second"


def throughput(s: Section) -> None:
    import onnxray

    provider = device()
    paths = [("builtin", builtin())]
    if s.zoo is not None and (s.zoo / "models" / "mobilenet_v2_100_224.onnx").exists() and not s.quick:
        paths.append(("mobilenet_v2_100_224", s.zoo / "models" / "mobilenet_v2_100_224.onnx"))
    rng = np.random.default_rng(0)
    for name, path in paths:
        for batch in (1, 8) if s.quick else (1, 8, 64):
            item = f"{name}: grad-cam, batch {batch}"
            if not s.due(TABLE, item, 1 if s.quick else 6):
                return
            with s.item(TABLE, item) as found:
                model = onnxray.load(path)
                photos = list(rng.integers(0, 256, (16, 240, 320, 3), np.uint8))
                count = 8 if s.quick else max(64, 4 * batch)
                bare = bare_rate(model, provider, batch)
                found["bare"] = bare
                with onnxray.Pipeline(
                    model, "grad-cam", batch=batch, workers=2, queue=2 * batch, max_delay_ms=50, providers=provider
                ) as pipeline:
                    found["arrays"] = rate(pipeline, photos, count)
                    total = pipeline.stats().stages["total"]
                    found["p50_ms"], found["p99_ms"] = total.p50, total.p99
                found["share"] = found["arrays"] / bare


def rate(pipeline: Any, photos: list[np.ndarray], count: int) -> float:
    given = [photos[n % len(photos)] for n in range(count)]
    list(pipeline.map(given[: len(given) // 2]))
    start = time.perf_counter()
    done = sum(1 for _ in pipeline.map(given))
    return done / (time.perf_counter() - start)


def bare_rate(model: Any, provider: str, batch: int) -> float:
    """Of the compiled model in plain ONNX Runtime, on a tensor that lies ready."""
    import onnxray

    made = session(onnxray.compile(model, "grad-cam", upsample="none").proto, provider)
    given = made.get_inputs()[0]
    shape = [batch if n == 0 else d if isinstance(d, int) else 1 for n, d in enumerate(given.shape)]
    if isinstance(given.shape[0], int):
        shape[0] = given.shape[0]
    feeds = {given.name: np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
    times, _ = timed({"ms": lambda: made.run(None, feeds)}, 0.3)
    return 1e3 * shape[0] / times["ms"]
