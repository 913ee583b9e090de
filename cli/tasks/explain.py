"""Explaining images by one or several methods."""

from __future__ import annotations

import copy
import functools
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engine.errors import ImageError
from ..figures.explanations import PANEL, Sheet
from ..parameters.inputs import card_of, open_model, take_images
from ..parameters.line import NO_INSPECTION, Inspection
from ..parameters.methods import BOXES, DEFAULT, chosen_methods
from ..parameters.tables import NO_TABLE, TableOptions
from ..parameters.texts import NO_TEXTS, TextOptions
from ..sources.share import WHOLE, Share
from ..sources.source import ALL, Selection
from ..terminal.words import as_options
from . import compared
from .explain_entries import (
    about_of,
    decisive_of,
    entry_of,
    file_name,
    fits_ranges,
    left_out_of_all,
    suffix_of,
    summary,
    write_map,
)
from .inspecting import judge_of
from .measures import Measures, asked_measures
from .over_images import Outcome, Pixels, over_images, shared_among, side_by_side
from .ranges import SHARED, Ranges
from .solving import Question, both, solutions
from .trust import examine_with

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...engine.attribution.explanation import Explanation
    from ...engine.evaluate.trust import Trust
    from ...engine.graph.model import Model
    from ...engine.methods.registry import Method
    from ...engine.pipeline.judge import Judge
    from ...engine.preprocess.card import Card
    from ...engine.targets.target import Target
    from ..figures.boxes import BoxSheet
    from ..figures.hottest_region import Side
    from ..files.output import Output
    from ..files.run import Run
    from ..parameters.options import Common
    from ..sources.registry import Images
    from .trust import Examine


# Images of a run that a line on stderr sums up.
_MOST_SUMMARIES = 10
# Maps that such a line names.
_MOST_PARTS = 6


@dataclass(frozen=True)
class ExplainOptions:
    """What `onnxray explain` is asked for, in the words of the command line."""

    model: str
    images: Sequence[str]
    methods: Sequence[str]
    targets: Sequence[str]
    layers: Sequence[str]
    at: str | None
    feeds: Sequence[str]
    settings: Sequence[str]
    formats: Sequence[str]
    alpha: float
    colormap: str | None
    range: str | tuple[float, float]
    threshold: float | None
    side: Side
    batch: int | None
    output: Output
    common: Common
    selection: Selection = ALL
    inspection: Inspection = NO_INSPECTION
    trust: bool = False
    against: str | None = None
    texts: TextOptions = NO_TEXTS
    table: TableOptions = NO_TABLE
    share: Share = WHOLE
    frames: str | int = "strongest"


def explain(options: ExplainOptions) -> Run:
    """Explain every image; the run, at its end.

    Raises UnknownName, TargetError and MethodError for what is asked for, ModelError, CardError, ImageError for files.
    """
    from ..files.arrays import fed
    from ..files.run import Run
    from ..terminal.progress import Progress

    common = options.common
    model = open_model(options.model, common.card)
    usual = BOXES if not options.methods and of_boxes(model, options.targets) else DEFAULT
    methods, every = chosen_methods(options.methods or (usual,), options.settings)
    images = take_images(options.images, options.model, common.quiet, options.selection, options.share)
    card = card_of(model, common.quiet)
    fed_too = fed(options.feeds, model)
    samples = None if images.streams else images.total
    targets = [target_of(text, model, card, samples) for text in options.targets]
    check_options(model, options, methods)
    if options.range == SHARED and images.streams:
        raise ImageError("--range shared looks at every image twice, and a stream is seen once: give --range LOW,HIGH")
    if options.range == SHARED and not options.share.whole:
        raise ImageError("--range shared looks at all images, --shard at some: give --range LOW,HIGH")
    if options.range == SHARED and options.inspection.when is not None:
        raise ImageError("--range shared looks at all images, --when at some: give --range LOW,HIGH")
    decisive, about = (
        decisive_of(replace(options, share=images.share), methods, targets),
        about_of(options, model, card),
    )
    workers, runtimes = side_by_side(images, common.runtime, common.devices)
    runtime = runtimes[0]
    if fed_too and not options.layers:
        compared.refuse_crop(model, options.selection)
    # What is wrong with a rule or a mask is known before a folder is made.
    judge = judge_of(model, card, options.inspection.when, options.inspection.memory, runtime)
    measures = asked_measures(options.threshold, options.inspection)
    examine, *examine_others = (examine_with(model, card, methods, options, one) for one in runtimes)
    with (
        Run(options.output, "explain", decisive, about, images.paths) as run,
        Progress(len(images), quiet=common.quiet, bar=common.progress) as bar,
    ):
        part = bar.part if workers == 1 else None
        about_all = (model, card, targets, methods, every, options, run, part, fed_too, images)
        work = Explainer(*about_all, runtime, judge, measures, examine)
        others = zip(runtimes[1:], examine_others, strict=True)
        one = shared_among([work, *(work.on(*other) for other in others)], Explainer.one)
        if options.range == SHARED:
            work.ranges.look_at(images.paths, work.explanations, card)
        fits = functools.partial(fits_ranges, work.ranges)
        over_images(run, bar, images, one, work.news, fits, workers=workers, card=card)
        if not images.streams and (said := work.ranges.differ()):
            bar.say(said)
        conclude(run)
    return run


