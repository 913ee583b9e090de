"""Features of a guide: every place of a layer's map becomes more like the place of another image it is most like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import MethodError, TargetError
from ...inspect.layers import value_of
from ...methods.options import option
from ...targets.units import unit_axes
from ..build import Build
from ..objective import Objective, objective


@objective("guide")
@dataclass(frozen=True)
class Guide(Objective):
    """The mean over all places of the greatest product of a layer's features with those of a guide (guided dreaming).

    After A. Mordvintsev, C. Olah and M. Tyka's notebook of 2015; the guide's features have length 1 here.
    """

    layer: str = option("", "The layer.")
    features: np.ndarray | None = option(None, "Features of the guide, (places, channels).")  # noqa: RUF009

    def emit(self, build: Build) -> str:
        name = value_of(build.model, self.layer)
        _, channel, _ = unit_axes(build.model, self.layer)
        if self.features is None:
            raise MethodError("a guide needs its features, (places, channels): use onnxray dream --guide IMAGE")
        features = np.asarray(self.features, np.float32)
        shape = build.head.value(name).shape or ()
        if features.ndim != 2 or (len(shape) > channel and shape[channel] != features.shape[1]):
            raise TargetError(
                f"features of a guide of shape {list(features.shape)} do not fit the layer {self.layer!r}: give one "
                "row of channels for every place"
            )
        rank = build.rank(name)
        rest = [axis for axis in range(1, rank) if axis != channel]
        last = build.op("Transpose", name, perm=[0, *rest, channel])
        count = features.shape[1]
        rows = build.op("Reshape", last, build.constant(np.array([build.rows, -1, count], np.int64)))
        lengths = np.linalg.norm(features, axis=1, keepdims=True)
        towards = features / np.maximum(lengths, np.finfo(np.float32).tiny)
        products = build.op("MatMul", rows, build.constant(np.ascontiguousarray(towards.T)))
        best = build.op("ReduceMax", products, build.axes(2), keepdims=0)
        score = build.op("ReduceMean", best, build.axes(1), keepdims=0)
        build.report(score, score)
        return score

    @classmethod
    def parse(cls, text: str) -> Objective:
        raise MethodError(f"guide:{text} cannot be given as a text: use onnxray dream --guide IMAGE")

    def __str__(self) -> str:
        return f"guide:{self.layer}"
