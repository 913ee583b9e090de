"""Relevance rules of layers with weights y_j = sum_i x_i w_ij + b_j, with z_ij = x_i w_ij, R_j = y_j m_j.

    epsilon     R_i = sum_j z_ij / (y_j + epsilon sign y_j) R_j
    z-plus      R_i = sum_j z_ij+ / (sum z_ij+ + b_j+) R_j
    alpha-beta  R_i = sum_j (alpha z_ij+ / (sum z_ij+ + b_j+) - (alpha - 1) z_ij- / (sum z_ij- + b_j-)) R_j
    gamma       R_i = sum_j (z_ij + gamma z_ij+) / (y_j + gamma (sum z_ij+ + b_j+)) R_j   where y_j > 0;
                where y_j < 0, z_ij- and b_j- in place of z_ij+ and b_j+

    of a layer that reads the input:
    flat        R_i = sum_j 1 / n_j R_j, n_j the inputs that unit j reads
    w-square    R_i = sum_j w_ij^2 / (sum w_ij^2) R_j
    box         R_i = sum_j (x_i w_ij - l_i w_ij+ - h_i w_ij-) / (sum_i of the same) R_j    with l <= x <= h

z+ and z- are the positive and the negative part of a contribution, whatever the signs of x and w. Epsilon, alpha-beta:
Bach et al. 2015, equations 58 and 60; z-plus, w-square, box: Montavon et al. 2017 (Pattern Recognition 65), as z+, w^2
and z^B; gamma, flat: Montavon et al. 2019; gamma for values of both signs: Andeol et al. 2021 (arXiv:2106.04923).

Where biases are left out (`bias=False`), b counts as 0 in every denominator, and in epsilon's y_j.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..emitter.node import Node
from ..errors import MethodError
from .affine import AffineLayer, layer_of, nonnegative
from .registry import Composite, LrpPass, Relevances
from .zone import carried

if TYPE_CHECKING:
    from ..emitter.emitter import Emitter

LayerRule: TypeAlias = "Callable[[Flow], str]"
RULES: dict[str, LayerRule] = {}
FIRST_RULES: dict[str, LayerRule] = {}

# ---- the operators


def through(layer: AffineLayer, m: str, op: Emitter, lrp: LrpPass) -> Mapping[str, str]:
    """The multiplier (in the zone: relevance) of what the layer reads, by the rule that its place asks for."""

    first, rule = _rules_of(layer, op, lrp)
    flow = Flow(op, layer, m, lrp, nonnegative(op, layer.x))
    return Relevances({layer.x: FIRST_RULES[first](flow)}) if first != "same" else {layer.x: RULES[rule](flow)}


def _rules_of(layer: AffineLayer, op: Emitter, lrp: LrpPass) -> tuple[str, str]:
    """The layer's rule as a first one ("same" where it is none, or has none of its own), and as one of its kind."""
    composite = lrp.composite
    last = layer.node.outputs[0] in lrp.last
    dense = last or not layer.is_conv or _on_single_positions(op, layer)
    first = composite.first if layer.x in lrp.zone and not last else "same"
    return "same" if dense and first == "flat" else first, composite.dense if dense else composite.conv


def through_rectifier(node: Node, m: str, op: Emitter, lrp: LrpPass) -> Mapping[str, str] | None:
    """Through a rectifier and the layer before it at once; None where they go one by one.

    Rules that compare y with its parts need y before an upper bound.
    """
    layer = layer_of(node, op)
    if layer is None:
        return None
    first, rule = _rules_of(layer, op, lrp)
    if layer.ends == "Clip" and first == "same" and rule in ("epsilon", "gamma"):
        return None
    return through(layer, m, op, lrp)


def _on_single_positions(op: Emitter, layer: AffineLayer) -> bool:
    """Whether a convolution is a matrix product in another notation: maps of a single position in and out."""
    sizes = [*op.shape(layer.x)[2:], *op.shape(layer.y)[2:]]
    return all(size == 1 for size in sizes)


# Denominators below this count as 0, and what they would share out is lost; in half precision a larger one.
TINY, TINY_HALF = 1e-9, 1e-4


def _rule(name: str, table: dict[str, LayerRule]) -> Callable[[LayerRule], LayerRule]:
    def register(function: LayerRule) -> LayerRule:
        table[name] = function
        return function

    return register


@dataclass(frozen=True)
class Flow:
    """A layer, the multiplier `m` of its value, and whether what it reads is nowhere negative."""

    op: Emitter
    layer: AffineLayer
    m: str
    lrp: LrpPass
    nonnegative: bool

    @property
    def composite(self) -> Composite:
        return self.lrp.composite

    @property
    def bias(self) -> str | None:
        """The bias, if it takes part."""
        return self.layer.bias if self.composite.bias else None

    def relevance(self) -> str:
        return self.op.Mul(self.m, self.layer.y)

    def signed(self, value: str, sign: int) -> str:
        """The positive or the negative part."""
        return self.op.Relu(value) if sign > 0 else self.op.Min(value, 0.0)

    def contributions(self, sign: int) -> str:
        """The sum of the contributions of one sign, the bias's included: (positive or negative) in the shape of y."""
        op, layer = self.op, self.layer
        x = layer.x if self.nonnegative else self.signed(layer.x, 1)
        total = layer.forward(op, x, self.signed(layer.weights, sign))
        if not self.nonnegative:
            other = layer.forward(op, self.signed(layer.x, -1), self.signed(layer.weights, -sign))
            total = op.Add(total, other)
        return total if self.bias is None else op.Add(total, self.signed(self.bias, sign))

    def spread(self, share: str, sign: int) -> str:
        """The multiplier of x where only contributions of one sign count."""
        op, layer = self.op, self.layer
        found = layer.backward(op, share, self.signed(layer.weights, sign))
        if self.nonnegative:
            return found
        other = layer.backward(op, share, self.signed(layer.weights, -sign))
        return op.Where(op.Greater(layer.x, 0.0), found, other)

    def tiny(self) -> float:
        return TINY_HALF if self.op.dtype(self.layer.y) == np.float16 else TINY

    def shares(self, relevance: str, total: str, sign: int = 1) -> str:
        """relevance / total, 0 where the total is not surely of that sign."""
        op, tiny = self.op, self.tiny()
        there = op.Greater(total, tiny) if sign > 0 else op.Less(total, -tiny)
        return op.Where(there, op.Div(relevance, op.Where(there, total, 1.0)), 0.0)


