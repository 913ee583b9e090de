"""Operators whose gradient is their relevance rule, and operators that have none.

A gradient shares relevance out in proportion to contributions wherever y = sum over x of dy/dx x, that is where the
operator is linear, picks values (the winner of a maximum takes all) or scales with its input, as norms do. Control flow
hands multipliers on to the operators inside. A softmax that is not attention is taken for its first-order expansion,
whose constant part keeps its share (Achtibat et al., "AttnLRP", ICML 2024, section 3.3.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..proto.operators import ML
from .products import one_sided
from .registry import LrpPass, Multipliers, no_rule, own_gradient, relevance

if TYPE_CHECKING:
    from ..emitter.emitter import Emitter
    from ..emitter.node import Node


@relevance(
    # moves
    *"""Cast CastLike CenterCropPad Compress Concat DepthToSpace Dropout Expand Flatten Gather GatherElements GatherND
    OneHot Pad Reshape ReverseSequence ScatterElements ScatterND Slice SpaceToDepth Split Squeeze TensorScatter Tile
    TopK Transpose Trilu Unique Unsqueeze Where""".split(),
    # sums and averages
    *"""AveragePool Col2Im CumSum DFT GlobalAveragePool Mean ReduceMean ReduceSum Resize Sum""".split(),
    # winners
    *"""GlobalMaxPool MaxPool MaxRoiPool MaxUnpool ReduceMax ReduceMin""".split(),
    # norms
    *"""GlobalLpPool LpPool ReduceL1 ReduceL2""".split(),
    # what is inside decides
    *"""If Loop Scan""".split(),
    # straight through the rounding
    *"""DequantizeLinear QuantizeLinear""".split(),
    # first-order expansions
    *"""LogSoftmax Softmax""".split(),
)
@relevance(
    *"ArrayFeatureExtractor FeatureVectorizer Imputer LinearClassifier LinearRegressor Scaler".split(), domain=ML
)
def by_gradient(node: Node, multipliers: Multipliers, op: Emitter, lrp: LrpPass) -> Multipliers | Mapping[str, str]:
    return own_gradient(node, multipliers, op)


@relevance("GridSample", "RoiAlign", "DeformConv")
def sampled(node: Node, m: str, op: Emitter, lrp: LrpPass) -> Multipliers:
    """Linear in what is sampled; the places where, and masks, count as constants."""
    return one_sided(node, m, op, node.wants.index(True))


@relevance("ReduceSumSquare")
def sum_of_squares(node: Node, m: str, op: Emitter, lrp: LrpPass) -> Multipliers | Mapping[str, str]:
    """The gradient gives twice what there is: of y = sum x^2, x dy/dx adds up to 2 y."""
    return own_gradient(node, [op.Div(m, 2.0)], op)


@relevance("ReduceProd", "CumProd", "ReduceLogSum", "ReduceLogSumExp", "Det", "Mod", "AffineGrid", "Range")
def refused(node: Node, multipliers: Multipliers, op: Emitter, lrp: LrpPass) -> Multipliers:
    raise no_rule(node, "its result is not a sum of contributions of its inputs")
