"""ROAD: what the score does as pixels are removed and imputed from their neighbours, so that no edge betrays them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu

from ...methods.options import option
from ..case import Case
from ..registry import Curve, Measured, Metric, Needs, metric

# A missing pixel's neighbours, (rows down, columns right), with their weights.
NEIGHBOURS = (
    *((step, 1 / 6) for step in ((0, 1), (0, -1), (1, 0), (-1, 0))),
    *((step, 1 / 12) for step in ((1, 1), (-1, 1), (1, -1), (-1, -1))),
)
_ORDERS = ("combined", "most", "least")


@metric("road")
@dataclass(frozen=True)
class Road(Metric):
    """How much more the probability falls without the most relevant pixels than without the least relevant ones.

    ROAD = mean over shares s of (p_least(s) - p_most(s)) / 2, with p_most(s) the class's probability after the share s
    of the most relevant pixels is imputed, p_least(s) after that of the least relevant. A removed pixel becomes the
    weighted mean of its eight neighbours (direct ones 1/6, diagonal ones 1/12), all of them solved for together, plus
    noise of 0.01 times the input's standard deviation. Order `most` gives the mean of p_most - p(x), `least` that of
    p_least - p(x).
    """

    order: str = option("combined", "Which pixels are removed first.", choices=_ORDERS)
    shares: tuple[float, ...] = option((0.2, 0.4, 0.6, 0.8), "Shares of the pixels that are removed.")
    noise: float = option(0.01, "Standard deviation of the noise, in parts of the input's own.", low=0)
    needs: ClassVar[Needs] = "runs"
    range: ClassVar[str] = "-0.5 to 0.5 (combined), -1 to 1"
    paper: ClassVar[str] = (
        'Y. Rong, T. Leemann, V. Borisov, G. Kasneci and E. Kasneci, "A Consistent and Efficient Evaluation Strategy '
        'for Attribution Methods", ICML 2022, section 4'
    )
    weakness: ClassVar[str] = "imputation cannot hide what large smooth regions show, and it is blind to texture"

    def __call__(self, case: Case) -> Measured:
        orders = ("most", "least") if self.order == "combined" else (self.order,)
        rows = [self._imputed(case, order) for order in orders]
        stack = np.concatenate(rows)
        p = case.probabilities(len(stack), lambda numbers: stack[numbers])
        parts = p.reshape(len(orders), -1)
        found = (parts[1] - parts[0]) / 2 if self.order == "combined" else parts[0] - case.probability
        return Measured(float(found.mean()), Curve(np.asarray(self.shares, np.float64), found))

    def _imputed(self, case: Case, order: str) -> NDArray[Any]:
        """(S, ...): the sample without each of the shares."""
        ranked = case.falling if order == "most" else case.falling[::-1]
        draw = case.generator()
        made = []
        for share in self.shares:
            hidden = np.zeros(ranked.size, np.bool_)
            hidden[ranked[: round(share * ranked.size)]] = True
            made.append(_filled(case, hidden.reshape(case.plane), self.noise, draw))
        return np.stack(made)


def _filled(case: Case, hidden: NDArray[np.bool_], noise: float, draw: np.random.Generator) -> NDArray[Any]:
    axes, x = case.problem.input.axes, case.sample
    assert axes is not None
    down, across = axes[0] - 1, axes[1] - 1
    planes = np.moveaxis(x, (down, across), (-2, -1)).astype(np.float64)
    filled = imputed(planes.reshape(-1, *case.plane), hidden)
    filled[:, hidden] += noise * float(x.std()) * draw.standard_normal((len(filled), int(hidden.sum())))
    result = np.moveaxis(filled.reshape(planes.shape), (-2, -1), (down, across))
    if x.dtype.kind in "iu":
        limits = np.iinfo(x.dtype)
        result = np.clip(np.rint(result), limits.min, limits.max)
    return np.asarray(result, x.dtype)


def imputed(planes: NDArray[np.float64], hidden: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(C, H, W) with its hidden pixels, bool (H, W), solved for: each the weighted mean of its neighbours inside.

    Where nothing is visible, the pixels are 0.
    """
    result = np.array(planes, np.float64)
    places = np.flatnonzero(hidden)
    if not len(places) or hidden.all():
        result[:, hidden] = 0
        return result
    height, width = hidden.shape
    number = np.full(hidden.size, -1)
    number[places] = np.arange(len(places))
    flat, y, x = planes.reshape(len(planes), -1), places // width, places % width
    inside_weight = np.zeros(len(places))
    known = np.zeros((len(places), len(planes)))
    rows, columns, weights = [], [], []
    for (dy, dx), weight in NEIGHBOURS:
        inside = (y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width)
        inside_weight += weight * inside
        of, near = np.flatnonzero(inside), places[inside] + dy * width + dx
        missing = number[near] >= 0
        known[of[~missing]] += weight * flat[:, near[~missing]].T
        rows.append(of[missing])
        columns.append(number[near[missing]])
        weights.append(np.full(int(missing.sum()), -weight))
    diagonal = np.arange(len(places))
    at = (np.concatenate([*rows, diagonal]), np.concatenate([*columns, diagonal]))
    system = coo_matrix((np.concatenate([*weights, inside_weight]), at), shape=(len(places),) * 2).tocsc()
    solved = splu(system, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve(known)
    result.reshape(len(planes), -1)[:, places] = solved.T
    return result
