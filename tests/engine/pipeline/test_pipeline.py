"""`onnxray.Pipeline`: the same values as `onnxray.explain`, from any number of threads."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.attribution.inputs import read_labels_of
from onnxray.engine.errors import ImageError, MethodError, ModelError, RuleError, ShapeError, TargetError, UnknownName
from onnxray.engine.inference.batches import RunOptions
from onnxray.engine.pipeline.judge import judge_of
from onnxray.engine.pipeline.pipeline import Unexplained
from onnxray.tests.engine.text import small


@pytest.fixture(scope="module")
def model() -> onnxray.Model:
    return onnxray.load("builtin")


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (80 + 10 * n, 120, 3), np.uint8) for n in range(6)]


def same(found: Any, wanted: Any) -> None:
    np.testing.assert_array_equal(found.values, wanted.values)
    np.testing.assert_array_equal(found.heatmap, wanted.heatmap)
    assert (found.score, found.label, found.warnings) == (wanted.score, wanted.label, wanted.warnings)


@pytest.mark.parametrize("method", ["grad-cam", "gradient", "occlusion"])
def test_values_are_those_of_explain(model: onnxray.Model, photos: list[np.ndarray], method: str) -> None:
    wanted = [onnxray.explain(model, photo, method) for photo in photos]
    with onnxray.Pipeline(model, method) as pipeline:
        for found, one in zip(pipeline.map(photos), wanted, strict=True):
            same(found, one)


def test_values_of_batches_are_those_of_explain_but_for_rounding(
    model: onnxray.Model, photos: list[np.ndarray]
) -> None:
    with onnxray.Pipeline(model, batch=4, max_delay_ms=200, target=["scratch", 2]) as pipeline:
        found = list(pipeline.map(photos * 2))
        assert pipeline.stats().batch > 1
    for explanations, photo in zip(found, photos * 2, strict=True):
        wanted = onnxray.explain(model, photo, target=["scratch", 2])
        assert [e.label for e in explanations] == [e.label for e in wanted]
        for a, b in zip(explanations, wanted, strict=True):
            assert np.abs(a.values - b.values).max() <= 1e-5 * np.abs(b.values).max()


def test_sixteen_threads_get_what_one_gets(model: onnxray.Model, photos: list[np.ndarray]) -> None:
    wanted = [onnxray.explain(model, photo) for photo in photos]
    barrier = threading.Barrier(16)
    with onnxray.Pipeline(model, workers=4, queue=4) as pipeline:

        def ask(number: int) -> None:
            barrier.wait(30)
            for turn in range(6):
                place = (number + turn) % len(photos)
                ticket = pipeline.submit(photos[place], key=(number, turn))
                assert ticket.key == (number, turn)
                same(ticket.result(60), wanted[place])

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(ask, range(16)))
        assert pipeline.stats().images == 96


def test_files_and_pillow_images_and_what_cannot_be_read(model: onnxray.Model, tmp_path: Path) -> None:
    from PIL import Image

    good = onnxray.samples()[4]
    broken = tmp_path / "broken.png"
    broken.write_bytes(good.read_bytes()[:300])
    with onnxray.Pipeline(model) as pipeline:
        results = list(pipeline.map([good, broken, Image.open(good), "missing.png"], errors="return"))
    assert results[0].source == str(good)
    same(results[0], onnxray.explain(model, good))
    same(results[2], onnxray.explain(model, good))
    assert isinstance(results[1], ImageError)
    assert isinstance(results[3], ImageError)
    assert "missing.png" in str(results[3])


def test_rendering_is_a_stage(model: onnxray.Model, photos: list[np.ndarray]) -> None:
    with onnxray.Pipeline(model, render=lambda e: e.overlay()) as pipeline:
        overlay = pipeline.submit(photos[0]).result(60)
        assert "render" in pipeline.stats().stages
    np.testing.assert_array_equal(overlay, onnxray.explain(model, photos[0]).overlay())


def test_models_that_take_no_images(parse: Callable[..., onnx.ModelProto]) -> None:
    table = parse(
        "g (float[N, 3] x) => (float[N, 2] y) { y = Gemm(x, w) }",
        w=np.array([[1, 2], [3, 4], [5, 6]], np.float32),
    )
    with onnxray.Pipeline(table, "gradient", batch=4) as pipeline:
        found = pipeline.submit(np.array([1, 2, 3], np.float32)).result(60)
    np.testing.assert_array_equal(found.values, [2, 4, 6])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"method": "grad-camm"}, UnknownName),
        ({"layer": "nowhere"}, UnknownName),
        ({"method": "gradient", "layer": "stage2/relu2"}, MethodError),
        ({"target": "no such label"}, UnknownName),
        ({"target": 77}, TargetError),
        ({"wokers": 3}, UnknownName),
        ({"workers": 0}, ShapeError),
    ],
)
def test_what_is_wrong_is_known_before_the_first_image(
    model: onnxray.Model, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        onnxray.Pipeline(model, **options)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_rule_says_what_is_explained(model: onnxray.Model, photos: list[np.ndarray], batch: int) -> None:
    scores = [prediction.probability for prediction in onnxray.predict(model, photos)]
    limit = float(np.median(scores))
    with onnxray.Pipeline(
        model, when=f"score > {limit}", batch=batch, max_delay_ms=200, render=lambda e: e
    ) as pipeline:
        results = list(pipeline.map(photos))
    assert {type(found) for found in results} == {onnxray.Explanation, Unexplained}
    for found, photo, score in zip(results, photos, scores, strict=True):
        assert isinstance(found, onnxray.Explanation) == (score > limit)
        if isinstance(found, Unexplained):
            assert found.prediction["score"] == pytest.approx(score, abs=1e-6)
        else:
            wanted = onnxray.explain(model, photo)
            assert np.abs(found.values - wanted.values).max() <= 1e-5 * np.abs(wanted.values).max()
            about = found.details["prediction"]
            assert (str(about["index"]), about["score"]) == (str(wanted.target), pytest.approx(score, abs=1e-6))
            assert json.loads(json.dumps(found.manifest()))["details"]["prediction"]["label"] == about["label"]


def test_a_rule_knows_the_novelty_of_a_memory(model: onnxray.Model, photos: list[np.ndarray], tmp_path: Path) -> None:
    memory = onnxray.Novelty.fit(model, photos, rows=30)
    path = memory.save(tmp_path / "memory.npz")
    given = [photos[0], np.zeros((80, 120, 3), np.uint8)]
    novelty = [found.score for found in memory.score(given)]
    for known in (memory, path):
        with onnxray.Pipeline(model, when=f"novelty > {np.mean(novelty)}", memory=known) as pipeline:
            results = list(pipeline.map(given))
        assert [isinstance(found, onnxray.Explanation) for found in results] == [n > np.mean(novelty) for n in novelty]
        found = {type(one): one for one in results}
        about = found[Unexplained].prediction, found[onnxray.Explanation].details["prediction"]
        np.testing.assert_allclose(sorted(names["novelty"] for names in about), sorted(novelty), rtol=1e-5)


def test_an_image_of_another_size_than_the_good_ones_is_warned_of(
    model: onnxray.Model, photos: list[np.ndarray]
) -> None:
    memory = onnxray.Novelty.fit(model, [photo[:80] for photo in photos], rows=30)
    for rule in ("novelty >= 0", "novelty < 0"):
        with onnxray.Pipeline(model, when=rule, memory=memory) as pipeline:
            small, large = pipeline.map([photos[0], photos[1]])
        known = [f.prediction if isinstance(f, Unexplained) else f.details["prediction"] for f in (small, large)]
        assert "warnings" not in known[0]
        assert known[1]["warnings"] == list(memory.score(photos[1]).warnings)
        assert "the image has 120x90 pixels, all good ones had 120x80" in known[1]["warnings"][0]


def test_a_memory_runs_where_the_pipeline_does(model: onnxray.Model, photos: list[np.ndarray], tmp_path: Path) -> None:
    memory = onnxray.Novelty.fit(model, photos, rows=30, threads=3)
    runtime = {"providers": "cpu", "threads": 1}
    for known in (memory, memory.save(tmp_path / "memory.npz")):
        judge = judge_of(model, None, "novelty > 1", known, runtime)
        assert judge.memory is not None
        assert judge.memory.runtime == RunOptions(**runtime)
    assert memory.runtime.threads == 3


def test_wrong_rules_are_known_before_the_first_image(
    model: onnxray.Model, cnn: onnx.ModelProto, photos: list[np.ndarray]
) -> None:
    memory = onnxray.Novelty.fit(model, photos, rows=30)
    with pytest.raises(UnknownName, match="scor"):
        onnxray.Pipeline(model, when="scor > 0.5")
    with pytest.raises(RuleError, match="when=5 is no rule"):
        onnxray.Pipeline(model, when=5)  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="novelty"):
        onnxray.Pipeline(model, when="novelty > 0.5")
    with pytest.raises(RuleError, match="memory= has no effect without when="):
        onnxray.Pipeline(model, memory=memory)
    with pytest.raises(ModelError, match="another model"):
        onnxray.Pipeline(cnn, when="novelty > 0.5", memory=memory)


def test_a_rule_is_about_one_image(model: onnxray.Model, photos: list[np.ndarray]) -> None:
    photo = photos[0]
    tensor = np.zeros((2, 3, 160, 160), np.float32)
    several: list[Any] = [np.stack([photo, photo]), [photo, photos[1]], tensor]
    with onnxray.Pipeline(model, when="score >= 0") as pipeline:
        for given in several:
            with pytest.raises(ShapeError, match="a rule is about one image: submit them one by one"):
                pipeline.submit(given).result(60)
    memory = onnxray.Novelty.fit(model, photos, rows=30)
    name = model.inputs[0].name
    with onnxray.Pipeline(model, when="novelty >= 0", memory=memory) as pipeline:
        for one, kind in (({name: tensor[:1]}, "dict"), ([photo], "list")):
            with pytest.raises(ShapeError, match=f"a memory is about images, and a {kind} was given"):
                pipeline.submit(one).result(60)


def test_rules_about_texts_know_the_names_of_the_classes(tmp_path: Path) -> None:
    vocabulary = list(dict.fromkeys([*small.SPECIAL, *small.WORDS]))
    weights = small.weights(len(vocabulary))
    path = small.encoder(tmp_path, small.wordpiece(), weights, labels=["negative", "positive"])
    text = "The film was unforgettable, not bad!"
    answer = onnxray.predict(path, text)
    rule = f"label == '{answer.top[0].label}'"
    with onnxray.Pipeline(path, "gradient", when=rule, warm=False, render=lambda e: e) as pipeline:
        found = pipeline.submit(onnxray.Text(text)).result(60)
    assert found.label == f"{answer.top[0].label} ({answer.top[0].index})"
    judge = judge_of(onnxray.load(path), read_labels_of(onnxray.load(path)), "score > 0", None, {})
    assert judge.of(text, "text")[0]["prediction"]["label"] == answer.top[0].label


def test_labels_of_a_model_without_images_are_those_of_its_card(parse: Any, tmp_path: Path) -> None:
    weights = np.eye(3, dtype=np.float32)
    onnx.save(parse("g (float[n, 3] x) => (float[n, 3] y) { y = MatMul (x, w) }", w=weights), tmp_path / "net.onnx")
    (tmp_path / "net.card.json").write_text(json.dumps({"labels": ["low", "middle", "high"]}))
    row = np.array([[0, 0, 4]], np.float32)
    assert onnxray.explain(tmp_path / "net.onnx", row, "gradient").label == "high (2)"
    assert onnxray.predict(tmp_path / "net.onnx", row).top[0].label == "high"
