"""Materials of the synthetic surfaces: height, colour and gloss of a surface without a defect.

A texture is one function (rng, grid) -> Surface, listed in TEXTURES at the end.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .fields import Array, Grid, band_noise, cells, fractal_noise, profile_noise, smoothstep


@dataclass(eq=False)
class Surface:
    """A height field with its optical properties.

    height: (H, W), units. albedo: (H, W, 3), linear RGB in 0..1. gloss: (H, W), strength of the highlight.
    shininess: exponent of the highlight. mirror: how much of the surroundings is reflected. softness: blur of that
    reflection. metal: whether reflections take the albedo's colour. grain: (H, W) direction (radians) of the brush
    marks, or None where the surface scatters alike in all directions. base: colour under a coating, linear RGB.
    """

    height: Array
    albedo: Array
    gloss: Array
    shininess: float
    mirror: float
    softness: float
    metal: bool
    base: Array
    grain: Array | None = None

    def copy(self) -> Surface:
        return Surface(
            self.height.copy(),
            self.albedo.copy(),
            self.gloss.copy(),
            self.shininess,
            self.mirror,
            self.softness,
            self.metal,
            self.base,
            self.grain,
        )


def _colour(hue: float, saturation: float, value: float) -> Array:
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, float(np.clip(saturation, 0, 1)), float(np.clip(value, 0, 1))))


def _metal_colour(rng: np.random.Generator) -> Array:
    """Steel and aluminium mostly; brass, copper and anodised colours at times."""
    kind = rng.random()
    value = rng.uniform(0.28, 0.55)
    if kind < 0.7:
        return _colour(rng.uniform(0.5, 0.68), rng.uniform(0.0, 0.09), value)
    if kind < 0.8:
        return _colour(rng.uniform(0.10, 0.13), rng.uniform(0.35, 0.55), value + 0.1)
    if kind < 0.88:
        return _colour(rng.uniform(0.03, 0.06), rng.uniform(0.4, 0.6), value + 0.08)
    return _colour(rng.random(), rng.uniform(0.2, 0.55), value)


def _tinted(colour: Array, *variations: Array) -> Array:
    """A colour over the picture, multiplied by 1 + each variation (H, W)."""
    factor = np.ones_like(variations[0])
    for variation in variations:
        factor = factor * np.clip(1.0 + variation, 0.2, 2.0)
    return np.clip(colour * factor[..., None], 0.0, 1.0)


def brushed(rng: np.random.Generator, grid: Grid) -> Surface:
    angle = rng.uniform(0, np.pi)
    fine = band_noise(rng, grid, rng.uniform(2.0, 3.0), octaves=0.8, stretch=rng.uniform(25, 60), angle=angle)
    coarse = band_noise(rng, grid, rng.uniform(5.0, 9.0), octaves=0.8, stretch=rng.uniform(20, 40), angle=angle)
    height = rng.uniform(0.03, 0.08) * fine + rng.uniform(0.02, 0.06) * coarse
    albedo = _tinted(_metal_colour(rng), rng.uniform(0.04, 0.10) * fine, rng.uniform(0.02, 0.06) * coarse)
    return Surface(
        height=height,
        albedo=albedo,
        gloss=rng.uniform(0.5, 0.9) * (1 + 0.15 * fine),
        shininess=rng.uniform(30, 90),
        mirror=rng.uniform(0.05, 0.2),
        softness=rng.uniform(0.12, 0.25),
        metal=True,
        base=np.array([0.75, 0.76, 0.78]),
        grain=np.full(grid.shape, angle),
    )


def turned(rng: np.random.Generator, grid: Grid) -> Surface:
    """Concentric tool marks of a lathe or a face mill."""
    direction = rng.uniform(0, 2 * np.pi)
    away = rng.uniform(110, 500)
    dx = grid.x - away * np.cos(direction)
    dy = grid.y - away * np.sin(direction)
    radius = np.sqrt(dx * dx + dy * dy)
    pitch = rng.uniform(3.0, 6.0)
    marks = profile_noise(rng, radius, pitch)
    regular = np.sin(2 * np.pi * radius / pitch + 0.8 * profile_noise(rng, radius, 6 * pitch))
    grainy = fractal_noise(rng, grid, 6.0, 1.2)
    height = rng.uniform(0.04, 0.09) * marks + rng.uniform(0.02, 0.06) * regular + 0.02 * grainy
    albedo = _tinted(_metal_colour(rng), rng.uniform(0.03, 0.07) * marks, 0.03 * grainy)
    return Surface(
        height=height,
        albedo=albedo,
        gloss=rng.uniform(0.4, 0.8) * (1 + 0.1 * marks),
        shininess=rng.uniform(25, 70),
        mirror=rng.uniform(0.05, 0.2),
        softness=rng.uniform(0.12, 0.25),
        metal=True,
        base=np.array([0.75, 0.76, 0.78]),
        grain=np.arctan2(dy, dx) + np.pi / 2,
    )


def cast(rng: np.random.Generator, grid: Grid) -> Surface:
    """The skin of a sand casting: lumps at every size."""
    lumps = fractal_noise(rng, grid, rng.uniform(8, 16), rng.uniform(1.9, 2.3))
    fine = band_noise(rng, grid, rng.uniform(2.5, 4.0), octaves=0.8)
    mottle = fractal_noise(rng, grid, rng.uniform(10, 40), 1.5)
    height = rng.uniform(0.22, 0.55) * lumps + rng.uniform(0.04, 0.09) * fine
    colour = _colour(rng.uniform(0.05, 0.65), rng.uniform(0.0, 0.12), rng.uniform(0.14, 0.32))
    return Surface(
        height=height,
        albedo=_tinted(colour, 0.10 * mottle, 0.06 * lumps, 0.05 * fine),
        gloss=np.full(grid.shape, rng.uniform(0.15, 0.35)),
        shininess=rng.uniform(10, 22),
        mirror=0.0,
        softness=0.3,
        metal=True,
        base=np.array([0.55, 0.56, 0.58]),
    )


def blasted(rng: np.random.Generator, grid: Grid) -> Surface:
    """Sand-blasted or shot-peened metal: an even carpet of small dimples."""
    dimples = band_noise(rng, grid, rng.uniform(2.6, 5.0), octaves=rng.uniform(0.4, 0.7))
    fine = band_noise(rng, grid, 2.2, octaves=0.6)
    mottle = fractal_noise(rng, grid, 40, 1.6)
    return Surface(
        height=rng.uniform(0.10, 0.22) * dimples + 0.03 * fine,
        albedo=_tinted(_metal_colour(rng) * rng.uniform(0.8, 1.1), 0.03 * mottle, 0.04 * dimples),
        gloss=np.full(grid.shape, rng.uniform(0.3, 0.6)),
        shininess=rng.uniform(15, 35),
        mirror=0.0,
        softness=0.3,
        metal=True,
        base=np.array([0.7, 0.71, 0.73]),
    )


def painted(rng: np.random.Generator, grid: Grid) -> Surface:
    """A lacquered panel: orange peel, sometimes metallic flakes."""
    peel = band_noise(rng, grid, rng.uniform(7, 13), octaves=0.7)
    saturation = rng.choice([rng.uniform(0.45, 0.9), rng.uniform(0.0, 0.15)])
    colour = _colour(rng.random(), saturation, rng.uniform(0.12, 0.75))
    flakes = band_noise(rng, grid, 2.2, octaves=0.5)
    metallic = rng.uniform(0.03, 0.10) if rng.random() < 0.35 else 0.008
    primer = _colour(rng.uniform(0.0, 0.6), rng.uniform(0.0, 0.2), rng.choice([0.25, 0.5, 0.7]))
    return Surface(
        height=rng.uniform(0.01, 0.045) * peel,
        albedo=_tinted(colour, metallic * flakes),
        gloss=np.full(grid.shape, rng.uniform(0.25, 0.6)),
        shininess=rng.uniform(60, 200),
        mirror=rng.uniform(0.1, 0.3),
        softness=rng.uniform(0.03, 0.12),
        metal=False,
        base=primer,
    )


def ceramic(rng: np.random.Generator, grid: Grid) -> Surface:
    """A glazed tile: light, slightly wavy, sometimes speckled or clouded."""
    wave = band_noise(rng, grid, rng.uniform(20, 40), octaves=0.8)
    body = _colour(rng.random(), rng.uniform(0.02, 0.3), rng.uniform(0.5, 0.85))
    clouds = fractal_noise(rng, grid, rng.uniform(20, 50), 1.8)
    albedo = _tinted(body, rng.uniform(0.01, 0.07) * clouds)
    if rng.random() < 0.5:
        speckle = smoothstep(band_noise(rng, grid, rng.uniform(2.2, 3.2)), rng.uniform(1.8, 2.4), 3.2)
        albedo *= 1 - rng.uniform(0.25, 0.6) * speckle[..., None]
    return Surface(
        height=rng.uniform(0.1, 0.3) * wave,
        albedo=albedo,
        gloss=np.full(grid.shape, rng.uniform(0.3, 0.6)),
        shininess=rng.uniform(100, 250),
        mirror=rng.uniform(0.08, 0.22),
        softness=rng.uniform(0.03, 0.10),
        metal=False,
        base=_colour(rng.uniform(0.03, 0.1), rng.uniform(0.1, 0.5), rng.uniform(0.35, 0.6)),
    )


def leather(rng: np.random.Generator, grid: Grid) -> Surface:
    border, tone = cells(rng, grid, rng.uniform(5.5, 10.0))
    fold = fractal_noise(rng, grid, 25, 1.8)
    fine = band_noise(rng, grid, 2.5)
    cushion = smoothstep(border, 0.0, rng.uniform(0.25, 0.45))
    saturation = rng.uniform(0.15, 0.65)
    colour = _colour(
        rng.choice([rng.uniform(0.02, 0.1), rng.random()], p=[0.75, 0.25]), saturation, rng.uniform(0.1, 0.5)
    )
    return Surface(
        height=rng.uniform(0.25, 0.6) * cushion + 0.25 * fold + 0.03 * fine,
        albedo=_tinted(colour, 0.10 * (tone - 0.5), 0.22 * (cushion - 0.8), 0.05 * fold),
        gloss=rng.uniform(0.10, 0.28) * (0.4 + 0.6 * cushion),
        shininess=rng.uniform(10, 24),
        mirror=0.0,
        softness=0.3,
        metal=False,
        base=_colour(rng.uniform(0.06, 0.1), rng.uniform(0.2, 0.4), rng.uniform(0.45, 0.65)),
    )


def plastic(rng: np.random.Generator, grid: Grid) -> Surface:
    """Moulded plastic with an eroded grain."""
    grain = np.tanh(1.5 * band_noise(rng, grid, rng.uniform(3.5, 6.5), octaves=rng.uniform(0.4, 0.7)))
    saturation = rng.choice([rng.uniform(0.0, 0.12), rng.uniform(0.3, 0.8)], p=[0.65, 0.35])
    colour = _colour(rng.random(), saturation, rng.uniform(0.07, 0.6))
    return Surface(
        height=rng.uniform(0.12, 0.3) * grain,
        albedo=_tinted(colour, 0.03 * grain),
        gloss=np.full(grid.shape, rng.uniform(0.15, 0.35)),
        shininess=rng.uniform(18, 45),
        mirror=0.0,
        softness=0.2,
        metal=False,
        base=np.clip(colour * 1.5 + 0.12, 0, 0.9),
    )


def concrete(rng: np.random.Generator, grid: Grid) -> Surface:
    mottle = fractal_noise(rng, grid, rng.uniform(25, 60), 1.5)
    rough = fractal_noise(rng, grid, rng.uniform(6, 12), 1.5)
    sand = band_noise(rng, grid, rng.uniform(2.2, 3.5), octaves=0.7)
    pores = smoothstep(band_noise(rng, grid, rng.uniform(2.5, 3.5)), 2.3, 3.2)
    colour = _colour(rng.choice([rng.uniform(0.07, 0.12), 0.58]), rng.uniform(0.02, 0.14), rng.uniform(0.3, 0.6))
    return Surface(
        height=rng.uniform(0.12, 0.25) * rough + rng.uniform(0.04, 0.10) * sand - 0.3 * pores,
        albedo=_tinted(colour, 0.10 * mottle, 0.05 * rough, 0.07 * sand, -0.25 * pores),
        gloss=np.full(grid.shape, 0.03),
        shininess=10.0,
        mirror=0.0,
        softness=0.3,
        metal=False,
        base=colour * rng.uniform(0.7, 1.1),
    )


TEXTURES: dict[str, Callable[[np.random.Generator, Grid], Surface]] = {
    "brushed": brushed,
    "turned": turned,
    "cast": cast,
    "blasted": blasted,
    "painted": painted,
    "ceramic": ceramic,
    "leather": leather,
    "plastic": plastic,
    "concrete": concrete,
}
