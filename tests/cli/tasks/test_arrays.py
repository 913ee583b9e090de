"""Arrays on the command line: models that take no images are explained, predicted and looked into from .npy and .npz."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.cli.figures.array_map import figure_of, values_figure
from onnxray.cli.figures.figure import MARGIN
from onnxray.cli.main import main

RNG = np.random.default_rng(0)
W = RNG.standard_normal((6, 3)).astype(np.float32)
X = RNG.standard_normal((2, 6)).astype(np.float32)


@pytest.fixture
def table(parse: Callable[..., onnx.ModelProto], tmp_path: Path) -> Path:
    path = tmp_path / "table.onnx"
    text = "m (float[N, 6] x) => (float[N, 3] y) { h = MatMul (x, w)  y = Softmax <axis = -1> (h) }"
    onnx.save(parse(text, w=W), path)
    return path


@pytest.fixture
def recurrent(parse: Callable[..., onnx.ModelProto], tmp_path: Path) -> Path:
    """A cell whose state comes in and goes out, and a rate that scales the input."""
    path = tmp_path / "cell.onnx"
    text = """m (float[N, 6] x, float[N, 3] state, int64 rate) => (float[N, 3] y, float[N, 3] stateN) {
      r = Cast <to = 1> (rate)  s = Mul (x, r)  h = MatMul (s, w)  y = Add (h, state)  stateN = Tanh (y) }"""
    onnx.save(parse(text, w=W), path)
    return path


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def manifest(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "manifest.json").read_text()))


@pytest.mark.parametrize("form", ["sample.npy", "batch.npy", "named.npz"])
def test_explained_values_are_those_of_python(table: Path, tmp_path: Path, form: str) -> None:
    given = tmp_path / form
    x = X[0] if form == "sample.npy" else X
    np.savez(given, x=x) if form.endswith("z") else np.save(given, x)
    assert run("explain", table, given, "-m", "gradient,ablation", "-t", "logit:predicted", "-o", tmp_path / "out") == 0
    entry = manifest(tmp_path / "out")["images"][0]  # type: ignore[index]
    for method in ("gradient", "ablation"):
        found = onnxray.explain(table, x, method, "logit:predicted")
        mine = [m for m in entry["maps"] if m["method"] == method]
        assert [m.get("sample") for m in mine] == ([None] if x.ndim == 1 else [0, 1])
        for e, m in zip(found, mine, strict=True):
            npy, png = m["files"]
            assert np.array_equal(np.load(tmp_path / "out" / npy), e.values)
            assert (tmp_path / "out" / png).stat().st_size > 1000
            assert m["score"] == pytest.approx(e.score)


def test_further_inputs_states_and_values_inside(recurrent: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X[:1])
    words = ("explain", recurrent, tmp_path / "x.npy", "-m", "gradient", "-t", "element:y:1")
    assert run(*words, "--with", "rate=2", "-o", tmp_path / "a") == 0
    (found,) = manifest(tmp_path / "a")["images"][0]["maps"]  # type: ignore[index]
    np.testing.assert_allclose(np.load(tmp_path / "a" / found["files"][0]), 2 * W[:, 1], rtol=1e-6)
    assert any("states state: they are zeros" in text for text in found["warnings"])
    np.save(tmp_path / "s.npy", np.ones((1, 3), np.float32))
    assert run(*words, "--with", "rate=2", "--with", f"state={tmp_path / 's.npy'}", "-o", tmp_path / "b") == 0
    (given,) = manifest(tmp_path / "b")["images"][0]["maps"]  # type: ignore[index]
    assert given["score"] == pytest.approx(found["score"] + 1, rel=1e-5)
    assert run(*words, "--with", "rate=2", "--at", "h", "-o", tmp_path / "c") == 0
    (inside,) = manifest(tmp_path / "c")["images"][0]["maps"]  # type: ignore[index]
    np.testing.assert_array_equal(np.load(tmp_path / "c" / inside["files"][0]), [0, 1, 0])
    assert inside["details"]["at"] == "h"


def test_predictions_for_every_sample(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", X)
    assert run("predict", table, tmp_path / "x.npy", "--labels", _labels(tmp_path), "-o", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    p = np.exp(X @ W) / np.exp(X @ W).sum(axis=1, keepdims=True)
    for sample, row in enumerate(p):
        assert f"x.npy[{sample}]" in printed
        assert f"{100 * row.max():6.2f} %  {'abc'[int(row.argmax())]}" in printed
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").read_text().splitlines()))
    assert len(rows) == 6
    assert float(rows[0]["probability"]) == pytest.approx(p[0].max(), rel=1e-5)


def _labels(folder: Path) -> Path:
    path = folder / "labels.txt"
    path.write_text("a\nb\nc\n")
    return path


def test_activations_of_layers(table: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    assert run("activations", table, tmp_path / "x.npy", "--layer", "h", "-o", tmp_path / "out") == 0
    (entry,) = manifest(tmp_path / "out")["images"]  # type: ignore[misc]
    (layer,) = entry["layers"]
    np.testing.assert_allclose(np.load(tmp_path / "out" / layer["files"][0]), X @ W, rtol=1e-5)
    assert len(layer["files"]) == 3  # the values, a picture of each sample
    assert layer["highest"] == pytest.approx(float((X @ W).max()), rel=1e-5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--with", "nothing=3"), "no model input named 'nothing'"),
        (("--with", "rate"), "write NAME=FILE"),
        (("--with", "rate=missing.npy"), "there is no file 'missing.npy'"),
        (("--at", "w"), "is a constant"),
        (("--at", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_fed(
    recurrent: Path, tmp_path: Path, words: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", X[:1])
    base = ("explain", recurrent, tmp_path / "x.npy", "-m", "gradient", "-t", "element:y:1", "-o", tmp_path / "out")
    rate = () if any("rate" in w for w in words) else ("--with", "rate=1")
    assert run(*base, *words, *rate) == 1
    assert said in capsys.readouterr().err


def test_files_that_hold_no_arrays(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr'")
    np.savez(tmp_path / "other.npz", y=X, z=X)
    for name, said in [("broken.npy", "cannot be read as arrays"), ("other.npz", "named after the inputs")]:
        assert run("explain", table, tmp_path / name, "-m", "gradient", "-o", tmp_path / f"out-{name}") == 1
        assert said in capsys.readouterr().err


def test_heat_lies_behind_its_own_place(parse: Callable[..., onnx.ModelProto]) -> None:
    """More samples than columns: the one that counts is drawn where it stands."""
    w = np.zeros((1201, 1), np.float32)
    w[901] = 1
    model = parse("m (float[N, 1201] x) => (float[N, 1] y) { y = MatMul (x, w) }", w=w)
    x = np.ones((1, 1201), np.float32)
    picture = figure_of(onnxray.explain(model, x, "gradient", 0), x[0], "a title").astype(int)
    line = (picture[..., 0] - picture[..., 2] > 60)[:200]  # above the bars
    columns = np.flatnonzero(line.any(axis=0))
    assert columns.size
    assert abs(columns.mean() - MARGIN - 901.5 / 1201 * 960) < 8


@pytest.mark.parametrize("shape", [(), (5,), (300,), (3, 40), (40, 30), (4, 6, 7), (2, 3, 4, 5)])
def test_every_shape_has_a_picture(parse: Callable[..., onnx.ModelProto], shape: tuple[int, ...]) -> None:
    dims = ", ".join(["N", *map(str, shape)])
    model = parse(f"m (float[{dims}] x) => (float[{dims}] y) {{ y = Tanh (x) }}")
    x = RNG.standard_normal((1, *shape)).astype(np.float32)
    e = onnxray.explain(model, x, "gradient", "mean:y")
    for picture in (figure_of(e, x[0], "a title"), values_figure(x[0], "a title", ["a line"])):
        assert picture.dtype == np.uint8
        assert min(picture.shape[:2]) > 80
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 8
