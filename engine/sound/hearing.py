"""How a model hears: its input, rate, frames and states, found by structure and by the `sound` field of its card."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..caches import of_model
from ..errors import SoundError
from ..graph.model import Model
from ..inspect.input_kind import input_kinds
from ..inspect.recurrent_state import state_inputs, state_outputs
from ..proto.values import Value

# Frames of a sound that are looked at, at most.
MOST_FRAMES = 20_000
# Names of a scalar input that is the rate.
_RATES = ("sr", "rate", "sample_rate", "sampling_rate", "samplerate", "fs")
# silero-vad: units of its state -> samples of a frame at 16 kHz, and of the one before that are heard again.
_SILERO = {128: (512, 64), 64: (512, 0)}
_SILERO_RATE = 16_000


@dataclass(frozen=True)
class Hearing:
    """How a model hears.

    name: of the input. shape: of one sample with the batch axis, the length at `axis`. length: samples that it takes at
    once, None: any. rate: samples per second, None where not known. frame: new samples of a step; context: samples of
    the step before in front of them; both 0 where the model hears a sound in one piece. window: of the plane, None: by
    the length. feeds: further inputs that are known, such as the rate. states: input -> output that it comes from.
    """

    name: str
    shape: tuple[int, ...]
    axis: int
    length: int | None
    rate: int | None
    frame: int
    context: int
    window: int | None
    feeds: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)

    def fitted(self, length: int) -> tuple[int, ...]:
        """The shape of an input of so many samples."""
        return tuple(length if axis == self.axis else size for axis, size in enumerate(self.shape))


@of_model
def hearing(model: Model) -> Hearing:
    """How the model hears. Raises SoundError where it takes no samples, or how long its frames are is not known."""
    said: Mapping[str, Any] = model.overrides.get("sound") or {}
    value = _input(model)
    axis = _axis(model, value)
    shape = tuple(size if isinstance(size, int) else 1 for size in value.shape or ())
    length = (value.shape or ())[axis]
    length = length if isinstance(length, int) else None
    states = state_outputs(model)
    known = _silero(model) if states else None
    rates = [v for v in model.inputs if v.name.lower() in _RATES and v.name != value.name]
    rate = said.get("rate") or (_SILERO_RATE if known else None)
    if rates and rate is None:
        raise SoundError(
            f"the model asks for a rate, {rates[0].name!r}, and none is said: give sound={{'rate': 16000}}"
        )
    frame, context = said.get("frame", 0), said.get("context", 0)
    if not frame and known:
        scale = rate / _SILERO_RATE if rate else 1
        frame, context = (round(part * scale) for part in known)
    if not frame and states and length is None:
        raise SoundError(
            "the model carries a state from frame to frame, and how long a frame is is not known: give it in samples, "
            "sound={'frame': 512}, with 'context' where samples of the frame before come first"
        )
    if length is not None:
        frame = frame or length - context
        if frame + context != length:
            raise SoundError(
                f"the model hears {length} samples at once, and a frame of {frame} behind a context of {context} was "
                f"said: they have to add up"
            )
    feeds = {v.name: np.full([1] * (v.rank or 0), rate, v.dtype or np.int64) for v in rates}
    return Hearing(value.name, shape, axis, length, rate, frame, context, said.get("window"), feeds, states)


def hears(model: Model) -> bool:
    """Whether a model takes samples of a sound."""
    try:
        hearing(model)
    except SoundError:
        return False
    return True


def _input(model: Model) -> Value:
    """The input that takes samples: that of the kind "sound", else the only one of floats that is no state."""
    named = model.overrides.get("input")
    kinds, states = input_kinds(model), state_inputs(model)
    floats = [v for v in model.inputs if v.dtype is not None and v.dtype.kind == "f" and v.name not in states]
    heard = [v for v in floats if kinds[v.name].kind == "sound"]
    for found in ([v for v in floats if v.name == named], heard, floats if len(floats) == 1 else []):
        if found and found[0].rank is not None and 1 <= found[0].rank <= 3:
            return found[0]
    listed = ", ".join(str(v) for v in model.inputs)
    raise SoundError(f"the model has no input of samples ({listed}): name it with input=, or give a model of sound")


def _axis(model: Model, value: Value) -> int:
    """The axis of time: what the card says, else the one axis besides the batch that is longer than 1. Raises
    SoundError."""
    shape = value.shape or ()
    axes = input_kinds(model)[value.name].axes
    if "T" in axes and len(axes) == len(shape):
        found = [axes.index("T")]
    else:
        found = [axis for axis, size in enumerate(shape) if size != 1 and (axis or len(shape) == 1)]
    wide = [axis for axis, size in enumerate(shape) if isinstance(size, int) and size != 1 and axis not in (0, *found)]
    if len(found) != 1 or wide:
        raise SoundError(
            f"the input {value} takes no row of samples: a sound fits (N, T), (N, 1, T) and (N, T, 1); give a "
            "spectrogram as an array"
        )
    return found[0]


def _silero(model: Model) -> tuple[int, int] | None:
    """Frame and context of silero-vad, by its inputs."""
    first = model.inputs[0].name
    outputs = {value.name for value in model.outputs}
    if first != "input" or not outputs & {"stateN", "hn"}:
        return None
    units = {shape[-1] for value in model.inputs[1:] if (shape := value.shape) and value.name in state_inputs(model)}
    return next((_SILERO[n] for n in units if isinstance(n, int) and n in _SILERO), None)


def frames_of(samples: NDArray[np.float32], heard: Hearing) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(frames, length) what the model hears one after the other, and (frames,) where each begins in the sound, context
    included: silence stands in front of the first and behind the last. Raises SoundError for too many."""
    if not heard.frame:
        return samples[None], np.zeros(1, np.int64)
    count = max(1, math.ceil(len(samples) / heard.frame))
    if count > MOST_FRAMES:
        raise SoundError(f"the sound has {count} frames, more than the limit of {MOST_FRAMES}: cut it")
    length = heard.frame + heard.context
    whole = np.zeros(heard.context + count * heard.frame, np.float32)
    whole[heard.context : heard.context + len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(whole, length)[:: heard.frame]
    return frames, np.arange(count) * heard.frame - heard.context
