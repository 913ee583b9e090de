"""Images that a model compares: one named by IMAGES, the others by --with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...engine.errors import ImageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.graph.model import Model
    from ..sources.source import Selection


def picture_of(model: Model, given: Any, alone: bool) -> NDArray[np.uint8] | None:
    """The images next to each other, uint8 (H, W, 3); None where one is explained alone.

    given: what the model is given. alone: whether one input is, whatever is given.
    """
    from ...engine.attribution.sets import input_of_set

    found = input_of_set(model, given) if isinstance(given, Mapping) and not alone else None
    return found[1].images[0] if found is not None and found[1].images else None


def refuse_crop(model: Model, selection: Selection) -> None:
    """Raises ImageError for a region of interest of several images."""
    from ...engine.inspect.input_sets import input_set

    if selection.crop is not None and input_set(model) is not None:
        raise ImageError("--crop is about one image, and the model compares several: cut them first")
