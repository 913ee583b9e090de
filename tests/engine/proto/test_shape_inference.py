"""Shape inference: what is followed, and how often onnx is asked."""

from __future__ import annotations

import subprocess
import sys
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


def test_a_slice_of_a_negative_size_does_not_end_the_process(parse: Parse) -> None:
    """onnx asserts on the size that a Pad leaves which cuts more than there is."""
    proto = parse(
        "g (float[1, 4] x) => (float[1, M] y) { p = Pad (x, pads)  s = Slice (p, starts, ends, axes)  y = Relu (s) }",
        pads=np.array([0, -9, 0, 0], np.int64),
        starts=np.array([0], np.int64),
        ends=np.array([9], np.int64),
        axes=np.array([1], np.int64),
    )
    code = "import sys, onnxray\ntry: onnxray.load(sys.stdin.buffer.read())\nexcept onnxray.OnnxrayError as e: print(e)"
    data = proto.SerializeToString()
    done = subprocess.run([sys.executable, "-c", code], input=data, timeout=120, check=True, capture_output=True)
    assert b"a Pad cuts more than there is" in done.stdout