def conclude(run: Run) -> None:
    """What the manifest says of all images together."""
    if left_out := left_out_of_all(run.entries):
        run.manifest["left_out"] = left_out


def of_boxes(model: Model, targets: Sequence[str]) -> bool:
    """Whether boxes of a detector are explained, by name or because nothing else is named."""
    from ...engine.targets.boxes import answers_with_boxes

    named = [text.strip().partition(":")[0] == "box" for text in targets]
    return all(named) or (all(text.strip() == "predicted" for text in targets) and answers_with_boxes(model))


def target_of(text: str, model: Model, card: Card | None, samples: int | None = None) -> Target:
    """The target, looked up in the model once before the first image, its files read.

    samples: how many images there are; None where a file may hold any number of them.

    Raises TargetError, UnknownName, ImageError.
    """
    from ...engine.attribution.inputs import input_of
    from ...engine.targets.resolved import Place
    from ...engine.targets.target import Target
    from ..files.photos import read_photo

    def prepared(given: NDArray[Any]) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        found = input_of(model, given, card)
        return {found.name: found.x}, {}

    target = Target.parse(text).opened(functools.partial(read_photo, card=card))
    samples = target.samples if samples is None else samples
    target.resolve(Place(model, None if card is None else card.labels, prepare=prepared, samples=samples))
    return target


def check_options(model: Model, options: ExplainOptions, methods: Sequence[Method]) -> None:
    """Raises UnknownName and MethodError for what can be known to be wrong before the first image."""
    from ...engine.attribution.colours import check_colormap
    from ...engine.errors import MethodError
    from ...engine.inspect.layers import find_layer

    for name in options.layers:
        find_layer(model, name)
    if options.colormap is not None:
        check_colormap(options.colormap)
    bare = [method.name for method in methods if not method.at_layer]
    if options.layers and len(bare) == len(methods):
        raise MethodError(f"{', '.join(bare)} explain{'s' * (len(bare) == 1)} at the input: leave --layer out")


