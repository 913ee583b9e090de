"""The targets of an explanation's rows, once the network has answered."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from . import registry
from .classes import label_of
from .resolved import FixedTarget, Resolved
from .target import Target


def settled(resolved: Resolved, y: NDArray[Any], labels: tuple[str, ...] | None) -> list[Target]:
    """The targets of every row, sample by sample, with the classes that were chosen filled in. y: (N, ...)."""
    if isinstance(resolved, FixedTarget):
        return [resolved.target] * (len(y) * resolved.count) if resolved.found is None else resolved.found(y)
    rows: list[Target] = []
    scale = resolved.scale
    for chosen, weights in zip(resolved.chosen(y), resolved.row_weights(len(y)), strict=True):
        classes = [(int(c), label_of(int(c), labels)) for c, w in zip(chosen, weights, strict=True) if w]
        parts = [registry.make("Class", index, label) for index, label in classes]
        target = parts[0] if len(parts) == 1 else registry.make("Contrast", *parts)
        rows.append(target if scale == "model" else registry.make("Scale", scale, target))
    return rows
