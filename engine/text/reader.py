"""What makes tokens of a text: the base of all kinds, and those that a card describes in a few fields.

{"kind": "bytes"}                                          a token is a byte of the text in UTF-8
{"kind": "characters", "vocab": "abc..."}                  a character; also a list, or a file with one a line
{"kind": "words", "vocab": "vocab.txt", "lower": true,     a word; a file with one a line, `word id` a line, or JSON
 "start": "<START>", "unknown": "<UNK>", "pad": "<PAD>", "length": 256}
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import TextError
from .encoded import Encoded, Token

_WORD = re.compile(r"[^\W_](?:[\w'’]*[\w])?|[^\W]")
_NAMES = {
    "pad": ("[PAD]", "<pad>", "<PAD>", "<|pad|>", "<|padding|>", "<blank>"),
    "mask": ("[MASK]", "<mask>", "<|mask|>"),
    "unk": ("[UNK]", "<unk>", "<UNK>", "<UNKNOWN>", "<|unk|>"),
    "start": ("<START>", "<start>", "<s>", "[CLS]"),
    "end": ("</s>", "<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<eos>", "[SEP]"),
}
# What stands for nothing, by the option that names it.
STAND_INS = ("pad", "mask", "unk")


@dataclass(frozen=True)
class Reader:
    """What makes tokens of texts. where: the file that it is from, or the card. size: its greatest id plus one. named:
    "pad", "mask", "unk", "start", "end", "begin" (of a decoder) -> the token's id. length: the most tokens, where it
    says so. said: what the configurations next to it say."""

    where: str
    size: int
    named: Mapping[str, int]
    length: int | None = None
    said: Mapping[str, Any] = field(default_factory=dict, compare=False, kw_only=True)

    def encode(self, first: str, second: str | None, most: int | None) -> Encoded:
        """The tokens of a text or a pair, at most `most` of them. Raises TextError."""
        raise TypeError(f"{type(self).__name__} does not encode")

    def encode_bare(self, text: str, most: int | None) -> Encoded:
        """The tokens of a text without those that are put around it. Raises TextError."""
        return self.encode(text, None, most)

    def decode(self, ids: Sequence[int]) -> str:
        """The text that tokens stand for."""
        raise TextError(f"the tokenizer {self.where} makes no text of tokens: give a tokenizer.json")

    def stand_in(self, kind: str) -> int | None:
        """The id that stands for nothing; None where the vocabulary has no such token."""
        return self.named.get(kind)

    def replacement(self, kind: str) -> int:
        """The id that "pad", "mask" or "unk" puts in a token's place; of "pad", what comes nearest to it. Raises
        TextError."""
        code = self.stand_in(kind)
        if kind == "pad":
            code = next((c for c in map(self.stand_in, ("pad", "unk", "end")) if c is not None), 0)
        if code is None:
            there = [name for name in STAND_INS if self.stand_in(name) is not None]
            raise TextError(
                f"the tokenizer {self.where} has no {kind!r} token: take {', '.join(there) or 'zero'}, or text:WORDS"
            )
        return code


@dataclass(frozen=True)
class Simple(Reader):
    """A vocabulary without rules: bytes, characters or words. vocab: piece -> id; empty for bytes."""

    kind: str = "bytes"
    vocab: Mapping[str, int] = field(default_factory=dict)
    lower: bool = False

    def encode(self, first: str, second: str | None, most: int | None) -> Encoded:
        if second is not None:
            raise TextError(f"the vocabulary of {self.kind} ({self.where}) has no form for pairs: give one text")
        start = self.named.get("start")
        tokens = [] if start is None else [Token(start, -1, 0, 0, self._piece(start))]
        for piece, a, b, number in self._pieces(first):
            if most is not None and len(tokens) == most:
                return Encoded(tuple(tokens), True)
            tokens.append(Token(number, 0, a, b, piece))
        return Encoded(tuple(tokens))

    def decode(self, ids: Sequence[int]) -> str:
        if self.kind == "bytes":
            return bytes(number for number in ids if 0 <= number < 256).decode("utf-8", "replace")
        pieces = {code: piece for piece, code in self.vocab.items()}
        return (" " if self.kind == "words" else "").join(pieces.get(int(number), "") for number in ids)

    def _piece(self, number: int) -> str:
        return next((piece for piece, code in self.vocab.items() if code == number), f"#{number}")

    def _pieces(self, text: str) -> Iterator[tuple[str, int, int, int]]:
        if self.kind == "bytes":
            for at, char in enumerate(text):
                for byte in char.encode("utf-8"):
                    yield char, at, at if char.isspace() else at + 1, byte
            return
        spans = (
            ((m.start(), m.end()) for m in _WORD.finditer(text))
            if self.kind == "words"
            else ((at, at + 1) for at in range(len(text)))
        )
        for a, b in spans:
            piece = text[a:b].lower() if self.lower else text[a:b]
            known = self.vocab.get(piece, self.named.get("unk"))
            if known is None:
                continue  # left out, as the models do whose vocabulary has no token for what is unknown
            yield piece, a, a if piece.isspace() else b, known


def simple(said: Mapping[str, object], vocab: Mapping[str, int], where: str) -> Simple:
    """The reader that a card describes. vocab: what its file holds. Raises TextError."""
    kind = str(said.get("kind", "words"))
    named = {name: code for name, names in _NAMES.items() if (code := _first(vocab, names)) is not None}
    for name, field_name in (
        ("start", "start"),
        ("unk", "unknown"),
        ("pad", "pad"),
        ("mask", "mask"),
        ("begin", "begin"),
    ):
        if field_name in said:
            named[name] = _code(said[field_name], vocab, field_name, where)
    if kind == "bytes":
        named = {"pad": 0, **{k: v for k, v in named.items() if k in ("start", "pad", "unk")}}
    size = 256 if kind == "bytes" else 1 + max(vocab.values())
    length = said.get("length")
    lower = bool(said.get("lower", kind == "words" and not any(p != p.lower() for p in vocab if not p.startswith("<"))))
    return Simple(where, size, named, None if length is None else int(str(length)), kind, vocab, lower)


def _first(vocab: Mapping[str, int], names: Sequence[str]) -> int | None:
    return next((vocab[name] for name in names if name in vocab), None)


def _code(value: object, vocab: Mapping[str, int], name: str, where: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value in vocab:
        return vocab[value]
    raise TextError(f"{name} of the tokenizer in {where} is {value!r}: give an id, or a piece of the vocabulary")


def special_ids(vocab: Mapping[str, int], said: Mapping[str, object]) -> dict[str, int]:
    """The ids of special tokens: those that a configuration says ("pad_token"), else those that have the usual
    names."""
    fields = {"pad": "pad_token", "mask": "mask_token", "unk": "unk_token", "start": "bos_token", "end": "eos_token"}
    found = {}
    for name, key in fields.items():
        token = said.get(key)
        text = token.get("content") if isinstance(token, Mapping) else token
        code = vocab.get(text) if isinstance(text, str) else None
        code = _first(vocab, _NAMES[name]) if code is None else code
        if code is not None:
            found[name] = code
    return found
