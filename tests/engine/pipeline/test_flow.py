"""The stages alone, with plain functions in the place of models."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from onnxray.engine.errors import Busy, ImageError, PipelineClosed, ShapeError
from onnxray.engine.pipeline.flow import Flow, Sizes, Stages


def doubled(items: Sequence[int]) -> list[int]:
    return [2 * item for item in items]


def test_results_come_in_order_and_every_stage_is_done() -> None:
    with Flow[str](Stages(doubled, int, str), Sizes(workers=3, queue=2, decoders=2, renderers=2)) as flow:
        assert list(flow.map(map(str, range(200)))) == [str(2 * n) for n in range(200)]
        stats = flow.stats()
    assert (stats.images, stats.failed, stats.depth) == (200, 0, 0)
    assert list(stats.stages) == ["decode", "infer", "render", "total"]
    assert stats.to_mapping()["stages"]["infer"]["p50"] <= stats.stages["infer"].p99


def test_an_image_that_fails_harms_no_other() -> None:
    def infer(items: Sequence[int]) -> list[int]:
        if 13 in items:
            raise ImageError("thirteen")
        return list(items)

    with Flow[int](Stages(infer), Sizes(batch=8, max_delay_ms=50, queue=32)) as flow:
        tickets = [flow.submit(n, key=n) for n in range(20)]
        assert [t.result(10) for t in tickets if t.key != 13] == [n for n in range(20) if n != 13]
        with pytest.raises(ImageError, match="thirteen"):
            tickets[13].result(10)
        assert flow.stats().failed == 1
        mixed = list(flow.map([12, 13, 14], errors="return"))
        assert [mixed[0], str(mixed[1]), mixed[2]] == [12, "thirteen", 14]
        with pytest.raises(ImageError):
            list(flow.map([12, 13]))
        with pytest.raises(ShapeError, match="neither 'raise' nor 'return'"):
            flow.map([], errors="skip")


@pytest.mark.parametrize("kind", [ImageError, ZeroDivisionError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("stage", ["decode", "infer", "render", "group"])
def test_errors_of_all_stages_come_by_the_ticket(stage: str, kind: type[BaseException]) -> None:
    """Also those that would end the thread: whoever waits for the ticket would wait for ever."""

    def fail(item: Any) -> Any:
        raise kind(stage)

    with Flow[int](Stages(**{"infer": doubled, stage: fail}), Sizes(workers=1)) as flow:
        for _ in range(2):
            assert isinstance(flow.submit(1).error(10), kind)


def test_a_full_pipeline_is_busy_and_submit_waits() -> None:
    go = threading.Event()

    def infer(items: Sequence[int]) -> list[int]:
        assert go.wait(10)
        return list(items)

    with Flow[int](Stages(infer), Sizes(workers=1, queue=3)) as flow:
        tickets = [flow.submit(n) for n in range(flow.capacity)]
        assert flow.capacity == 4
        with pytest.raises(Busy, match="4 images wait or are in work"):
            flow.submit(9, wait=False)
        with pytest.raises(Busy):
            flow.submit(9, timeout=0.01)
        with pytest.raises(TimeoutError):
            tickets[0].result(0.01)
        threading.Timer(0.05, go.set).start()
        assert flow.submit(9, timeout=10).result(10) == 9
        assert [t.result(10) for t in tickets] == [0, 1, 2, 3]


def test_batches_form_of_what_is_there() -> None:
    sizes: list[int] = []
    first, began = threading.Event(), threading.Event()

    def infer(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        began.set()
        assert first.wait(10)
        return list(items)

    with Flow[int](
        Stages(infer, group=lambda n: n >= 100), Sizes(workers=1, queue=32, batch=4, max_delay_ms=0)
    ) as flow:
        tickets = [flow.submit(0)]
        assert began.wait(10)
        tickets += [flow.submit(n) for n in (1, 2, 3, 4, 5, 100, 101, 6)]
        first.set()
        assert [t.result(10) for t in tickets] == [0, 1, 2, 3, 4, 5, 100, 101, 6]
    # Never more than four, and only those of one group.
    assert sizes == [1, 4, 1, 2, 1]


def test_the_first_image_waits_for_others() -> None:
    sizes: list[int] = []

    def infer(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        return list(items)

    with Flow[int](Stages(infer), Sizes(workers=2, queue=8, batch=2, max_delay_ms=600_000)) as flow:
        one = flow.submit(1)
        time.sleep(0.05)
        assert not one.done()
        assert [one.result(60) if flow.submit(2).result(60) else 0, sizes] == [1, [2]]


def test_the_number_of_images_inside_is_bounded() -> None:
    taken = 0

    def items() -> Any:
        nonlocal taken
        for n in range(100):
            taken += 1
            yield n

    with Flow[int](Stages(doubled), Sizes(workers=1, queue=2)) as flow:
        for n, result in enumerate(flow.map(items())):
            assert result == 2 * n
            assert taken - n <= flow.capacity + 1


def test_close_finishes_what_was_submitted_and_takes_no_more() -> None:
    flow = Flow[int](Stages(lambda items: time.sleep(0.01) or list(items)), Sizes(workers=1, queue=20))
    tickets = [flow.submit(n) for n in range(10)]
    flow.close()
    assert all(t.done() and t.error() is None for t in tickets)
    with pytest.raises(PipelineClosed, match="takes no more"):
        flow.submit(1)
    flow.close()


def test_an_exception_in_the_block_drops_what_waits() -> None:
    began, go = threading.Event(), threading.Event()

    def infer(items: Sequence[int]) -> list[int]:
        began.set()
        assert go.wait(10)
        return list(items)

    tickets: list[Any] = []

    def block() -> None:
        with Flow[int](Stages(infer), Sizes(workers=1, queue=20)) as flow:
            tickets.extend(flow.submit(n) for n in range(10))
            assert began.wait(10)
            threading.Timer(0.05, go.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        block()
    assert tickets[0].result(0) == 0
    for ticket in tickets[1:]:
        with pytest.raises(PipelineClosed, match="before this image's turn"):
            ticket.result(0)
    assert not [t for t in threading.enumerate() if t.name.startswith(("onnxray-infer", "onnxray-decode"))]


def test_one_that_nobody_holds_ends_its_threads() -> None:
    flow = Flow[int](Stages(doubled, int, str), Sizes())
    threads = list(flow._state.threads)
    assert flow.submit(1).result(10) == "2"
    del flow
    gc.collect()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_what_has_been_done_is_not_kept() -> None:
    class Large:
        alive = 0

        def __init__(self) -> None:
            Large.alive += 1

        def __del__(self) -> None:
            Large.alive -= 1

    with Flow[Any](Stages(list, lambda _: Large(), lambda x: x), Sizes(workers=2, queue=2)) as flow:
        for _ in flow.map(range(300)):
            assert Large.alive <= flow.capacity + 8
        flow.submit(0).result(10)
        del _
        gc.collect()
        assert Large.alive <= 3


@pytest.mark.parametrize(
    "wrong", [{"workers": 0}, {"queue": 1.5}, {"batch": True}, {"max_delay_ms": -1}, {"max_delay_ms": float("nan")}]
)
def test_numbers_that_make_no_pipeline(wrong: dict[str, Any]) -> None:
    with pytest.raises(ShapeError, match=next(iter(wrong))):
        Sizes(**wrong)
