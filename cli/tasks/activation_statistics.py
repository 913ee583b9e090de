"""Statistics of layers: of each image, as a table, and of all images together, whatever the order they came in."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...engine.inspect.layers import Layer
    from ..files.run import Run
    from .subject import LayerValues

_STATISTICS = ("min", "max", "mean", "std", "zeros", "items", "silent")
_TOTALS = ("min", "max", "mean", "std", "zeros", "items")


def conclude(run: Run, stats: bool) -> None:
    """What is written of all images together. stats: also each layer's statistics over them."""
    run.manifest["silent_in_all_images"] = silent_in_all(run.entries)
    run.manifest["files"] = [run.text("statistics.csv", write_csv(run.entries))]
    if stats:
        run.manifest["files"].append(run.text("layers.csv", layers_csv(run.entries)))


def layer_statistics(work: LayerValues, tensor: NDArray[Any], layers: Sequence[Layer]) -> Iterator[dict[str, Any]]:
    """Of each layer for one image, for the manifest: no picture is drawn."""
    from ..figures.layer_view import silent_channels, statistics_of, view_of

    for layer, values in work.layers(tensor, layers, around=False) if layers else ():
        view = view_of(work.model, layer, values[layer.output])
        numbers = {"statistics": asdict(statistics_of(view)), "silent": silent_channels(view)}
        yield {"name": layer.name, "op": layer.op, "shape": list(values[layer.output].shape), **numbers}


def silent_in_all(entries: Iterable[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Layer -> the channels that are silent in every image."""
    found: dict[str, set[int]] = {}
    for entry in entries:
        for layer in entry.get("layers", ()):
            silent = set(layer["silent"])
            found[layer["name"]] = found[layer["name"]] & silent if layer["name"] in found else silent
    return {name: sorted(numbers) for name, numbers in found.items()}


def write_csv(entries: Iterable[Mapping[str, Any]]) -> str:
    """A line for each image and layer."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["image", "layer", "op", *_STATISTICS])
    for entry in entries:
        for layer in _layers_of(entry):
            numbers = [layer["statistics"][name] for name in _STATISTICS]
            table.writerow([entry["path"], layer["name"], layer["op"], *numbers])
    return text.getvalue()


def layers_csv(entries: Iterable[Mapping[str, Any]]) -> str:
    """A line for each layer: its statistics over all images."""
    found: dict[str, _Total] = {}
    for entry in entries:
        for layer in {layer["name"]: layer for layer in _layers_of(entry)}.values():
            found.setdefault(layer["name"], _Total(layer["op"])).add(layer["statistics"])
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["layer", "op", "images", *_TOTALS])
    for name, total in found.items():
        table.writerow([name, total.op, total.images, *total.numbers()])
    return text.getvalue()


def _layers_of(entry: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from (*entry.get("layers", ()), *entry.get("walk", ()))


class _Total:
    """A layer over many images. The sums are the same in any order, see `kernels.wide_sums`."""

    def __init__(self, op: str) -> None:
        from ...kernels import wide_sums

        self.op, self.images, self.items = op, 0, 0
        self.low, self.high = math.inf, -math.inf
        self.sums = wide_sums.no_wide_sums(3)  # of values, of their squares, of how many are 0

    def add(self, one: Mapping[str, Any]) -> None:
        """The statistics of another image; numbers that JSON lacks are texts there."""
        from ...kernels.wide_sums import add

        low, high, mean, std, zeros = (float(one[name]) for name in ("min", "max", "mean", "std", "zeros"))
        items = int(one["items"])
        self.images, self.items = self.images + 1, self.items + items
        self.low, self.high = min(self.low, low), max(self.high, high)
        add(self.sums, [items * mean, items * (std * std + mean * mean), items * zeros])

    def numbers(self) -> list[float]:
        """In the order of the table."""
        mean, square, zeros = (float(value) / max(1, self.items) for value in self.sums.values())
        std = math.sqrt(max(0.0, square - mean * mean))
        return [self.low, self.high, mean, std, zeros, self.items]
