"""Whether a network's head has weights of its own for every place of the maps.

R. L. Draelos and L. Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural
networks", arXiv:2011.08891, 2020, section 3: Grad-CAM averages the gradient over all places. Where maps end in global
average pooling that loses nothing; where they are flattened, each place has weights of its own, and the average can
light up places that the network does not use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...caches import of_model
from ...graph.dependencies import between

if TYPE_CHECKING:
    from ...attribution.layer_choice import MapPlace
    from ...attribution.problem import Problem
    from ...graph.model import Model

# What maps pass as maps on their way to the head.
_KEEPS = frozenset(
    """Relu LeakyRelu PRelu Clip Elu Selu Celu Sigmoid Tanh HardSigmoid HardSwish Gelu Softplus Mish Swish
    BatchNormalization InstanceNormalization LRN Add Sub Mul Div MaxPool AveragePool Dropout Identity Cast Transpose
    QuantizeLinear DequantizeLinear QLinearAdd QLinearLeakyRelu QLinearSigmoid""".split()
)
_FLATTENS = frozenset(("Flatten", "Reshape"))
_DENSE = frozenset(("Gemm", "MatMul", "QLinearMatMul", "MatMulInteger", "QGemm", "FusedGemm", "FusedMatMul"))


def flattens(problem: Problem, place: MapPlace) -> bool:
    """Whether the maps of a layer, or what pooling leaves of them, are flattened and read by a dense layer."""
    return _is_flattened(problem.model, place.value, problem.target.of)


@of_model
def _is_flattened(model: Model, value: str, of: str) -> bool:
    maps = {value}
    for node in between(model, value, of):
        if maps.isdisjoint(node.input):
            continue
        if node.op_type in _KEEPS:
            maps.update(node.output)
        elif node.op_type in _FLATTENS and node.input[0] in maps:
            shape = model.value(node.input[0]).shape or ()
            several = sum(side != 1 for side in shape[1:]) > 1
            flat = _passed(model, node.output[0])
            if several and len(shape) > 2 and any(reader.op_type in _DENSE for reader in model.consumers(flat)):
                return True
    return False


def _passed(model: Model, name: str) -> str:
    """The value behind what only renames or casts `name`."""
    readers = model.consumers(name)
    while len(readers) == 1 and readers[0].op_type in ("Dropout", "Identity", "Cast", "QuantizeLinear", "Reshape"):
        name = readers[0].output[0]
        readers = model.consumers(name)
    return name
