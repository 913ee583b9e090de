"""Colours of maps that need more than a table: three channels around gray, and what the model does not see."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import UnknownName
from ..preprocess.image import luminance

# The name, among those of colour maps, of a map's three channels as red, green and blue around gray.
RGB = "rgb"

# How unseen pixels are shown: without colour, and mixed with this gray, so that it is seen on black and on white.
_VEIL, _VEIL_SHARE = 96.0, 0.62


def around_gray(planes: NDArray[np.float32], most: float) -> NDArray[np.uint8]:
    """Values (3, H, W) as colours, uint8 (H, W, 3): 0 and NaN are mid gray, `most` the full red, green or blue.

    As in the figures of Zeiler and Fergus (ECCV 2014) and of Springenberg et al. (ICLR workshop 2015).
    """
    shades = np.nan_to_num(planes.astype(np.float32)) / np.float32(most or 1.0)
    np.clip(shades, -1, 1, out=shades)
    shades *= 127.5
    shades += 128.0  # floor(127.5 + v + 0.5)
    return np.ascontiguousarray(np.minimum(shades, 255).astype(np.uint8).transpose(1, 2, 0))


def veiled(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels (..., 3) that the model does not see, gray and of little contrast."""
    gray = luminance(pixels[None] if pixels.ndim == 2 else pixels).reshape(pixels.shape[:-1])
    shade = np.rint(gray * (1 - _VEIL_SHARE) + _VEIL * _VEIL_SHARE).astype(np.uint8)
    return np.repeat(shade[..., None], 3, axis=-1)


def check_colormap(name: str) -> None:
    """Raises UnknownName, with the names there are, for a colour map that does not exist."""
    from ...kernels import colormap

    names = (*colormap.names(), RGB)
    if name not in names:
        raise UnknownName("colour map", name, names, f"there are {', '.join(names)}")


def colours_of(name: str) -> NDArray[np.uint8]:
    """The table of a colour map. Raises UnknownName."""
    from ...kernels import colormap

    check_colormap(name)
    return colormap.table(name)
