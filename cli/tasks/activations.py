"""Activations of one image: channels of a layer, the way through all layers; the section of the report."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..parameters.inputs import warn
from .subject import LayerValues, Values

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.graph.model import Model
    from ...engine.inspect.layers import Layer
    from ..figures.layer_view import View
    from ..figures.layers import Photo
    from ..figures.parts import Section
    from ..files.run import Run
    from .subject import Subject


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


def one_image(
    work: LayerValues,
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


class LayerPictures:
    """What was found about one layer: its view, its pictures by kind, its entry of the manifest."""

    def __init__(self, view: View, pictures: dict[str, NDArray[np.uint8]], results: dict[str, Any]) -> None:
        self.view, self.pictures, self.results = view, pictures, results


def one_layer(work: LayerValues, photo: Photo, layer: Layer, values: Values, every: bool, most: int) -> LayerPictures:
    """The pictures and numbers of one layer for one image; `values` as `LayerValues.layers` gives them."""
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
    return LayerPictures(view, pictures, results)


def whole_walk(work: LayerValues, photo: Photo, tensor: NDArray[Any]) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
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
    from ..figures.parts import Heading, Picture, Section

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


def silent_in_all(entries: Sequence[dict[str, Any]]) -> dict[str, list[int]]:
    """Layer -> the channels that are silent in every image."""
    found: dict[str, set[int]] = {}
    for entry in entries:
        for layer in entry.get("layers", ()):
            silent = set(layer["silent"])
            found[layer["name"]] = found[layer["name"]] & silent if layer["name"] in found else silent
    return {name: sorted(numbers) for name, numbers in found.items()}


_STATISTICS = ("min", "max", "mean", "std", "zeros", "items", "silent")


def write_csv(entries: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["image", "layer", "op", *_STATISTICS])
    for entry in entries:
        for layer in (*entry.get("layers", ()), *entry.get("walk", ())):
            numbers = [layer["statistics"][name] for name in _STATISTICS]
            table.writerow([entry["path"], layer["name"], layer["op"], *numbers])
    return text.getvalue()
