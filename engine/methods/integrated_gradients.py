"""Integrated gradients.

M. Sundararajan, A. Taly and Q. Yan, "Axiomatic Attribution for Deep Networks", ICML 2017, section 3:

    attribution_i = (x_i - b_i) * integral over a in [0, 1] of  d score / d x_i  at  b + a (x - b)

summed up, score(x) - score(b) ("completeness"). How far the sum is from that measures the error of the quadrature.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..attribution.baselines import NAMES, background_rows, baseline
from ..attribution.maps import InputMaps, Maps
from ..compiled.emitted import Emitted, EmittedInput
from ..compiled.passes import baseline as emit_baseline
from ..compiled.passes import over_steps, stacked, weighted_sum
from ..errors import MethodError
from ..inference.row_graphs import interpolated
from .options import option
from .registry import Method, method

if TYPE_CHECKING:
    from ..attribution.problem import Problem
    from ..compiled.build import Build

RULES = ("gauss-legendre", "riemann-middle", "riemann-trapezoid")
# A relative completeness error above this is worth a warning.
WORTH_WARNING = 0.05


@method("integrated-gradients", "ig")
@dataclass(frozen=True)
class IntegratedGradients(Method):
    """The gradient averaged along the way from a baseline to the input, times their difference.

    The attributions add up to the score minus the baseline's; by how much they miss it is the completeness error,
    reported in `details`. With `tolerance`, the number of steps is doubled until the relative error is below it.
    """

    steps: int = option(50, "Points on the way from the baseline to the input.", low=1, high=100_000)
    baseline: str | float | np.ndarray = option("zero", "What the input is compared with.", choices=NAMES)  # noqa: RUF009
    background: np.ndarray | None = option(  # noqa: RUF009
        None, "Samples of the data (rows, ...) as baselines, the mean over which is taken (expected gradients)."
    )
    background_rows: int = option(100, "Rows of the background at most, chosen by the seed.", low=1, high=1_000_000)
    rule: str = option("gauss-legendre", "Quadrature along the way.", choices=RULES)
    tolerance: float | None = option(None, "Double the steps until the relative completeness error is below.", low=0)
    max_steps: int = option(1600, "The most steps that `tolerance` may lead to.", low=1, high=100_000)
    seed: int = option(0, "Of the baseline `noise`.", low=0)

    def idle(self) -> Mapping[str, str]:
        rows = {"background_rows": "a background"} if self.background is None else {}
        return rows if self.tolerance is not None else {"max_steps": "a tolerance", **rows}

    def __call__(self, problem: Problem) -> Maps:
        if self.background is None:
            return self._from(problem, baseline(problem, self.baseline, self.seed)[problem.sample])
        if not isinstance(self.baseline, str) or self.baseline != "zero":
            raise MethodError("background rows are the baselines, so that baseline has no effect: leave one out")
        rows = background_rows(problem, self.background, self.background_rows, self.seed)
        return _mean([self._from(problem, np.broadcast_to(row, problem.x.shape)) for row in rows])

    def _from(self, problem: Problem, base: NDArray[Any]) -> InputMaps:
        """base: (R, ...)."""
        difference = (problem.x.astype(np.float64) - base).astype(np.float32)
        rows = np.arange(problem.rows)
        expected = problem.scores - problem.runs.scores_at(base, rows)
        steps = self.steps
        values = difference * average_gradient(problem, base, rows, *quadrature(self.rule, steps))
        error = _error(values, expected)
        used = np.full(len(rows), steps)
        while self.tolerance is not None and steps < self.max_steps and (error > self.tolerance).any():
            steps = min(2 * steps, self.max_steps)
            again = np.flatnonzero(error > self.tolerance)
            mean = average_gradient(problem, base, again, *quadrature(self.rule, steps))
            values[again] = difference[again] * mean
            used[again] = steps
            error = _error(values, expected)
        details, warnings = [], []
        for row in rows:
            details.append(
                {
                    "completeness_error": float(values[row].sum(dtype=np.float64) - expected[row]),
                    "completeness_relative_error": float(error[row]),
                    "score_difference": float(expected[row]),
                    "steps": int(used[row]),
                }
            )
            warnings.append(self._warning(float(error[row]), int(used[row])))
        return InputMaps(values, reduce="sum", details=tuple(details), warnings=tuple(warnings))

    def emit(self, build: Build) -> Emitted:
        if self.background is not None:
            raise MethodError("in a graph there is one baseline: leave `background` out, choose `baseline`")
        if self.tolerance is not None:
            raise MethodError("in a graph the number of steps is fixed: leave `tolerance` out, choose `steps`")
        points, weights = quadrature(self.rule, self.steps)
        op = build.op
        x, base = build.real(build.x), emit_baseline(build, self.baseline, self.seed)
        difference = op.Sub(x, base)
        at = stacked(build, points.astype(np.float32).reshape(-1, *[1] * (op.rank(x) - 1)))
        between = op.Add(op.Unsqueeze(base, [1]), op.Mul(at, op.Unsqueeze(difference, [1])))
        mean = weighted_sum(build, over_steps(build, between, self.steps), weights)
        return EmittedInput(op.Mul(difference, mean), reduce="sum")

    def _warning(self, error: float, steps: int) -> tuple[str, ...]:
        if error <= (WORTH_WARNING if self.tolerance is None else self.tolerance):
            return ()
        return (f"the attributions miss the score's difference by {error:.1%} with {steps} steps: take more steps",)


def _mean(found: list[InputMaps]) -> InputMaps:
    """Of the maps from every row of a background: values and numbers averaged, the most steps, each warning once."""
    values = np.zeros(found[0].values.shape, np.float64)
    for maps in found:
        values += maps.values
    details = []
    for each in zip(*(maps.details for maps in found), strict=True):
        means = {key: float(np.mean([d[key] for d in each])) for key in each[0]}
        details.append({**means, "steps": max(int(d["steps"]) for d in each), "background_rows": len(found)})
    warnings = [
        tuple(dict.fromkeys(t for texts in each for t in texts))
        for each in zip(*(m.warnings for m in found), strict=True)
    ]
    made = (values / len(found)).astype(np.float32)
    return replace(found[0], values=made, details=tuple(details), warnings=tuple(warnings))


def quadrature(rule: str, steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points in [0, 1] and their weights, which add up to 1."""
    if rule == "gauss-legendre":
        points, weights = np.polynomial.legendre.leggauss(steps)
        return (points + 1) / 2, weights / 2
    if rule == "riemann-middle" or steps == 1:
        return (np.arange(steps) + 0.5) / steps, np.full(steps, 1 / steps)
    weights = np.full(steps, 1 / (steps - 1))
    weights[[0, -1]] /= 2
    return np.linspace(0, 1, steps), weights


