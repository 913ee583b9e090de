"""The endless zoom: the last frame a little nearer and turned, dreamed again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ....kernels.warp import warp
from ...errors import MethodError
from .octaves import Dreamed, Picture, Size, dreamed
from .recipe import DreamRecipe
from .slope import Slope


@dataclass(frozen=True)
class Zoom:
    """frames: how many there are after the first. factor: by which each is nearer. degrees: by which each is turned.

    octaves, steps: of every frame but the first.
    """

    frames: int = 60
    factor: float = 1.04
    degrees: float = 0.5
    octaves: int = 2
    steps: int = 4

    def __post_init__(self) -> None:
        if self.frames < 0 or not 1 <= self.factor <= 4 or abs(self.degrees) > 45:
            raise MethodError(
                f"a zoom of {self.frames} frames by {self.factor:g} and {self.degrees:g} degrees: frames must "
                "be at least 0, the factor 1 to 4, and the turn at most 45 degrees"
            )
        if self.octaves < 1 or self.steps < 0:
            raise MethodError(
                f"a zoom of {self.octaves} octaves and {self.steps} steps: these must be at least 1 and 0"
            )

    def check(self, size: Size) -> None:
        """Raises MethodError where the turn would show what is beyond the corners."""
        angle = np.deg2rad(abs(self.degrees))
        ratio = max(size) / min(size)
        least = float(np.cos(angle) + ratio * np.sin(angle))
        if self.factor < least - 1e-9:
            raise MethodError(
                f"a turn of {self.degrees:g} degrees a frame shows empty corners at a factor of {self.factor:g}: "
                f"zoom by at least {np.ceil(least * 1000) / 1000:g}"
            )


def zoom_of(frames: int | None, factor: float, degrees: float, octaves: int, steps: int) -> Zoom | None:
    """The zoom that the options of `dream` ask for, None without frames.

    Raises MethodError for an option that has no effect without them, and as `Zoom` does.
    """
    if frames is not None:
        return Zoom(frames, factor, degrees, octaves, steps)
    usual = Zoom()
    for name, given, default in (
        ("zoom_factor", factor, usual.factor),
        ("zoom_turn", degrees, usual.degrees),
        ("zoom_octaves", octaves, usual.octaves),
        ("zoom_steps", steps, usual.steps),
    ):
        if given != default:
            raise MethodError(f"{name}={given} has no effect without zoom=: give a number of frames")
    return None


def nearer(picture: Picture, zoom: Zoom) -> Picture:
    """The picture (C, H, W) zoomed into its middle and turned, of the same size."""
    height, width = picture.shape[1:]
    angle = np.deg2rad(zoom.degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / zoom.factor
    middle = np.array([(height - 1) / 2, (width - 1) / 2])
    matrix = np.concatenate([turn, (middle - turn @ middle)[:, None]], axis=1)
    found: Picture = warp(picture[None], matrix[None], (height, width))[0]
    return found


def rounded(picture: Picture) -> Picture:
    """To the 256 levels of a file, so that a run that continues from the file gives the same frames."""
    levels: Picture = np.rint(picture * np.float32(255)) / np.float32(255)
    return levels


def frames_after(
    slope: Slope, picture: Picture, recipe: DreamRecipe, zoom: Zoom, first: int = 1
) -> Iterator[tuple[int, Dreamed]]:
    """Frames `first` to `zoom.frames`, each with its number, from the frame before `first`. Raises as `dreamed`."""
    for number in range(first, zoom.frames + 1):
        seeded = replace(recipe, octaves=zoom.octaves, steps=zoom.steps, seed=recipe.seed + number)
        found = dreamed(slope, nearer(rounded(picture), zoom), seeded)
        picture = found.picture
        yield number, found
