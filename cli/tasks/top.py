"""`onnxray top`: one pass over images, saved on the way, then sheets of units and a file of results."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engine.caches import Kept
from ..parameters.inputs import card_of, find_labelled_images, open_model
from ..parameters.shards import part_of
from ..sources.share import WHOLE, Share, names_digest
from .saved_pass import Files, Pass, Saving

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...engine.graph.model import Model
    from ...engine.survey.pictures import Picture
    from ...engine.survey.scan import Scan
    from ...engine.survey.top import Example, Top
    from ...engine.survey.units import UnitLayer
    from ...engine.top import Look, Looks
    from ..figures.top import Row, UnitRows
    from ..files.output import Output
    from ..files.run import Run
    from ..parameters.options import Common
    from ..terminal.progress import Progress

RESULT = "result"
# Units of a layer that are drawn without --channel, and units of one sheet.
_DRAWN, _PER_SHEET = 12, 12
# Images kept decoded while sheets are drawn, those of them that are large, and the bytes from which on one is.
_IMAGES, _LARGE_IMAGES, _LARGE = 64, 8, 4 << 20


@dataclass(frozen=True)
class TopOptions:
    """What `onnxray top` is asked for, in the words of the command line."""

    model: str
    images: Sequence[str]
    layers: Sequence[str]
    k: int
    channels: Sequence[str]
    weakest: bool
    quantiles: bool
    field: str
    project: Sequence[str]
    heat: bool
    labels: str
    after: bool
    sample: int
    batch: int | None
    output: Output
    common: Common
    share: Share = WHOLE


def top(options: TopOptions, merged: Callable[[Pass], Top] | None = None, listed: Files | None = None) -> Run:
    """Survey the images, write the result, then draw; the run, at its end. Of a block, nothing is drawn.

    merged: the result of all images, where they have been surveyed already; listed: those images with their classes,
    `options.labels` then says which labels.
    Raises what `onnxray.top` raises; ImageError (no image, or none that can be read), OutputError.
    """
    from ...engine.inference.batches import RunOptions
    from ...engine.survey.scan import Scan, ScanOptions
    from ..files.run import Run
    from ..terminal.progress import Progress

    common = options.common
    model = open_model(options.model, common.card)
    card_of(model, common.quiet)
    files, labels = labelled_files(options, model) if listed is None else (list(listed), options.labels)
    wanted = ScanOptions(options.k, options.sample, not options.after, labels)  # type: ignore[arg-type]
    runtime = RunOptions(**common.runtime, batch=options.batch)
    layers = list(options.layers) or None
    scan = Scan(model, layers, wanted, runtime)
    chosen = {layer.name: _channels(scan.model, layer, options.channels) for layer in scan.layers}
    about = _about(model, scan, files)
    with (
        Progress(len(files), "images", quiet=common.quiet, bar=common.progress) as bar,
        Run(options.output, "top", _decisive(options, labels), about, [path for path, _ in files]) as run,
    ):
        work = Pass(run, bar, files, scan.card, share=options.share)
        if merged is not None:
            found = merged(work)
        else:
            found = _survey(
                work, scan, lambda start: Scan(model, layers, wanted, runtime, start), options.output.resume
            )
        found.save(run.folder / RESULT)
        run.manifest["files"] += [f"{RESULT}/top.npz", f"{RESULT}/manifest.json"]
        work.part.unlink(missing_ok=True)
        if options.share.block is None:
            _Drawing(options, run, bar, found, chosen, runtime).draw(model)
    return run


def labelled_files(options: TopOptions, model: Model) -> tuple[list[tuple[Path, str | None]], str]:
    """The images of the share with their classes, and which labels the selectivity of units is about.

    Raises ImageError, MethodError.
    """
    from ...engine.errors import MethodError
    from ...engine.top import labels_for

    block = options.share.block
    if block is not None:
        return list(zip(block.paths, block.labels, strict=True)), options.labels
    files = find_labelled_images(options.images, options.model, options.common.quiet)
    labels = labels_for(model, options.labels, any(label is not None for _, label in files))
    if labels == "given" and not any(label is not None for _, label in files):
        raise MethodError("no image lies in a folder of classes: give the folder that holds those, or another option")
    return part_of(files, (options.share.number, options.share.parts)), labels


def _decisive(options: TopOptions, labels: str) -> dict[str, Any]:
    names = ("k", "after", "sample", "batch")
    shard = options.share.number, options.share.parts
    given = {name: getattr(options, name) for name in names}
    return {**given, "shard": shard, "labels": labels, **options.common.runtime}


def _about(model: Model, scan: Scan, files: Sequence[tuple[Path, str | None]]) -> dict[str, Any]:
    from ..files.run import describe, describe_card

    return {
        "model": describe(model),
        "card": describe_card(scan.card),
        "layers": [layer.name for layer in scan.layers],
        "given": {"images": len(files), "names_sha256": names_digest(files)},
    }


def _channels(model: Model, layer: UnitLayer, given: Sequence[str]) -> list[int]:
    """The units that are drawn. Raises TargetError for one that does not exist."""
    from ...engine.optimize.units import channels_of

    if not given:
        return list(range(min(layer.units, _DRAWN)))
    return list(range(layer.units)) if "all" in given else channels_of(model, layer.value, ",".join(given))


def _survey(work: Pass, scan: Scan, again: Callable[[Top], Scan], resume: bool) -> Top:
    """The result, from where an earlier run of the folder was cut off. again: a scan that starts from a result."""
    from ...engine.survey.top import load_part, save_part

    found = work.earlier(load_part, resume)
    scan = scan if found is None else again(found)
    before, start, places = scan.count, work.at, list[int]()

    def pictures() -> Iterator[Picture]:
        for place, picture in enumerate(work.pictures(start), start):
            if picture is not None:
                places.append(place)
                yield picture

    saving = Saving(lambda: save_part(scan.result(), work.part, work.done()))
    for count in scan.run(pictures()):
        at = places[count - before - 1] + 1
        work.step(at, work.files[at - 1][0].name)
        saving.if_due()
    work.end(scan.count)
    return scan.result()


@dataclass(frozen=True)
class _Drawing:
    """Sheets of the units, and what they show as JSON."""

    options: TopOptions
    run: Run
    bar: Progress
    found: Top
    chosen: Mapping[str, Sequence[int]]
    runtime: Any
    images: Kept[str, NDArray[Any]] = field(
        default_factory=lambda: Kept(_IMAGES, lambda pixels: pixels.nbytes > _LARGE, _LARGE_IMAGES)
    )

    @cached_property
    def _summaries(self) -> dict[str, Any]:
        """Means, best classes and their selectivity of the units of every layer."""
        return {name: (self.found.mean(name), *self.found.selectivity(name)) for name in self.found.layers}

    def draw(self, model: Model) -> None:
        from ...engine.top import Looks

        looks = Looks(model, list(self.found.layers), before=not self.options.after, runtime=self.runtime)
        entries: dict[str, Any] = {}
        for layer, units in self.chosen.items():
            entries[layer] = []
            for first in range(0, len(units), _PER_SHEET):
                part = units[first : first + _PER_SHEET]
                self._sheet(looks, layer, part, len(units))
                entries[layer] += [self._entry(layer, unit) for unit in part]
                self.run.flush()
        text = json.dumps({"count": self.found.count, "layers": entries}, indent=1, ensure_ascii=False)
        self.run.manifest["files"].append(self.run.text("units.json", text + "\n"))

    def _sheet(self, looks: Looks, layer: str, units: Sequence[int], drawn: int) -> None:
        from ..figures.top import sheet

        found = self.found.layers[layer]
        title = f"What excites {'the classes' if found.layer.kind == 'classes' else layer} of {self.found.name}"
        count = f"all {found.layer.units}" if drawn == found.layer.units else f"{drawn} of {found.layer.units}"
        lines = [
            f"The {self.options.k} strongest of {self.found.count} images for {count} units; below each its value"
            + ("" if self.options.after or found.layer.kind == "classes" else " before the activation function")
            + f". {_crops(found.layer.kind, found.layer.field is not None, self.options.field)}"
        ]
        if self.found.labelled and found.layer.kind != "classes":
            kind = "the model's own answers" if self.found.labelled == "predicted" else "the names of the folders"
            lines.append(f"Selectivity, 0 to 1, is for one class against the others; the classes are {kind}.")
        # One by one: a unit's crops may be whole images.
        rows = (self._unit(looks, layer, unit) for unit in units)
        name = self.run.name(f"{layer}.png")
        self.run.manifest["files"].append(self.run.picture(name, sheet(title, lines, rows)))

    def _unit(self, looks: Looks, layer: str, unit: int) -> UnitRows:
        from ..figures.figure import number
        from ..figures.top import Row, UnitRows

        found, options = self.found, self.options
        strongest = found.strongest(layer, unit)
        seen = [self._look(looks, layer, unit, example) for example in strongest]
        values = [number(example.value) for example in strongest]
        rows = [Row("strongest", seen, values)]
        if options.heat and any(look is not None and look.heat is not None for look in seen):
            rows.append(Row("heat of the unit", seen, [""] * len(seen), "heat"))
        rows += [Row(name, seen, [""] * len(seen), name) for name in options.project]
        if options.quantiles:
            rows.append(self._quantiles(looks, layer, unit))
        if options.weakest:
            weakest = found.weakest(layer, unit)
            plain = [self._look(looks, layer, unit, example, plain=True) for example in weakest]
            rows.append(Row("weakest", plain, [number(example.value) for example in weakest]))
        return UnitRows(self._title(layer, unit), self._lines(layer, unit), rows)

    def _quantiles(self, looks: Looks, layer: str, unit: int) -> Row:
        from ..figures.figure import number
        from ..figures.top import Row

        shares = [n / max(1, self.options.k - 1) for n in range(self.options.k)]
        examples = self.found.quantiles(layer, unit, shares)
        notes = [f"{100 * (e.quantile or 0):.0f} %: {number(e.value)}" for e in examples]
        return Row("at every level", [self._look(looks, layer, unit, e, plain=True) for e in examples], notes)

    def _look(self, looks: Looks, layer: str, unit: int, example: Example, plain: bool = False) -> Look | None:
        """None for an image that can no longer be read."""
        from ...engine.errors import ImageError
        from ..files.photos import read_photo

        name = example.image.name
        try:
            pixels = self.images.get(name, lambda: read_photo(name, self.found.card))
        except ImageError as error:
            self.bar.say(str(error))
            return None
        project = () if plain else tuple(self.options.project)
        return looks.look(layer, unit, example, pixels, field=self.options.field, project=project)  # type: ignore[arg-type]

    def _title(self, layer: str, unit: int) -> str:
        labels = self.found.card.labels if self.found.card is not None else None
        if self.found.layers[layer].layer.kind == "classes" and labels and unit < len(labels):
            return f"{labels[unit]} ({unit})"
        return f"unit {unit}"

    def _lines(self, layer: str, unit: int) -> list[str]:
        from ..figures.figure import number

        entry = self._about_unit(layer, unit)
        lines = [f"mean {number(entry['mean'])}, highest {number(entry['highest'])}"]
        if not entry["fires_in"]:
            lines.append("never above 0")
        elif self.found.layers[layer].layer.kind != "classes":
            lines.append(f"above 0 in {100 * entry['fires_in']:.0f} % of the images")
        if entry.get("class") is not None and self.found.layers[layer].layer.kind != "classes":
            lines.append(f"most selective for {entry['class']} ({entry['selectivity']:.2f})")
        return lines

    def _about_unit(self, layer: str, unit: int) -> dict[str, Any]:
        means, best, index = self._summaries[layer]
        statistics = self.found.layers[layer].statistics
        entry = {
            "mean": float(means[unit]),
            "highest": float(statistics.highest[unit]),
            "lowest": float(statistics.lowest[unit]),
            "fires_in": float(statistics.firing[unit]) / self.found.count,
        }
        if self.found.classes and best[unit] >= 0:
            entry |= {"class": self.found.classes[best[unit]], "selectivity": float(index[unit])}
        return entry

    def _entry(self, layer: str, unit: int) -> dict[str, Any]:
        found = self.found
        return {
            "unit": unit,
            **self._about_unit(layer, unit),
            "strongest": [_plain(e) for e in found.strongest(layer, unit)],
            "weakest": [_plain(e) for e in found.weakest(layer, unit)],
            "quantiles": [_plain(e) for e in found.quantiles(layer, unit)],
        }


def _crops(kind: str, exact: bool, field: str) -> str:
    if field == "effective":
        return "The crops hold 95 % of the unit's gradient."
    if kind == "map" and exact:
        return "The crops are all that the unit sees at the place of that value."
    return "The crops are the token's patch." if kind == "tokens" else "The unit sees the whole image."


def _plain(example: Example) -> dict[str, Any]:
    entry = {
        "image": example.image.name,
        "sha256": example.image.sha256,
        "label": example.image.label,
        "value": example.value,
        "place": list(example.place),
        "box": list(example.box),
    }
    return entry if example.quantile is None else {"quantile": example.quantile, **entry}
