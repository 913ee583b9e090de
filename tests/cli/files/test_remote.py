"""URIs as sources of images: paths that keep their text, folders, lists and tables, what cannot be read."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from onnxray.cli.files.labelled import find_labelled
from onnxray.cli.files.remote import Remote, filesystem_of, inside, is_uri, path_of, read_remote, uri_of
from onnxray.cli.files.run import digest_of
from onnxray.cli.sources.registry import files_of
from onnxray.cli.sources.source import ALL, Selection
from onnxray.engine.errors import ImageError

fsspec = pytest.importorskip("fsspec")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def bucket(photos: Path) -> Iterator[str]:
    """The three pictures in a bucket of this process's memory, two of them in folders that are classes as well."""
    memory = fsspec.filesystem("memory")
    memory.rm("/bucket", recursive=True) if memory.exists("/bucket") else None
    for path in photos.iterdir():
        memory.pipe(f"/bucket/{path.name}", path.read_bytes())
    for label, name in (("red", "square.png"), ("gray", "noise.png")):
        memory.pipe(f"/bucket/classes/{label}/{name}", (photos / name).read_bytes())
    yield "memory://bucket"
    memory.rm("/bucket", recursive=True)


def test_a_uri_as_a_path_keeps_its_text() -> None:
    path = path_of("s3://bucket/a/b.png")
    assert isinstance(path, Remote)
    assert (str(path), path.name, path.stem, path.suffix) == ("s3://bucket/a/b.png", "b.png", "b", ".png")
    assert str(path.parent) == "s3://bucket/a"
    assert pickle.loads(pickle.dumps(path)) == path
    assert uri_of("s3:/bucket/key") == "s3://bucket/key"
    assert uri_of("file:/tmp/x") == "file:///tmp/x"
    assert not is_uri("photos/a.png")
    assert not is_uri("C:/photos")
    assert type(path_of("photos")) is type(Path("photos"))


def test_folders_and_files(bucket: str, photos: Path) -> None:
    found = files_of([bucket], ALL)
    assert [str(path) for path in found] == [f"memory://bucket/{n}.png" for n in ("noise", "ramp", "square")]
    assert len(files_of([bucket], Selection(recursive=True))) == 5
    assert [str(path) for path in files_of([f"{bucket}/ramp.png"], ALL)] == ["memory://bucket/ramp.png"]
    assert isinstance(found[1], Remote)
    assert read_remote(found[1]) == (photos / "ramp.png").read_bytes()
    assert digest_of(found[1]) == hashlib.sha256((photos / "ramp.png").read_bytes()).hexdigest()
    assert digest_of(path_of(f"{bucket}/gone.png")) is None
    labelled = find_labelled(f"{bucket}/classes")
    assert [(path.name, label) for path, label in labelled] == [("noise.png", "gray"), ("square.png", "red")]
    assert {label for _, label in find_labelled(bucket)} == {None}


def test_lists_and_tables_name_uris(bucket: str, tmp_path: Path) -> None:
    import pyarrow

    (tmp_path / "list.txt").write_text(f"{bucket}/ramp.png\n{bucket}/noise.png\n")
    table = pyarrow.table({"path": [f"{bucket}/noise.png"]})
    parquet.write_table(table, tmp_path / "images.parquet")
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/list.txt", (tmp_path / "list.txt").read_bytes())
    memory.pipe("/bucket/images.parquet", (tmp_path / "images.parquet").read_bytes())
    for item, count in (("list.txt", 2), ("images.parquet", 1)):
        for place in (str(tmp_path), bucket):
            found = files_of([f"{'@' if item == 'list.txt' else ''}{place}/{item}"], ALL)
            assert [str(path).startswith(bucket) for path in found] == [True] * count


def test_a_command_reads_a_bucket(run: Callable[..., Result], model: Path, bucket: str, photos: Path) -> None:
    of_files = run("predict", model, photos, "-q")
    of_bucket = run("predict", model, bucket, "-q")
    assert of_bucket.exit_code == 0, of_bucket.stderr
    assert of_bucket.stdout.replace("memory://bucket/", f"{photos}/") == of_files.stdout


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("memory://nowhere/x", "there is no file or folder 'memory://nowhere/x'"),
        ("s3://bucket?endpoint_override=127.0.0.1:1&scheme=http&region=x", "cannot read 's3://bucket?"),
        ("az://container/x", "cannot read 'az://container/x': "),
    ],
)
def test_what_cannot_be_read_is_one_line(uri: str, words: str) -> None:
    with pytest.raises(ImageError) as error:
        files_of([uri], ALL)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)
    assert "who may read it" in str(error.value)


def test_a_path_has_the_file_system_of_this_machine(tmp_path: Path) -> None:
    assert filesystem_of(str(tmp_path))[1] == str(tmp_path)


def test_keys_with_signs_that_mean_something_in_a_uri(photos: Path) -> None:
    folder = photos / "with a space"
    folder.mkdir()
    names = ("50%.png", "a b#c.png", "ümlaut.png", "x%20y.png")
    for name in names:
        (folder / name).write_bytes((photos / "ramp.png").read_bytes())
    for uri in (f"file://{folder}", folder.as_uri()):
        found = files_of([uri], ALL)
        assert sorted(path.name for path in found) == sorted(names)
        assert {path.suffix for path in found} == {".png"}
        assert all(read_remote(path) == (photos / "ramp.png").read_bytes() for path in found)  # type: ignore[arg-type]
    assert files_of([f"file://{folder}/a b#c.png"], ALL)[0].stem == "a b#c"


def test_the_options_of_a_uri_stay_last(monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxray.cli.files import remote

    memory = fsspec.filesystem("memory")
    memory.pipe("/b/photos/a.png", b"")
    there = filesystem_of("memory://b/photos")
    monkeypatch.setattr(remote, "filesystem_of", lambda uri: there)
    (path,) = remote.listed("s3://b/photos/?scheme=http&endpoint_override=http://h:1", (".png",), True)
    memory.rm("/b", recursive=True)
    assert str(path) == "s3://b/photos/a.png?scheme=http&endpoint_override=http:%2F%2Fh:1"
    assert (path.name, path.stem, path.suffix) == ("a.png", "a", ".png")
    assert inside("s3://b/out?region=x", "parts") == "s3://b/out/parts?region=x"
    assert inside("out", "parts") == "out/parts"
