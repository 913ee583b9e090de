"""`onnxray predict` of recognisers of text: what is printed, the JSON and the table."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from onnxray.cli.files.images import write
from onnxray.cli.main import main
from onnxray.engine.predict import predict
from onnxray.tests.engine.targets.kinds.test_char import reader


@pytest.fixture
def files(parse: Callable[..., onnx.ModelProto], tmp_path: Path) -> tuple[str, str]:
    onnx.save(reader(parse), tmp_path / "reader.onnx")
    (tmp_path / "reader.card.json").write_text(json.dumps({"std": 60, "mean": 128, "labels": list("abcd")}))
    line = np.random.default_rng(2).integers(0, 256, (8, 24, 3)).astype(np.uint8)
    write(tmp_path / "line.png", line)
    write(tmp_path / "gray.png", np.full((8, 24, 3), 128, np.uint8))
    return str(tmp_path / "reader.onnx"), str(tmp_path)


def test_the_text_is_printed_and_written(files: tuple[str, str], tmp_path: Path) -> None:
    net, folder = files
    out = tmp_path / "out"
    done = CliRunner().invoke(main, ["predict", net, f"{folder}/line.png", f"{folder}/gray.png", "-o", str(out)])
    assert done.exit_code == 0, done.output
    line = np.random.default_rng(2).integers(0, 256, (8, 24, 3)).astype(np.uint8)
    found = predict(net, line)
    assert len(found.text) > 1
    assert f"{100 * found.probability:6.2f} %  {found.text}" in done.stdout
    assert "  no text" in done.stdout
    assert "(text: best path of output 'y')" in done.stdout
    with (out / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == [found.text, ""]
    assert len(rows[0]["characters"].split()) == len(found.text)
    assert float(rows[0]["probability"]) == pytest.approx(found.probability)
    again = CliRunner().invoke(
        main, ["predict", net, f"{folder}/line.png", f"{folder}/gray.png", "-o", str(out), "--resume"]
    )
    assert again.stdout == done.stdout


def test_json_has_every_character(files: tuple[str, str]) -> None:
    net, folder = files
    done = CliRunner().invoke(main, ["predict", net, f"{folder}/line.png", "--json", "--quiet"])
    (image,) = json.loads(done.stdout)["images"]
    assert "".join(entry["character"] for entry in image["characters"]) == image["text"]
    assert all(0 <= entry["probability"] <= 1 for entry in image["characters"])


def test_rules_are_not_about_texts(files: tuple[str, str]) -> None:
    net, folder = files
    done = CliRunner().invoke(main, ["predict", net, f"{folder}/line.png", "--when", "score > 0.5"])
    assert done.exit_code != 0
    assert "the model reads texts: leave them out" in done.output


def test_the_number_of_classes_is_about_none(files: tuple[str, str]) -> None:
    net, folder = files
    done = CliRunner().invoke(main, ["predict", net, f"{folder}/line.png", "--top", "3"])
    assert done.exit_code == 1
    assert "--top is about classes, and the model reads texts: leave it out" in done.stderr
