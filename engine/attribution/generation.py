"""What a language model says behind a prompt: the most probable token each time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import TextError
from ..graph.model import Model
from ..inference.batches import RunOptions
from ..text.encoded import Encoded, Token
from ..text.reading import Reading, fixed_length, with_units
from ..text.roles import roles_of
from .inputs import explained_input, input_of, values_at
from .photos import one_input


def text_model(model: Model) -> Model:
    """The model of texts with its token ids as the explained input, where that would be another one: caches have the
    axes of images."""
    roles = roles_of(model)
    if roles is None or len(roles.ids) != 1 or explained_input(model) == roles.ids[0]:
        return model
    return one_input(model, roles.ids[0])


def generated(
    model: Model, reading: Reading, runtime: RunOptions | None = None, more: Mapping[str, Any] | None = None
) -> Reading:
    """The text with `given.generate` tokens of the model behind it, fewer where it ends by itself. Everything is read
    anew for each of them, without a cache. more: further inputs of the model.

    Raises TextError for a model that says no next token, or a prompt that leaves no room.
    """
    model = text_model(model)
    value = reading.says
    if value is None or reading.reader is None or reading.strings:
        raise TextError("the model says no next token, so that nothing can be generated: give a text alone")
    prompt = list(reading.rows[-1].tokens)
    while prompt and prompt[-1].special and len(prompt) > 1 and not reading.given.chat:
        prompt.pop()
    fixed = fixed_length(model, reading.roles.ids[-1])
    limit = reading.reader.length if fixed is None else fixed
    said = _said_of_generation(model)
    ends, ids = _ends(reading, said), list[int]()
    forced = said.get("forced_bos_token_id") if reading.roles.decoder else None
    if isinstance(forced, int):
        prompt.append(Token(forced, -1, 0, 0, f"#{forced}"))  # set, such as the language: the model does not say it
    full = False
    for _ in range(reading.given.generate):
        tokens = [*prompt, *(Token(number, 1, 0, 0, "") for number in ids)]
        full = limit is not None and len(tokens) >= limit
        if full:
            break
        now = _with_last(reading, tuple(tokens), fixed)
        scores = values_at(model, input_of(model, {**now.feeds(model), **(more or {})}), [value], runtime)[value]
        ids.append(int(np.argmax(scores[0, len(tokens) - 1])))
        if ids[-1] in ends:
            break
    if not ids:
        raise TextError(f"the model reads {limit} tokens and the prompt has {len(prompt)}: it leaves no room")
    made = _behind(reading, prompt, ids, fixed)
    return replace(made, short=reading.given.generate - len(ids)) if full else made


def _with_last(reading: Reading, tokens: tuple[Token, ...], fixed: int | None) -> Reading:
    """The reading with these tokens in its last row, which scores of the next token belong to."""
    rows, lengths = (*reading.rows[:-1], Encoded(tokens, reading.rows[-1].cut)), (fixed or len(tokens),)
    return replace(reading, rows=rows, lengths=(*reading.lengths[:-1], *lengths), units=())


def _behind(reading: Reading, prompt: Sequence[Token], ids: Sequence[int], fixed: int | None) -> Reading:
    """The prompt with the tokens `ids` behind it, each where it stands in the text that they make."""
    assert reading.reader is not None
    codes = [] if reading.roles.decoder else [token.id for token in prompt]
    texts = [reading.reader.decode([*codes, *ids[:count]]) for count in range(len(ids) + 1)]
    base = len(texts[0])
    said = texts[-1][base:]
    tokens, at = list(prompt), 0
    for number, text in zip(ids, texts[1:], strict=True):
        end = max(at, min(len(said), len(text) - base))
        start = at
        while start < end and said[start].isspace():
            start += 1
        tokens.append(Token(number, 1, start, end, said[at:end] or f"#{number}"))
        at = end
    shown, last = said if said.strip() else " ".join(f"#{n}" for n in ids), min(reading.given.last, len(ids))
    given = replace(reading.given, continuation=shown, generate=0, last=last)
    return with_units(_with_last(replace(reading, given=given), tuple(tokens), fixed))


def _ends(reading: Reading, said: Mapping[str, Any]) -> set[int]:
    """The tokens that end a text: the tokenizer's, and those of generation_config.json."""
    assert reading.reader is not None
    found = {reading.reader.named[name] for name in ("end",) if name in reading.reader.named}
    ends = said.get("eos_token_id")
    return found | {int(n) for n in (ends if isinstance(ends, list) else [ends]) if isinstance(n, int)}


def _said_of_generation(model: Model) -> dict[str, Any]:
    """generation_config.json next to the model or above it; empty where there is none."""
    path = None if model.path is None else Path(model.path).resolve().parent
    for folder in () if path is None else (path, path.parent):
        try:
            said = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return said if isinstance(said, dict) else {}
    return {}
