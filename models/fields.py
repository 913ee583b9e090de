"""Random fields, strokes and filters on a pixel grid: the raw material of the synthetic surfaces.

Everything is NumPy. Lengths are in *units*: the short side of every picture is 160 units, whatever its size in pixels,
so that one scene looks the same at any resolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

UNITS = 160.0


@dataclass(frozen=True, eq=False)
class Grid:
    """Pixel centres of an H x W picture, in units, with the origin in the middle.

    x: (1, W), rightwards. y: (H, 1), downwards. scale: pixels per unit.
    """

    height: int
    width: int
    scale: float
    x: Array
    y: Array

    @classmethod
    def of(cls, height: int, width: int) -> Grid:
        scale = min(height, width) / UNITS
        x = (np.arange(width, dtype=np.float64) + 0.5 - width / 2) / scale
        y = (np.arange(height, dtype=np.float64) + 0.5 - height / 2) / scale
        return cls(height, width, scale, x[None, :], y[:, None])

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def extent(self) -> tuple[float, float]:
        """(height, width) in units."""
        return self.height / self.scale, self.width / self.scale


@lru_cache(maxsize=16)
def _frequencies(height: int, width: int, scale: float) -> tuple[Array, Array]:
    """Vertical and horizontal frequencies of rfft2, in cycles per unit."""
    fy: Array = np.fft.fftfreq(height).astype(np.float64) * scale
    fx: Array = np.fft.rfftfreq(width).astype(np.float64) * scale
    return fy[:, None], fx[None, :]


def _filtered(rng: np.random.Generator, grid: Grid, response: Array) -> Array:
    """White noise through a filter given by its frequency response; mean 0, standard deviation 1."""
    response = response.copy()
    response[0, 0] = 0.0
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(grid.shape)) * response, s=grid.shape)
    deviation = float(field.std())
    return np.asarray(field / deviation if deviation > 0 else field, dtype=np.float64)


def band_noise(
    rng: np.random.Generator,
    grid: Grid,
    wavelength: float,
    *,
    octaves: float = 0.6,
    stretch: float = 1.0,
    angle: float = 0.0,
) -> Array:
    """Noise whose power lies around one wavelength (units), within about `octaves`; unit variance.

    `stretch` > 1 draws it out along `angle` (radians): the streaks of a brushed or rolled surface.
    """
    fy, fx = _frequencies(grid.height, grid.width, grid.scale)
    along = (fx * np.cos(angle) + fy * np.sin(angle)) * stretch
    across = -fx * np.sin(angle) + fy * np.cos(angle)
    frequency = np.sqrt(along * along + across * across) * wavelength
    distance = np.log2(np.maximum(frequency, 1e-9)) / octaves
    return _filtered(rng, grid, np.exp(-0.5 * distance * distance))


def fractal_noise(rng: np.random.Generator, grid: Grid, wavelength: float, slope: float = 1.6) -> Array:
    """Multi-octave noise: flat above `wavelength` (units), amplitude falling as frequency^-slope below; variance 1."""
    fy, fx = _frequencies(grid.height, grid.width, grid.scale)
    frequency = (fx * fx + fy * fy) * (wavelength * wavelength)
    return _filtered(rng, grid, (1.0 + frequency) ** (-slope / 2))


def profile_noise(rng: np.random.Generator, position: Array, period: float, slope: float = 0.5) -> Array:
    """One-dimensional noise read at `position` (units): turning marks along a radius. About unit variance."""
    low, high = float(position.min()), float(position.max())
    step = period / 4
    count = int((high - low) / step) + 4
    spectrum = np.fft.rfft(rng.standard_normal(count))
    frequency = np.fft.rfftfreq(count) * 4  # cycles per period
    line = np.fft.irfft(spectrum / (0.3 + frequency) ** slope, n=count)
    line = (line - line.mean()) / max(float(line.std()), 1e-9)
    values: Array = np.interp(position, low + step * np.arange(count), line)
    return values


def cells(rng: np.random.Generator, grid: Grid, size: float, jitter: float = 0.85) -> tuple[Array, Array]:
    """Cellular (Worley) noise with cells of about `size` units.

    Returns the distance to the border between the two nearest seeds (0 on it, in cells) and a random value in 0..1
    that is constant in each cell. S. Worley, A Cellular Texture Basis Function, SIGGRAPH 1996.
    """
    rows = int(grid.extent[0] / size) + 4
    columns = int(grid.extent[1] / size) + 4
    offset = rng.random((rows, columns, 2)) * jitter + (1 - jitter) / 2
    tone = rng.random((rows, columns))
    u = (grid.x + grid.extent[1] / 2) / size + 1.5 + np.zeros(grid.shape)
    v = (grid.y + grid.extent[0] / 2) / size + 1.5 + np.zeros(grid.shape)
    column, row = u.astype(np.intp), v.astype(np.intp)
    nearest = np.full(grid.shape, np.inf)
    second = np.full(grid.shape, np.inf)
    value = np.zeros(grid.shape)
    for dr in (-1, 0, 1):
        for dc in (-1, 0, 1):
            r, c = row + dr, column + dc
            du = c + offset[r, c, 1] - u
            dv = r + offset[r, c, 0] - v
            d = np.sqrt(du * du + dv * dv)
            closer = d < nearest
            second = np.where(closer, nearest, np.minimum(second, d))
            nearest = np.where(closer, d, nearest)
            value = np.where(closer, tone[r, c], value)
    return second - nearest, value


def blur(field: Array, sigma: float) -> Array:
    """Gaussian blur of (H, W) or (H, W, C), sigma in pixels, the edge pixel repeated outside."""
    radius = max(1, int(np.ceil(2.5 * sigma)))
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps /= taps.sum()
    for axis in (0, 1):
        size = field.shape[axis]
        pad = [(radius, radius) if a == axis else (0, 0) for a in range(field.ndim)]
        padded = np.pad(field, pad, mode="edge")
        windows = [padded[i : i + size] if axis == 0 else padded[:, i : i + size] for i in range(2 * radius + 1)]
        field = taps[radius] * windows[radius]
        for i in range(radius):
            field += taps[i] * (windows[i] + windows[2 * radius - i])
    return field


def shifted(field: Array, dy: int, dx: int) -> Array:
    """field[y + dy, x + dx], the edge pixel repeated outside."""
    height, width = field.shape
    rows = np.clip(np.arange(height) + dy, 0, height - 1)
    columns = np.clip(np.arange(width) + dx, 0, width - 1)
    return field[rows[:, None], columns[None, :]]


def smoothstep(value: Array, low: float, high: float) -> Array:
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def stroke(grid: Grid, points: Array, reach: float) -> tuple[Array, npt.NDArray[np.intp]]:
    """Distance from every pixel to the nearest of many points, as far as `reach`; both in units.

    points: (N, 2) as x, y, close together along a path. Returns the distance (H, W), infinite beyond `reach`, and the
    index of the nearest point (H, W), 0 where there is none.
    """
    height, width = grid.shape
    px = points[:, 0] * grid.scale + width / 2 - 0.5
    py = points[:, 1] * grid.scale + height / 2 - 0.5
    radius = int(np.ceil(reach * grid.scale)) + 1
    step = np.arange(-radius, radius + 1)
    column = np.rint(px).astype(np.intp)[:, None, None] + step[None, None, :]
    row = np.rint(py).astype(np.intp)[:, None, None] + step[None, :, None]
    squared = (column - px[:, None, None]) ** 2 + (row - py[:, None, None]) ** 2
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    inside &= squared <= (reach * grid.scale) ** 2
    flat = (row * width + column)[inside]
    squared = squared[inside]
    owner = np.broadcast_to(np.arange(len(points))[:, None, None], inside.shape)[inside]
    best = np.full(height * width, np.inf)
    np.minimum.at(best, flat, squared)
    index = np.zeros(height * width, dtype=np.intp)
    won = squared == best[flat]
    index[flat[won]] = owner[won]
    return np.sqrt(best).reshape(grid.shape) / grid.scale, index.reshape(grid.shape)
