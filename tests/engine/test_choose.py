"""`choose`: the ranking within a budget, what is left out, and why."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.engine import choose as module
from onnxray.engine.choose import Choice, choose, usual
from onnxray.engine.errors import MethodError, ShapeError, UnknownName
from onnxray.engine.evaluate.results import Judged
from onnxray.engine.evaluation import evaluate, methods_of
from onnxray.engine.inference.batches import RunOptions
from onnxray.engine.load import load
from onnxray.models.surface import render

SAMPLES = [render(3_000_000 + i, label) for i, label in enumerate(("crack", "pit", "spatter"))]
IMAGES = [sample.image for sample in SAMPLES]
METHODS = "grad-cam,deconvnet,gradient"


@pytest.fixture(scope="module")
def found() -> Choice:
    return choose("builtin", IMAGES, seconds=600, methods=METHODS, target="predicted")


def test_values_are_those_of_evaluate(found: Choice) -> None:
    whole = evaluate("builtin", IMAGES, METHODS, usual(load("builtin"), False))
    for method in METHODS.split(","):
        for metric in ("insertion", "deletion", "average-drop"):
            np.testing.assert_array_equal(found.evaluation.values(method, metric), whole.values(method, metric))
    assert found.advice == whole.advice
    assert len(found.evaluation.images) == 3


def test_order_and_reasons(found: Choice) -> None:
    assert set(found.order) == {"grad-cam", "deconvnet", "gradient"}
    # It fails the randomisation test, so it comes last wherever its numbers put it.
    assert found.order[-1] == "deconvnet"
    assert found.best == found.order[0]
    assert "survive random weights" in found.why("deconvnet")
    assert "mean rank" in found.why(found.best)
    assert "best by" in " ".join(map(found.why, found.order))
    assert found.best in str(found)
    assert found.to_mapping()["methods"][0]["method"] == found.best
    with pytest.raises(UnknownName):
        found.why("rise")


def test_masks_bring_localisation() -> None:
    found = choose("builtin", IMAGES, methods="grad-cam", masks=[sample.mask for sample in SAMPLES], seconds=600)
    assert found.evaluation.aggregate("grad-cam", "pointing-game") is not None


def test_time_decides_what_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that each call moves by a second: what is slow, and what there is no time for, is left out."""
    now = iter(range(10_000))
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(now)))
    found = choose("builtin", IMAGES, seconds=20, methods="grad-cam,gradient,attention-rollout")
    assert len(found.evaluation.images) < 3
    assert "does not fit" in found.why("attention-rollout") or "not tried" in found.why("attention-rollout")
    few = choose("builtin", IMAGES[:1], seconds=1, methods="grad-cam,gradient")
    assert few.order == ("grad-cam",)
    assert few.why("gradient").startswith("not tried")
    with pytest.raises(MethodError, match="no method makes a map"):
        choose("builtin", IMAGES, seconds=1000, map_seconds=0.5, methods="grad-cam")


def test_bad_input() -> None:
    with pytest.raises(MethodError, match="must be above 0"):
        choose("builtin", IMAGES, seconds=0)
    with pytest.raises(ShapeError, match="no image"):
        choose("builtin", [], methods="grad-cam")
    with pytest.raises(UnknownName, match="option of choose"):
        choose("builtin", IMAGES, secnods=3)
    with pytest.raises(MethodError, match="no method can be judged"):
        choose("builtin", IMAGES, methods="attention-rollout")


def test_methods_without_a_rank_are_left_out() -> None:
    model = load("builtin")
    chooser = module.Chooser(
        model, methods_of("grad-cam,gradient"), usual(model, False), None, RunOptions(), 0, 600, None
    )
    values = {name: {"insertion": 0.5} for name in ("grad-cam",)}
    chooser.seconds = {name: [1.0] for name in ("grad-cam", "gradient")}
    chooser.judged = [Judged("a", "pit", values, {}, {}, {}, ())]
    found = chooser.result()
    assert found.order == ("grad-cam",)
    assert "too few values" in found.left_out["gradient"]
    chooser.judged = [Judged("a", "pit", {}, {}, {}, {}, ())]
    with pytest.raises(MethodError, match="name other metrics"):
        chooser.result()
