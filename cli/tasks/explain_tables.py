"""Explanations of tables: rows of .csv and .tsv files, and their columns over all rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...engine.errors import MethodError, ShapeError
from ..parameters.inputs import open_model, refuse_crop, refuse_part
from ..parameters.methods import chosen_methods, option_names
from ..parameters.tables import FIRST
from .explain import check_options
from .explain_entries import about_of, decisive_of, entry_of, file_name
from .news import News
from .over_images import Outcome, over_images

if TYPE_CHECKING:
    from ...engine.attribution.explanation import Explanation
    from ...engine.graph.model import Model
    from ...engine.methods.registry import Method
    from ...engine.tables.given import Table
    from ...engine.targets.target import Target
    from ..files.run import Run
    from .explain import ExplainOptions

# Rows that have a picture and an entry of their own; all rows are in the table of values.
_MOST_DRAWN = 20


def takes_tables(options: ExplainOptions) -> bool:
    """Whether a run is about tables: files of rows for a model that takes rows."""
    from ...engine.attribution.tables import takes_rows
    from ..files.tables import is_table_file

    if options.at is not None or not options.images or not all(is_table_file(Path(name)) for name in options.images):
        return False
    return takes_rows(open_model(options.model, options.common.card))


@dataclass
class TableExplainer:
    """One table in, its explanations out. named: the options of methods that are given, by method."""

    model: Model
    targets: Sequence[Target]
    methods: Sequence[Method]
    named: Sequence[str]
    background: Table | None
    options: ExplainOptions
    run: Run
    _news: News = field(default_factory=News)

    def read(self, path: Path) -> Table:
        """Raises ImageError, ShapeError."""
        from ...engine.attribution.tables import chosen_columns
        from ...engine.tables.given import Table
        from ..files.tables import notes_of, read_table

        whole = read_table(path)
        self._news.say(*(f"{path.name}: {note}" for note in notes_of(whole)))
        asked = self.options.table.columns
        table = chosen_columns(whole, asked) if asked else whole
        behind = None if self.background is None else _alike(self.background, whole, table)
        return Table(table.rows, table.names, behind)

    def one(self, path: Path, table: Any, folder: str) -> Outcome:
        """Everything about one table: its results for the manifest, and the files written."""
        maps: list[dict[str, Any]] = []
        files: list[str] = []
        rows = self._rows(path, table)
        chosen = table.only(rows)
        for target in self.targets:
            for found in self._explained(chosen, target):
                drawn, entries = self._write(found, chosen, rows, folder, path.name)
                files += drawn
                maps += entries
                first = found[0]
                self._news.say(f"{path.name}: {len(rows)} rows, {first.method}: {first.label}, {first.score_text}")
                for e in found:
                    for text in e.warnings:
                        self._news.warn(text)
        return {"rows": len(rows), "maps": maps}, files

    def _rows(self, path: Path, table: Table) -> list[int]:
        asked = self.options.table.rows
        if asked is None:
            return list(range(len(table)))
        if not asked and len(table) > FIRST:
            self._news.say(f"{path.name}: the first {FIRST} of {len(table)} rows are explained; --rows all takes all")
        if beyond := [row for row in asked if row >= len(table)]:
            raise ShapeError(f"the table {path.name!r} has rows 0 to {len(table) - 1}: there is no row {beyond[0]}")
        return list(asked) or list(range(min(FIRST, len(table))))

    def _explained(self, table: Table, target: Target) -> list[list[Explanation]]:
        """The rows by each method; where none is named by tree-shap, or kernel-shap where the score is no sum."""
        from ...engine.explain import for_table, problem_of, solve, solve_table
        from ...engine.inference.batches import RunOptions

        runtime = RunOptions(**self.options.common.runtime, batch=self.options.batch)
        problem = problem_of(self.model, table, target, runtime=runtime)
        if self.methods:
            return [list(solve(problem, for_table(m, self.named, self.model, table))) for m in self.methods]
        return [list(solve_table(problem, self.model, table, {}))]

    def _write(
        self, found: list[Explanation], table: Table, rows: Sequence[int], folder: str, name: str
    ) -> tuple[list[str], list[dict[str, Any]]]:
        """The files of one method and target, and their entries."""
        from ...engine.attribution.tables import input_of_table
        from ..figures import array_map, figure, waterfall

        cells = input_of_table(self.model, table)[1].x
        first = found[0]
        if first.values.ndim != 1 or len(first.inputs) != first.values.shape[0]:
            raise MethodError(f"{first.method} has no value for each column of a table: choose another method")
        kind = file_name(first) if len(self.targets) > 1 else ""
        stem = "-".join(part for part in (first.method, kind) if part)
        values = np.stack([e.values for e in found])
        files: list[str] = []
        if "npy" in self.options.formats:
            files.append(self.run.array(self.run.name(f"{stem}.npy", folder), values))
        files.append(self.run.text(self.run.name(f"{stem}.csv", folder), _as_csv(found, rows)))
        pictures = {"heatmap", "overlay", "sheet"} & set(self.options.formats)
        entries = []
        for place, e in enumerate(found[:_MOST_DRAWN]):
            own = []
            if pictures:
                title = f"Row {rows[place]} of {name}"
                base = e.details.get("baseline_score")
                labels = _labels(e.inputs, cells[place])
                block = (
                    array_map.figure_of(e, cells[place], title)
                    if base is None
                    else figure.page(title, [_line(e)], [waterfall.waterfall(labels, e.values, float(base), e.score)])
                )
                own.append(self.run.picture(self.run.name(f"{stem}-row-{rows[place]}.png", folder), block))
            files += own
            entries.append({"row": int(rows[place]), **entry_of(e), "files": own})
        for label, places in _by_target(found).items() if pictures else ():
            if len(places) < 2:
                continue
            few = [found[i] for i in places]
            blocks = waterfall.overview(list(first.inputs), values[places], cells[places])
            title, line = (
                f"{len(few)} rows of {name}",
                f"{first.method}: {label}. Of each column, what it adds to the score.",
            )
            ending = "" if len(_by_target(found)) == 1 else f"-{file_name(few[0])}"
            files.append(
                self.run.picture(self.run.name(f"{stem}{ending}-rows.png", folder), figure.page(title, [line], blocks))
            )
        return files, entries

    def news(self, path: Path) -> list[str]:
        """What is to be said since the last call."""
        return self._news.take()


def _alike(background: Table, whole: Table, table: Table) -> NDArray[Any]:
    """The rows of a background with the columns of the table, which are some of the whole one's: by name, by place
    where one side has no names. Raises ShapeError."""
    from ...engine.tables.given import columns_of
    from ..files.tables import has_names

    places = None
    if has_names(background) and has_names(whole):
        places = columns_of(background.names, table.names)
    elif table.names and background.rows.shape[1] == whole.rows.shape[1]:
        places = columns_of(whole.names, table.names)
    return np.asarray(background.rows if places is None else background.rows[:, places])


def _line(e: Explanation) -> str:
    warned = "".join(f" Warning: {text}." for text in e.warnings[:2])
    return f"{e.method}: {e.label}, {e.score_text}.{warned}"


def _labels(names: Sequence[str], cells: NDArray[Any]) -> list[str]:
    from ..figures.figure import number

    def shown(cell: Any) -> str:
        if isinstance(cell, str):
            try:
                return number(float(cell))
            except ValueError:
                return cell
        return number(float(cell))

    return [f"{name} = {shown(cell)}" for name, cell in zip(names, cells, strict=True)]


def _by_target(found: Sequence[Explanation]) -> Mapping[str, list[int]]:
    """The places of the explanations of each target: rows may have several predicted classes."""
    grouped: dict[str, list[int]] = {}
    for place, e in enumerate(found):
        grouped.setdefault(e.label, []).append(place)
    return grouped


def _as_csv(found: Sequence[Explanation], rows: Sequence[int]) -> str:
    """The values of every row: its number, target, score, what it is compared with, and a number for each column."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "target", "score", "baseline_score", *found[0].inputs])
    for row, e in zip(rows, found, strict=True):
        base = e.details.get("baseline_score", "")
        writer.writerow([row, e.label, repr(e.score), base, *(repr(float(v)) for v in e.values)])
    return text.getvalue()


