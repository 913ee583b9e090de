"""Whether a graph scales or normalises pixels itself, in front of its first layer.

Keras' EfficientNets begin with Rescaling and Normalization, exporters fold preprocessing into the graph: such an input
takes pixels of 0..255 as they are, and normalising them once more makes every image look alike.
"""

from __future__ import annotations

import numpy as np

from ..graph.model import Model
from ..proto.nodes import label

# Operators that change neither the scale of pixels nor their zero.
_KEEPS = frozenset(
    "Cast Transpose Identity Reshape Unsqueeze Squeeze Resize Slice Pad Clip Gather Split Concat".split()
)
# 1 / 255, 1 / 127.5 and 1 / (255 * a standard deviation) lie between these.
_SMALL_SCALE = (1e-3, 0.05)
# A mean that pixels of 0..1 cannot have, however they are normalised.
_LARGE_MEAN = 15.0


def own_scaling(model: Model, name: str) -> str | None:
    """What the graph does to pixels of 0..255 that come in as `name`, None if it takes them for scaled ones."""
    front, seen = [name], {name}
    while front:
        value = front.pop(0)
        for node in model.consumers(value):
            if node.op_type in _KEEPS and value in node.input[:1]:
                new = [o for o in node.output if o and o not in seen]
                seen.update(new)
                front += new
                continue
            constants = [c for i in node.input if i != value and (c := model.constant(i)) is not None and c.size <= 4]
            found = _scales(node.op_type, value == node.input[0], constants)
            if found:
                return f"{found} in {label(node)}"
    return None


def _scales(operator: str, first: bool, constants: list[np.ndarray]) -> str:
    if not constants:
        return ""
    numbers = np.abs(constants[0].astype(np.float64)).ravel()
    if operator == "Mul" and (numbers > _SMALL_SCALE[0]).all() and (numbers < _SMALL_SCALE[1]).all():
        return f"a product with {numbers[0]:.4g}"
    if operator == "Div" and first and (numbers > _LARGE_MEAN).all():
        return f"a division by {numbers[0]:.4g}"
    if operator in ("Sub", "Add") and (numbers > _LARGE_MEAN).all():
        return f"a mean of {numbers[0]:.4g} taken away"
    if operator == "BatchNormalization" and len(constants) == 4 and (np.abs(constants[2]) > _LARGE_MEAN).all():
        return f"a mean of {float(np.abs(constants[2]).ravel()[0]):.4g} taken away"
    return ""
