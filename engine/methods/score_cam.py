"""Score-CAM.

H. Wang, Z. Wang, M. Du, F. Yang, Z. Zhang, S. Ding, P. Mardziel and X. Hu, "Score-CAM: Score-Weighted Visual
Explanations for Convolutional Neural Networks", CVPR workshops 2020, section 3:

    weight of a channel = softmax over channels of ( score(input * channel, upsampled, scaled to 0..1) - score(zeros) )
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...kernels.masks import apply
from ...kernels.upsample import upsample_along
from ..attribution.layer_choice import MapPlace, activations
from ..attribution.place_axes import place_axes
from ..errors import MethodError
from ..inference.row_graphs import RowGraph
from ..inference.row_graphs import masked as masked_rows
from .families.advice import advised_at_layers
from .families.cam import Cam
from .options import option
from .registry import Needs, method

if TYPE_CHECKING:
    from ..attribution.problem import Problem


@method("score-cam")
@dataclass(frozen=True)
class ScoreCam(Cam):
    """Maps weighted by the score that each one, used as a mask on the input, leaves over. Needs no gradient.

    Runs the network once per channel. Channels that are the same everywhere mask nothing in or out and are left out,
    and those that make the same mask share a run; with `channels`, only those that vary most are used, which is faster
    and another map.
    """

    channels: int | None = option(None, "Use only the channels with the greatest variance, this many.", low=1)
    needs: ClassVar[Needs] = "forward"

    def map(self, problem: Problem, place: MapPlace) -> NDArray[np.float32]:
        if problem.input.x.dtype.kind not in "fiu" or (problem.input.axes is None and not place.sizes):
            remedy = advised_at_layers(problem)
            raise MethodError(f"score-cam masks images, signals and volumes, and the input is none: use {remedy}")
        maps = activations(problem, place)
        result = np.zeros((problem.rows, *maps.shape[2:]), np.float32)
        rows = np.arange(problem.rows)
        empty = problem.runs.scores_at(np.zeros_like(problem.x), rows)
        for sample, first in enumerate(range(0, problem.rows, problem.target.count)):
            used = self._used(maps[first])  # the maps of a sample are the same for all its targets
            if not len(used):
                continue
            of_sample = rows[first : first + problem.target.count]
            scores = self._scores(problem, place, sample, maps[first, used]) - empty[of_sample]
            weights = np.exp(scores - scores.max(axis=0))
            weights /= weights.sum(axis=0)
            result[of_sample] = np.einsum("ck,chw->khw", weights, maps[first, used].astype(np.float64))
        return result

    def _used(self, maps: NDArray[np.float32]) -> NDArray[np.int64]:
        """The channels to look at, in order."""
        flat = maps.reshape(len(maps), -1)
        varying = np.flatnonzero(np.ptp(flat, axis=1) > 0)
        if self.channels is not None and len(varying) > self.channels:
            spread = flat[varying].astype(np.float64).var(axis=1)
            varying = np.sort(varying[np.argsort(-spread, kind="stable")[: self.channels]])
        return varying

    def _scores(self, problem: Problem, place: MapPlace, sample: int, maps: NDArray[np.float32]) -> NDArray[np.float64]:
        """(C, K): of the sample masked with each of its maps (C, h, w), for each of its targets."""
        planar = problem.input.planar
        low = maps.min(axis=(1, 2), keepdims=True)
        scaled = ((maps - low) / np.ptp(maps, axis=(1, 2), keepdims=True)).astype(np.float32)
        mask_of, scaled = _distinct(scaled)
        x = np.ascontiguousarray(problem.input.x[sample])

        def masked(numbers: NDArray[np.int64]) -> NDArray[Any]:
            if planar is None:
                return _masked_along(problem, sample, scaled[numbers].reshape(-1, *place.sizes))
            out = np.empty((len(numbers), *x.shape), x.dtype)
            apply(out.reshape(len(numbers), *planar), x.reshape(planar), None, scaled[numbers])
            return out

        def graph() -> RowGraph:
            assert planar is not None
            return masked_rows(x, planar, None, lambda numbers: (scaled[numbers], None))

        made_there = None if planar is None else graph
        return problem.runs.scores_generated(len(scaled), masked, sample, graph=made_there)[mask_of]


def _distinct(masks: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Which of the distinct masks (D, h, w) each of `masks` (C, h, w) is, (C,), and these in order.

    Behind a rectifier many channels are positive at one place alone: scaled they are the same mask, bit by bit.
    """
    numbers: dict[bytes, int] = {}
    which = np.array([numbers.setdefault(mask.tobytes(), len(numbers)) for mask in masks], np.int64)
    return which, masks[np.unique(which, return_index=True)[1]]


def _masked_along(problem: Problem, sample: int, masks: NDArray[np.float32]) -> NDArray[Any]:
    """A signal or a volume (...) times masks (B, places) at its size: (B, ...)."""
    x = problem.input.x[sample]
    axes = place_axes(problem.source, problem.input.name, x.shape)
    wide = upsample_along(masks, tuple(x.shape[axis] for axis in axes))
    shaped = wide.reshape(len(masks), *(size if axis in axes else 1 for axis, size in enumerate(x.shape)))
    return np.asarray(x * shaped, x.dtype)
