"""Models of one node, for the tests of gradients."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from onnx import helper


def model_of(
    node: onnx.NodeProto,
    feeds: Mapping[str, np.ndarray],
    dynamic: bool = False,
    opset: int = 18,
    dtype: type | np.dtype | None = None,
    *,
    outputs: Collection[str] | None = None,
    symbolic: Collection[str] = ("x",),
) -> onnx.ModelProto:
    """A model of one node; its outputs have the rank of x, running statistics one axis.

    dynamic: all sizes but the channels of the inputs `symbolic` are. dtype: of the outputs, that of x if None.
    outputs: those of the node that the model has; all if None.
    """
    inputs = []
    for name, array in feeds.items():
        shape: list[int | str] = list(array.shape)
        if dynamic and name in symbolic:
            shape = ["N", shape[1], *[f"{name}{axis}" for axis in range(2, len(shape))]]
        inputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape))
    elem = helper.np_dtype_to_tensor_dtype(np.dtype(feeds["x"].dtype if dtype is None else dtype))
    ranks = {name: 1 if name.startswith("running") else feeds["x"].ndim for name in outputs or node.output}
    made = [helper.make_tensor_value_info(name, elem, [None] * rank) for name, rank in ranks.items()]
    graph = helper.make_graph([node], "one", inputs, made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
