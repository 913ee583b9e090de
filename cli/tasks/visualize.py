"""Pictures of what units, classes and directions look for: files, a sheet, examples of a dataset, a section."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..parameters.inputs import card_of, find_images, open_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.graph.model import Model
    from ...engine.optimize.paint import Batch, Job
    from ...engine.survey.exciting import ExcitingImage
    from ...engine.survey.pictures import Picture
    from ..files.output import Output
    from ..files.run import Run
    from ..parameters.options import Common
    from ..terminal.progress import Progress

Entry = dict[str, Any]


@dataclass(frozen=True)
class VisualizeOptions:
    """What `onnxray visualize` is asked for, in the words of the command line."""

    model: str
    layers: Sequence[str]
    channels: Sequence[str]
    neurons: Sequence[str]
    direction: str | None
    classes: Sequence[str]
    objectives: Sequence[str]
    minimise: bool
    count: int
    diversity: float
    strip: int | None
    image: str | None
    mask: str | None
    keep: float | None
    reference: str | None
    spectrum: Sequence[str]
    steps: int
    all_steps: bool
    seed: int
    parametrisation: str | None
    transforms: Sequence[str]
    optimiser: str | None
    regularisers: Sequence[str]
    schedule: str
    views: int | None
    batch: int | None
    history: str | None
    every: int
    checkpoints: Sequence[str]
    on: Sequence[str]
    output: Output
    common: Common


def visualize(options: VisualizeOptions) -> Run:
    """Make the pictures and write them, one after the other, then the sheet; the run, at its end.

    Raises what `onnxray.visualize` raises; ImageError, OutputError.
    """
    from ...engine.visualize import examples_of, scorer_of
    from ..files.manifest import read_manifest
    from ..files.run import Run
    from ..terminal.progress import Progress

    common = options.common
    with Progress(0, "pictures", quiet=common.quiet, bar=common.progress) as bar:
        jobs = _jobs(options, bar)
        paths = find_images(options.on) if options.on else []
        scorer = scorer_of(jobs[0]) if paths else None
        bar.total = sum(len(job.wanted) for job in jobs)
        earlier = read_manifest(options.output.folder) if options.output.resume else None
        with Run(options.output, "visualize", _decisive(options, jobs[0]), _about(options, jobs)) as run:
            work = _Pictures(options, run, bar, jobs, _kept(run, earlier))
            work.make()
            found = examples_of(jobs[0], scorer, _pictures_in(paths, jobs[0].model, bar)) if scorer is not None else ()
            work.finish(dict(enumerate(found)))
    return run


def _jobs(options: VisualizeOptions, bar: Progress) -> list[Job]:
    """A job for the model, and for every checkpoint."""
    card = dict(options.common.card)
    size = card.pop("size", None)
    models = [open_model(name, card) for name in (options.model, *options.checkpoints)]
    return [job_of(options, model, size, bar) for model in models]


def _decisive(options: VisualizeOptions, job: Job) -> dict[str, Any]:
    from ...engine.visualize import options_of

    given = {name: getattr(options, name) for name in ("history", "every", "image", "mask", "keep", "reference")}
    return {**options_of(job), **given, **options.common.runtime}


def _about(options: VisualizeOptions, jobs: Sequence[Job]) -> Entry:
    from ..files.run import describe

    model = jobs[0].model
    described = described_card(model, options.common.quiet)
    about = {"model": describe(model), "card": described, "layers": [str(o) for o in jobs[0].objectives]}
    return {**about, "checkpoints": [describe(job.model) for job in jobs[1:]]} if len(jobs) > 1 else about


def described_card(model: Model, quiet: bool) -> dict[str, Any] | None:
    """The manifest's entry about preprocessing."""
    from ..files.run import describe_card

    return describe_card(card_of(model, quiet))


