"""Activations of one image: channels of a layer, the way through all layers; the section of the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ...engine.errors import ImageError
from ..figures.parts import Tile, Tiles
from ..parameters.inputs import card_of, open_model, take_images, warn
from ..sources.share import WHOLE, Share
from ..sources.source import ALL, Selection
from .activation_statistics import conclude, layer_statistics, silent_in_all, write_csv
from .over_images import Outcome, Pixels, over_images, shared_among, side_by_side
from .subject import LayerValues, Values

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.graph.model import Model
    from ...engine.inspect.layers import Layer
    from ..figures.layer_view import View
    from ..figures.layers import Photo
    from ..figures.parts import Part, Section
    from ..files.output import Output
    from ..files.run import Run
    from ..parameters.options import Common
    from .subject import Subject

# Layers from which on a report walks block by block, and channels that it shows.
_MOST_TILES, _CHANNELS = 40, 40

Pictures: TypeAlias = "dict[str, NDArray[np.uint8]]"


@dataclass(frozen=True)
class ActivationsOptions:
    """What `onnxray activations` is asked for, in the words of the command line."""

    model: str
    images: Sequence[str]
    layers: Sequence[str]
    all_layers: bool
    every: bool
    most: int
    blocks: bool
    range: str
    feeds: Sequence[str]
    output: Output
    common: Common
    selection: Selection = ALL
    stats: bool = False
    share: Share = WHOLE

    @property
    def walk(self) -> bool:
        return self.all_layers or self.blocks


def activations(options: ActivationsOptions) -> Run:
    """Picture the activations for every image; the run, at its end.

    Raises UnknownName and ModelError for the layers, ModelError, CardError, ImageError for files.
    """
    from ..files.photos import is_photo_file
    from ..files.run import Run, describe, describe_card
    from ..terminal.progress import Progress
    from .activations_arrays import activations_arrays

    common = options.common
    model = open_model(options.model, common.card)
    images = take_images(options.images, options.model, common.quiet, options.selection, options.share)
    if options.feeds or not all(is_photo_file(path, model) for path in images.paths):
        if common.devices:
            raise ImageError("--devices shares images among devices, and others are given: leave it out")
        chosen = model.layers if options.walk else choose(model, options.layers, False, common.quiet)
        return activations_arrays(options, model, chosen, images.paths)
    card = card_of(model, common.quiet)
    layers = choose(model, options.layers, options.walk, common.quiet)
    about = {"model": describe(model), "card": describe_card(card), "layers": [layer.name for layer in layers]}
    decisive = {
        "all_layers": options.all_layers,
        "blocks": options.blocks,
        "all": options.every,
        "most": options.most,
        "range": options.range,
        **options.selection.to_mapping(),
        **({"stats": True} if options.stats else {}),
        **images.share.to_mapping(),
        **common.runtime,
    }
    # A device that is not there is known before the folder of an earlier run is cleared.
    workers, runtimes = side_by_side(images, common.runtime, common.devices)
    with (
        Run(options.output, "activations", decisive, about, images.paths) as run,
        Progress(len(images), quiet=common.quiet, bar=common.progress) as bar,
    ):
        works = [ImageActivations(LayerValues(model, card, one), layers, options, run) for one in runtimes]
        one = shared_among(works, ImageActivations.one)
        over_images(run, bar, images, one, fits=_fits, workers=workers, card=card)
        conclude(run, options.stats)
    return run


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


@dataclass(frozen=True)
class ImageActivations:
    """One image in, files with its activations out."""

    work: LayerValues
    layers: Sequence[Layer]
    options: ActivationsOptions
    run: Run

    def one(self, path: Path, pixels: Pixels, folder: str) -> Outcome:
        """Everything about one image: its results for the manifest, and the files written."""
        pixels = self.options.selection.part(pixels)
        photo, tensor = self.work.prepare(path.name, pixels)
        results: dict[str, Any] = {"size": list(pixels.shape[:2]), "geometry": photo.geometry.to_mapping()}
        if self.options.stats:
            return results | self._statistics(tensor), []
        results["layers"] = list(self._layers(photo, tensor, folder))
        files = [name for layer in results["layers"] for name in layer["files"]]
        if self.options.walk:
            strip, results["walk"] = whole_walk(self.work, photo, tensor, self.options.blocks)
            files.append(self.run.picture(self.run.name("walk.png", folder), strip))
        return results, files

    def _statistics(self, tensor: NDArray[Any]) -> dict[str, Any]:
        """Of the layers asked for, and of those of the walk."""
        from ..figures.layer_view import block_layers, walk_layers

        found: dict[str, Any] = {"layers": list(layer_statistics(self.work, tensor, self.layers))}
        if self.options.walk:
            model = self.work.model
            layers = block_layers(model) if self.options.blocks else walk_layers(model)
            found["walk"] = list(layer_statistics(self.work, tensor, layers))
        return found

    def _layers(self, photo: Photo, tensor: NDArray[Any], folder: str) -> Iterator[dict[str, Any]]:
        """Write the files of each layer; its entry of the manifest."""
        for layer, values in self.work.layers(tensor, self.layers, around=True) if self.layers else ():
            options = self.options
            found = one_layer(
                self.work, photo, layer, values, options.every, options.most, each=options.range == "each"
            )
            base = self.run.name(layer.name, folder)
            files = [self.run.array(f"{base}.npy", found.view.values)]
            files += [self.run.picture(f"{base}-{kind}.png", picture) for kind, picture in found.pictures.items()]
            yield {**found.results, "files": files}


@dataclass(frozen=True)
class LayerPictures:
    """One layer for one image: its view, its pictures by kind, its entry of the manifest."""

    view: View
    pictures: Pictures
    results: dict[str, Any]


def one_layer(
    work: LayerValues, photo: Photo, layer: Layer, values: Values, every: bool, most: int, *, each: bool = False
) -> LayerPictures:
    """The pictures and numbers of one layer for one image; `values` as `LayerValues.layers` gives them.

    each: whether the colours of every channel are scaled on their own.
    """
    from ..figures import layers as layer_figures
    from ..figures import pooling
    from ..figures.layer_view import around_activation, silent_channels, statistics_of, view_of

    view = view_of(work.model, layer, values[layer.output])
    results: dict[str, Any] = {
        "name": layer.name,
        "op": layer.op,
        "output": layer.output,
        "shape": list(values[layer.output].shape),
        "kind": view.kind,
        "statistics": asdict(statistics_of(view)),
        "silent": silent_channels(view),
    }
    if view.kind == "maps":
        pictures = _draw_maps(view, photo, every, most, results, each)
    elif view.kind == "table":
        pictures = _draw_table(view, photo, work.card.size, results)
    else:
        pictures = {"units": layer_figures.bars(view, photo, work.labels_of(layer, len(view.values)))}
    parts = [("all values", values[layer.output])]
    around = around_activation(work.model, layer)
    if around is not None:
        before, after = around
        parts = [
            (f"before the activation function: {before}", values[before]),
            (f"after it: {after}", values[after]),
        ]
        results["activation_function"] = {"before": before, "after": after}
    pictures["histogram"] = layer_figures.histograms(layer, photo, parts, _function(work.model, layer, around))
    pool = pooling.pool_of(work.model, layer)
    if pool is not None and pool.source in values:
        axes = (2, 3) if layer.map_axes is None and values[pool.source].ndim == 4 else layer.map_axes
        source = view_of(work.model, replace(layer, output=pool.source, map_axes=axes), values[pool.source])
        drawn = pooling.figure_of(pool, layer, photo, source, view)
        if drawn is not None:
            pictures["pooling"] = drawn
    return LayerPictures(view, pictures, results)


def _function(model: Model, layer: Layer, around: tuple[str, str] | None) -> str:
    """The activation function's operator where it works on every number on its own; else ""."""
    if around is None:
        return ""
    node = model.producer(around[1])
    op = "" if node is None else node.op_type
    return "" if "Softmax" in op else "x * gate(x)" if op == "Mul" else op


