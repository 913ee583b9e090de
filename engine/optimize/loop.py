"""The loop: seen through random transforms, the pictures of one run climb their objectives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...kernels.warp import unwarp, warp
from .network import Climb, Network
from .optimiser import Optimiser, schedule
from .optimisers.adam import Adam
from .parametrisation import Painter, Parametrisation
from .parametrisations.fourier import Fourier
from .regulariser import Regulariser
from .transform import Moment, Transform, matrix_of, noise_of
from .transforms.moves import Jitter, Rotate, Scale

# Of units; and of classes on pictures of at least so many pixels a side, which more networks then recognise (measured:
# `docs/visualize.md`).
DEFAULT_TRANSFORMS: tuple[Transform, ...] = (Jitter(), Scale(), Rotate())
CLASS_TRANSFORMS: tuple[Transform, ...] = (Jitter(16.0), Scale(0.8, 1.2), Rotate(15.0))
CLASS_SIDE = 160
# On smaller pictures the jitter is this share of the least side: 8 pixels of 28 move digits away.
SMALL_SIDE, SMALL_JITTER = 96, 1 / 12


@dataclass(frozen=True)
class Recipe:
    """How pictures are optimised.

    views: how often a picture is seen, each time through other transforms, in one step. settle: stop before `steps`
    once neither the objective nor the picture changes any more. schedule: of the optimiser's rate.
    """

    steps: int = 128
    seed: int = 0
    parametrisation: Parametrisation = field(default_factory=Fourier)
    transforms: tuple[Transform, ...] = DEFAULT_TRANSFORMS
    optimiser: Optimiser = field(default_factory=Adam)
    regularisers: tuple[Regulariser, ...] = ()
    schedule: str = "constant"
    views: int = 1
    settle: bool = True


@dataclass(frozen=True)
class Painted:
    """Pictures (N, C, H, W) in 0..1 and what the network says of them as they are: score, linear, after, each (N,).

    transparency: (N, H, W), the mean |gradient| over all steps. history: the mean score of every step, (steps, N).
    silent: (N,), whether no step had any slope, or none that a float32 score shows.
    """

    pictures: NDArray[np.float32]
    score: NDArray[np.float32]
    linear: NDArray[np.float32]
    after: NDArray[np.float32]
    transparency: NDArray[np.float32]
    history: NDArray[np.float32]
    silent: NDArray[np.bool_]


@dataclass(frozen=True)
class Start:
    """What the pictures begin with: `picture` (C, H, W) in 0..1, None for noise; `mask` (H, W) in 0..1: what may
    change."""

    picture: NDArray[np.float32] | None = None
    mask: NDArray[np.float32] | None = None


OnStep = Callable[[int, NDArray[np.float32], NDArray[np.float32]], None]


def optimise(
    network: Network,
    recipe: Recipe,
    *,
    variants: Sequence[int] | None = None,
    start: Start | None = None,
    on_step: OnStep | None = None,
    size: tuple[int, int] | None = None,
    threads: int | None = None,
) -> Painted:
    """Climb the objectives of `network`, one picture for each of its rows.

    size: of the pictures, by default the one that the network takes; a larger picture is seen whole when nothing moves.

    variants: of every row; rows with the same one see the same noise and the same transforms, whatever else runs with
    them. on_step: called after every step with its number, the pictures before it and the scores. Memory does not
    depend on the number of steps. Raises what `Network.run` raises.
    """
    variants = list(variants) if variants is not None else [0] * network.rows
    start = start or Start()
    rngs = [np.random.default_rng([recipe.seed, variant]) for variant in variants]
    painter = recipe.parametrisation.on(network.canvas.with_size(size or network.canvas.size), threads)
    first = [painter.start(rng) for rng in rngs]
    if start.picture is not None:
        first = [painter.values_of(start.picture)] * network.rows
    values = np.ascontiguousarray(np.stack(first), np.float32)
    climber = _Climber(network, recipe, painter, start, rngs, threads)
    move, rate = recipe.optimiser.on(values), schedule(recipe.schedule)
    history, settled = [], _Settled()
    for step in range(recipe.steps):
        pictures = climber.pictures(values)
        score, cotangents = climber.slope(pictures, step)
        history.append(score)
        if on_step is not None:
            on_step(step, pictures, score)
        if (recipe.settle and settled(score, pictures)) or (step == _PATIENCE and climber.silent.all()):
            break
        gradient = painter.gradient(values, pictures, cotangents)
        move(values, gradient, rate(step / max(1, recipe.steps - 1)))
    pictures = climber.pictures(values)
    last = climber.look(pictures)
    return Painted(
        pictures,
        last.score,
        last.linear,
        last.after,
        climber.transparency / np.float32(max(1, len(history))),
        np.array(history, np.float32).reshape(-1, network.rows),
        climber.silent,
    )


class _Climber:
    """One run's pictures, how they are seen, and the slope of their objectives."""

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        painter: Painter,
        start: Start,
        rngs: Sequence[np.random.Generator],
        threads: int | None,
    ) -> None:
        self.network, self.recipe, self.painter, self.start = network, recipe, painter, start
        self.rngs, self.threads = rngs, threads
        self.size = painter.canvas.size
        self.transparency = np.zeros((network.rows, *self.size), np.float32)
        self.silent = np.full(network.rows, recipe.steps > 0)
        rest = matrix_of((), rngs[0], Moment(0, 1, network.canvas.size), self.size)
        self._still = np.broadcast_to(rest, (network.rows, 2, 3))

    def pictures(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The pictures of values; where the mask forbids change, the start's."""
        made = self.painter.pictures(values)
        picture, mask = self.start.picture, self.start.mask
        return made if mask is None or picture is None else picture + mask * (made - picture)

    def slope(self, pictures: NDArray[np.float32], step: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The mean score (N,) over all views, and the gradient by what the parametrisation makes, (N, C, H, W)."""
        score = np.zeros(len(pictures), np.float32)
        total = np.zeros_like(pictures)
        for _ in range(self.recipe.views):
            climb, gradient = self._view(pictures, step)
            score += climb.score
            total += gradient
        if self.recipe.views > 1:
            score /= np.float32(self.recipe.views)
            total /= np.float32(self.recipe.views)
        for part in self.recipe.regularisers:
            penalty, gradient = part.penalty(pictures)
            score -= penalty.astype(np.float32)
            total -= gradient
        if self.start.mask is not None and self.start.picture is not None:
            total *= self.start.mask
        if self.recipe.parametrisation.keeps_transparency:
            self.transparency += np.abs(total).sum(axis=1)
        return score, total

    def _view(self, pictures: NDArray[np.float32], step: int) -> tuple[Climb, NDArray[np.float32]]:
        canvas, recipe = self.network.canvas, self.recipe
        moment = Moment(step, recipe.steps, canvas.size)
        drawn = [(matrix_of(recipe.transforms, rng, moment, self.size), rng) for rng in self.rngs]
        noise = [noise_of(recipe.transforms, rng, moment, canvas.channels) for _, rng in drawn]
        matrices = np.stack([matrix for matrix, _ in drawn])
        climb = self._run(pictures, matrices, noise)
        gradient = unwarp(
            canvas.seen(climb.gradient),
            matrices,
            self.size,
            order=canvas.order,
            gain=canvas.gain,
            threads=self.threads,
        )
        if self.silent.any():
            # So small a slope cannot change the score, whatever the picture: rests of weights that training shrank.
            least = np.finfo(np.float32).eps * np.abs(climb.score)
            self.silent &= np.abs(gradient).sum(axis=(1, 2, 3)) <= least
        return climb, gradient

    def _run(
        self, pictures: NDArray[np.float32], matrices: NDArray[np.float64], noise: Sequence[NDArray[np.float32] | None]
    ) -> Climb:
        canvas = self.network.canvas
        seen = warp(
            pictures,
            matrices,
            canvas.size,
            order=canvas.order,
            gain=canvas.gain,
            shift=canvas.shift,
            threads=self.threads,
        )
        for row, added in zip(seen, noise, strict=True):
            if added is not None:
                row += added[list(canvas.order)] * np.reshape(np.array(canvas.gain, np.float32), (-1, 1, 1))
        return self.network.run(canvas.tensor(seen))

    def look(self, pictures: NDArray[np.float32]) -> Climb:
        """What the network says of the pictures as they are."""
        return self._run(pictures, self._still, [None] * len(pictures))


class _Settled:
    """Whether the objective and the picture have come to rest: looked at every `_EVERY` steps."""

    def __init__(self) -> None:
        self._scores: list[NDArray[np.float32]] = []
        self._mean: NDArray[np.float64] | None = None
        self._picture: NDArray[np.float32] | None = None

    def __call__(self, score: NDArray[np.float32], pictures: NDArray[np.float32]) -> bool:
        self._scores.append(score)
        if len(self._scores) < _EVERY:
            return False
        mean: NDArray[np.float64] = np.asarray(np.mean(self._scores, axis=0, dtype=np.float64))
        earlier = self._mean
        picture, before = pictures.copy(), self._picture
        self._scores, self._mean, self._picture = [], mean, picture
        if earlier is None or before is None:
            return False
        gained = (mean - earlier) / np.maximum(np.abs(mean), 1e-12)
        changed = np.abs(picture - before).mean(axis=(1, 2, 3))
        return bool(((gained < _GAIN) & (changed < _CHANGE)).all())


# A window of steps, the least relative gain of its mean score, the least mean change of its picture. With them units
# that are drawn after some 64 steps end there, and those that still grow (some of first layers) go on.
_EVERY, _GAIN, _CHANGE = 16, 0.12, 0.05
# Steps after which a unit without any slope is given up.
_PATIENCE = 7
