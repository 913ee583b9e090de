"""Inputs that stand for "nothing": what path and perturbation methods compare an input with.

zero    every element 0: after the usual normalisation, the mean image of the training set
black   pixels 0; gray   pixels 127.5; white  pixels 255, as the model card maps pixels to the tensor
blur    the input itself, blurred with a Gaussian of a 16th of the shorter side: no detail, the same large areas
noise   uniform noise over the input's own range, seeded
NUMBER  every element that number; an array  of one sample's shape, or of the whole batch
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import MethodError

if TYPE_CHECKING:
    from .problem import Problem

NAMES = ("zero", "black", "gray", "white", "blur", "noise")
BLUR = 1 / 16
_PIXELS = {"black": 0.0, "gray": 127.5, "white": 255.0}


def baseline(problem: Problem, kind: str | float | NDArray[Any], seed: int = 0) -> NDArray[Any]:
    """The baseline (N, ...) of every sample, in the dtype of the input.

    Raises MethodError for a shape that does not fit, or a kind that needs an image where there is none.
    """
    x = problem.input.x
    if isinstance(kind, np.ndarray):
        if kind.dtype.kind not in "fiub" or kind.shape not in (x.shape, x.shape[1:], (1, *x.shape[1:])):
            raise MethodError(
                f"a baseline of shape {list(kind.shape)} does not fit samples of shape {list(x.shape[1:])}: give one"
            )
        return np.broadcast_to(kind, x.shape).astype(x.dtype)
    if not isinstance(kind, str):
        return np.full_like(x, kind)
    if kind == "zero":
        return np.zeros_like(x)
    if kind == "noise":
        flat = x.reshape(len(x), -1).astype(np.float64)
        low, high = (edge(axis=1).reshape(-1, *[1] * (x.ndim - 1)) for edge in (flat.min, flat.max))
        noise = np.random.default_rng(seed).random(x.shape[1:])
        return np.asarray(low + noise * (high - low), x.dtype)
    if kind == "blur":
        if problem.input.axes is None:
            raise MethodError(
                "the baseline 'blur' is for images and the input is none: use 'zero', a number or an array"
            )
        return blurred(x, problem.input.axes)
    return _pixels(problem, kind)


def _pixels(problem: Problem, kind: str) -> NDArray[Any]:
    """The tensor of an image of one gray value, by the card's mean and standard deviation."""
    card, x = problem.input.card, problem.input.x
    if card is None:
        raise MethodError(
            f"the baseline {kind!r} needs an image and a model card: for tensors use 'zero', a number or an array"
        )
    mean, std = np.asarray(card["mean"], np.float64), np.asarray(card["std"], np.float64)
    values = (_PIXELS[kind] - mean) / std
    channel = problem.input.channel
    if channel is None:
        return np.full_like(x, values[0])
    shape = [1] * x.ndim
    shape[channel] = -1
    if x.dtype.kind in "iu":
        limits = np.iinfo(x.dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return np.broadcast_to(values.reshape(shape), x.shape).astype(x.dtype)


def blurred(x: NDArray[Any], axes: tuple[int, int], sigma: float | None = None) -> NDArray[Any]:
    """x, convolved along `axes` with a Gaussian of `sigma` elements (a 16th of the shorter axis), edges repeated."""
    if sigma is None:
        sigma = BLUR * min(x.shape[a] for a in axes)
    reach = max(1, int(np.ceil(3 * sigma)))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-6)) ** 2)
    taps /= taps.sum()
    result = x.astype(np.float64)
    for axis in axes:
        size = x.shape[axis]
        # One row of weights per output element; what falls off the edge counts for the outermost element.
        weights = np.zeros((size, size))
        sources = np.clip(np.arange(size)[:, None] + np.arange(-reach, reach + 1), 0, size - 1)
        np.add.at(weights, (np.arange(size)[:, None], sources), taps)
        result = np.moveaxis(np.moveaxis(result, axis, -1) @ weights.T, -1, axis)
    if x.dtype.kind in "iu":
        result = np.rint(result)
    return result.astype(x.dtype)
