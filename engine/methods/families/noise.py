"""Gradients under noise: SmoothGrad, its square and VarGrad share the draws and the moments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from ...caches import Kept
from ...compiled.passes import fixed_shape, over_steps, spread, stacked
from ...inference.row_graphs import noisy
from ..options import option
from ..registry import Method

if TYPE_CHECKING:
    from ...attribution.problem import Problem
    from ...compiled.build import Build


@dataclass(frozen=True)
class Noisy(Method):
    """Options of the methods that look at noisy copies of the input."""

    samples: int = option(25, "Noisy copies of the input.", low=1, high=100_000)
    noise: float = option(0.15, "Standard deviation of the noise, as a part of the input's range.", low=0, high=10)
    seed: int = option(0, "Of the noise.", low=0)


def moments(
    problem: Problem, samples: int, noise: float, seed: int, square: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and, if `square`, mean square (R, ...) of the gradients at noisy copies of every row's input.

    Copy k has the noise of the generator (seed, k), whatever the batch, the number of samples and the target.
    """
    x = problem.x
    flat = x.reshape(len(x), -1).astype(np.float64)
    scale = (noise * (flat.max(axis=1) - flat.min(axis=1))).reshape(-1, *[1] * (x.ndim - 1)).astype(np.float32)
    made = _on_device(problem, scale, samples, seed, square)
    if made is not None:
        return made
    first, second = np.zeros(x.shape, np.float64), np.zeros(x.shape, np.float64)

    def noisy(numbers: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        # Copies of one row follow each other only within the same k: the noise of a k is drawn once per run.
        copy, row = np.divmod(numbers, len(x))
        drawn = {k: _draw(seed, k, x.shape[1:]) for k in np.unique(copy)}
        made = np.empty((len(numbers), *x.shape[1:]), np.result_type(x, np.float32))
        for number, (k, r) in enumerate(zip(copy, row, strict=True)):
            one = made[number, ...]  # of samples that are single numbers, an array, too
            np.multiply(drawn[k], scale[r], out=one)
            one += x[r]
        # A float16 model is differentiated in float32: its input need not be rounded.
        return (made if x.dtype == np.float16 else made.astype(x.dtype, copy=False)), row

    def add(numbers: NDArray[np.int64], gradients: NDArray[np.float32]) -> None:
        for one, row in zip(gradients, numbers % len(x), strict=True):
            first[row] += one
            if square:
                second[row] += np.square(one, dtype=np.float64)

    problem.gradients.generated(len(x) * samples, noisy, add)
    return (first / samples).astype(np.float32), (second / samples).astype(np.float32)


def _on_device(
    problem: Problem, scale: NDArray[np.float32], samples: int, seed: int, square: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """`moments` where the copies are made on a device, of the same noise; None where they are made on the host."""
    x = problem.x
    if x.dtype.kind != "f":
        return None

    def drawn(numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        copy, row = np.divmod(numbers, len(x))
        found, which = np.unique(copy, return_inverse=True)
        return row, which.reshape(-1).astype(np.int64), np.stack([_draw(seed, k, x.shape[1:]) for k in found])

    def place(numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        row = numbers % len(x)
        return row, row, np.ones(len(row))

    sums = problem.gradients.sums_on_device(
        len(x) * samples, len(x), lambda fed: noisy(x, scale, fed, drawn), place, square
    )
    if sums is None:
        return None
    means = [(one / samples).astype(np.float32) for one in sums]
    return means[0], means[-1]


def emit_moments(build: Build, samples: int, noise: float, seed: int, square: bool = False) -> tuple[str, str]:
    """`moments` in a graph, the noise as a constant: the mean (N, ...) of the gradients or their squares, and the
    gradients (N, S, ...) themselves."""
    op = build.op
    shape = fixed_shape(build)
    x = build.real(build.x)
    drawn = stacked(build, np.stack([_draw(seed, copy, shape) for copy in range(samples)]))
    scale = op.Unsqueeze(op.Cast(spread(build, x, noise), to=TensorProto.FLOAT), [1])
    gradients = over_steps(build, op.Add(op.Unsqueeze(x, [1]), op.Mul(drawn, scale)), samples)
    values = op.Mul(gradients, gradients) if square else gradients
    return op.ReduceMean(values, [1], keepdims=0), gradients


# Noise kept for the next image of the same size: of the first copies of samples that are not large, 32 MiB in all.
_COPIES_KEPT, _BYTES_KEPT = 32, 1 << 20
_drawn = Kept[tuple[int, int, tuple[int, ...]], NDArray[np.float32]](_COPIES_KEPT)


def _draw(seed: int, copy: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Of copy number `copy`, (...), read-only: every image of a shape gets the same."""

    def make() -> NDArray[np.float32]:
        noise = np.random.default_rng((seed, int(copy))).standard_normal(shape, np.float32)
        noise = np.asarray(noise)  # of samples that are single numbers, an array, too
        noise.flags.writeable = False
        return noise

    if copy >= _COPIES_KEPT or math.prod(shape) * 4 > _BYTES_KEPT:
        return make()
    return _drawn.get((seed, int(copy), shape), make)
