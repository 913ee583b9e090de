"""What a user gives for a model of sound: samples and their rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import SoundError

# Which frames of a sound are explained: the one of the greatest score, all of them, or one by its number.
Frames: TypeAlias = Literal["strongest", "all"] | int
# Samples of a sound at most, an hour of 48 kHz; rates that are taken, in Hz.
MOST_SAMPLES = 3600 * 48_000
_RATES = (100, 768_000)


@dataclass(frozen=True, eq=False)
class Sound:
    """A sound for a model that reads samples, or the spectrogram of them.

    samples: (T,), or (T, channels), which are averaged; integers count in parts of the largest one of their type, so
        that 1 is full scale. rate: samples per second. frames: which parts of the sound are explained, where the model
        reads it in frames: "strongest" (that of the greatest score), "all", or the number of one, from 0.

    Raises SoundError for samples that are none, an empty sound, one that holds NaN, a rate that no sound has.
    """

    samples: NDArray[np.float32]
    rate: int
    frames: Frames = "strongest"

    def __init__(self, samples: ArrayLike, rate: int, frames: Frames = "strongest") -> None:
        found = _mono(np.asarray(samples))
        if isinstance(rate, bool) or not isinstance(rate, int | np.integer) or not _RATES[0] <= rate <= _RATES[1]:
            raise SoundError(f"the rate {rate!r} is none of a sound: give whole samples per second, such as 16000")
        if not (frames in ("strongest", "all") or (isinstance(frames, int) and frames >= 0)):
            raise SoundError(f"frames={frames!r} is none of 'strongest', 'all' and the number of a frame, from 0")
        object.__setattr__(self, "samples", found)
        object.__setattr__(self, "rate", int(rate))
        object.__setattr__(self, "frames", frames)

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / self.rate

    def __repr__(self) -> str:
        return f"Sound({self.seconds:.3f} s at {self.rate} Hz)"


def _mono(samples: NDArray[Any]) -> NDArray[np.float32]:
    """One channel of floats. Raises SoundError."""
    if samples.ndim not in (1, 2) or samples.dtype.kind not in "fiu":
        raise SoundError(f"a sound was given as {samples.dtype} {list(samples.shape)}: give (T,) or (T, channels)")
    if not samples.size:
        raise SoundError("the sound has no samples: there is nothing to explain the answer by")
    if samples.ndim == 2 and samples.shape[1] > samples.shape[0]:
        raise SoundError(f"a sound of {list(samples.shape)} has more channels than samples: give (T, channels)")
    if len(samples) > MOST_SAMPLES:
        raise SoundError(f"the sound has {len(samples)} samples, more than the limit of {MOST_SAMPLES}: cut it")
    if samples.dtype.kind in "iu":
        limits = np.iinfo(samples.dtype)
        zero = (limits.max + 1) // 2 if samples.dtype.kind == "u" else 0
        samples = (samples.astype(np.float64) - zero) / (limits.max - zero + 1)
    if not np.isfinite(samples).all():
        raise SoundError("the sound holds NaN or infinite samples: give finite ones")
    mixed = samples if samples.ndim == 1 else samples.mean(axis=1)
    return np.ascontiguousarray(mixed, np.float32)