def explain_tables(options: ExplainOptions) -> Run:
    """Explain the rows of every table; the run, at its end. Raises as `explain` does."""
    from ...engine.targets.target import Target
    from ..files.run import Run
    from ..files.tables import read_table, table_files
    from ..terminal.progress import Progress

    common = options.common
    if options.feeds:
        raise ShapeError("--with feeds an input the same for all rows: add it to the table as a column")
    methods = chosen_methods(options.methods, options.settings)[0] if options.methods else []
    if options.settings and not methods:
        raise MethodError("--option is about a method: name it with --method")
    model = open_model(options.model, common.card)
    paths = table_files(options.images)[:: options.selection.every][: options.selection.limit]
    refuse_crop(options.selection)
    refuse_part(options.share)
    targets = [Target.parse(text) for text in options.targets]
    check_options(model, options, methods)
    background = None if options.table.background is None else read_table(options.table.background)
    named = option_names(options.settings)
    decisive = {**decisive_of(options, methods, targets), **options.table.to_mapping()}
    with (
        Run(options.output, "explain", decisive, about_of(options, model, None), paths) as run,
        Progress(len(paths), quiet=common.quiet, bar=common.progress) as bar,
    ):
        work = TableExplainer(model, targets, methods, named, background, options, run)
        over_images(run, bar, paths, work.one, work.news, _fits, work.read)
    return run


def _fits(entry: dict[str, Any]) -> None:
    """Raises KeyError or TypeError for an entry of an earlier run that is not of this command's form."""
    for found in entry["maps"]:
        list(found["files"])
