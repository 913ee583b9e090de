"""What was found for the units of one layer: as arrays, and several parts merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...kernels.extremes import Sums, no_sums
from ...kernels.topk import TopK, empty, merge
from .statistics import UnitStatistics, merge_statistics, no_statistics, sums_from
from .statistics import arrays_of as statistics_arrays
from .statistics import from_arrays as statistics_from
from .units import UnitLayer


@dataclass(frozen=True)
class LayerTop:
    """What was found for the units of one layer.

    Attributes: `layer`; `strongest` and `weakest`, whose scores are the negated values; `sample`, float32 (S, units),
    the highest value in each sampled image, and `sample_places` int32; `statistics`; `classes`, one sum per class of
    the highest value of each image, those below 0 taken as 0.
    """

    layer: UnitLayer
    strongest: TopK
    weakest: TopK
    sample: NDArray[np.float32]
    sample_places: NDArray[np.int32]
    statistics: UnitStatistics
    classes: tuple[Sums, ...] = ()


class Part(Protocol):
    """What merging needs to know of a result: ids of its sample, ascending, and its classes."""

    @property
    def sample(self) -> NDArray[np.int64]: ...

    @property
    def classes(self) -> tuple[str, ...]: ...


def arrays_of(found: LayerTop) -> dict[str, NDArray[Any]]:
    """The arrays of a layer, by name."""
    units = found.layer.units
    return {
        **{f"strongest.{name}": array for name, array in vars(found.strongest).items()},
        **{f"weakest.{name}": array for name, array in vars(found.weakest).items()},
        "sample.scores": found.sample,
        "sample.places": found.sample_places,
        **{f"statistics.{name}": array for name, array in statistics_arrays(found.statistics).items()},
        "classes": np.array([np.column_stack([s.digits, s.broken]) for s in found.classes], np.int64).reshape(
            -1, units, 11
        ),
    }


def sub_arrays(arrays: Mapping[str, NDArray[Any]], key: int | str) -> dict[str, NDArray[Any]]:
    """Those whose name begins with `key` and a dot, without these."""
    head = f"{key}."
    return {name.removeprefix(head): array for name, array in arrays.items() if name.startswith(head)}


def from_arrays(layer: UnitLayer, arrays: Mapping[str, NDArray[Any]]) -> LayerTop:
    """What `arrays_of` gave. Raises KeyError, ValueError where something is missing or does not fit."""
    best = [sub_arrays(arrays, name) for name in ("strongest", "weakest")]
    strongest, weakest = (TopK(part["scores"], part["ids"], part["places"]) for part in best)
    if len(strongest.ids) != layer.units or arrays["sample.scores"].shape[1] != layer.units:
        raise ValueError(f"arrays are not of {layer.units} units")
    return LayerTop(
        layer,
        strongest,
        weakest,
        arrays["sample.scores"],
        arrays["sample.places"],
        statistics_from(sub_arrays(arrays, "statistics")),
        tuple(sums_from(part) for part in arrays["classes"]),
    )


def sample_of(samples: Sequence[NDArray[np.int64]], most: int) -> NDArray[np.int64]:
    """The `most` lowest of all ids: of random numbers, a random sample."""
    return np.unique(np.concatenate([np.zeros(0, np.int64), *samples]))[:most]


def merge_layers(
    layers: Sequence[LayerTop], parts: Sequence[Part], names: Sequence[str], sample: NDArray[np.int64]
) -> LayerTop:
    """One layer of several results; `names` are the classes and `sample` the ids of the merged result."""
    first = layers[0]
    units, k = first.strongest.ids.shape
    strongest, weakest, statistics = empty(units, k), empty(units, k), no_statistics(units)
    classes = {name: no_sums(units) for name in names}
    scores = np.empty((len(sample), units), np.float32)
    places = np.empty((len(sample), units), np.int32)
    for found, part in zip(layers, parts, strict=True):
        merge(strongest, found.strongest)
        merge(weakest, found.weakest)
        merge_statistics(statistics, found.statistics)
        for name, sums in zip(part.classes, found.classes, strict=False):
            classes[name].digits[:] += sums.digits
            classes[name].broken[:] += sums.broken
        _, here, there = np.intersect1d(sample, part.sample, assume_unique=True, return_indices=True)
        scores[here], places[here] = found.sample[there], found.sample_places[there]
    kept = tuple(classes.values()) if any(found.classes for found in layers) else ()
    return LayerTop(first.layer, strongest, weakest, scores, places, statistics, kept)
