"""Runs: names, what is removed with --force, hostile manifests."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from onnxray.cli.files.manifest import plain
from onnxray.cli.files.output import Output
from onnxray.cli.files.run import Run, done, failed, made_by, slug
from onnxray.engine.errors import ImageError, OutputError


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("/features/0/Conv_output_0", "features-0-Conv_output_0"),
        ("a b\tc:d*e", "a-b-c-d-e"),
        ("../../etc/passwd", "etc-passwd"),
        ("", "unnamed"),
        ("...", "unnamed"),
        ("слой", "unnamed"),
        ("con", "_con"),
        ("NUL.png", "_NUL.png"),
        ("x" * 200, "x" * 38 + "--" + "x" * 38),
    ],
)
def test_slugs(name: str, wanted: str) -> None:
    assert slug(name) == wanted


def test_names_are_unique_whatever_the_case(tmp_path: Path) -> None:
    run = Run(Output(tmp_path / "r"), "test", {}, {})
    assert [run.name(n) for n in ("a.png", "A.png", "a.png", "manifest.json", "layer.0", "layer.0")] == [
        *("a.png", "A-2.png", "a-3.png", "manifest-2.json", "layer.0", "layer-2.0")
    ]
    assert run.name("a.png", "folder") == "folder/a.png"


def test_the_manifest_is_written_however_the_run_ends(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    image = tmp_path / "i.png"
    image.write_bytes(b"x")

    def broken() -> None:
        with Run(Output(folder), "test", {}, {}, [image]) as run:
            run.add(done(image, "0" * 64, ["a.txt"], number=np.float32(1.5)))
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["complete"] is False
    assert manifest["images"][0]["number"] == 1.5
    assert made_by(folder) == "test"
    assert made_by(tmp_path) is None


def test_images_are_listed_in_the_order_given(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("b", "a", "c")]
    for path in paths:
        path.write_bytes(b"")
    with Run(Output(tmp_path / "r"), "test", {}, {}, paths) as run:
        run.add(failed(paths[2], ImageError("two\nlines")))
        run.add(done(paths[0], "0" * 64))
    assert [entry["path"] for entry in run.entries] == [str(paths[0]), str(paths[2])]
    assert run.entries[1]["error"] == "two lines"


def test_force_removes_only_what_the_old_manifest_lists_inside_the_folder(tmp_path: Path) -> None:
    folder, outside = tmp_path / "r", tmp_path / "outside.txt"
    (folder / "sub").mkdir(parents=True)
    outside.write_text("keep")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.txt").write_text("keep")
    try:
        (folder / "link").symlink_to(tmp_path / "elsewhere")
    except OSError:
        pytest.skip("no symbolic links here")
    for name in ("mine.txt", "old.txt", "sub/old.txt"):
        (folder / name).write_text("x")
    listed = ["old.txt", "sub/old.txt", "../outside.txt", str(outside), "link/x.txt", "sub", 7, "nothing.txt"]
    manifest = {"format": 1, "command": "x", "images": [{"files": listed}, 3], "files": []}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(OutputError, match=r"holds another run \(onnxray x\)"):
        Run(Output(folder), "test", {}, {})
    Run(Output(folder, force=True), "test", {}, {})
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*")) == ["link", "mine.txt"]
    assert outside.read_text() == "keep"
    assert (tmp_path / "elsewhere" / "x.txt").read_text() == "keep"


def test_a_manifest_that_is_not_ours_is_somebody_elses_file(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "web app"}')
    with pytest.raises(OutputError, match="files that no run of onnxray wrote"):
        Run(Output(tmp_path), "test", {}, {})


def test_what_json_lacks() -> None:
    values = {"a": np.int64(3), "b": float("nan"), "c": np.array([1.0, np.inf]), "d": Path("x"), "e": (True, None)}
    assert plain(values) == {"a": 3, "b": "nan", "c": [1.0, "inf"], "d": "x", "e": [True, None]}
    with pytest.raises(TypeError, match="object"):
        plain(object())


def test_the_manifest_s_bytes_are_those_of_its_document(tmp_path: Path) -> None:
    hostile = 'line\n  "images": []\nend é 😀 \\'
    images = [tmp_path / f"{k}.png" for k in range(3)]
    for image in images:
        image.write_bytes(b"x")
    with Run(Output(tmp_path / "r"), "test", {"text": hostile}, {"images of": [hostile]}, images) as run:
        for count, image in enumerate(images[::-1]):
            written = (tmp_path / "r" / "manifest.json").read_text(encoding="utf-8")
            assert written == json.dumps(run.document(), indent=2, ensure_ascii=False) + "\n"
            assert len(run.entries) == count
            run.add(done(image, "0" * 64, [f"{count}.npy"], text=hostile, nested={"a": [1.25, None, []], "b": {}}))
            run.flush()
    document = json.loads((tmp_path / "r" / "manifest.json").read_text(encoding="utf-8"))
    assert document == run.document()
    assert document["complete"] is True
    assert [entry["text"] for entry in document["images"]] == [hostile] * 3
    assert document["images"][0]["nested"] == {"a": [1.25, None, []], "b": {}}


def test_of_thousands_of_images_little_is_held(tmp_path: Path) -> None:
    image = tmp_path / "i.png"
    image.write_bytes(b"x")
    entry = done(
        image, "0" * 64, ["a.npy"], maps=[{"method": "grad-cam", "score": 1.5, "values": {"shape": [7, 7]}}] * 4
    )
    run = Run(Output(tmp_path / "r"), "test", {}, {}, [Path(f"{k}.png") for k in range(2000)])
    run.flush = lambda: None  # type: ignore[method-assign]
    tracemalloc.start()
    for k in range(2000):
        run.add({**entry, "path": f"{k}.png"})
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / 2000 < 1000


def continued(folder: Path, images: list[Path]) -> Run:
    return Run(Output(folder, resume=True), "test", {}, {}, images)


def test_an_image_that_is_done_keeps_its_folder_when_another_of_its_name_comes_first(tmp_path: Path) -> None:
    first, other = tmp_path / "a.png", tmp_path / "a.bmp"
    first.write_bytes(b"1")
    other.write_bytes(b"2")
    with Run(Output(tmp_path / "r"), "test", {}, {}, [first]) as run:
        name = run.text(f"{run.folder_for(first)}/map.txt", "first")
        run.add(done(first, hashlib.sha256(b"1").hexdigest(), [name]))
    with continued(tmp_path / "r", [other, first]) as run:
        assert run.folder_for(other) == "a-2"
        assert run.folder_for(first) == "a"
        assert run.kept(first) is not None


def test_of_two_images_that_share_a_folder_one_is_done_again(tmp_path: Path) -> None:
    images = [tmp_path / "a.png", tmp_path / "a.bmp"]
    with Run(Output(tmp_path / "r"), "test", {}, {}, images) as run:
        run.text("a/map.txt", "one of them")
        for image in images:
            image.write_bytes(b"1")
            run.add(done(image, hashlib.sha256(b"1").hexdigest(), ["a/map.txt"]))
    with continued(tmp_path / "r", images) as run:
        assert [run.kept(image) is not None for image in images] == [True, False]


HOLDS = """
import sys, time
from pathlib import Path
from onnxray.cli.files.output import Output
from onnxray.cli.files.run import Run
with Run(Output(Path(sys.argv[1]), force=True), "test", {}, {}) as run:
    (run.folder / ".onnxray-0123456789ab.part").write_text("half")
    print("ready", flush=True)
    time.sleep(600)
