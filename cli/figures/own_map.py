"""The map that a model answers with itself (anomalies, depth), next to the explanation of its answer.

The model's map says where something is, the explanation what made the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import figure

if TYPE_CHECKING:
    from ...engine.attribution.explanation import Explanation
    from ...engine.graph.model import Model
    from ...engine.targets.dense import DenseOutput


@dataclass(frozen=True, eq=False)
class OwnMap:
    """output: of the model. e: its map in place of an explanation's, on the same image."""

    output: str
    e: Explanation

    def overlay(self, alpha: float, colormap: str | None = None) -> NDArray[np.uint8]:
        """The map on the image, in colours of its own."""
        return self.e.overlay(alpha, colormap)

    def block(self, alpha: float, side: int, colormap: str | None = None) -> figure.Block:
        """The same, `side` pixels wide, with its colours below."""
        scale = figure.Scale(colormap or self.e.colormap, *self.e.range)
        shown = figure.framed(figure.picture(self.overlay(alpha, colormap), side))
        return figure.stack([shown, figure.colour_bar(scale, side)], gap=5)

    def to_mapping(self) -> dict[str, Any]:
        """For manifests: the output, its greatest value, and the pixel (y, x) of the image where that is."""
        heat = self.e.heatmap
        at = np.unravel_index(int(heat.argmax()), heat.shape)
        return {"output": self.output, "greatest": float(self.e.values.max()), "at": [int(i) for i in at]}


def own_map(model: Model, given: Any, e: Explanation, running: Mapping[str, Any]) -> OwnMap | None:
    """The map of one number for each place that the model answers with; None where it has none, or where the target
    is not about it or a number next to it. given: what the explanation is of. running: options of sessions."""
    from ...engine.activations import activations
    from ...engine.targets.kinds.element import Element
    from ...engine.targets.kinds.mean import Mean
    from ...engine.targets.kinds.region import Region
    from ...engine.targets.kinds.value import Value

    if not isinstance(e.target, Value | Element | Mean | Region):
        return None
    dense = _first_map(model)
    if dense is None:
        return None
    y = activations(model, given, dense.value, **running)[dense.value]
    maps = dense.maps(y if y.ndim > max(dense.axes) else y[None])[0]
    if len(maps) != 1 or not np.isfinite(maps).all():
        return None
    values = np.ascontiguousarray(maps[0], np.float32)
    shown: Any = {"values": values, "map": values, "channels": None, "in_colours": False, "reduce": "none"}
    display: Any = "positive" if values.min() >= 0 else "signed"
    return OwnMap(dense.value, replace(e, **shown, display=display))


def _first_map(model: Model) -> DenseOutput | None:
    """The first output that is a map of the image; another output may be named as the answer."""
    from ...engine.errors import TargetError
    from ...engine.targets.dense import dense_output

    for output in model.outputs:
        try:
            return dense_output(model, output.name)
        except TargetError:
            continue
    return None
