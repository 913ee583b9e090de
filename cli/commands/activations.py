"""`onnxray activations`: what the layers of a model answer to images."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from ..parameters import options
from ..parameters.inputs import card_of, find_images, finish, fixed_batch, open_model, warn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.graph.model import Model
    from ...engine.inspect.layers import Layer
    from ...engine.preprocess.card import Card
    from ..figures.layer_view import View
    from ..figures.layers import Photo
    from ..files.run import Run
    from ..pages.report import Section, Subject

Values: TypeAlias = "dict[str, NDArray[Any]]"

# Values of one run of the model that are kept in memory at once.
_MOST_VALUES = 1 << 26


@click.command("activations")
@options.model
@options.images
@options.layers
@click.option("--all-layers", is_flag=True, help="The image's walk through the whole network, in one strip.")
@click.option("--all", "every", is_flag=True, help="All channels of a layer, by number, instead of the strongest.")
@click.option(
    "--most",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    metavar="N",
    help="How many of the strongest channels to show.",
)
@options.as_json
@options.output("onnxray-activations", resume=True)
@options.card
@options.runtime
@options.quiet
def command(
    model: str,
    images: tuple[str, ...],
    layers: tuple[str, ...],
    all_layers: bool,
    every: bool,
    most: int,
    as_json: bool,
    output: options.Output,
    card: dict[str, Any],
    runtime: dict[str, Any],
    quiet: bool,
    progress: bool,
) -> None:
    """Picture what the layers of a model answer to images.

    For each image and layer: a grid of the channels' maps, their mean on the image, a histogram before and after the
    activation function, statistics, and the values as a float32 .npy file. Layers that are no maps are drawn as bars or
    as a heat table. Without --layer and --all-layers: the last layer that still is a map.
    """
    from ...engine.errors import ImageError
    from ..files.images import read
    from ..files.run import Run, describe, describe_card, done, failed
    from ..terminal.progress import Progress

    loaded = open_model(model, card)
    found = card_of(loaded, quiet)
    chosen = choose(loaded, layers, all_layers, quiet)
    paths = find_images(images)
    about = {"model": describe(loaded), "card": describe_card(found), "layers": [layer.name for layer in chosen]}
    asked = {"all_layers": all_layers, "all": every, "most": most, **runtime}
    with (
        Run(output, "activations", asked, about, paths) as run,
        Progress(len(paths), quiet=quiet, bar=progress) as bar,
    ):
        work = Work(loaded, found, runtime)
        folders = [run.name(path.stem) for path in paths]
        for path, folder in zip(paths, folders, strict=True):
            entry = run.kept(path)
            if entry is None:
                try:
                    photo, tensor = work.prepare(path.name, read(path))
                except ImageError as error:
                    bar.say(str(error), error=True)
                    entry = failed(path, error)
                else:
                    results, files = _one_image(work, run, folder, photo, tensor, chosen, all_layers, every, most)
                    entry = done(path, files, size=list(photo.pixels.shape[:2]), **results)
            run.add(entry)
            bar.step(path.name)
        entries = run.entries
        run.manifest["silent_in_all_images"] = _silent_in_all(entries)
        run.manifest["files"] = [run.text("statistics.csv", _csv(entries))]
    if as_json:
        click.echo(json.dumps(run.document(), indent=2, ensure_ascii=False))
    else:
        click.echo(str(output.folder))
    finish(entries)


def choose(model: Model, names: Sequence[str], walk: bool, quiet: bool) -> list[Layer]:
    """The layers asked for; without any, the one for class activation maps. Raises UnknownName, ModelError."""
    from ...engine.errors import ModelError
    from ...engine.inspect.layers import cam_layer, find_layer

    if names or walk:
        return list(dict.fromkeys(find_layer(model, name) for name in names))
    layer = cam_layer(model)
    if layer is None:
        if not model.layers:
            raise ModelError("the model has no layer: nothing in its graph depends on an input")
        raise ModelError("no layer of the model is a feature map of the image: give --layer or --all-layers")
    warn(f"layer {layer.name!r}: the last one of {layer.cam_reason}; choose others with --layer", quiet)
    return [layer]


class Work:
    """Images in, values of layers out: keeps the model, the card and how to run."""

    def __init__(self, model: Model, card: Card, runtime: dict[str, Any]) -> None:
        self.model, self.card, self.runtime = model, card, runtime

    def prepare(self, name: str, pixels: NDArray[np.uint8]) -> tuple[Photo, NDArray[Any]]:
        """The image as `Photo`, and the tensor for the model."""
        import numpy as np

        from ...engine.preprocess.image import prepare
        from ..figures.layers import Photo

        prepared = prepare(pixels, self.card)
        tensor = prepared.tensor
        size = fixed_batch(self.model, self.card) or 1
        if size > 1:
            tensor = np.repeat(tensor, size, axis=0)
        return Photo(name, pixels, prepared.geometry), tensor

    def values(self, tensor: NDArray[Any], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Values by name, for one image."""
        from ...engine.inference.session import session

        exposed = self._exposed(tuple(names))
        feeds = {v.name: tensor for v in exposed.inputs if v.name == self.card.input}
        found = session(exposed, **self.runtime).run(feeds, list(names))
        size = fixed_batch(self.model, self.card) or 1
        return {name: array[:1] if size > 1 else array for name, array in found.items()}

    def labels_of(self, layer: Layer, count: int) -> tuple[str, ...] | None:
        """Labels for the units of `layer`, where it is the class output."""
        from ...engine.errors import ModelError
        from ...engine.inspect.signature import class_output

        labels = self.card.labels
        if labels is None or len(labels) != count:
            return None
        try:
            return labels if class_output(self.model).name == layer.output else None
        except ModelError:
            return None

    def _exposed(self, names: tuple[str, ...]) -> Model:
        from ...engine.graph.split import expose

        if names not in self._models:
            self._models[names] = expose(self.model, list(names), only=True)
        return self._models[names]

    @cached_property
    def _models(self) -> dict[tuple[str, ...], Model]:
        return {}

    def layers(self, tensor: NDArray[Any], layers: Sequence[Layer], around: bool) -> Iterator[tuple[Layer, Values]]:
        """Each layer with its values for one image, and with `around` those of the activation function it belongs to.

        The model runs once for as many layers as fit into memory together.
        """
        import math

        from ..figures.layer_view import around_activation

        groups: list[list[tuple[Layer, tuple[str, ...]]]] = [[]]
        size = 0
        for layer in layers:
            pair = around_activation(self.model, layer) if around else None
            names = tuple(dict.fromkeys((layer.output, *(pair or ()))))
            shapes = [self.model.value(name).shape or () for name in names]
            count = sum(math.prod(d if isinstance(d, int) else 1 for d in shape) for shape in shapes)
            if groups[-1] and size + count > _MOST_VALUES:
                groups.append([])
                size = 0
            groups[-1].append((layer, names))
            size += count
        for group in groups:
            values = self.values(tensor, list(dict.fromkeys(name for _, names in group for name in names)))
            for layer, names in group:
                yield layer, {name: values[name] for name in names}


