"""A series as it is given: its values over time, the names of its features, and what its times are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError


@dataclass(frozen=True, eq=False)
class Series:
    """Numbers over time, for a model that reads them in whichever order.

    values: (times, features), (times,), {feature: values}, or a data frame. names: of the features, where `values` has
        none. times: of the rows: numbers, or texts such as dates, as many as rows; by default 0, 1, ...
    unit: of the times ("s", "h").

    Raises ShapeError for values that are no numbers, or names and times that do not fit them.
    """

    values: Any
    names: Sequence[str] = ()
    times: Sequence[float | str] = ()
    unit: str = ""

    def __post_init__(self) -> None:
        values, names = self.values, tuple(map(str, self.names))
        if hasattr(values, "columns") and hasattr(values, "to_numpy"):
            names, values = names or tuple(map(str, values.columns)), values.to_numpy()
        elif isinstance(values, Mapping):
            names = names or tuple(map(str, values))
            if len({len(column) for column in values.values()}) > 1:
                raise ShapeError("the features of the series have different numbers of times")
            values = np.stack([np.asarray(column) for column in values.values()], axis=1)
        try:
            found = np.asarray(values).astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ShapeError(f"a series holds numbers: {error}") from None
        found = found[:, None] if found.ndim == 1 else found
        if found.ndim != 2 or not found.size:
            raise ShapeError(f"a series was given as {list(found.shape)}: give (times, features)")
        if names and len(names) != found.shape[1]:
            raise ShapeError(f"the series has {found.shape[1]} features and {len(names)} names: give one for each")
        times = tuple(t if isinstance(t, str) else float(t) for t in self.times)
        if times and len(times) != len(found):
            raise ShapeError(f"the series has {len(found)} times and {len(times)} names of them: give one for each")
        object.__setattr__(self, "values", found)
        object.__setattr__(self, "names", names or tuple(f"feature {i}" for i in range(found.shape[1])))
        object.__setattr__(self, "times", times)

    def __len__(self) -> int:
        return len(self.values)

    def part(self, times: Sequence[int]) -> Series:
        """Some of the times."""
        chosen = tuple(self.times[i] for i in times) if self.times else ()
        return Series(self.values[list(times)], self.names, chosen, self.unit)

    def only(self, names: Sequence[str]) -> Series:
        """Some of the features, in that order. Raises ShapeError for one that there is not."""
        missing = [name for name in names if name not in self.names]
        if missing:
            raise ShapeError(f"the series has no feature {missing[0]!r}: it has {', '.join(self.names[:12])}")
        at = [list(self.names).index(name) for name in names]
        return Series(self.values[:, at], names, self.times, self.unit)


def time_names(series: Series) -> NDArray[np.object_]:
    """What stands at each time, as a text."""
    return np.array([t if isinstance(t, str) else f"{t:g}" for t in series.times or range(len(series))], object)
