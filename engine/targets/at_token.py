"""What targets at the tokens of a text have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import TargetError
from .resolved import Place
from .target import Target
from .token_scores import next_tokens

if TYPE_CHECKING:
    from ..text.reading import Reading

_NO_TEXT = "the target is at a word or token of a text, and none is given: explain a text"


class AtToken(Target):
    """A target at a token of a text. `shown` says for people which one it is, once it is found."""

    shown: str

    @property
    def title(self) -> str:
        return self.shown or str(self)

    @property
    def of_answer(self) -> bool:
        return True

    @property
    def at_token(self) -> bool:
        return True


def reading_in(place: Place) -> Reading:
    """The text. Raises TargetError where none is given."""
    if place.reading is None:
        raise TargetError(_NO_TEXT)
    return place.reading


def scores_of_next(place: Place) -> str | None:
    """The value that scores the next token; None for models that are none of language."""
    return next_tokens(place.model) if place.reading is None else place.reading.says


def nothing(y: NDArray[Any]) -> NDArray[np.float32]:
    """The cotangent of a target before a text is given: raises TargetError."""
    raise TargetError(_NO_TEXT)
