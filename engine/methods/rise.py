"""RISE.

V. Petsiuk, A. Das and K. Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018,
section 3, equation 6:

    map(pixel) = 1 / (p * N) * sum over masks i of  score(input * mask_i) * mask_i(pixel)

with p the expected value of every pixel of a mask. It is the mean score of the inputs in which the pixel is seen. Where
a fill is given, input * mask + fill * (1 - mask) takes the place of input * mask.

How far the map is from what infinitely many masks would give is estimated from two halves, A of the even-numbered masks
and B of the odd-numbered ones: (A - B) / 2 has the same distribution as the error of their mean. Its standard deviation
over the pixels is what is reported: an error that is the same everywhere does not change the map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...kernels.masks import Rise as Masks
from ...kernels.masks import accumulate, apply
from ..attribution.advice import advised
from ..attribution.baselines import COLOUR, NAMES, baseline
from ..attribution.maps import GridMaps, Maps
from ..errors import MethodError
from ..inference.row_graphs import RowGraph
from ..inference.row_graphs import masked as masked_rows
from .options import option
from .registry import Method, Needs, method

if TYPE_CHECKING:
    from ..attribution.problem import Problem

# Masks between two looks at the halves; the sums are made in these steps, so that they do not depend on the batch.
BLOCK = 512


@method("rise")
@dataclass(frozen=True)
class Rise(Method):
    """The mean score of randomly masked inputs in which a pixel is seen. Needs no gradient.

    Runs the network once per mask, for all targets of a sample together. The values are the paper's, divided by the
    expected mask: around the mean score, larger where seeing a pixel raises the score. The heatmap shows them less that
    mean. `details` tells how far two halves of the masks agree: `half_correlation`, and `relative_error`, the standard
    deviation of the map's estimated error, in parts of the map's own. Where the mean score is large compared with its
    changes, `centre` reaches the same error with a fraction of the masks.
    """

    masks: int = option(4000, "Masked inputs, at most.", low=1, high=10_000_000)
    cells: int = option(7, "Cells of a mask along each side.", low=1, high=1024)
    probability: float = option(0.5, "Of a cell to be seen.", low=0.01, high=0.99)
    fill: str | float | np.ndarray = option(  # noqa: RUF009
        "zero", "What stands in for what a mask hides.", choices=(*NAMES, COLOUR)
    )
    centre: bool = option(
        False, "Weigh masks with the score less its mean: less noise, the same map for many masks; not in the paper."
    )
    tolerance: float | None = option(None, "Stop when the estimated relative error is below.", low=0)
    seed: int = option(0, "Of the masks, and of the fill `noise`.", low=0)
    needs: ClassVar[Needs] = "forward"

    def __call__(self, problem: Problem) -> Maps:
        plane = problem.input.plane
        if plane is None:
            remedy = advised(problem, ("kernel-shap", "lime", "ablation"))
            raise MethodError(f"{self.name} masks images and the input is none: use {remedy}")
        if problem.input.x.dtype.kind not in "fiu":
            raise MethodError(
                f"{self.name} masks numbers and the input holds {problem.input.x.dtype}: use ablation or lime"
            )
        masks = Masks(plane, self.cells, self.probability, self.seed)
        fills = baseline(problem, self.fill, self.seed)
        if not np.isfinite(problem.scores).all():
            raise MethodError(f"the score is not a finite number: {problem.why_not_finite()}")
        sums = [self._sample(problem, sample, masks, fill) for sample, fill in enumerate(fills)]
        values = np.concatenate([s.map() for s in sums])
        means = np.concatenate([s.mean() for s in sums])
        details = [detail for s in sums for detail in self._details(s)]
        return GridMaps(
            values.astype(np.float32),
            plane=(values - means[:, None, None]).astype(np.float32),
            details=tuple(details),
            warnings=tuple(self._warning(detail) for detail in details),
        )

    def scores(
        self,
        problem: Problem,
        count: int,
        masked: Callable[[NDArray[np.int64]], NDArray[Any]],
        sample: int,
        progress: Callable[[int], None],
        graph: Callable[[], RowGraph],
    ) -> NDArray[np.float64]:
        """(count, K): what each masked form of a sample is worth for its K targets. graph: what makes them
        on a device."""
        return problem.runs.scores_generated(count, masked, sample, progress, graph)

    def _sample(self, problem: Problem, sample: int, masks: Masks, fill: NDArray[Any]) -> Halves:
        """The sums over the masks of one sample, for all its targets."""
        planar, tell = problem.input.planar, problem.runtime.progress
        assert planar is not None
        x = np.ascontiguousarray(problem.input.x[sample])
        behind = np.ascontiguousarray(fill).reshape(planar) if fill.any() else None
        halves = Halves(problem.target.count, masks, self.centre)
        done, total = sample * self.masks, len(problem.input.x) * self.masks

        def progress(more: int) -> None:
            nonlocal done
            done += more
            if tell is not None:
                tell(done, total)

        for first in range(0, self.masks, BLOCK):
            grids, shifts = masks.draw(first, min(BLOCK, self.masks - first))

            def masked(
                numbers: NDArray[np.int64], grids: NDArray[np.float32] = grids, shifts: NDArray[np.int64] = shifts
            ) -> NDArray[Any]:
                out = np.empty((len(numbers), *x.shape), x.dtype)
                copies = out.reshape(len(numbers), *planar)
                apply(
                    copies,
                    x.reshape(planar),
                    behind,
                    grids[numbers],
                    enlarged=masks.enlarged,
                    shifts=shifts[numbers],
                )
                return out

            def graph(grids: NDArray[np.float32] = grids, shifts: NDArray[np.int64] = shifts) -> RowGraph:
                return masked_rows(x, planar, behind, lambda n: (grids[n], shifts[n]), masks.enlarged)

            scores = self.scores(problem, len(grids), masked, sample, progress, graph)
            broken = int((~np.isfinite(scores)).any(axis=1).sum())
            if broken:
                raise MethodError(
                    f"the score is not a finite number for {broken} of {len(scores)} masked inputs: use another fill"
                )
            halves.add(grids, shifts, scores)
            if self.tolerance is not None and all(e is not None and e <= self.tolerance for e in halves.errors()):
                break
        if tell is not None and done < (sample + 1) * self.masks:
            tell((sample + 1) * self.masks, total)
        return halves

    def _details(self, halves: Halves) -> list[dict[str, Any]]:
        found = zip(halves.mean(), halves.errors(), halves.correlations(), strict=True)
        return [
            {
                "masks": halves.count,
                "mean_score": float(mean),
                "relative_error": error,
                "half_correlation": correlation,
            }
            for mean, error, correlation in found
        ]

    def _warning(self, detail: dict[str, Any]) -> tuple[str, ...]:
        error = detail["relative_error"]
        if self.tolerance is None or (error is not None and error <= self.tolerance):
            return ()
        progress = "unknown" if error is None else f"{error:.2g}"
        return (
            f"the map is not stable after {detail['masks']} masks: its relative error is {progress}; use more masks",
        )


class Halves:
    """Sums over the even- and the odd-numbered masks, for K targets.

    `scored[h]` (K, H, W) sums score * mask, `seen[h]` (1, H, W) the masks (only if the scores are to be centred),
    `scores[h]` (K,) the scores, `counts[h]` the masks of half h.
    """

    def __init__(self, targets: int, masks: Masks, centred: bool) -> None:
        self.masks, self.centred = masks, centred
        self.scored = np.zeros((2, targets, *masks.size))
        self.seen = np.zeros((2, 1, *masks.size)) if centred else None
        self.scores = np.zeros((2, targets))
        self.counts = np.zeros(2, np.int64)

    @property
    def count(self) -> int:
        return int(self.counts.sum())

    def add(self, grids: NDArray[np.float32], shifts: NDArray[np.int64], scores: NDArray[np.float64]) -> None:
        """Masks and their scores (B, K); each call begins with an even-numbered mask."""
        for half in range(2):
            some, at = np.ascontiguousarray(grids[half::2]), np.ascontiguousarray(shifts[half::2])
            weights = scores[half::2]
            accumulate(self.scored[half], some, weights.T, enlarged=self.masks.enlarged, shifts=at)
            if self.seen is not None:
                accumulate(self.seen[half], some, np.ones((1, len(some))), enlarged=self.masks.enlarged, shifts=at)
            self.scores[half] += weights.sum(axis=0)
            self.counts[half] += len(some)

    def mean(self) -> NDArray[np.float64]:
        """(K,): the mean score of the masked inputs."""
        return np.asarray(self.scores.sum(axis=0) / self.count)

    def map(self) -> NDArray[np.float64]:
        """(K, H, W): of all masks."""
        seen = None if self.seen is None else self.seen.sum(axis=0)
        return self._map(self.scored.sum(axis=0), seen, self.mean(), self.count)

    def _map(
        self, scored: NDArray[np.float64], seen: NDArray[np.float64] | None, mean: NDArray[np.float64], count: int
    ) -> NDArray[np.float64]:
        expected = self.masks.probability * count
        if seen is None:
            return np.asarray(scored / expected)
        mean = mean[:, None, None]
        return np.asarray((scored - mean * seen) / expected + mean)

    def _halves(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(K, H * W) of each half."""
        first, second = (
            self._map(
                self.scored[h],
                None if self.seen is None else self.seen[h],
                self.scores[h] / self.counts[h],
                int(self.counts[h]),
            ).reshape(len(self.scores[h]), -1)
            for h in range(2)
        )
        return first, second

    def errors(self) -> list[float | None]:
        """For each target: the estimated error of the map, in parts of its standard deviation; None for one mask."""
        if not self.counts.all():
            return [None] * self.scores.shape[1]
        found: list[float | None] = []
        for a, b in zip(*self._halves(), strict=True):
            error, spread = float(np.std((a - b) / 2)), float(np.std((a + b) / 2))
            found.append(error / spread if spread > 0 else 0.0 if error == 0 else None)
        return found

    def correlations(self) -> list[float | None]:
        """For each target: of the two halves, over the pixels; None where one of them is the same everywhere."""
        if not self.counts.all():
            return [None] * self.scores.shape[1]
        found: list[float | None] = []
        for a, b in zip(*self._halves(), strict=True):
            a, b = a - a.mean(), b - b.mean()
            # Not a @ b: threads of BLAS that wait for one another take longer on a busy machine than the sums.
            scale = float(np.sqrt(np.sum(a * a) * np.sum(b * b)))
            found.append(float(np.sum(a * b)) / scale if scale > 0 else None)
        return found
