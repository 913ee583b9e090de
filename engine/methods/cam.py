"""Class activation mapping, the original.

B. Zhou, A. Khosla, A. Lapedriza, A. Oliva and A. Torralba, "Learning Deep Features for Discriminative Localization",
CVPR 2016, section 2: for a network that ends in global average pooling and one linear layer, with class weights w,

    map(y, x) = sum over channels k of  w_k A_k(y, x)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..attribution.layer_choice import MapPlace
from ..compiled.maps import weighted
from ..errors import MethodError, TargetError
from ..proto.nodes import reads
from .families.advice import advised_at_layers
from .families.cam import Cam
from .registry import method

if TYPE_CHECKING:
    from ..attribution.maps import Maps
    from ..attribution.problem import Problem
    from ..compiled.build import Build
    from ..compiled.emitted import Emitted

# Operators that are linear (with a bias) in the value that comes from the layer.
_LINEAR = frozenset(
    """GlobalAveragePool ReduceMean ReduceSum AveragePool Flatten Reshape Squeeze Unsqueeze Gemm MatMul Add Sub Mul
    Div Conv BatchNormalization Identity Dropout Cast Transpose""".split()
)
_POOLS = frozenset("GlobalAveragePool ReduceMean ReduceSum AveragePool".split())


@method("cam")
@dataclass(frozen=True)
class ClassActivationMap(Cam):
    """Maps weighted by the class's weights, for networks that end in average pooling and a linear layer.

    A softmax after the linear layer is left out, as in the paper. The weights are read off as the gradient, which is
    the same: nothing but linear operators lies between the maps and the score.
    """

    def __call__(self, problem: Problem) -> Maps:
        try:
            scores = problem.before_softmax()
        except TargetError as error:
            raise MethodError(f"cam explains scores before a softmax: {error}") from None
        return super().__call__(scores)

    def map(self, problem: Problem, place: MapPlace) -> NDArray[np.float32]:
        _check_head(problem, place)
        return super().map(problem, place)

    def emit(self, build: Build) -> Emitted:
        build.before_softmax()
        return super().emit(build)

    def emit_map(self, build: Build, place: MapPlace, gradient: str) -> str:
        _check_head(build.problem, place)
        return super().emit_map(build, place, gradient)

    def weigh(self, activations: NDArray[np.float32], gradients: NDArray[np.float32]) -> NDArray[np.float32]:
        # The mean over n places divides the weights by n.
        return np.asarray(np.einsum("rc,rchw->rhw", gradients.sum(axis=(2, 3)), activations), np.float32)

    def emit_weighed(self, build: Build, activations: str, gradients: str) -> str:
        return weighted(build, build.op.ReduceSum(gradients, [2, 3], keepdims=1), activations)


def _check_head(problem: Problem, place: MapPlace) -> None:
    """Raises MethodError unless the score is linear in the pooled maps."""
    reached = {place.value}
    pooled = False
    for node in problem.model.graph.node:
        touched = [name for name in reads(node) if name in reached]
        if not touched:
            continue
        reached.update(node.output)
        pooled = pooled or node.op_type in _POOLS
        if node.op_type in ("Mul", "Div", "MatMul", "Gemm", "Conv") and len(touched) > 1:
            raise _unfit(problem, place, node.op_type, node.name or node.output[0])
        if node.op_type not in _LINEAR:
            raise _unfit(problem, place, node.op_type, node.name or node.output[0])
        if problem.target.of in node.output:
            break
    if not pooled:
        raise MethodError(
            f"cam needs average pooling between the layer {place.name!r} and the scores, there is none: use "
            f"{advised_at_layers(problem)}"
        )


def _unfit(problem: Problem, place: MapPlace, op: str, node: str) -> MethodError:
    return MethodError(
        f"cam needs nothing but average pooling and linear layers after {place.name!r}, but {op} (node {node!r}) comes "
        f"after it: use {advised_at_layers(problem)}, or name the layer before the pooling with layer="
    )
