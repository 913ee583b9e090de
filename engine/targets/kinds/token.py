"""The tokens that a language model says: those of a continuation, or the next one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import TargetError
from ...graph.model import Model
from ...proto.writer import Writer
from ..appended import appended
from ..at_token import AtToken, nothing, reading_in, scores_of_next
from ..registry import form, is_number, kind
from ..resolved import FixedTarget, Place, Resolved
from ..target import Target

if TYPE_CHECKING:
    from ...text.reading import Reading

_STEM = "onnxray/token"
# What stands between the last product with weights and the scores, position by position.
_MOVED = frozenset({"MatMul", "Add", "Mul", "Div", "Cast", "Identity", "MatMulNBits"})
_AGAINST = " against "


@dataclass(frozen=True)
class _Step:
    """at: the position whose scores say the token; code: it; other: the one it is compared with, None for all."""

    at: int
    code: int
    other: int | None
    shown: str
    number: int = 1


@kind
@dataclass(frozen=True)
class SaidToken(AtToken):
    """The score of a token that a language model says, minus the mean of the scores of all tokens there.

    place: which one of the continuation, from 1; None for all. Without a continuation, the one behind the prompt. text:
    the token by its text. against: another token, whose score is taken off in place of the mean: why "she" and not
    "he". log: its log-probability instead.
    """

    place: int | None = None
    text: str = ""
    against: str = ""
    log: bool = False
    shown: str = field(default="", compare=False)

    def __str__(self) -> str:
        which = self.text or ("all" if self.place is None else str(self.place))
        return f"token{'-log' * self.log}:{which}" + (f"{_AGAINST}{self.against}" if self.against else "")

    @property
    def is_several(self) -> bool:
        return self.place is None and not self.text

    def resolve(self, place: Place) -> Resolved:
        value = scores_of_next(place)
        if value is None:
            raise TargetError(
                f"the target {self} is of language models, and no output scores the next token, (samples, tokens, "
                f"vocabulary): {'; '.join(map(str, place.model.outputs))}"
            )
        if place.run is None:
            return FixedTarget(place.model, value, self, nothing, False, None, f"{value!r} scores the next token")
        steps = self._steps(place, reading_in(place), value)
        model, name = _said(place.model, value, steps, self.log)
        count = len(steps)
        alone = None if self.is_several else self.place
        named: list[Target] = [replace(self, place=alone or step.number, shown=step.shown) for step in steps]

        def pick(y: NDArray[Any]) -> NDArray[np.float32]:
            return np.broadcast_to(np.eye(count, dtype=np.float32), (len(y), count, count))

        reason = f"{value!r} scores the next token"
        return FixedTarget(model, name, self, pick, True, lambda y: named * len(y), reason, count=count)

    def _steps(self, place: Place, reading: Reading, value: str) -> list[_Step]:
        """What is explained. Raises TargetError for a token that is not there."""
        reader = reading.reader
        assert reader is not None
        start, tokens = reading.said_from, reading.tokens[reading.said_from :]
        out = [n - start for n in reading.output]
        other = self._code(reading, self.against) if self.against else None
        behind = f" against {self.against!r}" if self.against else ""
        if not out:
            whole = bool(start) or reading.given.chat
            last = max(n for n, t in enumerate(tokens) if t is not None and (whole or not t.special))
            if self.text:
                return [_Step(last, self._code(reading, self.text), other, f"{self.text!r} behind the prompt{behind}")]
            assert place.run is not None
            code = int(np.argmax(place.run(place.model, [value])[value][0, last]))
            return [_Step(last, code, other, f"{reader.decode([code])!r} behind the prompt{behind}")]
        texts = [reading.given.parts[1][t.start : t.end] or t.piece for n in out if (t := tokens[n]) is not None]
        last = reading.given.last
        if last and not self.is_several:
            raise TargetError(f"the target {self} names a token and last={last} so many of all: leave one of them out")
        if last > len(out):
            raise TargetError(f"last={last}: the continuation has {len(out)} tokens, give at most that many")
        if self.text and self.text in texts:
            chosen = [texts.index(self.text)]
        elif self.text:
            code = self._code(reading, self.text)
            return [_Step(out[0] - 1, code, other, f"{self.text!r} behind the prompt{behind}")]
        elif self.place is not None and not 1 <= self.place <= len(out):
            raise TargetError(f"there is no token {self.place}: the continuation has {len(out)}")
        else:
            chosen = list(range(len(out)))[-last:] if self.place is None else [self.place - 1]
        return [
            _Step(out[k] - 1, token.id, other, f"{texts[k]!r} ({k + 1} of {len(out)}){behind}", k + 1)
            for k in chosen
            if (token := tokens[out[k]]) is not None
        ]

    def _code(self, reading: Reading, text: str) -> int:
        """The first token of a text as it stands behind another one. Raises TargetError."""
        assert reading.reader is not None
        found = [t for t in reading.reader.encode(f"x {text}", None, None).tokens if not t.special and t.end > 1]
        if not found:
            raise TargetError(f"the tokenizer makes no token of {text!r}: give another one")
        return found[0].id


def _said(model: Model, value: str, steps: list[_Step], log: bool) -> tuple[Model, str]:
    """The model with a value (N, K): the score of each step. The positions are taken before the product with the
    vocabulary where that is possible: nothing of the size of tokens x vocabulary goes backwards."""
    writer = Writer(model.values)
    at = writer.initializer(writer.numbered(f"{_STEM}/at"), np.array([s.at for s in steps], np.int64))
    scores = _at_positions(model, writer, value, at)
    if log:
        scores = writer.node("LogSoftmax", [scores], [writer.numbered(f"{_STEM}/log")], axis=-1)
    mean = _mean(model, writer, scores)
    parts = [_of_step(writer, scores, mean, k, step, log) for k, step in enumerate(steps)]
    name = writer.node("Concat", parts, [f"{_STEM}/said"], axis=1)
    return appended(model, writer, name), name


def _mean(model: Model, writer: Writer, scores: str) -> str:
    """(N, K, 1): the mean over the vocabulary. The axes of ReduceMean are an input from opset 18 on."""
    name = writer.numbered(f"{_STEM}/mean")
    if model.opset < 18:
        return writer.node("ReduceMean", [scores], [name], keepdims=1, axes=[-1])
    last = writer.initializer(writer.numbered(f"{_STEM}/axes"), np.array([-1], np.int64))
    return writer.node("ReduceMean", [scores, last], [name], keepdims=1)


def _of_step(writer: Writer, scores: str, mean: str, k: int, step: _Step, log: bool) -> str:
    """(N, 1): the score of a step."""

    def of(value: str, code: int) -> str:
        row = writer.initializer(writer.numbered(f"{_STEM}/row"), np.array([k], np.int64))
        column = writer.initializer(writer.numbered(f"{_STEM}/code"), np.array(code, np.int64))
        taken = writer.node("Gather", [value, row], [writer.numbered(f"{_STEM}/taken")], axis=1)
        return writer.node("Gather", [taken, column], [writer.numbered(f"{_STEM}/one")], axis=2)

    own = of(scores, step.code)
    if step.other is None and log:
        return own
    less = of(mean, 0) if step.other is None else of(scores, step.other)
    return writer.node("Sub", [own, less], [writer.numbered(f"{_STEM}/score")])


def _at_positions(model: Model, writer: Writer, value: str, at: str) -> str:
    """Scores (N, K, V) of positions, computed for these alone as far back as nodes work position by position."""
    node = model.producer(value)
    if node is not None and node.op_type in _MOVED and _weights_last(model, node):
        inner = _at_positions(model, writer, node.input[0], at)
        name = writer.numbered(f"{_STEM}/scores")
        made = type(node)()
        made.CopyFrom(node)
        made.input[0], made.output[0], made.name = inner, name, name
        writer.add(made)
        return name
    return writer.node("Gather", [value, at], [writer.numbered(f"{_STEM}/positions")], axis=1)


def _weights_last(model: Model, node: Any) -> bool:
    """Whether a node reads a value (N, T, ...) and nothing else that has positions."""
    first = model.values.get(node.input[0])
    if first is None or first.rank != 3:
        return False
    return all(not name or _is_weight(model, name) for name in node.input[1:])


def _is_weight(model: Model, name: str) -> bool:
    value = model.values.get(name)
    return name in model.initializers and value is not None and value.rank is not None and value.rank <= 3


@form(
    "token",
    "token:K or token:TEXT or token:A against B",
    "the K-th token of a continuation (`token:all` for each), a token by its text, or one rather than another",
)
def _token(text: str) -> Target:
    return _read(text, False)


@form("token-log", "token-log:K", "the same as log-probabilities")
def _token_log(text: str) -> Target:
    return _read(text, True)


def _read(text: str, log: bool) -> Target:
    which, _, against = text.partition(_AGAINST)
    which, against = which.strip(), against.strip()
    if which in ("", "all"):
        return SaidToken(None, "", against, log)
    if is_number(which):
        if int(which) < 1:
            raise ValueError(text)
        return SaidToken(int(which), "", against, log)
    return SaidToken(None, which, against, log)
