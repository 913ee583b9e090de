"""Verified downloads: resumed, bounded, checked by sha256, and only then renamed into place."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from ..engine.atomic import holder_of, take_lock
from ..engine.errors import DownloadError

Progress: TypeAlias = "Callable[[int, int | None], None]"

TIMEOUT = 30.0
MAX_BYTES = 4 << 30
_CHUNK = 1 << 18
_POLL = 0.1  # seconds between two looks at what another process does
_SCHEMES = ("https", "http")


def fetch(
    url: str,
    sha256: str,
    dest: Path,
    *,
    progress: Progress | None = None,
    max_bytes: int = MAX_BYTES,
    timeout: float = TIMEOUT,
) -> Path:
    """Download `url` to `dest`, which appears only when its sha256 (64 hex digits) is as expected.

    What an earlier, interrupted call left in `dest`.part is continued where the server can do that, else fetched anew.
    A `dest` that is already as expected is left alone. While another process fetches it, this one waits for that and
    does with what it then finds as with any `dest`. `progress(done, total)` is given the bytes so far and the whole
    number, or None where the server does not say it. `timeout` is in seconds, for each wait for the server, and for any
    progress of the other process.

    Raises DownloadError: no http(s) address, no connection, an HTTP error, more than `max_bytes`, an interrupted
    transfer (what came stays for the next call), a wrong checksum (what came is deleted), a folder that cannot be
    written.
    """
    expected = sha256.lower()
    if not re.fullmatch(r"[0-9a-f]{64}", expected):
        raise DownloadError(f"{sha256!r} is not a sha256 checksum: 64 hexadecimal digits are needed to verify {url}")
    if urlsplit(url).scheme not in _SCHEMES:
        raise DownloadError(f"cannot download {url!r}: only {' and '.join(_SCHEMES)} addresses are supported")
    part = dest.with_name(dest.name + ".part")
    try:
        if dest.is_file() and digest_of(dest) == expected:
            return dest
        dest.parent.mkdir(parents=True, exist_ok=True)
        with _alone(dest, part, timeout):
            if dest.is_file() and digest_of(dest) == expected:
                return dest
            _remove_link(part)
            if not (part.is_file() and digest_of(part) == expected):
                _transfer(url, part, progress, max_bytes, timeout)
                found = digest_of(part)
                if found != expected:
                    part.unlink()
                    raise DownloadError(
                        f"{url} does not have the expected content: sha256 is {found}, not {expected}; "
                        "it was deleted. The file may have been replaced, or something on the way may have changed it"
                    )
            os.replace(part, dest)
    except OSError as error:
        raise DownloadError(f"cannot write {str(dest)!r}: {error.strerror or error}") from error
    return dest


@contextlib.contextmanager
def _alone(dest: Path, part: Path, timeout: float) -> Iterator[None]:
    """One process at a time. Raises DownloadError when the other one makes no progress for `timeout` seconds."""
    name = dest.with_name(dest.name + ".lock")
    size, patience = -1, time.monotonic() + timeout
    while (lock := take_lock(name)) is None:
        now = part.stat().st_size if part.is_file() else -1
        if now != size:
            size, patience = now, time.monotonic() + timeout
        elif time.monotonic() > patience:
            raise DownloadError(
                f"{str(dest)!r} is being fetched by {holder_of(name)}, which makes no progress: end it, or wait and "
                "run this again"
            )
        time.sleep(_POLL)
    try:
        yield
    finally:
        lock.release()


def _remove_link(part: Path) -> None:
    """What is fetched is never written to where a link leads."""
    if part.is_symlink():
        part.unlink()


def digest_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _transfer(url: str, part: Path, progress: Progress | None, max_bytes: int, timeout: float) -> None:
    """Append to `part` what is missing of `url`."""
    have = part.stat().st_size if part.is_file() else 0
    response, have = _open(url, have, timeout)
    with response:
        total = _total(response, have)
        if total is not None and total > max_bytes:
            raise DownloadError(f"{url} has {total} bytes, more than the limit of {max_bytes}")
        with open(part, "ab" if have else "wb", opener=_no_link) as file:
            if progress:
                progress(have, total)
            while chunk := _read(response, url, part):
                have += len(chunk)
                if have > max_bytes:
                    part.unlink()
                    raise DownloadError(f"{url} sends more than the limit of {max_bytes} bytes")
                file.write(chunk)
                if progress:
                    progress(have, total)
    if total is not None and have < total:
        raise DownloadError(_interrupted(url, part, f"{have} of {total} bytes came"))


def _open(url: str, have: int, timeout: float) -> tuple[Any, int]:
    """The response, and how many of the bytes already here count."""
    request = urllib.request.Request(url, headers={"User-Agent": "onnxray", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = _opener().open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if have and error.code == 416:  # what is here is not the beginning of what is there
            return _open(url, 0, timeout)
        raise DownloadError(f"cannot download {url}: the server answers {error.code} {error.reason}") from None
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadError(f"cannot download {url}: {reason}; is there a network connection?") from error
    continued = have > 0 and response.status == 206 and _range_start(response) == have
    if have and response.status == 206 and not continued:
        response.close()
        return _open(url, 0, timeout)
    return response, have if continued else 0


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Refuses a redirect to another kind of address, or from an encrypted one to one that is not, before a connection
    is opened."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        scheme = urlsplit(newurl).scheme
        if scheme not in _SCHEMES:
            raise DownloadError(f"{req.full_url} leads to {newurl!r}, which is not an http(s) address")
        if urlsplit(req.full_url).scheme == "https" and scheme != "https":
            raise DownloadError(f"{req.full_url} leads to {newurl!r}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@functools.cache
def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_Redirects)


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _range_start(response: Any) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _total(response: Any, have: int) -> int | None:
    length = response.headers.get("Content-Length", "")
    return have + int(length) if length.isascii() and length.isdigit() else None


def _read(response: Any, url: str, part: Path) -> bytes:
    try:
        chunk: bytes = response.read1(_CHUNK)
    except (http.client.HTTPException, OSError) as error:
        raise DownloadError(_interrupted(url, part, str(error) or type(error).__name__)) from error
    return chunk


def _interrupted(url: str, part: Path, reason: str) -> str:
    return f"the download of {url} was interrupted ({reason}): run it again, it goes on from {str(part)!r}"
