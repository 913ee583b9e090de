"""Streaming top-k: the k highest scores per unit over any number of batches, in memory that does not grow with them.

The result does not depend on how the scores were cut into batches, nor on their order: equal scores are ordered by id,
the lower first. A NaN is never among the best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .jit import kernel


@dataclass(frozen=True)
class TopK:
    """The best so far: scores float32 (units, k), highest first; ids int64 (units, k). Empty places: -inf and -1."""

    scores: NDArray[np.float32]
    ids: NDArray[np.int64]


def empty(units: int, k: int) -> TopK:
    """A state that has seen nothing. Raises ValueError when units is negative or k below 1."""
    if units < 0 or k < 1:
        raise ValueError(f"units must not be negative and k at least 1, got {units} and {k}")
    return TopK(np.full((units, k), -np.inf, np.float32), np.full((units, k), -1, np.int64))


def update(state: TopK, scores: ArrayLike, ids: ArrayLike) -> TopK:
    """Merge a batch into `state`, in place, and return it.

    scores: (n, units), taken as float32. ids: (n,), or (n, units) where each unit has its own (an image and a place in
    it, packed into one number); not negative, and not seen before by the same unit.

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
    _update(state.scores, state.ids, batch, labels)
    return state


@kernel
def _update(best, best_ids, scores, ids):  # type: ignore[no-untyped-def]
    n, units = scores.shape
    k = best.shape[1]
    for i in range(n):
        for u in range(units):
            score = scores[i, u]
            # An empty place has id -1 and -inf: a score of -inf must still get it.
            last, last_id = best[u, k - 1], best_ids[u, k - 1]
            label = ids[i, u]
            if not (score > last or (score == last and (last_id < 0 or label < last_id))):
                continue
            j = k - 1
            while j > 0:
                above, above_id = best[u, j - 1], best_ids[u, j - 1]
                if score < above or (score == above and 0 <= above_id < label):
                    break
                best[u, j], best_ids[u, j] = above, above_id
                j -= 1
            best[u, j], best_ids[u, j] = score, label
