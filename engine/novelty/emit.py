"""A memory in a graph: the image's score and map as further outputs of the model, in standard operators."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..compiled.build import Build
from ..emitter.emitter import Emitter
from ..errors import ShapeError
from ..preprocess.find import find_card
from ..survey.units import UnitLayer
from .features import emit_features
from .memory import Novelty

SCORE, MAP = "novelty_score", "anomaly_map"
# Outputs of anomalib's deployments; its map is called as ours is.
PRED_SCORE, PRED_LABEL, PRED_MASK = "pred_score", "pred_label", "pred_mask"
OWN, ANOMALIB = "own", "anomalib"
OUTPUTS = (OWN, ANOMALIB)


def emit_novelty(build: Build, memory: Novelty) -> dict[str, str]:
    """Names of values by output: SCORE, float32 (N,), and, of a memory with maps, MAP, float32 (N, 1, h, w).

    Raises ShapeError where the model is compiled for images of another size.
    """
    op, features, size = build.op, memory.features, find_card(build.problem.source).size
    if size != memory.card.size:
        (h, w), (good_h, good_w) = size, memory.card.size
        raise ShapeError(
            f"the model is compiled for images of {h}x{w} and the memory is of {good_h}x{good_w}: give "
            f"size={good_h}x{good_w}"
        )
    resized = []
    for layer in features.layers:
        smooth = op.AveragePool(
            _maps(build, layer), kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1], count_include_pad=0
        )
        resized.append(build.resized(smooth, list(features.grid)))
    distances = memory.fitted.emit(op, emit_features(op, features, resized))
    found = {SCORE: op.ReduceMax(distances, [1], keepdims=0)}
    if memory.fitted.local:
        found[MAP] = op.Reshape(distances, op.const([-1, 1, *features.grid]))
    return found


def as_anomalib(op: Emitter, found: Mapping[str, str], threshold: float) -> dict[str, str]:
    """Names of values by the outputs of anomalib's deployments, of SCORE and MAP.

    PRED_SCORE (N,) and MAP (N, 1, H, W), float32 in 0..1 with the threshold at 0.5: distances over twice the threshold,
    anomalib's normalisation from 0 to there; PRED_LABEL (N,) and PRED_MASK (N, 1, H, W), bool: above the threshold.
    """
    share = op.const(np.float32(0.5 / max(threshold, float(np.finfo(np.float32).tiny))))

    def shares(value: str) -> str:
        return op.Clip(op.Mul(value, share), op.const(np.float32(0)), op.const(np.float32(1)))

    def above(value: str) -> str:
        return op.Greater(value, op.const(np.float32(threshold)))

    named = {PRED_SCORE: shares(found[SCORE]), PRED_LABEL: above(found[SCORE])}
    return named | ({MAP: shares(found[MAP]), PRED_MASK: above(found[MAP])} if MAP in found else {})


def _maps(build: Build, layer: UnitLayer) -> str:
    """(N, C, h, w) float32 of a layer, as `UnitLayer.maps` reads it."""
    op = build.op
    value = layer.read[0] if len(layer.read) == 1 else op.Concat(*layer.read, axis=layer.joined)
    value = build.real(value)
    rank = op.rank(value)
    order = [0, layer.channel, *layer.axes]
    order += [axis for axis in range(rank) if axis not in order]
    moved = value if order == list(range(rank)) else op.Transpose(value, perm=order)
    if layer.order is not None:
        flat = op.Reshape(moved, op.const([0, layer.units, -1]))
        moved = op.Gather(flat, op.const(np.asarray(layer.order, np.int64)), axis=2)
    elif rank == 4:
        return moved
    return op.Reshape(moved, op.const([-1, layer.units, *layer.grid]))
