"""Free memory is asked of CUDA's runtime; a stand-in plays its part where there is no card."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from onnxray.engine.runtime.device_memory import free_bytes
from onnxray.engine.runtime.providers import CPU, CUDA, Provider


class Runtime:
    """Two devices, of 10 and 20 free bytes; calls fail with 101 for others, as CUDA's do."""

    def __init__(self) -> None:
        self.current = 0

    def cudaGetDevice(self, place: Any) -> int:
        place._obj.value = self.current
        return 0

    def cudaSetDevice(self, number: Any) -> int:
        number = number.value if isinstance(number, ctypes.c_int) else number
        if number not in (0, 1):
            return 101
        self.current = number
        return 0

    def cudaMemGetInfo(self, free: Any, total: Any) -> int:
        free._obj.value, total._obj.value = (10, 20)[self.current], 100
        return 0


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    found = Runtime()

    def opened(name: str) -> Runtime:
        if "12" not in name:
            raise OSError(name)
        return found

    monkeypatch.setattr(ctypes, "CDLL", opened)
    return found


def test_each_device_has_its_own(runtime: Runtime) -> None:
    assert free_bytes(Provider(CUDA)) == 10
    assert free_bytes(Provider(CUDA, (("device_id", "1"),))) == 20
    assert runtime.current == 0, "the thread's device stays"
    assert free_bytes(Provider(CUDA, (("device_id", "1"), ("gpu_mem_limit", "15")))) == 15


def test_what_is_not_known(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_bytes(Provider(CUDA, (("device_id", "7"),))) is None
    assert free_bytes(Provider(CPU)) is None

    def missing(name: str) -> Any:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert free_bytes(Provider(CUDA)) is None
