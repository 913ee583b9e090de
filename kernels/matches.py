"""Overlaps of boxes: non-maximum suppression, and how well a detector's answers still have a box."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .jit import kernel


def best_matches(
    sides: ArrayLike,
    scores: ArrayLike,
    boxes: ArrayLike,
    labels: ArrayLike,
    references: ArrayLike | None = None,
    objectness: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """For each answer and box the greatest of intersection over union times score, over all candidates of the answer.

    sides: float32 (B, A, 4), two corners of each candidate. scores: float32 (B, A, C), probabilities. boxes: (K, 4),
    the corners of the boxes that are looked for. labels: (K,), their classes, whose probability is the score.
    references: (K, C) their own probabilities; with them the score is the similarity of D-RISE, the cosine of both
    vectors times the candidate's objectness (B, A), by default its greatest probability. Returns (B, K). What is not a
    number counts as 0.

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
    if objectness is None:
        sure = np.zeros((0, 0), np.float32)
    else:
        sure = np.ascontiguousarray(objectness, np.float32)
        if sure.shape != values.shape[:2]:
            raise ValueError(f"objectness {sure.shape} of candidates {values.shape[:2]}")
    out = np.zeros((len(values), len(classes)))
    _best(corners, values, wanted, classes, own, np.sqrt((own * own).sum(axis=1)), sure, out)
    return out


@kernel(error_model="numpy")
def _best(
    sides: NDArray[np.float32],
    scores: NDArray[np.float32],
    boxes: NDArray[np.float64],
    labels: NDArray[np.int64],
    own: NDArray[np.float64],
    lengths: NDArray[np.float64],
    objectness: NDArray[np.float32],
    out: NDArray[np.float64],
) -> None:
    count = scores.shape[1]
    corners, shares = np.empty((4, count)), np.empty(count)
    strengths, norms = np.empty(count), np.empty(count)
    for b in range(scores.shape[0]):
        for a in range(count):
            for side in range(4):
                corners[side, a] = sides[b, a, side]
            if own.shape[1]:
                most, norm = 0.0, 0.0
                for c in range(scores.shape[2]):
                    p = float(scores[b, a, c])
                    most, norm = max(most, p), norm + p * p
                strengths[a], norms[a] = most, np.sqrt(norm)
                if len(objectness):
                    strengths[a] = objectness[b, a]
        for k in range(len(labels)):
            _overlaps(corners, boxes[k], shares)
            if own.shape[1]:
                out[b, k] = _most_alike(scores[b], shares, strengths, norms, own[k], lengths[k])
            else:
                label, best = np.uint64(labels[k]), 0.0
                for a in range(count):
                    value = scores[b, np.uint64(a), label] * shares[a]
                    if value > best:  # what is not a number is not
                        best = value
                out[b, k] = best


@kernel(error_model="numpy")
def _overlaps(corners: NDArray[np.float64], box: NDArray[np.float64], shares: NDArray[np.float64]) -> None:
    """shares[a] = intersection over union of the box with candidate a. Without a branch: the loop is vector code."""
    x0, y0, x1, y1 = box[0], box[1], box[2], box[3]
    area = (x1 - x0) * (y1 - y0)
    for a in range(np.uint64(len(shares))):
        left, top, right, bottom = corners[0, a], corners[1, a], corners[2, a], corners[3, a]
        across = (right if right < x1 else x1) - (left if left > x0 else x0)
        down = (bottom if bottom < y1 else y1) - (top if top > y0 else y0)
        shared = (across if across > 0.0 else 0.0) * (down if down > 0.0 else 0.0)
        shares[a] = shared / (area + (right - left) * (bottom - top) - shared)


@kernel(error_model="numpy")
def _most_alike(
    scores: NDArray[np.float32],
    shares: NDArray[np.float64],
    strengths: NDArray[np.float64],
    norms: NDArray[np.float64],
    own: NDArray[np.float64],
    length: float,
) -> float:
    best = 0.0
    for a in range(len(shares)):
        most = strengths[a] * shares[a]
        # A cosine is at most 1: what cannot become the best is not compared. Nor is what is not a number.
        if not (most > best and norms[a] > 0.0 and length > 0.0):
            continue
        dot = 0.0
        for c in range(len(own)):
            dot += float(scores[a, c]) * own[c]
        value = most * dot / (norms[a] * length)
        if value > best:
            best = value
    return best


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
