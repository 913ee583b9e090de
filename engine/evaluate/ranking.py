"""Which method to use: ranks over metrics and images, and how sure their order is."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .ranks import ranks
from .registry import Metric
from .statistics import resamples

# Families that say whether an explanation is right; how spread out a map is, or like others, does not.
JUDGING = ("faithfulness", "localisation", "robustness", "randomisation")
# A method is called the best where it is the best in so many of the resampled sets of images.
SURE, LIKELY = 0.95, 0.75
# Fewer images than these say little.
FEW = 10


@dataclass(frozen=True)
class Ranking:
    """Methods from best to worst. mean_rank: 1 is the best of all on every image and metric; first: the share of the
    sets of images, resampled with repetition, in which each comes first of those that may be advised. metrics: those
    that decided.
    """

    order: tuple[str, ...]
    mean_rank: dict[str, float]
    first: dict[str, float]
    metrics: tuple[str, ...]
    images: int
    sentence: str

    def to_mapping(self) -> dict[str, Any]:
        return {
            "order": list(self.order),
            "mean_rank": self.mean_rank,
            "first": self.first,
            "metrics": list(self.metrics),
            "images": self.images,
        }


def ranking(
    methods: Sequence[str],
    metrics: Sequence[Metric],
    values: Callable[[str, str], NDArray[np.float64]],
    failing: Collection[str] = (),
) -> Ranking:
    """Rank methods image by image and metric by metric; every family of metrics counts the same.

    values: (N,) for a method and a metric, NaN where there is none. A method without a value has none of the ranks; one
    that has fewer than half of those that the most often judged one has comes last.

    failing: methods whose maps survive random weights. They are ranked, but another one is advised if there is any.
    """
    judging = [metric for metric in metrics if metric.family in JUDGING] or list(metrics)
    families = list(dict.fromkeys(metric.family for metric in judging))
    parts = []
    for family in families:
        of_family = [metric for metric in judging if metric.family == family]
        stack = [_ranks(metric, [values(method, metric.name) for method in methods]) for metric in of_family]
        parts.append(np.stack(stack))
    known = sum(np.isfinite(part).sum(axis=(0, 2)) for part in parts)
    per_image = _mean(np.stack([_mean(part, 0) for part in parts]), 0)  # (methods, images)
    rank = _mean(per_image, 1)
    enough = np.asarray(known) * 2 >= np.max(known)
    rank = np.where(enough, rank, np.inf)
    rank = np.where(np.isnan(rank), np.inf, rank)
    order = [methods[i] for i in np.argsort(rank, kind="stable")]
    count = per_image.shape[1]
    draws = resamples(count)
    drawn = np.stack([_mean(row[draws], 1) for row in per_image])
    advised = np.array([m not in failing for m in methods]) if set(methods) - set(failing) else np.ones_like(enough)
    best = np.where(np.isnan(drawn) | ~(enough & advised)[:, None], np.inf, drawn).argmin(axis=0)
    first = {method: float((best == i).mean()) for i, method in enumerate(methods)}
    mean_rank = {m: float(r) for m, r in zip(methods, rank, strict=True) if math.isfinite(r)}
    names = tuple(metric.name for metric in judging)
    candidates = [method for method in order if advised[methods.index(method)]]
    sentence = _sentence(candidates, mean_rank, first, names, count) + _about(order, candidates, failing)
    return Ranking(tuple(order), mean_rank, first, names, count, sentence)


def _about(order: Sequence[str], candidates: Sequence[str], failing: Collection[str]) -> str:
    """What else to say of methods whose maps survive random weights."""
    survive = "survive random weights: they show what is in the image rather than what the model uses"
    if candidates[0] in failing:
        return f" Maps of {', '.join(candidates)} {survive}, so judge other methods as well."
    before = order[: order.index(candidates[0])]
    return f" {', '.join(before)} rank{'s' * (len(before) == 1)} higher, but such maps {survive}." if before else ""


def _ranks(metric: Metric, rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """(methods, images), 1 for the best; NaN where there is no value."""
    found = np.stack(rows) * (-1 if metric.better == "higher" else 1)
    result = np.full(found.shape, np.nan)
    for image in range(found.shape[1]):
        finite = np.isfinite(found[:, image])
        if finite.any():
            result[finite, image] = 1 + ranks(found[finite, image])
    return result


def _mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """The mean of what is no NaN; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _sentence(
    order: Sequence[str], mean_rank: dict[str, float], first: dict[str, float], metrics: Sequence[str], count: int
) -> str:
    ranked = [method for method in order if method in mean_rank]
    on = f"{count} image{'s' * (count != 1)}"
    if not ranked:
        return f"No method has a value on the {on}: nothing can be said."
    best = ranked[0]
    if len(mean_rank) == 1:
        return f"{best} is the only method that was judged ({on}): compare it with another one."
    by = f"mean rank {mean_rank[best]:.1f} of {len(mean_rank)} methods by {', '.join(metrics)} on {on}"
    close = [method for method in ranked[1:] if first[method] >= 1 - LIKELY]
    share = f"in {first[best]:.0%} of the resampled sets of images it stays first"
    if len(ranked) == 1:
        return f"{best} is the only method that can be advised ({by}): compare it with another one."
    if count < FEW:
        return f"{best} comes first ({by}), but {on} are too few to be sure: give at least {FEW}."
    if first[best] >= SURE:
        return f"Use {best} here: {by}; {share}, so this is sure for images like these."
    if first[best] >= LIKELY:
        return f"Use {best} here: {by}; {share}, so this is likely, not sure (next: {ranked[1]})."
    others = close or ranked[1:2]
    return f"{best} comes first ({by}), but {', '.join(others)} cannot be told from it: {share}; take more images."