def _draw_maps(
    view: View, photo: Photo, every: bool, most: int, results: dict[str, Any], each: bool = False
) -> Pictures:
    """Pictures of feature maps; the channels shown and the ranges of colours go into `results`."""
    from ..figures import figure
    from ..figures import layers as layer_figures
    from ..figures.layer_view import strongest

    scale = figure.scale_of(view.values, "activation", outliers=True)
    shown = list(range(len(view.values))) if every else strongest(view)[:most]
    order = "by number" if every else "the strongest (greatest mean magnitude) first"
    average = layer_figures.mean_map(view)
    own = figure.scale_of(average, "mean activation")
    pictures = {
        "channels": layer_figures.channels(view, photo, scale, shown, order, each=each),
        "mean": layer_figures.mean(view, photo, own),
    }
    if view.on_image:
        pictures["overlay"] = layer_figures.overlay(average, photo, own)
    results["shown"] = shown
    results["ranges"] = {"channels": scale.to_mapping(), "mean": own.to_mapping()}
    return pictures


def _draw_table(view: View, photo: Photo, size: tuple[int, int], results: dict[str, Any]) -> Pictures:
    """Pictures of a table of tokens; the ranges of colours go into `results`. size: of the model's input plane."""
    from ..figures import figure
    from ..figures import layers as layer_figures
    from ..figures.layer_view import token_grid

    scale = figure.scale_of(view.values, "activation", outliers=True)
    pictures = {"table": layer_figures.heat(view, photo, scale)}
    results["ranges"] = {"table": scale.to_mapping()}
    tokens = token_grid(view, size)
    if tokens is not None:
        norm = figure.scale_of(tokens, "norm of a token's features; tokens taken as patches, row by row")
        pictures["tokens"] = layer_figures.on_image(view, photo, norm, tokens, f"{tokens.size} tokens as patches")
        results["ranges"]["tokens"] = norm.to_mapping()
    return pictures


