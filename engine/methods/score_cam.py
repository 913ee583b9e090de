"""Score-CAM.

H. Wang, Z. Wang, M. Du, F. Yang, Z. Zhang, S. Ding, P. Mardziel and X. Hu, "Score-CAM: Score-Weighted Visual
Explanations for Convolutional Neural Networks", CVPR workshops 2020, section 3:

    weight of a channel = softmax over channels of ( score(input * channel, upsampled, scaled to 0..1) - score(zeros) )
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...kernels.upsample import upsample
from ..cams import Cam, Place, activations
from ..errors import MethodError
from . import Needs, method, option

if TYPE_CHECKING:
    from ..problem import Problem


@method("score-cam")
@dataclass(frozen=True)
class ScoreCam(Cam):
    """Maps weighted by the score that each one, used as a mask on the input, leaves over. Needs no gradient.

    Runs the network once per channel. Channels that are the same everywhere mask nothing in or out and are left out;
    with `channels`, only those that vary most are used, which is faster and another map.
    """

    channels: int | None = option(None, "Use only the channels with the greatest variance, this many.", low=1)
    needs: ClassVar[Needs] = "forward"

    def map(self, problem: Problem, place: Place) -> NDArray[np.float32]:
        axes = problem.input.axes
        if axes is None:
            raise MethodError("score-cam masks images and the input is none: use grad-cam")
        maps = activations(problem, place)
        result = np.zeros((problem.rows, *maps.shape[2:]), np.float32)
        rows = np.arange(problem.rows)
        empty = problem.scores_at(np.zeros_like(problem.x), rows)
        for row in rows:
            used = self._used(maps[row])
            if not len(used):
                continue
            scores = self._scores(problem, int(row), maps[row, used], axes) - empty[row]
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
            result[row] = np.einsum("c,chw->hw", weights, maps[row, used].astype(np.float64))
        return result

    def _used(self, maps: NDArray[np.float32]) -> NDArray[np.int64]:
        """The channels to look at, in order."""
        flat = maps.reshape(len(maps), -1)
        varying = np.flatnonzero(np.ptp(flat, axis=1) > 0)
        if self.channels is not None and len(varying) > self.channels:
            spread = flat[varying].astype(np.float64).var(axis=1)
            varying = np.sort(varying[np.argsort(-spread, kind="stable")[: self.channels]])
        return varying

    def _scores(
        self, problem: Problem, row: int, maps: NDArray[np.float32], axes: tuple[int, int]
    ) -> NDArray[np.float64]:
        x = problem.x[row]
        low = maps.min(axis=(1, 2), keepdims=True)
        scaled = (maps - low) / np.ptp(maps, axis=(1, 2), keepdims=True)
        shape = [1] * x.ndim
        for axis in axes:
            shape[axis - 1] = problem.input.x.shape[axis]
        scores = np.empty(len(maps), np.float64)
        for chunk in problem.chunks(len(maps)):
            size = (shape[axes[0] - 1], shape[axes[1] - 1])
            masks = upsample(scaled[chunk], size).reshape(-1, *shape)
            masked = (x[None] * masks).astype(x.dtype)
            scores[chunk] = problem.scores_at(masked, np.full(len(chunk), row))
        return scores
