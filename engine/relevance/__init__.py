"""Layer-wise relevance propagation (LRP): the registry of rules, and tables of them for `vjp`.

LRP (Bach et al. 2015, PLOS ONE 10(7): e0130140; Montavon et al. 2019, "Layer-Wise Relevance Propagation: An Overview")
hands the score back from layer to layer. What a unit y_j gets is shared out among the values x_i that it was made of,
in proportion to their contributions z_ij; nothing is added, and only the share of constants (biases) is lost:

    R_i = sum_j  z_ij / (sum_i z_ij + what constants contributed)  R_j

Here the relevance of a value is carried as a *multiplier* m = R / value, so that R_j = y_j m_j. A multiplier is to
relevance what a cotangent is to a gradient, and the two take the same way: through whatever is linear, the relevance
shared out in proportion to contributions is the ordinary vector-Jacobian product of the multipliers. Only three kinds
of operators need a rule of their own, written like those of `gradients/` and passed to `vjp` in their place:

    layers with weights     `layers.py`, `rules.py`   epsilon, gamma, z-plus, alpha-beta; flat, w-square, box
    elementwise functions   `elementwise.py`          relevance passes unchanged: m_x = m_y y / x
    products of two values  `products.py`             a gate counts as a constant, the signal takes all
    normalisation           `normalization.py`        statistics count as constants

`linear.py` lists the operators whose gradient is their rule, and those that refuse.

Between the network's input and its first layer with weights lie moves and the normalisation of pixels (`zone.py`).
There relevance itself is carried: it passes the normalisation as it is, and the first layer may have a rule that gives
relevance to pixels of value 0 too. The pullback therefore ends with the relevance of the input, not its multiplier.

Adding an operator
------------------
    @relevance("Tanh")
    def tanh(node, m, op, lrp):
        return [op.Mul(m, op.Div(node.outputs[0], node.inputs[0]))]

in a module of this package: as `@gradient` in `gradients/`, with the multiplier `m` in place of the cotangent `dy`, or
with `multipliers`, those of all outputs; `lrp` (`LrpPass`) knows the composite and the zone. An operator needs an entry
in `gradients/` as well, whose options hold here too.
"""

from __future__ import annotations

from .registry import REMEDY as REMEDY
from .registry import Composite as Composite
from .registry import LrpPass as LrpPass
from .registry import Multipliers as Multipliers
from .registry import RelevanceRule as RelevanceRule
from .registry import Relevances as Relevances
from .registry import find as find
from .registry import no_rule as no_rule
from .registry import own_gradient as own_gradient
from .registry import relevance as relevance
from .table import Table as Table
