"""A site over every layer and unit of a model: work done piece by piece, pages made of what is there."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..parameters.inputs import BUILTIN, SAMPLES, card_or_none, find_labelled_images, open_model
from ..sources.share import Share
from .site.folder import (
    FACTS,
    FORMAT,
    IMAGES,
    LINKS,
    PART,
    SPEAKING,
    UNFINISHED,
    LayerFiles,
    read_json,
    read_survey,
    write_json,
)
from .site.missing import Due, missing_in
from .site.plan import (
    COARSE,
    COLUMNS,
    DIVERSE,
    KINDS,
    Piece,
    SiteLayer,
    first_pieces,
    of_shard,
    pieces,
    site_layers,
    superseded,
)

if TYPE_CHECKING:
    from ...engine.graph.model import Model
    from ...engine.inference.batches import RunOptions
    from ...engine.preprocess.card import Card
    from ..files.output import Output
    from ..files.run import Run
    from ..parameters.options import Common
    from ..terminal.progress import Progress
    from .site.paint import Brush
    from .site.survey import Survey

    Files: TypeAlias = Sequence[tuple[Path, str | None]]
    # Writes the pages of the site in a folder; names of all files, relative to it.
    Pages: TypeAlias = Callable[[Path], list[str]]
    # Of the runtime's folder, the model, its card, layers and images: what writes the files of the live page.
    Live: TypeAlias = Callable[[Path, Model, Card | None, Sequence[SiteLayer], Sequence[Path]], Callable[[Path], None]]

# Seconds between two writings of the pages while pictures are made, at least; and how many times as long as the last.
_EVERY, _TIMES = 60.0, 20.0
# Of a limited time: the share of coarse pictures at most; seconds that are kept for each page, and their share at most.
_COARSE_SHARE, _PAGE, _PAGES_SHARE = 0.5, 0.004, 1 / 3


@dataclass(frozen=True)
class MicroscopeOptions:
    """What `onnxray microscope` is asked for, in the words of the command line.

    model: a path, a name, or a Model. units: a text such as "0-15". coarse: make coarse pictures of all units first.
    time: seconds for pictures, None for no limit. shard: (I, N), counted from 1. live: folder of onnxruntime-web, for a
    live page. examples: a result of `top`, in place of looking at `images`. name: of the model, on the pages; by
    default that of its file. max_failures: of more images that cannot be read the run ends.
    """

    model: Any
    images: Sequence[str]
    output: Output
    common: Common
    layers: Sequence[str] = ()
    units: str = ""
    steps: int = 48
    side: int = 96
    seed: int = 0
    diverse: bool = True
    coarse: bool = True
    time: float | None = None
    shard: tuple[int, int] = (1, 1)
    live: Path | None = None
    examples: Path | None = None
    name: str = field(default="")
    max_failures: int | None = None


def microscope(options: MicroscopeOptions, write_pages: Pages, prepare_live: Live | None = None) -> Run:
    """Make the site, or the part of it that a shard has; the run, at its end.

    prepare_live: makes the live page, if one is asked for.

    Raises ModelError, CardError, UnknownName, TargetError, OutputError, ImageError (no image can be read).
    """
    from ..files.run import Run, describe, describe_card

    start = time.monotonic()
    common = options.common
    model = open_model(options.model, common.card)
    card = card_or_none(model, common.quiet)
    layers = site_layers(model, options.layers, options.units)
    files = _files(options)
    write_live = None
    if options.live is not None and prepare_live is not None and options.shard[0] == 1:
        write_live = prepare_live(options.live, model, card, layers, [path for path, _ in files])
    given = None
    if options.examples is not None:
        from .site.given_top import survey_of

        given = survey_of(options.examples, model, layers, [path for path, _ in files], options.output.folder / PART)
        files = ()
    about = {
        "model": describe(model),
        "card": None if card is None else describe_card(card),
        "layers": [layer.name for layer in layers],
    }
    with Run(options.output, "microscope", _decisive(options, files), about, [path for path, _ in files]) as run:
        write_json(run.folder / FACTS, _facts(options, model, card, layers, files))
        if write_live is not None:
            write_live(run.folder)
        pages = _PAGE * sum(len(layer.units) for layer in layers)
        _Work(options, run, write_pages, pages, start, given).do(model, layers, files)
    return run


def _files(options: MicroscopeOptions) -> Files:
    """The images of the survey, each with its class; none is given of a model without samples."""
    given = options.images or ((SAMPLES,) if options.model == BUILTIN and options.examples is None else ())
    return find_labelled_images(given) if given else []


def _decisive(options: MicroscopeOptions, files: Files) -> dict[str, Any]:
    """What decides the bytes of the site. Raises OutputError (no result of top)."""
    digest = hashlib.sha256()
    for path, label in files:
        digest.update(f"{path.name}\0{label or ''}\n".encode("utf-8", "surrogateescape"))
    images = {"count": len(files), "names_sha256": digest.hexdigest()}
    if options.examples is not None:
        from .site.given_top import digest_of

        images = {"count": 0, "top_sha256": digest_of(options.examples)}
    names = ("units", "steps", "side", "seed", "diverse")
    given = {"layers": list(options.layers), **{name: getattr(options, name) for name in names}}
    return {**given, "images": images}


def _facts(
    options: MicroscopeOptions, model: Model, card: Card | None, layers: Sequence[SiteLayer], files: Files
) -> dict[str, Any]:
    from ..files.run import versions
    from .site.facts import facts_of

    file = model.path.stem if model.path is not None else "A model in memory"
    name = options.name or ("The built-in model" if options.model == BUILTIN else file)
    facts = facts_of(model, card, layers, name)
    return {"format": FORMAT, **facts, "options": _decisive(options, files), "versions": versions()}


def kinds_of(options: MicroscopeOptions) -> list[str]:
    """The kinds of pictures that are made."""
    wanted = {COARSE: options.coarse, DIVERSE: options.diverse}
    return [kind for kind in KINDS if wanted.get(kind, True)]


class _Work:
    """The site while it is made."""

    def __init__(
        self,
        options: MicroscopeOptions,
        run: Run,
        write_pages: Pages,
        pages: float,
        start: float,
        given: Survey | None = None,
    ) -> None:
        """pages: seconds that writing the pages takes, about. start: when the time of the run began. given: a survey
        that has been made."""
        self.options, self.run, self.folder = options, run, run.folder
        self._given = given
        self._write_pages = write_pages
        self._deadline = float("inf")
        if options.time is not None:
            allowed = options.time - min(pages, _PAGES_SHARE * options.time)
            self._deadline = start + allowed
        self._due = time.monotonic() + max(_EVERY, _TIMES * pages)
        self._looked_at = 0

    def late(self) -> bool:
        return time.monotonic() >= self._deadline

    def do(self, model: Model, layers: Sequence[SiteLayer], files: Files) -> None:
        from ...engine.inference.batches import RunOptions
        from ..terminal.progress import Progress
        from .site.links import links_of
        from .site.paint import Brush
        from .site.survey import check_readable

        options, common = self.options, self.options.common
        runtime = RunOptions(**common.runtime)
        if options.shard[0] == 1 and files and read_survey(self.folder) is None:
            check_readable(files, card_or_none(model, quiet=True))
        write_json(self.folder / LINKS, links_of(model, layers), dense=True)
        mine = of_shard(pieces(layers, kinds_of(options)), options.shard)
        brush = Brush(model, options.steps, options.side, options.seed, runtime, self.late)
        if options.shard[0] == 1:
            self._filters(model, layers)
        if options.time is not None:
            coarse = [piece for piece in mine if piece.kind == COARSE]
            now = time.monotonic()  # filters and connections are done by now
            until = now + _COARSE_SHARE * (self._deadline - now)
            self._pictures(brush, [*of_shard(first_pieces(layers), options.shard), *coarse], until)
        if options.shard[0] == 1:
            with Progress(len(files), "images", quiet=common.quiet, bar=common.progress) as bar:
                self._survey(model, layers, files, runtime, bar)
        self._pictures(brush, mine, self._deadline)
        finish(self.run, self._write_pages)
        due = [Due(piece.kind, piece.file, len(piece.units)) for piece in mine]
        self.run.missing = missing_in(self.folder, due, len(files) if options.shard[0] == 1 else 0, self._looked_at)

    def _filters(self, model: Model, layers: Sequence[SiteLayer]) -> None:
        from ..files.sheet import write_sheet
        from .site.filters import filter_tiles

        for layer in layers:
            for number, units in layer.sheets:
                tiles = filter_tiles(model, layer, units)
                if tiles is not None:
                    path = self.folder / LayerFiles(layer.slug).filters(number)
                    write_sheet(path, tiles, COLUMNS, {"units": list(units)})

    def _survey(
        self, model: Model, layers: Sequence[SiteLayer], files: Files, runtime: RunOptions, bar: Progress
    ) -> None:
        """Look at all images, if that is not done yet; the list of them is written last."""
        from .site.survey import Survey

        known = read_survey(self.folder)
        if (files or self._given is not None) and known is None:
            survey = self._given or Survey(files, self.folder / PART)
            if self._given is None:
                survey.run(model, layers, runtime, bar.step, self.late)
            self._looked_at = survey.at
            if survey.failures:
                last = list(survey.failures.values())[-1]
                Share(max_failures=self.options.max_failures).check(len(survey.failures), last)
            if survey.top is not None:
                known = self._write_survey(survey, model, layers, runtime)
                if known is None:
                    return
            elif survey.at < len(files):
                return
            else:  # no layer can be surveyed
                known = {"images": [], "count": 0, "failures": {}}
                write_json(self.folder / IMAGES, known)
            survey.part.unlink(missing_ok=True)
            (self.folder / SPEAKING).unlink(missing_ok=True)
        failures = known["failures"] if known is not None else {}
        for path, text in failures.items():
            bar.say(text, error=True)
            self.run.add({"path": path, "status": "failed", "error": text})

    def _write_survey(
        self, survey: Any, model: Model, layers: Sequence[SiteLayer], runtime: RunOptions
    ) -> dict[str, Any] | None:
        """What the images say, layer by layer; None where the time ends before the last, for --resume to go on."""
        from ..files.sheet import write_sheet
        from .site.crops import Cache, Heats, crops, heats
        from .site.speaking import classes_of_units
        from .site.survey import BEST, image_list, numbers_of, thumbs

        # It takes a while, so a run that goes on need not do it again.
        classes = read_json(self.folder / SPEAKING) if survey.was_whole and self._given is None else None
        if classes is None:
            found_classes = classes_of_units(model, survey, layers, runtime)
            classes = {name: {str(unit): named for unit, named in of.items()} for name, of in found_classes.items()}
            write_json(self.folder / SPEAKING, classes, dense=True)
        for name, tiles, record in thumbs(survey):
            write_sheet(self.folder / name, tiles, COLUMNS * 2, record)
        known = {"images": image_list(survey.top), "count": survey.top.count, "failures": survey.failures}
        # Pages show what is there of the first layers already.
        write_json(self.folder / IMAGES, {**known, UNFINISHED: True})
        cache, made = Cache(), 0
        hot = Heats(survey, model, [layer for layer in layers if layer.name in survey.top.layers], runtime)
        # Classes come first: they are on the first page.
        for layer in sorted(layers, key=lambda layer: not layer.classes):
            if layer.name not in survey.top.layers:
                continue
            names = LayerFiles(layer.slug)
            if survey.was_whole and read_json(self.folder / names.numbers) is not None:
                continue  # an earlier run came as far as this
            if made and self.late():
                return None
            made += 1
            for number, units in layer.sheets:
                tiles, record = crops(survey, layer, units, cache)
                write_sheet(self.folder / names.crops(number), tiles, BEST, record)
                if hot.has(layer):
                    drawn = heats(survey, hot, layer, units, tiles)
                    write_sheet(self.folder / names.heats(number), drawn, BEST, record)
            found = numbers_of(survey.top, layer)
            for unit, named in classes.get(layer.name, {}).items():
                found["units"][unit]["classes"] = named
            write_json(self.folder / names.numbers, found)
        write_json(self.folder / IMAGES, known)
        return known

    def _pictures(self, brush: Brush, work: Sequence[Piece], until: float) -> None:
        """Make the pictures that are not there yet; none is begun from `until` on."""
        from ..terminal.progress import Progress

        common = self.options.common
        with Progress(sum(len(p.units) for p in work), "pictures", quiet=common.quiet, bar=common.progress) as bar:
            self._paint(brush, work, until, bar)

    def _paint(self, brush: Brush, work: Sequence[Piece], until: float, bar: Progress) -> None:
        from ..files.sheet import read_record, write_sheet
        from .site.paint import Late, paint_piece

        for piece in work:
            path = self.folder / piece.file
            if read_record(path) is None and not superseded(self.folder, piece.file):
                if time.monotonic() >= until < self._deadline:
                    return
                try:
                    tiles, record = paint_piece(brush, piece)
                except Late:
                    bar.say("the time is over: --resume goes on")
                    return
                write_sheet(path, tiles, COLUMNS * record.get("each", 1), record)
            for _ in piece.units:
                bar.step(piece.layer.name)
            self._pages_if_due()

    def _pages_if_due(self) -> None:
        start = time.monotonic()
        if start >= self._due:
            self.run.manifest["files"] = self._write_pages(self.folder)
            self.run.flush()
            end = time.monotonic()
            self._due = end + max(_EVERY, _TIMES * (end - start))


def finish(run: Run, write_pages: Pages) -> None:
    """The pages of all that is there; then coarse sheets go that no page shows any more."""
    files = write_pages(run.folder)
    files += [name for name in (PART, SPEAKING) if (run.folder / name).is_file()]
    gone = {path for path in run.folder.glob("layers/*/*.jpg") if superseded(run.folder, _relative(run.folder, path))}
    for path in gone:
        path.unlink()
    run.manifest["files"] = sorted(set(files) - {_relative(run.folder, path) for path in gone})


def _relative(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()
