"""Downloads against a local server that can hang up in the middle, lie about ranges and redirect."""

from __future__ import annotations

import hashlib
import http.server
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxray.engine.atomic import take_lock
from onnxray.engine.errors import DownloadError
from onnxray.models import download
from onnxray.models.download import fetch

DATA = np.random.default_rng(0).integers(0, 256, 700_001, np.uint8).tobytes()
SHA = hashlib.sha256(DATA).hexdigest()


class Server:
    """What the handler does is set per test; `ranges` holds the Range header of each request."""

    def __init__(self) -> None:
        self.ranges: list[str | None] = []
        self.breaks_after: list[int] = []  # bytes of the body sent before hanging up, one entry a request
        self.understands_ranges = True
        self.says_length = True
        self.wrong_range = False
        self.body = DATA
        self.url = ""

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.ranges.append(asked)
        if handler.path == "/missing":
            handler.send_error(404, "Not Found")
            return
        if handler.path.startswith("/away"):
            handler.send_response(302)
            handler.send_header("Location", "file:///etc/hostname" if handler.path == "/away" else handler.path[5:])
            handler.end_headers()
            return
        start = 0
        if asked and self.understands_ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(self.body):
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{len(self.body)}")
                handler.end_headers()
                return
            handler.send_response(206)
            told = start + 7 if self.wrong_range else start
            handler.send_header("Content-Range", f"bytes {told}-{len(self.body) - 1}/{len(self.body)}")
        else:
            handler.send_response(200)
        body = self.body[start:]
        if self.says_length:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        stop = self.breaks_after.pop(0) if self.breaks_after else len(body)
        handler.wfile.write(body[:stop])


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name http.server asks for
            state.answer(self)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        state.url = f"http://127.0.0.1:{running.server_address[1]}"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        running.shutdown()
        thread.join()


@pytest.fixture
def get(server: Server, tmp_path: Path) -> Callable[..., Path]:
    def run(path: str = "/m.onnx", sha256: str = SHA, **options: Any) -> Path:
        return fetch(server.url + path, sha256, tmp_path / "deep" / "m.onnx", **options)

    return run


def test_downloads_checks_and_tells_the_progress(server: Server, get: Callable[..., Path]) -> None:
    told: list[tuple[int, int | None]] = []
    path = get(progress=lambda done, total: told.append((done, total)))
    assert path.read_bytes() == DATA
    assert [p.name for p in path.parent.iterdir()] == ["m.onnx"]
    assert told[0] == (0, len(DATA))
    assert told[-1] == (len(DATA), len(DATA))
    assert [d for d, _ in told] == sorted({d for d, _ in told})


def test_a_complete_file_is_not_asked_for_again(server: Server, get: Callable[..., Path]) -> None:
    get()
    get()
    assert len(server.ranges) == 1


def test_an_interrupted_download_goes_on_where_it_stopped(server: Server, get: Callable[..., Path]) -> None:
    server.breaks_after = [300_000]
    with pytest.raises(DownloadError, match=rf"interrupted \(300000 of {len(DATA)} bytes came\): run it again"):
        get()
    told: list[tuple[int, int | None]] = []
    path = get(progress=lambda done, total: told.append((done, total)))
    assert server.ranges == [None, "bytes=300000-"]
    assert told[0] == (300_000, len(DATA))
    assert path.read_bytes() == DATA


def test_a_server_without_ranges_sends_everything_again(server: Server, get: Callable[..., Path]) -> None:
    server.breaks_after = [300_000]
    server.understands_ranges = False
    with pytest.raises(DownloadError, match="interrupted"):
        get()
    assert get().read_bytes() == DATA


def test_a_range_that_was_not_asked_for_is_not_used(server: Server, get: Callable[..., Path]) -> None:
    server.breaks_after = [300_000]
    server.wrong_range = True
    with pytest.raises(DownloadError, match="interrupted"):
        get()
    assert get().read_bytes() == DATA
    assert server.ranges == [None, "bytes=300000-", None]


def test_a_part_that_is_longer_than_the_file_is_dropped(
    server: Server, get: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "m.onnx.part").write_bytes(b"x" * (len(DATA) + 5))
    assert get().read_bytes() == DATA
    assert server.ranges == [f"bytes={len(DATA) + 5}-", None]


def test_a_part_that_is_already_complete_needs_no_server(
    server: Server, get: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "m.onnx.part").write_bytes(DATA)
    assert get().read_bytes() == DATA
    assert server.ranges == []


