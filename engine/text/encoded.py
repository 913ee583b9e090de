"""A text as a tokenizer gives it to a model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Token:
    """id: its row of the table. side: which text it is from, -1 where it is of none ([CLS], [SEP], padding). start,
    end: its characters in that text, without white space around it. piece: how the vocabulary writes it. segment: what
    the segment ids say."""

    id: int
    side: int
    start: int
    end: int
    piece: str
    segment: int = 0

    @property
    def special(self) -> bool:
        return self.side < 0


@dataclass(frozen=True)
class Encoded:
    """The tokens of a text, or of a pair, in order, without padding. cut: whether tokens were left out at the end."""

    tokens: tuple[Token, ...]
    cut: bool = False
