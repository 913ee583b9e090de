"""All tokens of a text by one forward pass: the values are those of each token alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxray
from onnxray.engine.attribution import one_forward
from onnxray.engine.attribution.gradient_graphs import gradient_graph
from onnxray.engine.inference.batches import RunOptions, known_one_at_a_time
from onnxray.engine.inference.session import session
from onnxray.tests.engine.text import small

WORDS = "alpha beta gamma delta".split()
TEXT = onnxray.Text("alpha beta alpha", continuation=" beta gamma delta")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> onnxray.Model:
    return onnxray.load(small.copying(tmp_path_factory.mktemp("copying"), WORDS))


def close(parts: Any, model: onnxray.Model, method: str, **options: Any) -> None:
    """Every part against the same token explained alone; the greatest value of all is the unit."""
    most = max(float(np.abs(e.values).max()) for e in parts)
    for number, e in enumerate(parts, 1):
        alone = onnxray.explain(model, TEXT, method, f"token:{number}", **options)
        assert e.label == alone.label
        np.testing.assert_allclose(e.values, alone.values, atol=1e-5 * most)


@pytest.mark.parametrize("method", ["gradient", "input-x-gradient", "integrated-gradients", "lrp"])
def test_values_are_those_of_each_token_alone(model: onnxray.Model, method: str) -> None:
    close(onnxray.explain(model, TEXT, method), model, method)


def test_an_encoder_and_a_decoder(tmp_path: Path) -> None:
    model = onnxray.load(small.translator(tmp_path, WORDS))
    close(onnxray.explain(model, TEXT, threads=2), model, "integrated-gradients")


@pytest.mark.parametrize("tolerance", [None, 1e-4])
def test_steps_in_several_runs_and_with_a_tolerance(model: onnxray.Model, tolerance: float | None) -> None:
    options = {"steps": 7, "tolerance": tolerance, "batch": 2, "threads": 2}
    parts = onnxray.explain(model, TEXT, "integrated-gradients", **options)
    close(parts, model, "integrated-gradients", **options)


def test_the_forward_runs_once(model: onnxray.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    plain = one_forward.session

    class Counted:
        def __init__(self, ready: Any) -> None:
            self.ready, self.inputs, self.outputs = ready, ready.inputs, ready.outputs

        def run_on_device(self, feeds: Any, outputs: Any) -> Any:
            ran.append("cotangent" if any("cotangent" in name for name in feeds) else "forward")
            return self.ready.run_on_device(feeds, outputs)

    monkeypatch.setattr(one_forward, "session", lambda *args, **options: Counted(plain(*args, **options)))
    onnxray.explain(model, TEXT, "gradient")
    assert ran == ["forward", "cotangent", "cotangent", "cotangent"]


def test_one_target_at_a_time_is_in_memory(model: onnxray.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, ran = one_forward.session, list[str]()

    class Counted:
        def __init__(self, ready: Any) -> None:
            self.ready, self.inputs, self.outputs = ready, ready.inputs, ready.outputs

        def run_on_device(self, feeds: Any, outputs: Any) -> Any:
            ran.append("cotangent" if any("cotangent" in name for name in feeds) else "forward")
            return self.ready.run_on_device(feeds, outputs)

    monkeypatch.setattr(one_forward, "session", lambda *args, **options: Counted(plain(*args, **options)))
    graph = gradient_graph(model, "logits", ("words",))
    once = one_forward.OneForward(graph, {}, np.ones((2, 3, len(WORDS) + 2), np.float32), RunOptions(threads=1))
    ids = np.full((1, 3), 2)
    once.generated(1, lambda numbers: {"input_ids": ids[numbers]}, lambda *found: ran.append("taken"))
    assert ran == ["forward", "cotangent", "taken", "cotangent", "taken"]


@pytest.mark.parametrize("single", [False, True])
def test_inputs_are_taken_in_order(model: onnxray.Model, single: bool) -> None:
    graph = gradient_graph(model, "logits", ("words",))
    cotangents = np.random.default_rng(0).normal(size=(2, 3, len(WORDS) + 2)).astype(np.float32)
    ids = np.random.default_rng(1).integers(2, 6, (5, 3))
    if single:
        known_one_at_a_time(graph.model).set()
    try:
        found = np.empty((2, 5, 3, 2 * len(WORDS) + 4 + 64), np.float32)
        seen: list[tuple[int, int]] = []

        def taken(numbers: Any, target: int, got: Any) -> None:
            seen.extend((int(n), target) for n in numbers)
            assert len(numbers) == 1 or not single
            found[target, numbers] = got["words"]

        once = one_forward.OneForward(graph, {}, cotangents, RunOptions(batch=2, threads=1))
        once.generated(5, lambda numbers: {"input_ids": ids[numbers]}, taken)
    finally:
        known_one_at_a_time(graph.model).clear()
    assert sorted(seen) == [(n, k) for n in range(5) for k in range(2)]
    assert [n for n, k in seen if not k] == list(range(5))
    for k, cotangent in enumerate(cotangents):
        feeds = {"input_ids": ids, graph.cotangent: np.repeat(cotangent[None], 5, 0)}
        whole = session(graph.model).run(feeds, [graph.gradients["words"]])[graph.gradients["words"]]
        np.testing.assert_allclose(found[k], whole, atol=1e-5)
