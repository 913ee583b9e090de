"""`explain` of series: rows as times, features by name, forecasts, bad input in one line."""

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
from onnxray.cli.figures.series import along_time, series_figure
from onnxray.cli.files.tables import read_series
from onnxray.tests.engine.series.models import FEATURES, TIMES, forecast, network, planted

Run = Callable[..., Result]
NAMES = ["a", "b", "c", "d"]


def written(path: Path, x: np.ndarray, names: list[str], times: list | None = None, head: str = "time [s]") -> Path:
    with path.open("w", newline="", encoding="utf-8") as text:
        table = csv.writer(text)
        table.writerow([*([head] if times else []), *names])
        table.writerows([*([times[i]] if times else []), *map(repr, row)] for i, row in enumerate(x.tolist()))
    return path


@pytest.mark.parametrize("name", ["lstm", "tcn"])
def test_values_are_those_of_python(run: Run, tmp_path: Path, name: str) -> None:
    x = planted(1)[0][0]
    onnx.save(network(name), tmp_path / "m.onnx")
    table = written(tmp_path / "s.csv", x, NAMES, [i / 4 for i in range(TIMES)])
    out = tmp_path / "out"
    methods = "integrated-gradients,occlusion"
    result = run("explain", tmp_path / "m.onnx", table, "-m", methods, "--answer", "number", "-o", out)
    assert result.exit_code == 0, result.output
    assert f"the series is read as {'NCT' if name == 'tcn' else 'NTF'}: " in result.stderr
    model = onnxray.load(tmp_path / "m.onnx", answer="number")
    for method in methods.split(","):
        e = onnxray.explain(model, onnxray.Series(x), method)
        np.testing.assert_array_equal(np.load(out / f"s/{method}.npy"), e.values)
        assert (out / f"s/{method}.png").is_file()
    assert json.loads((out / "manifest.json").read_text(encoding="utf-8"))["complete"]
    same = onnxray.explain(model, table, "occlusion")
    np.testing.assert_array_equal(same.values, e.values)


def test_some_times_and_features_of_a_longer_file(run: Run, tmp_path: Path) -> None:
    x = planted(1)[0][0]
    longer = np.concatenate([np.zeros((5, FEATURES)), x, np.ones((5, FEATURES))])
    wide = np.concatenate([longer[:, :1], np.full((70, 1), 9.0), longer[:, 1:]], axis=1)
    onnx.save(network("lstm"), tmp_path / "m.onnx")
    table = written(tmp_path / "s.csv", wide, ["a", "odd", "b", "c", "d"])
    refused = run("explain", tmp_path / "m.onnx", table, "--columns", "a,b,c,d", "-o", tmp_path / "no", "-q")
    assert refused.exit_code == 1
    assert "the series has 70 times" in refused.stderr
    assert "--rows" in refused.stderr
    for name, value in (("--max-failures", "1"), ("--shard", "1/2")):
        refused = run("explain", tmp_path / "m.onnx", table, name, value, "-o", tmp_path / "no", "-q")
        assert refused.exit_code in (1, 2)
        assert "about images" in refused.stderr
    out = tmp_path / "out"
    chosen = ("--columns", "a,b,c,d", "--rows", "5-64", "-m", "gradient")
    result = run("explain", tmp_path / "m.onnx", table, *chosen, "--answer", "number", "-o", out)
    assert result.exit_code == 0, result.output
    wanted = onnxray.explain(onnxray.load(network("lstm"), answer="number"), onnxray.Series(x), "gradient")
    np.testing.assert_array_equal(np.load(out / "s/gradient.npy"), wanted.values)


def test_a_step_of_a_forecast(run: Run, tmp_path: Path) -> None:
    x = planted(1)[0][0]
    onnx.save(forecast(), tmp_path / "m.onnx")
    table, out = written(tmp_path / "s.csv", x, NAMES), tmp_path / "out"
    target = "value:forecast:1,2"
    result = run("explain", tmp_path / "m.onnx", table, "-m", "input-x-gradient", "-t", target, "-o", out)
    assert result.exit_code == 0, result.output
    assert "number 1 of the output is taken as the step 2 behind the last time" in result.stderr
    values = np.load(out / "s/input-x-gradient.npy")
    assert np.argwhere(values).tolist() == [[TIMES - 11, 1]]


def test_times_are_read(tmp_path: Path) -> None:
    x = np.arange(6.0).reshape(3, 2)
    named = read_series(written(tmp_path / "a.csv", x, ["u", "v"], [0.0, 0.5, 1.0]))
    assert (named.times, named.unit, named.names) == ((0.0, 0.5, 1.0), "s", ("u", "v"))
    dated = read_series(written(tmp_path / "b.csv", x, ["u", "v"], ["Mon", "Tue", "Wed"], "day"))
    assert dated.times == ("Mon", "Tue", "Wed")
    plain = read_series(written(tmp_path / "c.csv", x, ["u", "v"]))
    assert (plain.times, plain.values.shape) == ((), (3, 2))