def average_gradient(
    problem: Problem,
    base: NDArray[np.float32],
    rows: NDArray[np.int64],
    points: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> NDArray[np.float32]:
    """The weighted mean (R', ...) of the gradients at base + point * (x - base), for the given rows of the problem.

    base: (R, ...) of all rows.
    """
    x = problem.x[rows]
    difference = x - base[rows]
    total = np.zeros(x.shape, np.float64)
    if problem.gradients.by_one_forward and len(rows) == problem.rows:
        _by_one_forward(problem, base, points, weights, total)
        return total.astype(np.float32)
    made = _on_device(problem, base[rows], difference, rows, points, weights)
    if made is not None:
        return made.astype(np.float32)

    def between(numbers: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        row, step = np.divmod(numbers, len(points))
        made = np.empty((len(numbers), *x.shape[1:]), np.result_type(x, np.float32))
        for number, (r, at) in enumerate(zip(row, points[step].astype(np.float32), strict=True)):
            one = made[number, ...]  # of samples that are single numbers, an array, too
            np.multiply(difference[r], at, out=one)
            one += base[rows[r]]
        return made.astype(x.dtype, copy=False), rows[row]

    def add(numbers: NDArray[np.int64], gradients: NDArray[np.float32]) -> None:
        for one, number in zip(gradients, numbers, strict=True):
            row, step = divmod(int(number), len(points))
            total[row] += np.multiply(one, weights[step], dtype=np.float64)

    problem.gradients.generated(len(rows) * len(points), between, add)
    return total.astype(np.float32)


def _on_device(
    problem: Problem,
    base: NDArray[Any],
    difference: NDArray[Any],
    rows: NDArray[np.int64],
    points: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> NDArray[np.float64] | None:
    """The weighted sums (R', ...) where the points are made on a device; None where they are made on the host."""
    if problem.x.dtype.kind != "f":
        return None

    def at(numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        row, step = np.divmod(numbers, len(points))
        return row, points[step].astype(np.float32)

    def place(numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        row, step = np.divmod(numbers, len(points))
        return row, rows[row], weights[step]

    sums = problem.gradients.sums_on_device(
        len(rows) * len(points), len(rows), lambda fed: interpolated(base, difference, fed, at), place
    )
    return None if sums is None else sums[0]


def _by_one_forward(
    problem: Problem,
    base: NDArray[np.float32],
    points: NDArray[np.float64],
    weights: NDArray[np.float64],
    total: NDArray[np.float64],
) -> None:
    """The weighted sums put into `total` (R, ...), for all targets of one sample, which have the same way."""
    x = problem.x[:1]
    difference, start = x - base[:1], base[:1]

    def between(numbers: NDArray[np.int64]) -> NDArray[Any]:
        at = points[numbers].astype(np.float32).reshape(-1, *[1] * (x.ndim - 1))
        made: NDArray[Any] = difference * at + start
        return made.astype(x.dtype, copy=False)

    def add(numbers: NDArray[np.int64], row: int, gradients: NDArray[np.float32]) -> None:
        for one, number in zip(gradients, numbers, strict=True):
            total[row] += np.multiply(one, weights[number], dtype=np.float64)

    problem.gradients.generated_by_one_forward(len(points), between, add)


def _error(values: NDArray[np.float32], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """The completeness error of every row, relative to the difference of the scores."""
    missed = np.abs(values.reshape(len(values), -1).sum(axis=1, dtype=np.float64) - expected)
    return np.asarray(missed / np.maximum(np.abs(expected), 1e-12))
