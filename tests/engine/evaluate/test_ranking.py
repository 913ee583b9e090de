"""Which method comes first, and how sure that is."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.engine.evaluate.ranking import Ranking, ranking
from onnxray.engine.evaluate.registry import chosen
from onnxray.engine.evaluate.results import Evaluation, Judged

METRICS = chosen("insertion,deletion,sparseness", False)


def ranked(values: dict[str, dict[str, np.ndarray]]) -> Ranking:
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
    assert max(found.first.values()) < 0.75
    assert "cannot be told from it" in found.sentence


def test_a_method_that_survives_random_weights_is_ranked_but_not_advised() -> None:
    noise = np.random.default_rng(0).random((6, 20)) / 10
    values = {
        "edges": of(0.8 + noise[0], noise[1]),
        "good": of(0.5 + noise[2], 0.3 + noise[3]),
        "bad": of(noise[4], 1 - noise[5]),
    }

    def by(*failing: str) -> Ranking:
        return ranking(list(values), METRICS, lambda method, metric: values[method][metric], failing)

    assert by().sentence.startswith("Use edges here")
    found = by("edges")
    assert found.order == ("edges", "good", "bad")
    assert found.first == {"edges": 0.0, "good": 1.0, "bad": 0.0}
    assert found.sentence.startswith("Use good here: mean rank 2.0 of 3 methods")
    assert "edges ranks higher, but such maps survive random weights" in found.sentence
    assert "survive" not in by("bad").sentence
    assert "good is the only method that can be advised" in by("edges", "bad").sentence
    assert "Maps of edges, good, bad survive random weights" in by(*values).sentence


def test_an_evaluation_knows_which_methods_do() -> None:
    images = tuple(
        Judged(f"{n}.png", "0", {"guided-backprop": {"deletion": 0.1}, "grad-cam": {"deletion": 0.2}}, {}, {}, {}, ())
        for n in range(12)
    )
    found = Evaluation(("guided-backprop", "grad-cam"), tuple(chosen("deletion", False)), images)
    assert found.ranking.order[0] == "guided-backprop"
    assert found.advice.startswith("grad-cam is the only method that can be advised")


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
