"""Explanations of texts: those of the command line, of files, of lines and of tables."""

from __future__ import annotations

import csv
import functools
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..parameters.inputs import open_model, refuse_crop, refuse_part
from ..parameters.methods import chosen_methods, option_names
from ..terminal.echo import one_line
from ..terminal.text_colours import coloured
from .explain import check_options
from .explain_entries import about_of, decisive_of, entry_of, file_name, left_out_of_all
from .news import News
from .saved_pass import Saving
from .solving import both, solutions
from .text_items import Item, items_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...engine.attribution.explanation import Explanation
    from ...engine.graph.model import Model
    from ...engine.methods.registry import Method
    from ...engine.targets.target import Target
    from ...engine.text.given import Text
    from ..files.run import Run
    from ..terminal.progress import Progress
    from .explain import ExplainOptions

# Texts whose words are shown in the terminal, and that stand on the page; the manifest has all.
_MOST_SHOWN, _MOST_ON_PAGE = 10, 1000
PAGE, WORDS = "index.html", "words.csv"
# Of a title, what the run is about, texts by path with their fragments of HTML, and the rows of the table.
Page: TypeAlias = "Callable[[str, str, Sequence[tuple[Path, Sequence[str]]], Sequence[Mapping[str, Any]]], str]"


@dataclass(frozen=True)
class Pages:
    """How results are drawn. page: makes the page of a run; draw: the part of it that shows one text by one method;
    drawn: the parts of a page by the paths of their texts, to go on with."""

    page: Page
    draw: Callable[[Sequence[Explanation]], str]
    drawn: Callable[[str], Mapping[str, str]]


