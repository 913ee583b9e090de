"""Lays a map over an image in one pass: upsample + normalise + colour + blend.

The result is defined by this reference, in exact arithmetic, for every output pixel:

    v = the map upsampled to the image's size (see `upsample`)
    p = clip((v - lo) / (hi - lo), 0, 1) * 255
    c = the table's colour at p, linear between entries floor(p) and floor(p) + 1
    out = round(image * (1 - alpha) + c * alpha)

and no value differs from it by more than one grey level. Where the map is NaN, the image stays as it is.

How one grey level holds with a look-up table: the table is refined, by linear interpolation, until neighbouring entries
differ by so little, after multiplication with alpha, that the nearest entry is within 0.4 levels of c. Its entries are
alpha * c in 8.8 fixed point, the image's share is computed with a 16-bit weight; together they add less than 0.02, and
the last rounding at most half a level.

How it is fast: the map is normalised while it is small. A low-resolution row is spread over the image's width once,
however many output rows look at it. Then each output row goes through the first-level cache in pieces of a few hundred
pixels: combine two (or four) spread rows into table entries, replace those by their packed colours, blend. The first
and last step are loops over plain vectors that the compiler turns into SIMD code; the middle one moves four pixels by
three 8-byte words. Small images are done by the calling thread alone, large ones in bands of rows.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .colormap import check_range, check_table
from .jit import kernel
from .threads import bands
from .upsample import Mode, taps

# Output pixels below which a band is not worth a thread.
_BAND = 1 << 18

# Pixels that go through the cache together; a multiple of 4.
_PIECE = 512


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
    lut, weights = _look_up(colours.tobytes(), float(alpha), alpha_by_value)
    entries = len(lut) - 1
    small, missing = _entries(map, lo, hi, entries)
    yi, yw = taps(small.shape[0], height, mode)
    xi, xw = taps(small.shape[1], width, mode)
    source, goal = pixels.reshape(height, -1), target.reshape(height, -1)
    if missing or alpha_by_value:
        bands(
            lambda start, stop: _render_by_pixel(small, xi, xw, yi, yw, lut, weights, source, goal, start, stop),
            height,
            threads,
            least=_BAND // width + 1,
        )
    else:
        weight = np.uint16(weights[0] & 0xFFFF)
        bands(
            lambda start, stop: _render(small, xi, xw, yi, yw, lut, weight, source, goal, start, stop),
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


def _entries(map: ArrayLike, lo: float, hi: float, entries: int) -> tuple[NDArray[np.float32], bool]:
    """The map in units of table entries, + 1/2 so that truncation rounds; and whether it holds a NaN."""
    values = np.asarray(map)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"a map must hold real numbers, got dtype {values.dtype}")
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"a map must have shape (h, w) and not be empty, got {values.shape}")
    values = values.astype(np.float64)
    if lo < hi:
        span = hi * 0.5 - lo * 0.5  # halves keep it finite for ranges as wide as the type
        scaled = (values * 0.5 - lo * 0.5) / span
    else:
        scaled = np.where(np.isnan(values), np.nan, np.sign(values - lo) * 0.5 + 0.5)
    scaled = np.where(np.isinf(scaled), np.sign(scaled) * 0.5 + 0.5, scaled)
    return (scaled * (entries - 1) + 0.5).astype(np.float32), bool(np.isnan(scaled).any())


@functools.lru_cache(maxsize=16)
def _look_up(table: bytes, alpha: float, by_value: bool) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Packed tables, each with one entry more than the map's range has, for NaN: see-through.

    colours: alpha * c in 8.8 fixed point plus one half, red in the lowest 16 bits, then green and blue.
    weights: (1 - alpha) * 2^16, at most 2^16 - 1, three times beside one another likewise.
    """
    colours = np.frombuffer(table, np.uint8).reshape(256, 3).astype(np.float64)
    at = np.arange(256) / 255 * alpha if by_value else np.full(256, alpha)
    shares = colours * at[:, None]
    # Nearest entry of a table refined r times: off by at most step / (2 r).
    step = max(np.abs(np.diff(shares, axis=0)).max(), np.abs(np.diff(at)).max() * 255)
    refine = int(max(4, np.ceil(step / 0.8)))
    position = np.arange(255 * refine + 1) / refine
    fine_at = np.interp(position, np.arange(256), at)
    fine = np.stack([np.interp(position, np.arange(256), colours[:, c]) for c in range(3)], axis=1)
    red, green, blue = np.floor(fine.T * fine_at * 256 + 0.5).astype(np.uint64) + np.uint64(128)
    shade = np.minimum(np.floor((1 - fine_at) * 65536 + 0.5), 65535).astype(np.uint64)
    packed = np.append(red | green << np.uint64(16) | blue << np.uint64(32), np.uint64(0x0080_0080_0080))
    weights = np.append(shade, np.uint64(65535)) * np.uint64(0x0001_0001_0001)
    return packed, weights


