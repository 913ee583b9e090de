"""From objectives to pictures: the size they are made at, and how many of them run together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import Disconnected, MethodError, ShapeError
from ..graph.model import Model
from ..inference.batches import RunOptions
from ..inspect.layers import value_of
from ..inspect.receptive_field import ReceptiveField
from .canvas import Canvas, canvas_of, labels_of
from .loop import Painted, Recipe, Start, optimise
from .network import Network
from .objective import Objective

# The least side of a picture, unless the model's own is smaller, and its multiple of the receptive field.
_LEAST, _MARGIN = 96, 1.25
_MOST_SIDE = 4096
# How much stronger noise is where the usual one gives no slope.
_LOUDER = 10.0


# Called with the numbers of the pictures, the step, the pictures (n, C, H, W) and their scores (n,).
OnStep: TypeAlias = Callable[[Sequence[int], int, NDArray[np.float32], NDArray[np.float32]], None]


@dataclass(frozen=True)
class Job:
    """Pictures to be made: of every objective `count` ones, with `recipe`.

    size: (height, width), None: near the receptive field of units, the model's own for classes. start: as
    `loop.Start`, whose picture has that size. minimise: climb down. batch: pictures of one run, None for one.
    """

    model: Model
    objectives: tuple[Objective, ...]
    recipe: Recipe
    size: tuple[int, int] | None = None
    count: int = 1
    minimise: bool = False
    batch: int | None = None
    start: Callable[[Canvas], Start] | None = None
    runtime: RunOptions = field(default_factory=RunOptions)
    on_step: OnStep | None = None

    @property
    def wanted(self) -> list[tuple[Objective, int]]:
        """(objective, variant) of every picture."""
        return [(o, variant) for o in self.objectives for variant in range(self.count)]


@dataclass(frozen=True)
class Batch:
    """Pictures that ran together: their numbers among those of the job, the canvas, and what came out.

    louder: whether they began with stronger noise, because the usual one gave no slope.
    """

    numbers: tuple[int, ...]
    canvas: Canvas
    painted: Painted
    louder: bool = False


def paint(job: Job, only: Sequence[int] | None = None) -> Iterator[Batch]:
    """Make the pictures, batch by batch; `only` those of these numbers.

    Raises UnknownName, TargetError, ShapeError, GradientError and its subclasses (Disconnected where not one of the
    objectives of the job depends on the image), ModelError, CardError.
    """
    canvas, labels = canvas_of(job.model), labels_of(job.model)
    if job.size is not None:
        check_size(job.size)
    wanted = job.wanted
    numbers = list(range(len(wanted)) if only is None else only)
    waiting: list[Batch] = []
    alive = len(numbers) < len(wanted)
    for part in _parts(job, numbers):
        rows = [wanted[n] for n in part]
        objectives = [-o if job.minimise else o for o, _ in rows]
        network = _network(job, canvas, objectives, labels)
        shown = network.canvas.with_size(_picture_size(job, network.canvas.size))
        start = job.start(shown) if job.start is not None else None
        recipes = [job.recipe] if start is not None else [job.recipe, *_louder(job.recipe)]
        for recipe in recipes:
            painted = optimise(
                network,
                recipe,
                variants=[variant for _, variant in rows],
                start=start,
                on_step=_stepping(job, part),
                size=shown.size,
                threads=job.runtime.threads,
            )
            if not painted.silent.all():
                break
        waiting.append(Batch(tuple(part), shown, painted, louder=recipe is not job.recipe))
        alive = alive or not painted.silent.all()
        if alive:
            yield from waiting
            waiting.clear()
    if waiting:
        steps = len(waiting[0].painted.history)
        raise Disconnected(
            f"{wanted[numbers[0]][0]} does not depend on the image: its gradient was 0 in all {steps} steps; choose "
            "another unit, or another start (seed)"
        )


def _louder(recipe: Recipe) -> list[Recipe]:
    """The recipe with stronger noise at the start, where it begins with noise.

    Near an even gray whole channels of the layers below may be silent, and a unit that reads them has no slope.
    """
    painter = recipe.parametrisation
    if not any(f.name == "deviation" for f in fields(painter)):  # type: ignore[arg-type]
        return []
    louder = replace(painter, deviation=_LOUDER * getattr(painter, "deviation", 0.0))  # type: ignore[type-var]
    return [replace(recipe, parametrisation=louder)]


def _picture_size(job: Job, seen: tuple[int, int]) -> tuple[int, int]:
    """Of pictures of which the network sees parts of the size `seen`."""
    larger = job.recipe.parametrisation.larger
    if larger == 1:
        return seen
    return job.size or (round(larger * seen[0]), round(larger * seen[1]))


def _parts(job: Job, numbers: list[int]) -> Iterator[list[int]]:
    """Numbers that run together: those of objectives of one structure next to each other."""
    wanted = job.wanted
    part: list[int] = []
    for n in numbers:
        together = wanted[n][0].together
        most = job.count if together else job.batch or 1
        if part and (len(part) >= most or _structure(wanted[n][0]) != _structure(wanted[part[-1]][0])):
            yield part
            part = []
        part.append(n)
    if part:
        yield part


def _structure(objective: Objective) -> object:
    """Equal for objectives that differ in numbers only."""
    parts = {k: _structure(v) if isinstance(v, Objective) else k == "layer" and v for k, v in vars(objective).items()}
    return type(objective), tuple(sorted(parts.items(), key=lambda item: item[0]))


def _stepping(job: Job, part: list[int]) -> Callable[[int, NDArray[np.float32], NDArray[np.float32]], None] | None:
    report = job.on_step
    if report is None:
        return None

    def step(number: int, pictures: NDArray[np.float32], score: NDArray[np.float32]) -> None:
        report(part, number, pictures, score)

    return step


def _network(job: Job, canvas: Canvas, objectives: list[Objective], labels: tuple[str, ...] | None) -> Network:
    """The network at the size asked for, else at the one that suits the objectives or, if it must, at its own."""

    def at(size: tuple[int, int]) -> Network:
        running = job.runtime
        return Network(
            job.model,
            canvas.with_size(size),
            objectives,
            labels=labels,
            providers=running.providers,
            threads=running.threads,
        )

    if job.size is not None and job.recipe.parametrisation.larger == 1:
        return at(job.size)
    near = default_size(job.model, canvas, objectives[0])
    if near == canvas.size:
        return at(near)
    try:
        return at(near)
    except ShapeError:  # its size is fixed: see `free_size`
        return at(canvas.size)


def check_size(size: tuple[int, int]) -> None:
    """Raises ShapeError for a picture's size that is none."""
    if len(size) != 2 or any(not 1 <= side <= _MOST_SIDE for side in size):
        raise ShapeError(f"a picture of {'x'.join(map(str, size))} pixels: each side is 1 to {_MOST_SIDE}")


