"""`visualize`: pictures of what a neuron, a channel, a layer, a class or a direction of a model looks for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .atomic import atomic
from .attribution.png import write
from .errors import MethodError
from .graph.model import Model, Source
from .inference.batches import RunOptions
from .load import load
from .optimize.canvas import Canvas
from .optimize.loop import DEFAULT_TRANSFORMS, Recipe
from .optimize.objective import Objective
from .optimize.optimiser import OPTIMISERS, Optimiser, schedule
from .optimize.paint import Batch, Job, check_job, paint
from .optimize.parametrisation import PARAMETRISATIONS, Parametrisation
from .optimize.regulariser import REGULARISERS, Regulariser
from .optimize.transform import TRANSFORMS, Transform
from .optimize.units import objectives_of
from .preprocess.card import OPTION_FIELDS


@dataclass(frozen=True)
class Visualization:
    """Pictures, and what the network says of them.

    Attributes:
        images: uint8 (N, H, W, 3) RGB; of other numbers of channels than 1 and 3 the first three.
        pictures: float32 (N, C, H, W) in 0..1, all channels.
        objectives: what each was made for, as text.
        activations: (N,), the objective's value for the picture as it is. before, after: of the unit or class that
            it is about, the linear value before its activation function (the logit) and the value after it (the
            probability).
        history: the objective's value in every step, one array (steps,) per picture.
        transparency: float32 (N, H, W): how much the objective was at work there, with MACO; else zeros.
        options: how they were made. model: what of.
        warnings: what is doubtful.
    """

    images: NDArray[np.uint8]
    pictures: NDArray[np.float32]
    objectives: tuple[str, ...]
    activations: NDArray[np.float32]
    before: NDArray[np.float32]
    after: NDArray[np.float32]
    history: tuple[NDArray[np.float32], ...]
    transparency: NDArray[np.float32]
    options: Mapping[str, Any] = field(repr=False)
    model: Model = field(repr=False)
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def manifest(self) -> dict[str, Any]:
        """Everything needed to make the pictures again, as JSON-like data."""
        return {
            "objectives": list(self.objectives),
            "activations": [float(v) for v in self.activations],
            "before_activation": [float(v) for v in self.before],
            "after_activation": [float(v) for v in self.after],
            "steps": [len(h) for h in self.history],
            "size": list(self.images.shape[1:3]),
            "options": dict(self.options),
            "warnings": list(self.warnings),
            "model": {
                "path": str(self.model.path) if self.model.path else None,
                "sha256": self.model.sha256,
            },
        }

    def save(self, dir: str | Path) -> dict[str, Path]:
        """Write the pictures as `0.png`, `1.png`, ..., all of them as float32 `pictures.npy`, and `manifest.json`.

        Each is written whole or not at all, the manifest last. Returns the paths. Raises OutputError.
        """
        folder = Path(dir)
        paths = {str(n): folder / f"{n}.png" for n in range(len(self))}
        for n, path in enumerate(paths.values()):
            write(path, self.images[n])
        paths["pictures"], paths["manifest"] = folder / "pictures.npy", folder / "manifest.json"
        with atomic(paths["pictures"]) as temporary, temporary.open("wb") as file:
            np.save(file, self.pictures)
        with atomic(paths["manifest"]) as temporary:
            temporary.write_text(json.dumps(self.manifest(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return paths


def visualize(
    model: Source,
    layer: str | None = None,
    channel: int | Sequence[int] | str | None = None,
    neuron: Sequence[Any] | str | None = None,
    target: Any = None,
    direction: Any = None,
    steps: int = 128,
    size: int | tuple[int, int] | None = None,
    seed: int = 0,
    *,
    objective: Objective | str | Sequence[Objective | str] | None = None,
    minimise: bool = False,
    count: int = 1,
    parametrisation: str | Parametrisation = "fourier",
    transforms: Sequence[str | Transform] | None = None,
    optimiser: str | Optimiser | None = None,
    regularisers: Sequence[str | Regulariser] = (),
    schedule: str = "constant",
    views: int | None = None,
    settle: bool = True,
    batch: int | None = None,
    progress: Callable[[int, int, float], None] | None = None,
    providers: Any = None,
    threads: int | None = None,
    **card: Any,
) -> Visualization:
    """Optimise images until they excite what is asked for most (C. Olah et al., "Feature Visualization", Distill 2017).

    layer: with `channel` (a number, a list, "0-7", "all"), `neuron` ((channel, y, x), or a list of them) or
        `direction` (a number for every channel); alone, the whole layer, as DeepDream does.
    target: a class, by index or label, or a `Target` that needs no image; a list of them for a picture each.
    objective: `engine.optimize.objective`'s, or their texts ("channel:conv3:5 + 0.5*logit:tabby").
    steps: at most; with `settle` it ends once neither objective nor picture change any more.
    size: side, or (height, width), in pixels, where the network allows it; by default near the receptive field of
        units, the model's own for classes. The values read are the linear ones before an activation function.
    seed: the same seed gives the same pictures. count: pictures of each, from other noise. minimise: the opposite.
    parametrisation, transforms, optimiser, regularisers: parts or their texts, as `onnxray visualize --help` lists
        them. schedule: "constant", "cosine", "linear" or "warmup". views: looks at the picture in each step.
    batch: pictures of one run; on a CPU one at a time is as fast. progress: called with steps done, steps at most of
        all pictures, and the objective's value.
    card: fields of the model card, as `load` takes them.

    Raises UnknownName (layer, label, part), TargetError (channel, place, class), MethodError (options), ShapeError (a
    size that the network cannot take), GradientError and its subclasses (no gradient, nothing depends on the image),
    ModelError, CardError.
    """
    fields = {name: value for name, value in card.items() if name in OPTION_FIELDS and name != "size"}
    unknown = [name for name in card if name not in fields]
    if unknown:
        raise MethodError(f"visualize has no option {unknown[0]!r}: see help(onnxray.visualize)")
    opened = load(model, **fields)
    asked = objectives_of(
        opened,
        layer=layer,
        channel=channel,
        neuron=neuron,
        target=target,
        direction=direction,
        objective=objective,
    )
    recipe = recipe_of(
        steps=steps,
        seed=seed,
        parametrisation=parametrisation,
        transforms=transforms,
        optimiser=optimiser,
        regularisers=regularisers,
        schedule=schedule,
        views=views,
        settle=settle,
    )
    job = Job(
        opened,
        tuple(asked),
        recipe,
        size=(size, size) if isinstance(size, int) else size,
        count=count,
        minimise=minimise,
        batch=batch,
        runtime=RunOptions(providers=providers, threads=threads),
        on_step=_reporter(progress, len(asked) * count, steps),
    )
    check_job(job)
    return visualization(job, list(paint(job)))


def recipe_of(
    *,
    steps: int = 128,
    seed: int = 0,
    parametrisation: str | Parametrisation = "fourier",
    transforms: Sequence[str | Transform] | None = None,
    optimiser: str | Optimiser | None = None,
    regularisers: Sequence[str | Regulariser] = (),
    schedule: str = "constant",
    views: int | None = None,
    settle: bool = True,
) -> Recipe:
    """The recipe of parts given as objects or texts. Raises UnknownName, MethodError."""
    _check_schedule(schedule)
    painter = PARAMETRISATIONS.make(parametrisation)
    given = tuple(TRANSFORMS.make(t) for t in transforms) if transforms is not None else painter.transforms
    return Recipe(
        steps=steps,
        seed=seed,
        parametrisation=painter,
        transforms=DEFAULT_TRANSFORMS if given is None else given,
        optimiser=OPTIMISERS.make(optimiser if optimiser is not None else painter.optimiser),
        regularisers=tuple(REGULARISERS.make(r) for r in regularisers),
        schedule=schedule,
        views=views or painter.views,
        settle=settle,
    )


_check_schedule = schedule


def _reporter(progress: Callable[[int, int, float], None] | None, pictures: int, steps: int) -> Any:
    if progress is None:
        return None

    def report(numbers: Sequence[int], step: int, shown: Any, score: NDArray[np.float32]) -> None:
        progress(numbers[0] * steps + (step + 1) * len(numbers), pictures * steps, float(score.mean()))

    return report


def visualization(job: Job, batches: Sequence[Batch]) -> Visualization:
    """The batches of a job, in one; their pictures must have one size. Raises MethodError where they do not."""
    canvas = batches[0].canvas
    sizes = {batch.canvas.size for batch in batches}
    if len(sizes) > 1:
        listed = ", ".join(f"{h}x{w}" for h, w in sorted(sizes))
        raise MethodError(f"the pictures would have different sizes ({listed}): give one with size=")
    painted = [batch.painted for batch in batches]
    return Visualization(
        images=shown(canvas, batches),
        pictures=np.concatenate([p.pictures for p in painted]),
        objectives=tuple(str(job.wanted[n][0]) for batch in batches for n in batch.numbers),
        activations=_all([-p.score if job.minimise else p.score for p in painted]),
        before=_all([p.linear for p in painted]),
        after=_all([p.after for p in painted]),
        history=tuple(h for p in painted for h in (-p.history.T if job.minimise else p.history.T)),
        transparency=np.concatenate([p.transparency for p in painted]),
        options=options_of(job),
        model=job.model,
        warnings=tuple(_warnings(job, batches)),
    )


def shown(canvas: Canvas, batches: Sequence[Batch]) -> NDArray[np.uint8]:
    """The pictures of all batches, uint8 (N, H, W, 3)."""
    return np.concatenate([canvas.shown(batch.painted.pictures) for batch in batches])


def options_of(job: Job) -> dict[str, Any]:
    """How the pictures of a job are made, as JSON-like data."""
    recipe = job.recipe
    return {
        "steps": recipe.steps,
        "size": list(job.size) if job.size else None,
        "seed": recipe.seed,
        "count": job.count,
        "minimise": job.minimise,
        "parametrisation": part_text(recipe.parametrisation),
        "transforms": [part_text(t) for t in recipe.transforms],
        "optimiser": part_text(recipe.optimiser),
        "regularisers": [part_text(r) for r in recipe.regularisers],
        "schedule": recipe.schedule,
        "views": recipe.views,
        "settle": recipe.settle,
    }


def part_text(part: Any) -> str:
    """A part as the text that makes it; arrays by their shape."""
    values = {k: f"array{list(v.shape)}" if isinstance(v, np.ndarray) else v for k, v in vars(part).items()}
    return f"{part.name}:{','.join(f'{k}={v}' for k, v in values.items())}" if values else str(part.name)


def _all(arrays: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate(arrays)


def _warnings(job: Job, batches: Sequence[Batch]) -> list[str]:
    silent = [
        str(job.wanted[n][0]) for b in batches for n, dead in zip(b.numbers, b.painted.silent, strict=True) if dead
    ]
    return [f"{name} does not depend on the image: its gradient was 0 in every step" for name in silent]
