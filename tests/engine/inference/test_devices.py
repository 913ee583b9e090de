"""Images shared among devices: which provider options they get, who works on what, what is refused.

There is no second device here: the table of capabilities says that the CPU provider has some (`devices_used`), whose
option ONNX Runtime ignores. Every result is one of the CPU provider.
"""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import onnxray
from onnxray.engine.errors import OnnxrayError, RuntimeUnavailable
from onnxray.engine.inference.device_rows import small_sessions
from onnxray.engine.inference.devices import Free, providers_on
from onnxray.engine.inference.session import sessions
from onnxray.engine.runtime.capabilities import CAPABILITIES, Capability
from onnxray.engine.runtime.providers import CPU

NUMBERED = {CPU: Capability(numbered="device_id")}


def test_cuda_is_numbered_and_the_cpu_is_not() -> None:
    assert CAPABILITIES["CUDAExecutionProvider"].numbered == "device_id"
    assert not CAPABILITIES[CPU].numbered


@pytest.mark.usefixtures("devices_used")
def test_each_device_has_its_options() -> None:
    assert providers_on([("cpu", {"use_tf32": 0})], (2, 0)) == (
        [("cpu", {"use_tf32": "0", "device_id": "2"})],
        [("cpu", {"use_tf32": "0", "device_id": "0"})],
    )
    with pytest.raises(OnnxrayError, match="both name devices"):
        providers_on([("cpu", {"device_id": 1})], (0, 1))


@pytest.mark.usefixtures("devices_used")
def test_providers_for_the_remaining_operators_are_on_the_same_device() -> None:
    assert providers_on(["cpu", CPU], (1,)) == ([("cpu", {"device_id": "1"}), (CPU, {"device_id": "1"})],)
    with pytest.raises(OnnxrayError, match="both name devices"):
        providers_on(["cpu", (CPU, {"device_id": 1})], (0, 1))


def test_more_sessions_are_kept_as_long_as_devices_share_work() -> None:
    gc.collect()  # of what earlier tests have left
    before = [kept.times() for kept in (sessions, small_sessions)]
    free = Free(["a", "b", "c"] * 5)
    assert [kept.times() for kept in (sessions, small_sessions)] == [15, 15]
    del free
    gc.collect()
    assert [kept.times() for kept in (sessions, small_sessions)] == before


@pytest.mark.parametrize("numbers", [(), (0, 0), (-1,), (True,), (0.0, 1.0), ("0",), 0, "0"])
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


def photos_of(count: int) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (80 + n, 90, 3), np.uint8) for n in range(count)]


def test_a_pipeline_on_two_devices_gives_the_same_in_order(devices_used: list[int]) -> None:
    photos = photos_of(12)
    with onnxray.Pipeline("builtin", threads=1) as pipeline:
        due = list(pipeline.map(photos))
    devices_used.clear()
    with onnxray.Pipeline("builtin", threads=1, providers="cpu", devices=(3, 4)) as pipeline:
        found = list(pipeline.map(photos))
        bad = pipeline.submit(np.zeros((0, 3), np.uint8))
        again = pipeline.submit(photos[0]).result()
        with pytest.raises(OnnxrayError):
            bad.result()
    assert set(devices_used) == {3, 4}
    for a, b in zip([*found, again], [*due, due[0]], strict=True):
        np.testing.assert_array_equal(a.values, b.values)
        assert (a.label, a.score) == (b.label, b.score)


def test_the_rule_and_the_memory_of_a_pipeline_run_on_its_devices(devices_used: list[int]) -> None:
    photos = photos_of(8)
    memory = onnxray.Novelty.fit("builtin", photos, method="knn")
    asked: dict[str, Any] = {"when": "score > 0 and novelty >= 0", "memory": memory, "threads": 1}
    devices_used.clear()
    with onnxray.Pipeline("builtin", providers="cpu", devices=(3, 4), **asked) as pipeline:
        found = list(pipeline.map(photos))
    assert set(devices_used) == {3, 4}
    with onnxray.Pipeline("builtin", **asked) as pipeline:
        for a, b in zip(found, pipeline.map(photos), strict=True):
            assert a.details["prediction"] == b.details["prediction"]