def default_size(model: Model, canvas: Canvas, objective: Objective) -> tuple[int, int]:
    """A little more than the receptive field of the layer of a unit, at least 96; at most the model's own size."""
    field = _field(model, objective)
    if field is None or len(field.size) != 2:
        return canvas.size
    height, width = (16 * -(-round(_MARGIN * side) // 16) for side in field.size)
    return min(canvas.size[0], max(_LEAST, height)), min(canvas.size[1], max(_LEAST, width))


def about_classes(objective: Objective) -> bool:
    """Whether no part of the objective is about a layer."""
    return not any(getattr(part, "layer", None) for part in _all(objective))


def _field(model: Model, objective: Objective) -> ReceptiveField | None:
    layers = [layer for part in _all(objective) if (layer := getattr(part, "layer", None))]
    if not layers or len(layers) < len([p for p in _all(objective) if not _is_compound(p)]):
        return None
    values = {value_of(model, layer) for layer in layers}
    fields = [entry.receptive_field for entry in model.layers if entry.output in values]
    if not fields or any(f is None for f in fields):
        return None
    return max((f for f in fields if f is not None), key=lambda f: f.size)


def _is_compound(objective: Objective) -> bool:
    return any(isinstance(v, Objective) for v in vars(objective).values())


def _all(objective: Objective) -> Iterator[Objective]:
    yield objective
    for value in vars(objective).values():
        if isinstance(value, Objective):
            yield from _all(value)


def check_job(job: Job) -> None:
    """Raises MethodError for numbers that make no sense."""
    if job.recipe.steps < 0 or job.count < 1 or job.recipe.views < 1 or (job.batch is not None and job.batch < 1):
        raise MethodError(
            f"{job.recipe.steps} steps, {job.count} pictures, {job.recipe.views} views, {job.batch or 1} at once: "
            "steps are at least 0, the others at least 1"
        )
