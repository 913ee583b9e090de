"""Classes as probabilities or scores before the softmax or sigmoid; other values before theirs."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from numpy.typing import NDArray

from ...autodiff.before_activation import before_activation
from ...errors import TargetError
from ..classes import class_scores
from ..registry import form, kind, parse
from ..resolved import FixedTarget, Place, Resolved
from ..target import Target


@kind
@dataclass(frozen=True)
class Scale(Target):
    """Classes, as probabilities ("prob") or as scores before the softmax or sigmoid ("logit")."""

    kind: str
    inner: Target

    def __post_init__(self) -> None:
        if not self.inner.of_classes or isinstance(self.inner, Scale):
            raise TargetError(f"{self.kind} is of a class, {self.inner} is none: give an index, a label or 'predicted'")

    @property
    def of_classes(self) -> bool:
        return True

    @property
    def is_several(self) -> bool:
        return self.inner.is_several

    @property
    def samples(self) -> int | None:
        return self.inner.samples

    def of_sample(self, sample: int) -> Target:
        return replace(self, inner=self.inner.of_sample(sample))

    @property
    def title(self) -> str:
        return f"{'probability' if self.kind == 'prob' else 'logit'} of {self.inner.title}"

    def __str__(self) -> str:
        return f"{self.kind}:{self.inner}"

    def terms(self, place: Place, count: int | None) -> list[list[tuple[int, float]]]:
        return self.inner.terms(place, count)

    def resolve(self, place: Place) -> Resolved:
        return class_scores(place, self.kind, self)


@kind
@dataclass(frozen=True)
class Logit(Target):
    """A target of a value that holds probabilities, asked of what stands before the softmax or sigmoid.

    Before a sigmoid: its input. Before a softmax: the input less the log of the sum of the exponentials of the others,
    log(p / (1 - p)), whose slope does not vanish where p is 0 or 1.
    """

    inner: Target

    def __post_init__(self) -> None:
        if self.inner.of_classes or isinstance(self.inner, Logit):
            raise TargetError(f"logit: goes before a target that is not a logit already, not before {self.inner}")

    @property
    def title(self) -> str:
        return f"logit of {self.inner.title}"

    @property
    def of_answer(self) -> bool:
        return self.inner.of_answer

    @property
    def at_token(self) -> bool:
        return self.inner.at_token

    def __str__(self) -> str:
        return f"logit:{self.inner}"

    def resolve(self, place: Place) -> Resolved:
        model, value = before_activation(place.model, self.inner.value_in(place), str(self.inner))
        moved = self.inner.on(value)
        resolved = moved.resolve(replace(place, model=model))
        assert isinstance(resolved, FixedTarget)
        asked = {f.name: getattr(self.inner, f.name) for f in fields(self.inner)}
        named = {name: old for name, old in asked.items() if getattr(moved, name) is not old}

        def found(y: NDArray[Any]) -> list[Target]:
            assert resolved.found is not None
            return [Logit(replace(target, **named)) for target in resolved.found(y)]

        return replace(resolved, target=self, found=None if resolved.found is None else found)


@form("prob", "prob:CLASS", "the probability of a class instead of its score")
def _prob(text: str) -> Target:
    return parse(text).at_scale("prob")


@form(
    "logit",
    "logit:TARGET",
    "a class, an element, a unit or a mean before the softmax or sigmoid: for scores near 0 or 1, which have no slope",
)
def _logit(text: str) -> Target:
    return Target.logit(text)
