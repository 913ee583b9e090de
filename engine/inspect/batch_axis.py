"""Whether the first axis of an input is that of samples."""

from __future__ import annotations

from ..caches import of_model
from ..graph.model import Model
from .concrete_shapes import concrete_shapes


@of_model
def has_batch_axis(model: Model, name: str) -> bool:
    """Whether the input `name` has an axis of samples, its first one.

    Open sizes are batches, and so is one sample. A fixed size is a batch where an output has it on its first axis, too:
    a model that takes (6,) and answers with one number, or (7, 3) with (2, 3), takes one sample at a time.
    """
    shape = model.value(name).shape
    if shape is None:
        return True
    if not shape:
        return False
    first = shape[0]
    if not isinstance(first, int) or first == 1:
        return True
    found = [v.shape for v in model.outputs]
    if any(s is None or (s and not isinstance(s[0], int)) for s in found):
        sizes = concrete_shapes(model)
        found = [sizes.get(v.name) for v in model.outputs]
    return not found or any(s is None or (len(s) > 0 and s[0] == first) for s in found)
