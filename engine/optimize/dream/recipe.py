"""How a picture is dreamed: the numbers that may be chosen."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import MethodError

BLURS = (0.8, 1.6, 3.2)


@dataclass(frozen=True)
class DreamRecipe:
    """How a picture is dreamed (A. Mordvintsev, C. Olah and M. Tyka, "Inceptionism", 2015).

    Attributes:
        octaves: sizes that the picture is dreamed at; None: up to 4, the smallest with sides of at least 64 pixels.
        ratio: of one octave's side to the next smaller one's.
        steps: of each octave.
        rate: mean change of a value in one step, on the scale 0..1.
        jitter: the farthest shift of the picture before each step, in pixels, both ways.
        blurs: standard deviations in pixels; the gradient is the sum of its blurs. None of them: as it is.
        colours: whether the gradient of three channels is multiplied by the covariance of photographs' colours.
        tile: side of the parts that a larger picture is dreamed in, in pixels. overlap: of a part's border, in pixels,
            what only gives context.
        seed: of the shifts.
    """

    octaves: int | None = None
    ratio: float = 1.4
    steps: int = 10
    rate: float = 0.0045
    jitter: int = 16
    blurs: tuple[float, ...] = BLURS
    colours: bool = True
    tile: int = 512
    overlap: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        checks = (
            (self.octaves is None or self.octaves >= 1, f"octaves={self.octaves} must be at least 1"),
            (self.ratio > 1, f"ratio={self.ratio:g} must be more than 1"),
            (self.steps >= 0, f"steps={self.steps} must be at least 0"),
            (0 < self.rate <= 1, f"rate={self.rate:g} must be more than 0, at most 1"),
            (self.jitter >= 0, f"jitter={self.jitter} must be at least 0"),
            (all(sigma > 0 for sigma in self.blurs), f"blurs={list(self.blurs)} must each be more than 0"),
            (self.overlap >= 0, f"overlap={self.overlap} must be at least 0"),
            (
                self.tile > 2 * self.overlap,
                f"tile={self.tile} must be more than twice the overlap of {self.overlap} pixels",
            ),
            (self.seed >= 0, f"seed={self.seed} must be at least 0"),
        )
        for fits, text in checks:
            if not fits:
                raise MethodError(f"the dream's {text}")
