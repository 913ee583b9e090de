"""Attention weighted by its gradient, rolled out over the layers.

H. Chefer, S. Gur and L. Wolf, "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
Transformers", ICCV 2021, section 3.1, equations 5 and 6, for self-attention. With A the attention map of a layer and
dA the target's gradient by it,

    A_bar = mean over heads of max(dA * A, 0)          R = I at first,  R <- R + A_bar R  layer by layer

It is not the older method of the same authors (CVPR 2021), which multiplies the gradient with relevance propagated by
LRP instead of with the attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..attribution.maps import Maps
from ..attribution.problem import Problem
from .families.attention import attention_maps, gradient_maps, read_tokens, token_maps
from .options import option
from .registry import Method, Sanity, method


@method("gradient-x-attention", "chefer", "transformer-attribution")
@dataclass(frozen=True)
class GradientXAttention(Method):
    """How much of every token reaches the target, by the attention that speaks for it: a rollout for one class.

    The relevance that a token starts with, the identity in R, is subtracted again: what stays is what the answer drew
    from each token by attention, and nothing where no gradient arrives. Shown for the class token, or the mean over
    the tokens that the answer averages, on the image's patches; one number per token for a model of sequences. The
    attention of the lower layers dominates: the map changes little when only the upper layers are randomised.
    """

    start: int = option(0, "The first attention layer that counts, from 0.", low=0)
    token: int | None = option(None, "The token whose row is shown; none: the one that the answer reads.")
    randomisation: ClassVar[Sanity] = "fails"

    def __call__(self, problem: Problem) -> Maps:
        found = attention_maps(problem, self.name, self.start)
        read, words = read_tokens(found, self.token, self.name)
        rows = read.astype(np.float64)
        slopes = gradient_maps(found, self.name)
        for weights, slope in zip(reversed(found.weights), reversed(slopes), strict=True):
            passed = np.maximum(weights[problem.sample] * slope, 0).mean(axis=1, dtype=np.float64)
            rows = rows + np.einsum("rt,rtk->rk", rows, passed)
        return token_maps(found, rows - read, words)
