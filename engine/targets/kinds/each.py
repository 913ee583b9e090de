"""One target for each sample of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import TargetError
from ...graph.model import Model
from ..classes import class_scores
from ..registry import form, kind, parse
from ..resolved import ClassTarget, FixedTarget, Place, Resolved
from ..target import Target
from .scale import Scale


@kind
@dataclass(frozen=True)
class Each(Target):
    """One target for each sample: `parts[i]` of the i-th. They ask for the same value of the model."""

    parts: tuple[Target, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise TargetError("the list of targets is empty: give one for each sample")
        for part in self.parts:
            if part.is_several or part.samples is not None:
                raise TargetError(f"the target {part} of one sample is several: give one target for each sample")

    @property
    def of_classes(self) -> bool:
        return all(part.of_classes for part in self.parts)

    @property
    def of_answer(self) -> bool:
        return all(part.of_answer for part in self.parts)

    @property
    def at_token(self) -> bool:
        return any(part.at_token for part in self.parts)

    @property
    def samples(self) -> int:
        return len(self.parts)

    def __str__(self) -> str:
        texts = [str(part) for part in self.parts]
        return "each:" + (";" if any("," in text for text in texts) else ",").join(texts)

    def terms(self, place: Place, count: int | None) -> list[list[tuple[int, float]]]:
        return [terms for part in self.parts for terms in part.terms(place, count)]

    def of_sample(self, sample: int) -> Target:
        return self.parts[sample]

    def opened(self, read: Callable[[str], NDArray[Any]]) -> Target:
        return Each(tuple(part.opened(read) for part in self.parts))

    def resolve(self, place: Place) -> Resolved:
        self.check_samples(place.samples)
        first = self.parts[0].resolve(_alone(place, 0))
        if isinstance(first, ClassTarget):
            return self._classes(place, first.scale)
        found = [first, *(part.resolve(_alone(place, i)) for i, part in enumerate(self.parts) if i)]
        fixed = [part for part in found if isinstance(part, FixedTarget)]
        if len(fixed) < len(found):
            raise self._differ()
        _check_same(place.model, fixed, self)
        return _joined(self, fixed)

    def _classes(self, place: Place, scale: str) -> ClassTarget:
        if any(
            not part.of_classes or (part.kind if isinstance(part, Scale) else "model") != scale for part in self.parts
        ):
            raise self._differ()
        return class_scores(place, scale, self)

    def _differ(self) -> TargetError:
        return TargetError(
            f"the targets {self} of the samples are of different kinds: classes, probabilities, scores before the "
            "softmax and other values are explained in calls of their own"
        )


def _alone(place: Place, sample: int) -> Place:
    """The place of one sample."""
    geometries = place.geometries
    return replace(place, samples=1, geometries=None if geometries is None else geometries[sample : sample + 1])


def _check_same(model: Model, parts: Sequence[FixedTarget], asked: Each) -> None:
    """Raises TargetError where the samples' targets are not of one value."""
    first = parts[0]
    for part in parts[1:]:
        if part.of != first.of or (part.model is not first.model and _added(model, part) != _added(model, first)):
            raise TargetError(
                f"the targets {first.target} and {part.target} are not of the same value of the model: explain the "
                "samples in calls of their own"
            )


def _added(model: Model, part: FixedTarget) -> Mapping[str, bytes]:
    """What the target added to the model."""
    graph, known = part.model.untyped.graph, model.values
    nodes = {node.output[0]: node.SerializeToString() for node in graph.node if node.output[0] not in known}
    return nodes | {t.name: t.SerializeToString() for t in graph.initializer if t.name not in known}


def _joined(asked: Each, parts: Sequence[FixedTarget]) -> FixedTarget:
    def pick(y: NDArray[Any]) -> NDArray[np.float32]:
        return np.concatenate([part.pick(y[i : i + 1]) for i, part in enumerate(parts)])

    def found(y: NDArray[Any]) -> list[Target]:
        return [
            (part.found(y[i : i + 1]) if part.found is not None else [part.target])[0] for i, part in enumerate(parts)
        ]

    first = parts[0]
    return FixedTarget(first.model, first.of, asked, pick, False, found, first.reason)


@form("each", "each:A,B,...", "one target for each image, in their order; `;` between them where one holds a comma")
def _each(text: str) -> Target:
    return Each(tuple(parse(part) for part in text.split(";" if ";" in text else ",")))
