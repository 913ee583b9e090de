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
    part = np.ascontiguousarray(out[:, down, across])
    _solve(part, np.ascontiguousarray(hidden[down, across]))
    out[:, down, across] = part
    return out


def _solve(picture: NDArray[np.float32], hidden: NDArray[np.bool_]) -> None:
    """Fill in, in place. Both C-contiguous; something is visible."""
    seen = picture[:, ~hidden]
    tolerance = float(np.max(seen.max(axis=1) - seen.min(axis=1))) * TOLERANCE
    levels = [(picture, hidden)]
    while levels[-1][1].any():
        levels.append(_halved(*levels[-1]))
    for (fine, holes), (coarse, _) in zip(reversed(levels[:-1]), reversed(levels[1:]), strict=True):
        _relax(fine, coarse, holes, np.flatnonzero(holes), np.float32(tolerance), _OMEGA, _MOST_SWEEPS)


@kernel
def _halved(picture, hidden):  # type: ignore[no-untyped-def]
    """Half the size, rounded up: means of the visible pixels of 2x2, hidden where none is visible."""
    channels, height, width = picture.shape
    small = np.zeros((channels, (height + 1) // 2, (width + 1) // 2), np.float32)
    holes = np.zeros(small.shape[1:], np.bool_)
    for y in range(small.shape[1]):
        for x in range(small.shape[2]):
            count = 0
            for i in range(2 * y, min(2 * y + 2, height)):
                for j in range(2 * x, min(2 * x + 2, width)):
                    if not hidden[i, j]:
                        count += 1
                        for c in range(channels):
                            small[c, y, x] += picture[c, i, j]
            holes[y, x] = count == 0
            if count:
                for c in range(channels):
                    small[c, y, x] /= np.float32(count)
    return small, holes


@kernel
def _relax(picture, coarse, hidden, places, tolerance, omega, most):  # type: ignore[no-untyped-def]
    """Successive over-relaxation of the hidden pixels, at the flat indices `places`, started from `coarse`."""
    channels, height, width = picture.shape
    for c in range(channels):
        plane = picture[c]
        for at in places:
            y, x = at // width, at % width
            plane[y, x] = coarse[c, y // 2, x // 2]
        for _ in range(most):
            moved = np.float32(0)
            for at in places:
                y, x = at // width, at % width
                total = np.float32(0)
                count = 0
                if y > 0:
                    total += plane[y - 1, x]
                    count += 1
                if y + 1 < height:
                    total += plane[y + 1, x]
                    count += 1
                if x > 0:
                    total += plane[y, x - 1]
                    count += 1
                if x + 1 < width:
                    total += plane[y, x + 1]
                    count += 1
                step = total / np.float32(count) - plane[y, x]
                plane[y, x] += np.float32(omega) * step
                moved = max(moved, abs(step))
            if moved <= tolerance:
                break
