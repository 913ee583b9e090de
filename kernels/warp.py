"""One affine warp of pictures with bilinear interpolation, and its exact adjoint.

    out[n, c, y, x] = gain[c] * picture[n, order[c]](v, u) + shift[c],     (v, u) = A[n] (y, x, 1)

Coordinates are those of pixel centres, whole numbers from 0; a picture is extended by `fill` beyond its edges, and
interpolated between its pixels and that. Up to a constant the map is linear in the picture, and `unwarp` is the
transpose of its linear part: <warp(p) - warp(0), g> = <p, unwarp(g)>, with the same weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .jit import kernel
from .threads import bands

# Output values below which a band is not worth a thread.
_BAND = 1 << 17


def warp(
    pictures: NDArray[np.float32],
    matrices: ArrayLike,
    size: tuple[int, int],
    *,
    fill: float = 0.5,
    order: ArrayLike | None = None,
    gain: ArrayLike | None = None,
    shift: ArrayLike | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Pictures (N, C, H, W) seen through the matrices (N, 2, 3), as float32 (N, C, h, w) of `size`.

    order, gain, shift: (C,), for every channel of the result the channel it shows, its factor and what is added; by
    default the same channel, 1 and 0. threads: None for all processors. Raises ValueError for shapes that do not fit.
    """
    stack, moves = _checked(pictures, matrices)
    channels, gains, shifts = _channels(stack.shape[1], order, gain, shift)
    n, c = stack.shape[:2]
    out = np.empty((n, c, *size), np.float32)
    height = size[0]

    def work(start: int, stop: int) -> None:
        _warp(stack, moves, np.float32(fill), channels, gains, shifts, out, start, stop)

    bands(work, n * height, threads, least=_BAND // (c * size[1]) + 1)
    return out


def unwarp(
    cotangents: NDArray[np.float32],
    matrices: ArrayLike,
    size: tuple[int, int],
    *,
    order: ArrayLike | None = None,
    gain: ArrayLike | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """The adjoint of `warp`: from cotangents (N, C, h, w) of its result to those (N, C, H, W) of pictures of `size`.

    Raises ValueError for shapes that do not fit.
    """
    stack, moves = _checked(cotangents, matrices)
    channels, gains, _ = _channels(stack.shape[1], order, gain, None)
    n, c, h, w = stack.shape
    out = np.zeros((n, c, *size), np.float32)

    def work(start: int, stop: int) -> None:
        _unwarp(stack, moves, channels, gains, out, start, stop)

    # Places overlap, so that a thread takes whole pictures; one at a time is the rule.
    bands(work, n, threads, least=_BAND // (c * h * w) + 1)
    return out


def _checked(pictures: Any, matrices: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    stack = np.ascontiguousarray(pictures, np.float32)
    moves = np.ascontiguousarray(matrices, np.float32)
    if stack.ndim != 4 or 0 in stack.shape:
        raise ValueError(f"pictures must have shape (N, C, H, W), got {stack.shape}")
    if moves.shape != (len(stack), 2, 3):
        raise ValueError(f"matrices must have shape ({len(stack)}, 2, 3), got {moves.shape}")
    return stack, moves


def _channels(
    count: int, order: ArrayLike | None, gain: ArrayLike | None, shift: ArrayLike | None
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    channels = np.arange(count) if order is None else np.ascontiguousarray(order, np.int64)
    gains = np.ones(count, np.float32) if gain is None else np.ascontiguousarray(gain, np.float32)
    shifts = np.zeros(count, np.float32) if shift is None else np.ascontiguousarray(shift, np.float32)
    if not channels.shape == gains.shape == shifts.shape == (count,):
        raise ValueError(f"order, gain and shift must have one entry for each of {count} channels")
    if sorted(channels.tolist()) != list(range(count)):
        raise ValueError(f"order must name each of {count} channels once, got {channels.tolist()}")
    return channels, gains, shifts


@kernel(error_model="numpy")
def _warp(pictures, matrices, fill, order, gain, shift, out, start, stop):  # type: ignore[no-untyped-def]
    _, channels, height, width = pictures.shape
    _, _, h, w = out.shape
    for row in range(start, stop):
        n, y = row // h, row % h
        a = matrices[n]
        v0, u0 = a[0, 0] * np.float32(y) + a[0, 2], a[1, 0] * np.float32(y) + a[1, 2]
        for x in range(w):
            v, u = v0 + a[0, 1] * np.float32(x), u0 + a[1, 1] * np.float32(x)
            top, left = int(np.floor(v)), int(np.floor(u))
            fv, fu = v - np.floor(v), u - np.floor(u)
            w11 = fv * fu
            w10, w01 = fv - w11, fu - w11
            w00 = np.float32(1) - fv - w01
            if 0 <= top < height - 1 and 0 <= left < width - 1:
                # Unsigned indices need no check for negative ones.
                above, below = np.uint64(top), np.uint64(top + 1)
                before, behind = np.uint64(left), np.uint64(left + 1)
                for c in range(channels):
                    p = pictures[n, order[c]]
                    value = w00 * p[above, before] + w01 * p[above, behind]
                    value += w10 * p[below, before] + w11 * p[below, behind]
                    out[n, c, y, x] = value * gain[c] + shift[c]
                continue
            for c in range(channels):
                p = pictures[n, order[c]]
                has_above, has_below = 0 <= top < height, -1 <= top < height - 1
                has_before, has_behind = 0 <= left < width, -1 <= left < width - 1
                value = w00 * (p[top, left] if has_above and has_before else fill)
                value += w01 * (p[top, left + 1] if has_above and has_behind else fill)
                value += w10 * (p[top + 1, left] if has_below and has_before else fill)
                value += w11 * (p[top + 1, left + 1] if has_below and has_behind else fill)
                out[n, c, y, x] = value * gain[c] + shift[c]


@kernel(error_model="numpy")
def _unwarp(cotangents, matrices, order, gain, out, start, stop):  # type: ignore[no-untyped-def]
    _, channels, h, w = cotangents.shape
    _, _, height, width = out.shape
    for n in range(start, stop):
        a = matrices[n]
        for y in range(h):
            v0, u0 = a[0, 0] * np.float32(y) + a[0, 2], a[1, 0] * np.float32(y) + a[1, 2]
            for x in range(w):
                v, u = v0 + a[0, 1] * np.float32(x), u0 + a[1, 1] * np.float32(x)
                top, left = int(np.floor(v)), int(np.floor(u))
                if top < -1 or top >= height or left < -1 or left >= width:
                    continue
                fv, fu = v - np.floor(v), u - np.floor(u)
                w11 = fv * fu
                w10, w01 = fv - w11, fu - w11
                w00 = np.float32(1) - fv - w01
                if 0 <= top < height - 1 and 0 <= left < width - 1:
                    above, below = np.uint64(top), np.uint64(top + 1)
                    before, behind = np.uint64(left), np.uint64(left + 1)
                    for c in range(channels):
                        g = cotangents[n, c, y, x] * gain[c]
                        p = out[n, order[c]]
                        p[above, before] += w00 * g
                        p[above, behind] += w01 * g
                        p[below, before] += w10 * g
                        p[below, behind] += w11 * g
                    continue
                for c in range(channels):
                    g = cotangents[n, c, y, x] * gain[c]
                    p = out[n, order[c]]
                    if top >= 0 and left >= 0:
                        p[top, left] += w00 * g
                    if top >= 0 and left < width - 1:
                        p[top, left + 1] += w01 * g
                    if top < height - 1 and left >= 0:
                        p[top + 1, left] += w10 * g
                    if top < height - 1 and left < width - 1:
                        p[top + 1, left + 1] += w11 * g
