"""Errors of ONNX Runtime in our words, and what is set before it is imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import onnx
import onnx.version_converter
import pytest

from onnxray.engine.errors import ModelError, OpsetError, OutOfMemory, ShapeError
from onnxray.engine.runtime.ort import create, run_error, session_options, silence_telemetry

NODE = "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running "


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            f"{NODE}Conv node. Name:'c' Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:359 void* "
            "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) Failed to allocate memory for requested buffer of "
            "size 822083584"
        ),
        RuntimeError(
            f"{NODE}FusedConv node. Name:'' Status Message: CUDA failure 2: out of memory ; GPU=0 ; file=x.cc"
        ),
        RuntimeError("CUDA error cudaErrorMemoryAllocation:out of memory"),
        RuntimeError(
            f"{NODE}MatMul node. Name:'m' Status Message: CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0"
        ),
        RuntimeError(f"{NODE}Conv node. Name:'' Status Message: CUDNN failure 2: CUDNN_STATUS_ALLOC_FAILED ; GPU=0"),
        RuntimeError(f"{NODE}Resize node. Name:'r' Status Message: std::bad_alloc"),
        MemoryError("std::bad_alloc"),
    ],
)
def test_out_of_memory_is_an_error_of_its_own(error: Exception) -> None:
    found = run_error(error)
    assert isinstance(found, OutOfMemory)
    assert "ran out of memory" in str(found)
    assert "run fewer inputs at once" in str(found)
    assert "\n" not in str(found)


def test_other_errors_are_not_out_of_memory() -> None:
    reshape = RuntimeError(f"{NODE}Reshape node. Name:'bad' Status Message: The input tensor cannot be reshaped")
    assert type(run_error(reshape)) is ModelError
    assert type(run_error(ValueError("CUDA failure 29: driver shutting down"))) is ModelError
    assert type(run_error(RuntimeError("Got invalid dimensions for input: x"))) is ShapeError


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "1"),
        ({"ONNXRAY_TELEMETRY": "0"}, "1"),
        ({"ONNXRAY_TELEMETRY": "1"}, None),
        ({"ORT_DISABLE_TELEMETRY": "0"}, "0"),
    ],
)
def test_telemetry_is_off_unless_asked_for(before: dict[str, str], after: str | None) -> None:
    environment = dict(before)
    silence_telemetry(environment)
    assert environment.get("ORT_DISABLE_TELEMETRY") == after


@pytest.mark.slow
def test_nothing_is_written_into_the_home_folder(tmp_path: Path) -> None:
    kept = {k: v for k, v in os.environ.items() if k not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")}
    code = "from onnxray.engine.runtime.ort import ort"
    subprocess.run([sys.executable, "-c", code], env={**kept, "HOME": str(tmp_path)}, check=True, timeout=120)
    assert not [p for p in tmp_path.rglob("*") if "Microsoft" in str(p)]


def test_an_opset_that_is_too_new_has_a_remedy() -> None:
    """It ended in 400 characters of ONNX Runtime's own, cut before its newest opset."""
    newest = onnx.defs.onnx_opset_version()
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    infos = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([node], "g", infos[:1], infos[1:])
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", newest)], ir_version=8)
    try:
        create(proto, ["CPUExecutionProvider"], session_options(1))
    except OpsetError as error:
        said = str(error)
    else:
        pytest.skip(f"this ONNX Runtime knows opset {newest}")
    found = re.search(rf"opset {newest}, .* runs up to (\d+): .*convert_version\(model, \1\)$", said)
    assert found
    converted = onnx.version_converter.convert_version(proto, int(found[1]))
    converted.ir_version = 8
    create(converted, ["CPUExecutionProvider"], session_options(1))
