"""Synthetic inspection images: a rendered surface, with at most one kind of defect and the pixels it covers.

The picture is computed from a height field, an albedo map and a gloss map: normals from the height, a near light with
diffuse and specular shading, reflected soft boxes, cast shadows and darkened cavities, then lens blur, sensor noise and
a display curve. One seed gives one surface, one lighting and one camera; the label only adds a defect to it, so
`render(7, "clean")` and `render(7, "crack")` show the same place before and after. The built-in model was trained on
these images, and attribution methods can be scored on whether they find the mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .defects import DEFECTS
from .fields import Array, Grid, Mask, blur, shifted, smoothstep, stroke
from .textures import TEXTURES, Surface

LABELS: tuple[str, ...] = ("clean", *DEFECTS)
"""What an image can show, in the order of the built-in model's outputs."""

_TEXTURE, _DUST, _LIGHT, _LABEL, _DEFECT, _CAMERA = range(6)
_LARGEST = 4096


@dataclass(frozen=True, eq=False)
class Sample:
    """One synthetic image. image: uint8 (H, W, 3) RGB. mask: bool (H, W), the defect's pixels (none on a clean one)."""

    image: npt.NDArray[np.uint8]
    mask: Mask
    label: str
    texture: str
    seed: int


@dataclass(frozen=True)
class _Light:
    azimuth: float
    x: float
    y: float
    z: float
    ambient: float
    key: float
    colour: Array
    boxes: tuple[tuple[float, float, float, float], ...]  # (direction, offset, half width, strength)
    exposure: float


def render(
    seed: int,
    label: str | None = None,
    size: tuple[int, int] = (160, 160),
    texture: str | None = None,
) -> Sample:
    """Render one image.

    Parameters
    ----------
    seed: any non-negative integer. Same arguments, same pixels.
    label: one of LABELS; None draws one, all equally likely.
    size: (height, width) in pixels, each from 32 to 4096. The short side always spans the same piece of surface.
    texture: a key of TEXTURES; None draws one.

    Raises ValueError for an argument outside these bounds.
    """
    height, width = size
    if not (32 <= height <= _LARGEST and 32 <= width <= _LARGEST):
        raise ValueError(f"size is {size}: (height, width), each from 32 to {_LARGEST} pixels")
    if seed < 0:
        raise ValueError(f"seed is {seed}: it cannot be negative")
    if label is None:
        label = LABELS[int(np.random.default_rng([seed, _LABEL]).integers(len(LABELS)))]
    if label not in LABELS:
        raise ValueError(f"no label {label!r}: one of {', '.join(LABELS)}")
    surface_rng = np.random.default_rng([seed, _TEXTURE])
    drawn = list(TEXTURES)[int(surface_rng.integers(len(TEXTURES)))]
    texture = drawn if texture is None else texture
    if texture not in TEXTURES:
        raise ValueError(f"no texture {texture!r}: one of {', '.join(TEXTURES)}")

    grid = Grid.of(height, width)
    surface = TEXTURES[texture](surface_rng, grid)
    light = _draw_light(np.random.default_rng([seed, _LIGHT]), grid)
    dust_rng = np.random.default_rng([seed, _DUST])
    _machining(dust_rng, grid, surface)
    clean = _shade(surface, light, grid)
    linear, mask = clean, np.zeros(grid.shape, dtype=np.bool_)
    if label != "clean":
        linear, mask = _add_defect(label, seed, grid, surface, light, clean)
    # Half automatic exposure: a dark surface stays darker than a light one.
    gain = light.exposure / max(float(clean.mean()) * 2.5, 1e-6) ** 0.6
    linear = _dust(dust_rng, grid, linear * gain)
    return Sample(_photograph(np.random.default_rng([seed, _CAMERA]), grid, linear), mask, label, texture, seed)


# ---- the scene -------------------------------------------------------------------------------------------------------


def _draw_light(rng: np.random.Generator, grid: Grid) -> _Light:
    azimuth = rng.uniform(0, 2 * np.pi)
    elevation = np.deg2rad(rng.uniform(28, 62))
    distance = rng.uniform(160, 420)
    warmth = rng.uniform(-0.08, 0.08)
    boxes = []
    for _ in range(int(rng.integers(1, 4))):
        boxes.append((rng.uniform(0, np.pi), rng.uniform(-0.25, 0.25), rng.uniform(0.03, 0.14), rng.uniform(0.4, 1.0)))
    return _Light(
        azimuth=azimuth,
        x=distance * np.cos(elevation) * np.cos(azimuth),
        y=distance * np.cos(elevation) * np.sin(azimuth),
        z=distance * np.sin(elevation),
        ambient=rng.uniform(0.15, 0.38),
        key=rng.uniform(0.8, 1.2),
        colour=np.array([1 + warmth, 1.0, 1 - warmth]),
        boxes=tuple(boxes),
        exposure=float(np.exp(rng.uniform(np.log(0.26), np.log(0.62)))),
    )


