"""Values as JSON has them, for manifests and metadata."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def described(array: NDArray[Any], hashed: bool = True) -> dict[str, Any]:
    """An array by its shape and, unless `hashed` is False, the sha256 of its elements in row-major order."""
    found: dict[str, Any] = {"array": list(array.shape)}
    if hashed:
        found["sha256"] = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return found


def plain(value: Any, hashed: bool = True) -> Any:
    """`value` without NumPy's types and tuples; arrays as `described`; NaN and infinities as None: JSON lacks them."""
    if isinstance(value, np.ndarray):
        return described(value, hashed)
    if isinstance(value, tuple):
        return [plain(v, hashed) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def percent(probability: float) -> str:
    """A probability in words: "99.8 %"; never 0 or 100 % of what is not."""
    shown = 100 * probability
    if 0 < shown < 0.05:
        return "< 0.1 %"
    return "> 99.9 %" if 99.95 <= shown < 100 else f"{shown:.1f} %"
