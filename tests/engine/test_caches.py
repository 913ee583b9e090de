"""Kept things: bounded, made once however many threads ask, gone with their model."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import onnx
import pytest

import onnxray
from onnxray.engine.caches import Kept, of_model
from onnxray.engine.graph.float_input import with_real_input
from onnxray.engine.graph.zipmap import with_tensor_scores
from onnxray.engine.inspect.position_trace import trace
from onnxray.engine.inspect.signature import image_input
from onnxray.engine.preprocess.answers import answer_of


class Model:
    def __init__(self) -> None:
        self.kept: dict[Any, Any] = {}


def test_the_values_used_last_are_kept() -> None:
    kept = Kept[str, object](2)
    first = kept.get("a", object)
    kept.get("b", object)
    assert kept.get("a", object) is first
    kept.get("c", object)
    assert len(kept) == 2
    assert kept.get("a", object) is first
    assert kept.values()[-1] is first


def test_of_heavy_values_fewer_are_kept() -> None:
    kept = Kept[str, int](3, heavy=lambda value: value >= 10, most_heavy=1)
    for key, value in (("a", 1), ("b", 10), ("c", 2), ("d", 11)):
        kept.get(key, lambda value=value: value)
    assert kept.values() == [1, 2, 11]


def test_more_are_kept_while_they_are_wanted() -> None:
    times = 2
    kept = Kept[str, str](2, times=lambda: times)
    for key in "abcde":
        kept.get(key, key.upper)
    assert kept.values() == [*"BCDE"]
    times = 1
    kept.get("b", str)
    assert kept.values() == [*"EB"]


def test_none_is_a_value_like_any_other() -> None:
    kept = Kept[str, object](2)
    assert kept.get("a", lambda: None) is None
    assert kept.get("a", object) is None


def test_threads_make_a_value_once() -> None:
    kept, together, made = Kept[str, object](2), threading.Barrier(8), []

    def make() -> object:
        made.append(1)
        return object()

    def ask(_: int) -> object:
        together.wait()
        return kept.get("a", make)

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(ask, range(8)))
    assert len(found) == 1
    assert len(made) == 1


def test_one_key_does_not_wait_for_another() -> None:
    kept, begun, end = Kept[str, str](2), threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        assert end.wait(30)
        return "slow"

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(kept.get, "a", slow)
        assert begun.wait(30)
        assert kept.get("b", lambda: "quick") == "quick"
        end.set()
        assert waiting.result() == "slow"
    assert sorted(kept.values()) == ["quick", "slow"]


def test_what_raises_is_not_kept() -> None:
    kept = Kept[str, int](2)
    with pytest.raises(ZeroDivisionError):
        kept.get("a", lambda: 1 // 0)
    assert len(kept) == 0
    assert kept.get("a", lambda: 3) == 3


def test_of_model_keeps_a_result_for_each_model_and_argument() -> None:
    calls = []

    @of_model
    def named(model: Model, name: str = "x") -> object:
        calls.append(name)
        return object()

    one, other = Model(), Model()
    assert named(one) is named(one)
    assert named(one, "y") is named(one, "y")
    assert named(one) is not named(other)
    assert calls == ["x", "y", "x"]


def test_of_model_lets_go_of_a_model_that_its_result_refers_to() -> None:
    @of_model
    def itself(model: Model) -> list[Model]:
        return [model]

    model = Model()
    itself(model)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_of_model_does_not_keep_an_exception() -> None:
    answers = iter([ValueError("no"), None])

    @of_model
    def second(model: Model) -> str:
        error = next(answers)
        if error is not None:
            raise error
        return "yes"

    model = Model()
    with pytest.raises(ValueError, match="no"):
        second(model)
    assert second(model) == "yes"


def test_a_loaded_model_goes_with_all_that_was_found_about_it(parse: Callable[..., onnx.ModelProto]) -> None:
    """What is kept of a model refers to it, or is the model itself."""
    model = onnxray.load(
        parse("m (float[N, 3, 8, 8] x) => (float[N, 3] y) { g = GlobalAveragePool (x) y = Flatten (g) }")
    )
    assert trace(model) is trace(model)
    assert with_tensor_scores(model) is model
    assert with_real_input(model, "x") is model
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_what_is_asked_most_is_worked_out_once(parse: Callable[..., onnx.ModelProto]) -> None:
    model = onnxray.load(
        parse("m (float[N, 3, 8, 8] x) => (float[N, 3] y) { g = GlobalAveragePool (x) y = Flatten (g) }")
    )
    assert image_input(model) is image_input(model)
    assert image_input(model, "x", "NHWC").layout == "NHWC"
    assert answer_of(model) is answer_of(model)
    assert onnxray.load(model) is model
