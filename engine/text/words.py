"""The words of a text, whole: pieces that tokenizers make of one word have one value, and its original spelling."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from .encoded import Token

# Letters and digits with what is written inside words (wasn't, co-star's); scripts without spaces are read character
# by character, and a token may join several.
_JOINERS = "'’-‐‑_"
_SENTENCE = re.compile(r"[^.!?…。！？\n]*(?:[.!?…。！？]+[\"'”’)\]]*|\n+|$)")
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
_GLUE = "\u200d\ufe0e\ufe0f\u20e3"
_SKIN = re.compile("[\U0001f3fb-\U0001f3ff]")


@dataclass(frozen=True)
class Unit:
    """A stretch of a text that has one value. side, start, end: which text, and its characters there. tokens: their
    numbers in the encoded text; none where the model does not read it."""

    text: str
    side: int
    start: int
    end: int
    tokens: tuple[int, ...]


def units_of(
    texts: Sequence[str], tokens: Sequence[Token], unit: str, spans: Sequence[tuple[int, int]] = ()
) -> tuple[Unit, ...]:
    """What has a value, in order: words, tokens, sentences, or the `spans` of the first text."""
    if unit == "token" and not spans:
        found = [(t.side, t.start, t.end, (number,)) for number, t in enumerate(tokens) if not t.special]
        return tuple(Unit(texts[s][a:b] or tokens[n[0]].piece, s, a, b, n) for s, a, b, n in found)
    units: list[Unit] = []
    for side, text in enumerate(texts):
        mine = [number for number, token in enumerate(tokens) if token.side == side]
        if spans:
            ranges = list(spans) if side == 0 else []
        elif unit in ("sentence", "line"):
            ranges = sentences(text) if unit == "sentence" else lines(text)
        else:
            ranges = _joined(words(text), [(tokens[n].start, tokens[n].end) for n in mine])
        units += _filled(text, side, ranges, tokens, mine, bool(spans))
    return tuple(units)


def words(text: str) -> list[tuple[int, int]]:
    """(start, end) of the words of a text: every character that is no white space lies in exactly one."""
    found: list[list[int]] = []
    for at, char in enumerate(text):
        if char.isspace():
            continue
        if found and found[-1][1] == at and _joins(text, found[-1][0], at):
            found[-1][1] = at + 1
        else:
            found.append([at, at + 1])
    return [(a, b) for a, b in found]


def _joins(text: str, start: int, at: int) -> bool:
    """Whether the character at `at` belongs to the word that begins at `start` and ends before it."""
    before, char = text[at - 1], text[at]
    if (
        char in _GLUE
        or before == "\u200d"
        or unicodedata.combining(char)
        or unicodedata.category(char) in ("Mn", "Mc", "Me")
    ):
        return True
    if _SKIN.match(char):
        return True
    if _UNSPACED.match(char) or _UNSPACED.match(text[start]):
        return False
    inner = at + 1 < len(text) and _is_letter(text[at + 1]) and not _UNSPACED.match(text[at + 1])
    if _is_letter(char):
        return (
            _is_letter(before)
            or unicodedata.category(before).startswith("M")
            or (before in _JOINERS and at - 1 > start)
        )
    if char in _JOINERS:
        return inner and (_is_letter(before) or unicodedata.category(before).startswith("M"))
    return before == char and not _is_letter(before)  # "..." and "!!" are one


def _is_letter(char: str) -> bool:
    return unicodedata.category(char)[0] in "LN"


def sentences(text: str) -> list[tuple[int, int]]:
    """(start, end) of the sentences of a text, without white space around them."""
    found = []
    for match in _SENTENCE.finditer(text):
        whole = match.group()
        if whole.strip():
            start = match.start() + len(whole) - len(whole.lstrip())
            found.append((start, match.start() + len(whole.rstrip())))
    return found


def lines(text: str) -> list[tuple[int, int]]:
    """(start, end) of the lines of a text that hold anything, without white space around them."""
    return [(m.start(), m.start() + len(m.group().rstrip())) for m in re.finditer(r"\S[^\n]*", text)]


def _joined(ranges: list[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Words that one token reaches over are one."""
    found = list(ranges)
    for a, b in sorted(set(spans)):
        touched = [i for i, (x, y) in enumerate(found) if x < b and a < y]
        if len(touched) > 1:
            first, last = touched[0], touched[-1]
            found[first : last + 1] = [(found[first][0], found[last][1])]
    return found


def _filled(
    text: str, side: int, ranges: list[tuple[int, int]], tokens: Sequence[Token], mine: list[int], bare: bool
) -> list[Unit]:
    """The ranges with their tokens. Tokens of white space go to the word before, so that sums are whole; with `bare`,
    those outside belong to none."""
    of: dict[int, list[int]] = {place: [] for place in range(len(ranges))}
    last, place = None, 0
    waiting: list[int] = []
    for number in mine:
        token = tokens[number]
        while place < len(ranges) and ranges[place][1] <= token.start:
            place += 1
        inside = place < len(ranges) and ranges[place][0] < max(token.end, token.start + 1)
        if inside and token.end > token.start:
            of[place] += [*waiting, number]
            waiting, last = [], place
        elif bare:
            continue
        elif last is None:
            waiting.append(number)
        else:
            of[last].append(number)
    return [Unit(text[a:b], side, a, b, tuple(of[i])) for i, (a, b) in enumerate(ranges)]
