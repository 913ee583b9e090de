"""The weights of a layer as pictures, and what each filter makes of an image; the section of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..parameters.inputs import card_of, find_images, open_model, warn
from .over_images import Outcome, Pixels, over_images
from .subject import LayerValues

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.graph.model import Model
    from ...engine.inspect.layers import Layer
    from ...engine.inspect.weights import Weights
    from ...engine.preprocess.card import Card
    from ..figures.layers import Photo
    from ..figures.parts import Part, Section
    from ..files.output import Output
    from ..files.run import Run
    from ..parameters.options import Common
    from .subject import Subject


@dataclass(frozen=True)
class FiltersOptions:
    """What `onnxray filters` is asked for, in the words of the command line."""

    model: str
    layers: Sequence[str]
    on: Sequence[str]
    most: int
    every: bool
    range: str
    output: Output
    common: Common


def filters(options: FiltersOptions) -> Run:
    """Picture the weights, and what they make of every image; the run, at its end.

    Raises UnknownName and MethodError for the layers, ShapeError for one that makes no map of an image, ModelError,
    CardError, ImageError for files.
    """
    from ..files.run import Run, describe, describe_card
    from ..terminal.progress import Progress

    common = options.common
    model = open_model(options.model, common.card)
    card = card_of(model, common.quiet) if options.on else None
    chosen = choose(model, options.layers, common.quiet)
    paths = find_images(options.on) if options.on else []
    about = {
        "model": describe(model),
        "card": describe_card(card) if card else None,
        "layers": [weights.layer.name for weights in chosen],
    }
    decisive = {"all": options.every, "most": options.most, "range": options.range, **common.runtime}
    with (
        Run(options.output, "filters", decisive, about, paths) as run,
        Progress(len(paths), quiet=common.quiet, bar=common.progress) as bar,
    ):
        named = [(run.name(weights.layer.name), weights) for weights in chosen]
        run.manifest["filters"] = []
        for base, weights in named:
            entry = _write_weights(run, base, weights, options, order_of(model, card, weights))
            if broken := not_finite(weights):
                warn(f"warning: layer {weights.layer.name!r}: {broken}", common.quiet)
            run.manifest["filters"].append(entry)
            run.manifest["files"] += entry["files"]
        if card is not None:
            work = FilterResponses(LayerValues(model, card, common.runtime), named, options, run)
            over_images(run, bar, paths, work.one, card=card)
    return run


def _write_weights(run: Run, base: str, weights: Weights, options: FiltersOptions, order: str | None) -> dict[str, Any]:
    """Write the weights as an array and as a picture; their entry of the manifest."""
    picture, entry = draw(weights, options.most, options.every, options.range == "each", order)
    entry["files"] = [run.array(f"{base}.npy", weights.values), run.picture(f"{base}.png", picture)]
    return entry


@dataclass(frozen=True)
class FilterResponses:
    """One image in, pictures of what the filters make of it out. named: weights with the names of their files."""

    work: LayerValues
    named: Sequence[tuple[str, Weights]]
    options: FiltersOptions
    run: Run

    def one(self, path: Path, pixels: Pixels, folder: str) -> Outcome:
        """Everything about one image: its results for the manifest, and the files written."""
        photo, tensor = self.work.prepare(path.name, pixels)
        files, results = [], []
        for base, weights in self.named:
            picture, result = apply(self.work, weights, photo, tensor, self.options.most, self.options.every)
            files.append(self.run.picture(f"{folder}/{base}.png", picture))
            results.append(result)
        return {"size": list(pixels.shape[:2]), "layers": results}, files


def choose(model: Model, names: Sequence[str], quiet: bool) -> list[Weights]:
    """The weights of the layers asked for; without any, of the first convolution. Raises UnknownName, MethodError."""
    from ...engine.errors import MethodError
    from ...engine.inspect.layers import find_layer
    from ...engine.inspect.weights import weighted_layers, weights

    if names:
        return [weights(model, layer) for layer in dict.fromkeys(find_layer(model, name) for name in names)]
    having = weighted_layers(model)
    if not having:
        raise MethodError("no layer of the model has stored weights: nothing to show")
    first = next((layer for layer in having if "Conv" in layer.op), having[0])
    warn(f"layer {first.name!r}: the first {first.op} with weights; choose others with --layer", quiet)
    return [weights(model, first)]


def order_of(model: Model, card: Card | None, weights: Weights) -> str | None:
    """ "RGB" or "BGR" where the filters read the image's own colour channels, else None."""
    from ...engine.errors import CardError, ModelError
    from ...engine.preprocess.find import find_card

    if weights.spatial != 2 or weights.values.shape[1] != 3 or weights.groups != 1:
        return None
    try:
        card = card or find_card(model)
    except (ModelError, CardError):
        return None
    if card.order == "GRAY" or not _reads_the_image(model, weights.layer, str(card.input)):
        return None
    return card.order if isinstance(card.order, str) else None


