"""Colour maps: 256-entry tables of sRGB colours, and the look-up of values in them.

The tables are our own, made so that equal steps of value look like equal steps. Each is a path of hue and chroma in
Oklab (B. Ottosson, "A perceptual color space for image processing", 2020) through a few control points, and its
lightness is CIE 1976 L* (D65), exactly linear in the value:

    lagoon   sequential, L* 13 to 92: violet, blue, teal, green, yellow
    ember    sequential, L* 3 to 96: black, violet, red, orange, pale yellow
    polar    diverging, L* 32 to 95 to 32: blue, white, red, of equal lightness and chroma at equal distance from the
             centre; entries 127 and 128 are both the neutral centre, so a range (-m, m) shows 0 without any hue
    gray     L* 0 to 100, without chroma

For every entry, Oklab's own lightness is solved for so that the colour has the L* that is wanted. All paths lie inside
the sRGB gamut, nothing is clipped.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .jit import kernel
from .little import is_little
from .threads import bands

# The tables to take where the user has not chosen: for maps of one sign, and for signed maps.
SEQUENTIAL = "lagoon"
DIVERGING = "polar"

# What stands for a value that is NaN.
NAN_COLOUR = (128, 128, 128)

# Control points (position, Oklab hue in degrees, Oklab chroma) and the L* at both ends.
_LAGOON = [(0.0, 315, 0.128), (0.25, 275, 0.124), (0.5, 215, 0.09), (0.75, 165, 0.12), (1.0, 110, 0.165)]
_EMBER = [
    (0.0, 290, 0.015),
    (0.2, 310, 0.13),
    (0.4, 360, 0.165),
    (0.6, 392, 0.185),
    (0.8, 430, 0.13),
    (1.0, 465, 0.06),
]
_GRAY = [(0.0, 0, 0.0), (1.0, 0, 0.0)]
_PATHS = {"lagoon": (13.0, 92.0, _LAGOON), "ember": (3.0, 96.0, _EMBER), "gray": (0.0, 100.0, _GRAY)}

# polar: chroma by distance from the centre, the same for both hues, and so within what both can have.
_POLAR_CHROMA = [(0.0, 0.0), (0.08, 0.034), (0.24, 0.08), (0.4, 0.12), (0.55, 0.148), (0.8, 0.162), (1.0, 0.15)]
_POLAR_HUES = (262.0, 25.0)
_POLAR_LIGHTNESS = (95.0, 32.0)

# Values below which a band is not worth a thread; what NumPy takes for one look-up, in multiplications and additions.
_BAND = 1 << 19
_LOOK_UP = 8


def names() -> tuple[str, ...]:
    """The names of all tables."""
    return (*_PATHS, "polar")


@functools.cache
def table(name: str) -> NDArray[np.uint8]:
    """A map's colours: uint8 (256, 3) sRGB, lowest value first, read-only. Raises ValueError for an unknown name."""
    if name == "polar":
        colours = _polar()
    elif name in _PATHS:
        low, high, points = _PATHS[name]
        at = np.linspace(0.0, 1.0, 256)
        position, hue, chroma = (np.array(column, np.float64) for column in zip(*points, strict=True))
        colours = _srgb(low + (high - low) * at, _smooth(at, position, hue), _smooth(at, position, chroma))
    else:
        raise ValueError(f"no colour map named {name!r}; there are {', '.join(names())}")
    colours.setflags(write=False)
    return colours


def apply(
    values: ArrayLike, table: NDArray[np.uint8], lo: float, hi: float, *, threads: int | None = None
) -> NDArray[np.uint8]:
    """Colour every value: entry floor(255 * (v - lo) / (hi - lo) + 1/2), values outside the range taken to its ends.

    values: any shape, any real dtype. table: uint8 (256, 3). Returns uint8 (..., 3). NaN gives `NAN_COLOUR`. lo == hi
    is a step: below it the first entry, above it the last, at it the middle (128).

    Raises ValueError when the table, the dtype or the range does not fit.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"values must be real numbers, got dtype {array.dtype}")
    colours = check_table(table)
    lo, hi = check_range(lo, hi)
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    flat = np.ascontiguousarray(array).reshape(-1)
    out = np.empty((flat.size, 3), np.uint8)
    missing = np.array(NAN_COLOUR, np.uint8)
    if is_little(_LOOK_UP * flat.size):
        return _apply_little(flat, colours, lo, hi, missing).reshape(*array.shape, 3)
    bands(lambda start, stop: _apply(flat, colours, lo, hi, missing, out, start, stop), flat.size, threads, least=_BAND)
    return out.reshape(*array.shape, 3)


def check_table(table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The table as a contiguous array, or ValueError where it is not uint8 (256, 3)."""
    array = np.asarray(table)
    if array.dtype != np.uint8 or array.shape != (256, 3):
        raise ValueError(f"a colour table must be uint8 (256, 3), got {array.dtype} {array.shape}")
    return np.ascontiguousarray(array)


