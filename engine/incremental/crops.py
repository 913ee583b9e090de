"""Copies and crops of one image with windows hidden in them, and what has changed of the maps behind."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels import occlusion as kernels
from ..inference.row_graphs import RowGraph, occluded
from .windows import Hidden


class HiddenSample:
    """One sample and the windows that are hidden in it. x: (1, ...); axes: of its rows and columns."""

    def __init__(self, x: NDArray[Any], axes: tuple[int, int], hidden: Hidden) -> None:
        if not callable(hidden.fill):
            hidden = replace(hidden, fill=np.ascontiguousarray(hidden.fill, x.dtype))
        self.x, self.axes, self.hidden = np.ascontiguousarray(x), axes, hidden
        self._clean = sample_view(self.x[0], axes)

    def copies(self, windows: NDArray[np.int64]) -> NDArray[Any]:
        """The samples (n, ...) with the windows of these numbers hidden."""
        out = np.empty((len(windows), *self._clean.shape), self._clean.dtype)
        boxes = np.ascontiguousarray(self.hidden.boxes[windows])
        for some in self._filled_alike(windows):
            fill = self._fill_of(windows[some])
            if self.hidden.segments is not None and self.hidden.ids is not None:
                ids = np.ascontiguousarray(self.hidden.ids[windows[some]])
                kernels.copies_of_segments(out[some], self._clean, fill, self.hidden.segments, ids, boxes[some])
            else:
                kernels.copies(out[some], self._clean, fill, boxes[some])
        return out.reshape(len(windows), *self.x.shape[1:])

    def graph(self, windows: NDArray[np.int64]) -> RowGraph:
        """What makes the copies of the windows of these numbers on a device; the fill is one for all."""
        hidden, (a, height, width, k) = self.hidden, self._clean.shape
        fill, boxes = self._fill_of(windows), hidden.boxes[windows]
        if hidden.segments is None or hidden.ids is None:
            return occluded(self.x[0], (a, height, width, k), fill, boxes.__getitem__)
        ids = hidden.ids[windows]
        return occluded(self.x[0], (a, height, width, k), fill, boxes.__getitem__, hidden.segments, ids.__getitem__)

    def crops(self, out: NDArray[Any], at: NDArray[np.int64], windows: NDArray[np.int64]) -> None:
        """out[i] (A, h, w, K) = the part of the sample at at[i], with the window windows[i] hidden."""
        boxes = np.ascontiguousarray(self.hidden.boxes[windows])
        for some in self._filled_alike(windows):
            fill = self._fill_of(windows[some])
            if self.hidden.segments is not None and self.hidden.ids is not None:
                ids = np.ascontiguousarray(self.hidden.ids[windows[some]])
                segments = self.hidden.segments
                kernels.crops_of_segments(out[some], self._clean, fill, segments, ids, at[some], boxes[some])
            else:
                kernels.crops_occluded(out[some], self._clean, fill, at[some], boxes[some])

    def _filled_alike(self, windows: NDArray[np.int64]) -> list[slice]:
        """The windows that one call of a kernel fills: all, or one by one where each may be filled otherwise."""
        if self.hidden.ids is None and not callable(self.hidden.fill):
            return [slice(None)]
        return [slice(place, place + 1) for place in range(len(windows))]

    def _fill_of(self, windows: NDArray[np.int64]) -> NDArray[Any]:
        """What is seen inside windows that are filled alike, as (A, H, W, K)."""
        fill = self.hidden.fill(int(windows[0])) if callable(self.hidden.fill) else self.hidden.fill
        return sample_view(np.ascontiguousarray(fill, self.x.dtype), self.axes)


class Crops:
    """What has changed of one value, for every window of a chunk: crops of several sizes, batch by batch."""

    def __init__(self, count: int) -> None:
        self.batches: list[NDArray[Any]] = []  # (n, A, h, w, K) each
        self.batch = np.zeros(count, np.int64)
        self.place = np.zeros(count, np.int64)
        self.at = np.zeros((count, 2), np.int64)

    def add(self, batch: NDArray[Any], windows: NDArray[np.int64], at: NDArray[np.int64]) -> None:
        """Crops (n, A, h, w, K) of the windows at these places in the chunk, each at its row and column at[i]."""
        self.batch[windows], self.place[windows] = len(self.batches), np.arange(len(windows))
        self.at[windows] = at
        self.batches.append(batch)

    def paste(self, out: NDArray[Any], clean: NDArray[Any], at: NDArray[np.int64], windows: NDArray[np.int64]) -> None:
        """out[i] = the part of `clean` at at[i], with the crop of window windows[i] in its place."""
        batch, place = self.batch[windows], self.place[windows]
        # Windows that came next to each other out of one batch go into one call.
        breaks = np.flatnonzero((batch[1:] != batch[:-1]) | (place[1:] != place[:-1] + 1)) + 1
        for start, end in zip([0, *breaks], [*breaks, len(windows)], strict=True):
            crops = self.batches[batch[start]][place[start] : place[start] + end - start]
            kernels.crops(out[start:end], clean, at[start:end], crops, self.at[windows[start:end]])


def batch_view(batch: NDArray[Any], axes: tuple[int, int]) -> NDArray[Any]:
    """A batch (n, ...) as (n, A, H, W, K)."""
    shape = batch.shape
    sides = shape[axes[0]], shape[axes[1]]
    return batch.reshape(shape[0], math.prod(shape[1 : axes[0]]), *sides, math.prod(shape[axes[1] + 1 :]))


def sample_view(sample: NDArray[Any], axes: tuple[int, int]) -> NDArray[Any]:
    """One sample as (A, H, W, K); `axes` count the batch."""
    shape = sample.shape
    before, after = math.prod(shape[: axes[0] - 1]), math.prod(shape[axes[1] :])
    return sample.reshape(before, shape[axes[0] - 1], shape[axes[1] - 1], after)
