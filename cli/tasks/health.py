"""`onnxray health`: measure, say what is doubtful, draw."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..parameters.inputs import card_of, find_labelled_images, open_model
from ..parameters.shards import part_of
from ..sources.share import names_digest
from .saved_pass import Files, Pass, Saving
from .top import RESULT

if TYPE_CHECKING:
    from ...engine.graph.model import Model
    from ...engine.health import HealthSurvey
    from ...engine.survey.health import Health
    from ...engine.survey.measure import Measure
    from ..files.output import Output
    from ..files.run import Run
    from ..parameters.options import Common

TEXT, NUMBERS, SIMILARITY = "health.txt", "health.json", "similarity.png"
# Layers whose histograms are drawn on one page.
_PER_PAGE = 12


@dataclass(frozen=True)
class HealthOptions:
    """What `onnxray health` is asked for, in the words of the command line."""

    model: str
    images: Sequence[str]
    layers: Sequence[str]
    against: Sequence[str]
    checkpoints: Sequence[str]
    batch: int | None
    shard: tuple[int, int]
    output: Output
    common: Common


def health(options: HealthOptions) -> Run:
    """Measure the model and those it is compared with, write the result, then draw; the run, at its end.

    Raises what `onnxray.health` raises; ImageError (no image, or none that can be read), OutputError.
    """
    from ...engine.health import HealthSurvey
    from ...engine.inference.batches import RunOptions
    from ...engine.survey.measure import GROUP, Measure
    from ..files.run import Run
    from ..terminal.progress import Progress

    common = options.common
    names = [options.model, *options.against, *options.checkpoints]
    models = [open_model(name, common.card) for name in names]
    card_of(models[0], common.quiet)
    runtime = RunOptions(**common.runtime, batch=options.batch)
    measures = [Measure(model, list(options.layers) or None, runtime) for model in models]
    files = find_labelled_images(options.images, options.model, common.quiet)
    paths = [path for path, _ in part_of(files, options.shard, GROUP)]
    unlabelled: Files = [(path, None) for path in paths]

    def survey(start: Health | None = None) -> HealthSurvey:
        return HealthSurvey(models, measures, len(options.checkpoints), start)

    with (
        Progress(len(paths), "images", quiet=common.quiet, bar=common.progress) as bar,
        Run(
            options.output, "health", _decisive(options), _about(models, measures, files), [path for path, _ in files]
        ) as run,
    ):
        work = Pass(run, bar, unlabelled, measures[0].card)
        found = _survey(work, survey, options.output.resume)
        found.save(run.folder / RESULT)
        run.manifest["files"] += [f"{RESULT}/health.npz", f"{RESULT}/manifest.json"]
        work.part.unlink(missing_ok=True)
        run.manifest["findings"] = [vars(entry) for entry in found.findings()]
        run.manifest["files"] += write_readable(found, run.folder)
    return run


def as_text(run: Run) -> str:
    """What the run found, as it is in `health.txt`."""
    return (run.folder / TEXT).read_text(encoding="utf-8").rstrip()


def _decisive(options: HealthOptions) -> dict[str, Any]:
    return {
        "against": list(options.against),
        "checkpoints": list(options.checkpoints),
        "batch": options.batch,
        "shard": options.shard,
        **options.common.runtime,
    }


def _about(models: Sequence[Model], measures: Sequence[Measure], files: Files) -> dict[str, Any]:
    from ..files.run import describe, describe_card

    return {
        "model": describe(models[0]),
        "others": [describe(model) for model in models[1:]],
        "card": describe_card(measures[0].card),
        "layers": [layer.name for layer in measures[0].layers],
        "given": {"images": len(files), "names_sha256": names_digest(files)},
    }


def _survey(work: Pass, survey_of: Callable[[Health | None], HealthSurvey], resume: bool) -> Health:
    """The result, from where an earlier run of the folder was cut off. Raises ImageError, OutputError."""
    from ...engine.survey.health import load_part, save_part

    survey = survey_of(work.earlier(load_part, resume))
    saving = Saving(lambda: save_part(survey.result(), work.part, work.done()))
    for given in survey.run(work.pictures(work.at)):
        work.step(work.at + given)
        saving.if_due()
    work.end(survey.count)
    return survey.result()


def write_readable(found: Health, folder: Path) -> list[str]:
    """Write pictures, numbers and text of a result; the names of the files. Raises OutputError."""
    from ...engine.atomic import atomic
    from ..figures.health import histograms, similarities
    from ..files.images import write

    layers = list(found.layers.values())
    name = found.models[0].name
    names = []
    for page, first in enumerate(range(0, len(layers), _PER_PAGE), 1):
        names.append(f"histograms-{page}.png" if page > 1 else "histograms.png")
        write(folder / names[-1], histograms(name, layers[first : first + _PER_PAGE], found.count))
    write(folder / SIMILARITY, similarities(found))
    numbers = json.dumps(found.to_mapping(), indent=1, ensure_ascii=False) + "\n"
    for file, text in ((NUMBERS, numbers), (TEXT, text_of(found))):
        with atomic(folder / file) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
    return [*names, SIMILARITY, NUMBERS, TEXT]


def text_of(found: Health) -> str:
    """Tables of the layers and of the drift, and a line for each finding."""
    parts = [_layers(found, 0)]
    doubtful = found.findings()
    parts.append(
        "\n".join(f"{entry.layer}: {entry.text}." for entry in doubtful)
        if doubtful
        else "Nothing is wrong: no dead, saturated or duplicate units."
    )
    for number in range(1, len(found.models)):
        if number < len(found.models) - found.checkpoints:
            parts.append(_drift(found, number))
    if found.checkpoints:
        parts.append(_training(found, len(found.models) - found.checkpoints))
    return "\n\n".join(parts) + "\n"


def _layers(found: Health, number: int) -> str:
    from ..figures.figure import number as shown

    model = found.models[number]
    rows = []
    for layer in model.layers.values():
        rank = layer.effective_rank()
        rows.append(
            [
                layer.layer.name,
                layer.function or "-",
                str(layer.layer.units),
                shown(float(layer.mean.mean())),
                shown(float(layer.statistics.highest.max())),
                f"{100 * float(layer.sparsity.mean()):.0f} %",
                f"{100 * float(layer.saturated.mean()):.0f} %",
                str(int(layer.dead.sum())),
                str(int(layer.always_on.sum())),
                str(len({u for a, b, _ in layer.duplicates() for u in (a, b)})),
                "-" if rank != rank else f"{rank:.1f}",
            ]
        )
    heads = ["layer", "function", "units", "mean", "max", "not above 0", "saturated", "dead", "always on", "doubles"]
    head = f"{model.name}, {found.count} images"
    return f"{head}\n{_table([*heads, 'effective rank'], rows, 2)}"


def _drift(found: Health, number: int) -> str:
    drift = found.drift(number)
    name = found.models[number].name
    if not drift:
        return f"{name}: no layer has the name of one of {found.models[0].name}; similarity.png compares all of them"
    first = found.first_drift(number)
    rows = [[layer, f"{1 - amount:.3f}"] for layer, amount in drift.items()]
    said = (
        f"{first} is the first layer with a similarity below 0.9: look there first"
        if first
        else "no layer has a similarity below 0.9"
    )
    return f"against {name}: {said}\n{_table(['layer', 'similarity (CKA)'], rows)}"


def _training(found: Health, first: int) -> str:
    """A line for each checkpoint, the model at the end."""
    rows = []
    for number in (*range(first, len(found.models)), 0):
        model = found.models[number]
        layers = list(model.layers.values())
        similar = [1 - amount for amount in found.drift(number).values() if amount == amount]
        ranks = [rank / layer.layer.units for layer in layers if (rank := layer.effective_rank()) == rank]
        rows.append(
            [
                model.name,
                str(sum(int(layer.dead.sum()) for layer in layers)),
                f"{100 * sum(float(layer.sparsity.mean()) for layer in layers) / len(layers):.0f} %",
                f"{100 * sum(ranks) / max(1, len(ranks)):.0f} %",
                f"{min(similar):.3f}" if similar else "-",
                model_first if (model_first := found.first_drift(number)) else "-",
            ]
        )
    heads = ["checkpoint", "dead units", "not above 0", "effective rank", "least similarity", "first layer below 0.9"]
    return f"training, each compared with {found.models[0].name}\n{_table(heads, rows)}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """The first columns hold texts, the others numbers."""
    from ..terminal.table import Column, table

    return table([Column(head, right=n >= texts) for n, head in enumerate(heads)], rows)
