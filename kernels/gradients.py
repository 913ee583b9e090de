"""What DeepDream does to a gradient before it follows it: the sum of its Gaussian blurs, plane by plane.

out[c] = sum over s of G(s) * planes[c],    G(s) of s pixels, cut off at 3 s, of sum 1; the edge is mirrored without
repeating it (... c b a b c ...), as ONNX's Pad does in mode "reflect"
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .jit import kernel
from .threads import bands

_BAND = 1 << 16


def gaussian(sigma: float) -> NDArray[np.float32]:
    """The weights of a Gaussian of `sigma` pixels, cut off at 3 sigma, of sum 1; their number is odd."""
    reach = max(1, int(np.ceil(3 * sigma)))
    heights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.asarray(heights / heights.sum(), np.float32)


def blurs(planes: Any, sigmas: Sequence[float], *, threads: int | None = None) -> NDArray[np.float32]:
    """The sum of the blurs of `planes`, float32 (C, H, W), one for each of `sigmas`, in pixels; no sigma: as they are.

    Needs memory for the result and one plane. threads: None for all processors. Raises ValueError for another shape or
    a sigma that is not positive.
    """
    stack: NDArray[np.float32] = np.ascontiguousarray(planes, np.float32)
    if stack.ndim != 3 or 0 in stack.shape:
        raise ValueError(f"planes must have shape (C, H, W) and not be empty, got {stack.shape}")
    if any(not sigma > 0 for sigma in sigmas):
        raise ValueError(f"every sigma must be positive, got {list(sigmas)}")
    if not sigmas:
        return np.array(stack)
    out = np.zeros(stack.shape, np.float32)
    for plane, into in zip(stack, out, strict=True):
        across = np.empty_like(plane)
        for sigma in sigmas:
            weights = gaussian(sigma)
            _in_bands(_across, plane, weights, across, threads)
            _in_bands(_down, across, weights, into, threads)
    return out


def _in_bands(
    work: Any,
    plane: NDArray[np.float32],
    weights: NDArray[np.float32],
    out: NDArray[np.float32],
    threads: int | None,
) -> None:
    bands(
        lambda start, stop: work(plane, weights, out, start, stop),
        len(plane),
        threads,
        least=_BAND // plane.shape[1] + 1,
    )


@kernel
def _mirrored(i, n):  # type: ignore[no-untyped-def]
    """The place inside 0..n-1 that i, outside it, is the mirror image of."""
    if n == 1:
        return 0
    i = abs(i) % (2 * n - 2)
    return 2 * n - 2 - i if i >= n else i


@kernel(fastmath={"contract", "reassoc", "nsz"})
def _across(plane, weights, out, start, stop):  # type: ignore[no-untyped-def]
    width = plane.shape[1]
    taps = weights.size
    reach = taps // 2
    padded = np.empty(width + 2 * reach, np.float32)
    for y in range(start, stop):
        for x in range(width):
            padded[reach + x] = plane[y, x]
        for x in range(reach):
            padded[x] = plane[y, _mirrored(x - reach, width)]
            padded[width + reach + x] = plane[y, _mirrored(width + x, width)]
        row = out[y]
        for x in range(width):
            row[x] = weights[0] * padded[x]
        for k in range(1, taps):
            w = weights[k]
            for x in range(width):
                row[x] += w * padded[x + k]


@kernel(fastmath={"contract", "reassoc", "nsz"})
def _down(plane, weights, out, start, stop):  # type: ignore[no-untyped-def]
    height, width = plane.shape
    taps = weights.size
    reach = taps // 2
    for y in range(start, stop):
        row = out[y]
        for k in range(taps):
            w = weights[k]
            source = plane[_mirrored(y + k - reach, height)]
            for x in range(width):
                row[x] += w * source[x]
