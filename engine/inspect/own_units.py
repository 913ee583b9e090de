"""The layers of a model that have units of their own: what a microscope looks at.

A convolution, the normalisation and the activation function behind it have the same units; so have a map and its mean
over all places. One entry stands for them: it is named by the last of the chain, and knows the first, which holds the
weights. Sums of branches have units of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..caches import of_model
from ..graph.model import Model
from ..proto.nodes import plain_domain
from ..proto.operators import POINTWISE, POINTWISE_WITH_CHANNELS
from .gates import gate_from
from .layers import Layer, find_layer
from .weights import weighted_layers


@dataclass(frozen=True)
class OwnUnits:
    """A layer with units: `first` of the chain of layers that share them, `last` of it, and all in between in order."""

    chain: tuple[Layer, ...]

    @property
    def first(self) -> Layer:
        """The layer that makes the units: a convolution, a matrix product, a sum."""
        return self.chain[0]

    @property
    def last(self) -> Layer:
        """The layer whose values are the units' answers."""
        return self.chain[-1]

    @property
    def name(self) -> str:
        return self.last.name


@of_model
def own_units(model: Model) -> tuple[OwnUnits, ...]:
    """All layers with units of their own, in graph order."""
    weighted = {layer.output for layer in weighted_layers(model)}
    known = {layer.output: layer for layer in model.layers}
    taken: set[str] = set()
    found = []
    for layer in model.layers:
        if layer.output in taken or not _is_float(model, layer):
            continue
        if layer.output in weighted or _is_sum(layer, known):
            chain = _chain(model, layer, known)
            taken |= {part.output for part in chain}
            found.append(OwnUnits(chain))
    return tuple(found)


def chain_of(model: Model, name: str) -> OwnUnits:
    """The entry that a layer of this name belongs to; for a layer without own units, the layer alone.

    Raises UnknownName with the nearest names.
    """
    layer = find_layer(model, name)
    entries = {part.output: entry for entry in own_units(model) for part in entry.chain}
    return entries.get(layer.output) or OwnUnits((layer,))


# Operators that give the numbers of their first input in another shape, and those that give means over places.
_RESHAPES = frozenset("Flatten Reshape Squeeze Unsqueeze Transpose Identity Cast Dropout".split())
_MEANS = frozenset("GlobalAveragePool ReduceMean".split())


def same_numbers(model: Model, value: str, means: bool = False) -> frozenset[str]:
    """The value, and those before it that are the same numbers in another shape; with `means`, also those whose means
    over places they are.
    """
    found = [value]
    while (node := model.producer(found[-1])) is not None and plain_domain(node.domain) == "":
        if node.op_type not in (_RESHAPES | _MEANS if means else _RESHAPES):
            break
        found.append(str(node.input[0]))
    return frozenset(found)


def _is_float(model: Model, layer: Layer) -> bool:
    dtype = model.values[layer.output].dtype
    rank = model.values[layer.output].rank
    return (dtype is None or dtype.kind in "fiu") and rank is not None and rank >= 2


def _is_sum(layer: Layer, known: Mapping[str, Layer]) -> bool:
    """Whether it adds two maps of one shape."""
    if layer.op not in ("Add", "Sum") or len(layer.inputs) < 2:
        return False
    parts = [known.get(name) for name in layer.inputs]
    return all(part is not None and part.shape == layer.shape for part in parts)


def _chain(model: Model, layer: Layer, known: Mapping[str, Layer]) -> tuple[Layer, ...]:
    """The layer and those behind it that keep its units: one number in, one number out, in the same place."""
    chain = [layer]
    readers: dict[str, list[Layer]] = {}
    for other in model.layers:
        for name in other.inputs:
            readers.setdefault(name, []).append(other)
    while True:
        last = chain[-1]
        behind = readers.get(last.output, [])
        follower = _follower(model, last, behind, known)
        if follower is None or follower.shape != last.shape or last.output in {v.name for v in model.outputs}:
            return tuple(chain)
        chain.append(follower)


def _follower(model: Model, last: Layer, behind: list[Layer], known: Mapping[str, Layer]) -> Layer | None:
    """The one layer that reads nothing else of the data, or the end of an activation function of several layers."""
    if len(behind) == 1 and behind[0].inputs == (last.output,) and _keeps_units(behind[0]):
        return behind[0]
    gate = gate_from(model, last.output) if len(behind) > 1 else None
    if gate is None or gate.end not in known:
        return None
    parts = gate.inside(model) | {gate.end}
    return known[gate.end] if all(layer.output in parts for layer in behind) else None


def _keeps_units(layer: Layer) -> bool:
    domain, _, op = layer.op.rpartition(".")
    return (domain, op) in POINTWISE or (domain, op) in POINTWISE_WITH_CHANNELS


def chosen(model: Model, names: tuple[str, ...]) -> tuple[OwnUnits, ...]:
    """The entries of layers of these names, in graph order and each once; all where there is none.

    Raises UnknownName with the nearest names.
    """
    if not names:
        return own_units(model)
    wanted = {entry.name: entry for entry in (chain_of(model, name) for name in names)}
    order = {layer.name: place for place, layer in enumerate(model.layers)}
    return tuple(sorted(wanted.values(), key=lambda entry: order[entry.name]))
