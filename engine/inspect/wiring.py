"""Which units of earlier layers a layer's units read, and how strongly, where its weights say that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import MethodError
from ..graph.model import Model
from ..proto.attributes import attributes
from ..proto.operators import POINTWISE
from .own_units import OwnUnits
from .weights import Weights, weights

# Operators that leave channels where they are, whatever they do to places.
_PASSING = frozenset(
    """MaxPool AveragePool GlobalAveragePool GlobalMaxPool Dropout Identity Pad Flatten Reshape Squeeze ReduceMean
    ReduceMax Resize Upsample BatchNormalization""".split()
)


@dataclass(frozen=True)
class Wiring:
    """The weights between the units of a layer and those it reads.

    Attributes: `sources`, the places among all entries of the layers read, with their numbers of units, in the order of
    the channels; `strengths` float32 (out, in): the Euclidean norm of the weights between two units, with the sign of
    their sum.
    """

    sources: tuple[tuple[int, int], ...]
    strengths: NDArray[np.float32]

    def source_of(self, channel: int) -> tuple[int, int]:
        """(place of the entry, unit) of a channel."""
        for place, count in self.sources:
            if channel < count:
                return place, channel
            channel -= count
        raise IndexError(channel)


def wiring(model: Model, entries: Sequence[OwnUnits], counts: Sequence[int], at: int) -> Wiring | None:
    """The wiring of the entry at this place; None where weights do not say it.

    counts: of the units of every entry.
    """
    entry = entries[at]
    try:
        found = weights(model, entry.first)
    except MethodError:
        return None
    outputs = {part.output: place for place, other in enumerate(entries[:at]) for part in other.chain}
    data = [name for name in entry.first.inputs if name != found.name]
    sources = _sources(model, data[0], outputs, counts) if len(data) == 1 else None
    if sources is None:
        return None
    strengths = _strengths(found, sum(count for _, count in sources))
    return None if strengths is None or len(strengths) != counts[at] else Wiring(tuple(sources), strengths)


def _sources(
    model: Model, value: str, outputs: Mapping[str, int], counts: Sequence[int]
) -> list[tuple[int, int]] | None:
    """The entries whose units are the channels of a value, in order."""
    for _ in range(len(model.graph.node)):
        if value in outputs:
            return [(outputs[value], counts[outputs[value]])]
        node = model.producer(value)
        if node is None:
            return None
        if node.op_type == "Concat" and int(attributes(node).get("axis", 1)) in (1, -3):
            parts = [_sources(model, name, outputs, counts) for name in node.input]
            return None if any(part is None for part in parts) else [one for part in parts for one in part or ()]
        unary = ("", node.op_type) in POINTWISE and len(node.input) == 1
        if not (unary or node.op_type in _PASSING):
            return None
        value = node.input[0]
    return None


def _strengths(found: Weights, channels: int) -> NDArray[np.float32] | None:
    """(out, channels); features of a flattened map count for their channel."""
    values = found.values.reshape(*found.values.shape[:2], -1)
    out, inside, _ = values.shape
    if found.groups == 1 and inside != channels:
        if inside % channels:
            return None
        values = values.reshape(out, channels, -1)
    norms = np.sqrt((values.astype(np.float64) ** 2).sum(axis=2)) * np.where(values.sum(axis=2) < 0, -1, 1)
    if found.groups == 1:
        return np.asarray(norms, np.float32)
    if found.groups * inside != channels or out % found.groups:
        return None
    whole = np.zeros((out, channels), np.float32)
    for row in range(out):
        first = row // (out // found.groups) * inside
        whole[row, first : first + inside] = norms[row]
    return whole
