"""Options of commands that stand in a line: rules, measures, drift, sinks."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from ..terminal.help import OUTPUT, RUN
from . import complete
from .options import option

F = TypeVar("F", bound=Callable[..., Any])
# What --alarm can be about.
SMD, PSI = "smd", "psi"
# The exit code where a limit was crossed.
ALARMED = 3


@dataclass(frozen=True)
class Inspection:
    """What is asked of each image: a rule that says whether it is explained, a part that maps are measured on, the
    millimetres of a pixel; and the memory of good images that the rule's `novelty` is about."""

    when: str | None = None
    part: Path | None = None
    mm_per_pixel: float | None = None
    memory: Path | None = None

    def to_mapping(self) -> dict[str, Any]:
        """For manifests: what was asked for."""
        found = {"when": self.when, "part": None if self.part is None else str(self.part), "mm": self.mm_per_pixel}
        found |= {"memory": None if self.memory is None else str(self.memory)}
        return {name: value for name, value in found.items() if value is not None}


NO_INSPECTION = Inspection()


@dataclass(frozen=True)
class DriftOptions:
    """reference: a number of images, or a folder; layer; window: images judged together; alarm: limits by measure."""

    reference: str | None = None
    layer: str | None = None
    window: int | None = None
    alarm: Sequence[tuple[str, float]] = ()


def inspection(f: F) -> F:
    """--when, --memory, --part and --mm-per-pixel; the command gets one `Inspection`, as `inspection`."""

    @functools.wraps(f)
    def command(
        *args: Any, when: str | None, part: Path | None, mm_per_pixel: float | None, memory: Path | None, **others: Any
    ) -> Any:
        return f(*args, inspection=Inspection(when, part, mm_per_pixel, memory), **others)

    text = "Also give measures in millimetres."
    kind: Any = click.FloatRange(0, min_open=True)
    stack: Any = option("--mm-per-pixel", type=kind, metavar="MM", help=text)(command)
    text = "Mask of a part, white on black: measures the share of the heat on it and the distance of the peak from it."
    stack = option("--part", type=click.Path(path_type=Path), metavar="FILE", help=text)(stack)
    decorated: F = rules(stack)
    return decorated


def rules(f: F) -> F:
    """--when and --memory, as `when` and `memory`."""
    text = "Memory of good images: what `onnxray novelty fit` wrote."
    stack: Any = option("--memory", type=click.Path(path_type=Path), metavar="FILE", help=text)(f)
    text = (
        "Take only images for which this holds: \"label != 'clean' and score > 0.6\". Names: label, score, "
        "scores['crack'], index, margin, entropy, path; with --memory also novelty."
    )
    decorated: F = option("--when", metavar="RULE", help=text)(stack)
    return decorated


def drift(f: F) -> F:
    """--reference, --drift-layer, --drift-window and --alarm; the command gets one `DriftOptions`, as `drift`."""

    @functools.wraps(f)
    def command(
        *args: Any,
        reference: str | None,
        drift_layer: str | None,
        drift_window: int | None,
        alarm: Sequence[tuple[str, float]],
        **others: Any,
    ) -> Any:
        if reference is None and (drift_layer or drift_window or alarm):
            raise click.UsageError("--drift-layer, --drift-window and --alarm are about --reference: give it as well")
        return f(*args, drift=DriftOptions(reference, drift_layer, drift_window, tuple(alarm)), **others)

    text = (
        "Limit of the population stability index, 0.1, or of another measure: smd:1.5; may be given several times. "
        "What is above it is said, and the exit code is 3 at the end."
    )
    stack: Any = option("--alarm", metavar="[MEASURE:]LIMIT", multiple=True, callback=_alarms, help=text)(command)
    text = "Images that the population stability index judges together; default: 30."
    stack = option("--drift-window", type=click.IntRange(min=1), metavar="N", help=text)(stack)
    text = "Layer that drift is measured at; default: the first activation function."
    stack = option("--drift-layer", metavar="NAME", help=text, shell_complete=complete.layers)(stack)
    text = (
        "Measure how far images have drifted from the first N ones, or from those of a folder that this command or "
        "`onnxray health` wrote."
    )
    decorated: F = option("--reference", metavar="N|DIR", help=text)(stack)
    return decorated


def sinks(f: F) -> F:
    """--to, as `to`."""
    text = (
        "Where results go; may be given several times: folder:DIR, jsonl:FILE, - for stdout, http://HOST/PATH, "
        "https://..., mqtt://HOST/TOPIC, mqtts://..., mp4:FILE, cvat:FILE, label-studio:FILE, tensorboard:DIR, "
        "fiftyone:DIR. Without it results are files in --out."
    )
    return option("--to", metavar="SINK", multiple=True, section=OUTPUT, help=text)(f)


def metrics(f: F) -> F:
    """--prometheus, as `metrics`."""
    text = "Serve figures for Prometheus at http://HOST:PORT/metrics; without HOST, to this machine alone."
    return option("--prometheus", "metrics", metavar="[HOST:]PORT", section=RUN, help=text)(f)


def _alarms(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> tuple[tuple[str, float], ...]:
    return tuple(map(_alarm, values))


def _alarm(text: str) -> tuple[str, float]:
    measure, colon, number = text.rpartition(":")
    name = measure.strip().lower() if colon else PSI
    try:
        limit = float(number)
    except ValueError:
        limit = math.nan
    if name not in (SMD, PSI) or not (math.isfinite(limit) and limit > 0):
        raise click.BadParameter(f"{text!r} is not LIMIT, psi:LIMIT or smd:LIMIT with a number above 0")
    return name, limit
