"""`onnxray choose`: the table, the budget, options of metrics, bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import onnxray

PHOTOS = onnxray.samples()[2:4]
ASKED = ("-m", "grad-cam,gradient", "--seconds", "600")


def test_it_prints_the_order_and_why(run: Callable[..., Result]) -> None:
    done = run("choose", "builtin", *PHOTOS, *ASKED)
    assert done.exit_code == 0, done.stderr
    assert "mean rank" in done.stdout
    assert "2 images are too few to be sure" in done.stdout


def test_json_with_options_of_metrics(run: Callable[..., Result]) -> None:
    done = run("choose", "builtin", *PHOTOS, *ASKED, "-M", "insertion:step=6400", "--json", "-q")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["best"] in ("grad-cam", "gradient")
    assert found["evaluation"]["metrics"]["insertion"]["options"]["step"] == 6400
    assert found["images"] == 2
    assert found["evaluation"]["metrics"]["deletion"]["options"]["step"] == 1600


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--seconds", "0"], 2, "--seconds"),
        (["--option", "samples=3"], 2, "give --method as well"),
        (["-M", "insertion:stpe=3"], 2, "'stpe'"),
        (["-M", "insertion"], 2, "is not [METRIC:]NAME=VALUE"),
        (["-M", "rode:step=3"], 1, "'rode'"),
        (["-M", "insertion:step=0"], 2, "step"),
    ],
)
def test_bad_input(run: Callable[..., Result], more: list[str], code: int, said: str) -> None:
    done = run("choose", "builtin", *PHOTOS, *more)
    assert done.exit_code == code
    assert said in done.stderr


def test_no_image(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    done = run("choose", "builtin", tmp_path / "a.png", *ASKED)
    assert done.exit_code == 1
    assert "none of the 1 images can be read" in done.stderr
