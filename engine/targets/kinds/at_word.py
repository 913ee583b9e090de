"""Classes of words: of models that label every token (named entities, parts of speech), and the answers of models that
mark one in a passage."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...autodiff.before_activation import before_activation
from ...errors import TargetError, nearest
from ...graph.model import Model
from ...inspect.score_functions import score_function
from ...proto.writer import Writer
from ..appended import appended
from ..at_token import AtToken, nothing, reading_in
from ..classes import class_index
from ..registry import form, is_number, kind
from ..resolved import FixedTarget, Place, Resolved
from ..target import Target
from ..token_scores import marks_answers, token_scores

if TYPE_CHECKING:
    from ...text.reading import Reading

PREDICTED = "predicted"


@kind
@dataclass(frozen=True)
class AtWord(AtToken):
    """The score of a class at a word, of a model that labels every token: at the word's first token, as labels are
    given in training.

    which: the class, by index or label, or "predicted". word: its number, from 1, or the word; "" for the one at which
    the class is most certain, of "predicted" the most certain one that is not labelled as most others are.
    scale: "model", as the output is, "prob" or "logit".
    """

    which: int | str = PREDICTED
    word: int | str = ""
    scale: str = "model"
    shown: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.which}@{self.word}" if self.scale == "model" else f"{self.scale}:{self.which}@{self.word}"

    def at_scale(self, scale: str) -> Target:
        if self.scale != "model":
            raise TargetError(f"{scale} is of a class, {self} is none: give CLASS@WORD")
        return replace(self, scale=scale)

    def resolve(self, place: Place) -> Resolved:
        found = token_scores(place.model)
        if found is None:
            raise TargetError(
                f"the target {self} is of models that label every token, and no output is (samples, tokens, classes): "
                + "; ".join(map(str, place.model.outputs))
            )
        model, value, reason = found
        model, value = _scaled(model, value, self.scale)
        if place.run is None:
            return FixedTarget(model, value, self, nothing, False, None, reason)
        reading = reading_in(place)
        scores = np.asarray(place.run(model, [value])[value])[0]
        number, code = self._chosen(place, reading, scores)
        unit = reading.units[number]
        name = place.labels[code] if place.labels and code < len(place.labels) else f"class {code}"
        said = {"model": "", "prob": "probability of ", "logit": "logit of "}[self.scale]
        named = replace(self, which=code, word=number + 1, shown=f"{said}{name} at {unit.text!r} ({number + 1})")

        def pick(y: NDArray[Any]) -> NDArray[np.float32]:
            weights = np.zeros((len(y), 1, *y.shape[1:]), np.float32)
            weights[:, 0, unit.tokens[0], code] = 1
            return weights

        return FixedTarget(model, value, self, pick, False, lambda y: [named] * len(y), reason)

    def _chosen(self, place: Place, reading: Reading, scores: NDArray[Any]) -> tuple[int, int]:
        """The unit and the class that are explained."""
        at = [n for n, unit in enumerate(reading.units) if unit.tokens]
        firsts = scores[[reading.units[n].tokens[0] for n in at]].astype(np.float64)
        code = None if self.which == PREDICTED else class_index(self.which, place.labels, scores.shape[1])
        if self.word != "":
            number = unit_of(reading, self.word)
            return number, int(scores[reading.units[number].tokens[0]].argmax()) if code is None else code
        if code is not None:
            return at[int(firsts[:, code].argmax())], code
        best = firsts.argmax(axis=1)
        usual = int(np.bincount(best).argmax())
        sure = firsts.max(axis=1) - np.partition(firsts, -2, axis=1)[:, -2] if firsts.shape[1] > 1 else firsts[:, 0]
        rare = np.where(best != usual, sure, -np.inf)
        place_of = int((rare if np.isfinite(rare).any() else sure).argmax())
        return at[place_of], int(best[place_of])


def _scaled(model: Model, value: str, scale: str) -> tuple[Model, str]:
    """The scores (N, T, C) of a model, as probabilities or as what stands before these, and their name."""
    function = None if scale == "model" else score_function(model, value)
    if scale == "logit" and function is not None:
        return before_activation(model, value, "the class without logit:")
    if scale != "prob" or (function is not None and function.kind != "log-softmax"):
        return model, value
    writer = Writer(model.values)
    last = (model.value(value).rank or 3) - 1
    name = writer.node("Softmax", [value], [writer.numbered("onnxray/word/probabilities")], axis=last)
    return appended(model, writer, name), name


@kind
@dataclass(frozen=True)
class AnswerEdge(AtToken):
    """The score of a word as the first ("start") or the last ("end") of the answer that a model marks in a passage;
    "" for the word that it marks."""

    edge: str
    word: int | str = ""
    shown: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.edge}:{self.word}"

    def resolve(self, place: Place) -> Resolved:
        found = marks_answers(place.model)
        if found is None:
            raise TargetError(
                f"the target {self} is of models that mark an answer, and no two outputs score the tokens: "
                + "; ".join(map(str, place.model.outputs))
            )
        value, channel = found[self.edge == "end"]
        reason = f"{value!r} scores every token as the {self.edge} of the answer"
        if place.run is None:
            return FixedTarget(place.model, value, self, nothing, False, None, reason)
        reading = reading_in(place)
        scores = np.asarray(place.run(place.model, [value])[value])[0]
        scores = scores if channel is None else scores[:, channel]
        side = 0 if self.edge == "start" else -1
        units = [n for n, u in enumerate(reading.units) if u.tokens and (u.side or len(reading.given.parts) < 2)]
        if self.word == "" and not units:
            raise TargetError("no word or span of the passage has a value: name a word, or give no spans")
        best = max(units, key=lambda n: float(scores[reading.units[n].tokens[side]]), default=-1)
        number = best if self.word == "" else unit_of(reading, self.word)
        unit = reading.units[number]
        token = unit.tokens[side]
        named = replace(self, word=number + 1, shown=f"{self.edge} of the answer at {unit.text!r} ({number + 1})")

        def pick(y: NDArray[Any]) -> NDArray[np.float32]:
            weights = np.zeros((len(y), 1, *y.shape[1:]), np.float32)
            if channel is None:
                weights[:, 0, token] = 1
            else:
                weights[:, 0, token, channel] = 1
            return weights

        return FixedTarget(place.model, value, self, pick, False, lambda y: [named] * len(y), reason)


def unit_of(reading: Reading, word: int | str) -> int:
    """The number of a unit, by its number from 1 or its text, of several alike the first. Raises TargetError."""
    units = reading.units
    if isinstance(word, int):
        if not 1 <= word <= len(units):
            raise TargetError(f"there is no word {word}: the text has {len(units)}")
        number = word - 1
    else:
        low = [unit.text.casefold() for unit in units]
        exact = [n for n, unit in enumerate(units) if unit.text == word]
        alike = exact or [n for n, text in enumerate(low) if text == word.casefold()]
        if not alike:
            close = nearest(word, [unit.text for unit in units])
            hint = f"; nearest: {', '.join(map(repr, close))}" if close else ""
            raise TargetError(f"the text has no word {word!r}{hint}")
        number = alike[0]
    if not units[number].tokens:
        raise TargetError(f"the model does not read the word {units[number].text!r} ({number + 1}): name another one")
    return number


def _word(text: str) -> int | str:
    return int(text) if is_number(text) else text


@form("start", "start:WORD", "a word as the start of the answer that a model marks; `start:` for the one it marks")
def _start(text: str) -> Target:
    return AnswerEdge("start", _word(text))


@form("end", "end:WORD", "a word as the end of the answer that a model marks; `end:` for the one it marks")
def _end(text: str) -> Target:
    return AnswerEdge("end", _word(text))


@form("word", "word:CLASS@WORD", "a class at a word, of a model that labels every token; also CLASS@WORD alone")
def _at_word(text: str) -> Target:
    which, mark, word = text.rpartition("@")
    if not mark or not which:
        raise ValueError(text)
    return AtWord(_word(which), _word(word))