def _one_image(
    work: Work,
    run: Run,
    folder: str,
    photo: Photo,
    tensor: NDArray[Any],
    layers: Sequence[Layer],
    walk: bool,
    every: bool,
    most: int,
) -> tuple[dict[str, Any], list[str]]:
    """Everything about one image: its results for the manifest, and the files written."""
    results: list[dict[str, Any]] = []
    files: list[str] = []
    for layer, values in work.layers(tensor, layers, around=True) if layers else ():
        found = one_layer(work, photo, layer, values, every, most)
        base = run.name(layer.name, folder)
        written = [run.array(f"{base}.npy", found.view.values)]
        written += [run.picture(f"{base}-{what}.png", picture) for what, picture in found.pictures.items()]
        results.append({**found.results, "files": written})
        files += written
    entry: dict[str, Any] = {"geometry": photo.geometry.to_mapping(), "layers": results}
    if walk:
        strip, steps = whole_walk(work, photo, tensor)
        files.append(run.picture(run.name("walk.png", folder), strip))
        entry["walk"] = steps
    return entry, files


class Found:
    """What was found about one layer: its view, its pictures by kind, its entry of the manifest."""

    def __init__(self, view: View, pictures: dict[str, NDArray[np.uint8]], results: dict[str, Any]) -> None:
        self.view, self.pictures, self.results = view, pictures, results


