"""`onnxray novelty`: fitting a memory, and scoring images by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..parameters.inputs import card_of, find_images, find_labelled_images, open_model
from .over_images import Outcome, Pixels, over_images

if TYPE_CHECKING:
    from ...engine.novelty.memory import Novelty, NoveltyScore
    from ...engine.targets.classify import Guess
    from ..files.output import Output
    from ..files.run import Run


@dataclass(frozen=True)
class FitOptions:
    """What `onnxray novelty fit` is asked for, in the words of the command line."""

    model: str
    images: Sequence[str]
    layers: Sequence[str]
    method: str
    rows: int
    dimensions: int | None
    false_alarms: float
    seed: int
    batch: int | None
    out: Path
    force: bool
    card: Mapping[str, Any]
    runtime: Mapping[str, Any]
    quiet: bool = False
    progress: bool = False


@dataclass(frozen=True)
class ScoreOptions:
    """What `onnxray novelty score` is asked for, in the words of the command line."""

    model: str
    images: Sequence[str]
    memory: Path
    alpha: float
    output: Output
    runtime: Mapping[str, Any]
    quiet: bool = False
    progress: bool = False


def fit(options: FitOptions) -> Novelty:
    """Fit a memory and write it; what speaks against relying on it is said on stderr.

    Raises what `onnxray.Novelty.fit` raises; ImageError (no image, one that cannot be read), OutputError.
    """
    from ...engine.errors import OutputError
    from ...engine.novelty.fit import fit as fit_memory
    from ..files.labelled import pictures
    from ..terminal.progress import Progress

    if options.out.exists() and not options.force:
        raise OutputError(f"{str(options.out)!r} exists: choose another name or give --force")
    model = open_model(options.model, options.card)
    card = card_of(model, options.quiet)
    files = find_labelled_images(options.images, options.model, options.quiet)
    with Progress(len(files), "images", quiet=options.quiet, bar=options.progress) as bar:

        def progress(done: int) -> None:
            bar.done = done - 1
            bar.step()

        memory = fit_memory(
            model,
            pictures(files, card),
            layers=list(options.layers) or None,
            method=options.method,
            rows=options.rows,
            dimensions=options.dimensions,
            false_alarms=options.false_alarms,
            seed=options.seed,
            batch=options.batch,
            progress=progress,
            **options.runtime,
        )
        for text in memory.calibration.warnings:
            bar.say(f"warning: {text}")
    memory.save(options.out)
    return memory


def text_of(memory: Novelty, where: str) -> str:
    """What was learned, in lines."""
    found = memory.calibration
    low, high = found.interval
    layers = ", ".join(layer.name for layer in memory.features.layers)
    height, width = memory.features.grid
    return "\n".join(
        [
            f"{memory.method} of {found.images} good images, {found.held_out} held out",
            f"layers: {layers} ({memory.features.reason})",
            f"features: {memory.features.width} numbers at {height}x{width} places",
            f"threshold: {found.threshold:.4g}, false alarms {100 * low:.1f} to {100 * high:.1f} % (95 % confidence)",
            f"written: {where}",
        ]
    )


def score(options: ScoreOptions) -> Run:
    """Score every image; the run, at its end. Raises OutputError, ModelError (another model's memory), ImageError."""
    from ...engine.novelty.memory import Novelty
    from ..files.run import Run, describe, describe_card, digest_of
    from ..terminal.progress import Progress

    memory = Novelty.load(options.memory, open_model(options.model, {}), **options.runtime)
    paths = find_images(options.images, options.model, options.quiet)
    about = {
        "model": describe(memory.model),
        "card": describe_card(memory.card),
        "memory": {name: part for name, part in memory.head().items() if name not in ("names", "card", "model")},
    }
    decisive = {"memory": digest_of(options.memory), "alpha": options.alpha, **options.runtime}
    with (
        Progress(len(paths), "images", quiet=options.quiet, bar=options.progress) as bar,
        Run(options.output, "novelty", decisive, about, paths) as run,
    ):
        for text in memory.calibration.warnings:
            bar.say(f"warning: {text}")
        work = _Scoring(memory, run, options)
        over_images(run, bar, paths, work.one, work.news, _fits, card=memory.card)
    return run


@dataclass
class _Scoring:
    """Images in, entries of the manifest out."""

    memory: Novelty
    run: Run
    options: ScoreOptions

    def __post_init__(self) -> None:
        self._notes: tuple[str, ...] = ()

    def one(self, path: Path, pixels: Pixels, folder: str) -> Outcome:
        """Score an image, draw and write what was found."""
        from ...engine.novelty.memory import verdict
        from ...engine.survey.pictures import Picture
        from ..figures.novelty import sheet

        found: NoveltyScore = self.memory.score(Picture(str(path), pixels))
        self._notes = tuple(f"warning: {path}: {text}" for text in found.warnings)
        results: dict[str, Any] = {
            "score": found.score,
            "threshold": found.threshold,
            "novel": found.novel,
            "verdict": verdict(found),
            "answer": _plain(found.answer),
            "warnings": list(found.warnings),
        }
        files = []
        if found.map is not None and found.mask is not None and found.box is not None:
            results |= {"region": {"box": list(found.box), "share": float(found.mask.mean())}}
            files.append(self.run.array(self.run.name("map.npy", folder), found.map))
            white = (found.mask[..., None] * [255, 255, 255]).astype("uint8")
            files.append(self.run.picture(self.run.name("mask.png", folder), white))
        if found.row is not None:
            name, place = self.memory.source_of(found.row)
            results |= {"nearest": {"image": name, "place": list(place)}}
        files.append(
            self.run.picture(
                self.run.name("novelty.png", folder), sheet(self.memory, found, pixels, self.options.alpha)
            )
        )
        return results, files

    def news(self, path: Path) -> Sequence[str]:
        """What speaks against relying on the last score."""
        return self._notes


def _plain(answer: Guess | None) -> dict[str, Any] | None:
    if answer is None:
        return None
    return {"index": answer.index, "label": answer.label, "probability": answer.probability}


def _fits(entry: Mapping[str, Any]) -> object:
    """Raises KeyError for an entry of another form."""
    return entry["score"], entry["verdict"]


def as_text(run: Run) -> str:
    """A line for each image: score, verdict, region."""
    from ..terminal.table import Column, table

    rows = []
    for entry in run.entries:
        if entry["status"] != "done":
            continue
        region = entry.get("region")
        where = "-" if region is None else ",".join(map(str, region["box"]))
        rows.append([Path(entry["path"]).name, f"{entry['score']:.4g}", where, entry["verdict"]])
    heads = [Column("image"), Column("score", right=True), Column("most unlike at (y0,x0,y1,x1)"), Column("verdict")]
    threshold = run.manifest["memory"]["calibration"]["threshold"]
    return f"novel above {threshold:.4g}\n{table(heads, rows)}"
