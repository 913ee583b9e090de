"""One pass over images: the model runs batch by batch, units are reduced to numbers, these go into the running result.

Every run has the same number of images, the last one is filled up: what a run gives for an image does not depend on how
many others there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...kernels.extremes import Sums, add, extremes, no_sums
from ...kernels.topk import TopK, empty, merge, update
from ..attribution.gradient_graphs import exposed_at
from ..errors import MethodError, ShapeError
from ..graph.model import Model
from ..graph.narrow import identity
from ..graph.zipmap import with_tensor_scores
from ..inference.batches import RunOptions, batch_size, run_batches
from ..preprocess.answers import answer_of
from ..preprocess.card import Card
from ..preprocess.find import find_card
from ..preprocess.image import prepare
from ..targets.classify import best
from .layer_top import LayerTop
from .pictures import Ahead, ImageEntry, Picture, entry_of, first_of
from .statistics import gather, merge_statistics, no_statistics
from .top import Top, named
from .units import UnitLayer, unit_layers

# Labels of images: those given with them, the model's own, or none.
Labels = Literal["given", "predicted", "none"]
# Bytes that the sums of classes may take.
_MOST_CLASS_BYTES = 2 << 30
_SUM_BYTES = 88


@dataclass(frozen=True)
class ScanOptions:
    """k: images per unit. sample: images kept for quantiles. before: read values before the activation function.

    labels: which classes the units' selectivity is about.
    """

    k: int = 9
    sample: int = 1024
    before: bool = True
    labels: Labels = "none"

    def __post_init__(self) -> None:
        if self.k < 1 or self.sample < 1:
            raise MethodError(f"k={self.k} and sample={self.sample} must be at least 1")
        if self.labels not in ("given", "predicted", "none"):
            raise MethodError(f"labels={self.labels!r} is none of given, predicted, none")


@dataclass(frozen=True)
class Ready:
    """An image, prepared for the model."""

    entry: ImageEntry
    tensor: NDArray[Any]


def sized(model: Model) -> tuple[Model, Card]:
    """The model with the size that its card says as an option, so that open sizes are known; and the card.

    Raises CardError, ModelError (it takes no images).
    """
    model = with_tensor_scores(model)
    card = find_card(model)
    if model.overrides.get("size") == card.size:
        return model, card
    overrides = {**model.overrides, "size": card.size}
    return Model(model.proto, path=model.path, folder=model.folder, overrides=overrides, sha256=model.sha256), card


class Feed:
    """Runs a model over prepared images in batches of one size; `values` by name, (N, ...)."""

    def __init__(self, model: Model, card: Card, names: Sequence[str], runtime: RunOptions) -> None:
        self.names = tuple(dict.fromkeys(names))
        self.model, self.card = exposed_at(model, self.names), card
        bands = 1 + max(card.order) if isinstance(card.order, tuple) else 3
        shape = prepare(np.zeros((2, 2, bands), np.uint8), card).tensor
        self.size = batch_size({"": shape if card.batched else shape[None]}, runtime)
        self.runtime = replace(runtime, batch=self.size)
        others = [v for v in self.model.inputs if v.name != card.input]
        if others:
            wanted = ", ".join(map(str, others))
            raise ShapeError(f"the model also needs {wanted}: a survey of images feeds the image alone")

    def values(self, batch: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Raises what `Session.run` raises."""
        filled = [*batch, *[batch[-1]] * (self.size - len(batch))]
        rows = np.concatenate(filled) if self.card.batched else np.stack(filled)
        got = run_batches(self.model, {str(self.card.input): rows}, self.names, runtime=self.runtime)
        return {name: array[: len(batch)] for name, array in got.items()}


