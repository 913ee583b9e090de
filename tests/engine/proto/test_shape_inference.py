"""Shape inference: what is followed, and how often onnx is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from onnxray.engine.proto.shape_inference import infer_shapes
from onnxray.engine.proto.values import from_info

Parse = Callable[..., onnx.ModelProto]
PLAIN = "m (float[N, 3, 8, 8] x) => (float[N, 3] y) { g = GlobalAveragePool (x) y = Flatten (g) }"
COMPUTED = """m (float[N, 2, 3] x) => (float[A, B] y)
    { s = Shape (x) n = Gather <axis = 0> (s, zero) w = Concat <axis = 0> (n, six) y = Reshape (x, w) }"""


@pytest.mark.parametrize(("text", "passes"), [(PLAIN, 1), (COMPUTED, 2)])
def test_computed_sizes_are_followed_only_where_a_size_is_open(
    parse: Parse, monkeypatch: pytest.MonkeyPatch, text: str, passes: int
) -> None:
    asked = []
    true = onnx.shape_inference.infer_shapes

    def counted(*args: Any, **kwargs: Any) -> onnx.ModelProto:
        asked.append(kwargs)
        return true(*args, **kwargs)

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", counted)
    proto = parse(text, zero=np.array([0], np.int64), six=np.array([6], np.int64))
    done = infer_shapes(proto)
    assert len(asked) == passes
    assert from_info(done.graph.output[0]).shape == ("N", 3 if text == PLAIN else 6)
