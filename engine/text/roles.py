"""Which inputs of a model take the tokens of a text, and which masks, positions and segments of these."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..caches import of_model
from ..graph.model import Model
from ..inspect.embedding import table_name, table_of
from ..inspect.input_sets import decoder_ids, input_set
from ..inspect.recurrent_state import state_inputs
from ..proto.values import Value

# Parts of the names of inputs, as exporters write them.
_MASK, _SEGMENTS, _POSITIONS = ("mask",), ("type", "segment"), ("position",)
_IDS = ("input_ids", "ids", "token", "word")
_TEXT_OPERATORS = {("", "StringNormalizer"), ("", "TfIdfVectorizer"), ("com.microsoft", "Tokenizer")}
# Parts that say what an input holds, not which text it is about.
_ABOUT = frozenset(
    "input inputs ids id attention mask token tokens type segment segments position positions word".split()
)


@dataclass(frozen=True)
class Roles:
    """ids: the inputs of token ids, two where a model takes the texts of a pair one by one. masks, segments,
    positions: what goes with each of them, None where the model has none. strings: whether `ids` takes the text itself.
    decoder: whether the second of `ids` takes what was said so far, of an encoder and a decoder."""

    ids: tuple[str, ...]
    masks: tuple[str | None, ...] = (None,)
    segments: tuple[str | None, ...] = (None,)
    positions: tuple[str | None, ...] = (None,)
    strings: bool = False
    decoder: bool = False
    reason: str = ""

    @property
    def made(self) -> dict[str, str]:
        """The inputs that are made without being given -> what they hold."""
        whats = ("1 for every token", "which text of a pair", "0, 1, 2, ...")
        kinds = zip((self.masks, self.segments, self.positions), whats, strict=True)
        return {name: what for names, what in kinds for name in names if name is not None}


@of_model
def roles_of(model: Model) -> Roles | None:
    """The roles of the inputs of a model of texts; None for another model."""
    said = model.overrides.get("kind")
    if said not in (None, "text"):
        return None
    strings = _string_input(model)
    if strings is not None:
        return Roles((strings,), strings=True, reason="it takes strings, which the model cuts into words itself")
    states = state_inputs(model)
    whole = [v for v in model.inputs if v.dtype is not None and v.dtype.kind in "iufb" and v.name not in states]
    by_name = {v.name: _by_name(v) for v in whole}
    named = model.overrides.get("input")
    tables = {v.name: _rows(model, v) for v in whole if v.dtype is not None and v.dtype.kind in "iu"}
    candidates = [n for n in tables if by_name[n] in ("ids", "") and (tables[n] or said == "text")]
    if named in tables:
        candidates = [str(named)]
    if not candidates:
        return None
    pair = input_set(model) if named is None else None
    if pair is not None and set(pair.names) <= set(candidates):
        ids = pair.names
    else:
        ids = (max(candidates, key=lambda n: (by_name[n] == "ids", tables[n])),)
    reason = "its numbers choose rows of a table" if tables[ids[0]] else "the card says so"
    masks, segments, positions = (
        _beside(ids, [n for n, found in by_name.items() if found == role and n not in ids])
        for role in ("mask", "segments", "positions")
    )
    return Roles(ids, masks, segments, positions, decoder=decoder_ids(ids) is not None, reason=reason)


def _beside(ids: Sequence[str], names: Sequence[str]) -> tuple[str | None, ...]:
    """Which of the inputs `names` goes with each of `ids`: the one about the same text by its name, else by order."""
    if len(ids) == 1:
        same = [name for name in names if _text_of(name) == _text_of(ids[0])]
        return (next(iter((*same, *names)), None),)
    found = {one: name for one in ids for name in reversed(names) if _text_of(name) == _text_of(one)}
    if not found and len(names) == len(ids):
        return tuple(names)
    return tuple(found.get(one) for one in ids)


def _text_of(name: str) -> tuple[str, ...]:
    """The parts of the name of an input that say which text it is about."""
    return tuple(part for part in re.findall(r"[a-z]+|\d+", name.lower()) if part not in _ABOUT)


def _by_name(value: Value) -> str:
    low = value.name.lower()
    for role, parts in (("mask", _MASK), ("segments", _SEGMENTS), ("positions", _POSITIONS)):
        if any(part in low for part in parts):
            return role
    return "ids" if any(part in low for part in _IDS) else ""


def _rows(model: Model, value: Value) -> int:
    """Rows of the table that an input chooses from; 0 where it chooses none, 1 where their number is not known."""
    if value.rank not in (1, 2, 3) or table_name(model, value.name) is None:
        return 0
    table = table_of(model, value.name)
    rows = table[0] if table else None
    return rows if isinstance(rows, int) else 1


def _string_input(model: Model) -> str | None:
    """The input of a pipeline that takes whole texts: its only one, of strings, read by what cuts texts."""
    if len(model.inputs) != 1 or model.inputs[0].dtype is None or model.inputs[0].dtype.kind != "O":
        return None
    known = {(domain, op) for domain, op in model.operators}
    return model.inputs[0].name if known & _TEXT_OPERATORS else None
