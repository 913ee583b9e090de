"""Images shared among devices: which provider options they get, who works on what, what is refused.

There is no second device here: a table says that a provider has some. Every result is one of the CPU provider.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import onnxray
from onnxray.engine.errors import OnnxrayError, RuntimeUnavailable
from onnxray.engine.inference import devices
from onnxray.engine.inference.devices import Free, providers_on
from onnxray.engine.inference.session import sessions
from onnxray.engine.runtime.capabilities import CAPABILITIES, Capability
from onnxray.engine.runtime.providers import CPU, Provider

NUMBERED = {CPU: Capability(numbered="device_id")}


def test_cuda_is_numbered_and_the_cpu_is_not() -> None:
    assert CAPABILITIES["CUDAExecutionProvider"].numbered == "device_id"
    assert not CAPABILITIES[CPU].numbered


def test_each_device_has_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "resolve", lambda asked: (Provider(CPU),))
    found = providers_on([("cpu", {"use_tf32": 0}), "cpu"], (2, 0), NUMBERED)
    assert found == (
        [("cpu", {"use_tf32": "0", "device_id": "2"}), ("cpu", {})],
        [("cpu", {"use_tf32": "0", "device_id": "0"}), ("cpu", {})],
    )
    assert sessions.most >= 16
    with pytest.raises(OnnxrayError, match="both name devices"):
        providers_on([("cpu", {"device_id": 1})], (0, 1), NUMBERED)


@pytest.mark.parametrize("numbers", [(), (0, 0), (-1,), (True,), (0.0, 1.0), ("0",)])
def test_what_are_no_devices(numbers: Any) -> None:
    with pytest.raises(OnnxrayError, match="are no devices"):
        providers_on("cpu", numbers, NUMBERED)


def test_the_cpu_has_no_devices_and_one_that_is_not_there_is_refused() -> None:
    with pytest.raises(OnnxrayError, match=r"no numbered devices: leave devices out; threads.*--on ray"):
        providers_on("cpu", (0, 1))
    # ONNX Runtime is asked for each device: its CPU provider refuses the option.
    with pytest.raises(RuntimeUnavailable, match="cannot be used with device_id=0"):
        providers_on("cpu", (0, 1), NUMBERED)


def test_a_worker_is_used_by_one_thread_at_a_time_and_comes_back_after_an_error() -> None:
    free, busy, twice = Free(["a", "b"]), set[str](), []
    lock = threading.Lock()

    def work(number: int) -> str:
        with free.one() as worker:
            with lock:
                twice.append(worker in busy)
                busy.add(worker)
            if number % 3 == 0:
                with lock:
                    busy.discard(worker)
                raise ValueError(number)
            with lock:
                busy.discard(worker)
            return worker

    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(work, n) for n in range(60)]
    assert not any(twice)
    assert sum(f.exception() is not None for f in futures) == 20


@pytest.fixture
def two_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices 0 and 1, both of them the CPU, under two of its names."""
    monkeypatch.setattr(
        "onnxray.engine.pipeline.pipeline.providers_on", lambda providers, numbers: [["cpu", CPU][n] for n in numbers]
    )


@pytest.mark.usefixtures("two_devices")
def test_a_pipeline_on_two_devices_gives_the_same_in_order() -> None:
    rng = np.random.default_rng(0)
    photos: list[Any] = [rng.integers(0, 256, (80 + n, 90, 3), np.uint8) for n in range(12)]
    with onnxray.Pipeline("builtin", threads=1) as pipeline:
        due = list(pipeline.map(photos))
    with onnxray.Pipeline("builtin", threads=1, devices=(0, 1)) as pipeline:
        found = list(pipeline.map(photos))
        bad = pipeline.submit(np.zeros((0, 3), np.uint8))
        again = pipeline.submit(photos[0]).result()
        with pytest.raises(OnnxrayError):
            bad.result()
    for a, b in zip([*found, again], [*due, due[0]], strict=True):
        np.testing.assert_array_equal(a.values, b.values)
        assert (a.label, a.score) == (b.label, b.score)
