"""Errors of ONNX Runtime in our words."""

from __future__ import annotations

import pytest

from onnxray.engine.errors import ModelError, OutOfMemory, ShapeError
from onnxray.engine.runtime.ort import run_error

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
