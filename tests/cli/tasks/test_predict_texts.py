"""`onnxray predict` over texts: what Python's `predict` says of each."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import onnxray
from onnxray.tests.engine.text import small

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    return small.encoder(folder, small.wordpiece(), small.planted(), segments=True, labels=["negative", "positive"])


def test_texts_of_the_line_and_of_files(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text("review\na wonderful film\na terrible film\n")
    given = ("predict", model, tmp_path / "reviews.csv", "--text", "wonderful", "--column", "review")
    result = run(*given, "--json", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    entries = json.loads(result.stdout)["images"]
    texts = ["wonderful", "a wonderful film", "a terrible film"]
    for entry, text in zip(entries, texts, strict=True):
        (best, other) = onnxray.predict(model, text).top
        assert [(g["label"], g["probability"]) for g in entry["top"]] == [
            (g.label, g.probability) for g in (best, other)
        ]
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").read_text().splitlines()))
    assert [row["label"] for row in rows if row["rank"] == "1"] == ["positive", "positive", "negative"]
    plain = run(*given)
    assert "text-1\n" in plain.stdout
    assert "positive" in plain.stdout
    again = run(*given, "--json", "-o", tmp_path / "out", "--resume")
    assert json.loads(again.stdout)["images"] == entries


def test_options_about_texts_without_effect_are_refused(run: Run, model: Path) -> None:
    for name, *more in (
        ["--lines"],
        ["--column", "review"],
        ["--choice", "blue"],
        ["--pair-column", "b", "--column", "a"],
    ):
        done = run("predict", "builtin", name, *more)
        assert (done.exit_code, "is about texts" in done.stderr) == (2, True), done.stderr
    done = run("predict", model, "--text", "bad", "--lines")
    assert (done.exit_code, "--lines is about files" in done.stderr) == (2, True), done.stderr


def test_pairs_and_one_that_fails(run: Run, model: Path, tmp_path: Path) -> None:
    two = run("predict", model, "--text", "the film", "--pair", "was bad", "--json")
    top = onnxray.predict(model, onnxray.Text("the film", "was bad")).top
    assert json.loads(two.stdout)["images"][0]["top"][0]["probability"] == top[0].probability
    result = run("predict", model, "--text", "bad", "--text", " ", "--json")
    assert result.exit_code == 1
    assert [e["status"] for e in json.loads(result.stdout)["images"]] == ["done", "failed"]
    assert "text-2 failed: the text is empty" in result.stderr
    alone = run("predict", model, "--text", " ")
    assert alone.exit_code == 1
    assert "the text is empty" in alone.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--text", "bad", "--pair", "a", "--pair", "b"), "1 --text and 2 --pair were given"),
        (("--text", "bad", "--pair", "a", "--choice", "b"), "exclude each other"),
        (("--text", "bad", "--when", "score > 0.5"), "--when and --memory are about images"),
    ],
)
def test_what_is_refused(run: Run, model: Path, given: tuple[str, ...], said: str) -> None:
    result = run("predict", model, *given)
    assert result.exit_code
    assert said in result.stderr