def _machining(rng: np.random.Generator, grid: Grid, surface: Surface) -> None:
    """Faint parallel lines on some surfaces: normal marks of manufacture, not a defect."""
    if rng.random() > 0.25:
        return
    direction = rng.uniform(0, np.pi)
    across = grid.x * -np.sin(direction) + grid.y * np.cos(direction)
    spacing = rng.uniform(9, 30)
    phase = (across / spacing + rng.random()) % 1.0
    line = np.exp(-(((phase - 0.5) * spacing / rng.uniform(0.6, 1.2)) ** 2))
    surface.height -= rng.uniform(0.04, 0.12) * line


def _dust(rng: np.random.Generator, grid: Grid, linear: Array) -> Array:
    """Specks and lint lying on the surface: distractors, far smaller and fainter than a defect."""
    out: Array = linear.copy()
    high, wide = grid.extent
    specks = int(rng.poisson(5))
    if specks:
        points = rng.uniform([-wide / 2, -high / 2], [wide / 2, high / 2], (specks, 2))
        radius = rng.uniform(0.4, 0.9, specks)
        tone = rng.choice([0.25, 1.6], specks)
        distance, index = stroke(grid, points, 3.0)
        amount = 0.55 * np.exp(-((distance / radius[index]) ** 2))
        out *= (1 + amount * (tone[index] - 1))[..., None]
    for _ in range(int(rng.choice([0, 1, 2], p=[0.7, 0.2, 0.1]))):
        start = rng.uniform([-wide / 2, -high / 2], [wide / 2, high / 2])
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.12, int(rng.uniform(15, 40))))
        fibre = start + 0.4 * np.stack([np.cos(heading), np.sin(heading)], axis=1).cumsum(axis=0)
        distance, _index = stroke(grid, fibre, 2.0)
        out += (0.12 * rng.uniform(0.4, 1.0) * np.exp(-((distance / 0.45) ** 2)))[..., None]
    return out


def _add_defect(label: str, seed: int, grid: Grid, surface: Surface, light: _Light, clean: Array) -> tuple[Array, Mask]:
    """Apply a defect, stronger until it can be seen: an invisible one would be a wrong label."""
    order = LABELS.index(label)
    tone = np.sqrt(clean.mean(axis=2) / max(float(clean.mean()), 1e-6))
    texture = float(np.abs(tone - blur(tone, 3 * grid.scale)).mean())
    needed = 0.07 + 0.8 * texture
    strength = 1.0
    while True:
        changed = surface.copy()
        mask = DEFECTS[label](np.random.default_rng([seed, _DEFECT, order]), grid, changed, strength)
        linear = _shade(changed, light, grid)
        difference = np.abs(np.sqrt(linear.mean(axis=2) / max(float(clean.mean()), 1e-6)) - tone)
        # The change counts where it is plain: the strongest fifth of the defect's pixels.
        plain = np.sort(difference[mask])[int(0.8 * mask.sum()) :].mean() if mask.any() else 0.0
        if plain >= needed or strength > 2.6:
            return linear, mask
        strength *= 1.35


# ---- light and camera ------------------------------------------------------------------------------------------------


