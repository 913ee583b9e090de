"""A network whose answers to many copies of one image are computed, and what one sample of it costs.

The rates are fixed numbers: the same model and windows give the same plan on every machine, and the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from onnx import NodeProto

from ..graph.model import Model
from ..inspect.macs import macs
from ..proto.nodes import plain_domain
from .crop_geometry import CropStage, section
from .locality import Locality

# What one processor core does, measured with ONNX Runtime 1.31 on a core with AVX-512.
DENSE_RATE = 80e9  # multiply-accumulates per second of convolutions over many channels, and of products of matrices
DEPTHWISE_RATE = 9e9  # of convolutions over one channel each
MEMORY_RATE = 8e9  # bytes per second of everything else: read, changed, written

ACTIVATIONS = frozenset(
    """Relu Clip LeakyRelu Sigmoid HardSigmoid HardSwish Tanh Elu Selu PRelu BatchNormalization Add Mul
    QuantizeLinear Softplus ThresholdedRelu Gelu Erf""".split()
)


@dataclass(frozen=True, eq=False)
class Network:
    """A model that computes nothing but what is asked for. known: what is local in it."""

    model: Model
    known: Locality

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The values asked for."""
        return tuple(v.name for v in self.model.graph.output)

    @cached_property
    def nodes(self) -> list[NodeProto]:
        """Those that depend on the image, in graph order."""
        return [node for node in self.model.graph.node if set(node.output) & self.known.reached]

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Elements of every value, of one sample."""
        return {name: math.prod(shape or (0,)) // self.known.batch for name, shape in self.known.sizes.items()}

    def elements(self, values: Sequence[str]) -> int:
        """Of one sample of some values."""
        return sum(self.sizes[name] for name in values)

    @cached_property
    def seconds(self) -> dict[str, float]:
        """Seconds of one core that every node takes for a whole map of one sample, by its first output."""
        return {node.output[0]: self._node_seconds(node) for node in self.nodes}

    @cached_property
    def weights(self) -> dict[str, int]:
        """Elements of the weights of every node, by its first output."""
        stored = self.stored
        return {n.output[0]: sum(stored.get(name, 0) for name in dict.fromkeys(n.input)) for n in self.nodes}

    @cached_property
    def stored(self) -> dict[str, int]:
        """Elements of every initializer."""
        return {name: math.prod(tensor.dims) for name, tensor in self.model.initializers.items()}

    def behind(self, cut: tuple[str, ...]) -> CropStage:
        """Everything behind a cut."""
        return section(self.model, self.known, cut, self.outputs)

    def whole_time(self, part: CropStage) -> float:
        """Seconds of a part of the network for one sample, whole maps."""
        return sum(self.seconds[node.output[0]] for node in part.nodes)

    def _node_seconds(self, node: NodeProto) -> float:
        shape = self.known.sizes.get(node.output[0])
        if shape is None:
            return 0.0
        product = macs(self.model, node, self.known.sizes) or 0
        rate = DENSE_RATE
        if node.op_type in ("Conv", "QLinearConv", "FusedConv", "ConvInteger") and product:
            weight = self.known.sizes.get(node.input[3 if node.op_type == "QLinearConv" else 1])
            if weight is not None and weight[1] == 1:
                rate = DEPTHWISE_RATE
        moved = 0.0 if self._is_free(node) else 4.0 * math.prod(shape)
        return (product / rate + moved / MEMORY_RATE) / self.known.batch

    def _is_free(self, node: NodeProto) -> bool:
        """Computed together with what comes before, or not at all."""
        if plain_domain(node.domain) == "" and node.op_type in ACTIVATIONS:
            before = self.model.producer(node.input[0])
            return before is not None and before.op_type in ("Conv", "BatchNormalization", "Add", "Gemm")
        return node.op_type in ("Reshape", "Flatten", "Identity", "Dropout", "Squeeze", "Unsqueeze")
