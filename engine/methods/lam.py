"""Local attribution maps.

J. Gu and C. Dong, "Interpreting Super-Resolution Networks with Local Attribution Maps", CVPR 2021, section 3: the
gradient, integrated along the way from a blurred image to the sharp one, gamma(0) to gamma(1) with a Gaussian whose
width falls to 0:

    map = integral over a of  gradient(gamma(a)) * d gamma(a) / da

as the authors' implementation takes it: the sum over steps i of gradient(gamma_i) * (gamma_i - gamma_(i-1)). The
paper's target is how much detail a patch of the output holds, `mean:|gradient|:Y0,X0,Y1,X1`. Its diffusion index says
how widely the pixels lie that matter: 100 * (1 - Gini coefficient of the map's magnitudes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..attribution.advice import advised
from ..attribution.maps import InputMaps, Maps
from ..errors import MethodError
from .options import option
from .registry import Method, method

if TYPE_CHECKING:
    from ..attribution.problem import Problem


@method("lam", "local-attribution-map")
@dataclass(frozen=True)
class LocalAttributionMap(Method):
    """The gradient along the way from the blurred image to the sharp one: which pixels a super-resolution network uses.

    For targets such as `mean:|gradient|:Y0,X0,Y1,X1`, the detail of a patch of the output. What is smooth has no part
    in it. `details` has the `diffusion_index`, 0 to 100: the larger, the more pixels take part.
    """

    steps: int = option(50, "Points on the way from the blurred image to the sharp one.", low=1, high=100_000)
    sigma: float = option(1.2, "Of the Gaussian that the way begins with, in pixels of the model's input.", low=0.01)
    kernel: int = option(9, "Side of the Gaussian in pixels, odd.", low=3, high=255)

    def __call__(self, problem: Problem) -> Maps:
        if problem.input.axes is None or problem.input.x.dtype.kind != "f":
            remedy = advised(problem, ("integrated-gradients", "occlusion", "ablation"))
            raise MethodError(f"lam blurs an image and the input is none: use {remedy}")
        if self.kernel % 2 == 0:
            raise MethodError(f"a kernel of {self.kernel} pixels has no middle: give an odd size")
        lines = [gaussian(self.kernel, sigma) for sigma in np.linspace(self.sigma, 0, self.steps + 1)]
        values = _along_the_way(problem, lines)
        start = blurred(problem.x, problem.input.axes, lines[0])
        expected = problem.scores - problem.runs.scores_at(start, np.arange(problem.rows))
        details = [
            {
                "diffusion_index": diffusion_index(row, problem.input.channel),
                "completeness_error": float(row.sum(dtype=np.float64) - due),
                "score_difference": float(due),
            }
            for row, due in zip(values, expected, strict=True)
        ]
        return InputMaps(values, reduce="sum", details=tuple(details))


def gaussian(size: int, sigma: float) -> NDArray[np.float64]:
    """(size,): a line of the Gaussian, which adds up to 1; with sigma 0 its middle alone."""
    at = np.arange(size) - size // 2
    line = np.exp(-(at**2) / (2.0 * (sigma + 1e-5) ** 2))
    return np.asarray(line / line.sum())


def blurred(x: NDArray[Any], axes: tuple[int, int], line: NDArray[np.float64]) -> NDArray[Any]:
    """Images (N, ...) blurred along height and width; beyond the edges they are mirrored."""
    from scipy import ndimage

    blurry = x.astype(np.float32) if x.dtype == np.float16 else x  # SciPy has no float16
    for axis in axes:
        blurry = ndimage.correlate1d(blurry, line, axis, mode="mirror")
    return blurry.astype(x.dtype, copy=False)


def _along_the_way(problem: Problem, lines: list[NDArray[np.float64]]) -> NDArray[np.float32]:
    axes, steps = problem.input.axes, len(lines) - 1
    assert axes is not None
    total = np.zeros(problem.x.shape, np.float64)

    def at(row: int, step: int) -> NDArray[Any]:
        return np.asarray(blurred(problem.x[row : row + 1], axes, lines[step])[0])

    def on_the_way(numbers: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        rows, before = np.divmod(numbers, steps)
        return np.stack([at(r, b + 1) for r, b in zip(rows.tolist(), before.tolist(), strict=True)]), rows

    def add(numbers: NDArray[np.int64], gradients: NDArray[np.float32]) -> None:
        for gradient, number in zip(gradients, numbers.tolist(), strict=True):
            row, before = divmod(number, steps)
            total[row] += gradient.astype(np.float64) * (at(row, before + 1) - at(row, before))

    problem.gradients.generated(problem.rows * steps, on_the_way, add)
    return total.astype(np.float32)


def diffusion_index(values: NDArray[np.float32], channel: int | None) -> float:
    """100 * (1 - Gini coefficient) of the magnitudes per pixel, of the sum of the channels; 0 of a zero map."""
    pixels = np.abs(values.astype(np.float64) if channel is None else values.sum(axis=channel - 1, dtype=np.float64))
    ordered = np.sort(pixels.ravel())
    if not ordered.any():
        return 0.0
    rank = np.arange(1, ordered.size + 1)
    gini = ((2 * rank - ordered.size - 1) * ordered).sum() / (ordered.size * ordered.sum())
    return float(100 * (1 - gini))
