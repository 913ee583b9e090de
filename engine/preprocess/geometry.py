"""From the model's pixels back to the image's, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...kernels.resize import resize
from ..errors import ShapeError
from .card import Card

MapMode = Literal["nearest", "bilinear", "bicubic"]


@dataclass(frozen=True)
class Geometry:
    """Where the pixels of an original image lie on the model's input plane.

    Attributes: `original` (H, W) of the image, `size` (h, w) of the model's plane, `resized` (rh, rw) that the whole
    image was scaled to, `offset` (top, left) of the scaled image on the plane.
    """

    original: tuple[int, int]
    size: tuple[int, int]
    resized: tuple[int, int]
    offset: tuple[int, int]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The part of the original that the model sees: (y0, x0, y1, x1) in its pixels, with fractions."""
        (y0, y1), (x0, x1) = (self._seen(axis) for axis in (0, 1))
        return y0, x0, y1, x1

    @property
    def plane_box(self) -> tuple[int, int, int, int]:
        """The part of the model's plane that shows the image, not padding: (y0, x0, y1, x1) in its pixels."""
        y0, x0 = (max(0, o) for o in self.offset)
        y1, x1 = (min(n, o + r) for n, o, r in zip(self.size, self.offset, self.resized, strict=True))
        return y0, x0, y1, x1

    def to_model(self, points: ArrayLike) -> NDArray[np.float64]:
        """Points (..., 2) as (y, x) of the original -> the same on the model's plane."""
        points = np.asarray(points, np.float64)
        return points * np.divide(self.resized, self.original) + np.asarray(self.offset, np.float64)

    def to_original(self, points: ArrayLike) -> NDArray[np.float64]:
        """Points (..., 2) as (y, x) of the model's plane -> the same on the original; outside it for padding."""
        points = np.asarray(points, np.float64)
        return (points - np.asarray(self.offset, np.float64)) * np.divide(self.original, self.resized)

    def to_image(
        self,
        map: ArrayLike,
        mode: MapMode = "bilinear",
        *,
        fill: float = 0.0,
        rows: tuple[int, int] | None = None,
        threads: int | None = None,
    ) -> NDArray[np.float32]:
        """A map over the model's plane, at any resolution, on the pixels of the original image.

        map: (h, w), or (n, h, w) for n of them, any real dtype; its cells divide the plane evenly. Returns float32
        (H, W) or (n, H, W), not normalised. Pixels whose centre the model does not see hold `fill` (NaN is possible).
        Where the image is coarser than the map, the map is averaged over each pixel. rows: which rows of the result to
        make, first and behind the last, default all.

        Raises ShapeError for another shape or an empty map.
        """
        maps = np.asarray(map)
        if maps.ndim not in (2, 3) or 0 in maps.shape or maps.dtype.kind not in "fiub":
            raise ShapeError(
                f"a map must hold real numbers in the shape (h, w) or (n, h, w), got {maps.dtype} {maps.shape}"
            )
        stack = maps.astype(np.float32, copy=False)
        grids = stack[None] if maps.ndim == 2 else stack
        top, bottom = rows or (0, self.original[0])
        out = np.full((len(grids), bottom - top, self.original[1]), fill, np.float32)
        down, across = self._on_grid(0, maps.shape[-2]), self._on_grid(1, maps.shape[-1])
        first, last = max(top, down.pixels.start), min(bottom, down.pixels.stop)
        if first < last and across.count:  # else the model sees less than the middle of one pixel
            part = (first - down.pixels.start, last - down.pixels.start)
            for grid, image in zip(grids, out, strict=True):
                image[first - top : last - top, across.pixels] = _sample(grid, down, across, mode, part, threads)
        return out[0] if maps.ndim == 2 else out

    def unseen(self, rows: tuple[int, int] | None = None) -> list[tuple[slice, slice]]:
        """The parts of the original, (rows, columns), whose pixels' centres the model does not see; none is empty.

        rows: of which rows, first and behind the last, default all; the parts are counted from the first of them.
        """
        top, bottom = rows or (0, self.original[0])
        down, across = self._on_grid(0, 1).pixels, self._on_grid(1, 1).pixels
        return _around(
            (bottom - top, self.original[1]), (down.start - top, down.stop - top), (across.start, across.stop)
        )

    def to_mapping(self) -> dict[str, Any]:
        """As JSON-like data, for manifests."""
        return {name: list(getattr(self, name)) for name in ("original", "size", "resized", "offset")}

    def _seen(self, axis: int) -> tuple[float, float]:
        """The interval of the original's axis that lies on the plane."""
        scale = self.original[axis] / self.resized[axis]
        start, end = -self.offset[axis], self.size[axis] - self.offset[axis]
        return max(0.0, start * scale), min(float(self.original[axis]), end * scale)

    def _on_grid(self, axis: int, cells: int) -> _Axis:
        """The original's pixels whose centres lie on the plane; their interval on a grid of `cells` over the plane."""
        length, resized, offset, side = (t[axis] for t in (self.original, self.resized, self.offset, self.size))
        # the centre i + 1/2 is on the plane where 0 <= (2 i + 1) resized + 2 length offset < 2 length side
        first = -((resized + 2 * length * offset) // (2 * resized))
        last = -((resized + 2 * length * (offset - side)) // (2 * resized))
        first, last = max(0, first), min(length, last)
        step = resized / length * (cells / side)
        start = offset * (cells / side) + first * step
        end = offset * (cells / side) + last * step
        if (first, last, offset, resized) == (0, length, 0, side):
            start, end = 0.0, float(cells)
        return _Axis(slice(first, last), last - first, start, end)


@dataclass(frozen=True)
class PartGeometry(Geometry):
    """The same for a part of an image, on the pixels of the whole: what is outside the part is not seen.

    `original` (H, W) is the whole, `part` the geometry of the part alone, `corner` (y, x) its place in the whole.
    """

    part: Geometry
    corner: tuple[int, int]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The part of the whole that the model sees: (y0, x0, y1, x1) in its pixels, with fractions."""
        (y0, x0, y1, x1), (top, left) = self.part.box, self.corner
        return y0 + top, x0 + left, y1 + top, x1 + left

    @property
    def plane_box(self) -> tuple[int, int, int, int]:
        """As that of the part."""
        return self.part.plane_box

    def to_model(self, points: ArrayLike) -> NDArray[np.float64]:
        """Points (..., 2) as (y, x) of the whole -> the same on the model's plane."""
        return self.part.to_model(np.asarray(points, np.float64) - self.corner)

    def to_original(self, points: ArrayLike) -> NDArray[np.float64]:
        """Points (..., 2) as (y, x) of the model's plane -> the same on the whole."""
        return self.part.to_original(points) + self.corner

    def to_image(
        self,
        map: ArrayLike,
        mode: MapMode = "bilinear",
        *,
        fill: float = 0.0,
        rows: tuple[int, int] | None = None,
        threads: int | None = None,
    ) -> NDArray[np.float32]:
        """As `Geometry.to_image`, on the pixels of the whole; `fill` outside the part."""
        (top, left), (height, width) = self.corner, self.part.original
        first, last = rows or (0, self.original[0])
        start, stop = max(first, top), min(last, top + height)
        out = np.full((*np.shape(map)[:-2], last - first, self.original[1]), fill, np.float32)
        if start < stop:
            inner = self.part.to_image(map, mode, fill=fill, rows=(start - top, stop - top), threads=threads)
            out[..., start - first : stop - first, left : left + width] = inner
        return out

    def unseen(self, rows: tuple[int, int] | None = None) -> list[tuple[slice, slice]]:
        """As `Geometry.unseen`, of the whole."""
        (top, left), (height, width) = self.corner, self.part.original
        first, last = rows or (0, self.original[0])
        start, stop = max(first, top), min(last, top + height)
        found = _around((last - first, self.original[1]), (start - first, stop - first), (left, left + width))
        inner = self.part.unseen((start - top, stop - top)) if start < stop else []
        return found + [_shifted(part, start - first, left) for part in inner]

    def to_mapping(self) -> dict[str, Any]:
        """As JSON-like data; `crop` (x, y, width, height) is the part, `resized` and `offset` are about it."""
        (top, left), (height, width) = self.corner, self.part.original
        return {**super().to_mapping(), "crop": [left, top, width, height]}


@dataclass(frozen=True)
class RowGeometry(Geometry):
    """Several images next to each other, on a plane where theirs lie next to each other, both aligned at the top.

    `parts`: the geometry of each; what is below a lower image, or below its plane, belongs to none.
    """

    parts: tuple[Geometry, ...]

    def to_model(self, points: ArrayLike) -> NDArray[np.float64]:
        """Points (..., 2) as (y, x) of the images -> the same on the plane of all."""
        return self._moved(points, [p.original for p in self.parts], [p.size for p in self.parts], "to_model")

    def to_original(self, points: ArrayLike) -> NDArray[np.float64]:
        """Points (..., 2) as (y, x) of the plane of all -> the same on the images next to each other."""
        return self._moved(points, [p.size for p in self.parts], [p.original for p in self.parts], "to_original")

    def _moved(
        self, points: ArrayLike, start: Sequence[tuple[int, int]], end: Sequence[tuple[int, int]], how: str
    ) -> NDArray[np.float64]:
        points = np.asarray(points, np.float64)
        starts, ends = (np.cumsum([0, *(w for _, w in sizes)]) for sizes in (start, end))
        chosen = np.clip(np.searchsorted(starts, points[..., 1], side="right") - 1, 0, len(self.parts) - 1)
        out = np.empty(points.shape, np.float64)
        for number, part in enumerate(self.parts):
            mine = chosen == number
            out[mine] = np.add(getattr(part, how)(points[mine] - (0, starts[number])), (0, ends[number]))
        return out

    def to_image(
        self,
        map: ArrayLike,
        mode: MapMode = "bilinear",
        *,
        fill: float = 0.0,
        rows: tuple[int, int] | None = None,
        threads: int | None = None,
    ) -> NDArray[np.float32]:
        """As `Geometry.to_image`, on the pixels of all images; `fill` below the lower ones."""
        grids = np.asarray(map, np.float32)
        if grids.shape[-2:] != self.size:
            flat = grids.reshape(-1, *grids.shape[-2:])
            finer = [resize(grid, self.size, mode, threads=threads) for grid in flat]
            grids = np.stack(finer).reshape(*grids.shape[:-2], *self.size)
        first, last = rows or (0, self.original[0])
        out = np.full((*grids.shape[:-2], last - first, self.original[1]), fill, np.float32)
        left = across = 0
        for part in self.parts:
            stop = min(last, part.original[0])
            if first < stop:
                grid = np.ascontiguousarray(grids[..., : part.size[0], left : left + part.size[1]])
                inner = part.to_image(grid, mode, fill=fill, rows=(first, stop), threads=threads)
                out[..., : stop - first, across : across + part.original[1]] = inner
            left, across = left + part.size[1], across + part.original[1]
        return out

    def unseen(self, rows: tuple[int, int] | None = None) -> list[tuple[slice, slice]]:
        """As `Geometry.unseen`, of all images; what is below the lower ones is not seen."""
        first, last = rows or (0, self.original[0])
        found: list[tuple[slice, slice]] = []
        across = 0
        for part in self.parts:
            stop = max(first, min(last, part.original[0]))
            own = part.unseen((first, stop)) if first < stop else []
            below = _around((last - first, part.original[1]), (0, stop - first), (0, part.original[1]))
            found += [_shifted(place, 0, across) for place in (*own, *below)]
            across += part.original[1]
        return found

    def to_mapping(self) -> dict[str, Any]:
        """As JSON-like data; `parts` has the geometry of each image."""
        return {**super().to_mapping(), "parts": [part.to_mapping() for part in self.parts]}


def in_a_row(parts: Sequence[Geometry]) -> Geometry:
    """The geometry of several images next to each other."""
    original, size = (
        (max(h for h, _ in sizes), sum(w for _, w in sizes))
        for sizes in ([p.original for p in parts], [p.size for p in parts])
    )
    return RowGeometry(original, size, size, (0, 0), tuple(parts))


def within(part: Geometry, whole: tuple[int, ...], corner: tuple[int, int]) -> Geometry:
    """The geometry of a part of an image on the whole of (H, W) pixels. corner: (x, y) of the part's first pixel."""
    x, y = corner
    return PartGeometry((whole[0], whole[1]), part.size, part.resized, part.offset, part, (y, x))


@dataclass(frozen=True)
class _Axis:
    pixels: slice
    count: int
    start: float
    end: float


def _around(size: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]) -> list[tuple[slice, slice]]:
    """What of (H, W) pixels lies outside some rows and columns, each given by first and behind the last: rectangles."""
    (height, width), (first, last), (left, right) = size, rows, columns
    first, last = max(0, first), min(height, last)
    if first >= last or left >= right:
        first = last = height
    sides = [(0, first, 0, width), (last, height, 0, width), (first, last, 0, left), (first, last, right, width)]
    return [(slice(a, b), slice(c, d)) for a, b, c, d in sides if a < b and c < d]


def _shifted(part: tuple[slice, slice], down: int, across: int) -> tuple[slice, slice]:
    rows, columns = part
    return slice(rows.start + down, rows.stop + down), slice(columns.start + across, columns.stop + across)


def _sample(
    grid: NDArray[np.float32], rows: _Axis, columns: _Axis, mode: MapMode, part: tuple[int, int], threads: int | None
) -> NDArray[Any]:
    """Rows `part` of what the named part of the grid becomes; beyond its edges the outermost cells repeat."""
    margins = []
    for axis, cells in ((rows, grid.shape[0]), (columns, grid.shape[1])):
        margins.append((int(np.ceil(max(0.0, -axis.start))), int(np.ceil(max(0.0, axis.end - cells)))))
    if any(any(pair) for pair in margins):
        grid = np.pad(grid, margins, mode="edge")
    (top, _), (left, _) = margins
    region = (rows.start + top, columns.start + left, rows.end + top, columns.end + left)
    coarser = rows.end - rows.start > rows.count or columns.end - columns.start > columns.count
    antialias = coarser if mode == "bicubic" else True
    size = (rows.count, columns.count)
    return resize(grid, size, mode, antialias=antialias, region=region, rows=part, threads=threads)


def place(card: Card, original: tuple[int, int]) -> Geometry:
    """Where an image of (H, W) pixels comes to lie on the model's plane, by the resizing that the card names."""
    h, w = card.size
    rows, columns = original
    if card.resize == "stretch":
        return Geometry(original, card.size, card.size, (0, 0))
    if card.resize == "letterbox":
        if h * columns <= w * rows:  # the height fills the plane
            resized = (h, min(w, max(1, round(columns * h / rows))))
        else:
            resized = (min(h, max(1, round(rows * w / columns))), w)
        rest = (h - resized[0], w - resized[1])
        return Geometry(
            original, card.size, resized, (0, 0) if card.align == "top-left" else (rest[0] // 2, rest[1] // 2)
        )
    resized = card.stretch_to or _cover(card, rows, columns)
    top, left = (_offset(r - s, card.rounding) for r, s in zip(resized, card.size, strict=True))
    return Geometry(original, card.size, resized, (-top, -left))


def _cover(card: Card, rows: int, columns: int) -> tuple[int, int]:
    """The size of the whole image before the crop, its proportions kept."""
    if card.shortest_edge is not None:
        wide = rows <= columns
        h = w = card.shortest_edge
    else:
        h, w = (max(side, round(side / card.crop_fraction)) for side in card.size)
        wide = h * columns >= w * rows  # scaled to the height h, the width covers w
    short, exact = (h, columns * h / rows) if wide else (w, rows * w / columns)
    long = round(exact) if card.rounding == "nearest" else int(exact)
    if card.shortest_edge is None:
        long = max(long, w if wide else h)
    return (short, max(1, long)) if wide else (max(1, long), short)


def _offset(rest: int, rounding: str) -> int:
    """How much of `rest` surplus pixels is cut off in front; negative: how much padding is put there."""
    if rounding == "torchvision" and rest > 0:
        return round(rest / 2)  # Python's rounding, half to even, as torchvision's center_crop does
    return rest // 2 if rounding == "transformers" else int(rest / 2)
