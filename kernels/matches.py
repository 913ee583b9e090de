"""Overlaps of boxes: non-maximum suppression, and how well a detector's answers still have a box."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .jit import kernel


def best_matches(
    sides: ArrayLike, scores: ArrayLike, boxes: ArrayLike, labels: ArrayLike, references: ArrayLike | None = None
) -> NDArray[np.float64]:
    """For each answer and box the greatest of intersection over union times score, over all candidates of the answer.

    sides: float32 (B, A, 4), two corners of each candidate. scores: float32 (B, A, C), probabilities. boxes: (K, 4),
    the corners of the boxes that are looked for. labels: (K,), their classes, whose probability is the score.
    references: (K, C) their own probabilities; with them the score is the similarity of D-RISE, the cosine of both
    vectors times the candidate's greatest probability. Returns (B, K). What is not a number counts as 0.

    Raises ValueError for shapes that do not fit and a class that is not there.
    """
    corners, values = np.ascontiguousarray(sides, np.float32), np.ascontiguousarray(scores, np.float32)
    wanted, classes = np.ascontiguousarray(boxes, np.float64), np.ascontiguousarray(labels, np.int64)
    if corners.ndim != 3 or values.ndim != 3 or corners.shape != (*values.shape[:2], 4):
        raise ValueError(f"candidates {corners.shape} and scores {values.shape} are not (B, A, 4) and (B, A, C)")
    if wanted.shape != (*classes.shape, 4):
        raise ValueError(f"boxes {wanted.shape} and labels {classes.shape} are not (K, 4) and (K,)")
    if classes.size and not 0 <= classes.min() <= classes.max() < values.shape[2]:
        raise ValueError(f"the classes {classes.tolist()} are not all among {values.shape[2]}")
    own = np.zeros((len(classes), 0)) if references is None else np.ascontiguousarray(references, np.float64)
    if own.shape[1] not in (0, values.shape[2]) or len(own) != len(classes):
        raise ValueError(f"probabilities of the boxes {own.shape} for {values.shape[2]} classes")
    out = np.zeros((len(values), len(classes)))
    _best(corners, values, wanted, classes, own, np.sqrt((own * own).sum(axis=1)), out)
    return out


@kernel
def _best(
    sides: NDArray[np.float32],
    scores: NDArray[np.float32],
    boxes: NDArray[np.float64],
    labels: NDArray[np.int64],
    own: NDArray[np.float64],
    lengths: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    for b in range(scores.shape[0]):
        for k in range(len(labels)):
            best = 0.0
            area = (boxes[k, 2] - boxes[k, 0]) * (boxes[k, 3] - boxes[k, 1])
            for a in range(scores.shape[1]):
                score = float(scores[b, a, labels[k]])
                if own.shape[1]:
                    score, dot, norm = 0.0, 0.0, 0.0
                    for c in range(scores.shape[2]):
                        p = float(scores[b, a, c])
                        score = max(score, p)
                        dot += p * own[k, c]
                        norm += p * p
                    if not (score > best and norm > 0.0 and lengths[k] > 0.0):
                        continue
                    score *= dot / (np.sqrt(norm) * lengths[k])
                # An overlap is at most 1: what cannot become the best is not compared. Nor is what is not a number.
                if not score > best:
                    continue
                s = sides[b, a]
                across = min(boxes[k, 2], float(s[2])) - max(boxes[k, 0], float(s[0]))
                down = min(boxes[k, 3], float(s[3])) - max(boxes[k, 1], float(s[1]))
                if across > 0.0 and down > 0.0:
                    shared = across * down
                    other = (float(s[2]) - float(s[0])) * (float(s[3]) - float(s[1]))
                    best = max(best, score * shared / (area + other - shared))
            out[b, k] = best


def suppress(boxes: ArrayLike, labels: ArrayLike, overlap: float, most: int) -> NDArray[np.int64]:
    """Greedy non-maximum suppression of boxes that are sorted, the best first: the numbers of those that are left.

    boxes: (K, 4), two corners each. labels: (K,), numbers of classes; boxes of other classes leave one another alone. A
    box is left out where its intersection over union with a better one that is left is greater than `overlap`. Returns
    int64, at most `most`. Raises ValueError for shapes that do not fit.
    """
    corners, classes = np.ascontiguousarray(boxes, np.float64), np.ascontiguousarray(labels, np.int64)
    if corners.shape != (*classes.shape, 4):
        raise ValueError(f"boxes {corners.shape} and labels {classes.shape} are not (K, 4) and (K,)")
    kept = np.zeros(min(most, len(classes)), np.int64)
    return kept[: _suppress(corners, classes, overlap, kept)]


@kernel
def _suppress(boxes: NDArray[np.float64], labels: NDArray[np.int64], overlap: float, kept: NDArray[np.int64]) -> int:
    count = 0
    for i in range(len(labels)):
        if count == len(kept):
            break
        alone = True
        for k in range(count):
            j = kept[k]
            if labels[i] != labels[j]:
                continue
            across = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
            down = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
            if across <= 0.0 or down <= 0.0:
                continue
            first = (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1])
            second = (boxes[j, 2] - boxes[j, 0]) * (boxes[j, 3] - boxes[j, 1])
            if across * down > overlap * (first + second - across * down):
                alone = False
                break
        if alone:
            kept[count] = i
            count += 1
    return count