def stabilised(op: Emitter, value: str, epsilon: float) -> str:
    """The value, moved away from 0 by epsilon."""
    low, high = op.const(-epsilon, like=value), op.const(epsilon, like=value)
    return op.Add(value, op.Where(op.Less(value, 0.0), low, high))


@_rule("epsilon", RULES)
def epsilon(flow: Flow) -> str:
    op, layer = flow.op, flow.layer
    without = layer.bias is not None and not flow.composite.bias
    if not without and flow.composite.epsilon == 0:
        m = op.Where(op.Greater(layer.y, 0.0), flow.m, 0.0) if layer.ends else flow.m
        return layer.backward(op, m, layer.weights)
    y = op.Sub(layer.y, layer.bias) if without else layer.y
    share = op.Div(flow.relevance(), stabilised(op, y, max(flow.composite.epsilon, flow.tiny())))
    return layer.backward(op, share, layer.weights)


@_rule("z-plus", RULES)
def z_plus(flow: Flow) -> str:
    return flow.spread(flow.shares(flow.relevance(), flow.contributions(1)), 1)


@_rule("alpha-beta", RULES)
def alpha_beta(flow: Flow) -> str:
    alpha = flow.composite.alpha
    positive = z_plus(flow)
    if alpha == 1:
        return positive
    negative = flow.spread(flow.shares(flow.relevance(), flow.contributions(-1), -1), -1)
    return flow.op.Sub(flow.op.Mul(positive, alpha), flow.op.Mul(negative, alpha - 1))


@_rule("gamma", RULES)
def gamma(flow: Flow) -> str:
    op, layer, factor = flow.op, flow.layer, flow.composite.gamma
    y = layer.y
    if layer.bias is not None and not flow.composite.bias:
        y = op.Sub(y, layer.bias)
    relevance = flow.relevance()
    whole, favoured = "", ""
    for sign in (1,) if layer.ends else (1, -1):
        total = op.Add(y, op.Mul(flow.contributions(sign), factor))
        there = op.Greater(layer.y, 0.0) if sign > 0 else op.Less(layer.y, 0.0)
        share = op.Where(there, op.Div(relevance, stabilised(op, total, flow.tiny())), 0.0)
        more = flow.spread(share, sign)
        whole, favoured = (op.Add(whole, share), op.Add(favoured, more)) if whole else (share, more)
    return op.Add(layer.backward(op, whole, layer.weights), op.Mul(favoured, factor))


# ---- layers that read the input: these give relevance, not multipliers


def _mask(flow: Flow) -> str:
    """1 in the shape of x, 0 where a Pad node put something."""
    start = flow.op.full_like(flow.lrp.input, 1.0)
    return carried(flow.op, flow.layer.x, start, flow.lrp, affine=False)


def _by_weights(flow: Flow, weights: str) -> str:
    """Shared out by weights that are nowhere negative, whatever the input is."""
    mask = _mask(flow)
    share = flow.shares(flow.relevance(), flow.layer.forward(flow.op, mask, weights))
    return flow.op.Mul(flow.layer.backward(flow.op, share, weights), mask)


@_rule("flat", FIRST_RULES)
def flat(flow: Flow) -> str:
    return _by_weights(flow, flow.op.full_like(flow.layer.weights, 1.0))


@_rule("w-square", FIRST_RULES)
def w_square(flow: Flow) -> str:
    return _by_weights(flow, flow.op.Mul(flow.layer.weights, flow.layer.weights))


@_rule("box", FIRST_RULES)
def box(flow: Flow) -> str:
    op, layer, lrp = flow.op, flow.layer, flow.lrp
    if lrp.composite.low is None or lrp.composite.high is None:
        raise MethodError("the box rule needs the least and greatest value of the input: give low and high")
    ends = []
    for bound in (lrp.composite.low, lrp.composite.high):
        wide = op.expand_like(op.const(bound, like=lrp.input), lrp.input)
        ends.append(carried(op, layer.x, wide, lrp, affine=True))
    low, high = op.Min(*ends), op.Max(*ends)
    parts = ((layer.x, layer.weights), (low, flow.signed(layer.weights, 1)), (high, flow.signed(layer.weights, -1)))
    whole, below, above = (layer.forward(op, x, w) for x, w in parts)
    total = op.Sub(op.Sub(whole, below), above)
    share = op.Div(flow.relevance(), stabilised(op, total, flow.tiny()))
    whole, below, above = (op.Mul(x, layer.backward(op, share, w)) for x, w in parts)
    return op.Sub(op.Sub(whole, below), above)
