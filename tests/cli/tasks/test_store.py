"""The parts of a run, on a disk and in a bucket: the list, blocks, the summary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onnxray.cli.tasks.cluster.store import Store
from onnxray.cli.tasks.cluster.summary import summarise
from onnxray.engine.errors import OutputError

pytest.importorskip("pyarrow")
fsspec = pytest.importorskip("fsspec")


@pytest.fixture(params=["disk", "uri", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty one. A bucket is one of this process's memory."""
    folders = {"disk": f"{tmp_path}/out/parts", "uri": f"file:{tmp_path}/out/parts", "bucket": "memory:/out/parts"}
    found = Store(folders[request.param])
    if request.param == "bucket":
        fsspec.filesystem("memory").store.clear()
    found.make()
    assert found.remote == (request.param != "disk")
    return found


def head(number: int) -> dict[str, Any]:
    about = {"format": 1, "command": "predict", "complete": True, "options": {"top": 5, "shard": [number + 1, 2]}}
    return {**about, "model": {"sha256": "0"}, "files": [], "versions": {"onnxray": "1"}}


class Refusing:
    """A file system that nobody may read."""

    def get_file_info(self, path: str) -> None:
        raise OSError(13, "Permission denied")


def test_the_list_by_blocks(store: Store, tmp_path: Path) -> None:
    images = [(Path(f"{n}.png"), "class" if n % 2 else None, f"name-{n}") for n in range(5)]
    assert store.write_list(images, 2) == (3, 5)
    block = store.block(1, 2, 5)
    assert [*map(str, block.paths)] == ["2.png", "3.png"]
    assert (block.labels, block.names, block.start, block.total) == ((None, "class"), ("name-2", "name-3"), 2, 5)
    assert [*map(str, store.block(2, 2, 5).paths)] == ["4.png"]
    with pytest.raises(OutputError):
        store.read("nothing")
    folder = tmp_path / "block"
    folder.mkdir()
    store.put(0, folder, head(0), [], 2)
    before = store.read("images.parquet")
    with pytest.raises(OutputError, match="parts of a run over other images"):
        store.write_list(images[:3], 2)
    assert store.read("images.parquet") == before
    assert store.images() == [(path, label) for path, label, _ in images]
    store._opened = (Refusing(), "/out/parts")
    with pytest.raises(OutputError, match="cannot look for"):
        store.exists("job.json")


def test_blocks_and_their_summary(store: Store, tmp_path: Path) -> None:
    for number, status in enumerate(("done", "failed")):
        folder = tmp_path / str(number)
        (folder / "a").mkdir(parents=True)
        (folder / "a" / "map.npy").write_bytes(b"map")
        error = {"error": "it is broken"} if status == "failed" else {"files": ["a/map.npy"]}
        assert not store.has(number)
        store.write(f"0000000{number}.attempts", b"1")
        store.put(number, folder, head(number), [{"path": f"{number}.png", "status": status, **error}], 1)
        assert store.has(number)
    assert not [name for name in store.names() if name.endswith((".attempts", ".ends"))]
    assert store.done() == {0, 1}
    assert store.outcome(1).errors == ("it is broken",)
    part = store.part(0)
    assert (part.number, part.read("a/map.npy")) == (1, b"map")
    assert next(iter(part.entries()))["path"] == "0.png"
    with pytest.raises(OutputError, match="lacks 'b'"):
        part.read("b")
    store.unpack(1, tmp_path / "unpacked")
    assert (tmp_path / "unpacked" / "a" / "map.npy").read_bytes() == b"map"
    assert summarise(map(store.part, (0, 1)), store) == (2, 1)
    said = json.loads(store.read("../manifest.json"))
    assert said["options"] == {"top": 5}
    assert said["parts"] == {"blocks": 2, "images": 2, "failed": 1}
    store.remove()
    assert store.names() == set()
