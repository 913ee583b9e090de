"""Rules: whether an image is explained, by the model's own answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...engine.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...engine.graph.model import Model
    from ...engine.pipeline.rules import Rule
    from ...engine.preprocess.card import Card

_KEPT = ("label", "index", "score", "margin", "entropy")


@dataclass(frozen=True)
class Judge:
    """Says of images whether a rule holds. rule: None, and all are explained. runtime: options of sessions."""

    model: Model
    card: Card
    rule: Rule | None = None
    runtime: Mapping[str, Any] = field(default_factory=dict)

    def of(self, pixels: NDArray[Any], path: str) -> tuple[dict[str, Any], bool]:
        """For a record: the prediction and whether the rule holds, nothing without a rule; and whether it holds."""
        if self.rule is None:
            return {}, True
        names = self.names(pixels, path)
        holds = self.rule.holds(names)
        return {"prediction": {key: names[key] for key in _KEPT}, "explained": holds}, holds

    def names(self, pixels: NDArray[Any], path: str) -> dict[str, Any]:
        """What a rule knows of an image."""
        import numpy as np

        from ...engine.pipeline.rules import names_of
        from ...engine.predict import predict

        found = predict(self.model, pixels, top=1 << 20, **self.runtime)
        if found.numbers is not None:
            return names_of(found.numbers, None, path, classes=False)
        values = np.zeros(1 + max(guess.index for guess in found.top))
        for guess in found.top:
            values[guess.index] = guess.probability
        return names_of(values, self.card.labels, path)


def judge_of(model: Model, card: Card, when: str | None, runtime: Mapping[str, Any]) -> Judge:
    """The judge of --when, its expression checked. Raises RuleError, UnknownName, ModelError."""
    from ...engine.pipeline.rules import parse
    from ...engine.preprocess.answers import answer_of

    if when is None:
        return Judge(model, card)
    answer = answer_of(model)
    if not answer.has_classes and answer.kind != "number":
        raise ModelError(f"--when is about classes or numbers, the output {answer.output!r} holds neither")
    return Judge(model, card, parse(when, card.labels if answer.has_classes else None), runtime)
