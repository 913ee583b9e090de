"""`onnxray top` and `onnxray merge`: folders, sheets, classes, what is cut off goes on, shards, bad input."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result

import onnxray
from onnxray.cli.files.images import read, write
from onnxray.cli.tasks import saved_pass
from onnxray.cli.tasks import top as task
from onnxray.engine.survey.top import load_top
from onnxray.tests.engine.survey.detectors import UNITS, detectors, noise, planted


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """The model whose units are known, as a file."""
    path = tmp_path / "detectors.onnx"
    onnx.save(detectors().proto, path)
    path.with_name("detectors.card.json").write_text(
        json.dumps({"mean": 0, "std": 255, "labels": list(UNITS), "resize": "letterbox"})
    )
    return path


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """A folder for each class."""
    folder = tmp_path / "classes"
    for n, unit in enumerate(UNITS):
        for m in range(3):
            write(folder / unit / f"{m}.png", planted(unit, (6 + n, 7 + 5 * m), (48, 64), 3))
    for picture in noise(4, size=(48, 64)):
        write(folder / "none" / picture.name, picture.pixels)
    return folder


def test_a_run_over_folders_that_are_classes(run: Callable[..., Result], known: Path, classes: Path) -> None:
    out = known.parent / "out"
    options = ("--layer", "detect", "--layer", "classes", "-k", 3, "-q")
    done = run("top", known, classes, *options, "-o", out, "--weakest", "--quantiles", "--project", "deconvnet")
    assert done.exit_code == 0, done.stderr
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["complete"]
    assert sorted(manifest["files"]) == [
        *("classes.png", "detect.png", "result/manifest.json", "result/top.npz", "units.json")
    ]
    assert {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()} == {*manifest["files"], "manifest.json"}
    assert read(out / "detect.png").shape[1] >= 680
    found = json.loads((out / "units.json").read_text())
    assert found["count"] == 19
    for unit, entry in enumerate(found["layers"]["detect"][:3]):
        assert entry["unit"] == unit
        assert [Path(e["image"]).parent.name for e in entry["strongest"]] == [UNITS[unit]] * 3
        assert entry["class"] == UNITS[unit]
    result = load_top(out / "result")
    assert result.labelled == "given"
    assert set(result.classes) == {*UNITS, "none"}
    assert result.strongest("detect", 0)[0].box[0] >= 0


def test_the_cut_run_goes_on(
    run: Callable[..., Result], known: Path, classes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = known.parent / "whole", known.parent / "cut"
    options = ("--layer", "fire", "-k", 2, "--batch", 2, "-q")
    (classes / "blue" / "broken.png").write_bytes(b"no image")
    assert run("top", known, classes, *options, "-o", whole).exit_code == 1
    reads: list[str] = []

    def stopping(path: object, card: object) -> np.ndarray:
        reads.append(str(path))
        if len(reads) == 12:
            raise KeyboardInterrupt
        return read(path)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(saved_pass, "SAVE", 0.0)
        patch.setattr(saved_pass, "SAVE_TIMES", 0)
        patch.setattr("onnxray.cli.files.photos.read_photo", stopping)
        assert run("top", known, classes, *options, "-o", cut).exit_code != 0
    assert (cut / "unfinished.npz").is_file()
    refused = run("top", known, classes / "red", *options, "-o", cut, "--resume")
    assert refused.exit_code != 0
    assert "which cannot be continued" in refused.stderr or "over other images" in refused.stderr
    replaced = known.parent / "replaced"
    shutil.copytree(cut, replaced)
    reads.clear()
    with monkeypatch.context() as patch:
        patch.setattr("onnxray.cli.files.photos.read_photo", lambda path, card: reads.append(str(path)) or read(path))
        patch.setattr(task, "_DRAWN", 0)
        again = run("top", known, classes, *options, "-o", cut, "--resume")
    assert again.exit_code == 1, again.stderr
    assert len(reads) < 14
    for name in ("top.npz", "manifest.json"):
        assert (cut / "result" / name).read_bytes() == (whole / "result" / name).read_bytes()
    assert not (cut / "unfinished.npz").exists()
    failed = json.loads((cut / "manifest.json").read_text())["images"]
    assert [Path(entry["path"]).name for entry in failed] == ["broken.png"]
    # A run that replaces an unfinished one begins anew, with other images as well.
    one = run("top", known, classes / "red", *options, "-o", replaced, "--force")
    assert one.exit_code == 0, one.stderr
    assert load_top(replaced / "result").count == len(list((classes / "red").iterdir()))


def test_shards_merge_to_the_whole(run: Callable[..., Result], known: Path, classes: Path) -> None:
    folder = known.parent
    options = ("--layer", "detect", "-k", 4, "--selectivity", "predicted", "-q", "--channel", "0")
    whole = sorted(classes.rglob("*.png"))
    assert run("top", known, *whole, *options, "-o", folder / "whole").exit_code == 0
    assert run("top", known, *whole[::2], *options, "-o", folder / "a").exit_code == 0
    assert run("top", known, *whole[1::2][::-1], *options, "-o", folder / "b").exit_code == 0
    done = run("merge", folder / "b", folder / "a" / "result", "-o", folder / "merged")
    assert done.exit_code == 0, done.stderr
    assert str(folder / "merged") in done.stdout
    for name in ("top.npz", "manifest.json"):
        assert (folder / "merged" / name).read_bytes() == (folder / "whole" / "result" / name).read_bytes()
    for n in (1, 2):
        assert run("top", known, *whole, *options, "--shard", f"{n}/2", "-o", folder / f"part{n}").exit_code == 0
    assert run("merge", folder / "part1", folder / "part2", "-o", folder / "joined").exit_code == 0
    for name in ("top.npz", "manifest.json"):
        assert (folder / "joined" / name).read_bytes() == (folder / "whole" / "result" / name).read_bytes()
    empty = run("top", known, whole[0], *options, "--shard", "1/2", "-o", folder / "empty")
    assert "part 1 of 2 has no images" in empty.stderr
    refused = run("merge", folder / "a", folder / "b", "-o", folder / "merged")
    assert refused.exit_code != 0
    assert "--force" in refused.stderr
    assert run("merge", folder / "a", folder / "b", "-o", folder / "merged", "--force").exit_code == 0
    assert "other files" in run("merge", folder / "a", folder / "b", "-o", classes, "--force").stderr
    assert "holds no result" in run("merge", folder / "a", classes, "-o", folder / "new").stderr


def test_the_built_in_model_has_its_samples(run: Callable[..., Result], tmp_path: Path) -> None:
    done = run("top", "builtin", "-k", 2, "--channel", "1-2,5", "-o", tmp_path / "out", "--json", "-q")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["layers"] == ["classes"]
    found = json.loads((tmp_path / "out" / "units.json").read_text())["layers"]["classes"]
    assert [entry["unit"] for entry in found] == [1, 2, 5]
    result = load_top(tmp_path / "out" / "result")
    assert result.strongest("classes", 2)[0].image.name == found[1]["strongest"][0]["image"]
    assert onnxray.top("builtin", onnxray.samples(), k=2).strongest(None, 3) == result.strongest(None, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "IMAGES"),
        (("missing",), "there is no file or folder"),
        (("empty",), "has no image in it"),
        (("broken",), "none of the 2 images can be read"),
        (("classes", "--layer", "detcet"), "detect"),
        (("classes", "--layer", "detect", "--channel", "7"), "channels 0 to 4"),
        (("flat", "--selectivity", "given"), "no image lies in a folder of classes"),
        (("classes", "--channel", "x"), "is not a channel"),
        (("classes", "--channel", "7"), "channels 0 to 4"),
        (("classes", "--layer", "detect", "--size", "16"), "fixed at 32x32"),
    ],
)
def test_bad_input_is_one_clear_line(
    run: Callable[..., Result], known: Path, classes: Path, arguments: tuple[str, ...], message: str
) -> None:
    folder = known.parent
    (folder / "empty").mkdir()
    write(folder / "flat" / "0.png", planted("red", (5, 5)))
    for n in range(2):
        (folder / "broken").mkdir(exist_ok=True)
        (folder / "broken" / f"{n}.png").write_bytes(b"this is no image")
    given = [folder / a if a in ("missing", "empty", "broken", "classes", "flat") else a for a in arguments]
    done = run("top", known, *given, "-o", folder / "out", "-q")
    assert done.exit_code != 0
    errors = [line for line in done.stderr.splitlines() if message in line]
    assert len(errors) == 1, done.stderr
    assert "Traceback" not in done.stderr
