"""Attention rollout.

S. Abnar and W. Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020, section 3. With A the attention map of
a layer, its heads averaged, and the residual connection added as half of the identity, rows summing to 1,

    A_hat = 0.5 A + 0.5 I          rollout = A_hat(last) ... A_hat(2) A_hat(1)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..attribution.maps import Maps
from ..attribution.problem import Problem
from .families.attention import attention_maps, read_tokens, token_maps
from .options import option
from .registry import Method, Needs, Sanity, method

_FUSION: Mapping[str, Callable[..., Any]] = MappingProxyType({"mean": np.mean, "max": np.max, "min": np.min})


@method("attention-rollout", "rollout")
@dataclass(frozen=True)
class AttentionRollout(Method):
    """How much of every token reaches the answer, by the attention of all layers; the same for every class.

    The row of the class token is shown, or the mean of the rows that the answer averages, on the image's patches. For
    a model of sequences it is one number per token, as it is where the tokens are no patches. Needs one run and no
    gradient. `heads` other than the mean, `discard` and `start` are common additions that the paper does not have. What
    the layers do between attentions is not looked at, nor is the classifier: the map says where information could have
    come from, and hardly changes when the upper layers are randomised.
    """

    heads: str = option("mean", "How the heads of a layer become one map.", choices=("mean", "max", "min"))
    discard: float = option(
        0.0, "Share of every token's attention weights, the smallest ones, that is dropped.", low=0, high=1
    )
    residual: float = option(0.5, "Weight of the residual connection next to the attention.", low=0, high=1)
    start: int = option(0, "The first attention layer that counts, from 0.", low=0)
    token: int | None = option(None, "The token whose row is shown; none: the one that the answer reads.")
    needs: ClassVar[Needs] = "forward"
    randomisation: ClassVar[Sanity] = "fails"

    def __call__(self, problem: Problem) -> Maps:
        found = attention_maps(problem, self.name, self.start)
        read, words = read_tokens(found, self.token, self.name)
        rows = read.astype(np.float64)
        identity = np.eye(found.tokens.count)
        for weights in reversed(found.weights):
            mixed = np.stack([self._mixing(one, identity) for one in weights])
            rows = np.einsum("rt,rtk->rk", rows, mixed[problem.sample])
        return token_maps(found, rows, words)

    def _mixing(self, weights: NDArray[np.float32], identity: NDArray[np.float64]) -> NDArray[np.float64]:
        """A_hat (T, T) from the attention of one sample and layer (heads, T, T)."""
        fused = kept(_FUSION[self.heads](weights, axis=0).astype(np.float64), self.discard)
        mixed = self.residual * identity + (1 - self.residual) * over_rows(fused)
        return over_rows(mixed)


def over_rows(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows divided by their sums; those of zeros stay."""
    total = weights.sum(axis=1, keepdims=True)
    return np.asarray(weights / np.where(total > 0, total, 1))


def kept(weights: NDArray[np.float64], discard: float) -> NDArray[np.float64]:
    """The weights (T, T) without the smallest part of every row; the greatest one always stays."""
    count: int = min(int(discard * weights.shape[1]), weights.shape[1] - 1)
    if not count:
        return weights
    result: NDArray[np.float64] = weights.copy()
    np.put_along_axis(result, np.argsort(weights, axis=1, kind="stable")[:, :count], 0.0, axis=1)
    return result
