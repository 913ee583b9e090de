"""Which axes of an input a convolution slides along: those of a signal (one) or a volume (three)."""

from __future__ import annotations

from ..caches import of_model
from ..graph.model import Model
from ..proto.operators import CONVOLUTIONS
from ..proto.values import Value
from .receptive_field import spatial_axes
from .said_input import said_input
from .signature import first_layer


@of_model
def convolved_axes(model: Model) -> tuple[str, tuple[int, ...]] | None:
    """The first input of floats that a convolution slides along one or three axes of, and these axes; those that the
    card says, if it does.

    Channels may come first or last, and an axis may be added or moved before the convolution. None where there is no
    such input.
    """
    said = said_input(model)
    if said is not None and (said.axes or said.kind == "table"):
        return (said.name, said.places) if len(said.places) in (1, 3) and said.kind != "text" else None
    floats = [v for v in model.inputs if v.rank is not None and v.dtype is not None and v.dtype.kind == "f"]
    for value in floats:
        if value.rank in (3, 5):
            node = first_layer(model, value.name)
            if node is not None and node.op_type in CONVOLUTIONS:
                return value.name, tuple(range(2, value.rank))
    for value in floats:
        axes = _followed(model, value)
        if len(axes) in (1, 3):
            return value.name, axes
    return None


def _followed(model: Model, value: Value) -> tuple[int, ...]:
    """The axes of the input that become those of places at the first convolution that reads it."""
    if value.rank is None or not 2 <= value.rank <= 5:
        return ()
    places = {axis: spatial_axes(model, value.name, (axis,)) for axis in range(1, value.rank)}
    for node in model.graph.node:
        if node.op_type not in CONVOLUTIONS or not any(node.input[0] in found for found in places.values()):
            continue
        return tuple(axis for axis, found in places.items() if node.input[0] in found and found[node.input[0]][0] >= 2)
    return ()