def job_of(options: VisualizeOptions, model: Model, size: Any, bar: Progress) -> Job:
    """The job that the command line asks for. Raises MethodError, TargetError, UnknownName, ImageError."""
    from ...engine.inference.batches import RunOptions
    from ...engine.optimize.request import Request
    from ...engine.optimize.request import job_of as job_for
    from ..files.references import read_image, read_mask, read_vector, spectrum_of

    asked = Request(
        layer=list(options.layers) or None,
        channel=",".join(options.channels) or None if "all" not in options.channels else "all",
        neuron=list(options.neurons) or None,
        target=[chosen_class(text) for text in options.classes] or None,
        direction=read_vector(options.direction) if options.direction else None,
        objective=list(options.objectives) or None,
        minimise=options.minimise,
        count=options.count,
        diversity=options.diversity,
        strip=options.strip,
        image=read_image(options.image, model) if options.image else None,
        mask=read_mask(options.mask) if options.mask else None,
        keep=options.keep,
        reference=read_image(options.reference, model) if options.reference else None,
        spectrum=spectrum_of(list(options.spectrum) or None, options.parametrisation),
        batch=options.batch,
        size=size,
        steps=options.steps,
        seed=options.seed,
        parametrisation=options.parametrisation,
        transforms=[t for t in options.transforms if t.strip() != "none"] if options.transforms else None,
        optimiser=options.optimiser,
        regularisers=options.regularisers,
        schedule=options.schedule,
        views=options.views,
        settle=not options.all_steps,
    )
    return job_for(model, asked, RunOptions(**options.common.runtime))


def chosen_class(text: str) -> Any:
    """A class index or a label; a label that looks like a form of target stays one."""
    from ...engine.targets.target import Target

    return Target.class_(int(text)) if text.isascii() and text.isdigit() else Target.class_(text)


def _kept(run: Run, earlier: Mapping[str, Any] | None) -> dict[int, Entry]:
    """The pictures of the run that is continued whose files are there."""
    found: dict[int, Entry] = {}
    for entry in (earlier or {}).get("pictures", ()):
        files = entry.get("files") if isinstance(entry, dict) else None
        if isinstance(files, list) and files and all((run.folder / str(name)).is_file() for name in files):
            found[int(entry["number"])] = entry
            for name in files:
                run.name(str(name))
    return found


@dataclass(frozen=True)
class _Pictures:
    """The pictures of a run, by number: those of the first model, then of every checkpoint."""

    options: VisualizeOptions
    run: Run
    bar: Progress
    jobs: Sequence[Job]
    entries: dict[int, Entry]

    def make(self) -> None:
        """Make and write all that are not there yet."""
        from ...engine.optimize.paint import paint
        from ...engine.visualize import silent_in

        self.bar.done = len(self.entries)
        self._record()
        for at, job in enumerate(self.jobs):
            first = at * len(job.wanted)
            todo = [n for n in range(len(job.wanted)) if first + n not in self.entries]
            frames: dict[int, list[NDArray[np.uint8]]] = {}
            watched = replace(job, on_step=self._watching(job, frames))
            for batch in paint(watched, todo):
                for entry in self._write(job, at, batch, frames):
                    self.entries[entry["number"]] = entry
                    self.bar.step(entry["objective"])
                for text in silent_in(job, batch):
                    self.bar.say(text)
                frames.clear()
                self._record()
                self.run.flush()

    def _watching(self, job: Job, frames: dict[int, list[NDArray[np.uint8]]]) -> Any:
        """What is done after every step: the frames of a history are kept, the objective's value is shown."""
        from ...engine.optimize.canvas import canvas_of

        options, canvas = self.options, canvas_of(job.model)

        def step(numbers: Sequence[int], number: int, pictures: Any, score: NDArray[np.float32]) -> None:
            value = float(score.mean()) * (-1 if job.minimise else 1)
            share = (number + 1) / max(1, options.steps) * len(numbers)
            self.bar.part(share, f"{job.wanted[numbers[0]][0]}: {value:.4g}")
            if options.history and number % options.every == 0:
                for n, pixels in zip(numbers, canvas.shown(pictures), strict=True):
                    frames[n] = [*frames.get(n, ()), pixels] if number else [pixels]

        return step

    def _write(
        self, job: Job, at: int, batch: Batch, frames: Mapping[int, Sequence[NDArray[np.uint8]]]
    ) -> Iterator[Entry]:
        """Write every picture of a batch as PNG and as an array; its entry of the manifest."""
        pixels, painted, run = batch.canvas.shown(batch.painted.pictures), batch.painted, self.run
        for row, number in enumerate(batch.numbers):
            objective, variant = job.wanted[number]
            name = f"{objective}-{variant}" if job.count > 1 else str(objective)
            base = run.name(f"{name}-{_checkpoint(job.model)}" if len(self.jobs) > 1 else name)
            files = [run.picture(f"{base}.png", pixels[row]), run.array(f"{base}.npy", painted.pictures[row])]
            if job.recipe.parametrisation.keeps_transparency:
                files.append(run.picture(f"{base}-where.png", transparent(pixels[row], painted.transparency[row])))
            if self.options.history:
                files.append(self._write_history(base, [*frames.get(number, ()), pixels[row]]))
            entry = {
                "number": at * len(job.wanted) + number,
                "objective": str(objective),
                "variant": variant,
                "activation": float(painted.score[row]) * (-1 if job.minimise else 1),
                "before_activation": float(painted.linear[row]),
                "after_activation": float(painted.after[row]),
                "steps": len(painted.history),
                "size": list(batch.canvas.size),
                "depends_on_the_image": not bool(painted.silent[row]),
                "stronger_noise": batch.louder,
                "files": files,
            }
            yield {**entry, "checkpoint": _checkpoint(job.model)} if len(self.jobs) > 1 else entry

    def _write_history(self, base: str, frames: Sequence[NDArray[np.uint8]]) -> str:
        from ..files.video import frames_of, write_video

        name = f"{base}.{self.options.history}"
        write_video(self.run.folder / name, frames_of(frames))
        return name

    def finish(self, examples: Mapping[int, Sequence[ExcitingImage]]) -> None:
        """Write the sheet."""
        from ..figures.units import sheet
        from ..files.images import decode, read_bytes

        # The same unit of all checkpoints in one row, else by number.
        count = len(self.jobs[0].wanted)
        order = sorted(self.entries, key=lambda n: (n % count, n) if len(self.jobs) > 1 else (n, n))
        entries = [self.entries[n] for n in order]
        paths = [self.run.folder / entry["files"][0] for entry in entries]
        pictures = [decode(read_bytes(path), where=repr(str(path))) for path in paths]
        model = self.jobs[0].model
        name = model.path.name if model.path else "the model"
        columns = len(self.jobs) if len(self.jobs) > 1 else None
        self.run.manifest["files"].append(
            self.run.picture("sheet.png", sheet(name, entries, pictures, examples, columns, self.options.minimise))
        )
        if examples:
            self.run.manifest["examples"] = [
                {"number": n, "images": [{"path": image.name, "value": image.value} for image in found]}
                for n, found in sorted(examples.items())
            ]

    def _record(self) -> None:
        found = [self.entries[n] for n in sorted(self.entries)]
        self.run.manifest["pictures"] = found
        self.run.manifest["files"] = [name for entry in found for name in entry["files"]]


