"""Upsampling of maps: nearest, bilinear and bicubic, with half-pixel centres and clamped edges.

Output pixel x of W looks at input coordinate u = (x + 1/2) * w / W - 1/2 (pixel centres at whole numbers), the rule of
OpenCV's resize and of PyTorch's interpolate(align_corners=False):

    nearest    the pixel whose cell contains u: floor((x + 1/2) * w / W)   (exact in whole numbers)
    bilinear   weights 1 - f and f on floor(u) and floor(u) + 1, f = u - floor(u)
    bicubic    Keys' cubic convolution with a = -3/4 on the four pixels around u
               (R. Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29, 1981)

Neighbours outside the map are taken from its edge. Nothing is low-pass filtered: to make images smaller, use `resize`.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .jit import kernel
from .threads import bands

Mode = Literal["nearest", "bilinear", "bicubic"]
MODES: tuple[Mode, ...] = ("nearest", "bilinear", "bicubic")

# Output values below which a band is not worth a thread.
_BAND = 1 << 19


def upsample(
    map: ArrayLike, size: tuple[int, int], mode: Mode = "bilinear", *, threads: int | None = None
) -> NDArray[np.float32]:
    """Sample a map, or n of them, on a grid of H x W pixels that covers the same area.

    map: (h, w) or (n, h, w), any real dtype; size: (H, W). Returns float32 (H, W) or (n, H, W). A NaN spreads to every
    pixel that looks at it. threads: None for all processors.

    Raises ValueError for other shapes or dtypes, an empty map or size, or an unknown mode.
    """
    maps = _maps(map)
    height, width = check_size(size)
    yi, yw = taps(maps.shape[-2], height, mode)
    xi, xw = taps(maps.shape[-1], width, mode)
    stack = maps.reshape(-1, *maps.shape[-2:])
    n, h, _ = stack.shape
    rows = np.empty((n * h, width), np.float32)
    out = np.empty((n * height, width), np.float32)
    flat = stack.reshape(n * h, -1)
    bands(lambda start, stop: _across(flat, xi, xw, rows, start, stop), n * h, threads, least=_BAND // width + 1)
    bands(lambda start, stop: _down(rows, h, yi, yw, out, start, stop), n * height, threads, least=_BAND // width + 1)
    return out.reshape(*maps.shape[:-2], height, width)


def upsample_along(map: ArrayLike, sizes: tuple[int, ...]) -> NDArray[np.float32]:
    """Sample a map of any number of axes on a finer grid that covers the same: linear along each axis, half-pixel
    centres, edges clamped, as `upsample` does in two.

    map: (..., n_1, ..., n_k), any real dtype; sizes: those of the last k axes. Returns float32 (..., sizes).

    Raises ValueError for more sizes than axes, or an empty map or size.
    """
    found = np.asarray(map, np.float32)
    if len(sizes) > found.ndim or 0 in found.shape or any(size < 1 for size in sizes):
        raise ValueError(f"a map of shape {found.shape} cannot be brought to {sizes}")
    if len(sizes) == 2 and found.ndim < 4:
        return upsample(found, (sizes[0], sizes[1]))
    for axis, size in zip(range(found.ndim - len(sizes), found.ndim), sizes, strict=True):
        if found.shape[axis] == size:
            continue
        index, weight = taps(found.shape[axis], size, "bilinear")
        shape = [-1 if a == axis else 1 for a in range(found.ndim)]
        parts = [found.take(index[:, k], axis) * weight[:, k].reshape(shape) for k in range(2)]
        found = parts[0] + parts[1]
    return np.ascontiguousarray(found, np.float32)


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """(H, W) as plain positive integers, or ValueError."""
    if len(size) != 2 or any(int(edge) != edge or edge < 1 for edge in size):
        raise ValueError(f"size must be two positive integers (H, W), got {size!r}")
    return int(size[0]), int(size[1])


@functools.lru_cache(maxsize=64)
def taps(size_in: int, size_out: int, mode: Mode) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Which input pixels each output pixel of one axis looks at, and their weights.

    Returns (index int32, weight float32), both (size_out, 1 | 2 | 4) and read-only; weights are rounded from float64.
    Raises ValueError for an unknown mode.
    """
    x = np.arange(size_out, dtype=np.int64)
    if mode == "nearest":
        index = ((2 * x + 1) * size_in // (2 * size_out))[:, None]
        weight = np.ones((size_out, 1))
    else:
        at = (x + 0.5) * (size_in / size_out) - 0.5
        first = np.floor(at).astype(np.int64)
        f = at - first
        if mode == "bilinear":
            index = first[:, None] + np.arange(2)
            weight = np.stack([1 - f, f], axis=1)
        elif mode == "bicubic":
            index = first[:, None] + np.arange(-1, 3)
            weight = np.stack([_keys(1 + f), _keys(f), _keys(1 - f), _keys(2 - f)], axis=1)
        else:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    places = np.clip(index, 0, size_in - 1).astype(np.int32)
    weights = weight.astype(np.float32)
    places.setflags(write=False)
    weights.setflags(write=False)
    return places, weights


def _keys(t: NDArray[np.float64], a: float = -0.75) -> NDArray[np.float64]:
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def _maps(map: ArrayLike) -> NDArray[np.float32]:
    maps = np.asarray(map)
    if maps.dtype.kind not in "fiub":
        raise ValueError(f"a map must hold real numbers, got dtype {maps.dtype}")
    if maps.ndim not in (2, 3) or 0 in maps.shape[-2:]:
        raise ValueError(f"a map must have shape (h, w) or (n, h, w) and not be empty, got {maps.shape}")
    return np.ascontiguousarray(maps, np.float32)


@kernel
def _across(maps: Any, index: Any, weight: Any, out: Any, start: int, stop: int) -> None:
    """out[r, x] = sum over k of maps[r, index[x, k]] * weight[x, k]."""
    width, taps = index.shape
    for r in range(start, stop):
        if taps == 1:
            for x in range(width):
                out[r, x] = maps[r, index[x, 0]]
        elif taps == 2:
            for x in range(width):
                out[r, x] = maps[r, index[x, 0]] * weight[x, 0] + maps[r, index[x, 1]] * weight[x, 1]
        else:
            for x in range(width):
                left = maps[r, index[x, 0]] * weight[x, 0] + maps[r, index[x, 1]] * weight[x, 1]
                out[r, x] = left + maps[r, index[x, 2]] * weight[x, 2] + maps[r, index[x, 3]] * weight[x, 3]


@kernel
def _down(rows: Any, h: int, index: Any, weight: Any, out: Any, start: int, stop: int) -> None:
    """Map n's rows start at n * h in `rows` and at n * len(index) in `out`; rows are combined as whole vectors."""
    height, taps = index.shape
    width = rows.shape[1]
    for r in range(start, stop):
        base, y = (r // height) * h, r % height
        if taps == 1:
            # Not out[r] = ...: for that Numba compiles its message on shapes that differ, a second of its own.
            a = rows[base + index[y, 0]]
            for x in range(width):
                out[r, x] = a[x]
        elif taps == 2:
            a, b = rows[base + index[y, 0]], rows[base + index[y, 1]]
            wa, wb = weight[y, 0], weight[y, 1]
            for x in range(width):
                out[r, x] = a[x] * wa + b[x] * wb
        else:
            a, b = rows[base + index[y, 0]], rows[base + index[y, 1]]
            c, d = rows[base + index[y, 2]], rows[base + index[y, 3]]
            wa, wb, wc, wd = weight[y, 0], weight[y, 1], weight[y, 2], weight[y, 3]
            for x in range(width):
                out[r, x] = a[x] * wa + b[x] * wb + c[x] * wc + d[x] * wd
