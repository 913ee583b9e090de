"""What an evaluation found: values per image, their means with intervals, and which method to use."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic
from ..errors import MethodError, UnknownName
from ..methods.registry import methods as registered
from .ranking import Ranking, ranking
from .ranks import ranks
from .registry import Metric
from .statistics import Aggregate, Comparison, aggregate, compared

# Points of a mean curve.
_POINTS = 101


@dataclass(frozen=True)
class Judged:
    """One image: what was explained, and the value of every metric for the map of every method.

    values: method -> metric -> value. curves: method -> metric -> (x, y), each a list of floats. left_out: method, or
    "method metric", -> why it has no value. seconds: method -> time of its map. notes: what else to know of the image.
    """

    name: str
    target: str
    values: Mapping[str, Mapping[str, float]]
    curves: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_mapping(self) -> dict[str, Any]:
        """JSON-like data, without the times, which differ from run to run."""
        curves = {m: {k: [list(x), list(y)] for k, (x, y) in of.items()} for m, of in self.curves.items()}
        return {
            "target": self.target,
            "values": {method: dict(of) for method, of in self.values.items()},
            "curves": curves,
            "left_out": dict(self.left_out),
            "notes": list(self.notes),
        }

    @staticmethod
    def from_mapping(name: str, found: Mapping[str, Any]) -> Judged:
        """Raises KeyError, TypeError or ValueError for data of another form."""
        curves = {m: {k: (list(x), list(y)) for k, (x, y) in of.items()} for m, of in found["curves"].items()}
        values = {m: {k: float(v) for k, v in of.items()} for m, of in found["values"].items()}
        return Judged(name, str(found["target"]), values, curves, dict(found["left_out"]), {}, tuple(found["notes"]))


@dataclass(frozen=True)
class Evaluation:
    """Values of metrics for methods on images. methods: names, in the order of the table."""

    methods: tuple[str, ...]
    metrics: tuple[Metric, ...]
    images: tuple[Judged, ...]

    def values(self, method: str, metric: str) -> NDArray[np.float64]:
        """(N,): the value for every image, NaN where there is none. Raises UnknownName."""
        self._metric(metric)
        if method not in self.methods:
            raise UnknownName("method in this evaluation", method, self.methods)
        found = (image.values.get(method, {}).get(metric) for image in self.images)
        return np.array([math.nan if value is None else value for value in found], np.float64)

    def aggregate(self, method: str, metric: str) -> Aggregate | None:
        """The mean with its interval; None where no image has a value. Raises UnknownName."""
        values = self.values(method, metric)
        finite = values[np.isfinite(values)]
        return aggregate(finite) if len(finite) else None

    def compare(self, a: str, b: str, metric: str) -> Comparison:
        """Method a against method b, image by image. Raises UnknownName, MethodError (no image in common)."""
        higher = self._metric(metric).better == "higher"
        try:
            return compared((a, self.values(a, metric)), (b, self.values(b, metric)), metric, higher)
        except ValueError as error:
            raise MethodError(f"{error}: there is nothing to compare") from None

    def curve(self, method: str, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """The mean over the images of the metric's curve, x and y; None where there is none."""
        found = [image.curves[method][metric] for image in self.images if metric in image.curves.get(method, {})]
        if not found:
            return None
        low, high = max(min(x) for x, _ in found), min(max(x) for x, _ in found)
        grid = np.linspace(low, high, _POINTS)
        return grid, np.mean([np.interp(grid, x, y) for x, y in found], axis=0)

    @cached_property
    def ranking(self) -> Ranking:
        """The methods from best to worst, by their ranks over the metrics that judge an explanation."""
        known = registered()
        failing = [name for name in self.methods if name in known and known[name].randomisation == "fails"]
        return ranking(self.methods, self.metrics, self.values, failing)

    @property
    def advice(self) -> str:
        """One sentence: which method to use here, and how sure that is."""
        return self.ranking.sentence

    def image_order(self, method: str) -> list[int]:
        """The images with values for a method, from the one on which it does best to the worst, by the mean over the
        metrics of the place among all images.
        """
        places = []
        for metric in self.metrics:
            if metric.name in self.ranking.metrics:
                values = self.values(method, metric.name) * (-1 if metric.better == "higher" else 1)
                place = np.full(len(values), np.nan)
                place[np.isfinite(values)] = ranks(values[np.isfinite(values)])
                places.append(place)
        stack = np.stack(places)
        known = np.isfinite(stack).sum(axis=0)
        mean = np.where(known > 0, np.nansum(stack, axis=0) / np.maximum(known, 1), np.inf)
        return [int(i) for i in np.argsort(mean, kind="stable") if known[i]]

    def left_out(self) -> dict[str, str]:
        """Methods, and pairs "method metric", without a value on any image -> why, on the first."""
        reasons: dict[str, str] = {}
        for image in self.images:
            for what, why in image.left_out.items():
                reasons.setdefault(what, why)
        return {what: why for what, why in reasons.items() if all(what in image.left_out for image in self.images)}

    def _metric(self, name: str) -> Metric:
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise UnknownName("metric in this evaluation", name, [metric.name for metric in self.metrics])

    # --- as text ---

    def rows(self) -> Iterator[tuple[str, dict[str, Aggregate | None]]]:
        """Each method, the best first, with its aggregates by metric; methods without any value are left out."""
        for method in self.ranking.order:
            found = {metric.name: self.aggregate(method, metric.name) for metric in self.metrics}
            if any(found.values()):
                yield method, found

    def to_csv(self) -> str:
        """A line for each method and metric: mean, interval, number of images."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["method", "metric", "better", "mean", "low", "high", "images"])
        for method, found in self.rows():
            for metric in self.metrics:
                if (one := found[metric.name]) is not None:
                    numbers = [repr(v) if math.isfinite(v) else "" for v in (one.mean, one.low, one.high)]
                    writer.writerow([method, metric.name, metric.better, *numbers, one.count])
        return out.getvalue()

    def to_markdown(self) -> str:
        """A table: methods down, the best first, metrics across, the mean and the ends of its 95 % interval."""
        heads = ["method", *(f"{m.name} ({'high' if m.better == 'higher' else 'low'} is good)" for m in self.metrics)]
        lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * len(self.metrics)}"]
        for method, found in self.rows():
            cells = [_cell(found[metric.name]) for metric in self.metrics]
            lines.append(f"| `{method}` | {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"

    def to_mapping(self) -> dict[str, Any]:
        """One number per metric and method with its interval, the ranking, and the values of every image."""
        table = {
            method: {name: None if one is None else _plain(one) for name, one in found.items()}
            for method, found in self.rows()
        }
        return {
            "advice": self.advice,
            "ranking": self.ranking.to_mapping(),
            "metrics": {m.name: _about(m) for m in self.metrics},
            "table": table,
            "left_out": self.left_out(),
            "images": [{"name": image.name, **image.to_mapping()} for image in self.images],
        }

    def save(self, dir: str | Path) -> list[Path]:
        """Write table.csv, table.md and evaluation.json into a folder. Raises OutputError."""
        texts = {
            "table.csv": self.to_csv(),
            "table.md": f"{self.to_markdown()}\n{self.advice}\n",
            "evaluation.json": json.dumps(self.to_mapping(), indent=1, ensure_ascii=False) + "\n",
        }
        paths = []
        for name, text in texts.items():
            paths.append(Path(dir) / name)
            with atomic(paths[-1]) as temporary:
                temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
        return paths

    def __repr__(self) -> str:
        names = ", ".join(metric.name for metric in self.metrics)
        return f"<Evaluation of {len(self.methods)} methods on {len(self.images)} images by {names}>"

    def _repr_markdown_(self) -> str:
        return f"{self.to_markdown()}\n{self.advice}\n"


def _cell(one: Aggregate | None) -> str:
    if one is None:
        return "-"
    if not math.isfinite(one.low):
        return f"{one.mean:.3f}"
    return f"{one.mean:.3f} ({one.low:.3f}, {one.high:.3f})"


def _plain(one: Aggregate) -> dict[str, Any]:
    ends = [value if math.isfinite(value) else None for value in (one.low, one.high)]
    return {"mean": one.mean, "low": ends[0], "high": ends[1], "images": one.count}


def _about(metric: Metric) -> dict[str, Any]:
    options = {name: list(v) if isinstance(v, tuple) else v for name, v in metric.options().items()}
    return {"better": metric.better, "family": metric.family, "options": options}