def whole_walk(
    work: LayerValues, photo: Photo, tensor: NDArray[Any], blocks: bool = False
) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    """The strip of the walk, and the statistics of each of its layers. blocks: only where a block ends."""
    from ..figures import layers as layer_figures
    from ..figures.layer_view import block_layers, statistics_of, view_of, walk_layers

    layers = block_layers(work.model) if blocks else walk_layers(work.model)
    tiles: list[NDArray[np.uint8]] = []
    steps: list[dict[str, Any]] = []
    for layer, values in work.layers(tensor, layers, around=False):
        view = view_of(work.model, layer, values[layer.output])
        tiles.append(layer_figures.step(view, len(tiles) + 1))
        steps.append({"name": layer.name, "op": layer.op, "statistics": asdict(statistics_of(view))})
    name = work.model.path.name if work.model.path else "the model"
    return layer_figures.walk(name, photo, tiles, len(work.model.layers) - len(layers), blocks), steps


def section(subject: Subject) -> Section:
    """The walk through the network and its last feature maps, for a report."""
    from ...engine.inspect.layers import cam_layer
    from ..figures.layer_view import block_layers, walk_layers
    from ..figures.parts import Heading, Picture, Section

    path, pixels = subject.focused
    photo, tensor = subject.work.prepare(path.name, pixels)
    blocks = len(walk_layers(subject.model)) > _MOST_TILES
    strip, _ = whole_walk(subject.work, photo, tensor, blocks)
    layers = block_layers(subject.model) if blocks else walk_layers(subject.model)
    kind = "block" if blocks else "layer"
    parts: list[Part] = [
        Picture("walk", strip, f"The activations of {path.name}, one tile per {kind}", on_page=False),
        Heading(f"The walk of {path.name} through the network, {kind} by {kind}"),
        Tiles(tuple(_steps(subject, tensor, layers)), 120),
    ]
    layer = cam_layer(subject.model)
    if layer is not None:
        _, values = next(subject.work.layers(tensor, [layer], around=True))
        found = one_layer(subject.work, photo, layer, values, False, _CHANNELS)
        parts += [Heading(f"The last feature maps: {layer.name}"), *_last_maps(photo, layer, found)]
    lead = (
        "An image becomes feature maps, layer by layer: edges and spots first, then parts, then what tells classes "
        "apart. Each tile shows the mean of a layer's channels, and below it the three strongest of them."
    )
    return Section("Activations", lead, parts)


def _steps(subject: Subject, tensor: NDArray[Any], layers: Sequence[Layer]) -> Iterator[Tile]:
    """The tiles of the walk."""
    from ..figures import layers as layer_figures
    from ..figures.layer_view import view_of

    for number, (layer, values) in enumerate(subject.work.layers(tensor, layers, around=False), 1):
        view = view_of(subject.work.model, layer, values[layer.output])
        drawn, ends = layer_figures.step_picture(view)
        title = f"{number} {layer.op}: {layer.name}"
        note = f"{' x '.join(map(str, view.values.shape))}; {layer_figures.sees(view)}; {ends}"
        yield Tile(title, drawn, note, cells=True)


def _last_maps(photo: Photo, layer: Layer, found: LayerPictures) -> Iterator[Part]:
    """The channels of a layer as tiles; its pictures as files, the charts on the page."""
    from ..figures import figure
    from ..figures.layer_view import strongest
    from ..figures.parts import Picture

    if found.view.kind == "maps":
        scale = figure.scale_of(found.view.values, "activation", outliers=True)
        shown = strongest(found.view)[:_CHANNELS]
        maps = [figure.colour(found.view.values[index], scale) for index in shown]
        yield Tiles(tuple(Tile(f"channel {i}", m, cells=True) for i, m in zip(shown, maps, strict=True)), 100)
    for kind, alt in (
        ("mean", "the mean over all channels"),
        ("channels", "its channels"),
        ("histogram", "its values"),
    ):
        if kind in found.pictures:
            name = f"{layer.name}-{kind}"
            yield Picture(name, found.pictures[kind], f"Layer {layer.name}: {alt}", on_page=kind != "channels")


def _fits(entry: dict[str, Any]) -> None:
    """Raises KeyError, TypeError or ValueError for an entry of an earlier run that is not of this command's form."""
    silent_in_all([entry])
    write_csv([entry])
