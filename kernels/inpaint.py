"""Filling in hidden pixels from their surroundings: the harmonic (membrane) interpolation.

A hidden pixel becomes the mean of its four neighbours (of those inside the picture), which is the discrete Laplace
equation with the visible pixels as boundary values: smooth, without new extremes, and seamless at the edge of the hole.
P. Pérez, M. Gangnet and A. Blake, "Poisson Image Editing", ACM TOG 22(3), 2003, equation 2 with no guidance field.

Solved from coarse to fine: each level halves the picture (the mean of the visible ones of four pixels; hidden where all
four are), and its solution is where the relaxation of the next finer one starts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .jit import kernel

# Sweeps end when no pixel moves by more than this part of the visible pixels' range.
TOLERANCE = 1e-4
_MOST_SWEEPS = 400
# Over-relaxation: most of what is left after the coarser level is local.
_OMEGA = 1.8


def inpaint(picture: NDArray[np.floating], hidden: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The picture with its hidden pixels filled in from the visible ones.

    picture: (C, H, W), any real dtype, finite; hidden: bool (H, W). What the picture holds where it is hidden does not
    matter. Returns float32 (C, H, W); visible pixels keep their values. Where nothing is visible the result is 0.

    Raises ValueError for other shapes.
    """
    picture = np.asarray(picture)
    hidden = np.asarray(hidden)
    if picture.ndim != 3 or hidden.shape != picture.shape[1:] or hidden.dtype != np.bool_:
        raise ValueError(
            f"a picture (C, H, W) and bool (H, W) are needed, got {picture.shape} and {hidden.dtype} {hidden.shape}"
        )
    out = np.array(picture, np.float32, order="C")
    rows, columns = np.flatnonzero(hidden.any(axis=1)), np.flatnonzero(hidden.any(axis=0))
    if not len(rows):
        return out
    if hidden.all():
        out[:] = 0
        return out
    # The solution depends on the ring of visible pixels around the hidden ones alone.
    down = slice(max(0, rows[0] - 1), min(len(hidden), rows[-1] + 2))
    across = slice(max(0, columns[0] - 1), min(hidden.shape[1], columns[-1] + 2))
    # Channels last: the relaxation of a pixel waits for its neighbour, and other channels fill the time.
    part = np.ascontiguousarray(out[:, down, across].transpose(1, 2, 0))
    _solve(part, np.ascontiguousarray(hidden[down, across]))
    out[:, down, across] = part.transpose(2, 0, 1)
    return out


def _solve(picture: NDArray[np.float32], hidden: NDArray[np.bool_]) -> None:
    """Fill in (H, W, C), in place. Both C-contiguous; something is visible."""
    seen = picture[~hidden]
    tolerance = np.float32(np.max(seen.max(axis=0) - seen.min(axis=0)) * TOLERANCE)
    levels = [(picture, hidden)]
    while levels[-1][1].any():
        levels.append(_halved(*levels[-1]))
    for (fine, holes), (coarse, _) in zip(reversed(levels[:-1]), reversed(levels[1:]), strict=True):
        places = np.flatnonzero(holes)
        _relax(fine, coarse, places, tolerance, np.float32(_OMEGA / 4), _MOST_SWEEPS)


@kernel
def _halved(picture, hidden):  # type: ignore[no-untyped-def]
    """Half the size, rounded up: means of the visible pixels of 2x2, hidden where none is visible."""
    height, width, channels = picture.shape
    small = np.zeros(((height + 1) // 2, (width + 1) // 2, channels), np.float32)
    holes = np.zeros(small.shape[:2], np.bool_)
    for y in range(small.shape[0]):
        for x in range(small.shape[1]):
            count = 0
            for i in range(2 * y, min(2 * y + 2, height)):
                for j in range(2 * x, min(2 * x + 2, width)):
                    if not hidden[i, j]:
                        count += 1
                        for c in range(channels):
                            small[y, x, c] += picture[i, j, c]
            holes[y, x] = count == 0
            if count:
                for c in range(channels):
                    small[y, x, c] /= np.float32(count)
    return small, holes


@kernel
def _relax(picture, coarse, places, tolerance, share, most):  # type: ignore[no-untyped-def]
    """Successive over-relaxation of the hidden pixels, at the flat indices `places`, started from `coarse`.

    A neighbour outside the picture is the pixel itself: what is left is the mean of those inside.
    """
    height, width, channels = picture.shape
    flat = picture.reshape(height * width, channels)
    near = np.empty((len(places), 4), np.int64)
    for i in range(len(places)):
        at = places[i]
        y, x = at // width, at % width
        near[i, 0] = at - width if y > 0 else at
        near[i, 1] = at + width if y + 1 < height else at
        near[i, 2] = at - 1 if x > 0 else at
        near[i, 3] = at + 1 if x + 1 < width else at
        for c in range(channels):
            flat[at, c] = coarse[y // 2, x // 2, c]
    four, limit = np.float32(4), np.float32(4) * tolerance
    for _ in range(most):
        moved = np.float32(0)
        for i in range(len(places)):
            at, up, down, left, right = places[i], near[i, 0], near[i, 1], near[i, 2], near[i, 3]
            for c in range(channels):
                step = (flat[up, c] + flat[down, c]) + (flat[left, c] + flat[right, c]) - four * flat[at, c]
                flat[at, c] += share * step
                moved = max(moved, abs(step))
        if moved <= limit:
            break
