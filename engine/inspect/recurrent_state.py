"""Inputs that hold what a recurrent model, or one with a cache, hands to its next step: zeros at the first one."""

from __future__ import annotations

import re

from ..caches import of_model
from ..graph.model import Model
from ..proto.values import Value

_NAMES = re.compile(
    r"(^|[^a-z])(state|states|hidden|hidden_state|cell|cell_state|carry|past|past_key_values?|cache|memory|[hc](0|_?in|n)?)($|[^a-z])"
)


@of_model
def state_inputs(model: Model) -> dict[str, str]:
    """Inputs that are states, and why: float inputs of the shape of an output, or called like one, besides others.

    The first input of a model is never one: something has to be said to it.
    """
    found = {}
    for value in model.inputs[1:]:
        if value.dtype is None or value.dtype.kind != "f" or value.shape is None or not value.shape:
            continue
        named = _NAMES.search(value.name.lower()) is not None
        twin = next((o.name for o in model.outputs if _alike(value, o)), None)
        if twin is not None and (named or _stem(value.name) in _stem(twin)):
            found[value.name] = f"it has the shape of the output {twin!r}"
        elif named and twin is None and _feeds_recurrence(model, value.name):
            found[value.name] = "a recurrent layer starts from it"
    return found


def _stem(name: str) -> str:
    return re.sub(r"(_?(in|out|new|next|n|0))$|[^a-z]", "", name.lower())


def _alike(value: Value, output: Value) -> bool:
    if output.shape is None or value.shape is None or output.dtype != value.dtype:
        return False
    pairs = list(zip(value.shape, output.shape, strict=False))
    sized = all(a == b or not (isinstance(a, int) and isinstance(b, int)) for a, b in pairs)
    return len(value.shape) == len(output.shape) and sized


def _feeds_recurrence(model: Model, name: str) -> bool:
    return any(
        node.op_type in ("LSTM", "GRU", "RNN") and name in list(node.input)[5:7] for node in model.consumers(name)
    )


def state_outputs(model: Model) -> dict[str, str]:
    """The output that each state input takes over at the next step: the one of its name, else the next of its shape."""
    found: dict[str, str] = {}
    values = {value.name: value for value in model.inputs}
    for name in state_inputs(model):
        free = [o.name for o in model.outputs if o.name not in found.values() and _alike(values[name], o)]
        named = [o for o in free if _stem(o) == _stem(name)]
        if named or free:
            found[name] = (named or free)[0]
    return found
