"""Explanations of series: files whose rows are times and whose columns are features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engine.errors import MethodError, ShapeError
from ..parameters.inputs import open_model, refuse_crop, refuse_part
from ..parameters.methods import chosen_methods, option_names
from .explain import check_options
from .explain_arrays import ArrayExplainer
from .explain_entries import about_of, decisive_of, left_out_of_all
from .over_images import over_images

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.attribution.explanation import Explanation
    from ...engine.series.given import Series
    from ..files.run import Run
    from .explain import ExplainOptions


def takes_series_files(options: ExplainOptions) -> bool:
    """Whether a run is about series: tables for a model that reads numbers over time."""
    from ...engine.attribution.series import takes_series
    from ..files.tables import is_table_file

    if options.at is not None or not options.images or not all(is_table_file(Path(name)) for name in options.images):
        return False
    return takes_series(open_model(options.model, options.common.card))


@dataclass
class SeriesExplainer(ArrayExplainer):
    """One series in, its explanations out. shown: the one that is drawn."""

    shown: list[Series] = field(default_factory=list)

    def read(self, path: Path) -> Series:
        """Raises ImageError, ShapeError."""
        from ..files.tables import series_and_notes

        asked = self.options.table
        series, notes = series_and_notes(path, asked.columns)
        for note in notes:
            self._news.once(f"{path.name}: {note}")
        if asked.columns:
            series = series.only(asked.columns)
        if asked.rows:
            if beyond := [row for row in asked.rows if row >= len(series)]:
                raise ShapeError(f"{path.name!r} has times 0 to {len(series) - 1}: there is no time {beyond[0]}")
            series = series.part(asked.rows)
        return series

    def explanations(
        self, given: Any, left_out: dict[str, str]
    ) -> Iterator[tuple[int | None, Explanation, NDArray[Any] | None]]:
        from ...engine.attribution.series import tensor_of

        self.shown[:] = [given]
        tensor, axes = tensor_of(self.model, given)
        self._news.once(f"the series is read as {axes}")
        yield from super().explanations(tensor, left_out)

    def figure(self, e: Explanation, x: NDArray[Any] | None, name: str) -> NDArray[np.uint8]:
        from ...engine.series.given import time_names
        from ..figures.series import along_time, series_figure

        (series,) = self.shown
        axis = 1 - e.extent_channel if e.extent is not None and e.values.ndim == 2 else None
        if axis is None and e.values.ndim == 2:
            axis = 0 if e.values.shape == series.values.shape else 1
        heat = along_time(e.values, axis, len(series))
        lines = [f"{e.method}: {e.label}, {e.score_text}.", *(f"Warning: {w}." for w in e.warnings[:2])]
        names = [str(time) for time in time_names(series)]
        title, ahead = f"Explanation of {name}", steps_ahead(e)
        if ahead is not None:
            said = f"number {ahead - 1} of the output is taken as the step {ahead} behind the last time"
            lines.append(f"Lags: {said}.")
            self._news.once(said)
        return series_figure(title, lines, heat, series.values, series.names, names, series.unit, ahead)


def steps_ahead(e: Explanation) -> int | None:
    """How many steps behind the last time the explained number of a forecast lies; None of other targets."""
    from ...engine.targets.kinds.value import Value

    index = getattr(e.target, "index", ()) if isinstance(e.target, Value) else ()
    return index[0] + 1 if index and isinstance(index[0], int) else None


def explain_series(options: ExplainOptions) -> Run:
    """Explain every series; the run, at its end. Raises as `explain` does."""
    from ...engine.explain import SERIES_METHOD, for_series
    from ...engine.targets.target import Target
    from ..files.arrays import fed
    from ..files.run import Run
    from ..files.tables import table_files
    from ..terminal.progress import Progress

    common = options.common
    if options.feeds or options.table.background is not None:
        raise MethodError("--with and --background are not for series: give arrays, or -O background=FILE.npy")
    methods, every = chosen_methods(options.methods or (SERIES_METHOD,), options.settings)
    named = option_names(options.settings)
    methods = [for_series(method, named) for method in methods]
    model = open_model(options.model, common.card)
    paths = table_files(options.images)[:: options.selection.every][: options.selection.limit]
    refuse_crop(options.selection)
    refuse_part(options.share)
    targets = [Target.parse(text) for text in options.targets]
    check_options(model, options, methods)
    decisive = {**decisive_of(options, methods, targets), **options.table.to_mapping()}
    with (
        Run(options.output, "explain", decisive, about_of(options, model, None), paths) as run,
        Progress(len(paths), quiet=common.quiet, bar=common.progress) as bar,
    ):
        work = SeriesExplainer(model, None, targets, methods, every, options, fed((), model), run)
        over_images(run, bar, paths, work.one, work.news, _fits, work.read)
        if left_out := left_out_of_all(run.entries):
            run.manifest["left_out"] = left_out
    return run


def _fits(entry: dict[str, Any]) -> None:
    """Raises KeyError or TypeError for an entry of an earlier run that is not of this command's form."""
    for found in entry["maps"]:
        list(found["files"])
