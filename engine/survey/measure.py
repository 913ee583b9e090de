"""The pass over images that measures the health of layers: statistics, histograms, covariances, products of images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.extremes import extremes
from ...kernels.histogram import BINS, histogram
from ..errors import MethodError, ModelError, TargetError
from ..graph.model import Model
from ..inference.batches import RunOptions
from ..inspect.gates import gate_ending_at, gate_from
from ..inspect.own_units import same_numbers
from ..optimize.build import logits_of
from ..optimize.linear import ACTIVATIONS, activated, linear_value
from ..preprocess.image import prepare
from ..proto.attributes import attributes
from .layer_health import LayerHealth, no_covariance
from .pictures import Ahead, Picture, check_picture
from .scan import Feed, sized
from .similarity import LEAST_IMAGES, grams, hsic
from .statistics import gather, no_statistics
from .units import CLASSES, UnitLayer, unit_layers

# Images of one group, of the similarity estimate and of sums; a data set is cut into shards between groups. Places of a
# map that covariances and similarities are made of.
GROUP = 32
_PLACES = 64
# Units from which on there is no covariance: it takes units^2 numbers.
MOST_UNITS = 4096
# Values that count as at an end of an activation function, as (low, high); None: there is none.
_ENDS: Mapping[str, tuple[float | None, float | None]] = {
    "Sigmoid": (0.01, 0.99),
    "HardSigmoid": (0.0, 1.0),
    "Tanh": (-0.99, 0.99),
    "Softsign": (-0.99, 0.99),
    "Relu": (0.0, None),
    "ThresholdedRelu": (0.0, None),
}


def health_layers(model: Model) -> list[str]:
    """Layers worth measuring: activation functions, products without one behind them, and the class scores."""
    found, inside = [], set[str]()
    for layer in model.layers:
        gate = gate_from(model, layer.output)
        behind = activated(model, layer.output)
        inside |= gate.inside(model) if gate is not None else set()
        if (
            (layer.op.rpartition(".")[2] in ACTIVATIONS and layer.output not in inside)
            or (layer.params and layer.macs and behind == layer.output)
            or ((end := gate_ending_at(model, layer.output)) is not None and activated(model, end.source) == end.end)
        ):
            found.append(layer)
    try:
        value = logits_of(model)[0]
    except TargetError:
        return [layer.name for layer in found]
    classes = same_numbers(model, value)
    return [*(layer.name for layer in found if layer.output not in classes), CLASSES]


class Measure:
    """A running measurement of one model: `add` batches of prepared images."""

    def __init__(self, model: Model, layers: Any, runtime: RunOptions) -> None:
        self.model, self.card = sized(model)
        names = health_layers(self.model) if layers is None else layers
        self.layers = _measurable(self.model, names, self.card.size, strict=layers is not None)
        if not self.layers:
            raise MethodError("the model has no layer that can be measured: name layers")
        self.before = [_before(self.model, layer) for layer in self.layers]
        read = [name for layer in (*self.layers, *self.before) for name in layer.read]
        self.feed = Feed(self.model, self.card, read, runtime)
        self.states = [_State(self.model, layer, b) for layer, b in zip(self.layers, self.before, strict=True)]

    def add(self, tensors: Sequence[NDArray[Any]]) -> None:
        """A batch of at most `feed.size` images."""
        values = self.feed.values(tensors)
        for state in self.states:
            state.add(values)

    def take(self) -> list[NDArray[np.float32]]:
        """The features of the images since the last call, by layer."""
        return [state.take() for state in self.states]

    def results(self) -> list[LayerHealth]:
        return [state.frozen() for state in self.states]


class _State:
    """The running result of one layer; `after` is what its name says, `before` goes into its activation function."""

    def __init__(self, model: Model, after: UnitLayer, before: UnitLayer) -> None:
        self.after, self.before = after, before
        self.statistics = no_statistics(after.units)
        self.histogram_before = np.zeros((before.units, BINS), np.int64)
        self.histogram = np.zeros((after.units, BINS), np.int64)
        self.function, self.ends = _function(model, after)
        self.at_low, self.at_high = np.zeros(after.units, np.int64), np.zeros(after.units, np.int64)
        self.count = 0
        self.covariance = no_covariance(after.units) if after.units <= MOST_UNITS else None
        self.features: list[NDArray[np.float32]] = []

    def add(self, values: Mapping[str, NDArray[Any]]) -> None:
        maps = self.after.maps(values)
        n, units, places = maps.shape
        gather(self.statistics, extremes(maps.reshape(n * units, places)))
        counts = histogram(maps)
        self.histogram += counts
        same = self.before.read == self.after.read
        self.histogram_before += counts if same else histogram(self.before.maps(values))
        low, high = self.ends
        if low is not None:
            self.at_low += (maps <= low).sum(axis=(0, 2))
        if high is not None:
            self.at_high += (maps >= high).sum(axis=(0, 2))
        self.count += n
        self.features.append(np.nan_to_num(maps[:, :, some_places(places)]))

    def take(self) -> NDArray[np.float32]:
        """The features (images, units, places) of a group, which is over."""
        found = np.concatenate(self.features)
        self.features = []
        if self.covariance is not None:
            self.covariance = self.covariance.with_group(found.transpose(0, 2, 1).reshape(-1, self.after.units))
        return found

    def frozen(self) -> LayerHealth:
        return LayerHealth(
            layer=replace(self.after, order=None),
            function=self.function,
            ends=self.ends,
            statistics=self.statistics,
            count=self.count,
            before=self.histogram_before,
            after=self.histogram,
            at_low=self.at_low,
            at_high=self.at_high,
            covariance=self.covariance,
        )


def some_places(places: int) -> NDArray[np.int64]:
    """At most 64 of the places of a map, spread evenly."""
    return np.unique(np.linspace(0, places - 1, min(places, _PLACES)).round().astype(np.int64))


def run(
    measures: Sequence[Measure], pictures: Iterable[Picture | None]
) -> Iterator[tuple[int, int, NDArray[np.float64] | None]]:
    """Measure several models on the same images; None stands for an image of the data set that cannot be read.

    Yields, group by group, how many images of it there were, how many of them could be read, and the HSIC of all layers
    of all models with one another (layers, layers), None for a group that is too small.
    """

    def ready(picture: Picture | None) -> list[NDArray[Any]] | None:
        if picture is None:
            return None
        for measure in measures:
            check_picture(picture, measure.card)
        return [prepare(picture.pixels, measure.card, threads=1).tensor for measure in measures]

    with Ahead(map(ready, pictures), 2 * GROUP) as ahead:
        items = iter(ahead)
        while group := list(islice(items, GROUP)):
            read = [item for item in group if item is not None]
            yield len(group), len(read), _together(measures, read) if read else None


def _together(measures: Sequence[Measure], group: Sequence[list[NDArray[Any]]]) -> NDArray[np.float64] | None:
    features: list[NDArray[np.float32]] = []
    for number, measure in enumerate(measures):
        tensors = [item[number] for item in group]
        for first in range(0, len(tensors), measure.feed.size):
            measure.add(tensors[first : first + measure.feed.size])
        features += measure.take()
    if len(group) < LEAST_IMAGES:
        return None
    products = grams(features)
    return hsic(products, products)


def _measurable(model: Model, names: Any, plane: tuple[int, int], strict: bool) -> list[UnitLayer]:
    """Layers by name; without `strict`, those that have no units, or whose value is no map, are left out."""
    if not names:
        return []
    if strict:
        return unit_layers(model, names, before=False, plane=plane)
    found = []
    for name in names:
        try:
            found += unit_layers(model, [name], before=False, plane=plane)
        except (TargetError, ModelError):
            continue
    return found


def _before(model: Model, layer: UnitLayer) -> UnitLayer:
    """The same layer, read before its activation function."""
    if layer.kind == CLASSES:
        return layer
    linear = linear_value(model, layer.value)
    shapes = {name: model.value(name).shape for name in (*linear.values, layer.value)}
    if len(linear.values) == 1 and shapes[linear.values[0]] != shapes[layer.value]:
        return layer
    return replace(layer, read=linear.values, joined=linear.axis)


def _function(model: Model, layer: UnitLayer) -> tuple[str, tuple[float | None, float | None]]:
    """The name of the activation function that makes the layer's value, "" for none, and the values at its ends."""
    node = model.producer(layer.value)
    gate = gate_ending_at(model, layer.value)
    if gate is not None:
        return gate.function, (None, None)
    if node is None or node.op_type not in ACTIVATIONS:
        return "", (None, None)
    if node.op_type != "Clip":
        return node.op_type, _ENDS.get(node.op_type, (None, None))
    given = attributes(node)
    ends: list[float | None] = []
    for place, name in ((1, "min"), (2, "max")):
        value = given.get(name)
        if value is None and len(node.input) > place and node.input[place]:
            array = model.constant(node.input[place])
            value = None if array is None else float(np.asarray(array).ravel()[0])
        ends.append(float(value) if isinstance(value, (int, float)) else None)
    low, high = ends
    return ("ReLU6" if (low, high) == (0.0, 6.0) else "Clip"), (low, high)