def one_layer(work: Work, photo: Photo, layer: Layer, values: Values, every: bool, most: int) -> Found:
    """The pictures and numbers of one layer for one image; `values` as `Work.layers` gives them."""
    from ..figures import figure
    from ..figures import layers as layerplots
    from ..figures.layer_view import around_activation, statistics_of, strongest, token_grid, view_of

    around = around_activation(work.model, layer)
    view = view_of(work.model, layer, values[layer.output])
    scale = figure.scale_of(view.values, "activation", outliers=True)
    results: dict[str, Any] = {
        "name": layer.name,
        "op": layer.op,
        "output": layer.output,
        "shape": list(values[layer.output].shape),
        "kind": view.kind,
        "statistics": asdict(statistics_of(view)),
        "silent": _silent(view),
    }
    pictures: dict[str, NDArray[np.uint8]] = {}
    if view.kind == "maps":
        shown = list(range(len(view.values))) if every else strongest(view)[:most]
        order = "by number" if every else "the strongest (greatest mean magnitude) first"
        average = layerplots.mean_map(view)
        own = figure.scale_of(average, "mean activation")
        pictures["channels"] = layerplots.channels(view, photo, scale, shown, order)
        pictures["mean"] = layerplots.mean(view, photo, own)
        if view.on_image:
            pictures["overlay"] = layerplots.overlay(average, photo, own)
        results["shown"] = shown
        results["ranges"] = {"channels": scale.to_mapping(), "mean": own.to_mapping()}
    elif view.kind == "table":
        pictures["table"] = layerplots.heat(view, photo, scale)
        results["ranges"] = {"table": scale.to_mapping()}
        tokens = token_grid(view, work.card.size)
        if tokens is not None:
            norm = figure.scale_of(tokens, "norm of a token's features; tokens taken as patches, row by row")
            pictures["tokens"] = layerplots.on_image(view, photo, norm, tokens, f"{tokens.size} tokens as patches")
            results["ranges"]["tokens"] = norm.to_mapping()
    else:
        pictures["units"] = layerplots.bars(view, photo, work.labels_of(layer, len(view.values)))
    parts = [("all values", values[layer.output])]
    if around is not None:
        before, after = around
        parts = [
            (f"before the activation function: {before}", values[before]),
            (f"after it: {after}", values[after]),
        ]
        results["activation_function"] = {"before": before, "after": after}
    pictures["histogram"] = layerplots.histograms(layer, photo, parts)
    return Found(view, pictures, results)


def whole_walk(work: Work, photo: Photo, tensor: NDArray[Any]) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    """The strip of the walk, and the statistics of each of its layers."""
    from ..figures import layers as layerplots
    from ..figures.layer_view import statistics_of, view_of, walk_layers

    layers = walk_layers(work.model)
    tiles: list[NDArray[np.uint8]] = []
    steps: list[dict[str, Any]] = []
    for layer, values in work.layers(tensor, layers, around=False):
        view = view_of(work.model, layer, values[layer.output])
        tiles.append(layerplots.step(view, len(tiles) + 1))
        steps.append({"name": layer.name, "op": layer.op, "statistics": asdict(statistics_of(view))})
    name = work.model.path.name if work.model.path else "the model"
    return layerplots.walk(name, photo, tiles, len(work.model.layers) - len(layers)), steps


def section(subject: Subject) -> Section:
    """The walk through the network and its last feature maps, for a report."""
    from ...engine.inspect.layers import cam_layer
    from ..pages.report import Heading, Picture, Section

    path, pixels = subject.focused
    photo, tensor = subject.work.prepare(path.name, pixels)
    strip, _ = whole_walk(subject.work, photo, tensor)
    parts: list[Any] = [Picture("walk", strip, f"The layers' answers to {path.name}, one tile per layer")]
    layer = cam_layer(subject.model)
    if layer is not None:
        _, values = next(subject.work.layers(tensor, [layer], around=True))
        found = one_layer(subject.work, photo, layer, values, False, 40)
        parts.append(Heading(f"The last feature maps: {layer.name}"))
        for kind, alt in (
            ("mean", "the mean over all channels"),
            ("channels", "its channels"),
            ("histogram", "its values"),
        ):
            if kind in found.pictures:
                parts.append(Picture(f"{layer.name}-{kind}", found.pictures[kind], f"Layer {layer.name}: {alt}"))
    lead = (
        "An image becomes feature maps, layer by layer: edges and spots first, then parts, then what tells classes "
        "apart. Each tile shows where a layer answers, and how strongly."
    )
    return Section("Activations", lead, parts)


def _silent(view: View) -> list[int]:
    """Numbers of the channels that answer 0 everywhere."""
    import numpy as np

    return [int(i) for i in np.flatnonzero(~np.any(view.items != 0, axis=1))]


def _silent_in_all(entries: Sequence[dict[str, Any]]) -> dict[str, list[int]]:
    """Layer -> the channels that are silent in every image."""
    found: dict[str, set[int]] = {}
    for entry in entries:
        for layer in entry.get("layers", ()):
            silent = set(layer["silent"])
            found[layer["name"]] = found[layer["name"]] & silent if layer["name"] in found else silent
    return {name: sorted(numbers) for name, numbers in found.items()}


_STATISTICS = ("min", "max", "mean", "std", "zeros", "items", "silent")


def _csv(entries: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["image", "layer", "op", *_STATISTICS])
    for entry in entries:
        for layer in (*entry.get("layers", ()), *entry.get("walk", ())):
            numbers = [layer["statistics"][name] for name in _STATISTICS]
            table.writerow([entry["path"], layer["name"], layer["op"], *numbers])
    return text.getvalue()
