"""Explanations in figures, manifests and reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..parameters.methods import PATIENT
from ..terminal.table import one_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.attribution.explanation import Explanation
    from ..pages.report import Section, Subject

DEFAULT = "grad-cam"
_PANEL = 224
_OTHERS = 12


def entry_of(e: Explanation, colormap: str | None = None) -> dict[str, Any]:
    """What the manifest says of one map."""
    about = e.manifest()
    display = {**about["display"], "colormap": colormap or about["display"]["colormap"]}
    kept = ("method", "target", "score", "layer", "layer_reason", "values", "details", "warnings")
    return {**{key: about[key] for key in kept}, "display": display}


def sheet(
    name: str, pixels: NDArray[np.uint8], found: Sequence[Explanation], alpha: float, colormap: str | None = None
) -> NDArray[np.uint8]:
    """The image and every map on it, side by side, each with its method, target and colours."""
    from . import figure

    panels = [figure.panel(figure.framed(figure.picture(pixels, _PANEL)), name, "", _PANEL)]
    for e in found:
        lo, hi = e.range
        scale = figure.Scale(colormap or e.colormap, lo, hi)
        picture = figure.framed(figure.picture(e.overlay(alpha, colormap), _PANEL))
        block = figure.stack([picture, figure.colour_bar(scale, picture.shape[1] - 2)], gap=5)
        note = f"{one_line(e.label)}: {figure.number(e.score)}"
        panels.append(figure.panel(block, e.method, note, _PANEL))
    layers = dict.fromkeys(e.layer for e in found if e.layer)
    lines = [
        f"{name}: " + "; ".join(dict.fromkeys(one_line(f"{e.label}, score {figure.number(e.score)}") for e in found))
    ]
    lines += [f"Class activation maps at {', '.join(layers)}."] if layers else []
    return figure.page("Explanations", lines, [figure.grid(panels)])


def file_name(e: Explanation) -> str:
    """A target in a file name."""
    from ...engine.targets.target import Class

    inner = getattr(e.target, "inner", e.target)
    if isinstance(inner, Class) and inner.label:
        return f"{inner.which}-{inner.label.split(',')[0]}"
    return str(e.target)


def section(subject: Subject) -> Section:
    """Every method that fits the model on the image looked at closely, for a report."""
    from ...engine.errors import GradientError, MethodError, TargetError
    from ...engine.explain import problem_of, solve
    from ...engine.inference.batches import Runtime
    from ...engine.methods import make, methods
    from ..pages.report import Heading, Picture, Section, Table

    path, pixels = subject.focused
    runtime = Runtime(**subject.work.runtime)
    found: list[Explanation] = []
    rows = []
    try:
        problem = problem_of(subject.model, pixels, runtime=runtime)
        for name, cls in methods().items():
            if name in PATIENT:
                continue
            try:
                found += solve(problem, make(name))
            except (MethodError, GradientError) as error:
                rows.append((name, f"does not fit this model: {error}"))
            else:
                rows.append((name, (cls.__doc__ or "").strip().splitlines()[0]))
    except TargetError as error:
        return Section("Explanations", f"There is nothing to explain without a target: {error}.")
    parts: list[Any] = [Picture("explanations", sheet(path.name, pixels, found, 0.6), f"Every map on {path.name}")]
    others = [(p.name, image) for p, image in subject.images if p != path][:_OTHERS]
    if others:
        maps = [solve(problem_of(subject.model, i, runtime=runtime), make(DEFAULT)) for _, i in others]
        names = [name for name, _ in others]
        parts.append(Heading("The other images"))
        parts.append(Picture(f"{DEFAULT}-of-others", gallery(names, maps, 0.6), f"{DEFAULT} on the other images"))
    rows += [(name, "left out here: it runs the network hundreds of times") for name in PATIENT]
    parts.append(Table(("method", "what it shows"), tuple(rows)))
    lead = (
        "Where in the image the answer comes from, by every method that fits the model. Under each map: the ends of "
        "its colours, what was explained, and its score."
    )
    return Section("Explanations", lead, parts)


def gallery(names: Sequence[str], found: Sequence[Explanation], alpha: float) -> NDArray[np.uint8]:
    """One method on several images, side by side; every map in a range of its own."""
    from . import figure

    panels = []
    for name, e in zip(names, found, strict=True):
        picture = figure.framed(figure.picture(e.overlay(alpha), _PANEL))
        note = f"{one_line(e.label)}: {figure.number(e.score)}; colours to {figure.number(e.range[1])}"
        panels.append(figure.panel(picture, name, note, _PANEL))
    layers = dict.fromkeys(e.layer for e in found if e.layer)
    lines = [f"Class activation maps at {', '.join(layers)}."] if layers else []
    return figure.page(found[0].method, lines, [figure.grid(panels)])
