"""The number that a model answers with: of a regression, an anomaly score, a step of a forecast."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...errors import TargetError, UnknownName
from ..classes import class_index, the_number
from ..registry import form, is_number, kind
from ..resolved import FixedTarget, Place, Resolved
from ..target import Target
from .element import Element


@kind
@dataclass(frozen=True)
class Value(Target):
    """A number of an output.

    index: where it stands among several, an entry for each axis that has more than one place, or its label. output:
    which output; None for the one that answers.
    """

    index: tuple[int | str, ...] = ()
    output: str | None = None

    @property
    def of_answer(self) -> bool:
        return self.output is None

    @property
    def title(self) -> str:
        of = "" if self.output is None else f" of {self.output}"
        return "value" + (f" {', '.join(map(str, self.index))}" if self.index else "") + of

    def __str__(self) -> str:
        parts = ["value", self.output or "", ",".join(map(str, self.index))]
        return ":".join(part for part in parts if part)

    def resolve(self, place: Place) -> Resolved:
        target = self._named(place)
        name, axis, count = target._where(place)
        found = Element(name, target._places(place, name, axis, count)).resolve(place)
        assert isinstance(found, FixedTarget)
        return replace(found, target=target)

    def value_in(self, place: Place) -> str:
        return self._named(place)._where(place)[0]

    def on(self, value: str) -> Target:
        return replace(self, output=value)

    def _named(self, place: Place) -> Value:
        """What is called by one word is an output or, where there is none of that name, a label."""
        if self.output is None or self.index or self.output in place.model.values:
            return self
        if place.labels:
            return replace(self, index=(self.output,), output=None)
        raise UnknownName("output", self.output, [v.name for v in place.model.outputs])

    def _where(self, place: Place) -> tuple[str, int | None, int | None]:
        """The value that holds the numbers, their axis and how many there are, where that is known."""
        if self.output is not None:
            return place.model.value(self.output).name, None, None
        answer = the_number(place.model)
        if answer is None and self.index and len(place.model.outputs) == 1:  # a step of a forecast
            return place.model.outputs[0].name, None, None
        if answer is None:
            raise TargetError(
                "no output holds one number per sample: name one with value:OUTPUT, or say answer='number' where the "
                "output of the model is read as something else"
            )
        return answer.value, answer.axis, answer.columns

    def _places(self, place: Place, name: str, axis: int | None, count: int | None) -> tuple[int, ...]:
        """The index for every axis after the batch."""
        shape = place.model.value(name).shape
        sizes = list(shape[1:]) if shape else []
        if axis is not None and shape is None:
            sizes = [*(1,) * (axis - 1), count] if axis else []
        wide = [axis for axis, size in enumerate(sizes) if size != 1]
        index = [i if isinstance(i, int) else class_index(i, place.labels, count) for i in self.index]
        if len(index) == len(sizes):
            return tuple(index)
        if not index and axis is not None and count == 1:
            return (0,) * len(sizes)
        if len(index) != len(wide):
            listed = ", ".join("?" if size is None else str(size) for size in sizes)
            raise TargetError(
                f"the value {name!r} holds several numbers per sample ([{listed}]), {self} is not one of them: write "
                f"value:{'INDEX' + ',INDEX' * (len(wide) - 1)}, counted from 0"
            )
        places = [0] * len(sizes)
        for where, chosen in zip(wide, index, strict=True):
            places[where] = chosen
        return tuple(places)


@form(
    "value",
    "value, value:INDEX, value:OUTPUT or value:OUTPUT:INDEX, with `,` between indices of several axes",
    "the number that a model answers with: a regression, an anomaly score, a step of a forecast; the default of models "
    "that answer with one",
    bare=True,
)
def _value(text: str) -> Target:
    head, _, tail = text.rpartition(":")
    numbers = [part.strip() for part in tail.split(",")] if tail else []
    if all(is_number(part) for part in numbers):
        return Value(tuple(int(part) for part in numbers), head or None)
    return Value((), text)
