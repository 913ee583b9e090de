"""Which method comes first, and how sure that is."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.engine.evaluate.ranking import ranking
from onnxray.engine.evaluate.registry import chosen

METRICS = chosen("insertion,deletion,sparseness", False)


def ranked(values: dict[str, dict[str, np.ndarray]]) -> object:
    return ranking(list(values), METRICS, lambda method, metric: values[method][metric])


def of(insertion: np.ndarray, deletion: np.ndarray) -> dict[str, np.ndarray]:
    return {"insertion": insertion, "deletion": deletion, "sparseness": np.zeros(len(insertion))}


def test_the_better_method_comes_first_and_surely() -> None:
    rng = np.random.default_rng(0)
    noise = rng.random((4, 20)) / 10
    found = ranked({"bad": of(noise[0], 1 - noise[1]), "good": of(0.5 + noise[2], 0.2 + noise[3])})
    assert found.order == ("good", "bad")
    assert found.mean_rank == {"good": 1.0, "bad": 2.0}
    assert found.first == {"good": 1.0, "bad": 0.0}
    assert found.metrics == ("insertion", "deletion")
    assert found.sentence.startswith("Use good here")
    assert "sure" in found.sentence


def test_methods_alike_cannot_be_told_apart() -> None:
    rng = np.random.default_rng(1)
    values = rng.random((4, 30))
    found = ranked({"a": of(values[0], values[1]), "b": of(values[2], values[3])})
    assert 0.05 < found.first["a"] < 0.95
    if max(found.first.values()) < 0.75:
        assert "cannot be told from it" in found.sentence


def test_a_method_judged_on_few_images_is_not_the_best() -> None:
    nan = np.full(12, np.nan)
    once = nan.copy()
    once[0] = 1.0
    found = ranked({"once": of(once, nan), "always": of(np.zeros(12), np.ones(12))})
    assert found.order[0] == "always"
    assert found.first["always"] == 1
    assert found.mean_rank.keys() == {"always"}
    nothing = ranked({"a": of(nan, nan)})
    assert "nothing can be said" in nothing.sentence


@pytest.mark.parametrize("count", [1, 9])
def test_few_images_are_said_to_be_few(count: int) -> None:
    found = ranked({"a": of(np.ones(count), np.zeros(count)), "b": of(np.zeros(count), np.ones(count))})
    assert "too few" in found.sentence
