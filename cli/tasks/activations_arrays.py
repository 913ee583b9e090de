"""Activations for what is no image: arrays of NumPy's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engine.errors import ImageError
from ..parameters.inputs import card_or_none, refuse_crop, refuse_part
from .over_images import Outcome, over_images

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.graph.model import Model
    from ...engine.inspect.layers import Layer
    from ..files.run import Run
    from .activations import ActivationsOptions

# Samples of one file that are drawn; the values of all are written.
_MOST_DRAWN = 8


def activations_arrays(
    options: ActivationsOptions, model: Model, layers: Sequence[Layer], paths: Sequence[Path]
) -> Run:
    """Picture the activations for every file; the run, at its end. Raises as `activations` does."""
    from ..files.arrays import fed, given_of
    from ..files.run import Run, describe, describe_card
    from ..terminal.progress import Progress

    refuse_crop(options.selection)
    refuse_part(options.share)
    if options.stats:
        raise ImageError("--stats is about images, and arrays are given: leave it out")
    more = fed(options.feeds, model)
    card = card_or_none(model, options.common.quiet)
    about = {
        "model": describe(model),
        "card": None if card is None else describe_card(card),
        "layers": [layer.name for layer in layers],
    }
    decisive = {"with": sorted(options.feeds), **options.common.runtime}
    with (
        Run(options.output, "activations", decisive, about, paths) as run,
        Progress(len(paths), quiet=options.common.quiet, bar=options.common.progress) as bar,
    ):
        work = ArrayActivations(model, layers, options, run)
        over_images(run, bar, paths, work.one, fits=_fits, read=lambda path: given_of(path, model, more, card))
    return run


@dataclass(frozen=True)
class ArrayActivations:
    """One file in, files with its activations out."""

    model: Model
    layers: Sequence[Layer]
    options: ActivationsOptions
    run: Run

    def one(self, path: Path, given: Any, folder: str) -> Outcome:
        """Everything about one file: its results for the manifest, and the files written."""
        from ...engine.attribution.inputs import input_of, values_at
        from ...engine.inference.batches import RunOptions

        runtime = RunOptions(**self.options.common.runtime)
        names = [layer.output for layer in self.layers]
        values = values_at(self.model, input_of(self.model, given), names, runtime)
        entries = [self._layer(layer, values[layer.output], folder, path.name) for layer in self.layers]
        return {"layers": entries}, [name for entry in entries for name in entry["files"]]

    def _layer(self, layer: Layer, values: NDArray[Any], folder: str, name: str) -> dict[str, Any]:
        import numpy as np

        from ..figures import array_map

        found = np.asarray(values, np.float32)
        stem = self.run.name(layer.name, folder)
        files = [self.run.array(f"{stem}.npy", found)]
        for sample, one in enumerate(found[:_MOST_DRAWN]):
            lines = [f"{layer.op}, output {layer.output}, {list(one.shape)}; {_words(_statistics(one))}."]
            title = f"Activations of {layer.name} for {name}"
            if len(found) > 1:
                title += f", sample {sample}"
            number = f"-{sample}" if len(found) > 1 else ""
            files.append(self.run.picture(f"{stem}{number}.png", array_map.values_figure(one, title, lines)))
        return {
            "layer": layer.name,
            "output": layer.output,
            "shape": list(found.shape),
            **_statistics(found),
            "files": files,
        }


def _statistics(values: NDArray[np.float32]) -> dict[str, float | None]:
    import numpy as np

    finite = values[np.isfinite(values)]
    if not finite.size:
        return dict.fromkeys(("lowest", "mean", "highest", "share_of_zeros"))
    return {
        "lowest": float(finite.min()),
        "mean": float(finite.mean(dtype=np.float64)),
        "highest": float(finite.max()),
        "share_of_zeros": float((finite == 0).mean()),
    }


def _words(statistics: Mapping[str, float | None]) -> str:
    if statistics["mean"] is None:
        return "no value is finite"
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in statistics.items())


def _fits(entry: dict[str, Any]) -> None:
    """Raises KeyError or TypeError for an entry of an earlier run that is not of this command's form."""
    for layer in entry["layers"]:
        list(layer["files"])
