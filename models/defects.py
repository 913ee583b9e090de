"""Defects of the synthetic surfaces: what each does to height, colour and gloss, and which pixels it owns.

A defect is one function (rng, grid, surface, strength) -> mask, listed in DEFECTS at the end. It changes the surface in
place. `strength` scales depth and contrast; the shape depends on the generator's state alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .fields import Array, Grid, Mask, band_noise, cells, fractal_noise, smoothstep, stroke
from .textures import Surface


def _place(rng: np.random.Generator, grid: Grid, margin: float) -> Array:
    """A point (x, y) at least `margin` units inside the picture."""
    height, width = grid.extent
    half = np.array([width, height]) / 2 - margin
    return np.asarray(rng.uniform(-half, half))


def _blend(surface: Surface, amount: Array, colour: Array) -> None:
    """Mix the albedo towards a colour, by `amount` (H, W) in 0..1."""
    weight = np.clip(amount, 0.0, 1.0)[..., None]
    surface.albedo += weight * (colour - surface.albedo)


def _outline(rng: np.random.Generator, grid: Grid, centre: Array, radius: float, squash: float, rough: float) -> Array:
    """Distance from a centre as a fraction of a wobbly elliptical outline: below 1 inside, above 1 outside."""
    angle = rng.uniform(0, np.pi)
    dx, dy = grid.x - centre[0], grid.y - centre[1]
    u = (dx * np.cos(angle) + dy * np.sin(angle)) / radius
    v = (-dx * np.sin(angle) + dy * np.cos(angle)) / (radius * squash)
    theta = np.arctan2(v, u)
    wobble = np.ones(grid.shape)
    for harmonic in range(2, 7):
        wobble += rough / harmonic * rng.standard_normal() * np.cos(harmonic * theta + rng.uniform(0, 2 * np.pi))
    distance: Array = np.sqrt(u * u + v * v) / np.maximum(wobble, 0.4)
    return distance


# ---- line-like defects -----------------------------------------------------------------------------------------------


def _arc(rng: np.random.Generator, middle: Array, length: float, direction: float, bend: float) -> Array:
    """A smooth path of the given length (units), bending gently, through `middle`. (N, 2)."""
    count = max(int(length / 0.4), 8)
    t = np.linspace(-0.5, 0.5, count)
    heading = direction + bend * t + 0.5 * bend * rng.standard_normal() * t * t
    heading += 0.03 * np.sin(2 * np.pi * (t * rng.uniform(1, 4) + rng.random()))
    path = np.stack([np.cos(heading), np.sin(heading)], axis=1).cumsum(axis=0) * (length / count)
    return np.asarray(path - path[count // 2] + middle)


def scratch(rng: np.random.Generator, grid: Grid, surface: Surface, strength: float) -> Mask:
    """One to three thin grooves along a gentle curve; the displaced material stands up as a rim on both sides."""
    length = float(np.exp(rng.uniform(np.log(28), np.log(150))))
    direction = rng.uniform(0, np.pi)
    bend = rng.normal(0, 0.5)
    middle = _place(rng, grid, 14)
    tracks = int(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1]))
    half = rng.uniform(0.6, 1.5)
    depth = strength * rng.uniform(0.6, 1.2) * half
    bare = rng.uniform(0.25, 0.85) * strength
    shade = np.clip(surface.base * rng.uniform(0.8, 1.25), 0, 1)
    mask = np.zeros(grid.shape, dtype=np.bool_)
    for track in range(tracks):
        aside = np.array([-np.sin(direction), np.cos(direction)]) * (0.0 if track == 0 else rng.normal(0, 6))
        path = _arc(rng, middle + aside, length * (1.0 if track == 0 else rng.uniform(0.4, 1)), direction, bend)
        t = np.linspace(0, 1, len(path))
        pressure = np.interp(t, np.linspace(0, 1, 9), rng.uniform(0.55, 1.0, 9))
        pressure *= np.clip(np.minimum(t, 1 - t) / rng.uniform(0.04, 0.3), 0.05, 1.0) ** 0.6
        if rng.random() < 0.3:  # a tool that chatters
            pressure *= np.clip(1.2 + np.sin(2 * np.pi * t * length / rng.uniform(4, 9)), 0, 1)
        distance, index = stroke(grid, path, 4.5 * half + 1)
        p = pressure[index]
        width = np.maximum(half * p**0.5, 0.45)
        groove = p * np.exp(-((distance / width) ** 2))
        rim = p * np.exp(-(((distance - 2.0 * width) / (0.8 * width)) ** 2))
        surface.height += depth * (0.35 * rim - groove)
        _blend(surface, bare * groove, shade)
        surface.gloss *= 1 + 0.6 * groove * strength
        mask |= (groove > 0.2) | (rim > 0.6)
    return mask


def _jagged(rng: np.random.Generator, start: Array, direction: float, length: float, roughness: float) -> Array:
    """A random walk of short straight facets, drifting back to its direction. (N, 2), 0.4 units apart."""
    corners = [start]
    travelled, heading = 0.0, direction
    while travelled < length:
        step = rng.uniform(2.0, 7.5)
        heading = direction + 0.45 * (heading - direction) + roughness * rng.standard_normal()
        corners.append(corners[-1] + step * np.array([np.cos(heading), np.sin(heading)]))
        travelled += step
    knots = np.array(corners)
    at = np.concatenate([[0.0], np.hypot(*np.diff(knots, axis=0).T).cumsum()])
    fine = np.arange(0.0, at[-1], 0.4)
    path = np.stack([np.interp(fine, at, knots[:, 0]), np.interp(fine, at, knots[:, 1])], axis=1)
    return np.asarray(path + 0.12 * rng.standard_normal(path.shape))


def crack(rng: np.random.Generator, grid: Grid, surface: Surface, strength: float) -> Mask:
    """A branching, jagged fracture: narrow, deep and dark, without a rim; one lip may stand higher than the other."""
    length = float(np.exp(rng.uniform(np.log(35), np.log(150))))
    direction = rng.uniform(0, 2 * np.pi)
    roughness = rng.uniform(0.45, 0.8)
    half = rng.uniform(0.5, 1.3)
    middle = _place(rng, grid, 14)
    forward = _jagged(rng, middle, direction, length / 2, roughness)
    backward = _jagged(rng, middle, direction + np.pi, length / 2, roughness)
    trunk = np.concatenate([backward[::-1], forward])
    paths, widths = [trunk], [np.interp(np.linspace(0, 1, len(trunk)), [0, 0.3, 0.7, 1], [0.35, 1, 1, 0.35])]
    for _ in range(int(rng.integers(1, 5))):
        root = trunk[int(rng.uniform(0.1, 0.9) * len(trunk))]
        turn = rng.choice([-1, 1]) * rng.uniform(0.5, 1.2) + rng.choice([0, np.pi])
        branch = _jagged(rng, root, direction + turn, length * rng.uniform(0.12, 0.4), roughness)
        paths.append(branch)
        widths.append(np.linspace(0.75, 0.25, len(branch)))
    points = np.concatenate(paths)
    opening = half * np.concatenate(widths)
    opening *= np.interp(
        np.arange(len(points)), np.arange(0, len(points), 12), rng.uniform(0.6, 1.25, len(range(0, len(points), 12)))
    )
    distance, index = stroke(grid, points, 4 * half + 1)
    width = np.maximum(opening[index], 0.35)
    profile = np.clip(opening[index] / 0.5, 0.3, 1.0) * np.exp(-((distance / width) ** 4))
    surface.height -= strength * rng.uniform(1.2, 2.2) * profile
    dirt = min(strength * rng.uniform(0.5, 0.85), 0.97)
    _blend(surface, dirt * profile, surface.albedo.mean(axis=(0, 1)) * 0.08)
    surface.gloss *= 1 - 0.9 * np.clip(profile, 0, 1)
    return np.asarray(profile > 0.2)


# ---- small round defects ---------------------------------------------------------------------------------------------


def _cluster(rng: np.random.Generator, grid: Grid, count: int, spread: float) -> list[Array]:
    """Centres scattered around one point, the first one well inside the picture."""
    middle = _place(rng, grid, 9)
    return [middle if i == 0 else middle + rng.normal(0, spread, 2) for i in range(count)]


def pit(rng: np.random.Generator, grid: Grid, surface: Surface, strength: float) -> Mask:
    """One to seven small craters with a sharp, ragged edge and a rough dark floor."""
    count = int(rng.choice([1, 2, 3, 5, 7], p=[0.35, 0.25, 0.2, 0.12, 0.08]))
    largest = float(np.exp(rng.uniform(np.log(3.0), np.log(9.0))))
    spread = rng.uniform(8, 28)
    floor_noise = band_noise(rng, grid, 3.0)
    deep = rng.uniform(0.6, 1.1)
    dark = np.clip(rng.uniform(0.35, 0.75) * strength, 0, 0.95)
    tint = surface.albedo.mean(axis=(0, 1)) * rng.uniform(0.1, 0.4)
    if surface.metal and rng.random() < 0.35:  # corroded
        tint = np.array([0.20, 0.08, 0.03]) * rng.uniform(0.5, 1.2)
    mask = np.zeros(grid.shape, dtype=np.bool_)
    for i, centre in enumerate(_cluster(rng, grid, count, spread)):
        radius = largest * (1.0 if i == 0 else rng.uniform(0.35, 0.9))
        q = _outline(rng, grid, centre, radius, rng.uniform(0.65, 1.0), 0.22)
        bowl = np.clip(1 - q**3, 0, 1) ** 0.7
        rim = np.exp(-(((q - 1.1) / 0.14) ** 2))
        inside = smoothstep(-q, -1.05, -0.8)
        surface.height += strength * radius * deep * (-0.5 * bowl + 0.04 * rim) + 0.12 * inside * floor_noise
        _blend(surface, dark * inside * (0.75 + 0.2 * floor_noise), tint)
        surface.gloss *= 1 - 0.8 * inside
        mask |= q < 1.1
    return mask


def spatter(rng: np.random.Generator, grid: Grid, surface: Surface, strength: float) -> Mask:
    """One to nine raised droplets stuck to the surface: weld spatter, overspray, paint nibs."""
    count = int(rng.choice([1, 2, 3, 5, 9], p=[0.3, 0.2, 0.2, 0.15, 0.15]))
    largest = float(np.exp(rng.uniform(np.log(3.0), np.log(9.0))))
    spread = rng.uniform(8, 32)
    own = surface.albedo.mean(axis=(0, 1))
    choice = rng.random()
    if choice < 0.45:
        colour = own * rng.uniform(0.85, 1.2)
    elif choice < 0.75:
        colour = np.full(3, rng.uniform(0.1, 0.5)) * np.array([1.0, 0.99, 0.98])
    else:
        colour = np.clip(own * rng.uniform(0.3, 2.2, 3), 0.03, 0.8)
    cover = np.clip(rng.uniform(0.3, 0.9) * strength, 0, 0.95)
    tall = rng.uniform(0.45, 0.8)
    shine = rng.uniform(0.2, 0.7)
    lumps = band_noise(rng, grid, 5.0)
    mask = np.zeros(grid.shape, dtype=np.bool_)
    for i, centre in enumerate(_cluster(rng, grid, count, spread)):
        radius = largest * (1.0 if i == 0 else rng.uniform(0.25, 0.9))
        q = _outline(rng, grid, centre, radius, rng.uniform(0.75, 1.0), 0.09)
        dome = np.sqrt(np.clip(1 - q * q, 0, 1))
        inside = smoothstep(-q, -1.05, -0.9)
        buried = np.clip(1 - inside, 0, 1)
        surface.height += strength * radius * tall * dome + 0.05 * inside * lumps
        _blend(surface, cover * inside, np.clip(colour, 0, 1))
        surface.gloss = surface.gloss * buried + shine * inside
        mask |= q < 1.05
    return mask


# ---- broad defects ---------------------------------------------------------------------------------------------------


def dent(rng: np.random.Generator, grid: Grid, surface: Surface, strength: float) -> Mask:
    """A smooth depression without any change of colour: it bends highlights and shading, and keeps the texture."""
    radius = float(np.exp(rng.uniform(np.log(11), np.log(38))))
    centre = _place(rng, grid, min(radius, 16))
    q = _outline(rng, grid, centre, radius, rng.uniform(0.45, 1.0), 0.05)
    flat = rng.uniform(1.0, 2.2)  # 1: a ball's print; more: a flat floor with steeper walls
    bowl = np.exp(-((q / 0.75) ** (2 * flat)))
    swell = np.exp(-(((q - 1.25) / 0.3) ** 2))
    rough = 1.0 + 2.2 * float(np.hypot(*np.gradient(surface.height)).mean()) * grid.scale
    slope = strength * rng.uniform(0.16, 0.34) * rough
    surface.height += slope * radius * (-bowl + 0.03 * swell) / flat**0.7
    return np.asarray(bowl > 0.12)


def stain(rng: np.random.Generator, grid: Grid, surface: Surface, strength: float) -> Mask:
    """A dried liquid: irregular outline, darker edge where the pigment gathered, sometimes drops next to it."""
    radius = float(np.exp(rng.uniform(np.log(10), np.log(42))))
    centre = _place(rng, grid, min(radius, 16))
    wander = fractal_noise(rng, grid, rng.uniform(0.5, 1.2) * radius + 5, 2.8)
    raw = _outline(rng, grid, centre, radius, rng.uniform(0.5, 1.0), 0.12)
    q = raw + 0.11 * wander
    for _ in range(int(rng.integers(0, 4))):
        drop = centre + rng.normal(0, 1.3 * radius, 2)
        q = np.minimum(
            q, _outline(rng, grid, drop, radius * rng.uniform(0.1, 0.3), rng.uniform(0.7, 1), 0.1) + 0.05 * wander
        )
    soft = rng.uniform(0.04, 0.2)
    inside = smoothstep(-q, -1 - soft, -1 + soft)
    edge = np.exp(-(((q - 1.0 + soft) / rng.uniform(0.06, 0.14)) ** 2)) * (q < 1.25)
    body = inside * np.clip(rng.uniform(0.35, 0.75) + 0.12 * fractal_noise(rng, grid, 14, 1.6), 0, 1)
    ring = rng.uniform(0.2, 0.7)
    colour = [
        np.array([0.30, 0.17, 0.08]),  # rust, coffee
        np.array([0.07, 0.06, 0.05]),  # oil
        np.array([0.80, 0.79, 0.76]),  # lime
        np.array([0.14, 0.20, 0.12]),  # algae, flux
        np.array([0.16, 0.20, 0.36]),  # ink, heat tint
    ][int(rng.choice(5, p=[0.3, 0.25, 0.2, 0.1, 0.15]))] * rng.uniform(0.7, 1.25, 3)
    amount = strength * rng.uniform(0.45, 1.0) * (body + ring * edge * inside)
    before = surface.albedo.copy()
    _blend(surface, np.minimum(amount, 0.95), np.clip(colour, 0.02, 0.9))
    # A thin film lets the texture show through: keep half of the surface's own relative contrast.
    detail = before / np.maximum(before.mean(axis=(0, 1)), 1e-3)
    surface.albedo *= np.clip(detail, 0.3, 2.0) ** (0.5 * np.clip(amount, 0, 1)[..., None])
    np.clip(surface.albedo, 0, 1, out=surface.albedo)
    surface.gloss *= 1 + (rng.uniform(-0.8, 0.6)) * inside
    return np.asarray(inside > 0.35)


def chip(rng: np.random.Generator, grid: Grid, surface: Surface, strength: float) -> Mask:
    """A flake broken off: angular outline, a step down at the edge, the base material showing with its own texture."""
    radius = float(np.exp(rng.uniform(np.log(6), np.log(30))))
    centre = _place(rng, grid, min(radius, 14))
    border, _tone = cells(rng, grid, rng.uniform(0.45, 0.8) * radius + 2, jitter=1.0)
    _border, facet = cells(rng, grid, rng.uniform(0.3, 0.6) * radius + 2, jitter=1.0)
    q = (
        _outline(rng, grid, centre, radius, rng.uniform(0.5, 1.0), 0.16)
        + 0.55 * (facet - 0.5)
        - 0.1 * np.minimum(border, 0.6)
    )
    gap = smoothstep(-q, -1.0, -0.93)
    fresh = fractal_noise(rng, grid, 6.0, 1.2)
    depth = strength * rng.uniform(0.7, 1.6)
    shell = np.clip(1 - q, 0, 1)
    surface.height += gap * (-depth * (0.7 + 0.6 * shell) + 0.10 * fresh)
    contrast = np.clip(rng.uniform(0.35, 0.95) * strength, 0, 0.97)
    colour = np.clip(surface.base * rng.uniform(0.75, 1.2), 0.02, 0.95)
    own = surface.albedo.mean(axis=(0, 1))
    if np.abs(colour - own).max() < 0.12:  # the base would hide: fresh material is lighter or darker
        colour = np.clip(own * rng.choice([0.5, 1.7]), 0.02, 0.95)
    _blend(surface, contrast * gap * np.clip(0.9 + 0.12 * fresh, 0, 1), colour)
    surface.gloss *= 1 - 0.75 * gap
    return np.asarray(gap > 0.4)


DEFECTS: dict[str, Callable[[np.random.Generator, Grid, Surface, float], Mask]] = {
    "scratch": scratch,
    "crack": crack,
    "pit": pit,
    "spatter": spatter,
    "dent": dent,
    "stain": stain,
    "chip": chip,
}
