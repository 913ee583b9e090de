"""Whether a rule holds for images, by the model's own answer and the novelty of a memory."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError, RuleError, ShapeError
from ..graph.model import Model
from ..graph.narrow import identity
from ..inference.batches import RunOptions
from ..novelty.memory import Novelty, check_model
from ..predict import Prediction, predict
from ..preprocess.answers import answer_of
from ..survey.pictures import Picture
from .rules import Rule, names_of, parse

NOVELTY = "novelty"
_KEPT = ("label", "index", "score", "margin", "entropy")
# As many classes as there are.
ALL_CLASSES = 1 << 20


@dataclass(frozen=True)
class Judge:
    """Says of images whether a rule holds.

    rule: None, and it holds for all. labels: of the classes. runtime: options of sessions. memory: of good images, by
    which the rule knows the novelty.
    """

    model: Model
    labels: Sequence[str] | None = None
    rule: Rule | None = None
    runtime: Mapping[str, Any] = field(default_factory=dict)
    memory: Novelty | None = None

    def on(self, runtime: Mapping[str, Any]) -> Judge:
        """The same with other options of sessions, those of its memory as well."""
        memory = None if self.memory is None else replace(self.memory, runtime=RunOptions(**runtime))
        return replace(self, runtime=runtime, memory=memory)

    def of(self, image: Any, path: str) -> tuple[dict[str, Any], bool]:
        """For a record: the prediction and whether the rule holds, nothing without a rule; and whether it holds."""
        return self.several([image], [path])[0]

    def several(self, images: Sequence[Any], paths: Sequence[str]) -> list[tuple[dict[str, Any], bool]]:
        """The same for several images together.

        Raises RuleError, ShapeError (several in place of one), and what `predict` and `Novelty.score` raise.
        """
        if self.rule is None:
            return [({}, True)] * len(images)
        given = images[0] if len(images) == 1 else list(images)
        found = predict(self.model, given, top=ALL_CLASSES, **self.runtime)
        return self.judged(found if isinstance(found, list) else [found], images, paths)

    def judged(
        self, answers: Sequence[Prediction], images: Sequence[Any], paths: Sequence[str]
    ) -> list[tuple[dict[str, Any], bool]]:
        """The same for images whose answers, of all classes, are there already.

        With a memory, the prediction has `warnings` where something speaks against relying on the novelty.
        """
        if self.rule is None:
            return [({}, True)] * len(images)
        if len(answers) != len(paths):
            raise ShapeError("a rule is about one image: submit them one by one")
        known = [self._names(answer, path) for answer, path in zip(answers, paths, strict=True)]
        warned: list[list[str]] = []
        if self.memory is not None:
            pictures = [_picture(image, path) for image, path in zip(images, paths, strict=True)]
            for names, found in zip(known, self.memory.scores(pictures), strict=True):
                names[NOVELTY] = found.score
                warned.append(list(found.warnings))
        kept = (*_KEPT, NOVELTY) if self.memory is not None else _KEPT
        holds = [self.rule.holds(names) for names in known]
        return [
            ({"prediction": {**{key: names[key] for key in kept}, **_said(texts)}, "explained": held}, held)
            for names, held, texts in zip(known, holds, warned or [[]] * len(known), strict=True)
        ]

    def _names(self, answer: Prediction, path: str) -> dict[str, Any]:
        if answer.numbers is not None:
            return names_of(answer.numbers, None, path, classes=False)
        values: NDArray[np.float64] = np.zeros(1 + max(guess.index for guess in answer.top))
        for guess in answer.top:
            values[guess.index] = guess.probability
        return names_of(values, self.labels, path)


def _said(warnings: list[str]) -> dict[str, Any]:
    return {"warnings": warnings} if warnings else {}


def _picture(image: Any, path: str) -> Picture:
    if not isinstance(image, np.ndarray):
        raise ShapeError(
            f"a memory is about images, and a {type(image).__name__} was given: submit them one by one, as arrays "
            "uint8 (H, W, 3)"
        )
    return Picture(path, image)


def judge_of(
    model: Model,
    labels: Sequence[str] | None,
    when: str | None,
    memory: Novelty | str | os.PathLike[str] | None,
    runtime: Mapping[str, Any],
) -> Judge:
    """The judge of a rule, the expression checked; without one, of all images. A memory runs with `runtime` as well.

    Raises RuleError, UnknownName, ModelError (an answer that rules are not about, a memory of another model),
    OutputError (a file that is no memory).
    """
    if when is not None and not isinstance(when, str):
        raise RuleError(f"when={when!r} is no rule: give a text such as \"label != 'clean' and score > 0.6\"")
    if when is None:
        if memory is not None:
            raise RuleError("memory= has no effect without when=: give a rule such as when='novelty > 2.5'")
        return Judge(model, labels)
    answer = answer_of(model)
    if not answer.has_classes and answer.kind != "number":
        raise ModelError(f"a rule is about classes or numbers, the output {answer.output!r} holds neither")
    if isinstance(memory, Novelty):
        made_with = memory.model
        check_model("memory=", made_with.path.name if made_with.path else "model", identity(made_with), model)
        memory = replace(memory, runtime=RunOptions(**runtime))
    elif memory is not None:
        memory = Novelty.load(memory, model, **runtime)
    further = () if memory is None else (NOVELTY,)
    rule = parse(when, labels if answer.has_classes else None, further=further)
    return Judge(model, labels, rule, runtime, memory)
