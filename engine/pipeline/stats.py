"""How long images take in each stage of a pipeline: the last ones, in bounded memory."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

# Images whose times are kept.
_MOST = 2048


@dataclass(frozen=True)
class Percentiles:
    """Milliseconds that half, 95 % and 99 % of the last images took at most."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True)
class Stats:
    """What a pipeline has done.

    images: how many are done, `failed` of them with an error. depth: how many are inside now, waiting or in work.
    rate: images a second, over the last 2048 at most. batch: the mean number of images that ran together.
    stages: by name ("decode", "infer", "render", and "total" from `submit` to the result), the times of the last 2048
    images; a stage that there is not is left out. "infer" is the time of the whole batch that an image was in.
    """

    images: int
    failed: int
    depth: int
    rate: float
    batch: float
    stages: Mapping[str, Percentiles]

    def to_mapping(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Recorder:
    """Collects the times of stages; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[str, deque[float]] = {}
        self._ends: deque[float] = deque(maxlen=_MOST)
        self._batches: deque[int] = deque(maxlen=_MOST)
        self._totals: dict[str, tuple[int, float]] = {}
        self._images = self._failed = 0

    def add(self, stage: str, seconds: float) -> None:
        """One image took so long in a stage."""
        with self._lock:
            count, total = self._totals.get(stage, (0, 0.0))
            self._totals[stage] = count + 1, total + seconds
            self._times.setdefault(stage, deque(maxlen=_MOST)).append(seconds)

    def ran(self, images: int) -> None:
        """So many images ran together."""
        with self._lock:
            self._batches.append(images)

    def finished(self, seconds: float, failed: bool) -> None:
        """An image has left the pipeline, so long after it came."""
        self.add("total", seconds)
        with self._lock:
            self._images += 1
            self._failed += failed
            self._ends.append(time.perf_counter())

    def totals(self) -> dict[str, tuple[int, float]]:
        """By stage: how many images went through it, and the sum of their seconds, since the beginning."""
        with self._lock:
            return dict(self._totals)

    def stats(self, depth: int) -> Stats:
        """The figures so far."""
        with self._lock:
            times = {stage: np.array(kept) for stage, kept in self._times.items()}
            ends, batches = list(self._ends), list(self._batches)
            images, failed = self._images, self._failed
        span = ends[-1] - ends[0] if len(ends) > 1 else 0.0
        stages = {
            stage: Percentiles(*(round(1000 * float(t), 3) for t in np.percentile(kept, (50, 95, 99))))
            for stage, kept in times.items()
        }
        order = [name for name in ("decode", "infer", "render", "total") if name in stages]
        rate = (len(ends) - 1) / span if span else 0.0
        mean = sum(batches) / len(batches) if batches else 0.0
        return Stats(images, failed, depth, rate, mean, {name: stages[name] for name in order})
