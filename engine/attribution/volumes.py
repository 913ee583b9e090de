"""From a volume to the input that is explained, and from its explanation to heat on its voxels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import VolumeError
from ..graph.model import Model
from ..volumes.fitting import Fitting, fitting
from ..volumes.given import Volume
from ..volumes.shown import ExplainedVolume
from .explanation import Explanation
from .explanations import Explanations
from .maps import reduced


@dataclass(frozen=True)
class VolumeInput:
    """A volume as the input of a model: `feeds` by input, and how heat comes back."""

    volume: Volume
    fitting: Fitting
    feeds: Mapping[str, NDArray[Any]]

    def shown(self, found: Explanation | Explanations) -> Explanation | Explanations:
        """The same with the heat on the voxels of the volume."""
        parts = [self._one(e) for e in found]
        return parts[0] if isinstance(found, Explanation) else Explanations(parts)

    def _one(self, e: Explanation) -> Explanation:
        heat = e.heatmap if e.extent is not None and len(e.extent) == 3 else self._flat(e)
        made = ExplainedVolume(self.volume, self.fitting.back(np.asarray(heat, np.float32)))
        return replace(e, volume=made, warnings=(*e.warnings, *self.fitting.notes))

    def _flat(self, e: Explanation) -> NDArray[np.float32]:
        axis = self.fitting.channel - 1
        shape = tuple(n for at, n in enumerate(e.values.shape) if at != axis)
        if e.values.ndim != 4 or shape != self.fitting.size:
            raise VolumeError(f"the values of {e.method} have the shape {list(e.values.shape)}, which is no volume's")
        return reduced(e.values, axis, "max-abs" if e.reduce == "none" else e.reduce)


def is_volume(given: Any) -> bool:
    """Whether a volume is given, or {input: one, further inputs}."""
    if isinstance(given, Mapping):
        return any(isinstance(value, Volume) for value in given.values())
    return isinstance(given, Volume)


def input_of_volume(model: Model, given: Any) -> VolumeInput:
    """The input of a volume. Raises VolumeError."""
    more: dict[str, Any] = {}
    if isinstance(given, Mapping):
        volumes = {name: value for name, value in given.items() if isinstance(value, Volume)}
        if len(volumes) > 1:
            raise VolumeError(f"several volumes were given ({', '.join(volumes)}): give (C, D, H, W) as one")
        more = {name: value for name, value in given.items() if name not in volumes}
        given = next(iter(volumes.values()))
    made = fitting(model, given)
    return VolumeInput(given, made, {made.name: made.tensor(given), **more})
