"""Octaves from small to large, with the detail of the original put back in, and the steps of each.

A step: the picture is seen moved by a random shift, its gradient (`slope.py`) moved back; the gradient is multiplied by
the covariance of colours, summed over its blurs, and followed by `rate` per mean magnitude.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....kernels.gradients import blurs
from ....kernels.resize import resize
from ...errors import Disconnected, ShapeError
from ..parametrisation import mixing
from .recipe import DreamRecipe
from .slope import Slope

Picture = NDArray[np.float32]
Size = tuple[int, int]
# (step among all of them, from 0; steps in all; the objective before the step)
OnStep = Callable[[int, int, float], None]

# Octaves that are not asked for by number: so many, with sides of at least so many pixels.
_OCTAVES, _LEAST = 4, 64


@dataclass(frozen=True)
class Dreamed:
    """A picture (C, H, W) in 0..1, the octaves' sizes, and the objective: before and after, and at every step."""

    picture: Picture
    sizes: tuple[Size, ...]
    before: float
    after: float
    history: NDArray[np.float32]


def dreamed(slope: Slope, original: Picture, recipe: DreamRecipe, on_step: OnStep | None = None) -> Dreamed:
    """Dream of `original`, float32 (C, H, W) in 0..1.

    Raises ShapeError where it is too small for the octaves or the network, Disconnected where the gradient is 0.
    """
    sizes = octaves(slope, (original.shape[1], original.shape[2]), recipe)
    history: list[float] = []

    def step(score: float) -> None:
        if on_step is not None:
            on_step(len(history), recipe.steps * len(sizes), score)
        history.append(score)

    picture: Picture | None = None
    base: Picture | None = None
    for number, size in enumerate(sizes):
        earlier, base = base, resized(original, size)
        picture = base.copy() if picture is None or earlier is None else base + resized(picture - earlier, size)
        np.clip(picture, 0, 1, out=picture)
        _climb(slope, picture, recipe, number, step)
    assert picture is not None
    found = np.array(history, np.float32)
    return Dreamed(picture, tuple(sizes), slope.value(original), slope.value(picture), found)


def octaves(slope: Slope, size: Size, recipe: DreamRecipe) -> list[Size]:
    """The sizes of a dream of `size`, from small to large. Raises ShapeError where they are too small."""
    slope.check(size)
    if recipe.octaves is not None:
        found = _sizes(size, recipe.octaves, recipe.ratio)
        for number, octave in enumerate(found):
            _check_octave(octave, number, recipe, slope.check if number else slope.probe)
        return found
    fit = [o for o in _sizes(size, _OCTAVES, recipe.ratio) if min(o) >= _LEAST and _takes(o, slope.check)]
    # What a small size can take, a larger one can.
    while len(fit) > 1 and not _takes(fit[0], slope.probe):
        del fit[0]
    return fit or [size]


def _sizes(size: Size, count: int, ratio: float) -> list[Size]:
    shrunk = [tuple(max(1, round(side / ratio**k)) for side in size) for k in reversed(range(count))]
    return [(height, width) for height, width in shrunk]


def _check_octave(octave: Size, number: int, recipe: DreamRecipe, check: Callable[[Size], None]) -> None:
    try:
        check(octave)
    except ShapeError as error:
        raise ShapeError(
            f"the image is too small for {recipe.octaves} octaves: number {number + 1} would have "
            f"{octave[0]}x{octave[1]} pixels ({error}); ask for fewer, or for a larger size"
        ) from None


def _takes(octave: Size, check: Callable[[Size], None]) -> bool:
    try:
        check(octave)
    except ShapeError:  # left out: octaves that nobody asked for by number are those that fit
        return False
    return True


def shifts(recipe: DreamRecipe, octave: int) -> Iterator[tuple[int, int]]:
    """The shift (down, right) of each step of an octave, without end."""
    rng = np.random.default_rng([recipe.seed, octave])
    while True:
        down, right = rng.integers(-recipe.jitter, recipe.jitter + 1, 2)
        yield int(down), int(right)


def _climb(slope: Slope, picture: Picture, recipe: DreamRecipe, octave: int, on_step: Callable[[float], None]) -> None:
    """All steps of an octave; the picture changes in place."""
    rng = np.random.default_rng([recipe.seed, octave, 1])
    for _, shift in zip(range(recipe.steps), shifts(recipe, octave), strict=False):
        score, gradient = slope(picture, shift, rng)
        on_step(score)
        if recipe.colours:
            mix(gradient)
        gradient = blurs(gradient, recipe.blurs, threads=slope.runtime.threads)
        mean = float(np.mean([np.abs(plane).mean(dtype=np.float64) for plane in gradient]))
        if mean == 0:
            raise Disconnected(
                f"the gradient of {slope.objective} is 0 everywhere in this image: choose another layer or image"
            )
        gradient *= np.float32(recipe.rate / mean)
        picture += gradient
        np.clip(picture, 0, 1, out=picture)


def mix(gradient: Picture) -> None:
    """Multiply by the covariance of colours, in place: without it every pixel takes a colour of its own."""
    colours = mixing(len(gradient))
    covariance = (colours @ colours.T).astype(np.float32)
    flat = gradient.reshape(len(gradient), -1)
    for start in range(0, flat.shape[1], _BAND):
        flat[:, start : start + _BAND] = covariance @ flat[:, start : start + _BAND]


_BAND = 1 << 18


def resized(picture: Picture, size: Size) -> Picture:
    """(C, h, w) of (C, H, W), plane by plane."""
    if picture.shape[1:] == size:
        return picture
    return np.stack([np.asarray(resize(plane, size)) for plane in picture])
