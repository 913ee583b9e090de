"""Parts of a run made with --shard and merged: the bytes of the whole run, whatever the parts and their order."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import onnxray
from onnxray.cli.files.images import write
from onnxray.cli.tasks.explain import Explainer
from onnxray.cli.tasks.over_images import Outcome
from onnxray.engine.errors import MethodError, UnknownName

Run = Callable[..., Result]

COMMANDS = {
    "explain": ("-m", "grad-cam,gradient", "--threshold", "0.5"),
    "explain-targets": ("-m", "all", "-t", "top:2", "--format", "npy"),
    "predict": ("--batch", "2"),
    "activations": ("--layer", "features"),
    "activations-stats": ("--stats", "--all-layers"),
    "evaluate": ("--methods", "grad-cam,gradient", "--metrics", "sparseness,insertion"),
}
PARTS = {name: (3, 5) if name == "explain" else (3,) for name in COMMANDS}


@pytest.fixture
def data(photos: Path) -> Path:
    """Six files: the three pictures, one that is broken, two of the same name as others."""
    (photos / "broken.png").write_text("nothing to see")
    for number, name in enumerate(("ramp", "broken")):
        pixels = np.random.default_rng(number).integers(0, 256, (24, 24, 3), np.uint8)
        write(photos / "more" / f"{name}.png", pixels)
    return photos


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def same(one: Path, other: Path) -> None:
    a, b = tree(one), tree(other)
    assert [*a] == [*b]
    assert [name for name in a if a[name] != b[name]] == []


@pytest.mark.parametrize("case", COMMANDS)
def test_parts_make_the_whole(run: Run, model: Path, data: Path, tmp_path: Path, case: str) -> None:
    asked = (case.partition("-")[0], model, data, "-r", *COMMANDS[case], "-q")
    assert run(*asked, "-o", tmp_path / "whole").exit_code == 1  # one image is broken
    entries = json.loads((tmp_path / "whole" / "manifest.json").read_text())["images"]
    assert [entry["status"] for entry in entries].count("failed") == 1
    for of in PARTS[case]:
        folders = []
        for number in range(1, of + 1):
            folders.append(tmp_path / f"{number}-{of}")
            done = run(*asked, "-o", folders[-1], "--shard", f"{number}/{of}")
            assert done.exit_code in (0, 1), done.stderr
        order = np.random.default_rng(of).permutation(of)
        merged = run("merge", *(folders[i] for i in order), "-o", tmp_path / f"merged-{of}")
        assert merged.exit_code == 0, merged.stderr
        same(tmp_path / "whole", tmp_path / f"merged-{of}")


def test_a_part_goes_on_where_it_was_cut_off(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    asked = ("explain", model, data, "-r", "-q", "--shard", "2/2", "-o")
    run(*asked, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    manifest = json.loads((tmp_path / "part" / "manifest.json").read_text())
    manifest["images"] = manifest["images"][-1:]
    (tmp_path / "part" / "manifest.json").write_text(json.dumps(manifest))
    assert run(*asked, tmp_path / "part", "--resume").exit_code in (0, 1)
    same(tmp_path / "whole", tmp_path / "part")


def test_the_same_in_python(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    run("explain", model, data, "-r", "-m", "gradient", "-t", "0", "-t", "1", "-q", "-o", tmp_path / "whole")
    for part in (1, 2):
        asked = {"recursive": True, "method": "gradient", "target": ["0", "1"], "shard": (part, 2)}
        found = onnxray.job("explain", model, data, tmp_path / str(part), **asked)
        assert found["options"]["shard"] == [part, 2]
    merged = onnxray.merge([tmp_path / "2", tmp_path / "1"], tmp_path / "merged")
    assert [image["status"] for image in merged["images"]].count("failed") == 1
    same(tmp_path / "whole", tmp_path / "merged")
    with pytest.raises(UnknownName, match="no command over many images named 'explian'; nearest: 'explain'"):
        onnxray.job("explian", model)
    with pytest.raises(UnknownName, match="no option of explain named '--metod'; nearest: '--method'"):
        onnxray.job("explain", model, data, tmp_path / "x", metod="gradient")
    with pytest.raises(MethodError, match="leave --shard out"):
        onnxray.job("explain", model, data, tmp_path / "x", on="ray", shard=(1, 2))


def test_parts_of_other_images_are_refused(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    asked = ("explain", model, data, "-r", "-m", "gradient", "-q", "--shard")
    run(*asked, "1/2", "-o", tmp_path / "1")
    run(*asked, "2/2", "-o", tmp_path / "old")
    before = tree(tmp_path / "old")
    shutil.copy(data / "ramp.png", data / "a.png")
    run(*asked, "2/2", "-o", tmp_path / "2")
    done = run("merge", tmp_path / "1", tmp_path / "2", "-o", tmp_path / "whole")
    assert "parts of different runs: different lists of images" in done.stderr
    assert not (tmp_path / "whole").exists()
    done = run(*asked, "2/2", "-o", tmp_path / "old", "--resume")
    assert "holds a run with other images, which cannot be continued" in done.stderr
    assert tree(tmp_path / "old") == before


@pytest.mark.parametrize("case", ["explain", "predict", "activations", "evaluate"])
def test_one_part_of_one_is_merged_as_well(run: Run, model: Path, data: Path, tmp_path: Path, case: str) -> None:
    asked = (case, model, data, "-r", *COMMANDS[case], "-q", "-o")
    run(*asked, tmp_path / "whole")
    run(*asked, tmp_path / "part", "--shard", "1/1")
    done = run("merge", tmp_path / "part", "-o", tmp_path / "merged")
    assert done.exit_code == 0, done.stderr
    same(tmp_path / "whole", tmp_path / "merged")


def test_files_outside_the_folder_are_refused(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    part = tmp_path / "parts" / "1"
    run("explain", model, data / "ramp.png", "-q", "--shard", "1/1", "-o", part)
    (tmp_path / "parts" / "evil.txt").write_text("evil")
    manifest = json.loads((part / "manifest.json").read_text())
    manifest["images"][0]["files"].append("../evil.txt")
    (part / "manifest.json").write_text(json.dumps(manifest))
    done = run("merge", part, "-o", tmp_path / "merged" / "whole")
    assert "names '../evil.txt', a file outside its folder" in done.stderr
    assert not (tmp_path / "merged" / "evil.txt").exists()


def test_a_part_whose_images_all_fail_alike_is_finished(
    run: Run, model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the model is at fault is judged over all parts."""
    failing = {"ramp", "square"}
    one = Explainer.one

    def some(self: Explainer, path: Path, pixels: np.ndarray, folder: str) -> Outcome:
        if path.stem in failing:
            raise MethodError("fits no image")
        return one(self, path, pixels, folder)

    monkeypatch.setattr(Explainer, "one", some)
    shutil.copy(photos / "noise.png", photos / "again.png")
    asked = ("explain", model, photos, "-m", "gradient", "-q", "-o")
    parts = tmp_path / "1", tmp_path / "2"
    run(*asked, tmp_path / "whole")
    for number, part in enumerate(parts, 1):
        assert run(*asked, part, "--shard", f"{number}/2").exit_code == number - 1
        assert json.loads((part / "manifest.json").read_text())["complete"]
    assert run("merge", *parts, "-o", tmp_path / "merged").exit_code == 0
    same(tmp_path / "whole", tmp_path / "merged")
    failing |= {"again", "noise"}
    assert "fits no image" in run(*asked, tmp_path / "none").stderr
    run(*asked, parts[0], "--shard", "1/2", "--force")
    done = run("merge", *parts, "-o", tmp_path / "none-merged")
    assert "all images of all parts failed alike: fits no image" in done.stderr
    assert not (tmp_path / "none-merged").exists()


