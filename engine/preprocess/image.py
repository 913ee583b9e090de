"""From an image to the input tensor of a model, as its card says, and from the model's pixels back to the image's.

Coordinates are continuous, (y, x), in pixels: pixel (i, j) covers [i, i + 1) x [j, j + 1), its centre is at
(i + 1/2, j + 1/2). The image of H x W pixels is scaled to rh x rw and laid on the model's plane of h x w at the offset
(top, left), negative where it is cropped, positive where it is padded; every way of resizing is that, with whole
numbers. So

    model y = original y * rh / H + top        model x = original x * rw / W + left

holds exactly, and with it a map over the model's plane lands on the original image where it belongs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...kernels.resize import Filter, resize
from ..errors import ShapeError
from .card import Card as Card
from .find import find_card as find_card

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
        self, map: ArrayLike, mode: MapMode = "bilinear", *, fill: float = 0.0, threads: int | None = None
    ) -> NDArray[np.float32]:
        """A map over the model's plane, at any resolution, on the pixels of the original image.

        map: (h, w), or (n, h, w) for n of them, any real dtype; its cells divide the plane evenly. Returns float32
        (H, W) or (n, H, W), not normalised. Pixels whose centre the model does not see hold `fill` (NaN is possible).
        Where the image is coarser than the map, the map is averaged over each pixel.

        Raises ShapeError for another shape or an empty map.
        """
        maps = np.asarray(map)
        if maps.ndim not in (2, 3) or 0 in maps.shape or maps.dtype.kind not in "fiub":
            raise ShapeError(
                f"a map must hold real numbers in the shape (h, w) or (n, h, w), got {maps.dtype} {maps.shape}"
            )
        stack = maps.astype(np.float32, copy=False)
        grids = stack[None] if maps.ndim == 2 else stack
        out = np.full((len(grids), *self.original), fill, np.float32)
        rows, columns = self._on_grid(0, maps.shape[-2]), self._on_grid(1, maps.shape[-1])
        if rows.count and columns.count:  # else the model sees less than the middle of one pixel
            for grid, image in zip(grids, out, strict=True):
                image[rows.pixels, columns.pixels] = _sample(grid, rows, columns, mode, threads)
        return out[0] if maps.ndim == 2 else out

    def to_mapping(self) -> dict[str, list[int]]:
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
class _Axis:
    pixels: slice
    count: int
    start: float
    end: float


def _sample(grid: NDArray[np.float32], rows: _Axis, columns: _Axis, mode: MapMode, threads: int | None) -> NDArray[Any]:
    """Resample the part of the grid that the axes name; beyond its edges the grid repeats its outermost cells."""
    margins = []
    for axis, cells in ((rows, grid.shape[0]), (columns, grid.shape[1])):
        margins.append((int(np.ceil(max(0.0, -axis.start))), int(np.ceil(max(0.0, axis.end - cells)))))
    if any(any(pair) for pair in margins):
        grid = np.pad(grid, margins, mode="edge")
    (top, _), (left, _) = margins
    region = (rows.start + top, columns.start + left, rows.end + top, columns.end + left)
    coarser = rows.end - rows.start > rows.count or columns.end - columns.start > columns.count
    antialias = coarser if mode == "bicubic" else True
    return resize(grid, (rows.count, columns.count), mode, antialias=antialias, region=region, threads=threads)


@dataclass(frozen=True)
class Prepared:
    """What goes into the model, and where it came from. `tensor` has the model's layout, with a batch of one."""

    tensor: NDArray[Any]
    geometry: Geometry


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


def prepare(image: NDArray[np.uint8], card: Card, *, threads: int | None = None) -> Prepared:
    """The input tensor for one image, (1, ...) in the card's layout and dtype, and its geometry.

    image: uint8 (H, W, 3) RGB, or (H, W) gray. It is resampled as uint8, as Pillow does, then normalised in float32;
    integer tensors are rounded and clipped to their range. A layout without N gives a tensor without a batch axis.

    Raises ShapeError for another dtype or shape.
    """
    pixels, geometry = _on_plane(image, card, threads)
    tensor = _normalise(pixels, card)
    return Prepared(tensor[None] if card.batched else tensor, geometry)


