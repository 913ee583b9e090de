"""Records by HTTP: a real server that comes and goes, gets each once and in order, whatever ends the process."""

from __future__ import annotations

import base64
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from onnxray.cli.sinks.http_post import HttpPost
from onnxray.cli.sinks.registry import sink_of
from onnxray.cli.sinks.sink import Record
from onnxray.engine.errors import OutputError


class Receiver:
    """A server on a port of its own that can be stopped and started again. code: what it answers."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], Any]] = []
        self.code: Callable[[int], int] = lambda number: 204
        self.server: http.server.HTTPServer | None = None
        self.port = 0
        self.start()

    def start(self) -> None:
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                code = outer.code(json.loads(body)["n"])
                if code == 204:
                    outer.got.append((dict(self.headers), json.loads(body)))
                self.send_response(code)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = http.server.HTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    @property
    def numbers(self) -> list[int]:
        return [body["n"] for _, body in self.got]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(HttpPost, "first_pause", 0.02)
    found = Receiver()
    yield found
    found.stop()


def opened(receiver: Receiver, spool: Path, user: str = "") -> Any:
    sink = sink_of(f"http://{user}127.0.0.1:{receiver.port}/results?line=2#spool={spool}")
    sink.open()
    return sink


def record(number: int) -> Record:
    return Record(f"{number:064x}", Path("a.png"), {"n": number, "score": float("nan")})


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def waiting(spool: Path) -> list[str]:
    return sorted(p.name for p in spool.glob("0*.json"))


def test_records_arrive_as_json(receiver: Receiver, tmp_path: Path) -> None:
    sink = opened(receiver, tmp_path, "me:p%40ss@")
    sink.write(record(1))
    sink.write(record(1))
    sink.close()
    ((headers, body),) = receiver.got
    assert body == {"id": f"{1:064x}", "n": 1, "score": "nan"}
    assert (headers["Content-Type"], headers["Idempotency-Key"]) == ("application/json", f"{1:064x}")
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"me:p@ss"


def test_a_receiver_that_comes_and_goes(receiver: Receiver, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sink = opened(receiver, tmp_path)
    for number in range(40):
        if number % 10 == 5:
            receiver.stop()
        if number and number % 10 == 0:
            receiver.start()
        sink.write(record(number))
    receiver.start()
    until(lambda: not waiting(tmp_path))
    sink.close()
    assert receiver.numbers == list(range(40))
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if "takes no records now" in line]) <= 4
    assert all("?line" not in line for line in lines)


def test_answers_that_are_retried_and_redirects(receiver: Receiver, tmp_path: Path) -> None:
    answers = iter([503, 302, 404, 429, 204, 204])
    receiver.code = lambda number: next(answers)
    sink = opened(receiver, tmp_path)
    sink.write(record(1))
    sink.write(record(2))
    until(lambda: not waiting(tmp_path))
    sink.close()
    assert receiver.numbers == [1, 2]


def test_a_record_that_is_refused_for_good_is_put_aside(
    receiver: Receiver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.code = lambda number: 422 if number == 2 else 204
    sink = opened(receiver, tmp_path)
    for number in (1, 2, 3):
        sink.write(record(number))
    sink.close()
    assert receiver.numbers == [1, 3]
    (aside,) = (tmp_path / "refused").iterdir()
    assert json.loads(aside.read_text())["n"] == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "refuses a record (it answers 422" in line
    assert str(aside) in line


def test_unreachable_at_start_is_one_line_and_the_next_start_sends(
    receiver: Receiver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.stop()
    sink = opened(receiver, tmp_path)
    for number in range(3):
        sink.write(record(number))
    sink.close()
    first, last = capsys.readouterr().err.splitlines()
    assert f"127.0.0.1:{receiver.port}/results takes no records now (Connection refused)" in first
    assert "3 records in" in last
    receiver.start()
    sink = opened(receiver, tmp_path)
    sink.write(record(2))  # comes again, as after a kill
    sink.write(record(3))
    sink.close()
    sink = opened(receiver, tmp_path)
    sink.write(record(3))  # was sent last
    sink.close()
    assert receiver.numbers == [0, 1, 2, 3]


def test_a_waiting_file_that_somebody_removes_holds_nothing_up(receiver: Receiver, tmp_path: Path) -> None:
    receiver.stop()
    sink = opened(receiver, tmp_path)
    for number in range(3):
        sink.write(record(number))
    (tmp_path / waiting(tmp_path)[0]).unlink()
    receiver.start()
    until(lambda: not waiting(tmp_path))
    sink.close()
    assert receiver.numbers[-2:] == [1, 2]


KILLED = """
import os, signal, sys
from pathlib import Path
from onnxray.cli.sinks.registry import sink_of
from onnxray.cli.sinks.sink import Record
sink = sink_of(sys.argv[1])
sink.open()
for number in range(int(sys.argv[2]), int(sys.argv[2]) + 5):
    sink.write(Record(f"{number:064x}", Path("a.png"), {"n": number}))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_spool_survives_kills(receiver: Receiver, tmp_path: Path) -> None:
    receiver.stop()
    for start in (0, 5):
        address = f"http://127.0.0.1:{receiver.port}/results?line=2#spool={tmp_path}"
        done = subprocess.run([sys.executable, "-c", KILLED, address, str(start)], cwd=tmp_path, timeout=120)
        assert done.returncode == -signal.SIGKILL
    assert len(waiting(tmp_path)) == 10
    (tmp_path / ".onnxray-0123456789ab.part").write_text("half")
    receiver.start()
    opened(receiver, tmp_path).close()
    assert receiver.numbers == list(range(10))
    assert [p.name for p in tmp_path.iterdir()] == [f"sent-{9:064x}.json"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http:///a", "no address"),
        ("http://a:port/", "no address"),
        ("https://a/b c", "no address"),
        ("http://a/#folder=b", "#spool=DIR"),
        ("http:", "names no place"),
    ],
)
def test_addresses_that_are_none(text: str, words: str) -> None:
    with pytest.raises(OutputError, match=words):
        sink_of(text)


def test_a_spool_that_cannot_be_written_or_is_in_use(receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        opened(receiver, tmp_path / "file")
    sink = opened(receiver, tmp_path / "spool")
    with pytest.raises(OutputError, match="in use"):
        opened(receiver, tmp_path / "spool")
    sink.close()


def test_the_spool_of_an_address() -> None:
    first, second = (sink_of(f"http://a.b/{path}") for path in "xy")
    assert first.folder.parent == Path("onnxray-spool")
    assert first.folder != second.folder
    assert sink_of("http://me:secret@a.b/x").folder == first.folder
    assert sink_of("http://me:secret@a.b/x?token=1").name == "http://a.b/x"
