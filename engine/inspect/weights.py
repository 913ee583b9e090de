"""The weights of a layer in one form, whatever operator and number format they are stored in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from ..errors import MethodError
from ..graph.model import Model
from ..graph.split import expose
from ..inference.session import run
from ..proto.attributes import attributes
from ..proto.external_data import read
from ..proto.operators import weight_place
from .layers import Layer

_CONVOLUTIONS = frozenset({"Conv", "FusedConv", "ConvTranspose", "ConvInteger", "QLinearConv"})
_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
# Quantised operators: positions of the weights' scale and zero point.
_SCALES: dict[str, tuple[int | None, int]] = {
    "QLinearConv": (4, 5),
    "QLinearMatMul": (4, 5),
    "QGemm": (4, 5),
    "ConvInteger": (None, 3),
    "MatMulInteger": (None, 3),
}


@dataclass(frozen=True)
class Weights:
    """What a layer multiplies its input by.

    Attributes:
        layer: the layer.
        name: of the value in the graph that holds them.
        values: float32; (out, in / groups, spatial...) of a convolution, (out, in) of a dense or recurrent layer.
        spatial: number of spatial axes, 0 for a dense layer.
        groups: of a convolution.
        note: what was done to stored numbers, "" for plain ones.
    """

    layer: Layer
    name: str
    values: NDArray[np.float32]
    spatial: int
    groups: int
    note: str

    @property
    def kernel(self) -> tuple[int, ...]:
        """Sizes along the spatial axes."""
        return tuple(self.values.shape[2:])

    @property
    def norms(self) -> NDArray[np.float64]:
        """Euclidean norm of every output channel's weights, (out,)."""
        flat = self.values.reshape(len(self.values), -1).astype(np.float64)
        return np.asarray(np.sqrt((flat * flat).sum(axis=1)))


def weights(model: Model, layer: Layer) -> Weights:
    """The weights of `layer`, dequantised. Raises MethodError, with layers that have some, where it has none."""
    found = _found(model, layer)
    if found is None:
        having = weighted_layers(model)
        if not having:
            raise MethodError("no layer of the model has stored weights: nothing to show")
        near = _nearest_before(model, layer, having)
        rest = f"; {len(having)} layers have some" if len(having) > 1 else ""
        raise MethodError(
            f"layer {layer.name!r} ({layer.op}) has no stored weights: take {near.name!r} ({near.op}){rest}"
        )
    node, name, values = found
    return _form(model, layer, node, name, values)


def weighted_layers(model: Model) -> list[Layer]:
    """The layers whose weights can be shown, in graph order."""
    return [layer for layer in model.layers if _weight_name(model, layer) is not None]


def _nearest_before(model: Model, layer: Layer, having: list[Layer]) -> Layer:
    """The last layer with weights up to `layer`, else the first one."""
    order = {other.output: i for i, other in enumerate(model.layers)}
    here = order[layer.output]
    before = [other for other in having if order[other.output] <= here]
    return before[-1] if before else having[0]


def _weight_name(model: Model, layer: Layer) -> tuple[NodeProto, str] | None:
    node = model.producer(layer.output)
    first = None if node is None else weight_place(node)
    # The filters of an NhwcFusedConv lie in memory as the runtime wants them.
    if node is None or first is None or node.op_type == "NhwcFusedConv":
        return None
    places = [first]
    if node.op_type in ("MatMul", "FusedMatMul"):
        places.append(0)  # x @ W or W @ x
    for place in places:
        if place < len(node.input) and node.input[place] and _is_constant(model, node.input[place]):
            value = model.values[node.input[place]]
            if value.rank is None or value.rank >= 2:
                return node, node.input[place]
    return None


def _found(model: Model, layer: Layer) -> tuple[NodeProto, str, NDArray[Any]] | None:
    named = _weight_name(model, layer)
    if named is None:
        return None
    node, name = named
    return node, name, _constant(model, name)


def _is_constant(model: Model, name: str) -> bool:
    """Whether a value is stored, or computed from stored ones alone (a dequantised or transposed weight)."""
    front, seen = [name], {name}
    while front:
        current = front.pop()
        if current in model.initializers:
            continue  # listed among the inputs as well, it is the default of one
        node = model.producer(current)
        if node is None or len(seen) > 64:
            return False
        for source in node.input:
            if source and source not in seen:
                seen.add(source)
                front.append(source)
    return True


def _constant(model: Model, name: str) -> NDArray[Any]:
    if name in model.initializers:
        return read(model.initializers[name], model.folder)

    return run(expose(model, [name], only=True), {}, [name])[name]


def _form(model: Model, layer: Layer, node: NodeProto, name: str, values: NDArray[Any]) -> Weights:
    given = attributes(node)
    note = "" if name in model.initializers else "computed from stored constants (dequantised or rearranged)"
    array = np.asarray(values)
    if node.op_type in _SCALES:
        array, note = _dequantised(model, node, array)
    array = array.astype(np.float32)
    if node.op_type in _CONVOLUTIONS:
        groups = int(given.get("group", 1))
        if node.op_type == "ConvTranspose":
            inputs, outputs, *kernel = array.shape  # (in, out / groups, ...)
            array = array.reshape(groups, inputs // groups, outputs, *kernel).swapaxes(1, 2)
            array = array.reshape(groups * outputs, inputs // groups, *kernel)
        return Weights(layer, name, np.ascontiguousarray(array), array.ndim - 2, groups, note)
    if node.op_type in _RECURRENT:
        return Weights(layer, name, array.reshape(-1, array.shape[-1]), 0, 1, note)
    first = node.input[0] == name
    out_first = bool(given.get("transB", 0)) if "Gemm" in node.op_type else first
    array = array.reshape(-1, *array.shape[-2:])
    if not out_first:
        array = array.swapaxes(1, 2)
    if len(array) > 1:
        note = "; ".join(part for part in (note, f"{len(array)} matrices under one another") if part)
    return Weights(layer, name, np.ascontiguousarray(array.reshape(-1, array.shape[-1])), 0, 1, note)


def _dequantised(model: Model, node: NodeProto, array: NDArray[Any]) -> tuple[NDArray[Any], str]:
    scale_at, zero_at = _SCALES[node.op_type]
    channels_first = node.op_type in _CONVOLUTIONS or (node.op_type == "QGemm" and attributes(node).get("transB", 0))
    axis = 0 if channels_first else array.ndim - 1

    def along(place: int | None, default: float) -> NDArray[Any]:
        name = node.input[place] if place is not None and place < len(node.input) else ""
        values = np.asarray(_constant(model, name) if name and _is_constant(model, name) else default)
        if values.size == 1:
            return values.reshape(())
        return values.reshape([-1 if i == axis else 1 for i in range(array.ndim)])

    shifted = array.astype(np.float32) - along(zero_at, 0).astype(np.float32)
    if scale_at is None:
        return shifted, f"{array.dtype} weights, minus their zero point; their scale is applied by a later layer"
    return shifted * along(scale_at, 1).astype(np.float32), f"dequantised from {array.dtype}"
