"""Classes by index, label or rank, several of them, and contrasts between two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ...errors import TargetError
from ..at_token import scores_of_next
from ..boxes import answers_with_boxes
from ..classes import class_index, class_scores, dense_answer, the_number
from ..dense import is_dense
from ..reading import recognised_output
from ..registry import form, kind, parse
from ..resolved import FixedTarget, Place, Resolved
from ..target import Target
from ..token_scores import marks_answers, token_scores
from .at_word import AnswerEdge, AtWord
from .box import Box, Boxes
from .char import Char
from .region import Region
from .token import SaidToken
from .value import Value


@kind
@dataclass(frozen=True)
class Predicted(Target):
    """The most probable class, or the one of the given rank."""

    rank: int = 1

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise TargetError(f"rank {self.rank} names no class: the most probable one has rank 1")

    @property
    def of_classes(self) -> bool:
        return True

    def __str__(self) -> str:
        return "predicted" if self.rank == 1 else f"rank:{self.rank}"

    def terms(self, place: Place, count: int | None) -> list[list[tuple[int, float]]]:
        if count is not None and self.rank > count:
            raise TargetError(f"the model has {count} classes: there is none of rank {self.rank}")
        return [[(-self.rank, 1.0)]]

    def resolve(self, place: Place) -> Resolved:
        if self.rank == 1 and (of_words := about_words(place, "predicted")) is not None:
            return of_words.resolve(place)
        number = the_number(place.model)
        if number is not None:
            if self.rank > 1:
                raise TargetError(
                    f"the output {number.output!r} holds numbers, which have no ranks: explain value:INDEX"
                )
            return Value().resolve(place)
        if self.rank == 1 and recognised_output(place.model) is not None:
            read = Char().resolve(place)
            assert isinstance(read, FixedTarget)
            return replace(read, reason=f"all characters, as the model reads a text; {read.reason}")
        dense = self.rank == 1 and dense_answer(place.model) is not None and is_dense(place.model)
        if dense and not answers_with_boxes(place.model):
            return Region("predicted").resolve(place)
        if self.rank == 1 and answers_with_boxes(place.model):
            # A graph chooses one box: the most certain one.
            found = Box().resolve(place) if place.run is None else Boxes(3).resolve(place)
            assert isinstance(found, FixedTarget)
            return replace(found, reason=f"the three most certain boxes, as the model is a detector; {found.reason}")
        return class_scores(place, "model", self)


@kind
@dataclass(frozen=True)
class Class(Target):
    """A class by index or label. `label` is filled in where it is known."""

    which: int | str
    label: str | None = field(default=None, compare=False)

    @property
    def of_classes(self) -> bool:
        return True

    def __str__(self) -> str:
        if isinstance(self.which, int):
            return str(self.which)
        plain = Target.parse(self.which) == self
        return self.which if plain else f"class:{self.which}"

    @property
    def class_index(self) -> int | None:
        return self.which if isinstance(self.which, int) else None

    @property
    def title(self) -> str:
        """The label, and the index where that is not the label itself (digits)."""
        return f"{self.label} ({self.which})" if self.label and self.label != str(self.which) else f"class {self.which}"

    def terms(self, place: Place, count: int | None) -> list[list[tuple[int, float]]]:
        return [[(class_index(self.which, place.labels, count), 1.0)]]

    def resolve(self, place: Place) -> Resolved:
        if (of_words := about_words(place, self.which)) is not None:
            return of_words.resolve(place)
        number = the_number(place.model)
        if number is not None:
            return Value((self.which,)).resolve(place)
        return class_scores(place, "model", self)


@kind
@dataclass(frozen=True)
class Several(Target):
    """Several targets made of classes, explained at once."""

    parts: tuple[Target, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise TargetError("the list of targets is empty: give at least one class")
        for part in self.parts:
            if not isinstance(part, Class | Predicted | Contrast):
                raise TargetError(f"the target {part} cannot be one of several: give classes, ranks and contrasts")

    @property
    def of_classes(self) -> bool:
        return True

    @property
    def is_several(self) -> bool:
        return True

    def __str__(self) -> str:
        if self.parts == tuple(Predicted(r) for r in range(1, len(self.parts) + 1)):
            return f"top:{len(self.parts)}"
        return "classes:" + _join(self.parts)

    def terms(self, place: Place, count: int | None) -> list[list[tuple[int, float]]]:
        return [terms for part in self.parts for terms in part.terms(place, count)]

    def resolve(self, place: Place) -> Resolved:
        return class_scores(place, "model", self)


@kind
@dataclass(frozen=True)
class Contrast(Target):
    """The score of class `a` minus that of class `b`."""

    a: Target
    b: Target

    def __post_init__(self) -> None:
        for part in (self.a, self.b):
            if not isinstance(part, Class | Predicted):
                raise TargetError(
                    f"a contrast is between two classes, {part} is none: give an index, a label or 'predicted'"
                )

    @property
    def of_classes(self) -> bool:
        return True

    def __str__(self) -> str:
        return "contrast:" + _join((self.a, self.b))

    @property
    def title(self) -> str:
        return f"{self.a.title} against {self.b.title}"

    def terms(self, place: Place, count: int | None) -> list[list[tuple[int, float]]]:
        ((a, _),) = self.a.terms(place, count)[0]
        ((b, _),) = self.b.terms(place, count)[0]
        if a == b:
            raise TargetError(f"the contrast {self} is of a class with itself: give two classes")
        return [[(a, 1.0), (b, -1.0)]]

    def resolve(self, place: Place) -> Resolved:
        return class_scores(place, "model", self)


def about_words(place: Place, which: int | str) -> Target | None:
    """The target for a text whose every word has classes: the class where it is most certain; of a model that marks an
    answer, its start. None for other models."""
    if place.reading is None or place.reading.strings:
        return None
    if marks_answers(place.model) is not None:
        return AnswerEdge("start") if which == "predicted" else None
    if which == "predicted" and scores_of_next(place) is not None:
        return SaidToken()
    return None if token_scores(place.model) is None else AtWord(which)


def _join(parts: Sequence[Target]) -> str:
    texts = [str(part) for part in parts]
    return (";" if any("," in t for t in texts) else ",").join(texts)


def _listed(text: str) -> list[Target]:
    return [parse(part) for part in text.split(";" if ";" in text else ",")]


@form("predicted", "predicted", "the most probable class: the default of models with classes", bare=True)
def _predicted(text: str) -> Target:
    if text:
        raise ValueError(text)
    return Predicted()


@form("rank", "rank:NUMBER", "the class of that rank; rank:2 comes after the most probable one")
def _rank(text: str) -> Target:
    return Predicted(int(text))


@form("top", "top:NUMBER", "the most probable classes, a map for each")
def _top(text: str) -> Target:
    return Target.top(int(text))


@form("class", "class:LABEL", "a class by a label that reads like another form")
def _class(text: str) -> Target:
    return Class(text)


@form("classes", "classes:A,B,...", "several classes, a map for each; `;` between them where a label holds a comma")
def _classes(text: str) -> Target:
    return Several(tuple(_listed(text)))


@form("contrast", "contrast:A,B", "the score of class A minus that of class B: why A rather than B")
def _contrast(text: str) -> Target:
    a, b = _listed(text)
    return Contrast(a, b)
