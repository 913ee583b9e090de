"""The objective of a picture of any size, and its gradient: in one run, or in tiles where it is larger than a tile."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...errors import Disconnected, ShapeError
from ...graph.model import Model
from ...inference.batches import RunOptions
from ..canvas import Canvas
from ..network import Network
from ..objective import Objective
from .tiles import Span, spans

Picture = NDArray[np.float32]


@dataclass
class Slope:
    """The objective and its gradient for pictures (C, H, W) in 0..1 of any size.

    Networks are kept by size; pictures with a side above `tile` are seen in tiles, so that memory does not depend on
    their size. `fixed`: the only size, if the network takes one only: every picture is then seen in tiles of it.
    """

    model: Model
    canvas: Canvas
    objective: Objective
    labels: tuple[str, ...] | None
    tile: int
    overlap: int
    runtime: RunOptions
    fixed: tuple[int, int] | None = None
    _networks: dict[tuple[int, int], Network] = field(default_factory=dict)

    def window(self, size: tuple[int, int]) -> tuple[int, int]:
        """Of a picture of `size`: what the network sees of it at once."""
        return self.fixed or (min(size[0], self.tile), min(size[1], self.tile))

    def network(self, size: tuple[int, int]) -> Network:
        """For a window of `size`. Raises ShapeError where the network cannot take it, GradientError."""
        if size not in self._networks:
            self._networks[size] = Network(
                self.model,
                self.canvas.with_size(size),
                [self.objective],
                labels=self.labels,
                providers=self.runtime.providers,
                threads=self.runtime.threads,
            )
        return self._networks[size]

    def check(self, size: tuple[int, int]) -> None:
        """Raises ShapeError where a picture of `size` cannot be dreamed, GradientError where nothing can."""
        window = self.window(size)
        if any(side < least for side, least in zip(size, window, strict=True)):
            raise ShapeError(
                f"the network sees pictures of {window[0]}x{window[1]} pixels only, and {size[0]}x{size[1]} is smaller"
            )
        self.network(window)

    def probe(self, size: tuple[int, int]) -> None:
        """As `check`, with a run: some networks say only then that nothing is left of so small a picture."""
        self.check(size)
        network = self.network(self.window(size))
        network.run(np.zeros(network.canvas.shape(1), np.float32))

    def __call__(self, picture: Picture, shift: tuple[int, int], rng: np.random.Generator) -> tuple[float, Picture]:
        """The mean of the tiles' objectives, and the gradient (C, H, W) of the picture, seen moved by `shift`.

        What comes in at an edge mirrors the picture, so that no edge is seen there; what it mirrors gets its gradient.
        rng: of the places of tiles. Raises what `Network.run` raises.
        """
        size = (picture.shape[1], picture.shape[2])
        window = self.window(size)
        network = self.network(window)
        gradient, scores = np.zeros_like(picture), []
        for down, across in self._windows(size, window, rng):
            rows, columns = (
                np.arange(s.start, s.start + w) - d for s, w, d in zip((down, across), window, shift, strict=True)
            )
            score, slope = seen(network, picture[:, mirrored(rows, size[0])[:, None], mirrored(columns, size[1])])
            scores.append(score)
            y, x = (slice(s.first - s.start, s.last - s.start) for s in (down, across))
            counted = slope[:, y, x]
            for (a, there), (b, here) in itertools.product(_runs(rows[y], size[0]), _runs(columns[x], size[1])):
                gradient[:, there, here] += counted[:, a, b]
        return float(np.mean(scores)), gradient

    def _windows(
        self, size: tuple[int, int], window: tuple[int, int], rng: np.random.Generator
    ) -> Iterator[tuple[Span, Span]]:
        # A fixed window may be too small for the border that is asked for.
        least = min(window) // 4
        down, across = (spans(n, w, min(self.overlap, least), rng) for n, w in zip(size, window, strict=True))
        return ((a, b) for a in down for b in across)

    def value(self, picture: Picture) -> float:
        """The objective of the picture as it is."""
        return self(picture, (0, 0), np.random.default_rng(0))[0]


def mirrored(places: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Places inside 0..length-1; those beyond are mirrored at the edge, which is not repeated."""
    turn = max(1, 2 * length - 2)
    inside = np.abs(places) % turn
    return np.minimum(inside, turn - inside) if length > 1 else np.zeros_like(places)


def _runs(places: NDArray[np.int64], length: int) -> Iterator[tuple[slice, slice]]:
    """Places in a row, mirrored: parts of them in order, and the pixels that each shows, as slices."""
    inside = mirrored(places, length)
    turns = np.flatnonzero(np.diff(np.sign(np.diff(inside)))) + 1
    edges = [0, *(int(t) for t in turns + (turns > 0)), len(places)]
    for first, last in itertools.pairwise(edges):
        if last > first:
            low, high = int(inside[first]), int(inside[last - 1])
            step = 1 if high >= low else -1
            yield slice(first, last), slice(low, high + step if high + step >= 0 else None, step)


def seen(network: Network, picture: Picture) -> tuple[float, Picture]:
    """The objective of a picture (C, H, W) of the network's size, and its gradient."""
    canvas = network.canvas
    gain, shift = (np.reshape(np.array(part, np.float32), (-1, 1, 1)) for part in (canvas.gain, canvas.shift))
    order = list(canvas.order)
    climb = network.run(canvas.tensor((picture[order] * gain + shift)[None]))
    gradient = np.empty_like(picture)
    gradient[order] = canvas.seen(climb.gradient)[0] * gain
    if not np.isfinite(gradient).all():
        raise Disconnected(f"the gradient of the objective is not finite (its value is {climb.score[0]:g})")
    return float(climb.score[0]), gradient
