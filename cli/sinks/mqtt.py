"""`mqtt://HOST/TOPIC`: each record as JSON to an MQTT broker, in order, kept on disk while the broker is away.

MQTT 3.1.1 by paho-mqtt, which the extra `mqtt` installs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from ...engine.errors import OutputError, RuntimeUnavailable
from ..files.manifest import plain
from .http_post import address_of, body_of, parsed, spool_of, tls_of
from .sink import Record
from .spool import Away, Sender, Spool, say

_PORTS = {"mqtt": 1883, "mqtts": 8883}
# Seconds that a broker may take to accept a connection or a message.
_TIMEOUT = 10.0
# What the keys of alarms begin with: those of records are hexadecimal.
_ALARM = "alarm"


class Mqtt:
    """One message for each record, `{"id": ..., "path": ..., ...}`, with quality of service 1: at least once.

    address: `//user:password@HOST:PORT/TOPIC#spool=DIR`, what follows the scheme and its colon; `mqtts` is encrypted,
    with `#ca=FILE` and `#cert=FILE&key=FILE` as https. A record leaves the spool when the broker has acknowledged it.
    """

    first_pause = 1.0
    tell: Callable[[str], None] = staticmethod(say)

    def __init__(self, scheme: str, address: str) -> None:
        self._url = parsed(f"{scheme}:{address}")
        self._topic = unquote(self._url.path[1:])
        if not self._topic or {"+", "#", "\0"} & set(self._topic):
            raise OutputError(
                f"{address_of(self._url)!r} names no topic: write {scheme}://HOST:PORT/TOPIC, without + and #"
            )
        self.name, self.folder = address_of(self._url), spool_of(self._url)
        self._tls = tls_of(self._url, scheme == "mqtts")

    def open(self) -> None:
        _paho()
        self._client: Any = None
        spool = Spool(self.folder)
        spool.open()
        self._sender = Sender(self.name, spool, self._publish, self.first_pause, self.tell)
        try:
            self._connect()
        except Away as error:
            self._sender.say_away(str(error))
        self._sender.start()

    def write(self, record: Record) -> None:
        self._sender.add(record, body_of(record))

    def alarm(self, key: str, fields: Mapping[str, Any]) -> None:
        """A message to TOPIC/alarm."""
        self._sender.add_bytes(f"{_ALARM}{key}", json.dumps(plain(dict(fields)), allow_nan=False).encode())

    def close(self) -> None:
        self._sender.close()
        self._leave()

    def _connect(self) -> None:
        """A connection that the broker has accepted: a new client each time, which repeats nothing by itself. Raises
        Away."""
        if self._client is not None and self._client.is_connected():
            return
        self._leave()
        answers: list[Any] = []
        client = self._new_client()
        client.on_connect = lambda client, data, flags, reason, properties: answers.append(reason)
        try:
            client.connect(self._url.hostname, self._url.port or _PORTS[self._url.scheme])
        except (OSError, ValueError) as error:
            raise Away((error.strerror if isinstance(error, OSError) else None) or str(error)) from None
        client.loop_start()
        self._client = client
        end = time.monotonic() + _TIMEOUT
        while not answers and time.monotonic() < end:
            time.sleep(0.01)
        if not answers or answers[0].is_failure:
            self._leave()
            raise Away(f"the broker answers {answers[0]}" if answers else f"no answer in {_TIMEOUT:.0f} seconds")

    def _new_client(self) -> Any:
        client, enums = _paho()
        found = client.Client(enums.CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        if self._tls is not None:
            found.tls_set_context(self._tls)
        if self._url.username is not None:
            found.username_pw_set(unquote(self._url.username), unquote(self._url.password or ""))
        return found

    def _publish(self, key: str, body: bytes) -> None:
        self._connect()
        topic = f"{self._topic}/alarm" if key.startswith(_ALARM) else self._topic
        message = self._client.publish(topic, body, qos=1)
        end = time.monotonic() + _TIMEOUT
        try:
            while not message.is_published() and self._client.is_connected() and time.monotonic() < end:
                message.wait_for_publish(0.1)
            if message.is_published():
                return
            reason = f"no acknowledgement in {_TIMEOUT:.0f} seconds" if time.monotonic() >= end else "it has gone"
        except (RuntimeError, ValueError) as error:
            reason = str(error)
        self._leave()
        raise Away(reason)

    def _leave(self) -> None:
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None


def _paho() -> tuple[Any, Any]:
    """Raises RuntimeUnavailable where paho-mqtt is not installed."""
    try:
        from paho.mqtt import client, enums
    except ImportError as error:
        raise RuntimeUnavailable("mqtt: needs the package paho-mqtt: pip install 'onnxray[mqtt]'") from error
    return client, enums
