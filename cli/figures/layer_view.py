"""What a layer's answer to one image is: maps, a vector or a table, and its numbers.

maps     (n, h, w)   feature maps of the image; heads or slices of anything else with three axes
table    (r, c)      tokens x features, time x units, channels x positions
vector   (n,)        a dense layer, scores
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...engine.proto.attributes import attributes

if TYPE_CHECKING:
    from ...engine.graph.model import Model
    from ...engine.inspect.layers import Layer

Kind = Literal["maps", "table", "vector"]

RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
ACTIVATIONS = frozenset(
    """Relu LeakyRelu PRelu Elu Selu Celu Clip Sigmoid Tanh HardSigmoid HardSwish Softplus Softsign ThresholdedRelu Gelu
    Mish Swish Softmax LogSoftmax QuickGelu FastGelu BiasGelu QLinearSigmoid QLinearLeakyRelu""".split()
)
# Layers that move, rename or re-scale numbers without computing features: left out of a walk.
PASSIVE = frozenset(
    """Identity Cast CastLike Reshape Flatten Squeeze Unsqueeze Transpose Dropout QuantizeLinear DequantizeLinear Slice
    Split Gather Expand Pad Shape Constant DynamicQuantizeLinear""".split()
)


@dataclass(frozen=True)
class View:
    """A layer's float32 values for one image in one of the forms above.

    `item` names what the first axis counts (of a table: its columns): "channel", "unit", "feature", ... `rows` names a
    table's rows. `on_image` says whether maps lie on the image; `note` what was left out to get here.
    """

    layer: Layer
    kind: Kind
    values: NDArray[np.float32]
    item: str
    rows: str = ""
    on_image: bool = False
    note: str = ""

    @property
    def items(self) -> NDArray[np.float32]:
        """(number of items, values of each)."""
        if self.kind == "table":
            return np.asarray(self.values.T)
        return np.asarray(self.values.reshape(len(self.values), -1))


@dataclass(frozen=True)
class Statistics:
    """Of all values of a layer for one image; `silent` counts the channels (units, features) whose every value is 0."""

    min: float
    max: float
    mean: float
    std: float
    zeros: float
    items: int
    silent: int


def silent_channels(view: View) -> list[int]:
    """Numbers of the channels that answer 0 everywhere."""
    return [int(i) for i in np.flatnonzero(~np.any(view.items != 0, axis=1))]


def view_of(model: Model, layer: Layer, array: NDArray[Any]) -> View:
    """The values of `layer` for one image (a batch of one) in the form that suits them."""
    values = np.asarray(array)
    values = values.astype(np.float32) if values.dtype.kind in "fiub" else np.asarray(values, np.float32)
    axes = layer.map_axes
    if axes is not None and len(axes) in (2, 3) and max(axes) < values.ndim:
        moved = np.moveaxis(values, axes, range(-len(axes), 0))
        note = ""
        if len(axes) == 3:
            middle = moved.shape[-3] // 2
            note = f"slice {middle} of {moved.shape[-3]} in depth"
            moved = moved[..., middle, :, :]
        if moved.shape[-2:] == (1, 1):
            return View(layer, "vector", moved.reshape(-1), "channel", note=note)
        maps = np.ascontiguousarray(moved.reshape(-1, *moved.shape[-2:]))
        return View(layer, "maps", maps, "channel", on_image=len(axes) == 2, note=note)
    if axes is not None and len(axes) == 1 and values.ndim > 1:
        moved = np.moveaxis(values, axes[0], -1)
        return View(
            layer, "table", np.ascontiguousarray(moved.reshape(-1, moved.shape[-1])).T, "channel", rows="position"
        )
    if layer.op in RECURRENT and values.ndim == 4:
        node = model.producer(layer.output)
        batch_first = node is not None and attributes(node).get("layout", 0) == 1
        sequence = values[0] if batch_first else values[:, :, 0]  # (time, directions, units)
        directions = " (forward, then backward)" if sequence.shape[1] == 2 else ""
        return View(layer, "table", sequence.reshape(len(sequence), -1), f"unit{directions}", rows="time step")
    if values.ndim > 1 and values.shape[0] == 1:
        values = values[0]
    values = values.reshape([d for d in values.shape if d != 1] or [1])
    if values.ndim == 1:
        return View(layer, "vector", values, "unit")
    if values.ndim == 2:
        return View(layer, "table", values, "feature", rows="token" if values.shape[0] != 2 else "row")
    maps = np.ascontiguousarray(values.reshape(-1, *values.shape[-2:]))
    if layer.op == "Softmax" and maps.shape[1] == maps.shape[2]:
        return View(layer, "maps", maps, "head", note="down: the token that looks, across: the token looked at")
    return View(layer, "maps", maps, "slice")


def token_grid(view: View, size: tuple[int, int]) -> NDArray[np.float32] | None:
    """The norm of every token's features as a map (rows, columns) over an input plane of `size` (height, width).

    A vision transformer's tokens are patches of the image, row by row, maybe after one class token. Where the number
    of tokens, or all but the first, is that of square patches which tile the plane, that is assumed; else None.
    """
    if view.kind != "table" or view.rows != "token":
        return None
    tokens = len(view.values)
    height, width = size
    for extra in (0, 1):
        patch = math.sqrt(height * width / max(1, tokens - extra))
        rows, columns = round(height / patch), round(width / patch)
        if rows > 1 and columns > 1 and rows * columns == tokens - extra and height * columns == width * rows:
            norms = np.sqrt((view.values[extra:].astype(np.float64) ** 2).sum(axis=1))
            return np.asarray(norms.reshape(rows, columns), np.float32)
    return None


def statistics_of(view: View) -> Statistics:
    """Numbers of a view; NaN and infinities do not count into them."""
    finite = view.values[np.isfinite(view.values)].astype(np.float64)
    silent = int((~np.any(view.items != 0, axis=1)).sum()) if view.values.size else 0
    if not finite.size:
        return Statistics(0.0, 0.0, 0.0, 0.0, 0.0, len(view.items), silent)
    return Statistics(
        min=float(finite.min()),
        max=float(finite.max()),
        mean=float(finite.mean()),
        std=float(finite.std()),
        zeros=float((finite == 0).mean()),
        items=len(view.items),
        silent=silent,
    )


def strength(view: View) -> NDArray[np.float64]:
    """How much each channel answers: the mean of its absolute values."""
    magnitude: NDArray[np.float64] = np.abs(np.nan_to_num(view.items.astype(np.float64))).mean(axis=1)
    return magnitude


def strongest(view: View) -> list[int]:
    """Channels (units, features) by strength, greatest first; of equal ones the lower index first."""
    return [int(i) for i in np.argsort(-strength(view), kind="stable")]


def around_activation(model: Model, layer: Layer) -> tuple[str, str] | None:
    """The values before and after the activation function that `layer` is, or that follows it: (name, name).

    x * sigmoid(x), written out, counts as one. None where there is no activation function.
    """
    producer = model.producer(layer.output)
    if producer is not None and producer.op_type in ACTIVATIONS:
        return producer.input[0], layer.output
    if producer is not None and producer.op_type == "Mul" and (gated := _gated(model, producer.input)) is not None:
        return gated, layer.output
    for node in model.consumers(layer.output):
        if node.op_type in ACTIVATIONS and node.input[0] == layer.output and len(model.consumers(layer.output)) == 1:
            return layer.output, node.output[0]
        if node.op_type == "Mul" and _gated(model, node.input) == layer.output:
            return layer.output, node.output[0]
    return None


def _gated(model: Model, inputs: Any) -> str | None:
    """x, where the two inputs of a product are x and sigmoid(x) or hardsigmoid(x)."""
    for x, gate in ((inputs[0], inputs[1]), (inputs[1], inputs[0])):
        node = model.producer(gate)
        if node is not None and node.op_type in ("Sigmoid", "HardSigmoid") and node.input[0] == x:
            return str(x)
    return None


def walk_layers(model: Model) -> list[Layer]:
    """The layers worth a picture in a walk: those that compute something, and the model's outputs."""
    ends = {v.name for v in model.outputs}
    return [layer for layer in model.layers if layer.op not in PASSIVE or layer.output in ends]


