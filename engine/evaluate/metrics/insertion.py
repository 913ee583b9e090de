"""Insertion and deletion: the score while the most relevant pixels appear, or disappear, one step after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, gaussian_filter1d

from ...attribution.baselines import NAMES
from ...methods.options import option
from ..case import Case
from ..registry import Better, Curve, Measured, Metric, Needs, metric

# The blurred substrate of the paper's code: a Gaussian of sigma 5 cut to 11 pixels, the border 0.
RISE_BLUR = "rise-blur"
_FILLS = (*NAMES, RISE_BLUR)
_TAPS, _SIGMA = 11, 5.0
_PAPER = (
    'V. Petsiuk, A. Das and K. Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", '
    "BMVC 2018, section 4.3"
)


@dataclass(frozen=True)
class _Steps(Metric):
    """What insertion and deletion share: pixels change in the order of their relevance, `step` of them at a time."""

    needs: ClassVar[Needs] = "runs"
    range: ClassVar[str] = "0 to 1 (probability)"
    paper: ClassVar[str] = _PAPER

    def _curve(self, case: Case, step: int | None, fill: NDArray[Any], insert: bool) -> Measured:
        pixels = case.falling.size
        step = step or case.plane[1]
        count = -(-pixels // step) + 1
        rank = np.empty(pixels, np.int64)
        rank[case.falling] = np.arange(pixels)
        ranked = rank.reshape(case.plane)

        def hidden(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
            changed = ranked < (numbers * step)[:, None, None]
            return ~changed if insert else changed

        y = case.probabilities(count, case.hidden(hidden, fill))
        curve = Curve(np.linspace(0, 1, count), y)
        # The paper's code weighs all steps alike, the last one, which may be shorter, as well.
        return Measured(float((y.sum() - y[0] / 2 - y[-1] / 2) / (count - 1)), curve)


@metric("insertion")
@dataclass(frozen=True)
class Insertion(_Steps):
    """The area under the probability as the most relevant pixels are put into a blurred image first.

    AUC = (1 / n) * sum over i = 0 ... n of p_i, the first and the last halved, with p_i the class's probability for the
    blurred image in which the i * step most relevant pixels are those of the image, and n = ceil(H * W / step). A good
    map brings the class back with few pixels.
    """

    step: int | None = option(None, "Pixels of one step; none: as many as a row has, as in the paper.", low=1)
    fill: str = option(RISE_BLUR, "The image that pixels are put into.", choices=_FILLS)
    better: ClassVar[Better] = "higher"
    weakness: ClassVar[str] = (
        "half-restored images are unlike any that the network was trained on, and maps of few, large regions gain by it"
    )

    def __call__(self, case: Case) -> Measured:
        return self._curve(case, self.step, substrate(case, self.fill), insert=True)


@metric("deletion")
@dataclass(frozen=True)
class Deletion(_Steps):
    """The area under the probability as the most relevant pixels are taken away first.

    AUC = (1 / n) * sum over i = 0 ... n of p_i, the first and the last halved, with p_i the class's probability for the
    image in which the i * step most relevant pixels are 0 in the network's input. A good map makes the class vanish
    with few pixels.
    """

    step: int | None = option(None, "Pixels of one step; none: as many as a row has, as in the paper.", low=1)
    fill: str = option("zero", "What takes the place of pixels.", choices=_FILLS)
    better: ClassVar[Better] = "lower"
    weakness: ClassVar[str] = (
        "scattered pixels that are cut out act as noise and lower any score: maps of single pixels gain by it"
    )

    def __call__(self, case: Case) -> Measured:
        return self._curve(case, self.step, substrate(case, self.fill), insert=False)


def substrate(case: Case, kind: str) -> NDArray[Any]:
    """What stands in for pixels, in the shape of the sample."""
    if kind != RISE_BLUR:
        return case.fill(kind)
    axes = case.problem.input.axes
    assert axes is not None
    # The paper's code filters an impulse of 11 x 11 pixels whose surroundings are its mirror image.
    impulse = np.zeros(_TAPS)
    impulse[_TAPS // 2] = 1
    taps = gaussian_filter1d(impulse, _SIGMA)
    blurred = case.sample.astype(np.float64)
    for axis in axes:
        blurred = correlate1d(blurred, taps, axis=axis - 1, mode="constant")
    if case.sample.dtype.kind in "iu":
        blurred = np.rint(blurred)
    return blurred.astype(case.sample.dtype)
