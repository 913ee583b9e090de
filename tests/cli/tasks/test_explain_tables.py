"""`explain` of tables: rows of files by name and by order, what is written, and bad input in one line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result

import onnxray
from onnxray.cli.files.tables import read_table
from onnxray.engine.errors import ImageError, ShapeError
from onnxray.tests.engine.methods.test_tree_shap import people, pipeline
from onnxray.tests.engine.tables.small import FLOAT, model, regressor

Run = Callable[..., Result]
RNG = 7


@pytest.fixture
def file(tmp_path: Path) -> Path:
    onnx.save(pipeline([regressor(np.random.default_rng(RNG), "features", "y", 7)]), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def written(path: Path, rows: dict[str, list], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as text:
        table = csv.writer(text, delimiter=delimiter)
        table.writerow(rows)
        table.writerows(["" if cell is None else cell for cell in row] for row in zip(*rows.values(), strict=True))
    return path


def test_values_are_those_of_python(run: Run, file: Path, tmp_path: Path) -> None:
    """Columns are taken by name whatever their order; the answer among them is left out."""
    rows = people()
    mixed = {"answer": [0] * 12, **dict(reversed(rows.items()))}
    table, out = written(tmp_path / "people.csv", mixed, ";"), tmp_path / "out"
    result = run("explain", file, table, "--rows", "all", "-o", out)
    assert result.exit_code == 0, result.output
    assert "no input takes the column answer" in result.stderr
    wanted = onnxray.explain(file, onnxray.Table(rows))
    np.testing.assert_array_equal(np.load(out / "people/tree-shap.npy"), np.stack([e.values for e in wanted]))
    lines = list(csv.DictReader((out / "people/tree-shap.csv").read_text(encoding="utf-8").splitlines()))
    assert [line["row"] for line in lines] == [str(i) for i in range(12)]
    for line, e in zip(lines, wanted, strict=True):
        assert float(line["sex"]) == pytest.approx(float(e.parts["sex"]))
        total = sum(float(line[name]) for name in rows)
        assert total == pytest.approx(float(line["score"]) - float(line["baseline_score"]), abs=1e-4)
    assert len(list(out.rglob("*row-*.png"))) == 12
    assert (out / "people/tree-shap-rows.png").is_file()
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["options"]["rows"] == "all"
    assert [m["row"] for m in manifest["images"][0]["maps"]] == list(range(12))


def test_some_rows_against_a_background_of_another_file(run: Run, file: Path, tmp_path: Path) -> None:
    rows = people()
    table = written(tmp_path / "people.tsv", rows, "\t")
    behind = written(tmp_path / "behind.csv", {name: column[:4] for name, column in rows.items()})
    out = tmp_path / "out"
    result = run("explain", file, table, "--row", "2,5-6", "--background", behind, "-m", "kernel-shap", "-o", out)
    assert result.exit_code == 0, result.output
    some = [[column[i] for column in rows.values()] for i in (2, 5, 6)]
    first = [[column[i] for column in rows.values()] for i in range(4)]
    wanted = onnxray.explain(file, onnxray.Table(some, list(rows), first), "kernel-shap")
    np.testing.assert_array_equal(np.load(out / "people/kernel-shap.npy"), np.stack([e.values for e in wanted]))
    assert len(list(out.rglob("*row-*.png"))) == 3


def test_a_matrix_takes_columns_in_order_or_by_choice(run: Run, tmp_path: Path) -> None:
    proto = model([regressor(np.random.default_rng(RNG), "x", "y", 3)], {"x": (FLOAT, 3)}, {"y": (FLOAT, 1)})
    onnx.save(proto, tmp_path / "m.onnx")
    rng = np.random.default_rng(1)
    rows = {name: rng.integers(0, 5, 8).tolist() for name in ("a", "answer", "b", "c")}
    table = written(tmp_path / "t.csv", rows)
    refused = run("explain", tmp_path / "m.onnx", table, "-o", tmp_path / "no")
    assert refused.exit_code == 1
    assert "the table has 4 columns (a, answer, b, c) and the model takes 3" in refused.stderr
    assert "--columns" in refused.stderr
    result = run("explain", tmp_path / "m.onnx", table, "--columns", "c,a,b", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    x = np.float32([rows["c"], rows["a"], rows["b"]]).T
    wanted = onnxray.explain(proto, x, "tree-shap", background=x)
    np.testing.assert_array_equal(np.load(tmp_path / "out/t/tree-shap.npy"), np.stack([e.values for e in wanted]))


def test_a_background_is_taken_by_name(run: Run, tmp_path: Path) -> None:
    proto = model([regressor(np.random.default_rng(RNG), "x", "y", 2)], {"x": (FLOAT, 2)}, {"y": (FLOAT, 1)})
    onnx.save(proto, tmp_path / "m.onnx")
    rng = np.random.default_rng(1)
    rows = {name: rng.integers(0, 5, 8).tolist() for name in ("id", "a", "b")}
    other = {name: rng.integers(0, 5, 8).tolist() for name in ("a", "b", "label")}
    table, x = written(tmp_path / "t.csv", rows), np.float32([rows["a"], rows["b"]]).T
    wide = written(tmp_path / "wide.csv", other)
    few = written(tmp_path / "few.csv", {name: other[name] for name in ("b", "a")})
    behind = np.float32([other["a"], other["b"]]).T
    np.save(tmp_path / "bare.npy", behind)
    np.save(tmp_path / "whole.npy", np.float32([other["label"], other["a"], other["b"]]).T)
    wanted = np.stack([e.values for e in onnxray.explain(proto, x, "tree-shap", background=behind)])
    for given in (wide, few, tmp_path / "bare.npy", tmp_path / "whole.npy"):
        out = tmp_path / f"out-{given.stem}"
        asked = ("--columns", "a,b", "--background", given, "-o", out)
        result = run("explain", tmp_path / "m.onnx", table, *asked)
        assert result.exit_code == 0, result.output
        np.testing.assert_array_equal(np.load(out / "t/tree-shap.npy"), wanted)
    odd = written(tmp_path / "odd.csv", {"a": other["a"], "c": other["b"]})
    result = run("explain", tmp_path / "m.onnx", table, "--columns", "a,b", "--background", odd, "-o", tmp_path / "no")
    assert result.exit_code == 1
    assert "the background lacks the column b" in result.stderr


def test_a_score_that_is_no_sum_is_left_to_kernel_shap(run: Run, tmp_path: Path) -> None:
    node = regressor(np.random.default_rng(RNG), "x", "y", 3, aggregate_function="MIN")
    onnx.save(model([node], {"x": (FLOAT, 3)}, {"y": (FLOAT, 1)}), tmp_path / "m.onnx")
    table = written(tmp_path / "t.csv", {name: [1, 2, 3, 4] for name in "abc"})
    result = run("explain", tmp_path / "m.onnx", table, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "kernel-shap in place of" in result.stderr
    assert (tmp_path / "out/t/kernel-shap-rows.png").is_file()


def test_separators_leave_numbers(run: Run, tmp_path: Path) -> None:
    for text, cells in (("1;2;3\n4;5;6\n", (2, 3)), ("1,2,3\n4,5,6\n", (2, 3))):
        (tmp_path / "t.csv").write_text(text, encoding="utf-8")
        assert read_table(tmp_path / "t.csv").rows.shape == cells
    for text in ("1,5;2,5;3,5\n4,5;5,5;6,5\n", "1;2,5\n3;4,5\n"):
        (tmp_path / "t.csv").write_text(text, encoding="utf-8")
        with pytest.raises(ImageError, match="several marks separate its numbers"):
            read_table(tmp_path / "t.csv")
    node = regressor(np.random.default_rng(RNG), "x", "y", 3)
    onnx.save(model([node], {"x": (FLOAT, 3)}, {"y": (FLOAT, 1)}), tmp_path / "m.onnx")
    (tmp_path / "t.csv").write_text("1,2,3\n4,5,6\n", encoding="utf-8")
    result = run("explain", tmp_path / "m.onnx", tmp_path / "t.csv", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "the first row holds numbers and is taken as data" in result.stderr


BAD = {
    "empty": (b"", "is empty"),
    "header": (b"age,fare,sex,port\n", "has names of columns and no row"),
    "ragged": (b"age,fare,sex,port\n1,2,m,S\n1,2,m\n", "has 4 columns, and 3 in line 3"),
    "latin": (b"age,fare,sex,port\n1,2,m\xe9,S\n", "is not UTF-8"),
    "binary": (b"age,fare,sex,port\n1,2,\0,S\n", "is no text"),
    "word": (b"age,fare,sex,port\n1,2,m,S\nold,2,m,S\n", "row 1, column 'age': 'old' is no number"),
    "missing": (b"age,fare,port\n1,2,S\n3,4,C\n", "has no column sex for the model"),
    "twice": (b"age,age,sex,port\n1,2,m,S\n1,2,m,S\n", "two columns called 'age'"),
    "alone": (b"age,fare,sex,port\n1,2,m,S\n", "give rows of the data as background"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tables_are_refused_in_one_line(run: Run, file: Path, tmp_path: Path, name: str) -> None:
    data, said = BAD[name]
    (tmp_path / "t.csv").write_bytes(data)
    result = run("explain", file, tmp_path / "t.csv", "-o", tmp_path / "out", "-q")
    assert result.exit_code == 1
    lines = [line for line in result.stderr.splitlines() if "images failed" not in line]
    assert len(lines) == 1
    assert said in lines[0]


def test_options_about_tables_need_one(run: Run, file: Path, tmp_path: Path, photos: Path) -> None:
    table = written(tmp_path / "people.csv", people())
    for given, said in (
        (["builtin", photos / "ramp.png", "--rows", "all"], "are about tables"),
        ([file, table, "--rows", "first"], "neither `all` nor rows such as"),
        ([file, table, "--rows", "99"], "there is no row 99"),
        ([file, table, "--trust"], "about images"),
        ([file, table, "--max-failures", "1"], "--max-failures is about images"),
        ([file, table, "--threshold", "0.5"], "--threshold is about maps of images, and tables are given"),
        ([file, table, "--alpha", "0.5"], "--alpha is about maps of images"),
        ([file, table, "--colormap", "ember"], "--colormap is about maps of images"),
        ([file, table, "--range", "shared"], "--range is about maps of images"),
        ([file, table, "--layer", "y"], "--layer is about maps of images"),
        ([file, tmp_path / "none.csv"], "there is no file"),
    ):
        result = run("explain", *given, "-o", tmp_path / "out", "-q")
        assert result.exit_code, said
        assert said in result.stderr


def test_tables_that_do_not_fit_themselves() -> None:
    with pytest.raises(ShapeError, match="different numbers of rows"):
        onnxray.Table({"a": [1, 2], "b": [1]})
    with pytest.raises(ShapeError, match="different numbers of columns"):
        onnxray.Table([[1, 2], [3]])
    with pytest.raises(ShapeError, match="one name for each column"):
        onnxray.Table([[1, 2]], ["a"])
    with pytest.raises(ShapeError, match="background has 3 columns"):
        onnxray.Table([[1, 2]], background=[[1, 2, 3]])
    with pytest.raises(ShapeError, match="background lacks the columns b, c"):
        onnxray.Table({"a": [1], "b": [2], "c": [3]}, background={"a": [1], "x": [2], "y": [3]})
    named = onnxray.Table([[1, 2]], ["a", "b"], background={"b": [4], "a": [3], "c": [5]})
    assert named.background.tolist() == [[3, 4]]
    with pytest.raises(ShapeError, match="no cell"):
        onnxray.Table([])
