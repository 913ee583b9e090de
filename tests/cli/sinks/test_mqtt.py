"""Records by MQTT: a real broker that comes and goes, and what is said without one."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from onnxray.cli.sinks.mqtt import Mqtt
from onnxray.cli.sinks.registry import sink_of
from onnxray.cli.sinks.sink import Record
from onnxray.engine.errors import OutputError, RuntimeUnavailable

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


class Broker:
    """Mosquitto on a port of its own, and a subscriber that keeps its session while the broker is away.

    certificate: the folder of cert.pem and key.pem, with which connections are encrypted.
    """

    def __init__(self, folder: Path, certificate: Path | None = None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.config = folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", "allow_anonymous true"]
        if certificate is not None:  # read as the user that it runs as
            lines += [f"certfile {certificate / 'cert.pem'}", f"keyfile {certificate / 'key.pem'}", "user root"]
        self.config.write_text("\n".join([*lines, ""]))
        self.certificate = certificate
        self.process: subprocess.Popen[bytes] | None = None
        self.got: list[Any] = []

    def start(self) -> None:
        assert MOSQUITTO is not None
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([MOSQUITTO, "-c", str(self.config)], **quiet)
        until(lambda: accepts(self.port))
        self.subscribe()

    def subscribe(self) -> None:
        from paho.mqtt import client, enums

        ready: list[bool] = []
        self.subscriber = client.Client(enums.CallbackAPIVersion.VERSION2)
        self.subscriber.on_message = lambda c, data, message: self.got.append(
            (message.topic, json.loads(message.payload))
        )
        self.subscriber.on_subscribe = lambda *_: ready.append(True)
        if self.certificate is not None:
            self.subscriber.tls_set(str(self.certificate / "cert.pem"))
        self.subscriber.connect("127.0.0.1", self.port)
        self.subscriber.subscribe("line/#", qos=1)
        self.subscriber.loop_start()
        until(lambda: bool(ready))

    def stop(self) -> None:
        if self.process is not None:
            self.subscriber.disconnect()
            self.subscriber.loop_stop()
            self.process.terminate()
            self.process.wait(30)
            self.process = None


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    pytest.importorskip("paho.mqtt.client")
    if MOSQUITTO is None:
        pytest.skip("no mosquitto on this machine: no broker to test with")
    monkeypatch.setattr(Mqtt, "first_pause", 0.02)
    found = Broker(tmp_path)
    found.start()
    yield found
    found.stop()


def record(number: int) -> Record:
    return Record(f"{number:064x}", Path("a.png"), {"n": number})


def opened(broker: Broker, spool: Path) -> Any:
    sink = sink_of(f"mqtt://127.0.0.1:{broker.port}/line/2#spool={spool}")
    sink.open()
    return sink


def test_a_broker_that_comes_and_goes(broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sink = opened(broker, tmp_path / "spool")
    for number in range(12):
        if number in (4, 8):
            until(lambda number=number: len(broker.got) == number)  # type: ignore[misc]
            broker.stop()
        if number in (6, 10):
            broker.start()
        sink.write(record(number))
    until(lambda: len(broker.got) == 12)
    sink.close()
    assert [body["n"] for _, body in broker.got] == list(range(12))
    assert {topic for topic, _ in broker.got} == {"line/2"}
    assert broker.got[0][1]["id"] == f"{0:064x}"
    lines = capsys.readouterr().err.splitlines()
    assert all("takes no records now" in line or "takes records again" in line for line in lines)


def test_unreachable_at_start_and_sent_at_the_next(
    broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broker.stop()
    sink = opened(broker, tmp_path / "spool")
    sink.write(record(1))
    sink.close()
    first, last = capsys.readouterr().err.splitlines()
    assert "takes no records now (Connection refused)" in first
    assert "1 record in" in last
    broker.start()
    sink = opened(broker, tmp_path / "spool")
    sink.write(record(2))
    sink.close()
    until(lambda: len(broker.got) == 2)
    assert [body["n"] for _, body in broker.got] == [1, 2]


def test_a_broker_that_refuses_is_named(broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broker.stop()
    broker.config.write_text(broker.config.read_text().replace("true", "false"))
    broker.process = None
    assert MOSQUITTO is not None
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([MOSQUITTO, "-c", str(broker.config)], **quiet)
    try:
        until(lambda: accepts(broker.port))
        opened(broker, tmp_path / "spool").close()
    finally:
        process.terminate()
        process.wait(30)
    (line,) = capsys.readouterr().err.splitlines()
    assert "the broker answers Not authorized" in line


@pytest.mark.parametrize("text", ["mqtt://broker", "mqtt://broker/", "mqtt://broker/line/+", "mqtts:///line"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(OutputError, match="names no topic|no address"):
        sink_of(text)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt", None)
    with pytest.raises(RuntimeUnavailable, match=r"pip install 'onnxray\[mqtt\]'"):
        sink_of("mqtt://broker/line").open()


def test_an_alarm_has_a_topic_of_its_own(broker: Broker, tmp_path: Path) -> None:
    sink = opened(broker, tmp_path / "spool")
    sink.write(record(1))
    sink.alarm(record(1).id, {"id": record(1).id, "drift": {"psi": 0.3, "alarm": ["psi"]}})
    sink.write(record(2))
    until(lambda: len(broker.got) == 3)
    sink.close()
    assert [topic for topic, _ in broker.got] == ["line/2", "line/2/alarm", "line/2"]
    assert broker.got[1][1]["drift"]["alarm"] == ["psi"]
