"""Robustness: how far does the map move when the image hardly does?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import MethodError
from ...methods.options import option
from ..case import Case
from ..ranks import rank_correlation
from ..registry import Better, Family, Measured, Metric, Needs, metric

_YEH = (
    'C.-K. Yeh, C.-Y. Hsieh, A. S. Suggala, D. I. Inouye and P. Ravikumar, "On the (In)fidelity and Sensitivity of '
    'Explanations", NeurIPS 2019, definition 3.1'
)
_STABLE = "a map that does not look at the network at all is perfectly stable"


@dataclass(frozen=True)
class _Robust(Metric):
    family: ClassVar[Family] = "robustness"
    needs: ClassVar[Needs] = "explanations"
    weakness: ClassVar[str] = _STABLE


@dataclass(frozen=True)
class _Noise(_Robust):
    """What the metrics share that move the network's input by noise."""

    radius: float = option(0.02, "Of the uniform noise, in parts of the input's range.", low=0)
    samples: int = option(8, "Noisy copies.", low=1)
    better: ClassVar[Better] = "lower"
    range: ClassVar[str] = "0 to infinity"
    paper: ClassVar[str] = _YEH

    def _moves(self, case: Case) -> Iterator[tuple[float, float]]:
        """How far the map and the input move, each relative to itself, for every copy."""
        x = case.problem.input.x
        if x.dtype.kind != "f":
            raise MethodError(f"noise is added to floats, and the input holds {x.dtype}")
        reach = self.radius * float(np.ptp(x))
        draw, before = case.generator(), case.relevance
        size, length = float(np.linalg.norm(before)), float(np.linalg.norm(x))
        if not size:
            raise MethodError("the map is zero: it cannot move in proportion")
        for _ in range(self.samples):
            noisy = (x + draw.uniform(-reach, reach, x.shape)).astype(x.dtype)
            moved = float(np.linalg.norm(case.relevance_again(noisy) - before)) / size
            yield moved, float(np.linalg.norm(noisy - x)) / length


@metric("max-sensitivity")
@dataclass(frozen=True)
class MaxSensitivity(_Noise):
    """How far the map moves at most when the input is moved by uniform noise: max of |F(x + d) - F(x)| / |F(x)|."""

    def __call__(self, case: Case) -> Measured:
        return Measured(max(moved for moved, _ in self._moves(case)))


@metric("average-sensitivity")
@dataclass(frozen=True)
class AverageSensitivity(_Noise):
    """How far the map moves on average when the input is moved by uniform noise: mean of |F(x + d) - F(x)| / |F(x)|."""

    def __call__(self, case: Case) -> Measured:
        return Measured(float(np.mean([moved for moved, _ in self._moves(case)])))


@metric("local-lipschitz")
@dataclass(frozen=True)
class LocalLipschitz(_Noise):
    """The map's movement divided by the input's, each relative to itself, at most over noisy copies.

    max over d of (|F(x + d) - F(x)| / |F(x)|) / (|d| / |x|); the paper divides plain distances, whose units differ from
    method to method.
    """

    paper: ClassVar[str] = (
        'D. Alvarez-Melis and T. S. Jaakkola, "On the Robustness of Interpretability Methods", WHI at ICML 2018, '
        "equation 2"
    )

    def __call__(self, case: Case) -> Measured:
        return Measured(max(moved / of if of else 0.0 for moved, of in self._moves(case)))


@dataclass(frozen=True)
class _Picture(_Robust):
    """What the metrics share that change the original picture."""

    range: ClassVar[str] = "-1 to 1"
    paper: ClassVar[str] = (
        'D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and '
        'Perturbations", ICLR 2019 (the changes), compared by rank as in Adebayo et al. 2018'
    )

    def _alike(self, case: Case, changed: NDArray[Any]) -> Measured:
        return Measured(rank_correlation(case.relevance, case.relevance_again(changed)))


def pixels_of(case: Case) -> NDArray[np.uint8]:
    """The original picture. Raises MethodError where there is none of 8 bits."""
    if case.pixels is None or case.pixels.dtype != np.uint8:
        raise MethodError("pictures of 8 bits can be changed so, and this is none")
    return case.pixels