def test_a_wrong_checksum_leaves_nothing_behind(server: Server, get: Callable[..., Path], tmp_path: Path) -> None:
    server.body = DATA[:-1] + b"!"
    with pytest.raises(DownloadError, match="does not have the expected content") as caught:
        get()
    assert hashlib.sha256(server.body).hexdigest() in str(caught.value)
    assert SHA in str(caught.value)
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_file_in_place_survives_a_failed_download(server: Server, get: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "m.onnx").write_bytes(b"old")
    server.body = b"other"
    with pytest.raises(DownloadError, match="expected content"):
        get()
    assert (tmp_path / "deep" / "m.onnx").read_bytes() == b"old"


@pytest.mark.parametrize("says_length", [True, False])
def test_the_size_limit_holds_whatever_the_server_says(
    server: Server, get: Callable[..., Path], says_length: bool
) -> None:
    server.says_length = says_length
    with pytest.raises(DownloadError, match="limit of 500000"):
        get(max_bytes=500_000)


def test_without_a_length_the_total_is_unknown(server: Server, get: Callable[..., Path]) -> None:
    server.says_length = False
    told: list[tuple[int, int | None]] = []
    assert get(progress=lambda done, total: told.append((done, total))).read_bytes() == DATA
    assert {total for _, total in told} == {None}


def test_errors_are_one_line_that_says_why(server: Server, get: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="the server answers 404 Not Found"):
        get("/missing")
    with pytest.raises(DownloadError, match="cannot download"):
        get("/away")
    for url in ("file:///etc/hostname", "ftp://127.0.0.1/x", "m.onnx", "http://"):
        with pytest.raises(DownloadError, match="cannot download") as caught:
            fetch(url, SHA, tmp_path / "m.onnx")
        assert "\n" not in str(caught.value)
    with pytest.raises(DownloadError, match="is not a sha256 checksum"):
        get(sha256="abc")


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="is there a network connection"):
        fetch("http://127.0.0.1:1/m.onnx", SHA, tmp_path / "m.onnx")


def test_a_silent_server_is_given_up(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/m.onnx"
        with pytest.raises(DownloadError, match="timed out"):
            fetch(url, SHA, tmp_path / "m.onnx", timeout=0.2)


def test_a_folder_that_is_a_file(server: Server, get: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "deep").write_bytes(b"")
    with pytest.raises(DownloadError, match="cannot write"):
        get()


def test_digest() -> None:
    assert len(SHA) == 64
    assert download.digest_of(Path(__file__)) == hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


PULL = """
import sys
from pathlib import Path
from onnxray.models.download import fetch
print(fetch(sys.argv[1], sys.argv[2], Path(sys.argv[3]), timeout=30))
"""


def test_several_processes_fetch_one_file_once(server: Server, tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", PULL, server.url + "/model", SHA, str(tmp_path / "m.onnx")]
    started = [
        subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(3)
    ]
    said = [process.communicate(timeout=120)[0].strip() for process in started]
    assert said == [str(tmp_path / "m.onnx")] * 3
    assert len(server.ranges) == 1
    assert os.listdir(tmp_path) == ["m.onnx"]


def test_another_process_without_progress_is_not_waited_for_for_ever(server: Server, tmp_path: Path) -> None:
    lock = take_lock(tmp_path / "m.onnx.lock")
    assert lock is not None
    with pytest.raises(DownloadError, match=f"being fetched by process {os.getpid()}, which makes no progress"):
        fetch(server.url + "/model", SHA, tmp_path / "m.onnx", timeout=0.3)
    lock.release()
    assert server.ranges == []


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_part_that_is_a_link_is_not_followed(server: Server, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("keep")
    (tmp_path / "m.onnx.part").symlink_to(outside)
    fetch(server.url + "/model", SHA, tmp_path / "m.onnx")
    assert outside.read_text() == "keep"
    assert (tmp_path / "m.onnx").read_bytes() == DATA


def test_a_redirect_to_ftp_opens_no_connection(server: Server, tmp_path: Path) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0.2)
        away = f"ftp://127.0.0.1:{listening.getsockname()[1]}/m"
        with pytest.raises(DownloadError, match=f"leads to '{away}', which is not an http"):
            fetch(f"{server.url}/away{away}", SHA, tmp_path / "m.onnx")
        with pytest.raises(TimeoutError):
            listening.accept()


@pytest.mark.parametrize("to", ["http://x/", "ftp://x/", "file:///x"])
def test_an_encrypted_address_leads_to_no_other(to: str) -> None:
    asked = urllib.request.Request("https://example.org/m")
    with pytest.raises(DownloadError, match="leads to"):
        download._Redirects().redirect_request(asked, None, 302, "", {}, to)
