"""Models whose weights are drawn anew: what a map must depend on."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, numpy_helper

from ..caches import of_model
from ..errors import MethodError
from ..graph.model import Model
from ..proto.external_data import read


def weights(model: Model) -> list[str]:
    """Float initializers of at least two axes, in the order in which the graph reads them: from the input on."""
    known = {t.name for t in model.untyped.graph.initializer if t.data_type == TensorProto.FLOAT and len(t.dims) >= 2}
    names = dict.fromkeys(name for node in model.untyped.graph.node for name in node.input if name in known)
    return list(names)


@of_model
def randomised(model: Model, first: float, last: float, seed: int = 0) -> Model:
    """The model with the weights from the share `first` to the share `last` of their order replaced by normal ones of
    the same standard deviation, each tensor's own.

    Raises MethodError for a model without float weights.
    """
    names = weights(model)
    if not names:
        raise MethodError("the model stores no float weights that could be drawn anew")
    chosen = set(names[round(first * len(names)) : round(last * len(names))])
    rng = np.random.default_rng(seed)
    with model.edited() as edit:
        for tensor in edit.graph.initializer:
            if tensor.name in chosen:
                values = read(tensor, model.folder)
                drawn = (rng.standard_normal(values.shape) * values.std()).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(drawn, tensor.name))
    return edit.model
