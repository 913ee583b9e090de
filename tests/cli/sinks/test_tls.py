"""Encrypted connections to receivers with a certificate of their own: trusted by `#ca=`, refused without it."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from onnxray.cli.sinks.http_post import HttpPost
from onnxray.cli.sinks.registry import sink_of, sinks_of
from onnxray.cli.sinks.sink import Record
from onnxray.engine.errors import OutputError

from .test_mqtt import MOSQUITTO, Broker, until

OPENSSL = shutil.which("openssl")
RECORD = Record("ab", Path("a.png"), {"n": 1})


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of cert.pem and key.pem, of 127.0.0.1, signed by themselves."""
    if OPENSSL is None:
        pytest.skip("no openssl on this machine: no certificate to test with")
    folder = tmp_path_factory.mktemp("tls")
    about = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-keyout", folder / "key.pem", "-out", folder / "cert.pem")
    subprocess.run(
        [OPENSSL, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *about, *files],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture
def receiver(certificate: Path) -> Iterator[tuple[int, list[Any]]]:
    """An https server that wants a certificate of the other side, and what it got."""
    got: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None: ...

    server = Server(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificate / "cert.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1], got
    server.shutdown()
    thread.join()
    server.server_close()


def settings(certificate: Path, spool: Path) -> str:
    cert, key = certificate / "cert.pem", certificate / "key.pem"
    return f"#spool={spool}&ca={cert}&cert={cert}&key={key}"


def test_https_both_sides_known(receiver: tuple[int, list[Any]], certificate: Path, tmp_path: Path) -> None:
    port, got = receiver
    sink = sink_of(f"https://127.0.0.1:{port}/{settings(certificate, tmp_path / 'spool')}")
    sink.open()
    sink.write(RECORD)
    until(lambda: len(got) == 1)
    sink.close()
    assert got == [{"id": "ab", "n": 1}]


def test_https_that_is_not_trusted_keeps_the_record(
    receiver: tuple[int, list[Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxray.cli.sinks.spool._LAST_SECONDS", 0.1)
    port, got = receiver
    (sink,) = sinks_of([f"https://127.0.0.1:{port}/#spool={tmp_path / 'spool'}"], quiet=False)
    sink.open()
    sink.write(RECORD)
    sink.close()
    assert (got, len(list((tmp_path / "spool").glob("0*.json")))) == ([], 1)
    assert "takes no records now" in (said := capsys.readouterr().err)
    assert "certificate verify failed" in said


def test_mqtts(certificate: Path, tmp_path: Path) -> None:
    pytest.importorskip("paho.mqtt.client")
    if MOSQUITTO is None:
        pytest.skip("no mosquitto on this machine: no broker to test with")
    broker = Broker(tmp_path, certificate)
    broker.start()
    try:
        address = f"mqtts://127.0.0.1:{broker.port}/line/2#spool={tmp_path / 'spool'}&ca={certificate / 'cert.pem'}"
        sink: Any = sink_of(address)
        sink.first_pause = 0.05
        sink.open()
        sink.write(RECORD)
        until(lambda: bool(broker.got))
        sink.close()
    finally:
        broker.stop()
    assert broker.got == [("line/2", {"id": "ab", "n": 1})]
    assert not list((tmp_path / "spool").glob("0*.json"))


def test_quiet_says_errors_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxray.cli.sinks.spool._LAST_SECONDS", 0.1)
    for quiet in (True, False):
        (sink,) = sinks_of([f"http://127.0.0.1:9/#spool={tmp_path / str(quiet)}"], quiet)
        assert isinstance(sink, HttpPost)
        sink.open()
        sink.write(RECORD)
        sink.close()
        assert (capsys.readouterr().err == "") is quiet


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("https://a/#ca=nowhere.pem", "'nowhere.pem': No such file"),
        ("mqtts://a/t#ca=nowhere.pem", "'nowhere.pem': No such file"),
        ("http://a/#ca=x.pem", "is about encrypted connections: write https://"),
        ("mqtt://a/t#cert=x.pem", "is about encrypted connections: write mqtts://"),
        ("https://a/#key=x.pem", "give '#cert=' as well"),
        ("https://a/#spoool=x", "'#spoool=x' is not known: #spool=DIR is the folder"),
    ],
)
def test_what_is_wrong_is_known_before_the_first_image(address: str, says: str) -> None:
    with pytest.raises(OutputError, match=says):
        sink_of(address)
