"""The features of a second image in a layer, for guided dreaming."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ShapeError
from ...graph.float_input import with_real_input
from ...graph.model import Model
from ...graph.widen import widened
from ...inference.batches import RunOptions
from ...inference.session import Session
from ...inspect.layers import value_of
from ...targets.units import unit_axes
from ..canvas import Canvas
from ..network import head_at
from .octaves import Picture, Size, resized
from .start import picture_of

# The guide's longer side at most, in multiples of the model's; and how many of its places are kept.
_TIMES, _PLACES = 1, 256


def features_of(model: Model, canvas: Canvas, layer: str, guide: Any, runtime: RunOptions) -> NDArray[np.float32]:
    """The features of an image in `layer`, (places, channels): at most 256 places, evenly taken.

    guide: as `start.picture_of` takes it. Raises UnknownName, TargetError, ShapeError.
    """
    picture = picture_of(guide, canvas, None)
    most = _TIMES * max(canvas.size)
    factor = min(1.0, most / max(picture.shape[1:]))
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[2] * factor)))
    try:
        found = _features(model, canvas, layer, resized(picture, size), runtime)
    except ShapeError:  # a network of one size: the guide is stretched to it
        found = _features(model, canvas, layer, resized(picture, canvas.size), runtime)
    alive = found[np.linalg.norm(found, axis=1) > 0]
    if not len(alive):
        raise ShapeError(f"the guide has no features in {layer!r}: all its activations are 0 there")
    chosen = np.linspace(0, len(alive) - 1, min(_PLACES, len(alive))).round().astype(int)
    return np.ascontiguousarray(alive[chosen])


def _features(model: Model, canvas: Canvas, layer: str, picture: Picture, runtime: RunOptions) -> NDArray[np.float32]:
    size: Size = (picture.shape[1], picture.shape[2])
    real = with_real_input(widened(model), canvas.input)
    value = value_of(real, layer)
    _, channel, _ = unit_axes(real, layer)
    sized = canvas.with_size(size)
    head = head_at(real, sized, (value,), 1)
    session = Session(head, providers=runtime.providers, threads=runtime.threads)
    gain, shift = (np.reshape(np.array(part, np.float32), (-1, 1, 1)) for part in (canvas.gain, canvas.shift))
    tensor = sized.tensor((picture[list(canvas.order)] * gain + shift)[None])
    got = np.moveaxis(session.run({canvas.input: tensor})[value], channel, -1)
    return np.asarray(got.reshape(-1, got.shape[-1]), np.float32)
