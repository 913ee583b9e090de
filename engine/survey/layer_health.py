"""What was measured of one layer, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.histogram import quantile
from ...kernels.wide_sums import WideSums, add, add_triangle, merge, no_wide_sums, triangle
from .layer_top import sub_arrays
from .statistics import UnitStatistics, merge_statistics, no_statistics
from .statistics import arrays_of as statistics_arrays
from .statistics import from_arrays as statistics_from
from .units import UnitLayer

# From this correlation on two units count as the same.
DUPLICATE = 0.99


@dataclass(frozen=True)
class Covariance:
    """Of `rows` (places of images): sums of every unit's values, and of the products of every two units' values, the
    upper triangle row by row; both in an exact form, so that groups of images may come in any order and any parts.
    """

    rows: int
    sums: WideSums
    products: WideSums

    @property
    def means(self) -> NDArray[np.float64]:
        """(units,)"""
        return self.sums.values() / max(1, self.rows)

    def matrix(self) -> NDArray[np.float64]:
        """The covariance (units, units)."""
        means = self.means
        return triangle(self.products.values(), len(means)) / max(1, self.rows) - np.outer(means, means)

    def with_group(self, rows: NDArray[np.float32]) -> Covariance:
        """With the values (rows, units) of a group of images; the sums are changed in place."""
        means = rows.mean(axis=0, dtype=np.float64)
        centred = rows - means.astype(np.float32)
        # What rounding the means has left.
        rest = centred.mean(axis=0, dtype=np.float64)
        products = (centred.T @ centred).astype(np.float64)
        products += len(rows) * (np.outer(means, means) - np.outer(rest, rest))
        return Covariance(
            self.rows + len(rows), add(self.sums, len(rows) * means), add_triangle(self.products, products)
        )

    def merged(self, other: Covariance) -> Covariance:
        """Of the rows of both."""
        found = no_covariance(len(self.sums.top))
        for part in (self, other):
            merge(found.sums, part.sums)
            merge(found.products, part.products)
        return Covariance(self.rows + other.rows, found.sums, found.products)


def no_covariance(units: int) -> Covariance:
    """Of no image."""
    return Covariance(0, no_wide_sums(units), no_wide_sums(units * (units + 1) // 2))


@dataclass(frozen=True)
class LayerHealth:
    """What was measured of the units of a layer.

    Attributes: `layer`; `function`, its activation function ("" for none), and `ends`, the values from which on it is
    at its low and high end; `statistics` of the value behind it; `count` of images; `before` and `after`, histograms
    int64 (units, bins) of the values in front of the function and behind it (see `kernels/histogram.py`); `at_low`,
    `at_high` int64 (units,), values at the ends; `covariance`, None for very many units.
    """

    layer: UnitLayer
    function: str
    ends: tuple[float | None, float | None]
    statistics: UnitStatistics
    count: int
    before: NDArray[np.int64]
    after: NDArray[np.int64]
    at_low: NDArray[np.int64]
    at_high: NDArray[np.int64]
    covariance: Covariance | None

    @property
    def values(self) -> int:
        """How many values a unit had: images times places."""
        return max(1, self.count * self.layer.places)

    @property
    def mean(self) -> NDArray[np.float64]:
        """(units,)"""
        return self.statistics.means.values() / max(1, self.count)

    @property
    def std(self) -> NDArray[np.float64]:
        """(units,)"""
        squares = self.statistics.squares.values() / max(1, self.count)
        return np.asarray(np.sqrt(np.maximum(0, squares - self.mean**2)))

    @property
    def sparsity(self) -> NDArray[np.float64]:
        """(units,): the share of values that are not above 0."""
        return np.asarray(1 - self.statistics.active / self.values)

    @property
    def dead(self) -> NDArray[np.bool_]:
        """(units,): whether a unit has the same value everywhere: it tells nothing."""
        return np.asarray(self.statistics.highest <= self.statistics.lowest)

    @property
    def always_on(self) -> NDArray[np.bool_]:
        """(units,): whether a rectified unit is above 0 everywhere, so that its function does nothing."""
        bent = self.function in (
            "Relu",
            "ReLU6",
            "Clip",
            "ThresholdedRelu",
            "LeakyRelu",
            "PRelu",
            "Elu",
            "Selu",
            "Celu",
        )
        return np.asarray((self.statistics.active >= self.values) & bent & ~self.dead)

    @property
    def saturated(self) -> NDArray[np.float64]:
        """(units,): the share of values at an end of the function; of rectifiers, only at the upper one."""
        low = 0 if self.ends[0] == 0 and self.function not in ("HardSigmoid",) else self.at_low
        return np.asarray((low + self.at_high) / self.values)

    def duplicates(self) -> list[tuple[int, int, float]]:
        """Pairs of units, the lower number first, whose correlation over places of images is above 0.99."""
        if self.covariance is None:
            return []
        matrix = self.covariance.matrix()
        spread = np.sqrt(np.maximum(np.diag(matrix), 0))
        live = ~self.dead & (spread > 1e-6 * np.maximum(1e-12, np.abs(self.mean)))
        scale = np.outer(np.where(live, spread, 1), np.where(live, spread, 1))
        found = np.triu(matrix / scale, 1) * np.outer(live, live)
        pairs = np.argwhere(found > DUPLICATE)
        return [(int(a), int(b), min(1.0, float(found[a, b]))) for a, b in pairs]

    def effective_rank(self) -> float:
        """Participation ratio: the square of the sum of the covariance's eigenvalues by the sum of their squares.

        1 where all units say the same, `units` where they are independent and equally strong (P. Gao and S. Ganguli,
        2015); NaN without a covariance.
        """
        if self.covariance is None:
            return float("nan")
        matrix = self.covariance.matrix()
        squares = float((matrix**2).sum())
        return float(np.trace(matrix) ** 2 / squares) if squares > 0 else 0.0

    def quantiles(self, share: float, *, before: bool = False) -> NDArray[np.float64]:
        """(units,): values below which that share lies, to a quarter of a doubling."""
        return quantile(self.before if before else self.after, share)

    def to_mapping(self) -> dict[str, Any]:
        """The layer's numbers, and each unit's, as JSON-like data."""
        return {
            "layer": self.layer.name,
            "function": self.function,
            "units": self.layer.units,
            "mean": float(self.mean.mean()),
            "std": float(np.sqrt(np.mean(self.std**2 + (self.mean - self.mean.mean()) ** 2))),
            "sparsity": float(self.sparsity.mean()),
            "saturated": float(self.saturated.mean()),
            "dead": np.flatnonzero(self.dead).tolist(),
            "always_on": np.flatnonzero(self.always_on).tolist(),
            "duplicates": [[a, b, round(r, 6)] for a, b, r in self.duplicates()],
            "effective_rank": None if self.covariance is None else self.effective_rank(),
        }


def arrays_of(found: LayerHealth) -> dict[str, NDArray[Any]]:
    """The arrays of a layer, by name."""
    arrays: dict[str, NDArray[Any]] = {
        **{f"statistics.{name}": array for name, array in statistics_arrays(found.statistics).items()},
        **{name: getattr(found, name) for name in ("before", "after", "at_low", "at_high")},
    }
    if found.covariance is not None:
        arrays["rows"] = np.array(found.covariance.rows)
        for name in ("sums", "products"):
            arrays |= {f"{name}.{part}": array for part, array in vars(getattr(found.covariance, name)).items()}
    return arrays


def described(found: LayerHealth) -> dict[str, Any]:
    """What is not in the arrays."""
    ends = list(found.ends)
    return {"layer": found.layer.to_mapping(), "function": found.function, "ends": ends, "count": found.count}


def from_arrays(entry: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> LayerHealth:
    """What `described` and `arrays_of` gave. Raises KeyError, TypeError, ValueError."""
    covariance = None
    if "rows" in arrays:
        sums, products = (WideSums(**sub_arrays(arrays, name)) for name in ("sums", "products"))
        covariance = Covariance(int(arrays["rows"]), sums, products)
    low, high = entry["ends"]
    return LayerHealth(
        layer=UnitLayer.from_mapping(entry["layer"]),
        function=str(entry["function"]),
        ends=(low, high),
        statistics=statistics_from(sub_arrays(arrays, "statistics")),
        count=int(entry["count"]),
        covariance=covariance,
        **{name: arrays[name] for name in ("before", "after", "at_low", "at_high")},
    )


def merged(one: LayerHealth, other: LayerHealth) -> LayerHealth:
    """Of the images of both."""
    statistics = no_statistics(one.layer.units)
    merge_statistics(statistics, one.statistics)
    merge_statistics(statistics, other.statistics)
    covariance = None
    if one.covariance is not None and other.covariance is not None:
        covariance = one.covariance.merged(other.covariance)
    return LayerHealth(
        layer=one.layer,
        function=one.function,
        ends=one.ends,
        statistics=statistics,
        count=one.count + other.count,
        covariance=covariance,
        **{name: getattr(one, name) + getattr(other, name) for name in ("before", "after", "at_low", "at_high")},
    )
