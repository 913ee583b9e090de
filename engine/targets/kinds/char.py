"""A character of the text that a recogniser reads: it is explained by its score at the steps at which it wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...autodiff.before_activation import before_activation
from ...errors import TargetError
from ...graph.model import Model
from ...proto.writer import Writer
from ..appended import appended
from ..reading import Read, best_path, blank_of, names_of, samples_first, step_outputs
from ..registry import form, is_number, kind
from ..resolved import FixedTarget, Place, Resolved
from ..target import Target

_STEPS = "onnxray/steps"


@kind
@dataclass(frozen=True)
class Char(Target):
    """The `place`-th character of the text that a recogniser reads, counted from 1; None stands for all of them.

    character, text: what it is and the whole text, once these are known.
    """

    place: int | None = None
    character: str = field(default="", compare=False)
    text: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.place is not None and self.place < 1:
            raise TargetError(f"there is no character {self.place}: the first one is 1")

    def __str__(self) -> str:
        return f"char:{'all' if self.place is None else self.place}"

    @property
    def title(self) -> str:
        return f"{self.character!r} ({self.place}) of {self.text!r}" if self.character else str(self)

    @property
    def of_answer(self) -> bool:
        return True

    @property
    def is_several(self) -> bool:
        return self.place is None

    def resolve(self, place: Place) -> Resolved:
        model, value, reason = _steps(place.model)
        if place.run is None:
            return FixedTarget(model, value, self, _nothing, False, None, reason, count=2 if self.is_several else 1)
        scores = place.run(model, [value])[value]
        blank = blank_of(place.model, place.labels, scores.shape[2])
        names = names_of(place.model, place.labels, scores.shape[2], blank)
        rows = [self._chosen(best_path(sample, blank), names, blank) for sample in scores]
        if len({len(row) for row in rows}) > 1:
            raise TargetError(
                f"the images have {', '.join(str(len(row)) for row in rows)} characters: explain one at a time"
            )

        def pick(y: NDArray[Any]) -> NDArray[np.float32]:
            weights = np.zeros((len(rows), len(rows[0]), *y.shape[1:]), np.float32)
            for sample, row in zip(weights, rows, strict=True):
                for out, (read, _) in zip(sample, row, strict=True):
                    out[read.start : read.end, read.code] = 1 / (read.end - read.start)
            return weights

        def found(y: NDArray[Any]) -> list[Target]:
            return [target for row in rows for _, target in row]

        reason += f"; class {blank} is the blank"
        return FixedTarget(model, value, self, pick, False, found, reason, count=len(rows[0]))

    def _chosen(self, path: list[Read], names: Sequence[str], blank: int) -> list[tuple[Read, Target]]:
        """What is explained of a text. Raises TargetError where it has no such character."""
        text = "".join(names[read.code] for read in path)
        if not path:
            raise TargetError("the model reads no character in the image: there is none to explain")
        if self.place is not None and self.place > len(path):
            raise TargetError(f"there is no character {self.place}: the model reads {text!r}, {len(path)} characters")
        numbers = range(1, len(path) + 1) if self.place is None else [self.place]
        return [(path[k - 1], replace(self, place=k, character=names[path[k - 1].code], text=text)) for k in numbers]


def _nothing(y: NDArray[Any]) -> NDArray[np.float32]:
    raise TargetError("characters are those of the text in an image, and there is none here: explain an image")


def _steps(model: Model) -> tuple[Model, str, str]:
    """A model, its value (N, T, C) of scores before a softmax, and why this one. Raises TargetError."""
    found = step_outputs(model)
    if not found:
        raise TargetError(
            f"no output scores characters step by step, (N, T, C): {'; '.join(map(str, model.outputs))}; char is for "
            "recognisers of text"
        )
    name = found[0]
    reason = f"{name!r} scores characters step by step"
    batched = samples_first(model, name)
    try:
        model, value = before_activation(model, name, name)
    except TargetError:
        value = name
    if batched:
        return model, value, reason
    writer = Writer(model.values)
    writer.node("Transpose", [value], [_STEPS], perm=[1, 0, 2])
    return appended(model, writer, _STEPS), _STEPS, f"{reason}, steps first"


@form(
    "char",
    "char:K or char:all",
    "the K-th character of the text that a recogniser (CTC) reads; `all` is a map for each",
)
def _char(text: str) -> Target:
    if text != "all" and not is_number(text):
        raise ValueError(text)
    return Char(None if text == "all" else int(text))
