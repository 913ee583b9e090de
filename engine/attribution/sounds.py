"""From a sound to the inputs that are explained, and from their explanations to one in time and frequency."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import SoundError
from ..graph.model import Model
from ..inference.batches import RunOptions
from ..inference.session import session
from ..preprocess.answers import answer_of
from ..sound.given import Sound
from ..sound.heard import HeardSound
from ..sound.hearing import Hearing, frames_of, hearing
from ..sound.plane import Plane, plane_for, plane_input, with_plane
from ..sound.resampling import resampled
from ..sound.settled import settled_model
from ..targets.resolved import score
from ..targets.target import Target
from .explanation import Explanation
from .explanations import Explanations
from .gradient_graphs import exposed_at
from .inputs import Input, input_of
from .problem import Problem

# What solves a problem by a method, which is known in a later room only.
Solve: TypeAlias = "Callable[[Problem, Any], Explanation | Explanations]"


def is_sound(given: Any) -> bool:
    """Whether a sound is given: a `Sound`, several in a list, or {input: one of these, further inputs}."""
    if isinstance(given, list | tuple):
        return bool(given) and all(is_sound(part) for part in given)
    if isinstance(given, Mapping):
        return any(isinstance(value, Sound) for value in given.values())
    return isinstance(given, Sound)


@dataclass(frozen=True, eq=False)
class SoundQuestion:
    """Why a model answers as it does for a sound: pass it to `answer` with a method.

    samples: (T,) at the rate of the model. rate: that rate. frames: which are explained, as `Sound.frames`. more:
    further inputs. notes: what is to be said of how the sound was read; reason: why the target is what it is.
    """

    model: Model
    samples: NDArray[np.float32]
    rate: int
    frames: str | int
    hearing: Hearing
    more: Mapping[str, Any]
    target: Target
    layers: tuple[str, ...] = ()
    runtime: RunOptions | None = None
    notes: tuple[str, ...] = ()
    reason: str = ""

    @cached_property
    def _pieces(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        samples, length = self.samples, self.hearing.length
        if not self.hearing.frame and length is not None and len(samples) != length:
            samples = np.pad(samples[:length], (0, max(0, length - len(samples))))
        return frames_of(samples, self.hearing)

    @cached_property
    def _first(self) -> Input:
        piece = self._pieces[0][0]
        return input_of(self.model, {self.hearing.name: piece.reshape(self.hearing.fitted(len(piece))), **self.more})

    @cached_property
    def _heard(self) -> tuple[list[Mapping[str, NDArray[Any]]], NDArray[np.float64]]:
        """The states before each frame, and (frames,) the greatest score of its targets."""
        start, states = self._first, self.hearing.states
        target = Problem(self.model, start, self.target, (), self.runtime).target
        runtime, wanted = self.runtime or RunOptions(), [*states.values(), target.of]
        exposed = exposed_at(target.model, tuple(dict.fromkeys(wanted)))
        runner = session(exposed, providers=runtime.providers, threads=runtime.threads)
        feeds = {start.name: start.x, **start.others}
        before: list[Mapping[str, NDArray[Any]]] = []
        scores = []
        for piece in self._pieces[0]:
            feeds[start.name] = piece.reshape(start.x.shape).astype(start.x.dtype)
            before.append({name: feeds[name] for name in states})
            got = runner.run(feeds, wanted)
            feeds |= {name: got[output] for name, output in states.items()}
            y = got[target.of]
            scores.append(float(score(y, target.cotangents(y)).max()))
        return before, np.array(scores, np.float64)

    @property
    def scores(self) -> NDArray[np.float64]:
        """(frames,): the greatest score of each frame's targets."""
        return self._heard[1]

    def input(self, number: int) -> Input:
        """The input of one frame, with the states that the frames before it have left."""
        start = self._first
        states = self._heard[0][number] if self.hearing.states else {}
        piece = self._pieces[0][number].reshape(start.x.shape).astype(start.x.dtype)
        return replace(start, x=piece, others={**start.others, **states})

    def problem(self, number: int) -> Problem:
        """The question about one frame by its samples."""
        return Problem(self.model, self.input(number), self.target, self.layers, self.runtime)

    @cached_property
    def explained(self) -> tuple[int, ...]:
        """The numbers of the frames that are explained. Raises SoundError for one that does not exist."""
        count = len(self._pieces[0])
        if count == 1:
            return (0,)
        if self.frames == "all":
            return tuple(range(count))
        if self.frames == "strongest":
            return (int(self.scores.argmax()),)
        if int(self.frames) >= count:
            raise SoundError(f"there is no frame {self.frames}: the sound has {count}, from 0 to {count - 1}")
        return (int(self.frames),)

    @cached_property
    def plane(self) -> Plane:
        """Of one frame."""
        return plane_for(self._pieces[0].shape[1], self.rate, self.hearing.window)

    @cached_property
    def inserted(self) -> Model:
        """The model with the coefficients of a frame as its input."""
        length = self.plane.length
        return with_plane(
            self.model, self.hearing.name, self.plane, self.hearing.fitted(length), bool(self.hearing.states)
        )

    def by_plane(self, number: int) -> Problem:
        """The question about one frame by its coefficients."""
        given = self.input(number)
        c = self.plane.coefficients(given.x.ravel())[None]
        name = plane_input(given.name)
        made = Input(name, c, given.others, "NCHW", labels=given.labels, at=True)
        return Problem(self.inserted, made, self.target, (), self.runtime)

    def heard(self, values: Sequence[NDArray[np.float32]]) -> HeardSound:
        """The sound with the relevance (F, M) of each explained frame."""
        pieces, starts = self._pieces
        first, last = self.explained[0], self.explained[-1]
        length = int(starts[last] - starts[first]) + pieces.shape[1]
        plane = replace(self.plane, length=length)
        whole = np.zeros(plane.shape, np.float32)
        segment = np.zeros(length, np.float32)
        for number, part in zip(self.explained, values, strict=True):
            offset = int(starts[number] - starts[first])
            segment[offset : offset + pieces.shape[1]] = pieces[number]
            column = min(round(offset / plane.hop), whole.shape[1] - part.shape[1])
            whole[:, column : column + part.shape[1]] += part
        scored = self.scores if self.frames == "strongest" and len(pieces) > 1 else np.zeros(0)
        start = float(starts[first]) / self.rate
        frame = self.hearing.frame if len(pieces) > 1 else 0
        return HeardSound(segment, self.rate, start, plane, whole, self.samples, frame, self.explained, scored)


