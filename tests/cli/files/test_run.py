"""Runs: names, what is removed with --force, hostile manifests."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from onnxray.cli.files.output import Output
from onnxray.cli.files.run import Run, done, failed, made_by, plain, slug
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
            run.add(done(image, ["a.txt"], number=np.float32(1.5)))
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
        run.add(done(paths[0]))
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
            run.add(done(image, [f"{count}.npy"], text=hostile, nested={"a": [1.25, None, []], "b": {}}))
            run.flush()
    document = json.loads((tmp_path / "r" / "manifest.json").read_text(encoding="utf-8"))
    assert document == run.document()
    assert document["complete"] is True
    assert [entry["text"] for entry in document["images"]] == [hostile] * 3
    assert document["images"][0]["nested"] == {"a": [1.25, None, []], "b": {}}


def test_of_thousands_of_images_little_is_held(tmp_path: Path) -> None:
    image = tmp_path / "i.png"
    image.write_bytes(b"x")
    entry = done(image, ["a.npy"], maps=[{"method": "grad-cam", "score": 1.5, "values": {"shape": [7, 7]}}] * 4)
    run = Run(Output(tmp_path / "r"), "test", {}, {}, [Path(f"{k}.png") for k in range(2000)])
    run.flush = lambda: None  # type: ignore[method-assign]
    tracemalloc.start()
    for k in range(2000):
        run.add({**entry, "path": f"{k}.png"})
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / 2000 < 1000
