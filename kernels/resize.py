"""Resampling of images: separable, with the filter stretched to the scale, as Pillow defines it.

That is the resizing behind torchvision, timm and Hugging Face preprocessing, so an image prepared here is the image the
network was trained on. Output pixel x of n, over the input interval [a, b), has its centre at c = a + (x + 1/2) s with
s = (b - a) / n; input pixel i takes part with the weight f((i + 1/2 - c) / max(s, 1)), normalised to a sum of 1 over
the pixels inside the image. First every needed row is resampled horizontally, then all columns vertically; uint8
images are rounded and clipped to 0..255 after either pass, with weights in 22-bit fixed point.

    box       f = 1 on (-1/2, 1/2]
    bilinear  the triangle 1 - |t|
    bicubic   Keys' cubic convolution, a = -1/2
    lanczos   sinc(t) sinc(t / 3) on [-3, 3)
    area      not a filter of this kind: each pixel counts with the exact share of it that is covered
    nearest   the input pixel that contains c
"""

from __future__ import annotations

import functools
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .jit import kernel
from .little import is_little
from .threads import bands
from .upsample import check_size

Filter = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "area"]
FILTERS: tuple[Filter, ...] = ("nearest", "bilinear", "bicubic", "lanczos", "box", "area")

_SUPPORT = {"box": 0.5, "bilinear": 1.0, "bicubic": 2.0, "lanczos": 3.0}

# Weighted pixels below which a band is not worth a thread.
_COPIED = 1 << 24  # elements of a part of an image that are copied at once
_BAND = 1 << 19


class _Windows(NamedTuple):
    """For each output pixel of one axis: its first input pixel (n,), how many follow (n,), their weights (n, k)."""

    first: NDArray[np.int64]
    taps: NDArray[np.int64]
    weight: NDArray[np.float64]
    fixed: NDArray[np.int32]  # weight * 2^22, rounded


def resize(
    image: NDArray[Any],
    size: tuple[int, int],
    filter: Filter = "bilinear",
    *,
    antialias: bool = True,
    region: tuple[float, float, float, float] | None = None,
    rows: tuple[int, int] | None = None,
    threads: int | None = None,
) -> NDArray[Any]:
    """Resample an image to h x w pixels.

    image: uint8 or float32, (H, W) or (H, W, C); size: (h, w). Returns the image's dtype; uint8 is rounded to nearest,
    float32 is neither rounded nor clipped. region: the part to resample, (y0, x0, y1, x1) in pixels with fractions,
    default all; pixels around it still count where the filter reaches them. rows: which rows of the result to make,
    first and behind the last, default all: the same numbers, for results that are too large to be made whole. threads:
    None for all processors.

    antialias: False does not stretch the filter when the image becomes smaller, and repeats the image's edge instead
    of leaving out what lies beyond it, and bicubic has a = -3/4: the plain interpolation of OpenCV and of PyTorch.
    "area" and "nearest" are the same either way.

    Raises ValueError for another dtype or shape, an empty image or size, an unknown filter or a region not inside it.
    """
    pixels = np.asarray(image)
    if pixels.dtype not in (np.uint8, np.float32):
        raise ValueError(f"an image must be uint8 or float32, got {pixels.dtype}")
    if pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise ValueError(f"an image must have shape (H, W) or (H, W, C) and not be empty, got {pixels.shape}")
    if filter not in FILTERS:
        raise ValueError(f"filter must be one of {', '.join(FILTERS)}, got {filter!r}")
    height, width = check_size(size)
    first, last = (0, height) if rows is None else rows
    if not 0 <= first < last <= height:
        raise ValueError(f"rows must be some of the {height} of the result, got {rows}")
    y0, x0, y1, x1 = _check_region(region, pixels.shape[0], pixels.shape[1])
    source = pixels.reshape(*pixels.shape[:2], -1)
    lines, columns = source.shape[:2]
    if filter == "nearest":
        y, x = _nearest(y0, y1, height, lines)[first:last], _nearest(x0, x1, width, columns)
        return source[y[:, None], x].reshape(last - first, width, *pixels.shape[2:])
    every = _windows(lines, y0, y1, height, filter, antialias)
    part = slice(first, last)
    down = _Windows(every.first[part], every.taps[part], every.weight[part], every.fixed[part])
    across = _windows(columns, x0, x1, width, filter, antialias)
    top, bottom = int(down.first.min()), int((down.first + down.taps).max())
    # An axis that maps every pixel onto itself is left as it is, whatever the filter.
    if (x0, x1) != (0, columns) or width != columns:
        source = _across(source[top:bottom], across, threads)
    else:
        source = source[top:bottom]
    if (y0, y1) != (0, lines) or height != lines:
        source = _down(source, down._replace(first=down.first - top), threads)
    else:
        source = source[first - top : last - top]
    if np.may_share_memory(source, pixels):
        source = source.copy()
    return source.reshape(last - first, width, *pixels.shape[2:])