def question_of(
    model: Model, given: Any, target: Any = None, layers: Sequence[str] = (), runtime: RunOptions | None = None
) -> SoundQuestion:
    """The question about a sound, at the rate of the model. Raises SoundError, and what `input_of` raises."""
    more: dict[str, Any] = {}
    if isinstance(given, Mapping):
        sounds = {name: value for name, value in given.items() if isinstance(value, Sound)}
        if len(sounds) > 1:
            raise SoundError(f"several sounds were given ({', '.join(sounds)}): a model hears one")
        more = {name: value for name, value in given.items() if name not in sounds}
        given = next(iter(sounds.values()))
    heard = hearing(model)
    notes = []
    rate = heard.rate
    if rate is None:
        rate = given.rate
        notes.append(
            f"the rate that the model hears at is not known: the sound's own, {rate} Hz, is taken; say it with "
            "sound={'rate': 16000}"
        )
    samples = resampled(given.samples, given.rate, rate)
    if heard.length is not None and len(samples) < heard.length - heard.context:
        notes.append(f"the sound has {len(samples)} samples, the model hears {heard.length}: silence follows")
    target, reason = _asked(model, target)
    return SoundQuestion(
        _settled(model, heard),
        samples,
        rate,
        given.frames,
        heard,
        more,
        Target.of(target),
        tuple(layers),
        runtime,
        tuple(notes),
        reason,
    )


