"""Lays a map over an image in one pass: upsample + normalise + colour + blend.

The result is defined by this reference, in exact arithmetic, for every output pixel:

    v = the map upsampled to the image's size (see `upsample`)
    p = clip((v - lo) / (hi - lo), 0, 1) * 255
    c = the table's colour at p, linear between entries floor(p) and floor(p) + 1
    out = round(image * (1 - alpha) + c * alpha)

and no value differs from it by more than one grey level. Where the map is NaN, the image stays as it is.

How one grey level holds with a look-up table: the table is refined, by linear interpolation, until neighbouring entries
differ by so little, after multiplication with alpha, that the nearest entry is within 0.4 levels of alpha * c (0.51 for
tables that jump from one end to the other). Its entries are alpha * c in 8.8 fixed point, and the image's share is
computed with a 16-bit weight; together they add less than 0.02. Numbers less than one apart round to neighbours.

How it is fast: the map is normalised while it is small. A low-resolution row is spread over the image's width once,
however many output rows look at it. Then each output row goes through the first-level cache in pieces of a few hundred
pixels: combine two (or four) spread rows into table entries, a loop over plain vectors; then look up their packed
colours and blend, sixteen pixels at a time (`blend`). Small images are done by the calling thread alone, large ones in
bands of rows.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import blend_little
from .colormap import check_range, check_table
from .little import is_little
from .threads import bands
from .upsample import Mode, taps

# Output pixels below which a band is not worth a thread; what NumPy takes to blend one value, in multiplications and
# additions.
_BAND = 1 << 18
_BLEND = 4


def render(
    map: ArrayLike,
    image: NDArray[np.uint8],
    table: NDArray[np.uint8],
    lo: float,
    hi: float,
    alpha: float = 0.5,
    mode: Mode = "bilinear",
    *,
    alpha_by_value: bool = False,
    out: NDArray[np.uint8] | None = None,
    threads: int | None = None,
) -> NDArray[np.uint8]:
    """Blend the colours of a map over an image, as the module's docstring defines.

    map: (h, w), any real dtype, of any size. image: uint8 (H, W, 3) RGB. table: uint8 (256, 3). lo, hi: the values
    shown in the table's first and last colour; lo == hi is a step with lo itself on the middle. Infinities of the map
    count as the end of the range they lie beyond. alpha: 0 (image only) to 1 (map only).

    alpha_by_value: the map's share is alpha * a with a = p / 255, so that low values let the image through.
    out: where to write, uint8 (H, W, 3), C-contiguous; may be the image itself. Default: a new array. threads: None for
    all processors.

    Returns uint8 (H, W, 3). Raises ValueError where a shape, dtype, range, alpha or mode does not fit.
    """
    pixels, target = _check_images(image, out)
    colours = check_table(table)
    lo, hi = check_range(lo, hi)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie between 0 and 1, got {alpha}")
    height, width = pixels.shape[:2]
    lut, weights, common = _look_up(colours.tobytes(), float(alpha), alpha_by_value)
    values = _check_map(map)
    yi, yw = taps(values.shape[0], height, mode)
    xi, xw = taps(values.shape[1], width, mode)

    if mode == "nearest" and values.shape == pixels.shape[:2] and is_little(_BLEND * pixels.size):
        entries, missing = blend_little.to_entries(values, lo, hi, len(lut) - 2)
        blend_little.blend(entries, lut, weights if missing or alpha_by_value else common, pixels, target)
        return target

    from .blend import blend_rows, to_entries  # imports Numba

    small = np.empty(values.shape, np.float32)
    missing = to_entries(values, lo, hi, len(lut) - 2, small)
    shares = weights if missing or alpha_by_value else common
    source, goal = pixels.reshape(-1), target.reshape(-1)
    bands(
        lambda start, stop: blend_rows(small, xi, xw, yi, yw, lut, shares, source, goal, start, stop),
        height,
        threads,
        least=_BAND // width + 1,
    )
    return target


def _check_images(
    image: NDArray[np.uint8], out: NDArray[np.uint8] | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ValueError(f"an image must be uint8 (H, W, 3) and not be empty, got {pixels.dtype} {pixels.shape}")
    if out is None:
        out = np.empty(pixels.shape, np.uint8)
    elif out.dtype != np.uint8 or out.shape != pixels.shape or not out.flags.c_contiguous or not out.flags.writeable:
        raise ValueError(f"out must be a writable C-contiguous uint8 {pixels.shape}, got {out.dtype} {out.shape}")
    return np.ascontiguousarray(pixels), out


def _check_map(map: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(map)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"a map must hold real numbers, got dtype {values.dtype}")
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"a map must have shape (h, w) and not be empty, got {values.shape}")
    return np.ascontiguousarray(values, np.float64)


@functools.lru_cache(maxsize=16)
def _look_up(
    table: bytes, alpha: float, by_value: bool
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint16]]:
    """Packed tables (colours, weights), each with one entry more than the range has, for NaN: see-through.

    colours: alpha * c in 8.8 fixed point plus one half, red in the lowest 16 bits, then green and blue. weights:
    (1 - alpha) * 2^16, at most 2^16 - 1, three times in a row likewise. Last, the first entry's weight alone.
    """
    colours = np.frombuffer(table, np.uint8).reshape(256, 3).astype(np.float64)
    share = np.arange(256) / 255 * alpha if by_value else np.full(256, alpha)
    # By how much the result changes from one of the 256 entries to the next, at most. The nearest entry of a table that
    # is r times as fine is off by at most step / (2 r). Entries are numbered in 16 bits.
    step = alpha * (np.abs(np.diff(colours, axis=0)).max() + (2 if by_value else 0))
    refine = min(max(4, int(np.ceil(step / 0.8))), 256)
    position = np.arange(255 * refine + 1) / refine
    fine_share = np.interp(position, np.arange(256), share)
    fine = np.stack([np.interp(position, np.arange(256), colours[:, c]) for c in range(3)])
    red, green, blue = np.floor(fine * fine_share * 256 + 0.5).astype(np.uint64) + np.uint64(128)
    packed = np.append(red | green << np.uint64(16) | blue << np.uint64(32), np.uint64(0x0080_0080_0080))
    weight = np.minimum(np.floor((1 - fine_share) * 65536 + 0.5), 65535).astype(np.uint64)
    weights = np.append(weight, np.uint64(65535)) * np.uint64(0x0001_0001_0001)
    return packed, weights, weights[:1].astype(np.uint16)
