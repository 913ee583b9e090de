"""A character of the text that a recogniser reads: connectionist temporal classification.

A. Graves, S. Fernández, F. Gomez and J. Schmidhuber, "Connectionist Temporal Classification: Labelling Unsegmented
Sequence Data with Recurrent Neural Networks", ICML 2006. A model of this kind scores every character and a blank at
every step along the line, (N, T, C) or (T, N, C). The text is that of the best path: the greatest score of each step,
repetitions taken once, blanks left out. A character is explained by its score at the steps at which it wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...autodiff.before_activation import before_activation
from ...errors import TargetError
from ...graph.model import Model
from ...inspect.batch_axis import value_has_batch
from ...inspect.signature import image_input
from ...preprocess.find import find_hints
from ...proto.writer import Writer
from ..appended import appended
from ..registry import form, is_number, kind
from ..resolved import FixedTarget, Place, Resolved
from ..target import Target

_STEPS = "onnxray/steps"
# Where PaddleOCR's exports keep the characters, one a line.
_METADATA = "character"


@dataclass(frozen=True)
class Read:
    """A character of the best path: its class, and its steps, first and one behind the last."""

    code: int
    start: int
    end: int


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
        blank = _blank(scores)
        names = _names(place, scores.shape[2])
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


def best_path(scores: NDArray[np.floating], blank: int) -> list[Read]:
    """The characters of one sample's scores (T, C): the greatest of each step, repetitions once, without blanks."""
    best = np.asarray(scores.argmax(axis=1))
    edges = np.flatnonzero(np.diff(best)) + 1
    starts, ends = np.concatenate([[0], edges]), np.concatenate([edges, [len(best)]])
    runs = (Read(int(best[a]), int(a), int(b)) for a, b in zip(starts, ends, strict=True) if b > a)
    return [run for run in runs if run.code != blank]


def _steps(model: Model) -> tuple[Model, str, str]:
    """A model, its value (N, T, C) of scores before a softmax, and why this one. Raises TargetError."""
    hint = find_hints(model).output
    found = [v for v in model.outputs if v.rank == 3 and v.dtype is not None and v.dtype.kind == "f"]
    found = [v for v in found if hint is None or v.name == hint]
    if not found:
        raise TargetError(
            f"no output scores characters step by step, (N, T, C): {'; '.join(map(str, model.outputs))}; char is for "
            "recognisers of text"
        )
    name = found[0].name
    reason = f"{name!r} scores characters step by step"
    batched = _samples_first(model, name)
    try:
        model, value = before_activation(model, name, name)
    except TargetError:
        value = name
    if batched:
        return model, value, reason
    writer = Writer(model.values)
    writer.node("Transpose", [value], [_STEPS], perm=[1, 0, 2])
    return appended(model, writer, _STEPS), _STEPS, f"{reason}, steps first"


def _samples_first(model: Model, name: str) -> bool:
    """Whether scores are (N, T, C) rather than (T, N, C), as recurrent networks make them."""
    image = image_input(model).name
    shape, given = model.value(name).shape, model.value(image).shape
    if shape is not None and given and shape[1] == given[0] != shape[0]:
        return False
    return value_has_batch(model, name, image)


def _blank(scores: NDArray[np.floating]) -> int:
    """The class that stands for no character: the first, or the last where it wins at more steps."""
    best, last = scores.argmax(axis=2), scores.shape[2] - 1
    return last if int((best == last).sum()) > int((best == 0).sum()) else 0


def _names(place: Place, count: int) -> Sequence[str]:
    """What each class reads as: labels, or those in the file; with a blank before them and a space behind them."""
    labels: Sequence[str] = place.labels or tuple(place.model.metadata.get(_METADATA, "").rstrip("\n").split("\n"))
    if len(labels) == count:
        return labels
    if len(labels) in (count - 1, count - 2) and len(labels) > 1:
        return ["", *labels, " "][:count]
    return [f"[{code}]" for code in range(count)]


@form(
    "char",
    "char:K or char:all",
    "the K-th character of the text that a recogniser (CTC) reads; `all` is a map for each",
)
def _char(text: str) -> Target:
    if text != "all" and not is_number(text):
        raise ValueError(text)
    return Char(None if text == "all" else int(text))
