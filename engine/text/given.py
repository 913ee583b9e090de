"""What a user gives for a text model: a text, a pair of texts, or a text with several choices."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from ..errors import TextError

Unit: TypeAlias = Literal["word", "token", "sentence", "line", "slot"]
UNITS: tuple[str, ...] = get_args(Unit)
# Tokens that are generated at most.
MOST_GENERATED = 1000
_BRACES = re.compile(r"\{\{|\}\}")
_SPAN = re.compile(r"\s*(\d+)\s*:\s*(\d+)\s*")


@dataclass(frozen=True)
class Text:
    """A text for a model of texts.

    text: what is read. pair: the second text of a pair (question and passage, premise and hypothesis). choices: of
        multiple choice, the answers, each of which is read as a pair with the text. unit: what gets one value, a "word"
        (whole, however many tokens it has), a "token", a "sentence", a "line", or a "slot": what stands in {{ }}, which
        are taken out of the text; the rest of the text is fixed. spans: stretches of the text, (start, end) in
        characters, that get one value each; what lies outside stays as it is. continuation: what a language model is
        asked about, the text behind the prompt; generate: so many tokens of its own are taken in its place, the most
        probable one each time; last: only so many at the end of these are explained. chat: the text is what a user
        says, and is put into the chat template of the tokenizer, which is fixed.

    Raises TextError for an empty text, slots that are not there or not closed, a unit that does not exist, spans next
    to another unit, that overlap or lie outside, more tokens as the last ones than are generated.
    """

    text: str
    pair: str | None = None
    choices: tuple[str, ...] = ()
    unit: Unit = "word"
    spans: tuple[tuple[int, int], ...] = ()
    continuation: str | None = None
    generate: int = 0
    last: int = 0
    chat: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", tuple(self.choices))
        object.__setattr__(self, "spans", tuple(sorted((int(a), int(b)) for a, b in self.spans)))
        if not all(isinstance(part, str) for part in self.parts):
            raise TextError(f"a text was given as {type(self.text).__name__}: give a str")
        if self.unit not in UNITS:
            raise TextError(f"the unit {self.unit!r} is none of {', '.join(UNITS)}")
        # The slots of a text whose braces were taken out are its spans.
        if self.spans and (self.unit not in ("word", "slot") or (self.unit == "slot" and _BRACES.search(self.text))):
            raise TextError(f"spans and the unit {self.unit!r} both say what has a value: leave one of them out")
        if self.unit == "slot" and not self.spans:
            text, spans = _slots(self.text)
            object.__setattr__(self, "text", text)
            object.__setattr__(self, "spans", spans)
        if self.chat and (self.pair is not None or self.choices):
            raise TextError("a chat has one text, and tokens behind it: leave pair and choices out")
        if self.last < 0 or (self.last and self.continuation is None and not self.generate):
            raise TextError(f"last={self.last}: so many tokens of a continuation, or of those to generate, at least 1")
        if self.generate and self.last > self.generate:
            raise TextError(f"last={self.last} of {self.generate} tokens to generate: give at most that many")
        second = [self.pair is not None, bool(self.choices), self.continuation is not None, self.generate > 0]
        if sum(second) > 1:
            raise TextError("a text has a pair, choices, a continuation or tokens to generate: give one of them")
        if not 0 <= self.generate <= MOST_GENERATED:
            raise TextError(f"generate={self.generate}: take 1 to {MOST_GENERATED} tokens")
        for part in self.parts:
            if not part.strip():
                raise TextError("the text is empty: there is no word to explain the answer by")
            try:
                part.encode("utf-8")
            except UnicodeEncodeError:
                raise TextError(
                    "the text holds half of a surrogate pair, which is no character: decode it anew"
                ) from None
        end = 0
        for a, b in self.spans:
            if not end <= a < b <= len(self.text):
                raise TextError(
                    f"the span {a}:{b} overlaps another one, is empty, or lies outside the text of {len(self.text)} "
                    "characters"
                )
            end = b

    @property
    def parts(self) -> tuple[str, ...]:
        """The texts, in order: side 0, side 1, ..."""
        behind = [part for part in (self.pair, self.continuation) if part is not None]
        return (self.text, *behind, *self.choices)


def _slots(text: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """A text without the braces of its slots, and where these are. Raises TextError."""
    parts, marks = _BRACES.split(text), _BRACES.findall(text)
    if not marks or marks != ["{{", "}}"] * (len(marks) // 2):
        raise TextError("the text has no slots, or one that is not closed: put {{ }} around what has a value each")
    spans, at = [], 0
    for number, part in enumerate(parts):
        if number % 2:
            spans.append((at, at + len(part)))
        at += len(part)
    return "".join(parts), tuple(spans)


def spans_of(text: str) -> tuple[tuple[int, int], ...]:
    """`a:b,c:d` as spans. Raises TextError."""
    found = []
    for part in text.split(","):
        match = _SPAN.fullmatch(part)
        if match is None:
            raise TextError(f"{text!r} is no list of spans: write START:END,START:END in characters")
        found.append((int(match[1]), int(match[2])))
    return tuple(found)


def as_text(given: str | Text) -> Text:
    """A str as a `Text`; a Text as it is."""
    return given if isinstance(given, Text) else Text(given)


def unit_name(given: Text) -> str:
    """What has a value, in a word."""
    return "span" if given.spans and given.unit != "slot" else given.unit
