"""A text as one model reads it: its tokens in the inputs of the model, and the words that they belong to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import TextError
from ..graph.model import Model
from ..inspect.embedding import table_of
from .chat import chat_row
from .decoder import begin_of, decoder_row
from .encoded import Encoded, Token
from .find import reader_of
from .given import Text
from .reader import Reader, Simple
from .roles import Roles, roles_of
from .words import Unit, units_of, words

# A text in place of a fill or a baseline, and how the choices of an option name it.
TEXT_PREFIX, ANY_TEXT = "text:", "text:WORDS"
# Whether an export that can do both reads a cache; without one, everything is read from its beginning.
_CACHE_BRANCH = "use_cache_branch"
# What a decoder in a file of its own reads of its encoder.
_OF_ENCODER = "encoder_hidden_states"
# What a text may have at most: models read some thousands of tokens.
MOST_CHARACTERS = 4_000_000


@dataclass(frozen=True)
class Reading:
    """A text as a model reads it.

    given: the text. rows: the tokens of every row that the model reads, several for choices and for pairs in inputs of
    their own. units: what has a value each; their tokens are numbers over all rows, padding counted. roles: of the
    model's inputs. lengths: of every row, padding counted. short: how many tokens were to be generated and were not,
    because the model reads no more. says: the output that scores the next token, of language models.
    """

    given: Text
    rows: tuple[Encoded, ...]
    units: tuple[Unit, ...]
    roles: Roles
    lengths: tuple[int, ...]
    reader: Reader | None = None
    chosen: bool = False
    batched: bool = True
    short: int = 0
    says: str | None = None

    @property
    def strings(self) -> bool:
        return self.roles.strings

    @cached_property
    def tokens(self) -> tuple[Token | None, ...]:
        """The token at every place of all rows, None for padding."""
        return tuple(
            row.tokens[at] if at < len(row.tokens) else None
            for row, length in zip(self.rows, self.lengths, strict=True)
            for at in range(length)
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample of what is explained: (tokens,), or (choices, tokens)."""
        return (len(self.rows), self.lengths[0]) if self.chosen else (sum(self.lengths),)

    @cached_property
    def labels(self) -> NDArray[np.int32]:
        """int32 of `shape`: the unit of every token, -1 for special tokens and padding."""
        found = np.full(sum(self.lengths), -1, np.int32)
        for number, unit in enumerate(self.units):
            found[list(unit.tokens)] = number
        return found.reshape(self.shape)

    @property
    def output(self) -> tuple[int, ...]:
        """The places of the tokens of a continuation."""
        if self.given.continuation is None:
            return ()
        return tuple(n for n, token in enumerate(self.tokens) if token is not None and token.side == 1)

    @property
    def said_from(self) -> int:
        """The place of the first token of the row that scores of the next token belong to."""
        return self.lengths[0] if self.roles.decoder else 0

    @property
    def seen(self) -> tuple[int, ...]:
        """The units that the model reads."""
        return tuple(number for number, unit in enumerate(self.units) if unit.tokens or self.strings)

    @property
    def cut(self) -> bool:
        """Whether the model reads less than the whole text."""
        return any(row.cut for row in self.rows)

    @cached_property
    def unread(self) -> int:
        """How many words at the end the model does not read, whatever has a value; 0 where it reads a part of the last
        one."""
        if not self.cut:
            return 0
        ends: dict[int, int] = {}
        for token in self.tokens:
            if token is not None and not token.special:
                ends[token.side] = max(ends.get(token.side, 0), token.end)
        return sum(start >= ends.get(side, 0) for side, text in enumerate(self.given.parts) for start, _ in words(text))

    def ids(self) -> NDArray[np.int64]:
        """(1, ...) of `shape`."""
        return self._of_rows(self.rows, self.lengths).reshape(1, *self.shape)

    def _of_rows(self, rows: Sequence[Encoded], lengths: Sequence[int]) -> NDArray[np.int64]:
        pad = self._pad
        return np.concatenate(
            [
                np.array([t.id for t in row.tokens[:n]] + [pad] * (n - len(row.tokens)), np.int64)
                for row, n in zip(rows, lengths, strict=True)
            ]
        )

    @property
    def _pad(self) -> int:
        assert self.reader is not None
        found = self.reader.stand_in("pad")
        return 0 if found is None else found

    def feeds(self, model: Model) -> dict[str, NDArray[Any]]:
        """What the inputs of the model are fed, (1, ...) each, or as the model has them."""
        return self._fed(model, self.rows, self.lengths)

    def _fed(self, model: Model, rows: Sequence[Encoded], lengths: Sequence[int]) -> dict[str, NDArray[Any]]:
        if self.strings:
            return {self.roles.ids[0]: _strings(model, self.roles.ids[0], [self.given.text])}
        found = {v.name: np.zeros(1, np.bool_) for v in model.inputs if v.name == _CACHE_BRANCH}
        for place in range(len(self.roles.ids)):
            mine = slice(None) if len(self.roles.ids) == 1 else slice(place, place + 1)
            found |= self._fed_one(model, place, rows[mine], lengths[mine])
        return found

    def _fed_one(
        self, model: Model, place: int, rows: Sequence[Encoded], lengths: Sequence[int]
    ) -> dict[str, NDArray[Any]]:
        """One of the inputs of ids, and the mask, segments and positions that go with it."""
        roles = self.roles
        whole = [
            t for row, n in zip(rows, lengths, strict=True) for t in [*row.tokens[:n]] + [None] * (n - len(row.tokens))
        ]
        made: dict[str | None, Any] = {
            roles.ids[place]: self._of_rows(rows, lengths),
            roles.masks[place]: [t is not None for t in whole],
            roles.segments[place]: [0 if t is None else t.segment for t in whole],
            roles.positions[place]: [at for n in lengths for at in range(n)],
        }
        return {
            name: self._shaped(model, name, np.array(values, np.int64))
            for name, values in made.items()
            if name is not None
        }

    def _shaped(self, model: Model, name: str, flat: NDArray[Any]) -> NDArray[Any]:
        value = model.value(name)
        shape = (len(self.rows), -1) if self.chosen else (-1,)
        return flat.reshape((1, *shape) if self.batched else shape).astype(value.dtype or np.dtype(np.int64))

    def filled(self, kind: str) -> NDArray[np.int64]:
        """The ids (1, ...) with all tokens but the special ones replaced: "pad", "mask" or "unk", or "text:..." for
        those of another text, cut or padded to this one's length; a chat's template and what a decoder or a chat says
        are kept. Raises TextError."""
        assert self.reader is not None
        if kind.startswith(TEXT_PREFIX):
            text = kind.removeprefix(TEXT_PREFIX)
            if self.given.chat:
                return self._said_instead(text)
            kept = self.rows[1:] if self.roles.decoder else ()
            rows = [self.reader.encode(text, None, n) for n in self.lengths[: len(self.lengths) - len(kept)]]
            return self._of_rows([*rows, *kept], self.lengths).reshape(1, *self.shape)
        code = self.stand_in(kind)
        found = self.ids()
        found[0][self.text_mask] = code
        return found

    def _said_instead(self, text: str) -> NDArray[np.int64]:
        """The ids (1, ...) with another text in the place of a chat's, every other token as it is."""
        assert self.reader is not None
        row = chat_row(self.reader, text, None, None)
        places = [n for n, token in enumerate(self.tokens) if token is not None and token.side == 0]
        ids = [token.id for token in row.tokens if token.side == 0][: len(places)]
        found = self.ids()
        found[0, places] = [*ids, *[self.stand_in("pad")] * (len(places) - len(ids))]
        return found

    def stand_in(self, kind: str) -> int:
        """The id that "pad", "mask" or "unk" puts in a token's place. Raises TextError."""
        assert self.reader is not None
        return self.reader.replacement(kind)

    @property
    def text_mask(self) -> NDArray[np.bool_]:
        """bool of `shape`: which places hold tokens of the text."""
        return np.array([t is not None and not t.special for t in self.tokens]).reshape(self.shape)

    def without(self, model: Model, keep: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """Feeds (B, ...) with the units cut out of the text where keep (B, units that are read) is False, the text
        read anew, a chat in its template. Rows stay as long as they are."""
        texts = [self._cut(kept) for kept in keep]
        if self.strings:
            return {self.roles.ids[0]: _strings(model, self.roles.ids[0], [parts[0] for parts in texts])}
        made = [self._fed(model, self._encoded(parts), self.lengths) for parts in texts]
        return {name: np.concatenate([feeds[name] for feeds in made]) for name in made[0]}

    def _encoded(self, parts: Sequence[str]) -> list[Encoded]:
        assert self.reader is not None
        length = self.lengths
        if self.roles.decoder:
            return [self.reader.encode(parts[0], None, length[0]), *self.rows[1:]]
        if self.given.chat:
            return [chat_row(self.reader, parts[0], None, length[0])]
        if self.chosen:
            return [self.reader.encode(parts[0], part, n) for part, n in zip(parts[1:], length, strict=True)]
        if len(self.roles.ids) > 1:
            return [self.reader.encode(part, None, n) for part, n in zip(parts, length, strict=True)]
        return [self.reader.encode(parts[0], parts[1] if len(parts) > 1 else None, length[0])]

    def _cut(self, kept: NDArray[np.bool_]) -> tuple[str, ...]:
        """The texts without the units that are not kept."""
        parts = [list(part) for part in self.given.parts]
        for number, keeps in zip(self.seen, kept, strict=True):
            unit = self.units[number]
            if not keeps:
                parts[unit.side][unit.start : unit.end] = [""] * (unit.end - unit.start)
        return tuple(re.sub(r"(\s)\s+", r"\1", "".join(part)).strip() for part in parts)


def read(model: Model, given: Text) -> Reading:
    """A text as a model reads it. Raises TextError: no tokenizer, a vocabulary larger than the model's table, a pair
    for a model that takes one text."""
    roles = roles_of(model)
    if roles is None:
        inputs = ", ".join(map(str, model.inputs))
        raise TextError(f"a text was given and the model takes none: its inputs are {inputs}")
    if any(v.name == _OF_ENCODER for v in model.inputs):
        raise TextError(
            f"the model is a decoder, which reads {_OF_ENCODER!r}: give the folder of both, or the encoder and "
            "decoder= (--decoder)"
        )
    if sum(map(len, given.parts)) > MOST_CHARACTERS:
        raise TextError(f"the text has more than {MOST_CHARACTERS:,} characters: give a part of it")
    if given.chat and (roles.strings or len(roles.ids) > 1):
        raise TextError("the model is none that chats: give the text without chat")
    if roles.strings and len(given.parts) > 1:
        raise TextError("the model takes one text as a string: give it without a pair, choices or a continuation")
    if roles.strings:
        units = tuple(replace(u, tokens=()) for u in units_of(given.parts[:1], [], given.unit, given.spans))
        if given.unit == "token":
            units = units_of(given.parts[:1], [], "word", given.spans)
        return Reading(given, (), units, roles, (1,))
    reader = reader_of(model)
    value = model.value(roles.ids[0])
    chosen = bool(given.choices)
    if chosen != (value.rank == 3):
        raise TextError(
            f"the model takes {'several choices' if value.rank == 3 else 'no choices'} ({value}): give "
            + ("choices=, the answers to choose from" if value.rank == 3 else "a text, or a pair")
        )
    rows, lengths = _rows(model, given, reader, roles)
    _check_ids(model, roles, reader, rows)
    made = Reading(given, rows, (), roles, lengths, reader, chosen, batched=value.rank != 1)
    return replace(made, units=_units(made))


def _rows(model: Model, given: Text, reader: Reader, roles: Roles) -> tuple[tuple[Encoded, ...], tuple[int, ...]]:
    fixed = [fixed_length(model, name) for name in roles.ids]
    most = [n if reader.length is None or n is not None else reader.length for n in fixed]
    if given.choices:
        rows = [reader.encode(given.text, choice, most[0]) for choice in given.choices]
        rows = [_on_sides(row, 0, 1 + place) for place, row in enumerate(rows)]
        length = fixed[0] or max(len(row.tokens) for row in rows)
        return tuple(rows), (length,) * len(rows)
    if roles.decoder:
        if given.pair is not None:
            raise TextError("the model reads a text and says another one: give that as continuation, not as a pair")
        source = reader.encode(given.text, None, most[0])
        row = decoder_row(reader, given.continuation, most[1])
        return (source, row), (fixed[0] or len(source.tokens), fixed[1] or len(row.tokens))
    if len(roles.ids) > 1:
        if len(given.parts) != len(roles.ids):
            raise TextError(f"the model compares {len(roles.ids)} texts ({', '.join(roles.ids)}): give a pair")
        rows = [reader.encode(part, None, n) for part, n in zip(given.parts, most, strict=True)]
        rows = [_on_sides(row, place, place) for place, row in enumerate(rows)]
        return tuple(rows), tuple(n or len(row.tokens) for row, n in zip(rows, fixed, strict=True))
    if given.chat:
        one = chat_row(reader, given.text, given.continuation, most[0])
    elif given.continuation is not None:
        one = _continued(reader.encode(given.text + given.continuation, None, most[0]), len(given.text))
    else:
        one = reader.encode(given.text, given.pair, most[0])
    return (one,), (fixed[0] or len(one.tokens),)


def _continued(row: Encoded, end: int) -> Encoded:
    """The tokens of a prompt of `end` characters and its continuation, as two texts; those at their end that are of no
    text are left out: nothing is said behind them. Raises TextError."""
    tokens = list(row.tokens)
    while tokens and tokens[-1].special:
        tokens.pop()
    sides = [
        replace(t, side=1, start=max(0, t.start - end), end=t.end - end) if not t.special and t.end > end else t
        for t in tokens
    ]
    if row.cut or not any(t.side == 1 for t in sides):
        raise TextError("the prompt leaves no room for the continuation: shorten it")
    if sides[0].side == 1:
        raise TextError("no token stands before the continuation, so that nothing says it: give the prompt more text")
    return replace(row, tokens=tuple(sides))


def _on_sides(row: Encoded, first: int, second: int) -> Encoded:
    sides = {0: first, 1: second}
    return replace(row, tokens=tuple(replace(t, side=sides.get(t.side, t.side)) for t in row.tokens))


def fixed_length(model: Model, name: str) -> int | None:
    """How many tokens the input takes, None where any number."""
    shape = model.value(name).shape
    return shape[-1] if shape and isinstance(shape[-1], int) else None


def with_units(made: Reading) -> Reading:
    """The same with the words of its tokens."""
    return replace(made, units=_units(made))


def _units(made: Reading) -> tuple[Unit, ...]:
    """The units with the numbers of their tokens over all rows, each place of a text once."""
    given, found = made.given, dict[tuple[int, int, int], Unit]()
    starts = np.cumsum([0, *made.lengths])
    for start, row in zip(starts, made.rows, strict=False):
        sides = {0, *(t.side for t in row.tokens)} if made.chosen else set(range(len(given.parts)))
        mine = sides if len(made.rows) < 2 or made.chosen else {t.side for t in row.tokens if not t.special}
        for unit in units_of(given.parts, row.tokens, given.unit, given.spans):
            key = (unit.side, unit.start, unit.end)
            if unit.side not in mine:
                continue
            moved = tuple(int(start) + n for n in unit.tokens)
            if given.unit == "token":
                key = (unit.side, unit.start, -moved[0])
            before = found[key].tokens if key in found else ()
            found[key] = replace(unit, tokens=(*before, *moved))
    if not any(unit.tokens for unit in found.values()):
        if given.spans:
            raise TextError("the spans cover no token that the model reads: give others")
        raise TextError("the tokenizer makes no token of the text: there is no word to explain the answer by")
    return tuple(sorted(found.values(), key=lambda u: (u.side, u.start, u.tokens)))


def _check_ids(model: Model, roles: Roles, reader: Reader, rows: Sequence[Encoded]) -> None:
    """Raises TextError for ids beyond the table."""
    table = table_of(model, roles.ids[0])
    count = table[0] if table else None
    if not isinstance(count, int):
        return
    beyond = next((t for row in rows for t in row.tokens if t.id >= count), None)
    if beyond is not None:
        raise TextError(
            f"the tokenizer {reader.where} has {reader.size:,} ids and the model's table {count:,} rows "
            f"({beyond.piece!r} is {beyond.id}): they do not belong together, name the model's own with tokenizer= "
            "(--tokenizer)"
        )


def _strings(model: Model, name: str, texts: Sequence[str]) -> NDArray[Any]:
    rank = model.value(name).rank
    array = np.array(list(texts), object)
    return array.reshape(-1, 1) if rank == 2 else array


def notes_of(reading: Reading) -> tuple[str, ...]:
    """What to say of how a text was read."""
    found = []
    if reading.cut:
        count = reading.unread
        plural = "s at the end were" if count != 1 else " at the end was"
        rest = f"{count} word{plural} not read" if count else "its last word was cut"
        read_of = sum(map(len, (row.tokens for row in reading.rows)))
        found.append(f"the text is longer than the {read_of} tokens that the model reads: {rest}")
    if reading.short:
        count = len(reading.output)
        found.append(
            f"{count} tokens were generated of {count + reading.short}: the model reads no more than "
            f"{len(reading.rows[-1].tokens)}"
        )
    reader = reading.reader
    if reader is not None and reading.roles.decoder and "begin" not in reader.named:
        found.append(
            f"nothing says which token the decoder begins with: the padding token, {begin_of(reader).id}, is taken; "
            "write decoder_start_token_id into config.json"
        )
    if reader is not None and reader.stand_in("pad") is None and not isinstance(reader, Simple):
        name = "unk" if reader.stand_in("unk") is not None else "end" if reader.stand_in("end") is not None else "0"
        found.append(f"the tokenizer has no padding token: {name!r} stands in for it")
    return tuple(found)


def made_for(reading: Reading) -> Mapping[str, str]:
    """The inputs that were made without being given, and what they hold."""
    return {} if reading.strings else reading.roles.made