def _reads_the_image(model: Model, layer: Layer, image: str) -> bool:
    """Whether nothing lies between the image and the layer but what keeps its three channels apart."""
    from ..figures.layer_view import PASSIVE

    keeps = PASSIVE | {"Add", "Sub", "Mul", "Div", "BatchNormalization", "Clip", "Resize", "Upsample"}
    name = layer.inputs[0] if layer.inputs else ""
    while name != image:
        node = model.producer(name)
        if node is None or node.op_type not in keeps:
            return False
        computed = [source for source in node.input if source == image or model.producer(source) is not None]
        if not computed:
            return False
        name = computed[0]
    return True


def not_finite(weights: Weights) -> str:
    """How many of the weights are no numbers; "" where all are."""
    import numpy as np

    broken = int((~np.isfinite(weights.values)).sum())
    return f"{broken} of {weights.values.size} weights are NaN or infinite" if broken else ""


def pick(weights: Weights, most: int, every: bool) -> list[int]:
    """The output channels to show."""
    from ..figures.filters import ranked

    return list(range(len(weights.values))) if every else ranked(weights)[:most]


def draw(
    weights: Weights, most: int, every: bool, each: bool, order: str | None
) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """The figure of a layer's weights, and its entry of the manifest."""
    from ..figures import figure
    from ..figures import filters as filter_figures

    scale = filter_figures.symmetric(weights)
    shown = pick(weights, most, every)
    total = len(weights.values)
    sorting = "by number" if every else "largest norm first"
    lines = [part for part in (filter_figures.describe(weights), not_finite(weights)) if part]
    entry: dict[str, Any] = {
        "layer": weights.layer.name,
        "op": weights.layer.op,
        "weights": weights.name,
        "shape": list(weights.values.shape),
        "groups": weights.groups,
        "note": weights.note,
        "range": scale.to_mapping(),
        "norms": [float(norm) for norm in weights.norms],
    }
    if weights.spatial == 0 or all(side == 1 for side in weights.kernel):
        lines.append("Blue is negative, red positive.")
        scale = filter_figures.symmetric(weights, outliers=True)
        entry["range"] = scale.to_mapping()
        body = filter_figures.matrix(weights, scale)
        entry["form"] = "matrix"
    elif order is not None or filter_figures.planes(weights).shape[1] == 1:
        colours = f"read as {order}, gray is 0" if order else "blue is negative, red positive"
        below = "w, the weight of full colour" if each else "its norm"
        lines.append(f"{len(shown)} of {total} filters, {sorting}; {colours}. Above each its number, below {below}.")
        body = filter_figures.tiles(weights, scale, shown, order, each)
        entry.update(form="colour" if order else "planes", order=order, shown=shown, each=each)
    else:
        body, across = filter_figures.matrix_of_kernels(weights, scale, shown, most)
        counts = (
            f"{len(shown)} of {total} output channels and {len(across)} of {weights.values.shape[1]} input channels"
        )
        lines.append(f"{counts}, those of the largest norm; blue is negative, red positive.")
        entry.update(form="grid", shown=shown, inputs_shown=across)
    legend = filter_figures.legend(scale, order, each and entry["form"] in ("colour", "planes"))
    return figure.page(f"Filters of {weights.layer.name}", lines, [body, legend]), entry


