"""What every layer answers to an input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .attribution.inputs import input_of
from .attribution.photos import photos_of, prepared_photos
from .errors import ShapeError
from .graph.model import Model, Source
from .graph.split import expose
from .inference.session import session
from .inspect.layers import Layer, layer_names, value_of
from .load import load
from .runtime.feeds import check_names
from .runtime.providers import Providers


def activations(
    model: Source,
    x: np.ndarray | Mapping[str, Any],
    layers: str | Layer | Sequence[str | Layer],
    *,
    providers: Providers = None,
    threads: int | None = None,
) -> dict[str, np.ndarray]:
    """Values inside the network for the input `x`: a dict of the names in `layers` to arrays.

    `x` is uint8 (H, W, 3) RGB, several in a list, or a tensor (N, ...) in the model's own layout, or {input name:
    array or image} for several inputs. `layers` holds names of layers (see `Model.layers`) or of any values of the
    graph: inputs, outputs, intermediate values, initializers.

    Raises UnknownName (nearest names offered), ShapeError (an input is missing or does not fit), ModelError,
    RuntimeUnavailable (providers that cannot be had here).
    """
    model = load(model)
    names = layer_names(layers)
    values = {name: value_of(model, name) for name in names}
    feeds = as_feeds(model, x)
    inputs = {v.name: v for v in model.inputs}
    defaults = {v.name for v in model.graph.input}
    check_names(feeds, inputs, defaults)
    if not values:
        return {}
    exposed = expose(model, values.values(), only=True)
    read = {v.name for v in exposed.graph.input}
    needed = {name: array for name, array in feeds.items() if name in read}
    got = session(exposed, providers=providers, threads=threads).run(needed)
    return {name: got[value] for name, value in values.items()}


def as_feeds(model: Model, x: np.ndarray | Mapping[str, Any]) -> dict[str, Any]:
    """`x` as {input name: array}: images are prepared, a bare array is for the only input. Raises ShapeError."""
    names = {v.name for v in model.inputs}
    if isinstance(x, Mapping):
        found = {name: prepared_photos(model, name, value) for name, value in x.items() if name in names}
        return {name: value if (made := found.get(name)) is None else made.tensor for name, value in x.items()}
    if photos_of(model, x) is not None:
        given = input_of(model, x)
        return {given.name: given.x, **given.others}
    if len(model.inputs) != 1:
        wanted = ", ".join(str(v) for v in model.inputs)
        raise ShapeError(f"the model has {len(model.inputs)} inputs ({wanted}): give a dict of name to array")
    return {model.inputs[0].name: np.asarray(x)}