def test_uris_are_refused(run: Run, tmp_path: Path) -> None:
    done = run("merge", "s3://bucket/parts", "-o", tmp_path / "merged")
    assert "'s3://bucket/parts' is a URI: merge copies of parts in local folders" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_wrong_parts_are_one_line(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    asked = ("predict", model, data, "--batch", "1", "-q")
    for number in (1, 2, 3):
        run(*asked, "-o", tmp_path / str(number), "--shard", f"{number}/3")
    run(*asked, "--top", "2", "-o", tmp_path / "other", "--shard", "3/3")
    unfinished = tmp_path / "unfinished"
    shutil.copytree(tmp_path / "3", unfinished)
    manifest = (unfinished / "manifest.json").read_text()
    (unfinished / "manifest.json").write_text(manifest.replace('"complete": true', '"complete": false'))
    one, two, three = (tmp_path / str(number) for number in (1, 2, 3))
    for parts, words in (
        ((one, three), "1 of 3 parts are missing: make --shard 2/3 as well"),
        ((one, two, three, two), "the part 2/3 is given twice"),
        ((one, two, tmp_path / "other"), "parts of different runs: different options"),
        ((one, two, unfinished), "is not finished: go on with --resume"),
        ((one, two, data), "holds no part of a run: make it with --shard"),
    ):
        done = run("merge", *parts, "-o", tmp_path / "merged")
        assert done.exit_code == 1
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert "is one of the parts" in run("merge", one, two, three, "-o", one).stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("explain", "--shard", "1/2", "--range", "shared"), "--range shared looks at all images, --shard at some"),
        (("predict", "--shard", "1/9", "--batch", "1"), "part 1 of 9 has no images"),
        (("predict", "--shard", "0/2"), "is no part"),
        (("predict", "--actors", "2"), "--actors is about runs on Ray: give --on ray as well"),
        (("predict", "--on", "dask"), "is none of ray, ray:auto, ray:HOST:PORT"),
        (("predict", "--on", "ray", "--shard", "1/2"), "leave --shard out"),
        (("explain", "--max-failures", "1", "--to", "-"), "--max-failures has no meaning with --to"),
        (("activations", "--stats", "--most", "3"), "--most is about pictures, and --stats draws none"),
        (("activations", "--stats", "--range", "each"), "--range is about pictures, and --stats draws none"),
        (("activations", "--stats", "--all"), "--all is about pictures, and --stats draws none"),
        (("explain", "-o", "s3://bucket/out"), "--out is a folder of this machine, and 's3://bucket/out' is a URI"),
        (("explain", "--shard", "1/2", "--to", "-"), "--shard has no meaning with --to"),
    ],
)
def test_bad_input(run: Run, model: Path, data: Path, arguments: tuple[str, ...], words: str) -> None:
    done = run(arguments[0], model, data, *arguments[1:], "-q")
    assert done.exit_code in (1, 2)
    assert words in done.stderr


