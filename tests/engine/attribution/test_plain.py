"""Values for manifests: what json can write, and arrays that can be told apart."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest

from onnxray.engine.attribution.plain import described, plain


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("text", "text"),
        (True, True),
        (3, 3),
        (0.5, 0.5),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (float("nan"), None),
        (np.float64("inf"), None),
        ((1, (np.int32(2), float("-inf"))), [1, [2, None]]),
    ],
)
def test_what_json_can_write(value: Any, expected: Any) -> None:
    assert plain(value) == expected
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == expected


def test_an_array_by_its_shape_and_hash() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    digest = hashlib.sha256(array.tobytes()).hexdigest()
    assert plain(array) == {"array": [2, 3], "sha256": digest}
    assert described(array.T)["sha256"] != digest
    assert described(np.asfortranarray(array))["sha256"] == digest
    assert plain(array, hashed=False) == {"array": [2, 3]}