@dataclass
class Explainer:
    """One image in, its explanations out.

    every: whether `all` is asked for. progress: called with the share of an image that is done, 0 to 1, and the method
    that runs. fed: further inputs, the same for every image. images: those of the run, in the order of targets that are
    one for each of them. runtime: the options of sessions, where they are not those of the command.
    """

    model: Model
    card: Card
    targets: Sequence[Target]
    methods: Sequence[Method]
    every: bool
    options: ExplainOptions
    run: Run
    progress: Callable[[float, str], None] | None = None
    fed: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    images: Images | None = None
    runtime: Mapping[str, Any] | None = None
    judge: Judge | None = None
    measures: Measures | None = None
    examine: Examine | None = None

    def __post_init__(self) -> None:
        self.ranges = Ranges(self.options.range)
        self._said: set[str] = set()
        known = () if self.images is None else enumerate(self.images.paths, self.images.start)
        self._places: dict[Path | None, int] = {path: number for number, path in known}
        self._news: list[str] = []
        self._lock = threading.Lock()  # images are explained in several threads
        self._reports: dict[Path, tuple[list[tuple[str, str]], list[str]]] = {}
        self._summaries = 0

    def on(self, runtime: Mapping[str, Any], examine: Examine | None) -> Explainer:
        """The same with other options of sessions, which `examine` has too; what is said and kept is shared."""
        other = copy.copy(self)
        other.runtime, other.examine = runtime, examine
        other.judge = None if self.judge is None else self.judge.on(runtime)
        return other

    def one(self, path: Path, pixels: Pixels, folder: str) -> Outcome:
        """Everything about one image: its results for the manifest, and the files written."""
        from ...engine.explain import PREPROCESSING
        from ...engine.preprocess.depth import shown
        from ..figures import boxes

        maps: list[dict[str, Any]] = []
        files: list[str] = []
        left_out: dict[str, str] = {}
        said: list[str] = []
        warnings: list[tuple[str, str]] = []
        geometry = None
        picture = compared.picture_of(self.model, self._given(pixels), bool(self.options.layers))
        picture = shown(pixels, self.card) if picture is None else picture
        sheet = Sheet(path.name, picture, self.options.alpha, self.options.colormap)
        of_boxes = boxes.BoxSheet(path.name, picture, PANEL)
        # No map is kept once it is written and in the sheet: together they would be many times the image.
        kept = self.ranges.kept(path, picture)
        part = self.options.selection.part(pixels)
        fields, wanted = self.judge.of(part, str(path)) if self.judge is not None else ({}, True)
        warnings += [(text, "novelty") for text in fields.get("prediction", {}).get("warnings", ())]
        if not wanted:
            self._reports[path] = warnings, ["not explained: the rule does not hold"]
            return {"size": list(pixels.shape[:2]), "geometry": None, **fields, "maps": []}, []
        trust = self.examine(part) if self.examine is not None else None
        for explanation in self.explanations(pixels, left_out, path) if kept is None else kept:
            self.ranges.note(path, explanation)
            trusted = None if trust is None else trust(explanation)
            entry = self._write(explanation, folder, sheet, of_boxes, trusted)
            if self.measures is not None:
                entry["measures"] = self.measures.of(explanation)
            maps.append(entry)
            files += entry["files"]
            geometry = explanation.geometry
            for text in explanation.warnings:
                if not text.startswith(PREPROCESSING):  # said once, when the card was found
                    warnings.append((text, explanation.method))
            light = "" if trusted is None else f", trust: {trusted.light}"
            said.append(summary(explanation) + boxes.summary(explanation) + light)
        asides, about_own = self._own_map(pixels, explanation, folder, sheet) if maps else ([], {})
        files += asides
        if "sheet" in self.options.formats and maps:
            drawn = of_boxes.picture if all("box" in entry for entry in maps) else sheet.picture
            files.append(self.run.picture(self.run.name(f"sheet{suffix_of(self.options)}", folder), drawn))
            said.append(str(self.run.folder / files[-1]))
        self._reports[path] = warnings, said
        return {
            "size": list(picture.shape[:2]),
            "geometry": None if geometry is None else geometry.to_mapping(),
            **fields,
            **about_own,
            "maps": maps,
            **({"left_out": left_out} if left_out else {}),
        }, files

    def explanations(self, pixels: Pixels, left_out: dict[str, str], path: Path | None = None) -> Iterator[Explanation]:
        """Of every target by every method; those of `all` that do not fit go into `left_out`, with the reason.

        The next image is tried with them again: it may be this one alone that they do not fit. Raises MethodError where
        no method fits.
        """
        from ...engine.explain import problem_of
        from ...engine.inference.batches import RunOptions

        now: list[Any] = [0, 0, ""]

        def questions() -> Iterator[Question]:
            given_runtime = self.runtime or self.options.common.runtime
            for number, target in enumerate(self.targets):
                now[0] = number
                progress = functools.partial(self._report, now)
                runtime = RunOptions(**given_runtime, batch=self.options.batch, progress=progress)
                given, asked = self._given(pixels), target.of_sample(self._places.get(path, 0))
                made = functools.partial(problem_of, self.model, given, asked, card=self.card, runtime=runtime)
                yield both(made, self.options.layers)

        def begun(place: int, name: str) -> None:
            now[1:] = place, name

        def say(text: str) -> None:
            self._warn(text, "")

        for _, found in solutions(questions(), self.methods, self.every, left_out, say, begun):
            yield from (self.options.selection.placed(e, pixels) for e in found)

    def _given(self, pixels: Pixels) -> Any:
        """What the model is given of an image."""
        from ..files.arrays import free_input

        seen = self.options.selection.part(pixels)
        return {free_input(self.model, self.fed, self.card.input or ""): seen, **self.fed} if self.fed else seen

    def _own_map(
        self, pixels: Pixels, e: Explanation, folder: str, sheet: Sheet
    ) -> tuple[list[str], dict[str, dict[str, Any]]]:
        """The map that the model itself answers with, if it has one: the files written, and what the manifest says."""
        from ..figures.own_map import own_map

        options = self.options
        own = own_map(self.model, self._given(pixels), e, self.runtime or options.common.runtime)
        if own is None:
            return [], {}
        if "sheet" in options.formats:
            sheet.aside("the model's own map", own.block(options.alpha, PANEL, options.colormap))
        files = []
        if "overlay" in options.formats:
            picture = own.overlay(options.alpha, options.colormap)
            files.append(self.run.picture(self.run.name(f"own-map-overlay{suffix_of(options)}", folder), picture))
        return files, {"own_map": {**own.to_mapping(), "files": files}}

    def _report(self, now: Sequence[Any], done: int, total: int) -> None:
        """How far the method that runs now, by the numbers of target and method and by its name, has come: see
        `RunOptions.progress`."""
        if self.progress is not None:
            target, place, name = now
            maps = len(self.targets) * len(self.methods)
            self.progress((target * len(self.methods) + place + done / total) / maps, name)

    def news(self, path: Path) -> list[str]:
        """What is to be said after an image, each once in a run; called for one image after the other."""
        warnings, said = self._reports.pop(path)
        for text, method in warnings:
            self._warn(text, method)
        self._summarise(path, said)
        with self._lock:
            news = list(self._news)
            self._news.clear()  # those that work on other devices share it
        return news

    def _warn(self, text: str, method: str) -> None:
        """Said once in a run, whichever methods warn of it."""
        with self._lock:
            if text in self._said:
                return
            self._said.add(text)
            self._news.append(f"warning: {method}: {as_options(text)}" if method else f"warning: {as_options(text)}")

    def _summarise(self, path: Path, said: Sequence[str]) -> None:
        """A line on what came out, for the first images of a run."""
        self._summaries += 1
        if self._summaries <= _MOST_SUMMARIES:
            parts = list(dict.fromkeys(said))
            if len(parts) > _MOST_PARTS:
                parts = [*parts[: _MOST_PARTS - 2], f"{len(parts) - _MOST_PARTS + 1} more", parts[-1]]
            self._news.append(f"{path.name}: {'; '.join(parts)}")
        elif self._summaries == _MOST_SUMMARIES + 1:
            self._news.append(f"the manifest says the same of the others: {self.run.folder / 'manifest.json'}")

    def _write(
        self, e: Explanation, folder: str, sheet: Sheet, of_boxes: BoxSheet, trust: Trust | None
    ) -> dict[str, Any]:
        """Write the files of one explanation and put it into the sheet; its entry of the manifest."""
        from ..figures import boxes, class_map, pose

        name = self.run.name(f"{e.method}-{file_name(e)}" if self._many() else e.method, folder)
        seen = {"overlay", "sheet"} & set(self.options.formats) or self.options.threshold is not None
        ends = self.ranges.of(e)
        overlay = pose.overlay(e, e.overlay(self.options.alpha, self.options.colormap, ends)) if seen else None
        if "sheet" in self.options.formats:
            extra = class_map.panels(e, self.options.alpha, PANEL) if class_map.has_classes(e) else None
            sheet.add(e, overlay, ends, extra, None if trust is None else (trust.light, trust.verdict))
            if boxes.of(e) is not None and overlay is not None:
                of_boxes.add(e, overlay, ends, self.options.colormap)
        overlay = None if overlay is None else boxes.overlay(e, overlay)
        entry = {**entry_of(e, self.options.colormap, ends), **boxes.entry(e), **pose.entry(e)}
        files = write_map(self.run, self.options, e, name, overlay, ends)
        if class_map.has_classes(e):
            entry["classes"] = [answer.to_mapping() for answer in class_map.answers(e)]
            if "classes" in self.options.formats:
                picture = class_map.picture(e, self.options.alpha)
                files.append(self.run.picture(f"{name}-classes.png", picture))
        if self.options.threshold is not None and overlay is not None:
            entry["region"], written = self._write_region(e, name, overlay, self.options.threshold)
            files += written
        if trust is not None:
            entry["trust"] = trust.to_mapping()
            files.append(self.run.text(f"{name}-trust.txt", "\n".join(trust.lines()) + "\n"))
        entry["files"] = files
        return entry

    def _write_region(
        self, e: Explanation, name: str, overlay: Pixels, threshold: float
    ) -> tuple[dict[str, Any], list[str]]:
        """The regions above the threshold: their entry of the manifest, and the files written."""
        from ..figures.hottest_region import drawn, enlarged, hottest_of

        found = hottest_of(e.bands, overlay.shape[:2], threshold, self.options.side)
        asked = {"threshold": threshold, "side": self.options.side}
        about = {"method": e.method, "target": str(e.target), **asked, **found.to_json()}
        files = [
            self.run.picture(f"{name}-mask.png", found.picture),
            self.run.picture(
                f"{name}-region{suffix_of(self.options)}", drawn(*enlarged(overlay, found), in_place=True)
            ),
            self.run.text(f"{name}-region.json", json.dumps(about, allow_nan=False) + "\n"),
        ]
        return {**asked, **found.to_mapping()}, files

    def _many(self) -> bool:
        """Whether a method makes more than one map of an image."""
        several = len(self.targets) > 1 or any(target.is_several for target in self.targets)
        return several or of_boxes(self.model, [str(target) for target in self.targets])
