"""Rules: whether an image is explained, by the model's own answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...engine.errors import ModelError, RuleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...engine.graph.model import Model
    from ...engine.novelty.memory import Novelty
    from ...engine.pipeline.rules import Rule
    from ...engine.preprocess.card import Card
    from ..parameters.line import Inspection

NOVELTY = "novelty"
_KEPT = ("label", "index", "score", "margin", "entropy")


@dataclass(frozen=True)
class Judge:
    """Says of images whether a rule holds. rule: None, and all are explained. runtime: options of sessions. memory: of
    good images, by which the rule knows the novelty."""

    model: Model
    card: Card
    rule: Rule | None = None
    runtime: Mapping[str, Any] = field(default_factory=dict)
    memory: Novelty | None = None

    def of(self, pixels: NDArray[Any], path: str) -> tuple[dict[str, Any], bool]:
        """For a record: the prediction and whether the rule holds, nothing without a rule; and whether it holds."""
        if self.rule is None:
            return {}, True
        names = self.names(pixels, path)
        holds = self.rule.holds(names)
        kept = (*_KEPT, NOVELTY) if self.memory is not None else _KEPT
        return {"prediction": {key: names[key] for key in kept}, "explained": holds}, holds

    def names(self, pixels: NDArray[Any], path: str) -> dict[str, Any]:
        """What a rule knows of an image."""
        known = self._answer(pixels, path)
        if self.memory is None:
            return known
        from ...engine.survey.pictures import Picture

        return {**known, NOVELTY: self.memory.score(Picture(path, pixels)).score}

    def _answer(self, pixels: NDArray[Any], path: str) -> dict[str, Any]:
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


def judge_of(model: Model, card: Card, asked: Inspection, runtime: Mapping[str, Any]) -> Judge:
    """The judge of --when and --memory, the expression checked.

    Raises RuleError, UnknownName, ModelError (an answer that rules are not about, a memory of another model),
    OutputError (a file that is no memory).
    """
    from ...engine.novelty.memory import Novelty
    from ...engine.pipeline.rules import parse
    from ...engine.preprocess.answers import answer_of

    if asked.when is None:
        if asked.memory is not None:
            raise RuleError("--memory has no effect without --when: give a rule such as --when 'novelty > 2.5'")
        return Judge(model, card)
    answer = answer_of(model)
    if not answer.has_classes and answer.kind != "number":
        raise ModelError(f"--when is about classes or numbers, the output {answer.output!r} holds neither")
    memory = None if asked.memory is None else Novelty.load(asked.memory, model, **runtime)
    further = () if memory is None else (NOVELTY,)
    rule = parse(asked.when, card.labels if answer.has_classes else None, further=further)
    return Judge(model, card, rule, runtime, memory)