def check_range(lo: float, hi: float) -> tuple[float, float]:
    """A finite range with lo <= hi as floats, or ValueError."""
    lo, hi = float(lo), float(hi)
    if not (np.isfinite(lo) and np.isfinite(hi) and lo <= hi):
        raise ValueError(f"a display range must be finite with lo <= hi, got {lo} and {hi}")
    return lo, hi


@kernel
def _apply(values: Any, table: Any, lo: float, hi: float, missing: Any, out: Any, start: int, stop: int) -> None:
    # Halves keep the difference finite for ranges as wide as the type.
    span = hi * 0.5 - lo * 0.5
    for i in range(start, stop):
        value = np.float64(values[i])
        if value != value:
            out[i, 0], out[i, 1], out[i, 2] = missing[0], missing[1], missing[2]
            continue
        if value <= lo and (value < lo or span > 0):
            entry = 0
        elif value >= hi and (value > hi or span > 0):
            entry = 255
        elif span > 0:
            entry = int((value * 0.5 - lo * 0.5) / span * 255.0 + 0.5)
        else:
            entry = 128
        out[i, 0], out[i, 1], out[i, 2] = table[entry, 0], table[entry, 1], table[entry, 2]


def _apply_little(
    values: NDArray[Any], table: NDArray[np.uint8], lo: float, hi: float, missing: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """What `_apply` does, by NumPy: (n,) -> (n, 3)."""
    wide, span = values.astype(np.float64), hi * 0.5 - lo * 0.5
    low, high = (wide <= lo, wide >= hi) if span > 0 else (wide < lo, wide > hi)
    entry = np.full(wide.shape, 128, np.int64)
    if span > 0:
        inside = ~(low | high | np.isnan(wide))
        entry[inside] = ((wide[inside] * 0.5 - lo * 0.5) / span * 255.0 + 0.5).astype(np.int64)
    entry[low], entry[high] = 0, 255
    colours: NDArray[np.uint8] = table[entry]
    colours[np.isnan(wide)] = missing
    return colours


def _polar() -> NDArray[np.uint8]:
    # |2i - 255| runs from 255 over 1, 1 back to 255: the two middle entries are the centre itself.
    distance = (np.abs(2 * np.arange(256) - 255) - 1) / 254
    position, chroma = (np.array(column, np.float64) for column in zip(*_POLAR_CHROMA, strict=True))
    hue = np.where(np.arange(256) < 128, *_POLAR_HUES)
    centre, end = _POLAR_LIGHTNESS
    return _srgb(centre + (end - centre) * distance, hue, _smooth(distance, position, chroma))


def _smooth(at: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cubic Hermite curve through the points (x, y), its slope at each from the parabola through its neighbours."""
    if len(x) == 2:
        return np.interp(at, x, y)
    slope = np.gradient(y, x, edge_order=2)
    i = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    step = x[i + 1] - x[i]
    t = (at - x[i]) / step
    ends = y[i] * (1 + 2 * t) * (1 - t) ** 2 + y[i + 1] * t * t * (3 - 2 * t)
    return ends + step * (slope[i] * t * (1 - t) ** 2 + slope[i + 1] * t * t * (t - 1))


_LUMINANCE = np.array([0.2126390059, 0.7151686788, 0.0721923154])


def _srgb(lightness: NDArray[np.float64], hue: NDArray[np.float64], chroma: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The sRGB colours of CIE lightness L*, Oklab hue (degrees) and Oklab chroma; each (n,) -> uint8 (n, 3)."""
    luminance = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness * (27 / 24389))
    a, b = chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))
    low, high = np.zeros_like(luminance), np.full_like(luminance, 1.5)
    for _ in range(48):  # luminance grows with Oklab's lightness: bisection
        middle = (low + high) / 2
        above = _linear_rgb(middle, a, b) @ _LUMINANCE > luminance
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    linear = np.clip(_linear_rgb((low + high) / 2, a, b), 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.floor(encoded * 255 + 0.5).astype(np.uint8)


# Oklab (L, a, b) -> cone responses (cube roots) -> linear sRGB; luminance of linear sRGB.
_CONES = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def _linear_rgb(lightness: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    linear: NDArray[np.float64] = (np.stack([lightness, a, b], axis=-1) @ _CONES.T) ** 3 @ _RGB.T
    return linear