def prepare_batch(
    images: Sequence[NDArray[np.uint8]], card: Card, *, threads: int | None = None
) -> tuple[NDArray[Any], tuple[Geometry, ...]]:
    """The input tensor for several images, (N, ...), and the geometry of each.

    Raises ShapeError for no image, or for several where the model's input has no batch axis.
    """
    if not len(images):
        raise ShapeError("there is no image to prepare")
    if not card.batched and len(images) > 1:
        raise ShapeError(f"the model's input ({card.layout}) has no batch axis: prepare one image at a time")
    prepared = [prepare(image, card, threads=threads) for image in images]
    if not card.batched:
        return prepared[0].tensor, (prepared[0].geometry,)
    return np.concatenate([p.tensor for p in prepared]), tuple(p.geometry for p in prepared)


def pixels_of(tensor: ArrayLike, card: Card) -> NDArray[np.uint8]:
    """The way back: what a tensor shows, as uint8 (N, h, w, 3) RGB at the model's resolution, rounded and clipped.

    tensor: in the card's layout, with or without the batch axis. Raises ShapeError when it does not fit the card.
    """
    values = np.asarray(tensor)
    axes = card.layout.replace("N", "")
    if values.ndim == len(axes):
        values = values[None]
    want = {"H": card.size[0], "W": card.size[1], "C": card.channels}
    if values.ndim != len(axes) + 1 or any(values.shape[1 + i] != want[a] for i, a in enumerate(axes)):
        raise ShapeError(f"a tensor of shape {values.shape} does not fit the card: {card.layout}, {want}")
    if "C" not in axes:
        values, axes = values[..., None], axes + "C"
    values = values.transpose(0, *(1 + axes.index(a) for a in "HWC")).astype(np.float32)
    values = values * np.asarray(card.std, np.float32) + np.asarray(card.mean, np.float32)
    if card.order == "GRAY":
        values = np.repeat(values, 3, axis=-1)
    elif card.order == "BGR":
        values = values[..., ::-1]
    shown: NDArray[np.uint8] = np.clip(np.rint(np.nan_to_num(values)), 0, 255).astype(np.uint8)
    return shown


def _on_plane(image: Any, card: Card, threads: int | None) -> tuple[NDArray[np.uint8], Geometry]:
    """uint8 (h, w, C), channels as the model wants them."""
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape or image.shape[2:] not in ((), (3,)):
        raise ShapeError(f"an image must be uint8 (H, W, 3) RGB, got {image.dtype} {image.shape}")
    if card.order == "GRAY":
        image = luminance(image) if image.ndim == 3 else image
    elif image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    geometry = place(card, (image.shape[0], image.shape[1]))
    y0, x0, y1, x1 = geometry.plane_box
    whole = (y1 - y0, x1 - x0) == geometry.resized
    part = resize(
        image,
        (y1 - y0, x1 - x0),
        card.interpolation,
        antialias=card.antialias,
        region=None if whole else geometry.box,
        threads=threads,
    )
    if part.shape[:2] != card.size:
        plane = np.full((*card.size, *part.shape[2:]), card.pad_value, np.uint8)
        plane[y0:y1, x0:x1] = part
        part = plane
    if card.order == "BGR":
        part = part[..., ::-1]
    return part.reshape(*card.size, card.channels), geometry


def luminance(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) RGB -> uint8 (H, W): weights of ITU-R BT.601 in 16-bit fixed point, as Pillow's mode "L"."""
    r, g, b = (image[..., c].astype(np.uint32) for c in range(3))
    return ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16).astype(np.uint8)


def _normalise(pixels: NDArray[np.uint8], card: Card) -> NDArray[Any]:
    """uint8 (h, w, C) -> the tensor of one image in the card's layout and dtype.

    There are only 256 pixel values, so each channel is normalised once in a table and looked up.
    """
    dtype = np.dtype(card.dtype)
    axes = card.layout.replace("N", "")
    where = {"H": card.size[0], "W": card.size[1], "C": card.channels}
    tensor = np.empty([where[a] for a in axes], dtype)
    values = np.arange(256, dtype=np.float64 if dtype == np.float64 else np.float32)
    for c in range(card.channels):
        table = (values - values.dtype.type(card.mean[c])) / values.dtype.type(card.std[c])
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            table = np.clip(np.rint(table), limits.min, limits.max)
        plane = tensor if "C" not in axes else tensor[c] if axes.index("C") == 0 else tensor[..., c]
        with np.errstate(over="ignore"):  # float16 may not hold what a strange card asks for
            plane[...] = table.astype(dtype)[pixels[..., c]]
    return tensor


__all__ = [
    "Card",
    "Filter",
    "Geometry",
    "Prepared",
    "find_card",
    "luminance",
    "pixels_of",
    "place",
    "prepare",
    "prepare_batch",
]