def test_parts_of_arrays_are_refused(run: Run, model: Path, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("x.npy", "y.npy")]
    for file in files:
        np.save(file, np.zeros((1, 3, 16, 16), np.float32))
    for command in ("predict", "explain", "activations"):
        done = run(command, model, *files, "--shard", "1/1", "-q", "-o", tmp_path / command)
        assert done.exit_code == 0, done.stderr
        done = run(command, model, *files, "--shard", "2/2", "--limit", "2", "-q", "-o", tmp_path / f"{command}-part")
        assert "--shard and --on are about images" in done.stderr
        done = run(command, model, *files, "--max-failures", "1", "-q", "-o", tmp_path / f"{command}-most")
        assert "--max-failures is about images, and others are given: leave it out" in done.stderr


def test_too_many_failures_end_a_run(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    (data / "more" / "noise.png").write_text("broken, too")
    for command in ("predict", "explain", "top"):
        images = data if command != "top" else (data / "ramp.png", data / "broken.png", data / "more" / "noise.png")
        given = images if isinstance(images, tuple) else (images, "-r")
        done = run(command, model, *given, "-q", "-o", tmp_path / command, "--max-failures", "1")
        assert done.exit_code == 1
        assert "2 images failed, more than the 1 of --max-failures: " in done.stderr.splitlines()[-1]
        again = run(command, model, *given, "-q", "-o", tmp_path / f"{command}-2", "--max-failures", "2")
        assert again.exit_code == 1
        assert "--max-failures" not in again.stderr