@dataclass
class TextExplainer:
    """One text in, its explanations out; what they say of words is kept for the page and the table."""

    model: Model
    targets: Sequence[Target]
    methods: Sequence[Method]
    every: bool
    options: ExplainOptions
    fed: Mapping[str, NDArray[Any]]
    run: Run
    pages: Pages
    fragments: list[tuple[Path, list[str]]] = field(default_factory=list)
    words: dict[tuple[str, str, str], list[tuple[float, str]]] = field(default_factory=dict)
    _news: News = field(default_factory=News)

    def one(self, item: Item, folder: str) -> tuple[dict[str, Any], list[str], list[str]]:
        """Results for the manifest, the files written, and what is to be said."""
        maps: list[dict[str, Any]] = []
        files: list[str] = []
        left_out: dict[str, str] = {}
        shown: dict[str, list[Explanation]] = {}

        for e in self.explanations(item.given(self.options.texts), left_out, self._news.warn):
            entry = self._write(e, folder)
            maps.append(entry)
            files += entry["files"]
            shown.setdefault(e.method, []).append(e)
            self._count(e, item)
            for warning in e.warnings:
                self._news.warn(warning, e.method)
            if len(self.fragments) < _MOST_SHOWN:
                self._news.say(*quick_look(e))
        fragments = []
        for method, found in shown.items():
            if len(found) > 1 and found[0].reading is not None and found[0].reading.output:
                name = self.run.name(f"{method}-matrix.csv", folder)
                files.append(self.run.text(name, matrix_csv(found)))
            fragments.append(self.pages.draw(found))
        if len(self.fragments) < _MOST_ON_PAGE:
            self.fragments.append((item.path, fragments))
        return {"maps": maps, **({"left_out": left_out} if left_out else {})}, files, self._news.take()

    def explanations(self, text: Text, left_out: dict[str, str], say: Callable[[str], None]) -> Iterator[Explanation]:
        """Of every target by every method. Raises MethodError where no method fits."""
        from ...engine.attribution.texts import read_given
        from ...engine.explain import problem_of
        from ...engine.inference.batches import RunOptions

        runtime = RunOptions(**self.options.common.runtime, batch=self.options.batch)
        # Once for all targets: what is generated stays the same. The text needs no name.
        read = read_given(self.model, {"": text, **self.fed}, runtime)
        assert read is not None
        given: Any = {next(iter(read[1])): read[0], **self.fed} if self.fed else read[0]
        made = functools.partial(problem_of, self.model, given, runtime=runtime, at=self.options.at)
        questions = (both(functools.partial(made, target), self.options.layers) for target in self.targets)
        for _, found in solutions(questions, self.methods, self.every, left_out, say):
            yield from found

    def _write(self, e: Explanation, folder: str) -> dict[str, Any]:
        from ...engine.attribution.texts import about_text
        from ..figures import text_layout

        several = len(self.targets) > 1 or self._several or (e.reading is not None and bool(e.reading.output))
        name = f"{e.method}-{file_name(e)}" if several else e.method
        stem = self.run.name(name, folder)
        files = []
        if "npy" in self.options.formats:
            files.append(self.run.array(f"{stem}.npy", e.values))
        if {"heatmap", "overlay", "sheet"} & set(self.options.formats):
            files.append(self.run.text(f"{stem}.svg", text_layout.svg(e)))
            files.append(self.run.picture(f"{stem}.png", text_layout.pixels(e)))
        return {**entry_of(e), "text": about_text(e), "files": files}

    def goes_on(self, item: Item, earlier: Mapping[str, str]) -> bool:
        """Whether an earlier run has done the text: its entry, words and part of the page are taken over. earlier: the
        parts of that run's page."""
        entry = self.run.kept(item.path, item.sha256)
        part = earlier.get(str(item.path))
        full = len(self.fragments) >= _MOST_ON_PAGE
        if entry is None or not (part is not None or full) or not _fits(entry):
            return False
        for found in entry["maps"]:
            for word in found["text"]["words"]:
                if word.get("read", True):
                    place = f"{item.path.name}:{word['side']}:{word['start']}"
                    key = (str(found["method"]), str(found["target"]["label"]), str(word["text"]).casefold())
                    self.words.setdefault(key, []).append((float(word["value"]), place))
        if not full and part is not None:
            self.fragments.append((item.path, [part]))
        self.run.add(entry)
        return True

    def save(self, count: int, model: str) -> None:
        """Write the page and the table of what is done of `count` texts."""
        if not self.fragments:
            return
        rows = self.table()
        title = f"Words that {Path(model).name} goes by"
        shown = f"{len(self.fragments)} of " * (len(self.fragments) < count)
        said = f"{shown}{count} text{'s' * (count != 1)}, {', '.join(m.name for m in self.methods)}"
        self.run.text(PAGE, self.pages.page(title, said, self.fragments, rows))
        self.run.text(WORDS, csv_of(rows))
        self.run.manifest["files"] = [PAGE, WORDS]

    @property
    def _several(self) -> bool:
        return any(target.is_several for target in self.targets)

    def _count(self, e: Explanation, item: Item) -> None:
        for word in e.words:
            if word.read:
                key = (e.method, e.label, word.text.casefold())
                self.words.setdefault(key, []).append((word.value, f"{item.path.name}:{word.side}:{word.start}"))

    def table(self) -> list[dict[str, Any]]:
        """A row for every word by method and target, those that move the model most first."""
        rows = []
        for (method, target, word), found in self.words.items():
            values = [value for value, _ in found]
            rows.append(
                {
                    "method": method,
                    "target": target,
                    "word": word,
                    "count": len(values),
                    "mean": sum(values) / len(values),
                    "lowest": min(values),
                    "highest": max(values),
                    "positions": " ".join(where for _, where in found),
                }
            )
        return sorted(rows, key=lambda r: (-abs(r["mean"]), r["word"], r["method"]))


def quick_look(e: Explanation) -> list[str]:
    """The text for people: coloured where stderr is a terminal, else its strongest words with their values."""
    from ...engine.attribution.text_html import greatest

    head = f"{e.method}: {one_line(e.label)}, {e.score_text}"
    assert e.reading is not None
    most = greatest(e.words) or 1.0
    if sys.stderr.isatty():
        parts = e.reading.given.parts
        spans = [[(w.start, w.end, w.value / most) for w in e.words if w.side == side] for side in range(len(parts))]
        return [head, *(coloured(_plain(part), span) for part, span in zip(parts, spans, strict=True))]
    best = sorted((w for w in e.words if w.read), key=lambda w: -abs(w.value))[:5]
    return [f"{head}; {', '.join(f'{one_line(w.text)} {w.value:+.3g}' for w in best)}"]