def test_a_first_feature_is_not_taken_for_times(run: Run, tmp_path: Path) -> None:
    x = planted(1)[0][0]
    rows = [list(map(repr, row)) for row in x.tolist()]
    onnx.save(network("lstm"), tmp_path / "m.onnx")
    for bad, said in (("", "'' is no number"), ("1,5", "has a comma where a point is taken")):
        for column, heads in ((0, [*NAMES]), (0, [*NAMES, "more"])):
            cells = [list(row) + ["0"] * (len(heads) - len(row)) for row in rows]
            for line in range(TIMES if bad else 1):
                cells[line][column] = bad
            path = tmp_path / "s.csv"
            path.write_text("\n".join(";".join(row) for row in [heads, *cells]), encoding="utf-8")
            result = run("explain", tmp_path / "m.onnx", path, "-o", tmp_path / "no", "-q", "--force")
            assert result.exit_code == 1
            assert "column 'a'" in result.stderr
            assert said in result.stderr


def test_the_column_of_times_is_said_and_can_be_a_feature(run: Run, tmp_path: Path) -> None:
    x = planted(1)[0][0]
    onnx.save(network("lstm"), tmp_path / "m.onnx")
    own = written(tmp_path / "s.csv", x, ["time", *NAMES[1:]])
    asked = ("-m", "gradient", "--answer", "number")
    result = run("explain", tmp_path / "m.onnx", own, "--columns", "time,b,c,d", *asked, "-o", tmp_path / "a")
    assert result.exit_code == 0, result.output
    assert "names the times" not in result.stderr
    timed = written(tmp_path / "t.csv", x, NAMES, [i / 4 for i in range(TIMES)])
    result = run("explain", tmp_path / "m.onnx", timed, *asked, "-o", tmp_path / "b")
    assert "the column 'time [s]' names the times" in result.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "a/s/gradient.npy"), np.load(tmp_path / "b/t/gradient.npy"))


def test_options_about_pictures_are_refused(run: Run, tmp_path: Path) -> None:
    onnx.save(network("lstm"), tmp_path / "m.onnx")
    table = written(tmp_path / "s.csv", planted(1)[0][0], NAMES)
    for given in (("--threshold", 0.5), ("--alpha", 0.5), ("--colormap", "ember"), ("--range", "0,1")):
        result = run("explain", tmp_path / "m.onnx", table, *given, "-o", tmp_path / "out")
        assert result.exit_code == 2
        assert f"{given[0]} is about maps of images, and series are given" in result.stderr


BAD = {
    "word": ("a,b,c,d\n1,2,3,4\n1,2,old,4\n", "row 1, column 'c'", "'old' is no number"),
    "gap": ("a,b,c,d\n1,2,3,4\n1,,3,4\n", "row 1, column 'b'", "'' is no number"),
    "nan": ("a,b,c,d\n1,2,3,4\n1,nan,3,4\n", "row 1, column 'b'", "is no number"),
    "features": ("a,b,c\n" + "1,2,3\n" * TIMES, "3 features", "takes 4"),
    "empty": ("", "is empty", ""),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_series_are_refused_in_one_line(run: Run, tmp_path: Path, name: str) -> None:
    text, *said = BAD[name]
    (tmp_path / "s.csv").write_text(text, encoding="utf-8")
    onnx.save(network("lstm"), tmp_path / "m.onnx")
    result = run("explain", tmp_path / "m.onnx", tmp_path / "s.csv", "-o", tmp_path / "out", "-q")
    assert result.exit_code == 1
    lines = [line for line in result.stderr.splitlines() if "images failed" not in line]
    assert len(lines) == 1
    assert all(part in lines[0] for part in said)


def test_figures_of_many_times_and_features() -> None:
    rng = np.random.default_rng(0)
    heat, values = rng.standard_normal((3000, 20)), rng.standard_normal((3000, 20))
    times = [str(i) for i in range(3000)]
    names = [f"f{i}" for i in range(20)]
    every = series_figure("t", ["l"], heat, values, names, times, "h")
    alone = series_figure("t", ["l"], heat[:, 0], values, names, times, ahead=3)
    assert every.dtype == alone.dtype == np.uint8
    assert every.shape[1] > alone.shape[1]
    np.testing.assert_array_equal(along_time(heat.T, 1, 3000), heat)
    assert along_time(np.ones(10, np.float32), None, 3000).shape == (3000,)
