"""The registry: names, where files are, and downloads that happen only when asked for and only as expected."""

from __future__ import annotations

import hashlib
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onnxray import models
from onnxray.engine.errors import DownloadError, ModelError, UnknownName
from onnxray.engine.preprocess import known_cards as cards

DATA = b"not really a model, but the bytes that were promised" * 1000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ONNXRAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_built_in_model_is_loaded_by_name_anywhere() -> None:
    import onnxray

    model = onnxray.load("builtin")
    assert model.path == models.path("builtin")
    assert onnxray.explain("builtin", onnxray.samples()[4], "gradient").label.startswith("crack")
    assert onnxray.samples() == models.samples()


def test_a_name_that_is_neither_model_nor_file_offers_the_nearest() -> None:
    import onnxray

    with pytest.raises(UnknownName, match="nearest: 'builtin'"):
        onnxray.load("buildin")
    with pytest.raises(ModelError, match="no such model file"):
        onnxray.load("nowhere/builtin")


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """One known model, `toy-1`, whose file a local server has; gives the paths that were asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(DATA)))
            self.end_headers()
            self.wfile.write(DATA)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        entry = {
            "sha256": hashlib.sha256(DATA).hexdigest(),
            "bytes": len(DATA),
            "url": f"http://127.0.0.1:{server.server_address[1]}/toy-1.onnx",
        }
        about = {
            "title": "Toy",
            "origin": "here",
            "licence": "MIT",
            "facts": "none",
            "names": [],
            "files": {"toy-1.onnx": entry},
        }
        known = {
            "toy": {"mean": 0, "std": 255, "about": about},
            "brought": {"about": {"title": "Brought", "files": {}}},
        }
        monkeypatch.setattr(cards, "known_cards", lambda: known)
        models._entries.cache_clear()
        yield asked
        models._entries.cache_clear()
        server.shutdown()
        thread.join()


def test_names_are_unique_and_every_one_has_its_information() -> None:
    names = models.names()
    assert names[0] == "builtin"
    assert len(set(names)) == len(names) > 40
    assert {"resnet50-v1-12", "mobilenetv2-7", "squeezenet1.0-9", "mnist-8", "version-RFB-320", "yolov8"} <= set(names)
    for name in names:
        info = models.info(name)
        assert info.name == name
        assert info.title
        assert info.licence
        assert info.facts
        assert (info.url is None) == (info.sha256 is None)
        if name != "builtin":
            assert info.path is None, "nothing was pulled into this cache"
            assert "about" not in info.card


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"no model named 'resnet50-v1'; nearest: 'resnet50-v1-7'"):
        models.info("resnet50-v1")
    for call in (models.path, models.pull):
        with pytest.raises(UnknownName, match="`onnxray models list` shows them"):
            call("nothing-like-that")


def test_a_file_that_is_not_here_says_how_to_get_it() -> None:
    with pytest.raises(
        ModelError, match=r"'mnist-8' is not on this machine: run `onnxray models pull mnist-8` \(26 kB\)"
    ):
        models.path("mnist-8")
    with pytest.raises(ModelError, match=r"'yolov8' is a card only .*: bring the \.onnx file yourself"):
        models.path("yolov8")
    with pytest.raises(DownloadError, match=r"there is no download for 'yolov8' .*: bring the \.onnx file yourself"):
        models.pull("yolov8")


def test_pull_downloads_once_and_path_finds_it(served: list[str], cache: Path) -> None:
    assert models.names() == ("builtin", "toy-1", "brought")
    with pytest.raises(ModelError, match="is not on this machine"):
        models.path("toy-1")
    assert served == [], "nothing is downloaded unasked"
    told: list[tuple[int, int | None]] = []
    path = models.pull("toy-1", progress=lambda done, total: told.append((done, total)))
    assert path == cache / "models" / "toy-1.onnx"
    assert path.read_bytes() == DATA
    assert told[-1] == (len(DATA), len(DATA))
    assert models.path("toy-1") == path
    assert models.info("toy-1").path == path
    assert models.pull("toy-1") == path
    assert served == ["/toy-1.onnx"]


def test_pull_refuses_what_was_not_promised(served: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = cards.known_cards()["toy"]["about"]["files"]["toy-1.onnx"]
    monkeypatch.setitem(entry, "sha256", "0" * 64)
    models._entries.cache_clear()
    with pytest.raises(DownloadError, match="does not have the expected content"):
        models.pull("toy-1")
    monkeypatch.setitem(entry, "bytes", 10)
    models._entries.cache_clear()
    with pytest.raises(DownloadError, match="more than the limit of 10"):
        models.pull("toy-1")
    assert [p for p in cache.rglob("*") if p.is_file()] == []


def test_the_documented_table_is_the_registry() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cards.md").read_text(encoding="utf-8")
    rows = [line for line in page.split("<!-- table of models", 1)[1].splitlines() if line.startswith("| ")][1:]
    expected = []
    for family, card in cards.known_cards().items():
        about = card["about"]
        names = ", ".join(f"`{file.removesuffix('.onnx')}`" for file in about["files"]) or f"`{family}` (card only)"
        expected.append(f"| {family} | {about['title']} | {names} | {about['facts']} |")
    assert rows == expected


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert models.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("ONNXRAY_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert models.cache_folder() == tmp_path / "onnxray"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert models.cache_folder() == Path.home() / ".cache" / "onnxray"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert models.cache_folder() == Path.home() / "Library" / "Caches" / "onnxray"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert models.cache_folder() == tmp_path / "onnxray"


def test_the_built_in_model_has_its_own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "surface.onnx"
    monkeypatch.setattr(models, "_BUILTIN_FILE", file)
    with pytest.raises(ModelError, match="the built-in model is missing"):
        models.path("builtin")
    file.write_bytes(b"12345")
    file.with_suffix(".json").write_text('{"size": 96, "about": {"title": "Surfaces", "licence": "Apache-2.0"}}')
    info = models.info("builtin")
    assert (info.title, info.bytes, info.path, info.card) == ("Surfaces", 5, file, {"size": 96})
    assert models.path("builtin") == models.pull("builtin") == file


def test_listing_names_loads_nothing_heavy() -> None:
    code = (
        "import sys; from onnxray import models; assert models.names() and models.info('mnist-8');"
        "print(sorted({'onnx', 'onnxruntime', 'numba', 'cv2', 'click'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
