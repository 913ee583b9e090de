"""An explained sound: relevance in time and frequency, and what of the sound it is about, to be listened to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .plane import Plane

# Coefficients of this percentile of the positive relevance and above are heard in full.
_FULL = 99.0
# Of the picture of a sound: the percentile at the end of the colours, decibels from the loudest coefficient to white.
_BRIGHT = 90.0
_RANGE = 70.0
# Gray levels that the loudest is darker than white: colours stand out on it.
_INK = 150


@dataclass(frozen=True, eq=False)
class HeardSound:
    """An explained sound.

    samples: float32 (T,), the part of the sound that is explained, mono, at `rate` of the model. start: where it begins
    in the sound, in seconds. plane: how its coefficients lie. values: float32 (frequencies, times), the relevance of
    each coefficient, low frequencies first. whole: the sound (T',) at the same rate. frame: samples of a step, 0 where
    the sound is heard in one piece; explained: the numbers of the frames that the values are about. scores: float64
    (frames,), the score of each frame; empty where only the explained ones were run.
    """

    samples: NDArray[np.float32]
    rate: int
    start: float
    plane: Plane
    values: NDArray[np.float32]
    whole: NDArray[np.float32]
    frame: int
    explained: tuple[int, ...]
    scores: NDArray[np.float64]

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """(frequencies,): of the rows of `values`, in Hz."""
        return self.plane.frequencies

    @property
    def times(self) -> NDArray[np.float64]:
        """(times,): the middle of the columns of `values`, in seconds of the whole sound."""
        return self.start + self.plane.times

    @cached_property
    def coefficients(self) -> NDArray[np.float32]:
        """(2, frequencies, times): real and imaginary parts."""
        return self.plane.coefficients(self.samples)

    @cached_property
    def heard(self) -> NDArray[np.float32]:
        """(T,): the sound with each coefficient weighted by its positive relevance, 0 to 1: what speaks for the target.

        With `without` it adds up to the sound.
        """
        positive = np.maximum(np.nan_to_num(self.values), 0)
        most = float(np.percentile(positive[positive > 0], _FULL)) if (positive > 0).any() else 0.0
        mask = np.clip(positive / most, 0, 1) if most else positive
        return np.asarray(self.plane.samples(self.coefficients * mask), np.float32)

    @property
    def without(self) -> NDArray[np.float32]:
        """(T,): the sound without `heard`."""
        return self.samples - self.heard

    @cached_property
    def most(self) -> float:
        """The magnitude at the end of the colours: the 90th percentile of those above a hundredth of the greatest."""
        found = np.abs(np.nan_to_num(self.values))
        seen = found[found > 0.01 * found.max()] if found.size else found
        return float(np.percentile(seen, _BRIGHT)) if seen.size else 1.0

    @cached_property
    def decibels(self) -> NDArray[np.float32]:
        """(frequencies, times): how loud each coefficient is, in dB under the loudest, -70 at least."""
        power = (self.coefficients.astype(np.float64) ** 2).sum(axis=0)
        most = float(power.max()) or 1.0
        return np.asarray(np.maximum(10 * np.log10(np.maximum(power / most, 1e-30)), -_RANGE), np.float32)

    def picture(self) -> NDArray[np.uint8]:
        """uint8 (frequencies, times, 3): the spectrogram in grays, dark is loud, low frequencies at the bottom."""
        gray = np.rint(255 - (1 + self.decibels[::-1] / _RANGE) * _INK).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)