def _plain(text: str) -> str:
    """Without control characters, each of which would steer the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text)


def _cell(text: str) -> str:
    """A text as a cell of a table; what a spreadsheet would take for a formula begins with a quote."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def matrix_csv(parts: Sequence[Explanation]) -> str:
    """Words (rows) by what the model says (columns)."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["word", "start", "side", *(_cell(e.label) for e in parts)])
    for number, word in enumerate(parts[0].words):
        writer.writerow([_cell(word.text), word.start, word.side, *(e.words[number].value for e in parts)])
    return out.getvalue()


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a table, their texts as cells that are no formulas."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]) if rows else ["word"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) if isinstance(value, str) else value for name, value in row.items()})
    return out.getvalue()


def explain_texts(options: ExplainOptions, pages: Pages) -> Run:
    """Explain every text; the run, at its end. Raises as `explain` does, TextError."""
    from ...engine.explain import for_text, usual_method_of_texts
    from ..files.arrays import fed
    from ..files.run import Run
    from ..terminal.progress import Progress

    common = options.common
    refuse_crop(options.selection)
    refuse_part(options.share)
    model = open_model(options.model, common.card)
    items = items_of(options, model)
    methods, every = chosen_methods(options.methods or (usual_method_of_texts(model),), options.settings)
    named = option_names(options.settings)
    methods = [for_text(method, named) for method in methods]
    targets = [_target(text) for text in options.targets]
    check_options(model, options, methods)
    given = fed(options.feeds, model)
    about = {**decisive_of(options, methods, targets), "with": sorted(options.feeds), "at": options.at}
    with (
        Run(options.output, "explain", about, about_of(options, model, None), [item.path for item in items]) as run,
        Progress(len(items), quiet=common.quiet, bar=common.progress, what="texts") as bar,
    ):
        work = TextExplainer(model, targets, methods, every, options, given, run, pages)
        _all(work, items, bar)
        if left_out := left_out_of_all(run.entries):
            run.manifest["left_out"] = left_out
    return run


def _all(work: TextExplainer, items: Sequence[Item], bar: Progress) -> None:
    """Explain the texts, less those that an earlier run has done. The page is written on the way, and however it
    ends."""
    run, model = work.run, work.options.model
    saving = Saving(functools.partial(work.save, len(items), model))
    earlier = _earlier(run, work.pages)
    kept = 0
    try:
        for item in items:
            if work.goes_on(item, earlier):
                kept += 1
            else:
                for text in _done(run, work, item, len(items) == 1):
                    bar.say(text)
                saving.if_due()
            bar.step(item.path.name)
    finally:
        work.save(len(items), model)
    if kept:
        bar.say(f"{kept} of {len(items)} texts were done already")


def _earlier(run: Run, pages: Pages) -> Mapping[str, str]:
    """The parts of the page of the run that is continued; none where there is no such page."""
    try:
        return pages.drawn((run.folder / PAGE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return {}


def _fits(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of an earlier run is of this command's form."""
    try:
        for found in entry["maps"]:
            for word in found["text"]["words"]:
                _ = (
                    found["method"],
                    found["target"]["label"],
                    word["side"],
                    word["start"],
                    word["text"],
                    float(word["value"]),
                )
    except (KeyError, TypeError, ValueError):
        return False
    return True


def _target(text: str) -> Target:
    from ...engine.targets.target import Target

    return Target.parse(text)


def _done(run: Run, work: TextExplainer, item: Item, alone: bool) -> list[str]:
    """The entry of one text put into the manifest; what is to be said. One that fails alone is raised."""
    from ...engine.errors import OnnxrayError, OutputError, RuntimeUnavailable
    from ..files.run import done, failed

    try:
        results, files, news = work.one(item, run.folder_for(item.path, item.path.name))
    except (OutputError, RuntimeUnavailable):
        raise
    except OnnxrayError as error:
        if alone:
            raise
        run.add(failed(item.path, error))
        return [f"{item.path.name} failed: {error}"]
    run.add(done(item.path, item.sha256, files, **results))
    return news
