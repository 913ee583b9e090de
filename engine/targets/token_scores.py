"""Which outputs of a model of texts have scores for every token."""

from __future__ import annotations

from ..caches import of_model
from ..graph.model import Model
from ..inspect.embedding import table_of
from ..preprocess.find import find_hints
from ..proto.values import Value
from ..text.roles import roles_of


@of_model
def token_scores(model: Model) -> tuple[Model, str, str] | None:
    """A model, its value (N, T, C) of scores of classes for every token, and why this one; None for another model."""
    roles = roles_of(model)
    if roles is None or roles.strings or model.value(roles.ids[0]).rank == 3 or marks_answers(model) is not None:
        return None
    hint = find_hints(model).output
    found = [v for v in model.outputs if v.rank == 3 and _is_float(v) and hint in (None, v.name)]
    if not found:
        return None
    named = [v for v in found if "logit" in v.name.lower()] or found
    return model, named[0].name, f"{named[0].name!r} scores the classes of every token"


def next_tokens(model: Model) -> str | None:
    """The output (N, T, V) that scores the next token after every one; None where the model is none of language: V is
    the number of rows of its table, or larger than that of any set of labels."""
    found = token_scores(model)
    roles = roles_of(model)
    if found is None or roles is None:
        return None
    table, shape = table_of(model, roles.ids[0]), model.value(found[1]).shape
    if table is None or shape is None or not isinstance(table[0], int):
        return None
    return found[1] if shape[2] == table[0] or (isinstance(shape[2], int) and shape[2] >= 1000) else None


def marks_answers(model: Model) -> tuple[tuple[str, int | None], tuple[str, int | None]] | None:
    """Where the start and the end of an answer are scored: output and channel, None where it has none."""
    pairs = [v for v in model.outputs if v.rank == 2 and _is_float(v)]
    starts = [v.name for v in pairs if "start" in v.name.lower()]
    ends = [v.name for v in pairs if "end" in v.name.lower()]
    if starts and ends:
        return (starts[0], None), (ends[0], None)
    whole = [v for v in model.outputs if v.rank == 3 and _is_float(v) and v.shape is not None and v.shape[2] == 2]
    marked = [v for v in whole if any(word in v.name.lower() for word in ("span", "start", "answer"))]
    return ((marked[0].name, 0), (marked[0].name, 1)) if marked else None


def _is_float(value: Value) -> bool:
    return value.dtype is not None and value.dtype.kind == "f"
