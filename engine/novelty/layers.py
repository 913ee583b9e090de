"""The layers whose maps a novelty memory is made of: middle maps of two scales, or those that are named."""

from __future__ import annotations

from typing import Any

from ..attribution.layer_choice import fitting_layers
from ..errors import MethodError
from ..graph.model import Model
from ..inspect.layers import Layer, layer_names
from ..inspect.position_trace import trace
from ..survey.units import UnitLayer, unit_layers

# Activations that may follow a residual sum and belong to it.
_ACTIVATIONS = frozenset("Relu Clip LeakyRelu PRelu HardSwish Elu".split())


def choose_layers(model: Model, layers: Any = None, plane: tuple[int, int] = (0, 0)) -> tuple[list[UnitLayer], str]:
    """The layers and why they were taken, the finest maps first.

    layers: names or `Layer`s; None: of the scales of the model's maps, the coarsest, which knows classes, is left out
    where there are three, and the last layer of the two coarsest that are left is taken: behind the last residual sum
    of the scale where it has one. A transformer has one scale: its layers at a half and at three quarters of the depth.
    plane: (height, width) of the model's input.

    Raises UnknownName, TargetError, MethodError (a layer that is no map, or no layer that is one).
    """
    names = layer_names(layers)
    reason = "as given"
    if not names:
        names, reason = _usual(model)
    found = unit_layers(model, list(names), before=False, plane=plane)
    for layer in found:
        if len(layer.grid) != 2:
            raise MethodError(
                f"the layer {layer.name!r} is no map of the image: name one that is (`onnxray inspect` lists them)"
            )
    return sorted(found, key=lambda layer: -layer.places), reason


def _usual(model: Model) -> tuple[tuple[str, ...], str]:
    scales: dict[tuple[int, ...], list[Layer]] = {}
    for layer in fitting_layers(model):
        grid = trace(model).grid(layer.output)
        if grid is not None and len(grid.shape) == 2:
            scales.setdefault(grid.shape, []).append(layer)
    if not scales:
        raise MethodError("the model has no layer that is a map of the image: novelty is measured on such maps")
    order = sorted(scales, key=lambda shape: shape[0] * shape[1])
    if len(order) == 1:
        of = scales[order[0]]
        both = dict.fromkeys(of[min(len(of) - 1, len(of) * part // 4)].output for part in (2, 3))
        return tuple(both), "of the model's only scale, the layers at a half and at three quarters of its depth"
    taken = order[1:3] if len(order) > 2 else order
    said = " and ".join(f"{h}x{w}" for h, w in reversed(taken))
    coarse = ", the coarsest scale left out, which knows classes" if len(order) > 2 else ""
    return tuple(_last(model, scales[shape]).output for shape in reversed(taken)), (
        f"the last layers of the middle maps, {said}{coarse}"
    )


def _last(model: Model, layers: list[Layer]) -> Layer:
    """The last residual sum of a scale, or the activation function on it; without one, the last layer."""
    sums = [number for number, layer in enumerate(layers) if layer.op == "Add" and len(layer.inputs) == 2]
    if not sums:
        return layers[-1]
    last = layers[sums[-1]]
    readers = [layer for layer in model.layers if last.output in layer.inputs]
    alone = len(readers) == 1 and readers[0].op in _ACTIVATIONS and readers[0] in layers
    return readers[0] if alone else last