def _settled(model: Model, heard: Hearing) -> Model:
    """The model with its rate as a constant; of one that carries states, one frame at a time, with its sizes known."""
    if not heard.feeds and not heard.states:
        return model
    shapes = {heard.name: heard.fitted(heard.frame + heard.context)} if heard.states else {}
    for value in model.inputs:
        if value.name in heard.states:
            shapes[value.name] = tuple(size if isinstance(size, int) else 1 for size in value.shape or ())
    return settled_model(model, heard.feeds, shapes)


def _asked(model: Model, target: Any) -> tuple[Target, str]:
    """The target, by default of a model that says how likely a sound is there that it is; and why."""
    asked = Target.of(target)
    if str(asked) == "predicted" and answer_of(model).kind == "two":
        return Target.of(1), "the model answers with one probability: what makes it high is explained"
    return asked, ""


def answer(question: SoundQuestion, method: Any, solve: Solve) -> Explanation | Explanations:
    """The explanation of a sound by a method, in time and frequency; several for several targets."""
    if question.layers and not method.at_layer:
        solve(question.problem(0), method)  # raises
    made = question.problem if method.at_layer else question.by_plane
    frames = [list(solve(made(number), method)) for number in question.explained]
    found = [_joined(question, parts) for parts in zip(*frames, strict=True)]
    return found[0] if len(found) == 1 else Explanations(found)


def _joined(question: SoundQuestion, parts: Sequence[Explanation]) -> Explanation:
    """One explanation of all frames: that of the first, with the values of all in time and frequency."""
    heard = question.heard([_in_plane(e, question.plane) for e in parts])
    numbers = ", ".join(map(str, question.explained[:8])) + ", ..." * (len(question.explained) > 8)
    details: dict[str, Any] = dict(parts[0].details) if len(parts) == 1 else {}
    details.pop("at", None)
    if question.reason:
        details["target"] = question.reason
    if heard.frame:
        details["frames"] = numbers
        details["scores"] = [float(e.score) for e in parts] if len(parts) > 1 else parts[0].score
    best = max(parts, key=lambda e: e.score)
    said = (text for e in parts for text in e.warnings if not text.startswith("only the input"))
    warnings = dict.fromkeys([*question.notes, *said])
    positive = parts[0].display == "positive" or parts[0].reduce == "max-abs"
    return replace(
        best,
        values=heard.values,
        details=details,
        warnings=tuple(warnings),
        reduce="sum",
        display="positive" if positive else "signed",
        size=heard.plane.shape,
        map=np.ascontiguousarray(heard.values[::-1]),
        underneath=heard.picture,
        model=question.model,
        inputs=(question.hearing.name,),
        extent=None,
        channels=None,
        geometry=None,
        sound=heard,
    )


def _in_plane(e: Explanation, plane: Plane) -> NDArray[np.float32]:
    """Values of a frame over its coefficients (F, M): real and imaginary parts together, coarser maps enlarged, values
    along time for all frequencies."""
    from ...kernels.upsample import upsample, upsample_along

    values = np.asarray(e.values, np.float32)
    if values.ndim == 3 and values.shape[1:] == plane.shape:
        return np.asarray(np.sqrt((values**2).sum(axis=0)) if e.reduce == "max-abs" else values.sum(axis=0))
    if e.extent is not None and len(e.extent) == 1:
        along = e.heatmap if values.ndim == 1 else upsample_along(values.reshape(-1), e.extent)
        places = np.clip(np.rint(plane.times * plane.rate - 0.5), 0, len(along) - 1).astype(int)
        return np.broadcast_to(along[places], plane.shape)
    if values.ndim == 2:
        return values if values.shape == plane.shape else upsample(values, plane.shape)
    raise SoundError(f"the values of {e.method} have the shape {list(values.shape)}, which has no place in a sound")
