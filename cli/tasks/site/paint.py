"""Optimised pictures of the units of a sheet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .plan import COARSE, DIVERSE, FIRST, WEAKEST, Piece

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ....engine.graph.model import Model
    from ....engine.inference.batches import RunOptions
    from ....engine.optimize.objective import Objective
    from ....engine.optimize.paint import Batch, Job

# Pictures of one run; side and steps of a coarse picture; side of a tile at most.
_BATCH, COARSE_SIDE, COARSE_STEPS, _TILE = 16, 64, 12, 160
# Of how many classes at most a picture is optimised against all others.
_FEW_CLASSES = 16
# How much pictures of one unit are made to differ, how many there are, and their steps at most.
_DIFFER, VARIANTS, _DIVERSE_STEPS = 1.0, 3, 24


@dataclass(frozen=True)
class Brush:
    """How pictures are made: `steps` and `side` of fine ones, `seed`, and where the model runs.

    late: called between runs; when it returns true, the piece of work is given up.
    """

    model: Model
    steps: int
    side: int
    seed: int
    runtime: RunOptions
    late: Callable[[], bool] = lambda: False


class Late(Exception):
    """The time is over in the middle of a piece of work."""


def paint_piece(brush: Brush, piece: Piece) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Tiles, uint8 (n, h, w, 3), and the record about them; a unit that cannot be drawn has a reason in it.

    Raises Late.
    """
    import numpy as np

    from ....engine.errors import OnnxrayError, ShapeError

    record: dict[str, Any] = {"layer": piece.layer.name, "kind": piece.kind, "units": list(piece.units)}
    try:
        try:
            batches = list(_batches(brush, _job(brush, piece, _side(brush, piece))))
        except ShapeError:  # at its own size only
            batches = list(_batches(brush, _job(brush, piece, None)))
    except OnnxrayError as error:
        tile = np.full((1, 16, 16, 3), 128, np.uint8)
        return tile, {**record, "reason": " ".join(str(error).split())}
    tiles = [_fitted(tile) for shown, _ in batches for tile in shown]
    sign = -1 if piece.kind == WEAKEST else 1
    each = VARIANTS if piece.kind == DIVERSE else 1
    numbers = {
        "value": [float(v) for _, rows in batches for v in rows],
        "each": each,
        "steps": _steps(brush, piece),
        "sign": sign,
        "size": list(batches[0][0].shape[1:3]),
    }
    return np.stack(tiles), {**record, **numbers}


def _steps(brush: Brush, piece: Piece) -> int:
    most = {FIRST: COARSE_STEPS, COARSE: COARSE_STEPS, DIVERSE: _DIVERSE_STEPS}
    return min(brush.steps, most.get(piece.kind, brush.steps))


def _side(brush: Brush, piece: Piece) -> int | None:
    if piece.kind in (FIRST, COARSE, DIVERSE):
        return COARSE_SIDE
    return None if piece.layer.classes else brush.side


def _job(brush: Brush, piece: Piece, side: int | None) -> Job:
    from ....engine.optimize.request import Request, job_of

    asked = Request(
        objective=[objective_of(piece, unit) for unit in piece.units],
        steps=_steps(brush, piece),
        size=side,
        seed=brush.seed,
        minimise=piece.kind == WEAKEST,
        count=VARIANTS if piece.kind == DIVERSE else 1,
        diversity=_DIFFER if piece.kind == DIVERSE else 0.0,
        settle=False,
        batch=_BATCH,
    )
    return job_of(brush.model, asked, brush.runtime)


def objective_of(piece: Piece, unit: int) -> Objective:
    from ....engine.optimize.objectives.channel import Channel
    from ....engine.optimize.objectives.classes import Contrast, Logit

    if not piece.layer.classes:
        return Channel(piece.layer.name, unit)
    return Contrast(unit) if piece.layer.count <= _FEW_CLASSES else Logit(unit)


def _batches(brush: Brush, job: Job) -> Any:
    """(tiles, values) of each run; units that nothing excites are gray. Raises Late."""
    import numpy as np

    from ....engine.errors import Disconnected
    from ....engine.optimize.paint import paint

    step = job.count if job.count > 1 else _BATCH
    numbers = range(len(job.wanted))
    for first in range(0, len(numbers), step):
        if brush.late():
            raise Late
        part = numbers[first : first + step]
        try:
            for batch in paint(job, part):
                yield _shown(batch), np.where(batch.painted.silent, np.nan, batch.painted.linear)
        except Disconnected:
            # Nothing drives any of these units: no picture, which their place in the sheet says.
            side = job.size or (COARSE_SIDE, COARSE_SIDE)
            yield np.full((len(part), *side, 3), 128, np.uint8), [float("nan")] * len(part)


def _shown(batch: Batch) -> NDArray[np.uint8]:
    shown = batch.canvas.shown(batch.painted.pictures)
    shown[batch.painted.silent] = 128
    return shown


def _fitted(tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """With sides of multiples of the block, at most the largest tile."""
    import numpy as np

    from ....kernels.resize import resize
    from ...files.sheet import BLOCK

    share = min(1.0, _TILE / max(tile.shape[:2]))
    sides = tuple(max(BLOCK, BLOCK * round(side * share / BLOCK)) for side in tile.shape[:2])
    return tile if sides == tile.shape[:2] else np.asarray(resize(np.ascontiguousarray(tile), sides))