def apply(
    work: LayerValues, weights: Weights, photo: Photo, tensor: NDArray[Any], most: int, every: bool
) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """The figure of what a layer's filters make of an image, and its entry of the manifest. Raises ShapeError."""
    from ...engine.errors import ShapeError
    from ..figures import figure
    from ..figures import filters as filter_figures
    from ..figures import layers as layer_figures
    from ..figures.layer_view import view_of

    layer = weights.layer
    view = view_of(work.model, layer, work.values(tensor, [layer.output])[layer.output])
    order = order_of(work.model, work.card, weights)
    made = figure.scale_of(view.values, "the filter's output, before any activation function", outliers=True)
    if view.kind != "maps" or len(view.values) != len(weights.values):
        raise ShapeError(f"layer {layer.name!r} makes no map of the image: --on is for convolutions")
    shown = pick(weights, most, every)
    scale = filter_figures.symmetric(weights)
    body = filter_figures.responses(weights, scale, shown, order, view.values, made)
    lines = [
        layer_figures.describe_layer(layer),
        f"{len(shown)} of {len(weights.values)} filters, {'by number' if every else 'largest norm first'}: "
        "the filter where it fits into one picture, and its output over the model's view of the image.",
    ]
    blocks = [filter_figures.head(photo), body, figure.colour_bar(made)]
    entry = {"layer": layer.name, "shown": shown, "range": made.to_mapping(), "geometry": photo.geometry.to_mapping()}
    return figure.page(f"Filters of {layer.name} on {photo.name}", lines, blocks), entry


def section(subject: Subject) -> Section:
    """The first filters, and what they make of an image, for a report."""
    from ...engine.errors import MethodError
    from ..figures.parts import Heading, Picture, Section

    try:
        weights = choose(subject.model, (), True)[0]
    except MethodError as error:
        return Section("Filters", f"There are no filters to show: {error}.")
    order = order_of(subject.model, subject.card, weights)
    drawn, _ = draw(weights, 32, False, True, order)
    name = weights.layer.name
    tiled = _tiles(weights, order)
    parts: list[Part] = [Heading(name), *tiled]
    parts.append(Picture(f"{name}-filters", drawn, f"The filters of {name}", on_page=not tiled))
    path, pixels = subject.focused
    photo, tensor = subject.work.prepare(path.name, pixels)
    if weights.spatial == 2 and weights.layer.map_axes is not None:
        made, _ = apply(subject.work, weights, photo, tensor, 20, False)
        parts.append(Picture(f"{name}-on-image", made, f"What the filters of {name} make of {path.name}"))
    lead = "What the first layer has learned to look for, and what each of its filters makes of the image."
    return Section("Filters", lead, parts)


def _tiles(weights: Weights, order: str | None) -> list[Part]:
    """The filters of one picture each as tiles, every one in its own range; nothing for other weights."""
    from ..figures import figure
    from ..figures import filters as filter_figures
    from ..figures.parts import Tile, Tiles

    flat = weights.spatial == 0 or all(side == 1 for side in weights.kernel)
    if flat or (order is None and filter_figures.planes(weights).shape[1] != 1):
        return []
    scale, tiles = filter_figures.symmetric(weights), []
    for index in pick(weights, 32, False):
        own = filter_figures.own(scale, weights, index)
        pixels = filter_figures.tile(weights, index, own, order)[1:-1, 1:-1]
        tiles.append(Tile(f"filter {index}", pixels, f"w = {figure.number(own.hi)}", cells=True))
    return [Tiles(tuple(tiles), 88)]
