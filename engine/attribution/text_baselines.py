"""What stands for nothing in a text: its tokens replaced, by ids or by the embeddings of these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MethodError
from ..inspect.embedding import table_name
from ..text.reading import Reading

if TYPE_CHECKING:
    from .problem import Problem


def text_stand_in(problem: Problem, kind: str) -> NDArray[Any]:
    """The input (1, ...) with every token of the text replaced as `kind` says, special tokens kept.

    Raises MethodError where the input is no text of tokens, TextError.
    """
    given = problem.input
    if given.reading is None or given.reading.strings:
        raise MethodError(
            f"the baseline {kind!r} replaces tokens of a text, and the input is none: use 'zero', a number or an array"
        )
    ids = given.reading.filled(kind)
    if given.of_ids is not None:
        return given.of_ids(ids)
    return ids.reshape(given.x.shape).astype(given.x.dtype)


def mean_of_table(problem: Problem) -> NDArray[Any]:
    """The embeddings (1, ...) with those of the text's tokens replaced by the mean row of the table.

    Raises MethodError where ids are explained, which have no mean, or the rows have another width.
    """
    given = problem.input
    assert given.reading is not None
    name = table_name(problem.source, given.reading.roles.ids[0]) if given.at else None
    table = None if name is None else problem.source.constant(name)
    if table is None or table.shape[-1:] != given.x.shape[-1:]:
        raise MethodError("the mean of a text is that of the embeddings, and ids have none: use 'pad', 'mask' or 'unk'")
    mask = given.reading.text_mask.reshape(given.x.shape[:-1])
    return np.where(mask[..., None], table.mean(axis=0, dtype=np.float64), given.x).astype(given.x.dtype)


def unit_labels(reading: Reading) -> NDArray[np.int32]:
    """int32 of the shape of a sample: the number of the unit among those that are read, -1 elsewhere."""
    if reading.strings:
        return np.arange(len(reading.seen), dtype=np.int32)
    place = np.full(len(reading.units) + 1, -1, np.int32)
    place[list(reading.seen)] = np.arange(len(reading.seen))
    return place[reading.labels]
