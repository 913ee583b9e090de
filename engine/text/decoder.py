"""What a decoder reads next to an encoder's text: the token that it begins with, and what was said so far."""

from __future__ import annotations

from dataclasses import replace

from ..errors import TextError
from .encoded import Encoded, Token
from .reader import Reader


def begin_of(reader: Reader) -> Token:
    """The token that a decoder begins with: `decoder_start_token_id` of generation_config.json or config.json, `begin`
    of a card, else the padding token, as T5 and Marian have it. Raises TextError."""
    code = reader.named.get("begin", reader.stand_in("pad"))
    if code is None:
        raise TextError(
            f"nothing says which token the decoder begins with: write decoder_start_token_id into config.json next to "
            f"{reader.where}"
        )
    return Token(code, -1, 0, 0, f"#{code}")


def decoder_row(reader: Reader, text: str | None, most: int | None) -> Encoded:
    """The tokens that a decoder reads: the one that it begins with, and those of the text, as side 1, less what ends
    it. Raises TextError."""
    begin = begin_of(reader)
    if text is None:
        return Encoded((begin,))
    found = reader.encode(text, None, None)
    tokens = list(found.tokens)
    while tokens and tokens[-1].special:
        tokens.pop()
    if tokens and tokens[0].special and tokens[0].id == begin.id:
        tokens.pop(0)
    if not any(not t.special for t in tokens):
        raise TextError("the tokenizer makes no token of the continuation: there is nothing to explain")
    if most is not None and len(tokens) >= most:
        raise TextError(f"the decoder reads {most} tokens and the continuation has {len(tokens)}: shorten it")
    return Encoded((begin, *(replace(t, side=-1 if t.special else 1) for t in tokens)))
