"""`onnxray evaluate`: judge the maps of methods on images, write tables, curves and a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..parameters.inputs import card_of, open_model, take_images
from ..parameters.judging import chosen_metrics
from ..parameters.methods import ALL, chosen_methods, plain_options
from ..sources.share import WHOLE, Share
from ..sources.source import ALL as EVERYTHING
from ..sources.source import Selection
from .over_images import Outcome, Pixels, over_images

if TYPE_CHECKING:
    from ...engine.attribution.explanation import Explanation
    from ...engine.evaluate.registry import Metric
    from ...engine.evaluate.results import Evaluation
    from ...engine.evaluation import Judge
    from ...engine.graph.model import Model
    from ...engine.preprocess.card import Card
    from ..figures.parts import Part, Section
    from ..files.masks import Masks, Objects
    from ..files.output import Output
    from ..files.run import Run
    from ..parameters.options import Common
    from .about import About

    # Makes the page of a title, a lead, what it is about, and the sections.
    Document: TypeAlias = Callable[[str, str, About, Sequence[Section]], str]

# The sides of the pictures of the page, and how many of the best and the worst images it shows of each method.
_SIDE, _SHOWN = 200, 3
# In the folder of a part: what the page of the whole says of the model.
FACTS = "facts.json"


@dataclass(frozen=True)
class EvaluateOptions:
    """What `onnxray evaluate` is asked for, in the words of the command line."""

    model: str
    images: Sequence[str]
    methods: Sequence[str]
    metrics: str | None
    masks: Path | None
    target: str
    settings: Sequence[str]
    seed: int
    batch: int | None
    output: Output
    common: Common
    selection: Selection = EVERYTHING
    metric_settings: Sequence[str] = ()
    share: Share = WHOLE


def evaluate(options: EvaluateOptions, document: Document) -> Run:
    """Judge every image, write the tables, then draw; the run, at its end.

    document: makes the page of a title, a lead, what it is about and the sections. Raises UnknownName (method, metric),
    MethodError, TargetError, ImageError (no image, no masks), OutputError.
    """
    from ...engine.evaluation import Judge
    from ...engine.inference.batches import RunOptions
    from ..files.masks import open_masks
    from ..files.run import Run, describe, describe_card
    from ..terminal.progress import Progress

    common = options.common
    model = open_model(options.model, common.card)
    card = card_of(model, common.quiet)
    masks = None if options.masks is None else open_masks(options.masks)
    metrics = chosen_metrics(options.metrics, masks is not None, options.metric_settings)
    methods, every = chosen_methods(options.methods or (ALL,), options.settings)
    images = take_images(options.images, options.model, common.quiet, options.selection, options.share)
    runtime = RunOptions(**common.runtime, batch=options.batch)
    judge = Judge(model, methods, metrics, options.target, runtime, options.seed, every)
    decisive = {
        "methods": {method.name: plain_options(method) for method in methods},
        "metrics": {metric.name: metric.options() for metric in metrics},
        "masks": None if masks is None else str(masks.where),
        "target": options.target,
        "seed": options.seed,
        "batch": options.batch,
        **options.selection.to_mapping(),
        **images.share.to_mapping(),
        **common.runtime,
    }
    about = {"model": describe(model), "card": describe_card(card)}
    with (
        Run(options.output, "evaluate", decisive, about, images.paths) as run,
        Progress(len(images), quiet=common.quiet, bar=common.progress) as bar,
    ):
        work = _Work(judge, run, card, masks)
        over_images(run, bar, images, work.one, work.news, _fits, card=card)
        about_model = work.about(model, common.runtime)
        if about_model is not None:
            if options.share.block is None:
                conclude(run, metrics, about_model, document)
            if images.share.to_mapping():
                run.manifest["files"].append(run.text(FACTS, json.dumps(about_model.to_mapping()) + "\n"))
    return run


def conclude(run: Run, metrics: Sequence[Metric], about: About, document: Document) -> None:
    """What is written of all images together: tables, curves, the page."""
    from ...engine.evaluate.results import Evaluation, Judged

    done = [entry for entry in run.entries if entry["status"] == "done"]
    judged = tuple(Judged.from_mapping(entry["path"], entry["evaluation"]) for entry in done)
    found = Evaluation(tuple(run.manifest["options"]["methods"]), tuple(metrics), judged)
    _write(run, found)
    model = run.manifest["model"]["path"]
    title = f"Methods judged on {'the model' if model is None else Path(model).name}"
    page = document(title, f"{found.advice} {_given(run, found)}", about, sections(found, run))
    run.manifest["files"].append(run.text("index.html", page))


def _given(run: Run, found: Evaluation) -> str:
    options = run.manifest["options"]
    where = "without masks" if options["masks"] is None else f"with masks of {Path(options['masks']).name}"
    return f"{len(found.images)} images, {where}; explained: {options['target']}."


def as_text(run: Run) -> str:
    """The table and the sentence, as they are in table.md."""
    file = run.folder / "table.md"
    return file.read_text(encoding="utf-8").rstrip() if file.exists() else ""


def _fits(entry: dict[str, Any]) -> None:
    from ...engine.evaluate.results import Judged

    Judged.from_mapping(entry["path"], entry["evaluation"])


@dataclass
class _Work:
    """One image in, its values out."""

    judge: Judge
    run: Run
    card: Card
    masks: Masks | None
    _news: dict[Path, list[str]] = field(default_factory=dict)

    def one(self, path: Path, pixels: Pixels, folder: str) -> Outcome:
        """The values of one image for the manifest, and the pictures written."""
        from ...engine.survey.pictures import Picture
        from ..figures import figure

        files: list[str] = []

        def seen(e: Explanation) -> None:
            name = self.run.name(f"{e.method}.png", folder)
            files.append(self.run.picture(name, figure.picture(e.overlay(), _SIDE)))

        notes: list[str] = []
        objects = self._objects(path, pixels, notes)
        label = None if objects is None else self._label(objects)
        mask = None if objects is None else objects.masks[label or ""]
        judged = self.judge.one(Picture(str(path), pixels, label or None), mask, seen)
        notes += judged.notes
        self._news[path] = [f"warning: {path.name}: {text}" for text in notes]
        return {"evaluation": judged.to_mapping()}, files

    def _objects(self, path: Path, pixels: Pixels, notes: list[str]) -> Objects | None:
        if self.masks is None:
            return None
        height, width = pixels.shape[:2]
        objects = self.masks.of(path, (height, width))
        if objects is None and any(metric.needs_mask for metric in self.judge.metrics):
            notes.append(f"no mask in {str(self.masks.where)!r}: metrics of localisation have no value for it")
        return objects

    def _label(self, objects: Objects) -> str:
        """The class that covers most of those that the model knows, else of all."""
        known = [label for label in objects.masks if label in (self.card.labels or ())]
        return max(known, key=lambda label: int(objects.masks[label].sum())) if known else objects.largest

    def news(self, path: Path) -> Iterator[str]:
        """What is to be said after an image."""
        yield from self._news.pop(path, ())

    def about(self, model: Model, runtime: Any) -> About | None:
        """What the page is about; None where no image is done."""
        from ..files.photos import read_photo
        from .about import about_of
        from .subject import LayerValues, OnePhoto, Subject

        path = next((Path(entry["path"]) for entry in self.run.entries if entry["status"] == "done"), None)
        if path is None:
            return None
        first = path, read_photo(path, self.card)
        return about_of(Subject(model, self.card, OnePhoto(*first), first, LayerValues(model, self.card, runtime)))


def _write(run: Run, found: Evaluation) -> None:
    """The tables and the curves."""
    from ..figures.lines import curves_page

    run.manifest["files"] += [path.name for path in found.save(run.folder)]
    about = found.to_mapping()
    run.manifest["evaluation"] = {key: about[key] for key in ("advice", "ranking", "table", "left_out")}
    for metric, curves in _curves(found):
        note = f"{metric.help}; mean over {len(found.images)} images, best method first"
        pixels = curves_page(metric.name, note, curves, metric.across)
        run.manifest["files"].append(run.picture(run.name(f"curve-{metric.name}.png"), pixels))


@dataclass(frozen=True)
class _CurveOf:
    name: str
    help: str
    across: str


def _curves(found: Evaluation) -> Iterator[tuple[_CurveOf, dict[str, Any]]]:
    """The mean curves of each metric that has some, by method, the best method first."""
    from ...engine.evaluate.registry import help_of

    for metric in found.metrics:
        curves = {}
        for method in found.ranking.order:
            curve = found.curve(method, metric.name)
            if curve is not None:
                curves[method] = curve
        if curves:
            yield _CurveOf(metric.name, help_of(type(metric)).rstrip("."), "share of the pixels"), curves


def sections(found: Evaluation, run: Run) -> list[Section]:
    """The page: the table, the curves, the best and the worst images of each method."""
    from ..figures.lines import lines
    from ..figures.parts import Heading, Picture, Section, Table

    heads = ("method", "mean rank", *(metric.name for metric in found.metrics))
    rows = []
    for method, values in found.rows():
        rank = found.ranking.mean_rank.get(method)
        cells = [_cell(values[metric.name]) for metric in found.metrics]
        rows.append((method, "-" if rank is None else f"{rank:.2f}", *cells))
    directions = "; ".join(f"{m.name}: {'high' if m.better == 'higher' else 'low'} is good" for m in found.metrics)
    table = Table(heads, tuple(rows), frozenset(range(1, len(heads))))
    pictures: list[Part] = []
    for metric, curves in _curves(found):
        pictures.append(Picture(f"curve-{metric.name}", lines(curves, metric.across), metric.help, metric.name))
    parts = [Section("The methods", f"Means with their 95 % intervals. {directions}.", [table])]
    if pictures:
        parts.append(Section("Curves", "Means over the images.", pictures))
    tiles: list[Part] = []
    for method, _ in found.rows():
        tiles += [Heading(method), *_ends_of(found, run, method)]
    text = "The images on which each method does best and worst, by its values among those of all images."
    parts.append(Section("The best and the worst images", text, tiles))
    return parts


def _cell(one: Any) -> str:
    if one is None:
        return "-"
    return f"{one.mean:.3f}" if one.low != one.low else f"{one.mean:.3f} ({one.low:.3f} to {one.high:.3f})"


def _ends_of(found: Evaluation, run: Run, method: str) -> Iterator[Part]:
    from ..figures.parts import Tile, Tiles
    from ..files.images import read

    entries = {entry["path"]: entry for entry in run.entries if entry["status"] == "done"}
    order = found.image_order(method)
    few = order if len(order) <= 2 * _SHOWN else [*order[:_SHOWN], *order[-_SHOWN:]]
    made = []
    for number in few:
        image = found.images[number]
        name = next((f for f in entries[image.name]["files"] if Path(f).name == f"{method}.png"), None)
        if name is None or not (run.folder / name).is_file():
            continue
        said = ", ".join(f"{k} {v:.2f}" for k, v in image.values[method].items())
        place = order.index(number) + 1
        made.append(Tile(f"{place}. {Path(image.name).name}", read(run.folder / name), f"{image.target}: {said}"))
    if made:
        yield Tiles(tuple(made), _SIDE)