def _across(source: NDArray[Any], windows: _Windows, threads: int | None) -> NDArray[Any]:
    """(H, W, C) -> (H, w, C)."""
    if not source.flags.c_contiguous:  # a part of a larger image, which is not copied whole
        step = max(1, _COPIED // max(1, source[0].size))
        parts = (np.ascontiguousarray(source[at : at + step]) for at in range(0, len(source), step))
        return np.concatenate([_across(part, windows, threads) for part in parts])
    if is_little(len(source) * windows.weight.size * source.shape[2]):
        return _weigh(source, windows, axis=1)
    rows, _, channels = source.shape
    out = np.empty((rows, len(windows.first), channels), source.dtype)
    whole = source.dtype == np.uint8
    squeeze, weight = (_squeeze_bytes, windows.fixed) if whole else (_squeeze_floats, windows.weight)
    bands(
        lambda start, stop: squeeze(source, windows.first, windows.taps, weight, out, start, stop),
        rows,
        threads,
        least=_BAND // (channels * weight.size) + 1,
    )
    return out


def _down(source: NDArray[Any], windows: _Windows, threads: int | None) -> NDArray[Any]:
    """(H, W, C) -> (h, W, C)."""
    if is_little(windows.weight.size * source[0].size):
        return _weigh(source, windows, axis=0)
    flat = source.reshape(len(source), -1)
    out = np.empty((len(windows.first), flat.shape[1]), source.dtype)
    whole = source.dtype == np.uint8
    stack, weight = (_stack_bytes, windows.fixed) if whole else (_stack_floats, windows.weight)
    bands(
        lambda start, stop: stack(flat, windows.first, windows.taps, weight, out, start, stop),
        len(out),
        threads,
        least=_BAND // (flat.shape[1] * weight.shape[1]) + 1,
    )
    return out.reshape(len(out), *source.shape[1:])


def _weigh(source: NDArray[Any], windows: _Windows, axis: int) -> NDArray[Any]:
    """What `_squeeze_...` (axis 1) and `_stack_...` (axis 0) do, one tap after the other for the whole image."""
    whole = source.dtype == np.uint8
    shape = (-1, 1, 1) if axis == 0 else (-1, 1)
    weight = windows.fixed if whole else windows.weight
    total: Any = np.int32(1 << 21) if whole else 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        for k in range(weight.shape[1]):
            pixels = np.take(source, np.minimum(windows.first + k, source.shape[axis] - 1), axis=axis)
            # Weights beyond the window's end are 0, whatever pixel they meet; a float may be infinite there.
            part = pixels * weight[:, k].reshape(shape)
            total = total + (part if whole else np.where((k < windows.taps).reshape(shape), part, 0.0))
        result: NDArray[Any] = np.clip(total >> 22, 0, 255).astype(np.uint8) if whole else total.astype(np.float32)
    return result


def _check_region(
    region: tuple[float, float, float, float] | None, rows: int, columns: int
) -> tuple[float, float, float, float]:
    if region is None:
        return 0.0, 0.0, float(rows), float(columns)
    y0, x0, y1, x1 = (float(edge) for edge in region)
    if not (0 <= y0 < y1 <= rows and 0 <= x0 < x1 <= columns):
        raise ValueError(f"region (y0, x0, y1, x1) must lie inside the {rows}x{columns} image, got {(y0, x0, y1, x1)}")
    return y0, x0, y1, x1


def _nearest(low: float, high: float, size: int, limit: int) -> NDArray[np.int64]:
    x = np.arange(size, dtype=np.int64)
    if low.is_integer() and high.is_integer():  # exact, so that ties do not depend on rounding
        return int(low) + (2 * x + 1) * int(high - low) // (2 * size)
    return np.minimum((low + (x + 0.5) * ((high - low) / size)).astype(np.int64), limit - 1)


@functools.lru_cache(maxsize=64)
def _windows(limit: int, low: float, high: float, size: int, filter: str, antialias: bool) -> _Windows:
    scale = (high - low) / size
    centre = low + (np.arange(size) + 0.5) * scale
    if filter == "area":
        start, end = centre - scale / 2, centre + scale / 2
        first = np.clip(np.floor(start + 1e-9).astype(np.int64), 0, limit - 1)
        last = np.clip(np.ceil(end - 1e-9).astype(np.int64), first + 1, limit)
        pixel = first[:, None] + np.arange((last - first).max())
        weight = np.minimum(pixel + 1, end[:, None]) - np.maximum(pixel, start[:, None])
        weight = np.where(pixel < last[:, None], np.maximum(weight, 0), 0)
    elif antialias:
        stretch = max(scale, 1.0)
        reach = _SUPPORT[filter] * stretch
        first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
        last = np.minimum((centre + reach + 0.5).astype(np.int64), limit)
        pixel = first[:, None] + np.arange((last - first).max())
        # Pillow's own order of operations: in single steps of its weights a different one would show.
        weight = _response(filter, (pixel - centre[:, None] + 0.5) * (1.0 / stretch), -0.5)
        weight = np.where(pixel < last[:, None], weight, 0.0)
    else:
        reach = int(np.ceil(_SUPPORT[filter]))
        lowest = np.floor(centre - 0.5).astype(np.int64) - reach + 1
        tap = lowest[:, None] + np.arange(2 * reach)
        response = _response(filter, tap + 0.5 - centre[:, None], -0.75)
        # Taps beyond the edge count for the edge's pixel.
        first = np.clip(lowest, 0, limit - 1)
        last = np.clip(lowest + 2 * reach, first + 1, limit)
        weight = np.zeros((size, int((last - first).max())))
        place = np.clip(tap, 0, limit - 1) - first[:, None]
        np.add.at(weight, (np.arange(size)[:, None], place), response)
    total = np.zeros((size, 1))
    for k in range(weight.shape[1]):  # left to right, as Pillow sums
        total[:, 0] += weight[:, k]
    weight = weight / total
    fixed = np.trunc(weight * (1 << 22) + np.where(weight < 0, -0.5, 0.5)).astype(np.int32)
    return _Windows(first, last - first, weight, fixed)


def _response(filter: str, t: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    x = np.abs(t)
    if filter == "box":
        return np.where((t > -0.5) & (t <= 0.5), 1.0, 0.0)
    if filter == "bilinear":
        return np.where(x < 1, 1 - x, 0.0)
    if filter == "bicubic":
        near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
        far = (((x - 5) * x + 8) * x - 4) * a
        return np.where(x < 1, near, np.where(x < 2, far, 0.0))
    return np.where((t >= -3) & (t < 3), np.sinc(t) * np.sinc(t / 3), 0.0)


@kernel
def _squeeze_bytes(source: Any, first: Any, count: Any, weight: Any, out: Any, start: int, stop: int) -> None:
    """Rows start..stop: out[r, x, c] = round(sum over k of source[r, first[x] + k, c] * weight[x, k] / 2^22)."""
    width, channels = out.shape[1], out.shape[2]
    for r in range(start, stop):
        for x in range(width):
            left, taps = first[x], count[x]
            if channels == 3:
                red = green = blue = 1 << 21
                for k in range(taps):
                    w = weight[x, k]
                    red += source[r, left + k, 0] * w
                    green += source[r, left + k, 1] * w
                    blue += source[r, left + k, 2] * w
                out[r, x, 0] = min(max(red >> 22, 0), 255)
                out[r, x, 1] = min(max(green >> 22, 0), 255)
                out[r, x, 2] = min(max(blue >> 22, 0), 255)
            else:
                for c in range(channels):
                    total = 1 << 21
                    for k in range(taps):
                        total += source[r, left + k, c] * weight[x, k]
                    out[r, x, c] = min(max(total >> 22, 0), 255)


@kernel
def _squeeze_floats(source: Any, first: Any, count: Any, weight: Any, out: Any, start: int, stop: int) -> None:
    """As `_squeeze_bytes`, summed in float64, neither rounded nor clipped."""
    width, channels = out.shape[1], out.shape[2]
    for r in range(start, stop):
        for x in range(width):
            left, taps = first[x], count[x]
            for c in range(channels):
                total = 0.0
                for k in range(taps):
                    total += source[r, left + k, c] * weight[x, k]
                out[r, x, c] = total


@kernel
def _stack_bytes(source: Any, first: Any, count: Any, weight: Any, out: Any, start: int, stop: int) -> None:
    """Rows start..stop, each whole: out[y] = round(sum over k of source[first[y] + k] * weight[y, k] / 2^22)."""
    width = out.shape[1]
    total = np.empty(width, np.int32)
    for y in range(start, stop):
        total[:] = 1 << 21
        for k in range(count[y]):
            row, w = source[first[y] + k], weight[y, k]
            for x in range(width):
                total[x] += row[x] * w
        for x in range(width):
            out[y, x] = min(max(total[x] >> 22, 0), 255)


@kernel
def _stack_floats(source: Any, first: Any, count: Any, weight: Any, out: Any, start: int, stop: int) -> None:
    """As `_stack_bytes`, summed in float64, neither rounded nor clipped."""
    width = out.shape[1]
    total = np.empty(width, np.float64)
    for y in range(start, stop):
        total[:] = 0.0
        for k in range(count[y]):
            row, w = source[first[y] + k], weight[y, k]
            for x in range(width):
                total[x] += row[x] * w
        for x in range(width):
            out[y, x] = total[x]
