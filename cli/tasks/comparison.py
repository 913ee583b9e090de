"""The report's section of explanations: every method that fits, on the two most probable classes."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..figures.explanations import OTHERS, Sheet, gallery_of, miniature, seen
from ..parameters.methods import DEFAULT, PATIENT
from ..terminal.echo import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...engine.attribution.explanation import Explanation
    from ...engine.attribution.problem import Problem
    from ..figures.parts import Part, Row, Section
    from .subject import Subject

_LARGE, _TILE = 480, 320
# Methods under the slider, one of each kind; how many where none of them fits.
_CHOSEN = ("grad-cam", "occlusion", "integrated-gradients", "lrp")
_FEW = 4
_ALPHA = 0.6
# How methods are grouped, and what the groups are called.
_GROUPS = ("At the last feature maps", "By gradients at the input", "By hiding parts of the image")


def section(subject: Subject) -> Section:
    """Every method that fits the model on the image looked at closely, for a report."""
    from ...engine.errors import TargetError
    from ..figures.parts import Heading, Picture, Section, Table

    path, pixels = subject.focused
    try:
        problem = _problem(subject, pixels)
    except TargetError as error:
        return Section("Explanations", f"There is nothing to explain without a target: {error}.")
    sheet, refused = Sheet(path.name, subject.picture(pixels), _ALPHA), dict[str, str]()
    groups = _explained(problem, sheet, refused)
    parts: list[Part] = [*_side_by_side(subject.picture(pixels), groups)]
    for title, (columns, rows) in groups.items():
        parts += _comparison(title, columns, rows)
    parts.append(Picture("explanations", sheet.picture, f"Every map on {path.name}", on_page=False))
    if len(subject.images) > 1:
        parts.append(Heading(f"{DEFAULT} on the other images"))
        parts += _others(subject)
    reasons = [(name, f"does not fit this model: {why}") for name, why in refused.items()]
    reasons += [(name, "skipped: needs hundreds of passes") for name in PATIENT]
    parts += [Heading("Methods that are not shown"), Table(("method", "why"), tuple(reasons))]
    lead = (
        "Which parts of the image the answer depends on, by every method that fits the model: methods are rows, the "
        "most probable classes are columns. Under each map the values at the ends of its colours."
    )
    return Section("Explanations", lead, parts)


def _problem(subject: Subject, pixels: NDArray[Any]) -> Problem:
    """The two most probable classes of an image; what the model answers where it has no two. Raises TargetError."""
    from ...engine.errors import TargetError

    try:
        return _problem_of(subject, pixels, "top:2")
    except TargetError:
        return _problem_of(subject, pixels, "predicted")


def _problem_of(subject: Subject, pixels: NDArray[Any], target: str) -> Problem:
    from ...engine.explain import problem_of
    from ...engine.inference.batches import RunOptions
    from ...engine.targets.target import Target

    runtime = RunOptions(**subject.work.runtime)
    return problem_of(subject.model, pixels, Target.parse(target), card=subject.work.card, runtime=runtime)


def _explained(
    problem: Problem, sheet: Sheet, refused: dict[str, str]
) -> dict[str, tuple[tuple[str, ...], list[tuple[str, Sequence[Explanation]]]]]:
    """By group the titles of the targets and the explanations of each method; the usual method comes first."""
    from ...engine.errors import GradientError, MethodError
    from ...engine.explain import solve
    from ...engine.methods.registry import make, methods

    found: dict[str, tuple[tuple[str, ...], list[tuple[str, Sequence[Explanation]]]]] = {}
    for name, cls in sorted(methods().items(), key=lambda item: (_group(item[1]), item[0] != DEFAULT, item[0])):
        if name in PATIENT:
            continue
        try:
            explanations = [miniature(e, _LARGE) for e in solve(problem, make(name))]
        except (MethodError, GradientError) as error:
            refused[name] = str(error)
            continue
        for e in explanations:
            sheet.add(e)
        titles = tuple(f"{one_line(e.label)}: score {_number(e.score)}" for e in explanations)
        found.setdefault(_GROUPS[_group(cls)], (titles, []))[1].append((name, explanations))
    return found


def _group(cls: Any) -> int:
    return 0 if cls.at_layer else 1 if cls.needs == "gradient" else 2


def _side_by_side(pixels: NDArray[Any], groups: dict[str, Any]) -> Iterator[Part]:
    """Maps of the first target by a few methods of different kinds over the image, with a slider."""
    from ..figures import figure
    from ..figures.parts import Compare, Tile

    found = {name: explanations[0] for _, rows in groups.values() for name, explanations in rows}
    chosen = [name for name in _CHOSEN if name in found] or list(found)[:_FEW]
    if not chosen:
        return
    tiles = []
    for name in chosen:
        e = found[name]
        shown = figure.picture(e.overlay(1.0), _LARGE)
        where = f"at layer {e.layer}" if e.layer else ""
        tiles.append(Tile(f"{name}: {one_line(e.label)}", shown, where, figure.Scale(e.colormap, *e.range)))
    yield Compare(figure.picture(seen(pixels, found[chosen[0]]), _LARGE), tuple(tiles))


def _comparison(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, Any]]) -> Iterator[Part]:
    from ...engine.methods.registry import find
    from ..figures.parts import Heading, Rows

    yield Heading(title)
    yield Rows(columns, tuple(_row(name, find(name), explanations) for name, explanations in rows))


def _row(name: str, cls: Any, explanations: Sequence[Explanation]) -> Row:
    from ..figures import figure
    from ..figures.parts import Row, Tile

    tiles = []
    for e in explanations:
        picture = figure.picture(e.overlay(_ALPHA), _TILE)
        tiles.append(Tile("", picture, "", figure.Scale(e.colormap, *e.range)))
    return Row(name, (cls.__doc__ or "").strip().splitlines()[0], tuple(tiles))


def _others(subject: Subject) -> Iterator[Part]:
    """The usual method on the other images, all in one range of colours."""
    from ...engine.errors import MethodError
    from ...engine.explain import solve
    from ...engine.methods.registry import make
    from ..figures.parts import Picture, Tile, Tiles

    path, _ = subject.focused
    others = itertools.islice(((p.name, image) for p, image in subject.images if p != path), OTHERS)
    explain = functools.partial(_usual, subject, solve, make)
    try:
        drawn = gallery_of(((name, explain(image)) for name, image in others), _ALPHA)
    except MethodError:
        return  # the usual method does not fit: the table says why
    yield Tiles(tuple(Tile(name, pixels, note, drawn.scale) for name, pixels, note in drawn.panels))
    yield Picture(f"{DEFAULT}-of-others", drawn.picture, f"{DEFAULT} on the other images", on_page=False)


def _usual(subject: Subject, solve: Callable[..., Any], make: Callable[..., Any], pixels: NDArray[Any]) -> Any:
    return solve(_problem_of(subject, pixels, "predicted"), make(DEFAULT))[0]


def _number(value: float) -> str:
    from ..figures.figure import number

    return number(value)
