"""Windows: the parts of an image that are hidden, each in its own copy of the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..inspect.locality.reach import Spans


@dataclass(frozen=True)
class Hidden:
    """Copies of one sample, each with a part of it replaced.

    boxes: int64 (P, 4), y0, x0, y1, x1 in pixels of the tensor. fill: one sample's tensor, what is seen inside the
    windows; or a function that gives it for the number of a window. segments (H, W) and ids (P,), int32: only the
    pixels of a box that belong to the segment are hidden.
    """

    boxes: NDArray[np.int64]
    fill: NDArray[Any] | Callable[[int], NDArray[Any]]
    segments: NDArray[np.int32] | None = None
    ids: NDArray[np.int32] | None = None


@dataclass(frozen=True, eq=False)
class Windows:
    """Boxes (P, 4): y0, x0, y1, x1 in pixels; as pairs of intervals of rows and columns, each listed once.

    share: of all windows, those that will be looked at in the end.
    """

    boxes: NDArray[np.int64]
    share: float = 1.0

    @property
    def count(self) -> float:
        """How many will be looked at."""
        return len(self.boxes) * self.share

    @cached_property
    def _rows(self) -> tuple[Spans, NDArray[np.int64]]:
        return _listed(self.boxes[:, [0, 2]])

    @cached_property
    def _columns(self) -> tuple[Spans, NDArray[np.int64]]:
        return _listed(self.boxes[:, [1, 3]])

    def spans(self, axis: int) -> Spans:
        """The different intervals of rows (axis 0) or columns (1), (n, 2)."""
        return (self._columns if axis else self._rows)[0]

    def of(self, axis: int) -> NDArray[np.int64]:
        """Which of them each window has, (P,)."""
        return (self._columns if axis else self._rows)[1]


def _listed(spans: Spans) -> tuple[Spans, NDArray[np.int64]]:
    found, which = np.unique(spans, axis=0, return_inverse=True)
    return np.asarray(found, np.int64), np.asarray(which, np.int64).reshape(-1)
