"""The newest version of ONNX's file format that the installed ONNX Runtime reads."""

from __future__ import annotations

from functools import cache

import onnx

from .ort import ORT_ERRORS, ort, session_options
from .providers import CPU

# Every ONNX Runtime that onnxray runs on reads this one.
_ALWAYS_READ = 10


@cache
def newest_ir_version() -> int:
    """The newest IR version that ONNX Runtime reads, at most the newest one of the installed onnx; found by trying."""
    graph = onnx.parser.parse_graph("g (float[1] x) => (float[1] y) { y = Neg(x) }")
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    for version in range(onnx.IR_VERSION, _ALWAYS_READ, -1):
        proto.ir_version = version
        try:
            ort.InferenceSession(proto.SerializeToString(), session_options(1), providers=[CPU])
        except ORT_ERRORS:
            continue
        return version
    return _ALWAYS_READ


def runtime_version() -> str:
    """Of the installed ONNX Runtime, "1.22.0"."""
    return str(ort.__version__)
