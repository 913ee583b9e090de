"""`http://...`, `https://...`: each record as JSON by POST, in order, kept on disk while the receiver is away."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from ...engine.errors import OutputError
from ..files.manifest import plain
from ..files.run import slug
from .sink import Record
from .spool import Away, Refused, Sender, Spool

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

# Seconds that a receiver may take to answer.
_TIMEOUT = 10.0
# Answers about this record, not about the receiver: the same record would get them for ever.
_FOR_GOOD = (400, 413, 415, 422)
SPOOL = "onnxray-spool"


class HttpPost:
    """One POST for each record, `{"id": ..., "path": ..., ...}`, as application/json; the header Idempotency-Key is its
    id.

    address: what follows the scheme and its colon; the part `#spool=DIR` is where records wait, `user:password@` is
    sent as basic authorization. A record leaves the spool when the receiver has answered 2xx.
    """

    first_pause = 1.0

    def __init__(self, scheme: str, address: str) -> None:
        url = parsed(f"{scheme}:{address}")
        self._url = urlunsplit((scheme, url.netloc.rpartition("@")[2], url.path or "/", url.query, ""))
        self.name = address_of(url)
        self._headers = {"Content-Type": "application/json", **_authorization(url)}
        self._split = url
        self.folder = spool_of(url)

    def open(self) -> None:
        spool = Spool(self.folder)
        spool.open()
        self._opener = _opener()
        self._sender = Sender(self.name, spool, self._post, self.first_pause)
        if reason := _unreachable(self._split):
            self._sender.say_away(reason)
        self._sender.start()

    def write(self, record: Record) -> None:
        self._sender.add(record, body_of(record))

    def close(self) -> None:
        self._sender.close()

    def _post(self, key: str, body: bytes) -> None:
        from http.client import HTTPException
        from urllib.error import HTTPError, URLError
        from urllib.request import Request

        request = Request(self._url, body, {**self._headers, "Idempotency-Key": key}, method="POST")
        try:
            with self._opener.open(request, timeout=_TIMEOUT):
                return
        except HTTPError as error:
            error.close()
            reason = f"it answers {error.code} {error.reason}"
            raise (Refused if error.code in _FOR_GOOD else Away)(reason) from None
        except URLError as error:
            raise Away(_words(error.reason)) from None
        except (OSError, HTTPException) as error:
            raise Away(_words(error)) from None


def body_of(record: Record) -> bytes:
    """The JSON that receivers get."""
    return json.dumps(plain({"id": record.id, **record.fields}), allow_nan=False).encode()


def parsed(text: str) -> SplitResult:
    """An address in its parts. Raises OutputError."""
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise OutputError(f"{text.partition('#')[0]!r} is no address: {error}") from error
    if not host or not text.isascii() or any(c <= " " for c in text.partition("#")[0]):
        raise OutputError(
            f"{text.partition('#')[0]!r} is no address: write {url.scheme}://HOST:PORT/PATH, percent-encoded"
        )
    return url


def address_of(url: SplitResult) -> str:
    """An address for messages: without password and query, which may be secret."""
    return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, "", ""))


def spool_of(url: SplitResult) -> Path:
    """Where the records of an address wait: `#spool=DIR`, else a folder of its own in `onnxray-spool`.

    Raises OutputError for another fragment.
    """
    if url.fragment:
        name, _, folder = url.fragment.partition("=")
        if name != "spool" or not folder:
            raise OutputError(f"'#{url.fragment}' is not known: #spool=DIR is the folder in which records wait")
        return Path(unquote(folder))
    whole = urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, url.query, ""))
    return Path(SPOOL) / f"{slug(url.hostname or '')}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def _authorization(url: SplitResult) -> Mapping[str, str]:
    if url.username is None:
        return {}
    pair = f"{unquote(url.username)}:{unquote(url.password or '')}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"}


def _opener() -> OpenerDirector:
    from urllib.request import HTTPRedirectHandler, build_opener

    class NoRedirect(HTTPRedirectHandler):
        """A redirected POST would become a GET without its record."""

        def redirect_request(self, *_: object) -> None:
            return None

    return build_opener(NoRedirect)


def _unreachable(url: SplitResult) -> str | None:
    """Why no connection comes about, None where one does, or a proxy is between."""
    import socket
    from urllib.request import getproxies

    if url.scheme in getproxies():
        return None
    try:
        socket.create_connection((url.hostname, url.port or (443 if url.scheme == "https" else 80)), 3.0).close()
    except OSError as error:
        return _words(error)
    return None


def _words(error: object) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return " ".join(text.split()) or type(error).__name__
