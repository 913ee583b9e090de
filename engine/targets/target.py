"""Which scalar of a network is explained.

    Target.predicted()             the most probable class; `rank=2` the one after it
    Target.class_(5), "tabby"      a class by its index or its label
    Target.several([...])          several classes at once, as one batch; Target.top(3) the three most probable ones
    Target.contrast("cat", "dog")  score of A minus score of B
    Target.probability("cat")      the probability instead of the logit; Target.logit(5) the score before a softmax
    Target.unit("conv3", 7)        a channel of a layer, its mean; `at=(y, x)` one unit; "strongest" finds either
    Target.element("boxes", (9,))  one number of any value; "max" along an axis takes the greatest, "mean" the mean
    Target.region("cat", box=...)  a class of a dense output: its mean over a box, over a mask, or where it wins
    Target.cotangent("v", array)   the sum of a value's elements times the array

Every score is linear in the value `of` that the target is resolved to: score(y) = sum(y * cotangent). Choices that
depend on the network's answer (the predicted class, the strongest unit) are made once, on the clean input.

As text, on the command line (`Target.parse`):

    predicted   rank:2   top:3   5   tabby   class:LABEL   classes:5,tabby   contrast:5,7   prob:5   logit:predicted
    unit:LAYER:CHANNEL   unit:LAYER:CHANNEL,Y,X   unit:LAYER:strongest,strongest
    element:VALUE:9,1    element:VALUE:max,1      cotangent:VALUE:FILE.npy
    region:CLASS         region:CLASS:Y0,X0,Y1,X1

`classes` and `contrast` take `;` between the classes where a label holds a comma. Boxes are in pixels of the original
image. The reader of these texts is `syntax.py`.

Longer than 450 lines: `Target` makes all its forms (`Target.unit(...)`), so they stand in its file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import TargetError
from ..inspect.answer import Answer
from .classes import class_index, label_of
from .classes import class_scores as _class_scores
from .classes import the_number as _the_number
from .dense import dense_output as _dense_output
from .dense import region_cells as _region_cells
from .resolved import FixedTarget, Place, Resolved
from .units import element_places as _element_places
from .units import unit_axes as _unit_axes

Which: TypeAlias = "int | str | Target | None"
STRONGEST = "strongest"
# Of one explanation: each is a map.
MOST_TARGETS = 100_000


@dataclass(frozen=True)
class Target:
    """Base of all forms; see the head of this file. `str()` gives the text that `Target.parse` reads."""

    def resolve(self, place: Place) -> Resolved:
        """The value, and the cotangent on it, that are this target in a model. Raises TargetError, UnknownName."""
        raise TypeError(f"{type(self).__name__} cannot be resolved")

    def terms(self, place: Place, count: int | None) -> list[list[tuple[int, float]]]:
        """For targets made of classes: per target, (class index, or -r for the r-th most probable; weight)."""
        raise TargetError(f"the target {self} is no class: give classes here, by index or label")

    @property
    def class_index(self) -> int | None:
        """The index of the class, None where it is no single class, or one that is not looked up yet."""
        return None

    @property
    def of_classes(self) -> bool:
        """Whether it is made of class scores."""
        return isinstance(self, Predicted | Class | Several | Contrast | Scale)

    @staticmethod
    def of(target: Which | Sequence[Any]) -> Target:
        """None, an int, a text, a Target or a list of them as a Target. Raises TargetError."""
        if target is None:
            return Predicted()
        if isinstance(target, Target):
            return target
        if isinstance(target, str):
            return Target.parse(target)
        if isinstance(target, int | np.integer) and not isinstance(target, bool):
            return Class(int(target))
        if isinstance(target, Sequence | np.ndarray) and len(target):
            return Several(tuple(Target.of(t) for t in target))
        raise TargetError(
            f"a target is None (the predicted class), a class index, a label, a list or a Target, not {target!r}"
        )

    @staticmethod
    def parse(text: str) -> Target:
        """A target from its text; what is no other form is a label. Raises TargetError."""
        from .syntax import parse

        return parse(text)

    @staticmethod
    def predicted(rank: int = 1) -> Target:
        return Predicted(rank)

    @staticmethod
    def top(k: int) -> Target:
        if k < 1:
            raise TargetError(f"top:{k} names no class: ask for at least one")
        if k > MOST_TARGETS:
            raise TargetError(f"{k} classes at once are too many: ask for at most {MOST_TARGETS}")
        return Several(tuple(Predicted(rank) for rank in range(1, k + 1)))

    @staticmethod
    def class_(which: int | str) -> Target:
        return Class(which)

    @staticmethod
    def several(classes: Sequence[Which]) -> Target:
        return Several(tuple(Target.of(c) for c in classes))

    @staticmethod
    def contrast(a: Which, b: Which) -> Target:
        return Contrast(Target.of(a), Target.of(b))

    @staticmethod
    def probability(which: Which = None) -> Target:
        return Scale("prob", Target.of(which))

    @staticmethod
    def logit(which: Which = None) -> Target:
        return Scale("logit", Target.of(which))

    @staticmethod
    def unit(layer: str, channel: int | str = STRONGEST, at: tuple[int, ...] | str | None = None) -> Target:
        return Unit(layer, channel, at)

    @staticmethod
    def element(value: str, index: Sequence[int | str]) -> Target:
        return Element(value, tuple(index))

    @staticmethod
    def region(
        which: int | str,
        box: Sequence[float] | None = None,
        mask: NDArray[Any] | None = None,
        output: str | None = None,
    ) -> Target:
        return Region(which, None if box is None else tuple(box), mask, output)

    @staticmethod
    def cotangent(value: str, array: NDArray[Any]) -> Target:
        return Cotangent(value, np.asarray(array))


@dataclass(frozen=True)
class Predicted(Target):
    """The most probable class, or the one of the given rank."""

    rank: int = 1

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise TargetError(f"rank {self.rank} names no class: the most probable one has rank 1")

    def __str__(self) -> str:
        return "predicted" if self.rank == 1 else f"rank:{self.rank}"

    def terms(self, place: Place, count: int | None) -> list[list[tuple[int, float]]]:
        if count is not None and self.rank > count:
            raise TargetError(f"the model has {count} classes: there is none of rank {self.rank}")
        return [[(-self.rank, 1.0)]]

    def resolve(self, place: Place) -> Resolved:
        number = _the_number(place.model)
        if number is not None:
            return _of_numbers(place, number, self, self.rank - 1 if number.columns == 1 else None)
        return _class_scores(place, "model", self)


@dataclass(frozen=True)
class Class(Target):
    """A class by index or label. `label` is filled in where it is known."""

    which: int | str
    label: str | None = field(default=None, compare=False)

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
        """For figures: the label, and the index where that is not the label itself (digits)."""
        return f"{self.label} ({self.which})" if self.label and self.label != str(self.which) else f"class {self.which}"

    def terms(self, place: Place, count: int | None) -> list[list[tuple[int, float]]]:
        return [[(class_index(self.which, place.labels, count), 1.0)]]

    def resolve(self, place: Place) -> Resolved:
        number = _the_number(place.model)
        if number is not None:
            return _of_numbers(place, number, self, class_index(self.which, place.labels, number.columns))
        return _class_scores(place, "model", self)


@dataclass(frozen=True)
class Several(Target):
    """Several targets made of classes, explained at once."""

    parts: tuple[Target, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise TargetError("the list of targets is empty: give at least one class")
        for part in self.parts:
            if not part.of_classes or isinstance(part, Several | Scale):
                raise TargetError(f"the target {part} cannot be one of several: give classes, ranks and contrasts")

    def __str__(self) -> str:
        if self.parts == tuple(Predicted(r) for r in range(1, len(self.parts) + 1)):
            return f"top:{len(self.parts)}"
        return "classes:" + _join(self.parts)

    def terms(self, place: Place, count: int | None) -> list[list[tuple[int, float]]]:
        return [terms for part in self.parts for terms in part.terms(place, count)]

    def resolve(self, place: Place) -> Resolved:
        return _class_scores(place, "model", self)


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

    def __str__(self) -> str:
        return "contrast:" + _join((self.a, self.b))

    def terms(self, place: Place, count: int | None) -> list[list[tuple[int, float]]]:
        ((a, _),) = self.a.terms(place, count)[0]
        ((b, _),) = self.b.terms(place, count)[0]
        if a == b:
            raise TargetError(f"the contrast {self} is of a class with itself: give two classes")
        return [[(a, 1.0), (b, -1.0)]]

    def resolve(self, place: Place) -> Resolved:
        return _class_scores(place, "model", self)


@dataclass(frozen=True)
class Scale(Target):
    """Classes, as probabilities ("prob") or as scores before the softmax or sigmoid ("logit")."""

    kind: str
    inner: Target

    def __post_init__(self) -> None:
        if not self.inner.of_classes or isinstance(self.inner, Scale):
            raise TargetError(f"{self.kind} is of a class, {self.inner} is none: give an index, a label or 'predicted'")

    def __str__(self) -> str:
        return f"{self.kind}:{self.inner}"

    def terms(self, place: Place, count: int | None) -> list[list[tuple[int, float]]]:
        return self.inner.terms(place, count)

    def resolve(self, place: Place) -> Resolved:
        return _class_scores(place, self.kind, self)


@dataclass(frozen=True)
class Unit(Target):
    """A channel of a layer: its mean over all places, or the unit at one place.

    `channel` is an index or "strongest" (the channel with the greatest value); `at` is None, the place on the
    layer's map (or the token's number), or "strongest" (the place of the channel's greatest value).
    """

    layer: str
    channel: int | str = STRONGEST
    at: tuple[int, ...] | str | None = None

    def __post_init__(self) -> None:
        for value in (self.channel, self.at):
            if isinstance(value, str) and value != STRONGEST:
                raise TargetError(f"the unit's {value!r} is neither a number nor {STRONGEST!r}")

    def __str__(self) -> str:
        at = "" if self.at is None else f",{self.at}" if isinstance(self.at, str) else "," + ",".join(map(str, self.at))
        return f"unit:{self.layer}:{self.channel}{at}"

    def resolve(self, place: Place) -> Resolved:
        value, channel_axis, axes = _unit_axes(place.model, self.layer)
        if isinstance(self.at, tuple) and len(self.at) != len(axes):
            raise TargetError(
                f"the layer {self.layer!r} has {len(axes)} axes of places, the target {self} names {len(self.at)}"
            )

        def units(y: NDArray[Any]) -> list[Target]:
            moved = np.moveaxis(y, channel_axis, 1).reshape(len(y), y.shape[channel_axis], -1)
            return [self._found(maps, tuple(y.shape[a] for a in axes)) for maps in moved]

        def cotangents(y: NDArray[Any]) -> NDArray[np.float32]:
            result = np.zeros((len(y), 1, *y.shape[1:]), np.float32)
            for unit, out in zip(units(y), result, strict=True):
                assert isinstance(unit, Unit)
                seen = np.moveaxis(out[0], channel_axis - 1, 0)[unit.channel, ...]
                seen[unit.at if unit.at is not None else ...] = 1 if unit.at is not None else 1 / max(1, seen.size)
            return result

        constant = STRONGEST not in (self.channel, self.at)
        return FixedTarget(place.model, value, self, cotangents, constant, units)

    def _found(self, maps: NDArray[Any], places: tuple[int, ...]) -> Unit:
        """The unit that is meant, for one sample's maps (C, places)."""
        channel, at = self.channel, self.at
        if isinstance(channel, str):
            channel = int(maps.max(axis=1).argmax())
        if not 0 <= channel < len(maps):
            raise TargetError(f"the layer {self.layer!r} has channels 0 to {len(maps) - 1}, not {channel}")
        if isinstance(at, str):
            at = tuple(int(i) for i in np.unravel_index(int(maps[channel].argmax()), places)) if places else None
        if at is not None and any(not 0 <= i < n for i, n in zip(at, places, strict=True)):
            raise TargetError(f"the layer {self.layer!r} has places up to {[n - 1 for n in places]}, not {list(at)}")
        return Unit(self.layer, channel, at)


@dataclass(frozen=True)
class Element(Target):
    """One number of a value, per sample. `index` has an entry per axis after the batch: a number, "max" or "mean"."""

    value: str
    index: tuple[int | str, ...]

    def __post_init__(self) -> None:
        for entry in self.index:
            if isinstance(entry, str) and entry not in ("max", "mean"):
                raise TargetError(f"the index {entry!r} of an element is neither a number nor 'max' nor 'mean'")

    def __str__(self) -> str:
        return f"element:{self.value}:{','.join(map(str, self.index))}"

    def resolve(self, place: Place) -> Resolved:
        place.model.value(self.value)

        def cotangents(y: NDArray[Any]) -> NDArray[np.float32]:
            return _element_places(y, self.index, str(self))

        return FixedTarget(place.model, self.value, self, cotangents, "max" not in self.index)


@dataclass(frozen=True)
class Region(Target):
    """The mean score of a class of a dense output, over a box, a mask, or where the class wins.

    `box` is (y0, x0, y1, x1) in pixels of the original image (of the tensor, where a tensor was given); `mask` is a
    boolean array over the image, or over the output. `output` names the dense output where there are several.
    """

    which: int | str
    box: tuple[float, ...] | None = None
    mask: NDArray[Any] | None = field(default=None, compare=False)
    output: str | None = None

    def __post_init__(self) -> None:
        if self.box is not None and self.mask is not None:
            raise TargetError("a region has a box or a mask, not both")
        if self.box is not None and not (
            len(self.box) == 4 and self.box[0] < self.box[2] and self.box[1] < self.box[3]
        ):
            raise TargetError(f"the box {list(self.box)} is none: give (y0, x0, y1, x1) with y0 < y1 and x0 < x1")

    def __str__(self) -> str:
        box = "" if self.box is None else ":" + ",".join(f"{edge:g}" for edge in self.box)
        return f"region:{self.which}{box}" + (" (mask)" if self.mask is not None else "")

    def resolve(self, place: Place) -> Resolved:
        dense = _dense_output(place.model, self.output)
        name, axis, axes = dense.value, dense.axis, dense.axes

        def cotangents(y: NDArray[Any]) -> NDArray[np.float32]:
            chosen = class_index(self.which, place.labels, y.shape[axis])
            moved = np.moveaxis(y, (axis, *axes), (1, 2, 3))
            cells = _region_cells(place, moved, chosen, dense.least, self.box, self.mask)
            weights = np.zeros((len(y), *np.moveaxis(y, (axis, *axes), (1, 2, 3)).shape[1:]), np.float32)
            weights[:, chosen] = cells / cells.sum(axis=(1, 2), keepdims=True)
            return np.moveaxis(weights, (1, 2, 3), (axis, *axes))[:, None]

        constant = self.box is not None or self.mask is not None
        return FixedTarget(place.model, name, self, cotangents, constant)


@dataclass(frozen=True)
class Cotangent(Target):
    """The sum of a value's elements times `array`, which has the value's shape, with or without the batch axis."""

    value: str
    array: NDArray[Any] = field(compare=False)

    def __str__(self) -> str:
        return f"cotangent:{self.value}:array of shape {list(self.array.shape)}"

    def resolve(self, place: Place) -> Resolved:
        place.model.value(self.value)

        def cotangents(y: NDArray[Any]) -> NDArray[np.float32]:
            array = self.array.astype(np.float32)
            if array.shape == y.shape[1:]:
                array = np.broadcast_to(array, y.shape)
            if array.shape != y.shape:
                raise TargetError(
                    f"the cotangent of shape {list(self.array.shape)} does not fit {self.value!r} ({list(y.shape)})"
                )
            return array[:, None]

        return FixedTarget(place.model, self.value, self, cotangents, True)


def _of_numbers(place: Place, answer: Answer, asked: Target, index: int | None) -> Resolved:
    """One of the numbers that a model answers with. Raises TargetError where it is not said which."""
    if index is None or (answer.columns is not None and index >= answer.columns):
        count = "several" if answer.columns is None else answer.columns
        raise TargetError(
            f"the output {answer.output!r} holds {count} numbers ({answer.reason}), {asked} is none of them: give the "
            "index of one"
        )
    rank = place.model.value(answer.value).rank
    if rank is None:
        rank = answer.axis + 1
    return Element(answer.value, tuple(index if axis == answer.axis else 0 for axis in range(1, rank))).resolve(place)


def settled(resolved: Resolved, y: NDArray[Any], labels: tuple[str, ...] | None) -> list[Target]:
    """The targets of every row, sample by sample, with the classes that were chosen filled in. y: (N, ...)."""
    if isinstance(resolved, FixedTarget):
        return [resolved.target] * len(y) if resolved.found is None else resolved.found(y)
    rows: list[Target] = []
    kind = resolved.scale
    for chosen, weights in zip(resolved.chosen(y), resolved.row_weights(len(y)), strict=True):
        parts = [Class(int(c), label_of(int(c), labels)) for c, w in zip(chosen, weights, strict=True) if w]
        target: Target = parts[0] if len(parts) == 1 else Contrast(*parts)
        rows.append(target if kind == "model" else Scale(kind, target))
    return rows


def title(target: Target) -> str:
    """What a target is, for people."""
    if isinstance(target, Class):
        return target.title
    if isinstance(target, Contrast):
        return f"{title(target.a)} against {title(target.b)}"
    if isinstance(target, Scale):
        return f"{'probability' if target.kind == 'prob' else 'logit'} of {title(target.inner)}"
    if isinstance(target, Unit):
        at = "" if target.at is None else f" at {', '.join(map(str, target.at))}"
        return f"{target.layer} channel {target.channel}{at}"
    return str(target)


def _join(parts: Sequence[Target]) -> str:
    texts = [str(part) for part in parts]
    return (";" if any("," in t for t in texts) else ",").join(texts)
