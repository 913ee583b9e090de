"""Explaining one image by one or several methods; the section of the report."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..figures.explanations import OTHERS, gallery, sheet
from ..parameters.methods import PATIENT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.attribution.explanation import Explanation
    from ...engine.graph.model import Model
    from ...engine.inference.batches import RunOptions
    from ...engine.methods.registry import Method
    from ...engine.targets.target import Target
    from ..figures.parts import Section
    from ..files.run import Run
    from .subject import Subject


@dataclass
class Explainer:
    """One image in, its explanations out. `left_out` holds the methods of `all` that do not fit the model, and why.

    `tell` is told how much of an image is done, 0 to 1, and by which method.
    """

    model: Model
    targets: Sequence[Target]
    layers: Sequence[str]
    methods: list[Method]
    runtime: RunOptions
    run: Run
    formats: Sequence[str]
    alpha: float
    colormap: str | None
    threshold: float | None
    every: bool
    tell: Callable[[float, str], None] | None = None

    def __post_init__(self) -> None:
        self.left_out: dict[str, str] = {}
        self._said: set[str] = set()
        self._news: list[str] = []

    def one(self, path: Path, pixels: NDArray[np.uint8], folder: str) -> tuple[dict[str, Any], list[str]]:
        """Everything about one image: its results for the manifest, and the files written."""
        maps: list[dict[str, Any]] = []
        files: list[str] = []
        panels: list[tuple[str, Explanation]] = []
        for explanation in self.explanations(pixels):
            entry, written, name = self._write(explanation, folder)
            maps.append(entry)
            files += written
            panels.append((name, explanation))
            for text in explanation.warnings:
                self._warn(f"{explanation.method}: {text}")
        if "sheet" in self.formats and panels:
            picture = sheet(path.name, pixels, [e for _, e in panels], self.alpha, self.colormap)
            files.append(self.run.picture(self.run.name("sheet.png", folder), picture))
        geometry = panels[0][1].geometry if panels else None
        return {
            "size": list(pixels.shape[:2]),
            "geometry": None if geometry is None else geometry.to_mapping(),
            "maps": maps,
        }, files

    def explanations(self, pixels: NDArray[np.uint8]) -> Iterator[Explanation]:
        """Of every target by every method; methods of `all` that do not fit are left out from then on."""
        from ...engine.errors import GradientError, MethodError
        from ...engine.explain import problem_of, solve

        for number, target in enumerate(self.targets):
            now: list[Any] = [0, ""]
            runtime = replace(self.runtime, progress=functools.partial(self._told, number, now))
            with_layers = problem_of(self.model, pixels, target, list(self.layers), runtime=runtime)
            plain = with_layers if not self.layers else problem_of(self.model, pixels, target, runtime=runtime)
            for place, method in enumerate(list(self.methods)):
                now[:] = place, method.name
                try:
                    yield from solve(with_layers if method.at_layer else plain, method)
                except (MethodError, GradientError) as error:
                    if not self.every:
                        raise
                    self.methods.remove(method)
                    self.left_out[method.name] = str(error)
                    self._warn(f"{method.name} left out: {error}")

    def _told(self, target: int, now: Sequence[Any], done: int, total: int) -> None:
        """How far the method that runs now has come with this target: see `RunOptions.progress`."""
        if self.tell is not None:
            place, name = now
            maps = len(self.targets) * len(self.methods)
            self.tell((target * len(self.methods) + place + done / total) / maps, name)

    def news(self) -> list[str]:
        """What is to be said since the last call, each once in a run."""
        found, self._news = self._news, []
        return found

    def _warn(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._news.append(f"warning: {text}")

    def _write(self, e: Explanation, folder: str) -> tuple[dict[str, Any], list[str], str]:
        """The files of one explanation, and its entry of the manifest."""
        from ..figures import class_map as classmaps

        run = self.run
        name = run.name(f"{e.method}-{file_name(e)}" if self._many() else e.method, folder)
        files = []
        if "npy" in self.formats:
            files.append(run.array(f"{name}.npy", e.values))
        overlay = e.overlay(self.alpha, self.colormap)
        if "heatmap" in self.formats:
            files.append(run.picture(f"{name}-heatmap.png", e.picture(self.colormap)))
        if "overlay" in self.formats:
            files.append(run.picture(f"{name}-overlay.png", overlay))
        entry = entry_of(e, self.colormap)
        if classmaps.has_classes(e):
            entry["classes"] = [answer.to_mapping() for answer in classmaps.answers(e)]
            if "classes" in self.formats:
                files.append(run.picture(f"{name}-classes.png", classmaps.picture(e, self.alpha)))
        if self.threshold is not None:
            from ..figures.hottest_region import drawn, hottest

            region = hottest(e.heatmap, self.threshold, e.display == "signed")
            shape = {"threshold": self.threshold, **region.to_mapping()}
            entry["region"] = {key: value for key, value in shape.items() if key != "outlines"}
            import numpy as np

            mask = np.repeat((region.mask * np.uint8(255))[..., None], 3, axis=2)
            files.append(run.picture(f"{name}-mask.png", mask))
            files.append(run.picture(f"{name}-region.png", drawn(overlay, region)))
            text = json.dumps({"method": e.method, "target": str(e.target), **shape}, allow_nan=False)
            files.append(run.text(f"{name}-region.json", text + "\n"))
        entry["files"] = files
        return entry, files, name

    def _many(self) -> bool:
        """Whether a method makes more than one map of an image."""
        from ...engine.targets.target import Several

        return len(self.targets) > 1 or any(isinstance(getattr(t, "inner", t), Several) for t in self.targets)


def target_of(text: str, model: Model, labels: tuple[str, ...] | None) -> Target:
    """The target, looked up in the model once before the first image. Raises TargetError, UnknownName."""
    from ...engine.targets.resolved import Place
    from ...engine.targets.target import Target

    target = Target.parse(text)
    target.resolve(Place(model, labels))
    return target


def check_options(
    model: Model, layers: Sequence[str], colormap: str | None, chosen: Sequence[Method], every: bool
) -> None:
    """Raises UnknownName and MethodError for what can be known to be wrong before the first image."""
    from ...engine.attribution.explanation import check_colormap
    from ...engine.errors import MethodError
    from ...engine.inspect.layers import find_layer

    for name in layers:
        find_layer(model, name)
    if colormap is not None:
        check_colormap(colormap)
    bare = [method.name for method in chosen if not method.at_layer]
    if layers and len(bare) == len(chosen):
        raise MethodError(f"{', '.join(bare)} explain{'s' * (len(bare) == 1)} at the input: leave --layer out")


DEFAULT = "grad-cam"


def entry_of(e: Explanation, colormap: str | None = None) -> dict[str, Any]:
    """What the manifest says of one map."""
    about = e.manifest()
    display = {**about["display"], "colormap": colormap or about["display"]["colormap"]}
    kept = ("method", "target", "score", "layer", "layer_reason", "values", "details", "warnings")
    return {**{key: about[key] for key in kept}, "display": display}


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
    from ...engine.inference.batches import RunOptions
    from ...engine.methods.registry import make, methods
    from ..figures.parts import Heading, Picture, Section, Table

    path, pixels = subject.focused
    runtime = RunOptions(**subject.work.runtime)
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
    others = [(p.name, image) for p, image in subject.images if p != path][:OTHERS]
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