@metric("brightness-stability")
@dataclass(frozen=True)
class BrightnessStability(_Picture):
    """Spearman's correlation between the map and that of the picture made brighter by `by`, in parts of full scale."""

    by: float = option(0.05, "Added to all pixels.", low=-1, high=1)

    def __call__(self, case: Case) -> Measured:
        brighter = np.clip(pixels_of(case).astype(np.float64) + self.by * 255, 0, 255)
        return self._alike(case, np.rint(brighter).astype(np.uint8))


@metric("jpeg-stability")
@dataclass(frozen=True)
class JpegStability(_Picture):
    """Spearman's correlation between the map and that of the picture after JPEG's quantisation, in 8 x 8 blocks."""

    quality: int = option(75, "As libjpeg counts it.", low=1, high=100)

    def __call__(self, case: Case) -> Measured:
        return self._alike(case, quantised(pixels_of(case), self.quality))


@metric("shift-stability")
@dataclass(frozen=True)
class ShiftStability(_Picture):
    """Spearman's correlation between the map and that of the network's input shifted by a pixel, shifted back."""

    pixels: int = option(1, "To the right and down, of the network's input.", low=1)

    def __call__(self, case: Case) -> Measured:
        return Measured(rank_correlation(*shifted(case, self.pixels)))


def shifted(case: Case, by: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The map, and that of the network's input shifted to the right and down by `by` pixels, shifted back; both
    (H - by, W - by). Raises MethodError for a shift that leaves nothing.
    """
    axes = case.problem.input.axes
    assert axes is not None
    if by >= min(case.plane):
        raise MethodError(f"a shift by {by} pixels leaves nothing of {case.plane[0]} x {case.plane[1]}")
    x = case.problem.input.x
    for axis in axes:
        keep = np.maximum(np.arange(x.shape[axis]) - by, 0)
        x = np.take(x, keep, axis=axis)
    moved = case.relevance_again(np.ascontiguousarray(x))
    return case.relevance[:-by, :-by], moved[by:, by:]


# JPEG, ITU-T T.81, annex K: quantisation of brightness and of colour at quality 50.
_LUMA = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
_CHROMA = "17 18 24 47 18 21 26 66 24 26 56 99 47 66 99 99"
_TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def quantised(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """A picture (H, W, 3) or (H, W) after JPEG's transform and quantisation, colours not subsampled."""
    gray = pixels.ndim == 2
    rgb = np.repeat(pixels[..., None], 3, axis=2) if gray else pixels[..., :3]
    height, width = rgb.shape[:2]
    padded = np.pad(rgb, ((0, -height % 8), (0, -width % 8), (0, 0)), mode="edge").astype(np.float64)
    planes = np.rint(np.moveaxis(padded @ _TO_YCC.T, -1, 0)) - np.array([128.0, 0, 0])[:, None, None]
    down, across = planes.shape[1] // 8, planes.shape[2] // 8
    blocks = planes.reshape(3, down, 8, across, 8).swapaxes(2, 3)
    k = np.arange(8)
    basis = np.cos((2 * k + 1) * k[:, None] * np.pi / 16) * np.where(k[:, None] == 0, np.sqrt(1 / 8), 0.5)
    tables = np.stack([_table(_LUMA, quality), *[_table(_CHROMA, quality)] * 2])[:, None, None]
    coded = np.rint(basis @ blocks @ basis.T / tables) * tables
    back = (
        np.rint((basis.T @ coded @ basis).swapaxes(2, 3).reshape(planes.shape)) + np.array([128.0, 0, 0])[:, None, None]
    )
    result = np.moveaxis(back, 0, -1) @ np.linalg.inv(_TO_YCC).T
    found: NDArray[np.uint8] = np.rint(np.clip(result, 0, 255)).astype(np.uint8)[:height, :width]
    return np.asarray(found[..., 0] if gray else found, np.uint8)


def _table(text: str, quality: int) -> NDArray[np.float64]:
    numbers = np.array(text.split(), np.float64)
    table = np.full((8, 8), 99.0)
    side = int(np.sqrt(numbers.size))
    table[:side, :side] = numbers.reshape(side, side)
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    return np.clip(np.floor((table * scale + 50) / 100), 1, 255)
