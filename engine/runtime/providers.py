"""Execution providers: which of them work on this machine."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import onnx

from ..errors import RuntimeUnavailable, UnknownName
from .ort import ORT_ERRORS, ort, session_options

_SHORT = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "directml": "DmlExecutionProvider",
    "dml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
}
CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"


@cache
def providers() -> tuple[str, ...]:
    """Execution providers that work on this machine, best first; the last one is the CPU."""
    usable = [CPU]
    if unusable_reason(CUDA) is None:
        usable.insert(0, CUDA)
    return tuple(usable)


@cache
def unusable_reason(provider: str) -> str | None:
    """Why `provider` cannot be used here, None if it can. Tries it once on a model of one node, without output."""
    if provider == CPU:
        return None
    if provider not in ort.get_available_providers():
        return f"the installed onnxruntime {ort.__version__} was built without it"
    if provider in (CUDA, "TensorrtExecutionProvider"):
        reason = _no_cuda_device()
        if reason:
            return reason
        _preload_cuda()
    graph = onnx.parser.parse_graph("g (float[1] x) => (float[1] y) { y = Neg(x) }")
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    with _quiet() as said:
        try:
            made = ort.InferenceSession(proto.SerializeToString(), session_options(None), providers=[provider])
            if made.get_providers()[0] == provider:
                made.run(None, {"x": np.zeros(1, np.float32)})
                return None
        except ORT_ERRORS as error:
            said.append(str(error))
    detail = " ".join(" ".join(said).split())
    missing = detail.partition("error: ")[2] or detail
    return f"it cannot be loaded ({missing[:200]})" if missing else "it cannot be loaded"


def _no_cuda_device() -> str | None:
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return "no NVIDIA driver is installed"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "no NVIDIA GPU is visible"
    return None


def _preload_cuda() -> None:
    """Make the CUDA libraries that pip installed visible to the loader (a no-op where they are system-wide)."""
    if hasattr(ort, "preload_dlls"):
        with _quiet():
            ort.preload_dlls()


@contextlib.contextmanager
def _quiet() -> Iterator[list[str]]:
    """Catch what native code writes to stdout and stderr; the list holds it afterwards."""
    said: list[str] = []
    _flush()
    saved: list[tuple[int, int]] = []
    with tempfile.TemporaryFile() as file:
        try:
            for number in (1, 2):
                with contextlib.suppress(OSError):  # a daemon's may be closed
                    saved.append((number, os.dup(number)))
                    os.dup2(file.fileno(), number)
            yield said
        finally:
            _flush()
            for number, copy in saved:
                os.dup2(copy, number)
                os.close(copy)
            file.seek(0)
            said.append(file.read().decode(errors="replace"))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # as under pythonw
            stream.flush()


def resolve_providers(asked: str | Sequence[str] | None) -> tuple[str, ...]:
    """Full names of the providers to use: the best usable one, or those asked for.

    Raises UnknownName for a name that does not exist and RuntimeUnavailable for one that does not work here: a
    request is never answered by another provider.
    """
    if asked is None:
        return providers()
    names = list(asked) if isinstance(asked, Sequence) and not isinstance(asked, str) else [asked]
    full = []
    for name in names:
        provider = _SHORT.get(str(name).lower(), str(name))
        if provider not in _SHORT.values() and provider not in ort.get_all_providers():
            raise UnknownName("execution provider", name, _SHORT, f"usable here: {', '.join(providers())}")
        reason = unusable_reason(provider)
        if reason:
            usable = ", ".join(p.removesuffix("ExecutionProvider").lower() for p in providers())
            raise RuntimeUnavailable(f"execution provider {name!r} cannot be used: {reason}; usable here: {usable}")
        full.append(provider)
    if CPU not in full:
        full.append(CPU)  # for the operators that the provider does not have
    return tuple(full)
