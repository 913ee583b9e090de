"""Exact Shapley values of trees and of linear models, column by column.

S. M. Lundberg et al., "From local explanations to global understanding with explainable AI for trees", Nature Machine
Intelligence 2, 2020 (interventional TreeSHAP); of a linear model w . x the value of a column is w (x - mean of the
background) (E. Strumbelj and I. Kononenko, "Explaining prediction models and individual predictions with feature
contributions", Knowledge and Information Systems 41, 2014, section 3).

A split on what an encoder or a scaler makes of a column belongs to that column: the features that are made of one
column are one player, so that the values are those of the table as it is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...kernels.trees import Nodes, places, shapley
from ..attribution.baselines import background_rows
from ..attribution.gradient_graphs import exposed_at
from ..attribution.maps import InputMaps, Maps
from ..errors import GradientError, MethodError
from ..tables.additive import Parts, no_sum, parts_of, transforms
from ..tables.ensembles import Ensemble, ensemble_of, output_of
from ..tables.origins import origins_of
from ..targets.resolved import ClassTarget, score
from .options import option
from .registry import Method, Needs, method

if TYPE_CHECKING:
    from ..attribution.problem import Problem

# The difference between the score and the sum of the values, as a share of the largest of them, that rounding explains.
_ROUNDING = 1e-3


@method("tree-shap", "linear-shap", "tree-explainer")
@dataclass(frozen=True)
class TreeShap(Method):
    """Exact Shapley values of decision trees and linear models, for the columns of a table as it is given.

    For scores that are sums of trees of ai.onnx.ml and of numbers times weights, behind any encoders and scalers that
    make their features of one column each. What is hidden takes the values of the rows of `background`, one after the
    other. Probabilities of a sigmoid or softmax are explained by the score before it. Needs no gradient.
    """

    needs: ClassVar[Needs] = "forward"

    background: np.ndarray | None = option(  # noqa: RUF009
        None, "Rows of the data (rows, columns) that give the values of hidden columns; of a table, its own rows."
    )
    background_rows: int = option(100, "Rows of the background at most, chosen by the seed.", low=1, high=1_000_000)
    seed: int = option(0, "Of the choice of rows.", low=0)

    def question(self, problem: Problem) -> Problem:
        """The problem of the scores before the sigmoid or softmax. Raises MethodError for a probability by name."""
        target = problem.target
        if not transforms(problem.source, *problem.probabilities[:2]):
            return problem
        if isinstance(target, ClassTarget) and target.scale == "prob":
            raise no_sum("a probability is no sum of trees: leave prob: out to explain the score before it, or")
        return problem.by_margins()

    def __call__(self, problem: Problem) -> Maps:
        if self.background is None:
            raise MethodError(
                "tree-shap compares with rows of the data: give background=, (rows, columns), or a table of several"
            )
        rows = background_rows(problem, self.background, self.background_rows, self.seed)
        values, base = _values(problem, rows)
        scores = problem.scores
        missed = values.sum(axis=1) - (scores - base)
        details = [
            {"baseline_score": float(b), "completeness_error": float(m), "exact": True, "background_rows": len(rows)}
            for b, m in zip(base, missed, strict=True)
        ]
        sizes = np.abs(values).sum(axis=1)
        for m, s, b, size in zip(missed, scores, base, sizes, strict=True):
            _check_complete(float(m), float(s), float(b), float(size))
        return InputMaps(values.astype(np.float32), reduce="sum", details=tuple(details))


def _check_complete(missed: float, score: float, base: float, size: float) -> None:
    """Raises NoSum for values whose sum is not the score's difference, but for rounding. size: of all values."""
    if not abs(missed) <= _ROUNDING * max(abs(score), abs(base), abs(score - base), size, 1e-6):
        raise no_sum(f"the values miss the score's difference by {missed:.3g}, so the score is not the sum found")


