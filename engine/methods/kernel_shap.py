"""Kernel SHAP.

S. M. Lundberg and S.-I. Lee, "A Unified Approach to Interpreting Model Predictions", NeurIPS 2017, section 4.1,
theorem 2: the Shapley values are the solution of

    minimise  sum over coalitions z, neither empty nor whole, of  pi(z) * (score(z) - score(nothing) - values . z)^2
    pi(z) = (F - 1) / (binomial(F, |z|) * |z| * (F - |z|)),     subject to   sum of values = score(all) - score(nothing)

Coalitions come in pairs, z and its complement (I. Covert and S.-I. Lee, "Improving KernelSHAP: Practical Shapley Value
Estimation Using Linear Regression", AISTATS 2021, section 4.2). Sizes whose coalitions all fit among the samples are
taken whole, the smallest and largest first; the others are drawn with the probability pi gives them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ..attribution.coalitions import Coalitions, check_count, check_size, fit_quality
from ..errors import MethodError
from .families.perturbation import Perturbation, SampleAnswer
from .options import option
from .registry import method

# All coalitions of more features are more than `samples` may ask for.
_MOST_EXACT = 20


@method("kernel-shap", "shap")
@dataclass(frozen=True)
class KernelShap(Perturbation):
    """Shapley values of the features: their shares of the score's difference to the input with everything hidden.

    The values add up to that difference exactly. With as many samples as coalitions (2 to the number of features, less
    2) they are the Shapley values; with fewer an estimate, whose standard errors are in `details`. Needs no gradient.
    """

    samples: int | None = option(None, "Coalitions to run; default: 2048 and two per feature.", low=1, high=1_000_000)

    def explain_sample(self, coalitions: Coalitions) -> list[SampleAnswer]:
        features = coalitions.features
        check_count("kernel-shap", features)
        count = len(features)
        samples = self.samples if self.samples is not None else 2 * count + 2048
        check_size(samples, count)
        design = plan(count, samples, self.seed)
        scores = coalitions.scores(np.concatenate([np.zeros((1, count), bool), design.keep]))
        nothing, total = scores[0], coalitions.clean - scores[0]
        z = design.keep.astype(np.float64)
        answers = []
        for y, n, t in zip((scores[1:] - nothing).T, nothing, total, strict=True):
            values, errors = solve(z, y, float(t), design)
            r2 = fit_quality(y, z @ values, design.weights) if len(y) else 1.0
            missed = float(values.sum() - t)
            details = _details(r2, n, missed, errors, len(z) + 1, design.exact)
            answers.append(SampleAnswer(values, details))
        return answers


def _details(
    r2: float, nothing: float, missed: float, errors: NDArray[np.float64], runs: int, exact: bool
) -> dict[str, object]:
    return {
        "r2": r2,
        "baseline_score": float(nothing),
        "completeness_error": missed,
        "standard_errors": tuple((errors * (not exact)).tolist()),
        "exact": exact,
        "runs": runs,
    }


@dataclass(frozen=True)
class Design:
    """Which coalitions are run. keep: bool (B, F); weights: (B,) in the regression.

    drawn: the number (B,) of the draw that a coalition comes from, a pair having one number; -1 where its size is taken
    whole. exact: whether they are all there are.
    """

    keep: NDArray[np.bool_]
    weights: NDArray[np.float64]
    drawn: NDArray[np.int64]
    exact: bool


def plan(features: int, samples: int, seed: int) -> Design:
    """The coalitions of so many features, all but the empty and the whole one, or about `samples` of them.

    Raises MethodError for fewer samples than two per feature: they would not determine the values.
    """
    if features <= _MOST_EXACT and 2**features - 2 <= samples:
        every = (np.arange(1, 2**features - 1)[:, None] >> np.arange(features)) & 1
        each = np.array([0.0, *(shapley_kernel(features, size) for size in range(1, features))])
        return Design(every.astype(bool), each[every.sum(axis=1)], np.full(len(every), -1), True)
    if samples < 2 * features:
        raise MethodError(
            f"kernel-shap cannot tell {features} features apart with {samples} samples: take at least {2 * features}, "
            "or fewer segments"
        )
    # Sizes k and F - k go together; their part of all weight: sum of pi over the coalitions of such sizes.
    sizes = list(range(1, features // 2 + 1))
    mass = {k: (features - 1) / (k * (features - k)) * (1 if 2 * k == features else 2) for k in sizes}
    keep: list[NDArray[np.bool_]] = []
    weights: list[float] = []
    left = samples
    while sizes:
        k = sizes[0]
        many = math.comb(features, k) * (1 if 2 * k == features else 2)
        fair = left * mass[k] / sum(mass[size] for size in sizes)
        if k > 1 and many > fair:
            break
        for chosen in combinations(range(features), k):
            row = np.zeros(features, bool)
            row[list(chosen)] = True
            keep += [row] if 2 * k == features else [row, ~row]
        weights += [shapley_kernel(features, k)] * many
        left -= many
        sizes.pop(0)
    whole = len(keep)
    drawn = [-1] * whole
    pairs = left // 2
    if sizes and pairs:
        rest = np.array([mass[size] for size in sizes])
        for number, row in enumerate(_draw(features, sizes, rest / rest.sum(), pairs, seed)):
            keep += [row, ~row]
            weights += [float(rest.sum()) / (2 * pairs)] * 2
            drawn += [number] * 2
    return Design(np.array(keep), np.array(weights), np.array(drawn), False)


def _draw(
    features: int, sizes: list[int], shares: NDArray[np.float64], pairs: int, seed: int
) -> Iterator[NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    for size in rng.choice(sizes, pairs, p=shares):
        row = np.zeros(features, bool)
        row[rng.choice(features, size, replace=False)] = True
        yield row


def shapley_kernel(features: int, size: int) -> float:
    """pi of a coalition of `size` of `features` features."""
    return (features - 1) / (math.comb(features, size) * size * (features - size))


def solve(
    z: NDArray[np.float64], y: NDArray[np.float64], total: float, design: Design
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The values (F,) that fit y (B,), scores above the one of nothing, and add up to `total`; their standard errors.

    The constraint is put in: the last value is `total` minus the others. The errors are those of the draws, to first
    order: what the values would vary by with another seed. Raises MethodError where the design is singular.
    """
    x, target = z[:, :-1] - z[:, -1:], y - z[:, -1] * total
    weights = design.weights
    matrix = x.T @ (weights[:, None] * x)
    try:
        values = np.linalg.solve(matrix, x.T @ (weights * target))
    except np.linalg.LinAlgError:
        raise MethodError(f"{len(z)} coalitions do not determine {z.shape[1]} values: take more samples") from None
    values = np.append(values, total - values.sum())
    errors = np.zeros(len(values))
    draws = int(design.drawn.max(initial=-1)) + 1
    if draws > 1:
        random = design.drawn >= 0
        slopes = (weights * (target - x @ values[:-1]))[random, None] * x[random]
        slopes = slopes[0::2] + slopes[1::2]
        moved = np.linalg.solve(matrix, (slopes - slopes.mean(axis=0)).T)
        moved = np.vstack([moved, -moved.sum(axis=0)])
        errors = np.sqrt((moved**2).sum(axis=1) * draws / (draws - 1))
    return values, errors