def block_layers(model: Model) -> list[Layer]:
    """Of the layers of a walk those that end a block: sums and concatenations of branches, with the activation function
    behind them; the last layer of each resolution; the model's outputs."""
    layers = walk_layers(model)
    ends = {v.name for v in model.outputs}
    known = {layer.output: layer for layer in layers}
    for layer in layers:
        branches = [name for name in layer.inputs if name in known or model.producer(name) is not None]
        if layer.op in ("Add", "Sum", "Concat") and len(branches) > 1:
            ends.add(_activated(model, layer.output, known))
        source = next((known[name] for name in layer.inputs if name in known), None)
        if source is not None and layer.map_axes and source.map_axes and _places(layer) != _places(source):
            ends.add(source.output)
    return [layer for layer in layers if layer.output in ends]


def _activated(model: Model, name: str, known: Mapping[str, Layer]) -> str:
    """The output of the activation function that alone reads a value, if there is one."""
    readers = model.consumers(name)
    if len(readers) == 1 and readers[0].op_type in ACTIVATIONS and readers[0].output[0] in known:
        return str(readers[0].output[0])
    return name


def _places(layer: Layer) -> tuple[Any, ...]:
    """The sizes of the axes of places."""
    return tuple((layer.shape or ())[axis] for axis in layer.map_axes or () if axis < len(layer.shape or ()))
