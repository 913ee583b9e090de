"""Protocol-buffer text format, as far as configuration files use it: into plain lists and dicts, without a schema.

A message becomes a dict from field name to the list of its values; a value is an int, a float, a str (quoted texts
joined, enum names and true/false as they stand) or another message. Separators may be missing; nothing else may.
"""

from __future__ import annotations

import re
from typing import Any, TypeAlias

from ...errors import CardError

Message: TypeAlias = "dict[str, list[Any]]"

MAX_DEPTH = 64

_TOKEN = re.compile(
    r"""\s+|\#[^\n]*                                    # space, comment
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<number>-?(?:0[xX][0-9a-fA-F]+|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)[fF]?(?![\w.]))
    |(?P<name>-?[A-Za-z_][\w.]*)
    |(?P<mark>[{}\[\]<>:,;])""",
    re.VERBOSE | re.ASCII,
)


def parse(text: str) -> Message:
    """The message in `text`. Raises CardError with the line where it breaks off."""
    tokens: list[tuple[str, str, int]] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.end() == at:
            raise CardError(f"it is not protobuf text: unexpected {text[at : at + 10]!r} in line {_line(text, at)}")
        if match.lastgroup:
            tokens.append((match.lastgroup, match.group(), at))
        at = match.end()
    return _Parser(text, tokens).message(closing="", depth=0)


def messages(message: Message, name: str) -> list[Message]:
    """The messages in field `name`."""
    return [value for value in message.get(name, []) if isinstance(value, dict)]


def text(message: Message, name: str) -> str:
    """The first text in field `name`, "" if there is none."""
    return next((value for value in message.get(name, []) if isinstance(value, str)), "")


class _Parser:
    def __init__(self, text: str, tokens: list[tuple[str, str, int]]) -> None:
        self.text, self.tokens, self.at = text, tokens, 0

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def next(self) -> tuple[str, str]:
        if self.at == len(self.tokens):
            raise CardError("it is not protobuf text: it ends in the middle")
        self.at += 1
        return self.tokens[self.at - 1][:2]

    def refuse(self, token: str) -> CardError:
        line = _line(self.text, self.tokens[self.at - 1][2])
        return CardError(f"it is not protobuf text: unexpected {token[:20]!r} in line {line}")

    def message(self, closing: str, depth: int) -> Message:
        if depth > MAX_DEPTH:
            raise CardError(f"it is nested deeper than {MAX_DEPTH} levels")
        found: Message = {}
        while self.peek() != closing:
            kind, name = self.next()
            if kind == "mark" and name in ",;":
                continue
            if kind != "name":
                raise self.refuse(name)
            if self.peek() == ":":
                self.next()
            elif self.peek() not in ("{", "<", "["):
                raise self.refuse(name)
            found.setdefault(name, []).extend(self.values(depth))
        if closing:
            self.next()
        return found

    def values(self, depth: int) -> list[Any]:
        if self.peek() != "[":
            return [self.value(depth)]
        self.next()
        found: list[Any] = []
        while self.peek() != "]":
            found.append(self.value(depth))
            if self.peek() == ",":
                self.next()
        self.next()
        return found

    def value(self, depth: int) -> Any:
        kind, token = self.next()
        if token in ("{", "<"):
            return self.message("}" if token == "{" else ">", depth + 1)
        if kind == "string":
            parts = [_unquoted(token)]
            while self.at < len(self.tokens) and self.tokens[self.at][0] == "string":
                parts.append(_unquoted(self.next()[1]))
            return "".join(parts)
        if kind == "number":
            return _number(token)
        if kind == "name":
            return token
        raise self.refuse(token)


def _number(token: str) -> int | float:
    if len(token) > 400:
        raise CardError(f"it holds a number of {len(token)} characters")
    if token.lower().lstrip("-").startswith("0x"):
        return int(token, 16)
    token = token.rstrip("fF")
    if token.lstrip("-").isdigit():
        return int(token) if len(token) < 20 else float(token)
    return float(token)


def _unquoted(token: str) -> str:
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t", "r": "\r"}.get(m[1], m[1]), token[1:-1])


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
