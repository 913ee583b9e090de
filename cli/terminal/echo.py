"""What is written to stdout and stderr, all of it: names out of models and files cannot steer the terminal.

A name can hold escape sequences, and characters that turn the direction of text: these are never passed on.
"""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from collections.abc import Callable
from typing import Any

import click


def echo(text: str, *, nl: bool = True) -> None:
    """Text on stdout, in lines."""
    click.echo(safe(text), nl=nl)


def echo_path(path: str | os.PathLike[str]) -> None:
    """A path on stdout: as it is where a program reads it, safe on a terminal."""
    name = os.fspath(path)
    click.echo(safe(name) if sys.stdout.isatty() else os.fsencode(name))


def say(text: str) -> None:
    """One line on stderr, which says who speaks."""
    click.echo(f"onnxray: {one_line(text)}", err=True)


def echo_json(data: Any, default: Callable[[Any], Any] | None = None) -> None:
    """JSON as every command prints it, on stdout; `default` makes something of what JSON lacks.

    What would steer the terminal is escaped, so that the data are the same.
    """
    text = json.dumps(data, indent=2, ensure_ascii=False, default=default)
    click.echo(_replaced(text, lambda c: "".join(f"\\u{unit:04x}" for unit in _units(c))))


def safe(text: str) -> str:
    """Lines of text without control and direction characters."""
    return _replaced(text, lambda _: "�")


def one_line(text: str) -> str:
    """Text of a file as one line: no line breaks, no control or direction characters."""
    return safe(" ".join(text.split()))


def _replaced(text: str, by: Callable[[str], str]) -> str:
    if text.isascii() and not _CONTROLS.search(text):
        return text
    return "".join(c if c == "\n" or unicodedata.category(c)[0] != "C" else by(c) for c in text)


_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


def _units(character: str) -> list[int]:
    """Its code units in UTF-16, of which JSON's escapes are made."""
    data = character.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]