class Scan:
    """A running survey: `add` batches of images, `result` at any time.

    start: a result to go on from, of the same model, layers and options. Raises what `unit_layers` raises; CardError,
    ModelError.
    """

    def __init__(
        self,
        model: Model,
        layers: Any = None,
        options: ScanOptions | None = None,
        runtime: RunOptions | None = None,
        start: Top | None = None,
    ) -> None:
        self.options = options or ScanOptions()
        self.model, self.card = sized(model)
        self.layers = unit_layers(self.model, layers, before=self.options.before, plane=self.card.size)
        self.answer = answer_of(self.model) if self.options.labels == "predicted" else None
        if self.answer is not None and not self.answer.has_classes:
            raise MethodError(
                f"the model's answer {self.answer.output!r} has no classes: give images in folders that are labels, or "
                "labels='none'"
            )
        names = [name for layer in self.layers for name in layer.read]
        self.feed = Feed(
            self.model, self.card, [*names, *([self.answer.value] if self.answer else [])], runtime or RunOptions()
        )
        self.images: dict[int, ImageEntry] = {}
        self.slots: dict[int, int] = {}
        self.count = 0
        self.class_counts: dict[str, int] = {}
        self.states = [_State(layer, self.options) for layer in self.layers]
        if start is not None:
            self._restore(start)

    def ready(self, picture: Picture) -> Ready:
        """The image as the model takes it; any thread may call it. Raises ShapeError."""
        return Ready(entry_of(picture, self.card), prepare(picture.pixels, self.card, threads=1).tensor)

    def run(self, pictures: Iterable[Picture]) -> Iterator[int]:
        """Survey all images, those to come being prepared meanwhile; yields how many are done, batch by batch."""
        with Ahead((self.ready(picture) for picture in pictures), 2 * self.feed.size) as ahead:
            batch: list[Ready] = []
            for item in ahead:
                batch.append(item)
                if len(batch) == self.feed.size:
                    self.add(batch)
                    batch = []
                    yield self.count
            if batch:
                self.add(batch)
                yield self.count

    def add(self, batch: Sequence[Ready]) -> None:
        """Run the model on a batch of at most `feed.size` images and add what it gives. Raises what runs raise."""
        values = self.feed.values([item.tensor for item in batch])
        entries = [item.entry for item in batch]
        if self.answer is not None:
            guesses = best(values[self.answer.value], self.answer, self.card.labels, 1, finite=False)
            entries = [
                replace(e, label=g[0].label or f"class {g[0].index}") for e, g in zip(entries, guesses, strict=True)
            ]
        labels = [entry.label for entry in entries] if self.options.labels != "none" else [None] * len(entries)
        self._check_classes(labels)
        slots = self._slots(entries)
        ids = np.array([entry.id for entry in entries], np.int64)
        for state in self.states:
            state.add(values, ids, labels, slots)
        for label in labels:
            if label is not None:
                self.class_counts[label] = self.class_counts.get(label, 0) + 1
        for entry in entries:
            self.images[entry.id] = first_of(self.images.get(entry.id), entry)
        self.count += len(entries)
        self._forget()

    def result(self) -> Top:
        """What was found so far."""
        ids = np.array(sorted(self.slots), np.int64)
        order = [self.slots[i] for i in ids.tolist()]
        names = sorted(self.class_counts)
        layers = {state.layer.name: state.frozen(order, names) for state in self.states}
        model = self.model
        return Top(
            layers=layers,
            images=named(layers.values(), ids, self.images),
            sample=ids,
            count=self.count,
            classes=tuple(names),
            class_counts=tuple(self.class_counts[name] for name in names),
            labelled="" if self.options.labels == "none" else self.options.labels,
            model=identity(model),
            name=model.path.name if model.path else "model",
            # Where the fields come from is a matter of folders, not of the result.
            card=replace(self.card, source="", warnings=(), about={}),
            options={"k": self.options.k, "sample": self.options.sample, "before_activation": self.options.before},
        )

    def _slots(self, entries: Sequence[ImageEntry]) -> list[tuple[int, int]]:
        """(row of the batch, slot) of images that enter the sample: those of the lowest ids."""
        found: dict[int, int] = {}
        for row, entry in enumerate(entries):
            if entry.id in self.slots:
                continue
            slot = len(self.slots)
            if slot == self.options.sample:
                highest = max(self.slots)
                if entry.id > highest:
                    continue
                slot = self.slots.pop(highest)
            self.slots[entry.id] = slot
            found[slot] = row  # one that enters and leaves within a batch is overwritten
        return [(row, slot) for slot, row in found.items()]

    def _forget(self) -> None:
        """Entries of images that nothing names any more go, once they are many."""
        most = 4 * (len(self.slots) + sum(2 * s.strongest.ids.size for s in self.states)) + 4096
        if len(self.images) > most:
            used = set(self.slots)
            for state in self.states:
                used |= set(state.strongest.ids.ravel().tolist()) | set(state.weakest.ids.ravel().tolist())
            self.images = {key: entry for key, entry in self.images.items() if key in used}

    def _check_classes(self, labels: Sequence[str | None]) -> None:
        classes = {*self.class_counts, *(label for label in labels if label is not None)}
        units = sum(layer.units for layer in self.layers)
        if len(classes) * units * _SUM_BYTES > _MOST_CLASS_BYTES:
            raise MethodError(
                f"the selectivity of {units} units for {len(classes)} classes takes more than "
                f"{_MOST_CLASS_BYTES >> 30} GiB of memory: survey fewer layers at once, or give labels='none'"
            )

    def _restore(self, start: Top) -> None:
        fresh = self.result()
        same = [f.layer.to_mapping() for f in start.layers.values()] == [layer.to_mapping() for layer in self.layers]
        if not same or (start.model, dict(start.options), start.labelled) != (
            fresh.model,
            dict(fresh.options),
            fresh.labelled,
        ):
            raise MethodError("the result to go on from is of another model, other layers or other options")
        self.count = start.count
        self.images = dict(start.images)
        self.slots = {int(i): n for n, i in enumerate(start.sample)}
        self.class_counts = dict(zip(start.classes, start.class_counts, strict=True))
        for state, found in zip(self.states, start.layers.values(), strict=True):
            state.restore(found, start.classes)


