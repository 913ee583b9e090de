"""How similar two layers are: linear CKA, from unbiased estimates over small groups of images.

S. Kornblith, M. Norouzi, H. Lee and G. Hinton, "Similarity of Neural Network Representations Revisited", ICML 2019.
The estimate over groups is that of T. Nguyen, M. Raghu and S. Kornblith, "Do Wide and Deep Networks Learn the Same
Things?", ICLR 2021: the unbiased HSIC of L. Song et al., "Feature Selection via Dependence Maximization", JMLR 2012,
equation 5, summed over the groups.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

# The estimate divides by n (n - 3).
LEAST_IMAGES = 4


def grams(features: list[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Products of every two images, with zeros on the diagonal: (layers, n, n) of features (n, ...) of each layer."""
    found = []
    for values in features:
        flat = np.asarray(values, np.float64).reshape(len(values), -1)
        # Where values are of different sizes nothing is lost: HSIC does not change with the mean.
        flat = flat - flat.mean(axis=0)
        product = flat @ flat.T
        np.fill_diagonal(product, 0)
        found.append(product)
    return np.array(found)


def hsic(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Unbiased estimates (layers of a, layers of b) of the HSIC, from `grams` (layers, n, n) of the same n images.

    Raises ValueError for fewer than 4 images, or different numbers of them.
    """
    one, other = np.asarray(a, np.float64), np.asarray(b, np.float64)
    n = one.shape[-1]
    if n < LEAST_IMAGES or other.shape[-1] != n:
        raise ValueError(f"HSIC needs the same {LEAST_IMAGES} or more images, got {n} and {other.shape[-1]}")
    trace = one.reshape(len(one), -1) @ other.reshape(len(other), -1).T
    rows, others = one.sum(axis=1), other.sum(axis=1)
    totals = np.outer(rows.sum(axis=1), others.sum(axis=1))
    return np.asarray((trace + totals / ((n - 1) * (n - 2)) - 2 / (n - 2) * (rows @ others.T)) / (n * (n - 3)))


def cka(cross: NDArray[np.float64], own_a: NDArray[np.float64], own_b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear CKA (layers of a, layers of b) of summed HSICs: between both, and of each layer with itself.

    1: the same but for rotation and scale. NaN where a layer is constant, or no group of images was large enough.
    """
    scale = np.outer(np.sqrt(np.maximum(own_a, 0)), np.sqrt(np.maximum(own_b, 0)))
    return np.asarray(np.divide(cross, scale, out=np.full(cross.shape, np.nan), where=scale > 0))
