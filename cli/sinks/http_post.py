"""`http://...`, `https://...`: each record as JSON by POST, in order, kept on disk while the receiver is away."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from ...engine.errors import OutputError
from ..files.manifest import plain
from ..files.names import slug
from .sink import Record
from .spool import Away, Refused, Sender, Spool, say

if TYPE_CHECKING:
    from ssl import SSLContext
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
    sent as basic authorization; of https, `#ca=FILE` is whom it trusts, `#cert=FILE&key=FILE` who it is. A record
    leaves the spool when the receiver has answered 2xx. tell: takes what is to be said, but for errors.
    """

    first_pause = 1.0
    tell: Callable[[str], None] = staticmethod(say)

    def __init__(self, scheme: str, address: str) -> None:
        url = parsed(f"{scheme}:{address}")
        self._url = urlunsplit((scheme, url.netloc.rpartition("@")[2], url.path or "/", url.query, ""))
        self.name = address_of(url)
        self._headers = {"Content-Type": "application/json", **_authorization(url)}
        self._split = url
        self.folder, self._tls = spool_of(url), tls_of(url, scheme == "https")

    def open(self) -> None:
        spool = Spool(self.folder)
        spool.open()
        self._opener = _opener(self._tls)
        self._sender = Sender(self.name, spool, self._post, self.first_pause, self.tell)
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

    Raises OutputError for a fragment of another form.
    """
    folder = _settings(url).get("spool")
    if folder is not None:
        return Path(folder)
    whole = urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, url.query, ""))
    return Path(SPOOL) / f"{slug(url.hostname or '')}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def tls_of(url: SplitResult, encrypted: bool) -> SSLContext | None:
    """What an encrypted connection trusts, `#ca=FILE` or the system's authorities, and who it is: `#cert=FILE` and
    `#key=FILE`. None where it is not encrypted. Raises OutputError for files that cannot be read."""
    import ssl

    asked = {name: path for name, path in _settings(url).items() if name != "spool"}
    if not encrypted:
        if asked:
            raise OutputError(f"'#{next(iter(asked))}=' is about encrypted connections: write {url.scheme}s://")
        return None
    if "key" in asked and "cert" not in asked:
        raise OutputError("'#key=' is the key of a certificate: give '#cert=' as well")
    try:
        context = ssl.create_default_context(cafile=asked.get("ca"))
        if "cert" in asked:
            context.load_cert_chain(asked["cert"], asked.get("key"), password=lambda: "")
    except (OSError, ValueError) as error:  # SSLError is an OSError
        files = ", ".join(repr(path) for path in asked.values())
        raise OutputError(f"{address_of(url)}: {files}: {_words(error)}") from error
    return context


_SETTINGS = {
    "spool": "DIR is the folder in which records wait",
    "ca": "FILE is a file of certificates that are trusted",
    "cert": "FILE is the certificate of this side",
    "key": "FILE is its key",
}


def _settings(url: SplitResult) -> Mapping[str, str]:
    """What stands behind the #: NAME=VALUE, with & between. Raises OutputError for another name."""
    found: dict[str, str] = {}
    for part in filter(None, url.fragment.split("&")):
        name, _, value = part.partition("=")
        if name not in _SETTINGS or not value:
            known = ", ".join(f"#{n}={words}" for n, words in _SETTINGS.items())
            raise OutputError(f"'#{part}' is not known: {known}")
        found[name] = unquote(value)
    return found


def _authorization(url: SplitResult) -> Mapping[str, str]:
    if url.username is None:
        return {}
    pair = f"{unquote(url.username)}:{unquote(url.password or '')}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"}


def _opener(tls: SSLContext | None) -> OpenerDirector:
    from urllib.request import HTTPRedirectHandler, HTTPSHandler, build_opener

    class NoRedirect(HTTPRedirectHandler):
        """A redirected POST would become a GET without its record."""

        def redirect_request(self, *_: object) -> None:
            return None

    return build_opener(NoRedirect) if tls is None else build_opener(NoRedirect, HTTPSHandler(context=tls))


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
