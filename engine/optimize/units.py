"""What is asked for, as objectives: layers and channels, neurons, classes, directions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..errors import MethodError, TargetError
from ..graph.model import Model
from ..targets.kinds.classes import Class, Several
from ..targets.kinds.classes import Contrast as ClassContrast
from ..targets.kinds.scale import Scale
from ..targets.kinds.unit import Unit
from ..targets.target import Target
from ..targets.units import unit_axes
from .objective import Objective, parse
from .objectives.channel import Channel
from .objectives.classes import Logit, Probability
from .objectives.direction import Direction
from .objectives.layer import WholeLayer
from .objectives.neuron import Neuron


def objectives_of(
    model: Model,
    *,
    layer: str | Sequence[str] | None = None,
    channel: Any = None,
    neuron: Any = None,
    target: Any = None,
    direction: Any = None,
    objective: Any = None,
) -> list[Objective]:
    """The objectives, in the order of the arguments. Raises MethodError where they do not fit each other or nothing is
    asked for, TargetError, UnknownName.
    """
    if layer is None and any(part is not None for part in (channel, neuron, direction)):
        raise MethodError("a channel, a neuron or a direction is one of a layer: name it with layer=")
    found: list[Objective] = []
    if layer is not None:
        for name in [layer] if isinstance(layer, str) else layer:
            found += _of_layer(model, name, channel, neuron, direction)
    if target is not None:
        found += _of_target(Target.of(target))
    if objective is not None:
        many = isinstance(objective, Sequence) and not isinstance(objective, str)
        found += [o if isinstance(o, Objective) else parse(str(o)) for o in (objective if many else [objective])]
    if not found:
        raise MethodError("nothing is asked for: name a layer, a class or an objective")
    return found


def _of_layer(model: Model, layer: str, channel: Any, neuron: Any, direction: Any) -> list[Objective]:
    found: list[Objective] = []
    if channel is not None:
        found += [Channel(layer, index) for index in channels_of(model, layer, channel)]
    if neuron is not None:
        several = isinstance(neuron, Sequence) and not isinstance(neuron, str) and len(neuron)
        listed = neuron if several and not isinstance(neuron[0], int | np.integer) else [neuron]
        found += [_neuron(layer, entry) for entry in listed]
    if direction is not None:
        found.append(Direction(layer, np.asarray(direction, np.float64)))
    return found or [WholeLayer(layer)]


def _neuron(layer: str, given: Any) -> Neuron:
    try:
        numbers = [int(i) for i in (given.split(",") if isinstance(given, str) else np.atleast_1d(given))]
    except (ValueError, TypeError):
        raise TargetError(f"the neuron {given!r} is not CHANNEL,Y,X, as in 5,3,3") from None
    return Neuron(layer, numbers[0], tuple(numbers[1:]) or None)


_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def channels_of(model: Model, layer: str, given: Any) -> list[int]:
    """Channels as a number, a list, "all" or a text like "0-7,12". Raises TargetError for one that does not exist."""
    value, axis, _ = unit_axes(model, layer)
    shape = model.value(value).shape
    size = shape[axis] if shape is not None else None
    count = size if isinstance(size, int) else None
    found = list(_listed(layer, given, count))
    for index in found:
        if index < 0 or (count is not None and index >= count):
            known = f"the layer {layer!r} has channels 0 to {count - 1}" if count is not None else "they count from 0"
            raise TargetError(f"channel {index} does not exist: {known}")
    return found


def _listed(layer: str, given: Any, count: int | None) -> Iterable[int]:
    if isinstance(given, int | np.integer) and not isinstance(given, bool):
        return [int(given)]
    if isinstance(given, str) and given.strip() == "all":
        if count is None:
            raise TargetError(f"how many channels the layer {layer!r} has is not known: name them by number")
        return range(count)
    found: list[int] = []
    for part in given.split(",") if isinstance(given, str) else list(given):
        read = _RANGE.fullmatch(str(part).strip())
        if read is None:
            raise TargetError(f"{part!r} is not a channel: give numbers, ranges like 0-7, or all")
        first, last = int(read[1]), int(read[2] or read[1])
        if last - first >= 1 << 20:
            raise TargetError(f"{part!r} is more channels than any layer has")
        found += range(first, last + 1)
    return found


def _of_target(target: Target) -> list[Objective]:
    if isinstance(target, Several):
        return [part for one in target.parts for part in _of_target(Target.of(one))]
    if isinstance(target, Class):
        return [Logit(target.which)]
    if isinstance(target, Scale) and isinstance(target.inner, Class):
        return [Probability(target.inner.which) if target.kind == "prob" else Logit(target.inner.which)]
    if isinstance(target, ClassContrast) and isinstance(target.a, Class) and isinstance(target.b, Class):
        return [Logit(target.a.which) - Logit(target.b.which)]
    if isinstance(target, Unit) and isinstance(target.channel, int) and not isinstance(target.at, str):
        made = Channel(target.layer, target.channel) if target.at is None else None
        return [made or Neuron(target.layer, target.channel, target.at)]
    raise TargetError(
        f"the target {target} needs an image to be chosen on, and there is none yet: name a class, or layer and channel"
    )