@kernel(fastmath={"contract"})
def _render(
    map: Any,
    xi: Any,
    xw: Any,
    yi: Any,
    yw: Any,
    lut: Any,
    weight: Any,
    image: Any,
    out: Any,
    start: int,
    stop: int,
) -> None:
    width, taps = xi.shape
    top = np.float32(len(lut) - 2)
    low = np.float32(0)
    high, rest, eight = np.uint16(weight >> 8), np.uint16(weight & 255), np.uint16(8)
    spread = np.empty((4, width), np.float32)
    have = np.full(4, -1, np.int64)
    entry = np.zeros(_PIECE, np.uint16)
    words = np.empty(_PIECE // 4 * 3, np.uint64)
    colour = words.view(np.uint16)
    for y in range(start, stop):
        for k in range(taps):
            r = yi[y, k]
            if have[r & 3] != r:
                have[r & 3] = r
                _spread(map[r], xi, xw, spread[r & 3])
        for x0 in range(0, width, _PIECE):
            n = min(_PIECE, width - x0)
            a, wa = spread[yi[y, 0] & 3, x0 : x0 + n], yw[y, 0]
            if taps == 1:
                for x in range(n):
                    entry[x] = np.int32(min(max(a[x], low), top))
            elif taps == 2:
                b, wb = spread[yi[y, 1] & 3, x0 : x0 + n], yw[y, 1]
                for x in range(n):
                    entry[x] = np.int32(min(max(a[x] * wa + b[x] * wb, low), top))
            else:
                b, wb = spread[yi[y, 1] & 3, x0 : x0 + n], yw[y, 1]
                c, wc = spread[yi[y, 2] & 3, x0 : x0 + n], yw[y, 2]
                d, wd = spread[yi[y, 3] & 3, x0 : x0 + n], yw[y, 3]
                for x in range(n):
                    entry[x] = np.int32(min(max(a[x] * wa + b[x] * wb + c[x] * wc + d[x] * wd, low), top))
            _pack(entry, lut, words, n)
            before, after = image[y, 3 * x0 : 3 * (x0 + n)], out[y, 3 * x0 : 3 * (x0 + n)]
            for i in range(3 * n):
                # All in 16 bits, so that a vector register holds as many lanes as possible: high and low byte of the
                # weight apart.
                pixel = np.uint16(before[i])
                shaded = np.uint16(np.uint16(pixel * high) + np.uint16(np.uint16(pixel * rest) >> eight))
                after[i] = np.uint8(np.uint16(shaded + colour[i]) >> eight)


@kernel(fastmath={"contract"})
def _render_by_pixel(
    map: Any,
    xi: Any,
    xw: Any,
    yi: Any,
    yw: Any,
    lut: Any,
    weights: Any,
    image: Any,
    out: Any,
    start: int,
    stop: int,
) -> None:
    """As `_render`, with the image's weight taken from a table too; the last entry is for NaN."""
    width, taps = xi.shape
    nothing = np.int32(len(lut) - 1)
    top = np.float32(len(lut) - 2)
    low = np.float32(0)
    spread = np.empty((4, width), np.float32)
    have = np.full(4, -1, np.int64)
    line = np.empty(_PIECE, np.float32)
    entry = np.zeros(_PIECE, np.uint16)
    words = np.empty(_PIECE // 4 * 3, np.uint64)
    shades = np.empty(_PIECE // 4 * 3, np.uint64)
    colour, share = words.view(np.uint16), shades.view(np.uint16)
    for y in range(start, stop):
        for k in range(taps):
            r = yi[y, k]
            if have[r & 3] != r:
                have[r & 3] = r
                _spread(map[r], xi, xw, spread[r & 3])
        for x0 in range(0, width, _PIECE):
            n = min(_PIECE, width - x0)
            line[:n] = spread[yi[y, 0] & 3, x0 : x0 + n] * yw[y, 0]
            for k in range(1, taps):
                a, wa = spread[yi[y, k] & 3, x0 : x0 + n], yw[y, k]
                for x in range(n):
                    line[x] += a[x] * wa
            for x in range(n):
                value = line[x]
                entry[x] = np.int32(min(max(value, low), top)) if value == value else nothing
            _pack(entry, lut, words, n)
            _pack(entry, weights, shades, n)
            before, after = image[y, 3 * x0 : 3 * (x0 + n)], out[y, 3 * x0 : 3 * (x0 + n)]
            for i in range(3 * n):
                shaded = (np.uint32(before[i]) << np.uint32(8)) * np.uint32(share[i]) >> np.uint32(16)
                after[i] = (shaded + np.uint32(colour[i])) >> np.uint32(8)


@kernel(fastmath={"contract"})
def _spread(row: Any, index: Any, weight: Any, out: Any) -> None:
    width, taps = index.shape
    for x in range(width):
        total = row[index[x, 0]] * weight[x, 0]
        for k in range(1, taps):
            total += row[index[x, k]] * weight[x, k]
        out[x] = total


@kernel
def _pack(entry: Any, lut: Any, words: Any, n: int) -> None:
    """Four pixels of 3 x 16 bits fill three words. The last group may read entries of an earlier piece: still valid."""
    s16, s32, s48 = np.uint64(16), np.uint64(32), np.uint64(48)
    for g in range((n + 3) // 4):
        p0, p1, p2, p3 = lut[entry[4 * g]], lut[entry[4 * g + 1]], lut[entry[4 * g + 2]], lut[entry[4 * g + 3]]
        words[3 * g] = p0 | p1 << s48
        words[3 * g + 1] = p1 >> s16 | p2 << s32
        words[3 * g + 2] = p2 >> s32 | p3 << s16
