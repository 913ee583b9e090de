"""`onnxray explain`: why a model answers as it does, for images, by any number of methods."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..figures.explanations import DEFAULT, entry_of, file_name, section, sheet
from ..parameters import options
from ..parameters.inputs import card_of, find_images, finish, open_model
from ..parameters.methods import chosen_methods, listing, plain_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.attribution.explanation import Explanation
    from ...engine.graph.model import Model
    from ...engine.inference.batches import Runtime
    from ...engine.methods import Method
    from ...engine.targets.target import Target
    from ..files.run import Run

FORMATS = ("npy", "heatmap", "overlay", "classes", "sheet")


def _formats(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    from ...engine.errors import nearest

    chosen = tuple(dict.fromkeys(part.strip().lower() for part in value.split(",") if part.strip()))
    for part in chosen:
        if part not in FORMATS:
            close = nearest(part, FORMATS, 1)
            hint = f" (nearest: {close[0]!r})" if close else ""
            raise click.BadParameter(f"{part!r} is none of {', '.join(FORMATS)}{hint}")
    if not chosen:
        raise click.BadParameter(f"name at least one of {', '.join(FORMATS)}")
    return chosen


def _list_methods(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        click.echo(listing())
        context.exit()


@click.command("explain")
@options.model
@options.images
@click.option(
    "-m",
    "--method",
    "methods",
    metavar="NAME,...",
    multiple=True,
    default=(DEFAULT,),
    show_default=DEFAULT,
    help="Methods, with commas or given several times; `all` for every one that fits the model.",
)
@click.option(
    "-t",
    "--target",
    "targets",
    metavar="TARGET",
    multiple=True,
    default=("predicted",),
    show_default="predicted",
    help="What is explained; may be given several times. `predicted`, a class by number or label, `top:3`, "
    "`contrast:A,B`, `prob:CLASS`, `unit:LAYER:CHANNEL[,Y,X]`, `region:CLASS[:Y0,X0,Y1,X1]`, `element:VALUE:I,J,...`.",
)
@options.layers
@click.option(
    "-o",
    "--option",
    "settings",
    metavar="[METHOD:]NAME=VALUE",
    multiple=True,
    help="An option of a method, or of all that have it: steps=100. See --list-methods.",
)
@click.option(
    "--format",
    "formats",
    metavar=",".join(FORMATS),
    default=",".join(FORMATS),
    callback=_formats,
    help="What is written for each image; everything if not given.",
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1),
    default=0.6,
    show_default=True,
    metavar="SHARE",
    help="Share of the colours in overlays where the map is greatest.",
)
@click.option("--colormap", metavar="NAME", help="Colours of the maps; the method's own if not given.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="SHARE",
    help="Also the region whose values are at least this part of the greatest: mask, outlines and box, as JSON too.",
)
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    metavar="N",
    help="Most inputs, copies of the image among them, that run together; chosen by their size if not given.",
)
@click.option(
    "--list-methods",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_methods,
    help="List the methods with their options, and exit.",
)
@options.as_json
@options.output("onnxray-explain", resume=True)
@options.card
@options.runtime
@options.quiet
def command(
    model: str,
    images: tuple[str, ...],
    methods: tuple[str, ...],
    targets: tuple[str, ...],
    layers: tuple[str, ...],
    settings: tuple[str, ...],
    formats: tuple[str, ...],
    alpha: float,
    colormap: str | None,
    threshold: float | None,
    rows: int | None,
    as_json: bool,
    output: options.Output,
    card: dict[str, Any],
    runtime: dict[str, Any],
    quiet: bool,
    progress: bool,
) -> None:
    """Show why a model answers as it does for images.

    For each image, method and target: the map as a float32 .npy file, signed and not normalised; the map in colours;
    its overlay on the image. Per image, a sheet with all of them beside one another, each with the range of its
    colours. With --threshold, the hottest region as well. Occlusion also shows what the answer becomes with each part
    of the image hidden.
    """
    from ...engine.errors import ImageError, MethodError, TargetError
    from ...engine.inference.batches import Runtime
    from ..files.images import read
    from ..files.run import Run, describe, describe_card, done, failed
    from ..terminal.progress import Progress

    chosen, every = chosen_methods(methods, settings)
    loaded = open_model(model, card)
    found = card_of(loaded, quiet)
    asked = [_target(text, loaded, found.labels) for text in targets]
    _check(loaded, layers, colormap, chosen, every)
    paths = find_images(images)
    about = {"model": describe(loaded), "card": describe_card(found), "layers": list(layers)}
    options_asked = {
        "methods": {m.name: plain_options(m) for m in chosen},
        "targets": [str(t) for t in asked],
        "formats": list(formats),
        "alpha": alpha,
        "colormap": colormap,
        "threshold": threshold,
        "rows": rows,
        **runtime,
    }
    with (
        Run(output, "explain", options_asked, about, paths) as run,
        Progress(len(paths), quiet=quiet, bar=progress) as bar,
    ):
        work = Work(
            loaded,
            asked,
            layers,
            chosen,
            Runtime(**runtime, batch=rows),
            run,
            formats,
            alpha,
            colormap,
            threshold,
            every,
            bar.part,
        )
        folders = [run.name(path.stem) for path in paths]
        for path, folder in zip(paths, folders, strict=True):
            entry = run.kept(path)
            if entry is None:
                try:
                    results, files = work.one(path, read(path), folder)
                    entry = done(path, files, **results)
                except (ImageError, TargetError) as error:
                    bar.say(f"{path}: {error}" if isinstance(error, TargetError) else str(error), error=True)
                    entry = failed(path, error)
            for text in work.news():
                bar.say(text)
            run.add(entry)
            bar.step(path.name)
        if every and not work.methods:
            raise MethodError("no method fits this model: see `onnxray explain --list-methods`")
        if work.left_out:
            run.manifest["left_out"] = work.left_out
    if as_json:
        click.echo(json.dumps(run.document(), indent=2, ensure_ascii=False))
    else:
        click.echo(str(output.folder))
    finish(run.entries)


@dataclass
class Work:
    """One image in, its explanations out. `left_out` holds the methods of `all` that do not fit the model, and why.

    `tell` is told how much of an image is done, 0 to 1, and by which method.
    """

    model: Model
    targets: Sequence[Target]
    layers: Sequence[str]
    methods: list[Method]
    runtime: Runtime
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
        """How far the method that runs now has come with this target: see `Runtime.progress`."""
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


def _target(text: str, model: Model, labels: tuple[str, ...] | None) -> Target:
    """The target, looked up in the model once before the first image. Raises TargetError, UnknownName."""
    from ...engine.targets.resolved import Place
    from ...engine.targets.target import Target

    target = Target.parse(text)
    target.resolve(Place(model, labels))
    return target


def _check(model: Model, layers: Sequence[str], colormap: str | None, chosen: Sequence[Method], every: bool) -> None:
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


__all__ = ["Work", "command", "section"]
