"""The weights of a layer as pictures, and what each filter makes of an image; the section of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..parameters.inputs import warn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.graph.model import Model
    from ...engine.inspect.layers import Layer
    from ...engine.inspect.weights import Weights
    from ...engine.preprocess.card import Card
    from ..figures.layers import Photo
    from ..figures.parts import Section
    from .subject import LayerValues, Subject


def section(subject: Subject) -> Section:
    """The first filters, and what they make of an image, for a report."""
    from ...engine.errors import MethodError
    from ..figures.parts import Picture, Section

    try:
        weights = choose(subject.model, (), True)[0]
    except MethodError as error:
        return Section("Filters", f"There are no filters to show: {error}.")
    order = order_of(subject.model, subject.card, weights)
    drawn, _ = draw(weights, 32, False, True, order)
    name = weights.layer.name
    parts = [Picture(f"{name}-filters", drawn, f"The filters of {name}")]
    path, pixels = subject.focused
    photo, tensor = subject.work.prepare(path.name, pixels)
    if weights.spatial == 2 and weights.layer.map_axes is not None:
        made, _ = apply(subject.work, weights, photo, tensor, 20, False)
        parts.append(Picture(f"{name}-on-image", made, f"What the filters of {name} make of {path.name}"))
    lead = "What the first layer has learned to look for, and what each of its filters makes of the image."
    return Section("Filters", lead, parts)


def choose(model: Model, names: tuple[str, ...], quiet: bool) -> list[Weights]:
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
    return card.order


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


def pick(weights: Weights, most: int, every: bool) -> list[int]:
    """The output channels to show."""
    from ..figures.filters import ranked

    return list(range(len(weights.values))) if every else ranked(weights)[:most]


def draw(
    weights: Weights, most: int, every: bool, each: bool, order: str | None
) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """The figure of a layer's weights, and its entry of the manifest."""
    from ..figures import figure
    from ..figures import filters as kernelplots

    scale = kernelplots.symmetric(weights)
    shown = pick(weights, most, every)
    total = len(weights.values)
    sorting = "by number" if every else "largest norm first"
    lines = [kernelplots.describe(weights)]
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
        scale = kernelplots.symmetric(weights, outliers=True)
        entry["range"] = scale.to_mapping()
        body = kernelplots.matrix(weights, scale)
        entry["form"] = "matrix"
    elif order is not None or kernelplots.planes(weights).shape[1] == 1:
        colours = f"read as {order}, mid gray is 0" if order else "blue is negative, red positive"
        below = "the weight that has the full colour" if each else "its norm"
        lines.append(f"{len(shown)} of {total} filters, {sorting}; {colours}. Above each its number, below {below}.")
        body = kernelplots.tiles(weights, scale, shown, order, each)
        entry.update(form="colour" if order else "planes", order=order, shown=shown, each=each)
    else:
        body, across = kernelplots.matrix_of_kernels(weights, scale, shown, most)
        counts = (
            f"{len(shown)} of {total} output channels and {len(across)} of {weights.values.shape[1]} input channels"
        )
        lines.append(f"{counts}, those of the largest norm; blue is negative, red positive.")
        entry.update(form="grid", shown=shown, inputs_shown=across)
    legend = kernelplots.legend(scale, order, each and entry["form"] in ("colour", "planes"))
    return figure.page(f"Filters of {weights.layer.name}", lines, [body, legend]), entry


def apply(
    work: LayerValues, weights: Weights, photo: Photo, tensor: NDArray[Any], most: int, every: bool
) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """The figure of what a layer's filters make of an image, and its entry of the manifest. Raises ShapeError."""
    from ...engine.errors import ShapeError
    from ..figures import figure
    from ..figures import filters as kernelplots
    from ..figures import layers as layerplots
    from ..figures.layer_view import view_of

    layer = weights.layer
    view = view_of(work.model, layer, work.values(tensor, [layer.output])[layer.output])
    order = order_of(work.model, work.card, weights)
    made = figure.scale_of(view.values, "the filter's output, before any activation function", outliers=True)
    if view.kind != "maps" or len(view.values) != len(weights.values):
        raise ShapeError(f"layer {layer.name!r} makes no map of the image: --on is for convolutions")
    shown = pick(weights, most, every)
    scale = kernelplots.symmetric(weights)
    body = kernelplots.responses(weights, scale, shown, order, view.values, made)
    lines = [
        layerplots.describe_layer(layer),
        f"{len(shown)} of {len(weights.values)} filters, {'by number' if every else 'largest norm first'}: "
        "the filter where it fits into one picture, and its output over the model's view of the image.",
    ]
    blocks = [kernelplots.head(photo), body, figure.colour_bar(made)]
    entry = {"layer": layer.name, "shown": shown, "range": made.to_mapping(), "geometry": photo.geometry.to_mapping()}
    return figure.page(f"Filters of {layer.name} on {photo.name}", lines, blocks), entry
