"""bands: everything is done exactly once, errors come back, a fork does not hang."""

from __future__ import annotations

import os
import threading
import time

import pytest

from onnxray.kernels import threads
from onnxray.kernels.threads import available, bands


@pytest.mark.parametrize("rows", [1, 2, 7, 100, 1081])
@pytest.mark.parametrize("count", [1, 2, 3, 16, None])
@pytest.mark.parametrize("least", [1, 10, 5000])
def test_every_row_once(rows, count, least):
    done = []
    bands(lambda start, stop: done.append((start, stop)), rows, count, least)
    rows_done = sorted(row for start, stop in done for row in range(start, stop))
    assert rows_done == list(range(rows))
    assert all(stop - start >= min(least, rows) for start, stop in done)


def test_small_work_stays_in_the_calling_thread():
    seen = set()
    bands(lambda start, stop: seen.add(threading.get_ident()), 100, 8, least=51)
    bands(lambda start, stop: seen.add(threading.get_ident()), 100, 1)
    assert seen == {threading.get_ident()}


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor")
def test_several_threads_take_part():
    """Two bands that wait for one another can only end side by side."""
    meet = threading.Barrier(2)
    bands(lambda start, stop: meet.wait(timeout=60) if start in (0, 50) else None, 100, 2, least=50)


def test_an_error_comes_back_after_all_have_stopped():
    running = []

    def work(start: int, stop: int) -> None:
        running.append(start)
        try:
            if start >= 4:
                raise ArithmeticError(f"row {start}")
            time.sleep(0.01)
        finally:
            running.remove(start)

    with pytest.raises(ArithmeticError, match="row"):
        bands(work, 16, 4)
    assert running == []
    bands(lambda start, stop: None, 16, 4)  # the pool is still usable


def test_calls_from_threads_and_nested():
    """More callers than threads in the pool, and bands within bands: nobody waits for a place in the pool."""
    total = []

    def outer(start: int, stop: int) -> None:
        bands(lambda a, b: total.append((stop - start) * (b - a)), 8, 4)

    callers = [threading.Thread(target=bands, args=(outer, 8, 4)) for _ in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=60)
        assert not caller.is_alive()
    assert sum(total) == 6 * 64


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_gets_its_own_pool():
    bands(lambda start, stop: None, 16, 4)
    assert threads._pool is not None
    child = os.fork()
    if child == 0:
        done = []
        try:
            bands(lambda start, stop: done.append(stop - start), 16, 4)
        finally:
            os._exit(0 if sum(done) == 16 else 1)
    for _ in range(600):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        time.sleep(0.05)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        pytest.fail("the child hangs")
    assert os.waitstatus_to_exitcode(status) == 0


def test_available():
    assert 1 <= available() <= (os.cpu_count() or 1)


def test_misuse():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        bands(lambda start, stop: None, 4, 0)