def _shade(surface: Surface, light: _Light, grid: Grid) -> Array:
    """Linear RGB radiance (H, W, 3) of a surface seen from above."""
    dy, dx = np.gradient(surface.height)
    nx, ny = -dx * grid.scale, -dy * grid.scale
    nz = 1 / np.sqrt(1 + nx * nx + ny * ny)
    nx, ny = nx * nz, ny * nz

    lx, ly, lz = light.x - grid.x, light.y - grid.y, light.z - surface.height
    inverse = 1 / np.sqrt(lx * lx + ly * ly + lz * lz)
    lx, ly, lz = lx * inverse, ly * inverse, lz * inverse
    centre = light.x**2 + light.y**2 + light.z**2
    falloff = centre * inverse * inverse * light.key
    facing = np.maximum(nx * lx + ny * ly + nz * lz, 0.0)
    lit = facing * falloff * _shadow(surface.height, light, grid)

    # The camera hangs 400 units above the middle.
    vx, vy = -grid.x / 400, -grid.y / 400
    vz = 1 / np.sqrt(1 + vx * vx + vy * vy)
    vx, vy = vx * vz, vy * vz
    hx, hy, hz = lx + vx, ly + vy, lz + vz
    inverse = 1 / np.sqrt(hx * hx + hy * hy + hz * hz)
    if surface.grain is None:
        along = np.clip((nx * hx + ny * hy + nz * hz) * inverse, 1e-6, 1)
        lobe = np.exp(surface.shininess * np.log(along))
    else:
        # J. Kajiya and T. Kay, Rendering Fur with Three Dimensional Textures, SIGGRAPH 1989: highlights of threads.
        tx, ty = np.cos(surface.grain), np.sin(surface.grain)
        tilt = -(tx * nx + ty * ny) / nz
        along = (tx * hx + ty * hy + tilt * hz) * inverse / np.sqrt(1 + tilt * tilt)
        lobe = np.exp(0.5 * surface.shininess * np.log(np.clip(1 - along * along, 1e-6, 1)))
        lobe = lobe * (0.35 + 0.65 * np.clip((nx * hx + ny * hy + nz * hz) * inverse, 0, 1) ** 8)
    highlight = surface.gloss * lobe * np.minimum(lit * 2, 1.2)

    if surface.mirror > 0:
        toward = 2 * (nx * vx + ny * vy + nz * vz)
        rz = np.maximum(toward * nz - vz, 0.05)
        rx, ry = (toward * nx - vx) / rz, (toward * ny - vy) / rz
        seen = np.zeros(grid.shape)
        for direction, offset, half, power in light.boxes:
            from_middle = np.abs(rx * np.cos(direction) + ry * np.sin(direction) - offset)
            seen += power * smoothstep(-from_middle, -half - surface.softness, -half + surface.softness)
        highlight = highlight + surface.mirror * seen

    hollow = np.maximum(blur(surface.height, 2.5 * grid.scale) - surface.height, 0)
    open_sky = np.exp(-0.9 * hollow)
    diffuse = (light.ambient * open_sky * (0.6 + 0.4 * nz) + lit * (0.4 + 0.6 * open_sky))[..., None]
    sheen = (highlight * open_sky)[..., None]
    tint = 0.35 + 1.1 * surface.albedo if surface.metal else 0.6
    return np.asarray((surface.albedo * diffuse + tint * sheen) * light.colour)


def _shadow(height: Array, light: _Light, grid: Grid) -> Array:
    """1 where the light reaches, towards 0 in a cast shadow; looks 7 units along the light's direction."""
    rise = light.z / np.hypot(light.x, light.y)
    blocked = np.zeros(grid.shape)
    for step in (1.0, 1.8, 2.8, 4.0, 5.4, 7.0):
        dx = round(step * np.cos(light.azimuth) * grid.scale)
        dy = round(step * np.sin(light.azimuth) * grid.scale)
        if dx or dy:
            above = shifted(height, dy, dx) - height - np.hypot(dx, dy) / grid.scale * rise
            np.maximum(blocked, above, out=blocked)
    return np.asarray(1 - 0.75 * smoothstep(blocked, 0.0, 0.5))


def _photograph(rng: np.random.Generator, grid: Grid, linear: Array) -> npt.NDArray[np.uint8]:
    """Vignette, lens blur, highlight roll-off, display curve, shot and read noise, eight bits."""
    reach = (grid.x / grid.extent[1]) ** 2 + (grid.y / grid.extent[0]) ** 2
    linear = linear * (1 - rng.uniform(0.0, 0.6) * reach)[..., None]
    sharp = blur(linear, rng.uniform(0.35, 0.75) * grid.scale**0.5)
    # Film-like curve: a toe, a nearly straight middle, a shoulder (fit by K. Narkowicz of the ACES reference curve).
    exposed = sharp * 0.8
    film = exposed * (2.51 * exposed + 0.03) / (exposed * (2.43 * exposed + 0.59) + 0.14)
    shown = np.clip(film, 0, 1) ** (1 / 2.2)
    grain = rng.uniform(0.004, 0.014)
    luma = rng.standard_normal(grid.shape)[..., None]
    chroma = rng.standard_normal((*grid.shape, 3))
    shown = shown + grain * (0.8 * luma + 0.6 * chroma) * (0.5 + np.sqrt(shown))
    return np.rint(np.clip(shown, 0, 1) * 255).astype(np.uint8)
