"""Rows made on the way and run by workers: every one once, the same answers whatever the threads, errors passed on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.errors import ModelError, OutOfMemory, ShapeError
from onnxray.engine.inference import batches
from onnxray.engine.inference.batches import (
    GeneratedRows,
    RunOptions,
    known_one_at_a_time,
    run_batches,
    run_generated,
)
from onnxray.engine.inference.session import Session
from onnxray.engine.runtime.ort import run_error

RNG = np.random.default_rng(0)
X = RNG.standard_normal((37, 3, 16, 16)).astype(np.float32)


def made(model: onnxray.Model, x: np.ndarray, runtime: RunOptions | None = None, **shared: Any) -> np.ndarray:
    """The first output for the rows of x, made one batch at a time; checks how it was asked for them."""
    name, out = model.inputs[0].name, model.outputs[0].name
    asked, found = [], {}

    def make(numbers: np.ndarray) -> dict[str, np.ndarray]:
        asked.extend(numbers.tolist())
        return {name: x[numbers]}

    def consume(numbers: np.ndarray, got: dict[str, np.ndarray]) -> None:
        assert len(got[out]) == len(numbers)
        found.update(zip(numbers.tolist(), got[out], strict=True))

    rows = GeneratedRows(len(x), make, {name: x[:1]})
    run_generated(model, rows, consume, [out], shared=shared, runtime=runtime)
    assert sorted(asked) == sorted(found) == list(range(len(x)))
    return np.stack([found[i] for i in range(len(x))])


@pytest.mark.parametrize("threads", [1, 2, 5, None])
@pytest.mark.parametrize("batch", [None, 1, 4, 50])
def test_every_row_once(cnn: onnx.ModelProto, threads: int | None, batch: int | None) -> None:
    model = onnxray.load(cnn)
    expected = run_batches(model, {model.inputs[0].name: X}, [model.outputs[0].name])[model.outputs[0].name]
    runtime = RunOptions("cpu", threads, batch)
    np.testing.assert_allclose(made(model, X, runtime), expected, rtol=1e-4, atol=1e-5)


def test_the_threads_change_nothing(cnn: onnx.ModelProto) -> None:
    model = onnxray.load(cnn)
    two, again, four = (made(model, X, RunOptions("cpu", n, 4)).tobytes() for n in (2, 2, 4))
    assert two == again == four


def test_a_model_of_a_fixed_batch(parse: Callable[..., onnx.ModelProto]) -> None:
    model = onnxray.load(parse("m (float[5, 4] x) => (float[5, 4] y) { y = Mul (x, x) }"))
    x = RNG.standard_normal((13, 4)).astype(np.float32)
    np.testing.assert_array_equal(made(model, x), x * x)


def test_shared_inputs(parse: Callable[..., onnx.ModelProto]) -> None:
    model = onnxray.load(parse("m (float[N, 4] x, float[4] s) => (float[N, 4] y) { y = Mul (x, s) }"))
    x, s = RNG.standard_normal((300, 4)).astype(np.float32), RNG.standard_normal(4).astype(np.float32)
    np.testing.assert_array_equal(made(model, x, s=s), x * s)


@pytest.mark.parametrize("where", ["make", "consume"])
def test_an_error_stops_the_workers(cnn: onnx.ModelProto, where: str) -> None:
    model, calls = onnxray.load(cnn), []

    def fail(place: str, numbers: np.ndarray) -> None:
        calls.append(place)
        if place == where and 8 in numbers:
            raise ZeroDivisionError("here")

    def make(numbers: np.ndarray) -> dict[str, np.ndarray]:
        fail("make", numbers)
        return {model.inputs[0].name: X[:1].repeat(len(numbers), 0)}

    with pytest.raises(ZeroDivisionError, match="here"):
        run_generated(
            model,
            GeneratedRows(4000, make, {model.inputs[0].name: X[:1]}),
            lambda numbers, got: fail("consume", numbers),
            [model.outputs[0].name],
            runtime=RunOptions("cpu", 2, 4),
        )
    assert len(calls) < 1000
    assert not any(t.name.startswith("onnxray-rows") for t in threading.enumerate())


def test_what_running_the_model_raises(cnn: onnx.ModelProto) -> None:
    with pytest.raises((ModelError, ShapeError)):
        made(onnxray.load(cnn), RNG.standard_normal((40, 7, 16, 16)).astype(np.float32), RunOptions("cpu", 2))


def test_no_rows(cnn: onnx.ModelProto) -> None:
    model = onnxray.load(cnn)

    def never(*_: Any) -> Any:
        raise AssertionError("called")

    rows = GeneratedRows(0, never, {model.inputs[0].name: X[:1]})
    assert run_generated(model, rows, never, [model.outputs[0].name]) is None


@pytest.mark.parametrize("count", [1, 8, 37])
def test_elsewhere_than_on_processors_a_session_sees_one_batch_size(
    cnn: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """What cuDNN plans for a batch size it throws away at the next one: the last run is filled up, and the clean
    input's run has a session of its own."""
    model, sizes = onnxray.load(cnn), {}
    expected = run_batches(model, {model.inputs[0].name: X[:count]}, [model.outputs[0].name], runtime=RunOptions("cpu"))
    run = Session.run

    def spied(self: Session, feeds: Any, outputs: Any = None) -> Any:
        sizes.setdefault(self, set()).add(len(feeds[model.inputs[0].name]))
        return run(self, feeds, outputs)

    monkeypatch.setattr(Session, "run", spied)
    monkeypatch.setattr(batches, "resolve_providers", lambda _: ("CUDAExecutionProvider", "CPUExecutionProvider"))
    runtime = RunOptions("cpu", batch=8)
    run_batches(model, {model.inputs[0].name: X[:1]}, [model.outputs[0].name], runtime=runtime)
    got = made(model, X[:count], runtime)
    np.testing.assert_allclose(got, expected[model.outputs[0].name], rtol=1e-4, atol=1e-5)
    assert all(len(found) == 1 for found in sizes.values()), sizes
    assert {max(found) for found in sizes.values()} == ({1} if count == 1 else {1, 8})


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Makes every run of more rows than its argument fail as ONNX Runtime does where memory does not suffice; the list
    holds how many rows each run was given."""

    def limit(most: int) -> list[int]:
        sizes: list[int] = []
        run = Session.run

        def small(self: Session, feeds: Any, outputs: Any = None) -> Any:
            sizes.append(len(next(iter(feeds.values()))))
            if sizes[-1] > most:
                raise run_error(RuntimeError("BFCArena::AllocateRawInternal Failed to allocate memory of size 99"))
            return run(self, feeds, outputs)

        monkeypatch.setattr(Session, "run", small)
        return sizes

    return limit


@pytest.mark.parametrize("device", [False, True])
def test_where_memory_does_not_suffice_half_as_many_rows_run(
    cnn: onnx.ModelProto, room: Callable[[int], list[int]], monkeypatch: pytest.MonkeyPatch, device: bool
) -> None:
    model, notices = onnxray.load(cnn), []
    feeds, names = {model.inputs[0].name: X}, [model.outputs[0].name]
    expected = run_batches(model, feeds, names)[names[0]]
    if device:
        monkeypatch.setattr(batches, "resolve_providers", lambda _: ("CUDAExecutionProvider", "CPUExecutionProvider"))
    sizes = room(5)
    runtime = RunOptions("cpu", batch=16, on_notice=notices.append)
    np.testing.assert_allclose(run_batches(model, feeds, names, runtime=runtime)[names[0]], expected, rtol=1e-4)
    assert sizes == [16, 8, *[4] * 9, 4 if device else 1]
    assert len(set(notices)) == 1
    assert "16 inputs at once do not fit" in notices[0]
    assert "batch=4" in notices[0]
    assert not known_one_at_a_time(model).is_set()
    del sizes[:], notices[:]
    np.testing.assert_allclose(made(model, X, runtime), expected, rtol=1e-4, atol=1e-5)
    assert max(sizes) == 4, "what does not fit is not tried again"
    assert len(set(notices)) == 1, "but said again: it may be another explanation's"
    del notices[:]
    run_batches(model, {model.inputs[0].name: X[:3]}, names, runtime=runtime)
    assert notices == []


def test_where_a_single_row_is_too_much(cnn: onnx.ModelProto, room: Callable[[int], list[int]]) -> None:
    model, sizes = onnxray.load(cnn), room(0)
    with pytest.raises(OutOfMemory, match="Failed to allocate memory"):
        run_batches(model, {model.inputs[0].name: X}, [model.outputs[0].name], runtime=RunOptions("cpu", batch=4))
    assert sizes == [4, 2, 1]


def test_a_fixed_batch_that_is_too_much(
    parse: Callable[..., onnx.ModelProto], room: Callable[[int], list[int]]
) -> None:
    model, sizes = onnxray.load(parse("m (float[5, 4] x) => (float[5, 4] y) { y = Mul (x, x) }")), room(4)
    with pytest.raises(OutOfMemory):
        run_batches(model, {"x": RNG.standard_normal((13, 4)).astype(np.float32)}, ["y"])
    assert sizes == [5]


@pytest.mark.parametrize("size", [1 << 31, 1 << 40])
def test_a_fixed_batch_that_nothing_holds_is_refused_before_it_is_made(parse: Any, size: int) -> None:
    model = onnxray.load(parse(f"m (float[{size}, 3] x) => (float[{size}, 3] y) {{ y = Relu (x) }}"))
    with pytest.raises(ShapeError, match="fixes its batch at"):
        run_batches(model, {"x": np.ones((1, 3), np.float32)}, ["y"])


def test_no_sample_is_said(parse: Any) -> None:
    model = onnxray.load(parse("m (float[N, 3] x) => (float[N, 3] y) { y = Relu (x) }"))
    with pytest.raises(ShapeError, match="no sample"):
        run_batches(model, {"x": np.ones((0, 3), np.float32)}, ["y"])


def test_rows_do_not_change_each_other_where_integers_stand_for_the_range_of_all(parse: Any) -> None:
    """DynamicQuantizeLinear finds one scale for the whole batch."""
    model = onnxray.load(
        parse(
            "m (float[N, 4] x) => (float[N, 4] y) { q, s, z = DynamicQuantizeLinear (x) y = DequantizeLinear (q, s, z) }"
        )
    )
    x = np.array([[1, 0.3, 0.2, -0.1], [1000, 3, 2, 1], [0.01, 0.02, 0.03, -0.02]], np.float32)
    said: list[str] = []
    rows = GeneratedRows(3, lambda numbers: {"x": x[numbers]}, {"x": x})
    run_generated(model, rows, lambda numbers, got: None, ["y"], runtime=RunOptions(on_notice=said.append))
    assert said == []  # nobody asks for a batch
    found = run_batches(model, {"x": x}, ["y"], runtime=RunOptions(batch=8, on_notice=said.append))["y"]
    for row in range(3):
        np.testing.assert_array_equal(found[row : row + 1], Session(model).run({"x": x[row : row + 1]})["y"])
    assert said == ["the model answers one sample at a time: the option batch has no effect"]
