"""How much memory of a card is free, as CUDA's runtime says; no package is needed for it."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from .providers import CUDA, Provider

_VERSIONS = (13, 12, 11)


def free_bytes(provider: Provider) -> int | None:
    """Bytes that are free on the device of `provider`; None where that is not known, as of all but CUDA."""
    runtime = _cuda_runtime() if provider.name == CUDA else None
    if runtime is None:
        return None
    before, free, total = ctypes.c_int(0), ctypes.c_size_t(0), ctypes.c_size_t(0)
    number = int(dict(provider.options).get("device_id", 0))
    if runtime.cudaGetDevice(ctypes.byref(before)) or runtime.cudaSetDevice(number):
        return None
    failed = runtime.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total))
    runtime.cudaSetDevice(before)
    limit = int(dict(provider.options).get("gpu_mem_limit", free.value))
    return None if failed else min(free.value, limit)


def _cuda_runtime() -> Any:
    """The library that ONNX Runtime has loaded already; None where there is none."""
    pattern = "cudart64_{}.dll" if sys.platform == "win32" else "libcudart.so.{}"
    for version in _VERSIONS:
        try:
            return ctypes.CDLL(pattern.format(version))
        except OSError:
            continue
    return None
