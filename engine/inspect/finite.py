"""Why numbers are not finite: the weights hold such numbers, or the model makes them of its input."""

from __future__ import annotations

import numpy as np

from ..caches import of_model
from ..graph.model import Model
from ..graph.narrow import is_narrowed
from ..proto.values import FLOATS


@of_model
def why_not_finite(model: Model) -> str:
    """One clause that follows a colon: which weights are NaN or infinite, or that the model overflows."""
    for name, tensor in model.initializers.items():
        values = model.constant(name) if tensor.data_type in FLOATS else None
        if values is None:
            continue
        with np.errstate(over="ignore"):
            numbers = np.asarray(values, np.float32)
        bad = int((np.isnan(numbers) | (numbers == np.inf)).sum())  # -inf is how attention masks are written
        if bad and values.size > 1:
            return f"{bad} of {values.size} numbers of the weights {name!r} are NaN or infinite, export the model again"
    if is_narrowed(model):
        return "the model overflows in float16 on this input, leave half out"
    return "the model overflows on this input"
