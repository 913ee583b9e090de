"""MaskFormer and Mask2Former: scores and masks of queries, without boxes."""

from __future__ import annotations

from ..evidence import Evidence
from ..layout import Layout, Part, Read
from ..registry import rule
from .common import meaning


@rule("query-masks", 35)
def query_masks(evidence: Evidence) -> Layout | None:
    """Two outputs with one row for each query: its scores in one, its mask in the other; boxes lie around the masks."""
    arrays = {name: evidence.array(name) for name in evidence.floats()}
    masks = [n for n, a in arrays.items() if a.ndim == 4 and a.shape[1] > 1]
    tables = [n for n, a in arrays.items() if a.ndim == 3 and a.shape[2] > 1]
    pairs = [(t, m) for t in tables for m in masks if arrays[t].shape[1] == arrays[m].shape[1]]
    if len(pairs) != 1:
        return None
    scores, maps = pairs[0]
    score = arrays[scores]
    activation, background, why = meaning(evidence, scores, score.reshape(-1, score.shape[2]))
    told = f"outputs {scores!r} and {maps!r} have {score.shape[1]} queries each, of {score.shape[2]} numbers and a mask"
    read = Read(maps, "NAHW")
    return Layout(
        "query-masks", (Part(Read(scores), read),), "masks", False, activation, background, maps=read,
        reasons=(told, *why, "a box is what is around the mask"),
    )  # fmt: skip
