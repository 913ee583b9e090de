"""`visualize`: pictures of what a neuron, a channel, a layer, a class or a direction of a model looks for."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .atomic import atomic
from .attribution.png import write
from .errors import MethodError, ShapeError
from .graph.model import Model, Source
from .inference.batches import RunOptions
from .load import load
from .optimize.canvas import Canvas, canvas_of
from .optimize.examples import Scorer
from .optimize.paint import Batch, Job, OnStep, paint
from .optimize.request import Request, job_of
from .preprocess.card import LOAD_OPTIONS
from .preprocess.find import find_card
from .survey.exciting import ExcitingImage, exciting_images
from .survey.pictures import Picture, pictures_of

# Images of a data set per picture; pixels between the pictures of a strip.
EXAMPLES, _GAP = 4, 4

# Called with steps done, maximum number of steps of all pictures, and the objective's value.
Progress: TypeAlias = Callable[[int, int, float], None]


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
        snapshots: uint8 (S, H, W, 3) per picture, where asked for; the last is the picture itself.
        examples: per picture the images of `on` that excite its objective most, strongest first (of minimised ones
            least), each with `name`, `pixels` uint8 (H, W, 3) and `value`, the linear value of the objective.
        checkpoints: the same pictures for every model of `checkpoints`; `strip` puts them next to each other.
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
    snapshots: tuple[NDArray[np.uint8], ...] = ()
    examples: tuple[tuple[ExcitingImage, ...], ...] = ()
    checkpoints: tuple[Visualization, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def strip(self, n: int = 0) -> NDArray[np.uint8]:
        """Picture `n` of the model and of all checkpoints next to each other on white, uint8 (H, W, 3)."""
        row = [made.images[n] for made in (self, *self.checkpoints)]
        widths = [picture.shape[1] for picture in row]
        lefts = [left + _GAP * i for i, left in enumerate(itertools.accumulate(widths, initial=0))]
        page = np.full((max(map(len, row)), lefts[-1] - _GAP, 3), 255, np.uint8)
        for left, picture in zip(lefts, row, strict=False):
            page[: picture.shape[0], left : left + picture.shape[1]] = picture
        return page

    def manifest(self) -> dict[str, Any]:
        """Everything needed to make the pictures again, as JSON-like data."""
        rows = enumerate(self.examples)
        images = [{"number": n, "images": [{"path": e.name, "value": e.value} for e in row]} for n, row in rows]
        more = {"examples": images, "checkpoints": [made.manifest() for made in self.checkpoints]}
        return {
            **{name: entries for name, entries in more.items() if entries},
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

        Strips of checkpoints are `0-strip.png`, ..., the first picture's examples `0-example-1.png`, ... Each is
        written whole or not at all, the manifest last. Returns the paths. Raises OutputError.
        """
        folder = Path(dir)
        shown = {str(n): pixels for n, pixels in enumerate(self.images)}
        if self.checkpoints:
            shown |= {f"{n}-strip": self.strip(n) for n in range(len(self))}
        for n, row in enumerate(self.examples):
            shown |= {f"{n}-example-{place}": example.pixels for place, example in enumerate(row, 1)}
        paths = {name: folder / f"{name}.png" for name in shown}
        for name, path in paths.items():
            write(path, shown[name])
        paths["pictures"], paths["manifest"] = folder / "pictures.npy", folder / "manifest.json"
        with atomic(paths["pictures"]) as temporary, temporary.open("wb") as file:
            np.save(file, self.pictures)
        with atomic(paths["manifest"]) as temporary:
            temporary.write_text(json.dumps(self.manifest(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return paths


def visualize(
    model: Source,
    layer: str | Sequence[str] | None = None,
    channel: int | Sequence[int] | str | None = None,
    neuron: Sequence[Any] | str | None = None,
    target: Any = None,
    direction: Any = None,
    steps: int = 128,
    size: int | tuple[int, int] | None = None,
    seed: int = 0,
    *,
    on: Iterable[Any] | None = None,
    checkpoints: Source | Sequence[Source] = (),
    snapshots: int | None = None,
    progress: Progress | None = None,
    providers: Any = None,
    threads: int | None = None,
    **options: Any,
) -> Visualization:
    """Optimise images to excite what is asked for (C. Olah et al., "Feature Visualization", Distill 2017).

    layer: with `channel` (a number, a list, "0-7", "all"), `neuron` ((channel, y, x), or a list of them) or
        `direction` (a number for every channel); alone, the whole layer, as in DeepDream.
    target: a class, by index or label, or a `Target` that needs no image; a list of them for a picture each.
    steps: maximum number of steps; it ends earlier once neither objective nor picture change any more, unless
        `settle=False`.
    size: of the picture, a side or (height, width) in pixels, if the network accepts it; default: near the receptive
        field for units, the model's size for classes.
    seed: the same seed gives the same pictures.
    on: images of a data set, as `onnxray.top` takes them: those that excite each picture's objective most are kept.
    checkpoints: other models, such as the same network earlier in its training: each gets the same pictures.
    snapshots: keep the picture of every so many steps.
    progress: called with steps done, maximum number of steps of all pictures, and the objective's value.
    providers, threads: where and how the model runs.

    objective: objectives of `onnxray.engine.optimize.objectives`, or their texts ("channel:conv3:5 +
        0.5*logit:tabby"); `reference`, uint8 (H, W, 3), is the image of "features:LAYER" (inversion), "gram:LAYER"
        (texture) and "like:reference" (the model's embedding).
    minimise: the opposite. count: pictures per objective, from different noise; with `diversity`, a weight, they are
        made to differ at the objective's layer. strip: so many pictures between two objectives.
    image: begin with this image, uint8 (H, W, 3), and stay near it at the objective's layer, with the weight `keep`
        (feature accentuation); `mask`, (H, W), is where it may change.
    parametrisation, transforms, optimiser, regularisers: parts or their texts, as `onnxray visualize --list` lists
        them. spectrum: images whose magnitudes the parametrisation "maco" keeps.
    schedule: "constant", "cosine", "linear" or "warmup". views: of the picture, per step. batch: pictures of one run,
        1 by default. settle: end before `steps` as said above.
    card: its fields, such as `mean` and `labels`, as `load` takes them.

    Raises UnknownName (layer, label, part), TargetError (channel, place, class), MethodError (options), ShapeError (a
    size that the network cannot take), GradientError and its subclasses (no gradient, nothing depends on the image),
    ModelError, CardError.
    """
    own = {f.name for f in fields(Request)}
    card = {name: options.pop(name) for name in list(options) if name in LOAD_OPTIONS and name not in own}
    for name in options:
        if name not in own:
            raise MethodError(f"visualize has no option {name!r}: see help(onnxray.visualize)")
    asked = Request(
        layer=layer,
        channel=channel,
        neuron=neuron,
        target=target,
        direction=direction,
        steps=steps,
        size=size,
        seed=seed,
        **options,
    )
    running = RunOptions(providers=providers, threads=threads)
    jobs = [job_of(load(source, **card), asked, running) for source in (model, *_listed(checkpoints))]
    scorer, pictures = (scorer_of(jobs[0]), _some(on)) if on is not None else (None, iter(()))
    first, *others = (_made(job, snapshots, _part_of(progress, at, len(jobs))) for at, job in enumerate(jobs))
    examples = examples_of(jobs[0], scorer, pictures) if scorer is not None else ()
    return replace(first, examples=examples, checkpoints=tuple(others))


def _listed(checkpoints: Source | Sequence[Source]) -> Sequence[Source]:
    """Several models, of one as well."""
    return checkpoints if isinstance(checkpoints, list | tuple) else [checkpoints]


def _some(images: Iterable[Any]) -> Iterable[Picture]:
    """Raises ShapeError where there is none."""
    pictures = pictures_of(images)
    first = next(pictures, None)
    if first is None:
        raise ShapeError("there is no image in what was given as on=: give at least one")
    return itertools.chain([first], pictures)


def scorer_of(job: Job) -> Scorer:
    """What scores images of a data set for a job. Raises MethodError for objectives that compare with an image."""
    return Scorer(job.model, job.objectives, providers=job.runtime.providers, threads=job.runtime.threads)


def examples_of(job: Job, scorer: Scorer, pictures: Iterable[Picture]) -> tuple[tuple[ExcitingImage, ...], ...]:
    """For every picture of a job the images that excite its objective most, of a minimised one least.

    Raises ShapeError, CardError, ModelError.
    """
    found = exciting_images(scorer, find_card(job.model), pictures, EXAMPLES, least=job.minimise)
    return tuple(row for row in found for _ in range(job.count))


def _made(job: Job, snapshots: int | None, progress: Progress | None) -> Visualization:
    """The pictures of one model."""
    frames: dict[int, list[NDArray[np.uint8]]] = {}
    watched = replace(job, on_step=_watching(job, snapshots, frames, progress))
    found = visualization(job, list(paint(watched)))
    kept = tuple(np.stack([*frames.get(n, []), found.images[n]]) for n in range(len(found))) if snapshots else ()
    return replace(found, snapshots=kept)


def _part_of(progress: Progress | None, at: int, models: int) -> Progress | None:
    """The progress of the model `at` of several, as a part of all."""
    if progress is None or models == 1:
        return progress
    return lambda done, total, value: progress(at * total + done, models * total, value)


def _watching(
    job: Job, every: int | None, frames: dict[int, list[NDArray[np.uint8]]], progress: Progress | None
) -> OnStep | None:
    """What is done after every step: pictures kept, progress reported."""
    if not every and progress is None:
        return None
    if every is not None and every < 1:
        raise MethodError(f"a snapshot every {every} steps: give at least 1, or none")
    canvas, steps, total = canvas_of(job.model), job.recipe.steps, len(job.wanted) * job.recipe.steps
    sign = -1 if job.minimise else 1

    def step(numbers: Sequence[int], number: int, pictures: NDArray[np.float32], score: NDArray[np.float32]) -> None:
        if every and number % every == 0:
            for n, pixels in zip(numbers, canvas.shown(pictures), strict=True):
                frames[n] = [*frames.get(n, ()), pixels] if number else [pixels]
        if progress is not None:
            progress(numbers[0] * steps + (number + 1) * len(numbers), total, sign * float(score.mean()))

    return step


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
    values = {k: _brief(v) for k, v in vars(part).items()}
    return f"{part.name}:{','.join(f'{k}={v}' for k, v in values.items())}" if values else str(part.name)


def _brief(value: Any) -> Any:
    """Images by their number."""
    if isinstance(value, np.ndarray) or (isinstance(value, Sequence) and not isinstance(value, str)):
        return f"{len(value)} images"
    return value


def _all(arrays: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate(arrays)


def silent_in(job: Job, batch: Batch) -> list[str]:
    """A warning for every picture whose objective does not depend on the image."""
    dead = [job.wanted[n][0] for n, silent in zip(batch.numbers, batch.painted.silent, strict=True) if silent]
    return [f"{objective} does not depend on the image: its gradient was 0 in every step" for objective in dead]


def _warnings(job: Job, batches: Sequence[Batch]) -> list[str]:
    found = []
    for batch in batches:
        found += silent_in(job, batch)
        for n, dead in zip(batch.numbers, batch.painted.silent, strict=True):
            name = str(job.wanted[n][0])
            if batch.louder and not dead:
                found.append(f"{name} had no gradient at the usual start: its picture began with stronger noise")
    return found
