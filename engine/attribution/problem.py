"""One explanation to be made: model, inputs, target, and the work that methods share on it.

Rows: N samples times K targets, sample by sample. A method gets a `Problem` and asks its `runs` for activations and
scores, its `gradients` for gradients of the rows; what was computed once for one method is there for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph.float_input import with_real_input
from ..graph.model import Model
from ..inference.batches import RunOptions
from ..inspect.embedding import embedding_of
from ..inspect.finite import why_not_finite
from ..preprocess.answers import answer_of
from ..preprocess.card import Card
from ..tables.additive import with_margins
from ..targets.resolved import ClassTarget, Place, Resolved
from ..targets.settled import settled
from ..targets.target import Target
from .gradients import Gradients
from .inputs import Input, at_value, input_of, values_at
from .runs import Runs
from .sets import set_at_embeddings


class Problem:
    """One explanation to be made: model, inputs, target, and the work that methods share on it.

    Attributes: `source` the model as given and `model` with what the target needs added; `input`; `asked` the target
    as given and `target` resolved; `layers` (names that the user gave); `runtime`; `runs` and `gradients`, the forward
    and backward passes; `notices`, what the runs had to say, each text once.
    """

    def __init__(
        self,
        model: Model,
        input: Input,
        target: Target,
        layers: Sequence[str] = (),
        runtime: RunOptions | None = None,
    ) -> None:
        self.source, self._given = model, input
        if input.x.dtype.kind in "iu":
            model = with_real_input(model, input.name)
            if model is not self.source:
                input = replace(input, x=input.x.astype(np.float32))
        self.input = input
        self.asked = target
        # Values that the target was found by: (model, values (N, ...) by name).
        self._seen: list[tuple[Model, Mapping[str, NDArray[Any]]]] = []
        self._options = runtime or RunOptions()
        self.target: Resolved = target.resolve(self._place(model, input))
        self.model = self.target.model
        self.layers = tuple(layers)
        self.notices: dict[str, None] = {}
        given = runtime or RunOptions()
        # Not a method of this object: a circle would keep its arrays until the next collection of garbage.
        self.runtime = replace(given, on_notice=_kept_in(self.notices, given.on_notice))
        self.runs = Runs(input, self.target, self.runtime)
        for of, values in self._seen:
            if of is self.model:
                self.runs.know(values)
        self.gradients = Gradients(self.runs)

    def _place(self, model: Model, input: Input) -> Place:
        def prepared(given: NDArray[Any]) -> tuple[Mapping[str, NDArray[Any]], Mapping[str, NDArray[Any]]]:
            card = None if input.card is None else Card.from_mapping(input.card)
            rows = {name for name in input.others if input.by_sample(model, name)}
            others = {name: array[:1] if name in rows else array for name, array in input.others.items()}
            found = input_of(model, {**others, input.name: given}, card)
            alike = {name: array for name, array in found.others.items() if name in rows}
            shared = {name: array for name, array in found.others.items() if name not in rows}
            return {found.name: found.x[:1], **alike}, shared

        samples = len(input.x) if input.x.ndim else None
        return Place(
            model,
            input.labels,
            input.geometries,
            input.plane,
            prepared,
            samples,
            None if input.example else self._run_before,
            input.reading,
        )

    def _run_before(self, of: Model, names: Sequence[str]) -> Mapping[str, NDArray[Any]]:
        """Values that a target is found by, which are kept for the runs."""
        values = values_at(of, self.input, names, self._options)
        self._seen.append((of, values))
        return values

    # --- rows ---

    @property
    def rows(self) -> int:
        """R = N * K."""
        return self.runs.rows

    @property
    def sample(self) -> NDArray[np.int64]:
        """(R,): the sample of each row."""
        return self.runs.sample

    @property
    def x(self) -> NDArray[Any]:
        """(R, ...): the input of every row."""
        return self.runs.x

    # --- the target ---

    @property
    def y(self) -> NDArray[Any]:
        """(N, ...): the value that the target is about, for every sample."""
        return self.runs.y

    @property
    def cotangents(self) -> NDArray[np.float32]:
        """(R, ...): score = sum(y * cotangent)."""
        return self.runs.cotangents

    @property
    def classes(self) -> NDArray[np.int64] | None:
        """(R, J): the classes that the target stands for, None where it is not made of classes."""
        return self.runs.classes

    @property
    def scores(self) -> NDArray[np.float64]:
        """(R,): the explained number of every row."""
        return self.runs.scores

    @cached_property
    def targets(self) -> list[Target]:
        """The target of every row, with the chosen classes filled in."""
        return settled(self.target, self.y, self.input.labels)

    # --- the same question otherwise ---

    def before_softmax(self) -> Problem:
        """The same for the scores before the softmax, where the model's output holds probabilities of classes."""
        target = self.target
        if not isinstance(target, ClassTarget) or target.scale != "model" or answer_of(self.source).scores == "logits":
            return self
        return self.asking(Target.logit(self.asked))

    def by_margins(self) -> Problem:
        """The same with the scores before a sigmoid or softmax in the place of the probabilities that they become."""
        return Problem(with_margins(self.source, *self.probabilities), self._given, self.asked, (), self._options)

    @property
    def probabilities(self) -> tuple[str, str, str]:
        """The value of the model that is explained, the input, and what the answer is once it holds scores: "" where
        the target does not ask for it."""
        target = self.target
        if not isinstance(target, ClassTarget):
            return target.of, self.input.name, ""
        answer = answer_of(self.source)
        return answer.value, self.input.name, "two" if answer.two_sided else "classes"

    def asking(self, target: Target) -> Problem:
        """The same about another target of the model."""
        return Problem(self.source, self._given, target, self.layers, self.runtime)

    def by_embeddings(self) -> Problem:
        """The same by the embeddings of token ids, which have a slope; itself where the input is none of ids."""
        given = self._given
        if self.input.x.dtype.kind not in "iu" or self.input.at or self.layers:
            return self
        if given.parts:
            made = set_at_embeddings(given, self._options)
        else:
            value = embedding_of(self.source, given.name)
            seen = value is not None and value in self.model.ancestors(self.target.of)
            made = at_value(self.source, given, str(value), self._options) if seen else None
        if made is None:
            return self
        source, found = made
        if found.reading is not None:
            return Problem(source, found, self.asked, (), self._options)
        note = f"the ids in {given.named} have no gradient: explained by the embeddings that they stand for"
        if not found.parts:
            note = f"{note}, {found.name!r}"
            parts = ((given.name, found.x.shape[1]),) if found.x.ndim == 3 else ()
            found = replace(found, parts=parts, part_axis=1)
        return Problem(source, replace(found, notes=(*found.notes, note)), self.asked, (), self._options)

    def why_not_finite(self) -> str:
        """One clause that follows a colon, where the score is not a finite number: the input, or the model."""
        for name, array in {self.input.name: self.input.x, **self.input.others}.items():
            bad = int((np.isnan(array) | (array == np.inf)).sum()) if array.dtype.kind == "f" else 0
            if bad:
                return f"{bad} of {array.size} numbers of the input {name!r} are NaN or infinite"
        return why_not_finite(self.source)

    def one_by_one(self) -> list[Problem]:
        """The same by each input of a set alone, the others as they are."""
        return [Problem(model, given, self.asked, (), self._options) for model, given in self._given.each]

    def on(self, model: Model) -> Problem:
        """The same question to another form of the model, in which all values have their names and meanings."""
        return self if model is self.source else Problem(model, self._given, self.asked, self.layers, self.runtime)


def _kept_in(notices: dict[str, None], passed_on: Callable[[str], None] | None) -> Callable[[str], None]:
    """What keeps the texts that it is called with, and passes them on."""

    def take(text: str) -> None:
        notices[text] = None
        if passed_on is not None:
            passed_on(text)

    return take
