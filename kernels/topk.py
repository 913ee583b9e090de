"""Streaming top-k: the k highest scores per unit over any number of batches, in memory that does not grow with them.

The result does not depend on how the scores were cut into batches, nor on their order: equal scores are ordered by id,
the lower first, and an id that comes several times counts once, with the highest of its scores. A NaN is never among
the best.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .jit import kernel


@dataclass(frozen=True)
class TopK:
    """The best so far: scores float32 (units, k), highest first; ids int64 (units, k). Empty places: -inf and -1.

    places: int32 (units, k), where each score was found, -1 where it is not known.
    """

    scores: NDArray[np.float32]
    ids: NDArray[np.int64]
    places: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 0), np.int32))

    def __post_init__(self) -> None:
        if self.places.shape != self.ids.shape:
            object.__setattr__(self, "places", np.full(self.ids.shape, -1, np.int32))


def empty(units: int, k: int) -> TopK:
    """A state that has seen nothing. Raises ValueError when units is negative or k below 1."""
    if units < 0 or k < 1:
        raise ValueError(f"units must not be negative and k at least 1, got {units} and {k}")
    return TopK(np.full((units, k), -np.inf, np.float32), np.full((units, k), -1, np.int64))


def update(state: TopK, scores: ArrayLike, ids: ArrayLike, places: ArrayLike | None = None) -> TopK:
    """Merge a batch into `state`, in place, and return it.

    scores: (n, units), taken as float32. ids: (n,), or (n, units) where each unit has its own (an image and a place in
    it, packed into one number); not negative. places: (n, units), where in its image each score was found.

    Raises ValueError when shapes do not fit or an id is negative.
    """
    batch = np.ascontiguousarray(scores, np.float32)
    labels = np.ascontiguousarray(ids, np.int64)
    units = state.scores.shape[0]
    if batch.ndim != 2 or batch.shape[1] != units:
        raise ValueError(f"scores must have shape (n, {units}), got {batch.shape}")
    if labels.shape not in (batch.shape, batch.shape[:1]):
        raise ValueError(f"ids must have shape ({batch.shape[0]},) or {batch.shape}, got {labels.shape}")
    if labels.size and labels.min() < 0:
        raise ValueError("ids must not be negative")
    if labels.ndim == 1:
        labels = np.broadcast_to(labels[:, None], batch.shape)
    where = np.full(batch.shape, -1, np.int32) if places is None else np.ascontiguousarray(places, np.int32)
    if where.shape != batch.shape:
        raise ValueError(f"places must have shape {batch.shape}, got {where.shape}")
    _update(state.scores, state.ids, state.places, batch, labels, where)
    return state


def merge(state: TopK, other: TopK) -> TopK:
    """What `state` would be had it seen what `other` has as well: in place, and returned.

    Raises ValueError when they are about different numbers of units.
    """
    if len(state.ids) != len(other.ids):
        raise ValueError(f"states of {len(state.ids)} and of {len(other.ids)} units cannot be merged")
    parts = (np.ascontiguousarray(part.T) for part in (other.scores, other.ids, other.places))
    _update(state.scores, state.ids, state.places, *parts)
    return state


@kernel
def _update(best, best_ids, best_places, scores, ids, places):  # type: ignore[no-untyped-def]
    n, units = scores.shape
    k = best.shape[1]
    for i in range(n):
        for u in range(units):
            score = scores[i, u]
            # An empty place has id -1 and -inf: a score of -inf must still get it.
            last, last_id = best[u, k - 1], best_ids[u, k - 1]
            label = ids[i, u]
            if label < 0 or not (score > last or (score == last and (last_id < 0 or label < last_id))):
                continue
            # The same id once more frees its own place, else the last one goes.
            j = 0
            while j < k - 1 and best_ids[u, j] != label:
                j += 1
            if best_ids[u, j] == label and best[u, j] >= score:
                continue
            while j > 0:
                above, above_id = best[u, j - 1], best_ids[u, j - 1]
                if score < above or (score == above and 0 <= above_id < label):
                    break
                best[u, j], best_ids[u, j], best_places[u, j] = above, above_id, best_places[u, j - 1]
                j -= 1
            best[u, j], best_ids[u, j], best_places[u, j] = score, label, places[i, u]