class _State:
    """The running result of one layer."""

    def __init__(self, layer: UnitLayer, options: ScanOptions) -> None:
        self.layer = layer
        self.strongest, self.weakest = empty(layer.units, options.k), empty(layer.units, options.k)
        self.statistics = no_statistics(layer.units)
        # Memory is taken as it is written to: few images take little.
        self.sample = np.empty((options.sample, layer.units), np.float32)
        self.places = np.empty((options.sample, layer.units), np.int32)
        self.classes: dict[str, Sums] = {}

    def add(
        self,
        values: Mapping[str, NDArray[Any]],
        ids: NDArray[np.int64],
        labels: Sequence[str | None],
        slots: Sequence[tuple[int, int]],
    ) -> None:
        maps = self.layer.maps(values)
        n, units = maps.shape[:2]
        found = extremes(maps.reshape(n * units, -1))
        high, high_at = found.highest.reshape(n, units), found.highest_at.reshape(n, units)
        update(self.strongest, high, ids, high_at)
        update(self.weakest, -found.lowest.reshape(n, units), ids, found.lowest_at.reshape(n, units))
        gather(self.statistics, found)
        for row, slot in slots:
            self.sample[slot], self.places[slot] = high[row], high_at[row]
        for row, label in enumerate(labels):
            if label is not None:
                sums = self.classes.setdefault(label, no_sums(units))
                add(sums, np.maximum(high[row : row + 1], 0))

    def frozen(self, order: Sequence[int], names: Sequence[str]) -> LayerTop:
        strongest, weakest = (
            TopK(s.scores.copy(), s.ids.copy(), s.places.copy()) for s in (self.strongest, self.weakest)
        )
        statistics = no_statistics(self.layer.units)
        merge_statistics(statistics, self.statistics)
        rows = np.array(order, np.int64)
        classes = tuple(Sums(self.classes[n].digits.copy(), self.classes[n].broken.copy()) for n in names)
        layer = replace(self.layer, order=None)
        return LayerTop(layer, strongest, weakest, self.sample[rows], self.places[rows], statistics, classes)

    def restore(self, found: LayerTop, names: Sequence[str]) -> None:
        merge(self.strongest, found.strongest)
        merge(self.weakest, found.weakest)
        merge_statistics(self.statistics, found.statistics)
        self.sample[: len(found.sample)], self.places[: len(found.sample)] = found.sample, found.sample_places
        for name, sums in zip(names, found.classes, strict=False):
            self.classes[name] = Sums(sums.digits.copy(), sums.broken.copy())
