"""From a text to the input that is explained, and from values per token to values per word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import TextError
from ..graph.model import Model
from ..inference.batches import RunOptions
from ..targets.token_scores import next_tokens
from ..text.given import Text, as_text, unit_name
from ..text.reading import Reading, made_for, notes_of, read
from ..text.roles import roles_of
from .generation import generated, text_model
from .inputs import Input

if TYPE_CHECKING:
    from .explanation import Explanation


@dataclass(frozen=True)
class Word:
    """A word of a text, or a token, sentence or span, with its value.

    text: as it is spelled in the text; start, end: its characters there; side: 0, of the second text of a pair 1, of
    choices 1, 2, ...; tokens: their numbers; value: what it speaks for the target (above 0) or against it. read:
    whether the model reads it.
    """

    text: str
    start: int
    end: int
    side: int
    tokens: tuple[int, ...]
    value: float
    read: bool = True


@dataclass(frozen=True)
class TokenValue:
    """A token as the vocabulary writes it, with its id and value. special: whether it is of no text ([CLS])."""

    piece: str
    id: int
    value: float
    special: bool


def read_given(model: Model, given: Any, runtime: RunOptions | None = None) -> tuple[Reading, dict[str, Any]] | None:
    """The text in what is given, as the model reads it, and the feeds of all inputs; None where it holds none.

    given: a `Text`, a str for a model of texts, what `read` makes of one, or {input: one of these, further inputs}.
    runtime: of runs that generate tokens. Raises TextError.
    """
    more: dict[str, Any] = {}
    if isinstance(given, Mapping):
        texts = {name: value for name, value in given.items() if isinstance(value, str | Text | Reading)}
        if len(texts) != 1 or (isinstance(next(iter(texts.values())), str) and roles_of(model) is None):
            return None
        more = {name: value for name, value in given.items() if name not in texts}
        given = next(iter(texts.values()))
    if isinstance(given, Reading):
        return given, {**given.feeds(model), **more}
    if not isinstance(given, Text) and not (isinstance(given, str) and roles_of(model) is not None):
        return None
    says = next_tokens(text_model(model))
    reading = replace(read(model, as_text(given)), says=says)
    if reading.given.generate:
        reading = generated(model, reading, runtime, more)
    elif reading.given.continuation is not None and says is None:
        raise TextError("the model says no next token, so that no continuation can be explained: give the text alone")
    return reading, {**reading.feeds(model), **more}


def is_text(model: Model, given: Any) -> bool:
    """Whether a text is given, or several in a list."""
    if isinstance(given, list | tuple):
        return bool(given) and all(is_text(model, part) for part in given)
    if isinstance(given, Mapping):
        return any(is_text(model, value) for value in given.values())
    return isinstance(given, Text | Reading) or (isinstance(given, str) and roles_of(model) is not None)


def with_reading(model: Model, given: Input, reading: Reading) -> Input:
    """The input of a text, with the text, its model's labels, and what is to be said of how it was read."""
    each = tuple((one, replace(single, reading=None)) for one, single in given.each)
    return replace(given, reading=reading, notes=(*given.notes, *notes_of(reading)), each=each)


def words_of(e: Explanation) -> tuple[Word, ...]:
    """Every unit of the text with its value: the sum over its tokens and their dimensions, so that all of them, with
    the special tokens, add up to what all values do; of methods that share out attention the mean."""
    reading = e.reading
    assert reading is not None
    values = _of_units(e, reading)
    place = {number: k for k, number in enumerate(reading.seen)}
    return tuple(
        Word(u.text, u.start, u.end, u.side, u.tokens, values[place[n]] if n in place else 0.0, n in place)
        for n, u in enumerate(reading.units)
    )


def tokens_of(e: Explanation) -> tuple[TokenValue, ...]:
    """Every token that the model reads with its value; of methods that hide words none, as these have no tokens'."""
    reading = e.reading
    assert reading is not None
    if reading.strings or _weights(e) is not None:
        return ()
    values = _by_token(e, reading)
    pairs = zip(reading.tokens, values, strict=True)
    return tuple(TokenValue(t.piece, t.id, float(v), t.special) for t, v in pairs if t is not None)


def about_text(e: Explanation) -> dict[str, Any]:
    """What the manifest says of a text: its words with their values, its tokenizer, the inputs that were made."""
    reading = e.reading
    assert reading is not None
    words = [
        {
            "text": w.text,
            "start": w.start,
            "end": w.end,
            "side": w.side,
            "value": w.value,
            **({} if w.read else {"read": False}),
        }
        for w in e.words
    ]
    return {
        "unit": unit_name(reading.given),
        "words": words,
        "tokens": [{"piece": t.piece, "id": t.id, "value": t.value} for t in e.tokens],
        "tokenizer": None if reading.reader is None else reading.reader.where,
        "unread": reading.unread,
        "made_inputs": dict(made_for(reading)),
    }


def _weights(e: Explanation) -> NDArray[np.float64] | None:
    """Values of units, where a method gives them by unit."""
    weights = e.details.get("weights")
    return None if weights is None else np.asarray(weights, np.float64)


def _of_units(e: Explanation, reading: Reading) -> list[float]:
    weights = _weights(e)
    if weights is None and reading.strings:
        weights = e.values.astype(np.float64).ravel()
    if weights is not None and len(weights) == len(reading.seen):
        return [float(v) for v in weights]
    by_token = _by_token(e, reading)
    parts = [by_token[list(reading.units[number].tokens)] for number in reading.seen]
    return [float(part.mean() if is_share(e) else part.sum()) for part in parts]


def is_share(e: Explanation) -> bool:
    """Whether values share out attention: a word has the mean of its tokens' then, not the sum."""
    return e.display == "positive" and e.reduce == "none"


def _by_token(e: Explanation, reading: Reading) -> NDArray[np.float64]:
    """(tokens,): values over all rows, summed over dimensions."""
    count = sum(reading.lengths)
    return np.asarray(e.values.astype(np.float64).reshape(count, -1).sum(axis=1))
