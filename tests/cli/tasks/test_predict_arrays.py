"""A picture and a further input: the command line gives what Python does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result

import onnxray

AGE = np.float32([[3, -1]])


@pytest.fixture
def mixed(tmp_path: Path, parse: Callable[..., onnx.ModelProto]) -> Path:
    """Classes out of an image and two numbers."""
    proto = parse(
        "m (float[N, 3, 16, 16] image, float[N, 2] numbers) => (float[N, 4] logits) { c = Conv (image, w)  r = Relu (c)  "
        "g = GlobalAveragePool (r)  f = Flatten (g)  j = Concat <axis = 1> (f, numbers)  logits = MatMul (j, v) }",
        w=np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32),
        v=np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32),
    )
    file = tmp_path / "mixed.onnx"
    onnx.save(proto, file)
    file.with_suffix(".card.json").write_text('{"mean": 127.5, "std": 127.5, "labels": ["a", "b", "c", "d"]}')
    np.save(tmp_path / "numbers.npy", AGE)
    return file


def test_predictions(mixed: Path, photo: Path, run: Callable[..., Result]) -> None:
    result = run("predict", mixed, photo, "--with", f"numbers={mixed.with_name('numbers.npy')}", "--json")
    assert result.exit_code == 0, result.stderr
    (entry,) = json.loads(result.stdout)["images"]
    expected = onnxray.predict(mixed, {"image": photo, "numbers": AGE})
    assert [(g["label"], g["probability"]) for g in entry["top"]] == [(g.label, g.probability) for g in expected.top]
    other = onnxray.predict(mixed, {"image": photo, "numbers": -AGE})
    assert other.top[0].probability != expected.top[0].probability


def test_activations(mixed: Path, photo: Path, tmp_path: Path, run: Callable[..., Result]) -> None:
    out = tmp_path / "out"
    layers = [layer.name for layer in onnxray.load(mixed).layers if layer.output in ("r", "j")]
    options = [word for layer in layers for word in ("--layer", layer)]
    result = run("activations", mixed, photo, *options, "--with", "numbers=2", "-o", out)
    assert result.exit_code == 0, result.stderr
    given = {"image": str(photo), "numbers": np.full((1, 2), 2, np.float32)}
    expected = onnxray.activations(mixed, given, layers)
    for entry in json.loads((out / "manifest.json").read_text())["images"][0]["layers"]:
        written = next(name for name in entry["files"] if name.endswith(".npy"))
        np.testing.assert_array_equal(np.load(out / written), expected[entry["layer"]])
    assert len(expected) == 2


def test_a_batch_of_tensors(mixed: Path) -> None:
    images = np.random.default_rng(2).standard_normal((3, 3, 16, 16)).astype(np.float32)
    numbers = np.float32([[1, 2], [3, 4], [5, 6]])
    together = onnxray.predict(mixed, {"image": images, "numbers": numbers})
    for row in range(3):
        alone = onnxray.predict(mixed, {"image": images[row : row + 1], "numbers": numbers[row : row + 1]})
        assert together[row].top[0].probability == pytest.approx(alone.top[0].probability, rel=1e-5)
