"""Distances of results, and medians of interleaved rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from _device.tables import short

# L2 distance over L2 norm: forward, gradient. Gradients differ more: ReLU and MaxPool decisions flip on rounding.
TOLERANCE = {"float64": (1e-10, 1e-8), "float32": (1e-4, 1e-3), "float16": (1e-2, 5e-2), "bfloat16": (5e-2, 2e-1)}


def distance(a: Any, b: Any) -> float:
    """L2 distance of `a` from `b` over the norm of `b`; what is no float has to be the same (0 or infinity)."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return float("inf")
    if b.dtype.kind not in "fV" or a.dtype.kind == "O":
        return 0.0 if np.array_equal(a, b) else float("inf")
    a, b = a.astype(np.float64), b.astype(np.float64)
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return float("nan")
    same = a == b  # infinities too
    with np.errstate(invalid="ignore"):
        off = np.where(same, 0.0, np.nan_to_num(a) - np.nan_to_num(b))
    norm = np.linalg.norm(np.nan_to_num(b, posinf=0, neginf=0))
    return float(np.linalg.norm(off) / norm) if norm else float(np.linalg.norm(off))


def timed(contenders: Mapping[str, Callable[[], Any]], seconds: float, most: int = 40) -> tuple[dict, dict[str, str]]:
    """Medians in ms of interleaved rounds that fit into `seconds`, and the errors of those that could not run.

    What takes longer than half of `seconds` by itself is timed once, after its first call.
    """
    from _harness import compare

    able, slow, errors, each = {}, {}, {}, 0.0
    for name, call in contenders.items():
        try:
            call()
            start = time.perf_counter()
            call()
            took = time.perf_counter() - start
            if took > seconds / 2:
                slow[name] = took * 1e3
                continue
            each += max(took, 2e-3)
            able[name] = call
        except Exception as error:
            errors[name] = short(error)
    if not able:
        return slow, errors
    rounds = int(np.clip(seconds / each, 3, most))
    found = compare(able, rounds=rounds, warm=1)
    return {**{name: t.median * 1e3 for name, t in found.items()}, **slow}, errors
