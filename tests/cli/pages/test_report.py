"""The report in a browser and as a file that is passed on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from onnxray.cli.figures.figure import Scale, scale_stops
from onnxray.cli.figures.parts import Row, Rows, Section, Tile, Tiles
from onnxray.cli.pages import report as pages
from onnxray.tests.cli.chromium import measured


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the built-in model, in a folder of its own."""
    from click.testing import CliRunner

    from onnxray.cli.main import main

    folder = tmp_path_factory.mktemp("report")
    done = CliRunner(catch_exceptions=False).invoke(main, ["demo", "--out", str(folder / "page"), "--quiet"])
    assert done.exit_code == 0, done.stderr
    return folder


def test_the_report_fits_a_phone_a_tablet_and_a_desk(report: Path, tmp_path: Path) -> None:
    for found in measured(report, "page/index.html", tmp_path / "profile"):
        assert found["page"] <= found["width"], found
        assert found["outside"] == [], found


def test_the_report_is_dark_in_dark_mode(report: Path, tmp_path: Path) -> None:
    light = measured(report, "page/index.html", tmp_path / "light")
    dark = measured(report, "page/index.html", tmp_path / "dark", "--blink-settings=preferredColorScheme=0")
    assert {found["paper"] for found in light} == {"rgb(255, 255, 255)"}
    assert {found["paper"] for found in dark} == {"rgb(20, 23, 28)"}


def test_no_folder_of_the_machine_is_in_a_report(
    run: Callable[..., Result], model: Path, photo: Path, tmp_path: Path
) -> None:
    """A card file's path was, in what says how images are shown."""
    assert run("demo", model, photo, "--out", tmp_path / "page").exit_code == 0
    source = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "small.card.json" in source
    assert str(tmp_path) not in source
    assert str(model.parent.resolve()) not in source


def test_methods_are_rows_and_targets_columns() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    tile = Tile("", pixels, scale=Scale("lagoon", 0.0, 2.5))
    rows = Rows(("cat: score 3", "dog: score 1"), (Row("grad-cam", "Maps.", (tile, tile)),))
    page = pages._section("section-1", Section("Explanations", "", [rows, Tiles((Tile("a<b", pixels, cells=True),))]))
    assert page.index("<b>cat: score 3</b><b>dog: score 1</b>") < page.index("<h4>grad-cam</h4>")
    assert page.count('alt="cat: score 3"') == page.count('alt="dog: score 1"') == 1
    assert "<span>0</span><span>2.5</span>" in page
    assert "a&lt;b" in page
    assert "a<b" not in page
    assert page.count("data:image/jpeg") == 2
    assert page.count("data:image/png") == 1


def test_stops_of_a_scale_begin_and_end_with_its_colours() -> None:
    from onnxray.kernels import colormap

    stops = scale_stops(Scale("lagoon", 0.0, 1.0))
    assert stops[0] == tuple(colormap.table("lagoon")[0])
    assert stops[-1] == tuple(colormap.table("lagoon")[-1])
    assert scale_stops(Scale("rgb", -1.0, 1.0))[8] == (128, 128, 128)