"""


def test_one_run_at_a_time_and_a_killed_one_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(folder)], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "ready\n"
            before = sorted(os.listdir(folder))
            for output in (Output(folder), Output(folder, force=True), Output(folder, resume=True)):
                with pytest.raises(OutputError, match=rf"{folder.name}' is being written by .*process {other.pid}\)"):
                    Run(output, "test", {}, {})
            assert sorted(os.listdir(folder)) == before
        finally:
            other.kill()
    with continued(folder, []):
        pass
    assert os.listdir(folder) == ["manifest.json"]


def test_leftovers_of_a_killed_run_are_no_files_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / ".onnxray-0123456789ab.part").touch()
    with Run(Output(tmp_path), "test", {}, {}):
        pass
    assert made_by(tmp_path) == "test"


HOSTILE = {
    "images are a number": {"images": 5},
    "files are a number": {"files": 5},
    "the command is a list": {"command": [1]},
    "an entry's files are a number": {"images": [{"path": "a.png", "status": "done", "files": 7}]},
    "an entry's path is a list": {"images": [{"path": ["a.png"], "status": "done", "files": []}]},
    "names of no file": {"images": [{"path": "a.png", "status": "done", "files": ["\0/x", "../x", "/x"]}]},
    "names that are too long": {"files": ["x" * 5000, "x/" * 3000]},
}


@pytest.mark.parametrize("changes", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("how", ["none", "force", "resume"])
def test_manifests_of_wrong_types(tmp_path: Path, changes: dict[str, object], how: str) -> None:
    with Run(Output(tmp_path), "test", {}, {}) as run:
        written = run.document()
    (tmp_path / "manifest.json").write_text(json.dumps({**written, **changes}))
    try:
        run = Run(Output(tmp_path, **{how: True} if how != "none" else {}), "test", {}, {}, [Path("a.png")])
    except OutputError:
        return
    with run:
        assert run.kept(Path("a.png")) is None


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": NaN}', '{"format": 1' + "0" * 5000 + "}", "\udcff"])
def test_manifests_that_are_no_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert made_by(tmp_path) is None


def test_a_number_beyond_every_float_can_be_continued(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(b"1")
    with Run(Output(tmp_path / "r"), "test", {}, {}, [image]) as run:
        run.add(done(image, hashlib.sha256(b"1").hexdigest(), score=0.5))
    file = tmp_path / "r" / "manifest.json"
    file.write_text(file.read_text().replace("0.5", "1e999"))
    with continued(tmp_path / "r", [image]) as run:
        entry = run.kept(image)
        assert entry is not None
        run.add(entry)


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_file_names_that_are_no_utf_8(tmp_path: Path) -> None:
    image = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    image.write_bytes(b"1")
    with Run(Output(tmp_path / "r"), "test", {}, {}, [image]) as run:
        name = run.text(f"{run.folder_for(image)}/list.csv", f"{image},1\n")
        run.add(done(image, hashlib.sha256(b"1").hexdigest(), [name]))
    assert json.loads((tmp_path / "r" / "manifest.json").read_text("utf-8"))["images"][0]["path"] == str(image)
    with continued(tmp_path / "r", [image]) as run:
        assert run.kept(image) is not None
