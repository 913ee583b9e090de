"""What a user gives for a text model: a text, a pair of texts, or a text with several choices."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from ..errors import TextError

Unit: TypeAlias = Literal["word", "token", "sentence"]
UNITS: tuple[str, ...] = get_args(Unit)
# Tokens that are generated at most.
MOST_GENERATED = 1000
_SPAN = re.compile(r"\s*(\d+)\s*:\s*(\d+)\s*")


@dataclass(frozen=True)
class Text:
    """A text for a model of texts.

    text: what is read. pair: the second text of a pair (question and passage, premise and hypothesis). choices: of
        multiple choice, the answers, each of which is read as a pair with the text. unit: what gets one value, a "word"
        (whole, however many tokens it has), a "token" or a "sentence". spans: stretches of the text, (start, end) in
        characters, that get one value each; what lies outside stays as it is. continuation: what a language model is
        asked about, the text behind the prompt; generate: so many tokens of its own are taken in its place, the most
        probable one each time.

    Raises TextError for an empty text, a unit that does not exist, spans that overlap or lie outside.
    """

    text: str
    pair: str | None = None
    choices: tuple[str, ...] = ()
    unit: Unit = "word"
    spans: tuple[tuple[int, int], ...] = ()
    continuation: str | None = None
    generate: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", tuple(self.choices))
        object.__setattr__(self, "spans", tuple(sorted((int(a), int(b)) for a, b in self.spans)))
        if not all(isinstance(part, str) for part in self.parts):
            raise TextError(f"a text was given as {type(self.text).__name__}: give a str")
        if self.unit not in UNITS:
            raise TextError(f"the unit {self.unit!r} is none of {', '.join(UNITS)}")
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
