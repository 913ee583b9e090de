"""Which values of a float32 model leave the range of float16: one run finds the largest number of each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from ..caches import of_model
from ..errors import ModelError, ShapeError
from ..graph.model import Model
from ..graph.narrow import LARGEST
from ..inference.session import Session
from .concrete_shapes import concrete_shapes

# Inputs of another kind may bring larger values than those of the run: so much room is left.
_ROOM = 8.0


@of_model
def beyond_float16(model: Model, low: float, high: float) -> frozenset[str] | None:
    """Names of float32 values that exceed an eighth of float16's range, or are not finite, for numbers between `low`
    and `high`; of integers, for ones. None where sizes of the inputs are not known or the run fails."""
    names = [o for node in model.graph.node for o in node.output if o and model.values[o].dtype == np.float32]
    feeds = _feeds(model, low, high)
    if feeds is None:
        return None
    if not names:
        return frozenset()
    try:
        largest = Session(_with_maxima(model, names), providers="cpu").run(feeds)
    except (ModelError, ShapeError):
        return None
    return frozenset(name for name in names if not float(largest[_of(name)]) <= LARGEST / _ROOM)


def _of(name: str) -> str:
    return f"largest/{name}"


def _with_maxima(model: Model, names: list[str]) -> Model:
    """A model of the same inputs whose outputs are the largest magnitudes of values, scalars."""
    with model.edited() as edit:
        for name in names:
            edit.graph.node.add(op_type="Abs", input=[name], output=[f"magnitude/{name}"])
            node = onnx.helper.make_node("ReduceMax", [f"magnitude/{name}"], [_of(name)], keepdims=0)
            edit.graph.node.append(node)
        del edit.graph.output[:]
        for name in names:
            edit.graph.output.append(onnx.helper.make_tensor_value_info(_of(name), onnx.TensorProto.FLOAT, []))
    return edit.model


def _feeds(model: Model, low: float, high: float) -> Mapping[str, np.ndarray] | None:
    shapes, rng = concrete_shapes(model), np.random.default_rng(0)
    feeds = {}
    for value in model.inputs:
        shape = shapes.get(value.name)
        if shape is None or value.dtype is None:
            return None
        floating = value.dtype.kind == "f"
        feeds[value.name] = (rng.uniform(low, high, shape) if floating else np.ones(shape)).astype(value.dtype)
    return feeds