def _checkpoint(model: Model) -> str:
    return model.path.stem if model.path else "model"


def transparent(pixels: NDArray[np.uint8], map: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The picture over white, as opaque as the objective was at work."""
    import numpy as np

    most = float(np.percentile(map, 97)) or 1.0
    share = np.clip(map / most, 0, 1)[..., None]
    return np.asarray(np.rint(pixels * share + 255 * (1 - share)), np.uint8)


def _pictures_in(paths: Sequence[Path], model: Model, bar: Progress) -> Iterator[Picture]:
    """The images of a dataset. One that cannot be read is named and left out."""
    from ...engine.errors import ImageError
    from ...engine.preprocess.find import find_card
    from ...engine.survey.pictures import Picture
    from ..files.photos import read_photo

    card = find_card(model)
    for path in paths:
        again = functools.partial(read_photo, path, card)
        try:
            pixels = again()
        except ImageError as error:
            bar.say(str(error))
            continue
        yield Picture(str(path), pixels, again=again)


def listing() -> str:
    """All parts with their options, as text."""
    from ...engine.methods.options import describe
    from ...engine.optimize.objective import OBJECTIVES
    from ...engine.optimize.optimiser import OPTIMISERS, SCHEDULES
    from ...engine.optimize.parametrisation import PARAMETRISATIONS
    from ...engine.optimize.registry import help_of, options_of
    from ...engine.optimize.regulariser import REGULARISERS
    from ...engine.optimize.transform import TRANSFORMS

    lines = ["objectives"]
    lines += [f"  {cls.syntax()}: {help_of(cls)}" for cls in OBJECTIVES.all().values()]
    for registry in (PARAMETRISATIONS, TRANSFORMS, OPTIMISERS, REGULARISERS):
        lines.append(f"{registry.kind}s")
        for name, cls in registry.all().items():
            lines.append(f"  {name}: {help_of(cls)}")
            for spec in options_of(cls):
                lines.append(f"      {spec.name}={spec.default}  {spec.help} {describe(spec).capitalize()}.")
    return "\n".join([*lines, f"schedules: {', '.join(SCHEDULES)}"])


def title_of(objective: Any, labels: Sequence[str]) -> str:
    """A few words for a unit or a class."""
    channel, which = getattr(objective, "channel", None), getattr(objective, "which", None)
    if channel is not None:
        return f"channel {channel}"
    return labels[which] if isinstance(which, int) and which < len(labels) else str(objective)
