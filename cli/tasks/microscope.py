"""A site over every layer and unit of a model: work done piece by piece, pages made of what is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..parameters.inputs import BUILTIN, card_or_none, find_images, open_model
from .site.folder import FACTS, FORMAT, write_json
from .site.plan import COARSE, DIVERSE, STRONGEST, WEAKEST, Piece, SiteLayer, of_shard, pieces, site_layers

if TYPE_CHECKING:
    from ...engine.graph.model import Model
    from ...engine.preprocess.card import Card
    from ..files.output import Output
    from ..files.run import Run
    from ..parameters.options import Common
    from ..terminal.progress import Progress
    from .site.paint import Brush

    # Writes the pages of the site in a folder; names of all files, relative to it.
    Pages: TypeAlias = Callable[[Path], list[str]]

# Seconds between two writings of the pages while pictures are made, at least; and how many times as long as the last.
_EVERY, _TIMES = 60.0, 20.0


@dataclass(frozen=True)
class MicroscopeOptions:
    """What `onnxray microscope` is asked for, in the words of the command line.

    units: a text such as "0-15". time: seconds for pictures, None for no limit. shard: (I, N), counted from 1.
    """

    model: str
    images: Sequence[str]
    output: Output
    common: Common
    layers: Sequence[str] = ()
    units: str = ""
    steps: int = 48
    side: int = 96
    seed: int = 0
    diverse: bool = True
    time: float | None = None
    shard: tuple[int, int] = (1, 1)
    name: str = field(default="")


def microscope(options: MicroscopeOptions, write_pages: Pages) -> Run:
    """Make the site, or the part of it that a shard has; the run, at its end.

    Raises ModelError, CardError, UnknownName, TargetError, OutputError, ImageError (no image can be read).
    """
    from ..files.run import Run, describe, describe_card
    from ..terminal.progress import Progress

    start = time.monotonic()
    common = options.common
    model = open_model(options.model, common.card)
    card = card_or_none(model, common.quiet)
    layers = site_layers(model, options.layers, options.units)
    work = pieces(layers, _kinds(options))
    about = {
        "model": describe(model),
        "card": None if card is None else describe_card(card),
        "layers": [layer.name for layer in layers],
    }
    with Run(options.output, "microscope", _decisive(options), about) as run:
        write_json(run.folder / FACTS, _facts(options, model, card, layers))
        mine = of_shard(work, options.shard)
        with Progress(sum(len(p.units) for p in mine), "pictures", quiet=common.quiet, bar=common.progress) as bar:
            site = _Site(options, run, bar, write_pages, _deadline(options, start))
            site.make(_brush(options, model, site.late), mine)
        site.finish(work)
    return run


def _kinds(options: MicroscopeOptions) -> tuple[str, ...]:
    fine = (STRONGEST, WEAKEST, DIVERSE) if options.diverse else (STRONGEST, WEAKEST)
    return (COARSE, *fine)


def _deadline(options: MicroscopeOptions, start: float) -> float:
    return float("inf") if options.time is None else start + options.time


def _decisive(options: MicroscopeOptions) -> dict[str, Any]:
    """What decides the bytes of the site."""
    names = ("units", "steps", "side", "seed", "diverse")
    return {"layers": list(options.layers), **{name: getattr(options, name) for name in names}}


def _facts(options: MicroscopeOptions, model: Model, card: Card | None, layers: Sequence[SiteLayer]) -> dict[str, Any]:
    from ..files.run import versions
    from .site.facts import facts_of

    name = options.name or ("The built-in model" if options.model == BUILTIN else Path(options.model).stem)
    facts = facts_of(model, card, layers, name)
    return {"format": FORMAT, **facts, "options": _decisive(options), "versions": versions()}


def _brush(options: MicroscopeOptions, model: Model, late: Callable[[], bool]) -> Brush:
    from ...engine.inference.batches import RunOptions
    from .site.paint import Brush

    return Brush(model, options.steps, options.side, options.seed, RunOptions(**options.common.runtime), late)


class _Site:
    """The site while it is made."""

    def __init__(
        self, options: MicroscopeOptions, run: Run, bar: Progress, write_pages: Pages, deadline: float
    ) -> None:
        self.options, self.run, self.bar = options, run, bar
        self._write_pages, self._deadline = write_pages, deadline
        self._due = time.monotonic() + _EVERY

    def late(self) -> bool:
        return time.monotonic() >= self._deadline

    def make(self, brush: Brush, work: Sequence[Piece]) -> None:
        """Make the pictures that are not there yet, until the time is over."""
        from ..files.sheet import read_record, write_sheet
        from .site.paint import Late, paint_piece
        from .site.plan import COLUMNS

        for piece in work:
            path = self.run.folder / piece.file
            if read_record(path) is None and not self._superseded(piece):
                try:
                    tiles, record = paint_piece(brush, piece)
                except Late:
                    self.bar.say("the time is over: go on with --resume")
                    return
                write_sheet(path, tiles, COLUMNS * record.get("each", 1), record)
            for _ in piece.units:
                self.bar.step(piece.layer.name)
            self._pages_if_due()

    def _superseded(self, piece: Piece) -> bool:
        """Whether it is a coarse sheet and the fine one is there."""
        from ..files.sheet import read_record

        fine = self.run.folder / piece.file.replace(f"{COARSE}-", f"{STRONGEST}-")
        return piece.kind == COARSE and read_record(fine) is not None

    def _pages_if_due(self) -> None:
        start = time.monotonic()
        if start >= self._due:
            self.pages()
            end = time.monotonic()
            self._due = end + max(_EVERY, _TIMES * (end - start))

    def pages(self) -> None:
        self.run.manifest["files"] = self._write_pages(self.run.folder)
        self.run.flush()

    def finish(self, work: Sequence[Piece]) -> None:
        """The pages of all that is there; then coarse sheets go that no page shows any more."""
        self.pages()
        gone = [piece.file for piece in work if self._superseded(piece)]
        for name in gone:
            (self.run.folder / name).unlink(missing_ok=True)
        left = set(self.run.manifest["files"]) - set(gone)
        self.run.manifest["files"] = sorted(left)
        done = sum((self.run.folder / p.file).is_file() or self._superseded(p) for p in work)
        self.run.manifest["work"] = {"done": done, "of": len(work)}


def images_of(options: MicroscopeOptions) -> list[Path]:
    """The files that IMAGES stand for; none for a model without."""
    given = options.images or (("samples",) if options.model == BUILTIN else ())
    return find_images(given) if given else []
