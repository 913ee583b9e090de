"""`onnxray evaluate`: tables, curves, the page, masks, going on after a break, bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from onnxray.cli.files.images import write
from onnxray.models.surface import render

LABELS = ("crack", "pit", "dent")
ASKED = ("--methods", "grad-cam,gradient", "--metrics", "sparseness,average-drop", "-q")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images and their masks in MVTec-AD's layout; the last one has no mask."""
    root = tmp_path_factory.mktemp("data")
    for i, label in enumerate(LABELS):
        sample = render(3_000_000 + i, label)
        write(root / "test" / label / f"00{i}.png", sample.image)
        if label != "dent":
            mask = np.repeat(sample.mask[..., None], 3, axis=2).astype(np.uint8) * 255
            write(root / "ground_truth" / label / f"00{i}_mask.png", mask)
    return root


def test_tables_curves_and_a_page(run: Callable[..., Result], data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    metrics = "region-perturbation,iou"
    done = run(
        *("evaluate", "builtin", data / "test", "-r", "--methods", "grad-cam,gradient", "--metrics", metrics),
        *("--masks", data / "ground_truth", "-o", out),
    )
    assert done.exit_code == 0, done.stderr
    assert "002.png: no mask in" in done.stderr
    assert "3 images are too few" in done.stdout
    for name in ("table.csv", "table.md", "evaluation.json", "curve-region-perturbation.png", "index.html"):
        assert (out / name).is_file(), name
    found = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    assert found["table"]["grad-cam"]["iou"]["images"] == 2
    assert found["table"]["grad-cam"]["region-perturbation"]["images"] == 3
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "The best and the worst images" in page
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["complete"]
    assert manifest["evaluation"]["ranking"]["images"] == 3
    files = [*manifest["files"], *(f for image in manifest["images"] for f in image["files"])]
    assert all((out / name).is_file() for name in files)


def test_it_goes_on_where_it_was_cut_off(run: Callable[..., Result], data: Path, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    images = sorted((data / "test").rglob("*.png"))
    assert run("evaluate", "builtin", *images, *ASKED, "-o", whole).exit_code == 0
    assert run("evaluate", "builtin", *images, *ASKED, "-o", part).exit_code == 0
    manifest = json.loads((part / "manifest.json").read_text(encoding="utf-8"))
    manifest["images"] = manifest["images"][:2]
    (part / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    again = run("evaluate", "builtin", *images, *ASKED, "-o", part, "--resume")
    assert again.exit_code == 0, again.stderr
    for name in ("table.csv", "evaluation.json"):
        assert (part / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--metrics", "insertoin"], "nearest: 'insertion'"),
        (["--metrics", "iou"], "need the pixels of the object: give masks"),
        (["--methods", "gradcam2"], "no method named"),
        (["--masks", "nowhere"], "no file or folder 'nowhere' with masks"),
    ],
)
def test_bad_input_is_one_line(
    run: Callable[..., Result], data: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    done = run("evaluate", "builtin", data / "test" / "crack", "-q", *arguments, "-o", tmp_path / "out")
    assert done.exit_code != 0
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_masks_of_another_size_are_one_line(run: Callable[..., Result], data: Path, tmp_path: Path) -> None:
    write(tmp_path / "masks" / "000.png", np.full((5, 7, 3), 255, np.uint8))
    done = run(
        *("evaluate", "builtin", data / "test" / "crack", *ASKED),
        *("--masks", tmp_path / "masks", "-o", tmp_path / "out"),
    )
    assert done.exit_code != 0
    assert "5 x 7 pixels and the image 160 x 160: give a mask of the image's size" in done.stderr


def test_the_metrics_are_listed(run: Callable[..., Result]) -> None:
    done = run("evaluate", "--list-metrics")
    assert done.exit_code == 0
    assert "deletion (faithfulness, 0 to 1 (probability), low is good)" in done.stdout
