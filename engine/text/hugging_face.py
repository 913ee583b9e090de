"""tokenizer.json and vocab.txt of transformers, through the library `tokenizers`."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import RuntimeUnavailable, TextError
from .encoded import Encoded, Token
from .reader import Reader, special_ids

NEEDED = "tokenizer.json is read by the library tokenizers, which is not installed: pip install 'onnxray[text]'"
# A tokenizer is set up for each text, and texts are read by several threads.
_LOCK = threading.Lock()
# Bounds of an array of tokens that a configuration may state and that mean "any".
_ANY = 10**6


@dataclass(frozen=True)
class HuggingFace(Reader):
    """A tokenizer of the library `tokenizers`."""

    tokenizer: Any = field(default=None, compare=False)

    def encode(self, first: str, second: str | None, most: int | None) -> Encoded:
        with _LOCK:
            found = self._encoded(first, second, most)
        return _tokens(found, (first, second or ""))

    def encode_bare(self, text: str, most: int | None) -> Encoded:
        with _LOCK:
            found = self._encoded(text, None, most, bare=True)
        return _tokens(found, (text, ""))

    def _encoded(self, first: str, second: str | None, most: int | None, bare: bool = False) -> Any:
        tokenizer = self.tokenizer
        tokenizer.no_padding()
        tokenizer.no_truncation()
        room = 0 if bare else tokenizer.num_special_tokens_to_add(second is not None)
        if most is not None and most <= room:
            raise TextError(
                f"the model reads {most} tokens, which leaves no room for a text next to {room} special ones"
            )
        if most is not None:
            tokenizer.enable_truncation(most, strategy="longest_first")
        try:
            return tokenizer.encode(first, second, add_special_tokens=not bare)
        except BaseException as error:  # the library raises a bare exception, and panics, which are no Exception
            if isinstance(error, KeyboardInterrupt):
                raise
            raise TextError(f"the tokenizer {self.where} cannot read the text: {_line(error)}") from None

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode([int(number) for number in ids], skip_special_tokens=False))


def _tokens(found: Any, texts: tuple[str, str]) -> Encoded:
    rows = zip(found.ids, found.sequence_ids, found.offsets, found.tokens, found.type_ids, strict=True)
    tokens = tuple(_token(number, side, span, piece, kind, texts) for number, side, span, piece, kind in rows)
    return Encoded(tokens, bool(found.overflowing))


def _token(
    number: int, side: int | None, span: tuple[int, int], piece: str, segment: int, texts: tuple[str, str]
) -> Token:
    if side is None:
        return Token(number, -1, 0, 0, piece, segment)
    (start, end), text = span, texts[side]
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return Token(number, side, start, end, piece, segment)


def from_json(text: str, where: str, said: Mapping[str, Any]) -> HuggingFace:
    """The tokenizer of a tokenizer.json. said: what tokenizer_config.json and config.json say. Raises TextError,
    RuntimeUnavailable where the library is missing."""
    try:
        return _made(_library().Tokenizer.from_str(text), where, said)
    except (TextError, RuntimeUnavailable):
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise TextError(f"{where} is no tokenizer that the library tokenizers reads: {_line(error)}") from None


def from_wordpieces(vocab: Mapping[str, int], where: str, said: Mapping[str, Any]) -> HuggingFace:
    """The tokenizer of BERT's vocab.txt. Lower case where the configuration says so, else where no whole word of the
    vocabulary has capitals."""
    library = _library()
    if missing := [piece for piece in ("[CLS]", "[SEP]") if piece not in vocab]:
        raise TextError(
            f"{where} has word pieces and no {', '.join(missing)}: add them, as BERT's vocab.txt has them, or give a "
            "tokenizer.json"
        )
    lower = said.get("do_lower_case")
    if lower is None:
        lower = not any(p != p.lower() for p in vocab if not p.startswith(("[", "<")))
    made = library.BertWordPieceTokenizer(dict(vocab), lowercase=bool(lower))
    return _made(made._tokenizer, where, said)


def _made(tokenizer: Any, where: str, said: Mapping[str, Any]) -> HuggingFace:
    vocab = tokenizer.get_vocab(with_added_tokens=True)
    if not vocab:
        raise TextError(f"{where} has an empty vocabulary")
    lengths = [said.get("model_max_length"), said.get("max_position_embeddings"), said.get("n_positions")]
    known = [int(n) for n in lengths if isinstance(n, int | float) and not isinstance(n, bool) and 0 < n < _ANY]
    length = min(known) if known else None
    if length is not None and str(said.get("model_type")) in ("roberta", "xlm-roberta", "camembert"):
        positions = said.get("max_position_embeddings")  # counted from behind the padding id
        length = min(length, int(positions) - 2) if isinstance(positions, int) else length
    named, begin = special_ids(vocab, said), said.get("decoder_start_token_id")
    if isinstance(begin, int) and not isinstance(begin, bool):
        named["begin"] = begin
    return HuggingFace(where, 1 + max(vocab.values()), named, length, tokenizer, said=dict(said))


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise RuntimeUnavailable(NEEDED) from None
    return tokenizers


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
