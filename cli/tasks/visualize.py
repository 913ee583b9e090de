"""Pictures of what units, classes and directions look for: files, a sheet with titles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..parameters.inputs import card_of, open_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.graph.model import Model
    from ...engine.optimize.paint import Batch, Job
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
    steps: int
    all_steps: bool
    seed: int
    parametrisation: str
    transforms: Sequence[str]
    optimiser: str | None
    regularisers: Sequence[str]
    schedule: str
    views: int | None
    batch: int | None
    output: Output
    common: Common


def visualize(options: VisualizeOptions) -> Run:
    """Make the pictures and write them, one after the other, then the sheet; the run, at its end.

    Raises what `onnxray.visualize` raises; OutputError.
    """
    from ...engine.optimize.paint import paint
    from ...engine.visualize import options_of
    from ..files.manifest import read_manifest
    from ..files.run import Run, describe
    from ..terminal.progress import Progress

    common = options.common
    card = dict(common.card)
    size = card.pop("size", None)
    model = open_model(options.model, card)
    described = described_card(model, common.quiet)
    with Progress(0, "pictures", quiet=common.quiet, bar=common.progress) as bar:
        job = job_of(options, model, size, bar)
        bar.total = len(job.wanted)
        about = {"model": describe(model), "card": described, "layers": [str(o) for o in job.objectives]}
        earlier = read_manifest(options.output.folder) if options.output.resume else None
        with Run(options.output, "visualize", {**options_of(job), **common.runtime}, about) as run:
            entries = _kept(run, earlier)
            run.manifest["pictures"] = []
            todo = [n for n in range(len(job.wanted)) if n not in entries]
            bar.done = len(entries)
            _record(run, entries)
            for batch in paint(job, todo):
                for entry in _write(run, job, batch):
                    entries[entry["number"]] = entry
                    bar.step(entry["objective"])
                _record(run, entries)
                run.flush()
            run.manifest["files"].append(run.picture("sheet.png", sheet(model, run.folder, list(entries.values()))))
    return run


def described_card(model: Model, quiet: bool) -> dict[str, Any] | None:
    """The manifest's entry about preprocessing; None where the model's input is no image of one or three channels."""
    from ...engine.inspect.signature import image_input
    from ..files.run import describe_card

    return describe_card(card_of(model, quiet)) if image_input(model).channels in (1, 3) else None


def job_of(options: VisualizeOptions, model: Model, size: Any, bar: Progress) -> Job:
    """The job that the command line asks for. Raises MethodError, TargetError, UnknownName."""
    from ...engine.inference.batches import RunOptions
    from ...engine.optimize.request import Request
    from ...engine.optimize.request import job_of as job_for

    asked = Request(
        layer=list(options.layers) or None,
        channel=",".join(options.channels) or None if "all" not in options.channels else "all",
        neuron=list(options.neurons) or None,
        target=[chosen_class(text) for text in options.classes] or None,
        direction=_direction(options.direction),
        objective=list(options.objectives) or None,
        minimise=options.minimise,
        count=options.count,
        batch=options.batch,
        size=size,
        steps=options.steps,
        seed=options.seed,
        parametrisation=options.parametrisation,
        transforms=_transforms(options.transforms),
        optimiser=options.optimiser,
        regularisers=options.regularisers,
        schedule=options.schedule,
        views=options.views,
        settle=not options.all_steps,
    )

    def on_step(numbers: Sequence[int], step: int, pictures: Any, score: NDArray[np.float32]) -> None:
        value = float(score.mean()) * (-1 if options.minimise else 1)
        bar.part((step + 1) / max(1, options.steps) * len(numbers), f"{job.wanted[numbers[0]][0]}: {value:.4g}")

    job = replace(job_for(model, asked, RunOptions(**options.common.runtime)), on_step=on_step)
    return job


def chosen_class(text: str) -> Any:
    """A class index or a label; a label that looks like a form of target stays one."""
    from ...engine.targets.target import Target

    return Target.class_(int(text)) if text.isascii() and text.isdigit() else Target.class_(text)


def _transforms(texts: Sequence[str]) -> Sequence[str] | None:
    return [t for t in texts if t.strip() != "none"] if texts else None


def _direction(file: str | None) -> Any:
    from ...engine.errors import MethodError
    from ...engine.preprocess.arrays import read_array

    if file is None:
        return None
    try:
        return read_array(file)
    except ValueError as error:
        raise MethodError(f"the direction's file {file!r} cannot be read as a NumPy array: {error}") from None


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


def _record(run: Run, entries: dict[int, Entry]) -> None:
    run.manifest["pictures"] = [entries[n] for n in sorted(entries)]
    run.manifest["files"] = [name for n in sorted(entries) for name in entries[n]["files"]]


def _write(run: Run, job: Job, batch: Batch) -> Iterator[Entry]:
    """Write every picture of a batch as PNG and as an array; its entry of the manifest."""
    pixels = batch.canvas.shown(batch.painted.pictures)
    painted = batch.painted
    for row, number in enumerate(batch.numbers):
        objective, variant = job.wanted[number]
        base = run.name(f"{objective}-{variant}" if job.count > 1 else str(objective))
        yield {
            "number": number,
            "objective": str(objective),
            "variant": variant,
            "activation": float(painted.score[row]) * (-1 if job.minimise else 1),
            "before_activation": float(painted.linear[row]),
            "after_activation": float(painted.after[row]),
            "steps": len(painted.history),
            "size": list(batch.canvas.size),
            "depends_on_the_image": not bool(painted.silent[row]),
            "files": [
                run.picture(f"{base}.png", pixels[row]),
                run.array(f"{base}.npy", painted.pictures[row]),
            ],
        }


def sheet(model: Model, folder: Path, entries: Sequence[Entry]) -> NDArray[np.uint8]:
    """All pictures with what they were made for above and both numbers below."""
    from ..figures import figure
    from ..files.images import decode, read_bytes

    panels = []
    for entry in sorted(entries, key=lambda e: e["number"]):
        path = folder / entry["files"][0]
        pixels = decode(read_bytes(path), where=repr(str(path)))
        before, after = (figure.number(entry[key]) for key in ("before_activation", "after_activation"))
        note = before if before == after else f"{before}, then {after}"
        panels.append(figure.panel(figure.picture(pixels, 200), entry["objective"], note))
    lines = ["Each picture was optimised to excite what is named above it; below, the number before the activation "
             "function and the one behind it."]  # fmt: skip
    name = model.path.name if model.path else "the model"
    return figure.page(f"What units of {name} look for", lines, [figure.grid(panels)])


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