def _values(problem: Problem, rows: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values (R, columns), and the mean score (R,) of the background for the target of every row."""
    x, model = problem.input.x, problem.model
    if x.ndim != 2:
        raise no_sum(f"samples of {list(x.shape[1:])} are no rows of a table")
    columns = x.shape[1]
    made = _origins(problem, rows)
    parts = parts_of(model, problem.target.of, made)
    if not parts.outputs:
        raise no_sum(f"the value {problem.target.of!r} does not depend on the table")
    _check_apart(problem, parts)
    ensembles = [ensemble_of(model, output_of(node)) for node in parts.trees]
    wanted = list(dict.fromkeys([*(e.data for e in ensembles), *parts.numbers, problem.target.of]))
    seen, hidden = _run(problem, wanted, x), _run(problem, wanted, rows)
    weights = _weights(problem, parts)
    result = np.zeros((problem.rows, columns))
    for ensemble in ensembles:
        origins = _players(problem, made[ensemble.data], _used(ensemble.nodes), columns)
        given, behind = (_as_read(v[ensemble.data]) for v in (seen, hidden))
        result += _of_trees(problem, ensemble, origins, given, behind, weights[ensemble.output], columns)
    for name in parts.numbers:
        w = weights[name].reshape(problem.rows, -1)
        origins = _players(problem, made[name], (w != 0).any(axis=0), columns)
        given = seen[name].reshape(len(x), -1).astype(np.float64)
        moved = w * (given - hidden[name].reshape(len(rows), -1).astype(np.float64).mean(axis=0))[problem.sample]
        for player in range(columns):
            result[:, player] += moved[:, origins == player].sum(axis=1)
    of, cotangents = hidden[problem.target.of], problem.cotangents
    base = [float(score(of, cotangents, np.full(len(of), row)).mean()) for row in range(problem.rows)]
    return result, np.array(base)


def _check_apart(problem: Problem, parts: Parts) -> None:
    """Raises NoSum where one part is computed from another: the score's slope by the first has both in it. Trees are
    no such parts: their slope by what they read is zero."""
    for name in parts.numbers:
        inside = problem.model.ancestors(name) & set(parts.outputs) - {name}
        if inside:
            raise no_sum(f"{name!r}, a part of the sum, is computed from another part, {min(inside)!r}")


def _run(problem: Problem, names: list[str], rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Values (N, ...) of the model for rows of the table."""
    own = [name for name in names if name != problem.input.name]
    found = {problem.input.name: rows} if len(own) < len(names) else {}
    if not own:
        return found
    alike = problem.input.split_others(problem.model)[0]
    if alike:
        raise no_sum(f"the inputs {', '.join(alike)} have rows of their own")
    return found | problem.runs.run(exposed_at(problem.model, tuple(own)), {problem.input.name: rows}, own)


def _weights(problem: Problem, parts: Parts) -> dict[str, NDArray[np.float64]]:
    """The score's slope (R, ...) by each of the values that it is a sum of. Raises MethodError."""
    own = problem.target.of
    others = [name for name in parts.outputs if name != own]
    try:
        found = {name: w.astype(np.float64) for name, w in problem.gradients.by(others).items()} if others else {}
    except GradientError as error:
        raise no_sum(f"the weights of its parts cannot be found ({error})") from error
    return {**found, own: problem.cotangents.astype(np.float64)}


def _origins(problem: Problem, rows: NDArray[Any]) -> dict[str, NDArray[np.bool_]]:
    """Of each value before the target: bool (numbers, columns), the columns that its numbers are made of."""
    model, table, of = problem.model, problem.input.name, problem.target.of
    between = [n for n in sorted(model.ancestors(of) | {of}) if n != table and model.producer(n) is not None]
    few = rows[np.arange(7) % len(rows)]  # seven: a number that no other axis is likely to have
    values = {table: few, **(_run(problem, between, few) if between else {})}
    return origins_of(model, of, table, rows.shape[1], values)


def _players(problem: Problem, made: NDArray[np.bool_], used: NDArray[np.bool_], columns: int) -> NDArray[np.int32]:
    """(numbers,): the column of each number, 0 of constants. Raises MethodError where one that is used has several."""
    made = made.reshape(-1, columns)
    asked = np.flatnonzero(used)
    mixed = asked[made[asked].sum(axis=1) > 1]
    if len(mixed):
        names = problem.input.columns or [str(i) for i in range(columns)]
        listed = ", ".join(str(names[c]) for c in np.flatnonzero(made[mixed[0]])[:4])
        raise no_sum(f"feature {mixed[0]} is made of several columns together ({listed}, ...)")
    return np.asarray(made.argmax(axis=1), np.int32)


def _used(nodes: Nodes) -> NDArray[np.bool_]:
    """Which features the trees ask for."""
    asked = nodes.feature[nodes.feature >= 0]
    found = np.zeros(int(asked.max(initial=-1)) + 1, bool)
    found[asked] = True
    return found


def _as_read(values: NDArray[Any]) -> NDArray[np.float64]:
    """Features as the trees compare them: whole numbers in single precision."""
    flat = values.reshape(len(values), -1)
    return (flat.astype(np.float32) if flat.dtype.kind in "iub" else flat).astype(np.float64)


def _of_trees(
    problem: Problem,
    ensemble: Ensemble,
    origins: NDArray[np.int32],
    given: NDArray[np.float64],
    hidden: NDArray[np.float64],
    weights: NDArray[np.float64],
    columns: int,
) -> NDArray[np.float64]:
    """Values (R, columns) of an ensemble whose outputs the score weighs by `weights` (R, outputs)."""
    try:
        where = places(ensemble.nodes, origins)
    except ValueError as error:
        raise no_sum(str(error)) from None
    result = np.zeros((problem.rows, columns))
    flat = weights.reshape(problem.rows, -1)
    kinds, kind = np.unique(flat, axis=0, return_inverse=True)
    for number, w in enumerate(kinds):
        rows = np.flatnonzero(kind.reshape(-1) == number)
        leaves = np.ascontiguousarray(ensemble.weights @ w)
        x = given[problem.sample[rows]]
        result[rows] = shapley(ensemble.nodes, where, leaves, x, hidden, columns, problem.runtime.threads)
    return result
