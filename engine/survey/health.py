"""The health of a model on a data set: measured, saved, merged; and how far other models have moved from it.

On disk a folder with `manifest.json` and `health.npz`, whose arrays are, M the number of the model (0 the one that was
asked about) and N that of the layer: `M.N.statistics.NAME`, `M.N.before` and `M.N.after` (histograms int64 (units,
bins)), `M.N.at_low`, `M.N.at_high`, `M.N.rows`, `M.N.sums.NAME`, `M.N.products.NAME` (see `LayerHealth`), and
`hsic.NAME`, the sums over groups of images, (layers of all models, layers of all models) row by row. NAME is `digits`
or `top`, see `kernels/wide_sums.py`: results of the parts of a data set that was cut between groups of 32 images merge
to that of the whole, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.wide_sums import WideSums, merge, no_wide_sums
from ..errors import MethodError, UnknownName
from .findings import Finding, findings
from .layer_health import LayerHealth, arrays_of, described, from_arrays, merged
from .layer_top import sub_arrays
from .similarity import cka
from .store import read_part, read_result, write_part, write_result

FORMAT = 2
# A layer with less similarity than this to itself in another model has drifted.
DRIFTED = 0.9


@dataclass(frozen=True)
class ModelHealth:
    """The layers of one model, by name; `name` of its file and `sha256`, with `+half` behind it if it was converted."""

    name: str
    sha256: str
    layers: Mapping[str, LayerHealth] = field(repr=False)

    def findings(self) -> list[Finding]:
        """What is doubtful, layer by layer, with advice."""
        return findings(list(self.layers.values()))


@dataclass(frozen=True)
class Health:
    """The health of a model on a data set.

    Attributes: `models`, the one that was asked about first, then those it is compared with, the last `checkpoints` of
    them being its own earlier states; `count` of images; `hsic_sums` over groups of images for all layers of all
    models.
    """

    models: tuple[ModelHealth, ...]
    count: int
    hsic_sums: WideSums = field(repr=False)
    checkpoints: int = 0

    @property
    def hsic(self) -> NDArray[np.float64]:
        """(layers, layers) of all models: sums over groups of images."""
        layers = sum(len(model.layers) for model in self.models)
        return self.hsic_sums.values().reshape(layers, layers)

    @property
    def layers(self) -> Mapping[str, LayerHealth]:
        """Those of the model that was asked about."""
        return self.models[0].layers

    def layer(self, name: str) -> LayerHealth:
        """Raises UnknownName."""
        if name not in self.layers:
            raise UnknownName("layer of this result", name, list(self.layers))
        return self.layers[name]

    def findings(self) -> list[Finding]:
        """What is doubtful about the model, layer by layer, with advice."""
        return self.models[0].findings()

    def similarity(self, other: int = 0) -> NDArray[np.float64]:
        """Linear CKA (layers of the model, layers of model number `other`); 0: of the model with itself.

        Raises IndexError.
        """
        starts = np.cumsum([0, *(len(model.layers) for model in self.models)])
        hsic = self.hsic
        own = np.diag(hsic)
        mine, theirs = (slice(starts[n], starts[n + 1]) for n in (0, range(len(self.models))[other]))
        return cka(hsic[mine, theirs], own[mine], own[theirs])

    def drift(self, other: int = 1) -> dict[str, float]:
        """1 - CKA of each layer with the one of the same name in model number `other`, in order. Raises IndexError."""
        similar = self.similarity(other)
        columns = {name: n for n, name in enumerate(self.models[other].layers)}
        return {name: float(1 - similar[row, columns[name]]) for row, name in enumerate(self.layers) if name in columns}

    def first_drift(self, other: int = 1) -> str | None:
        """The first layer whose CKA with itself in model number `other` is below 0.9; None where there is none."""
        return next((name for name, amount in self.drift(other).items() if amount > 1 - DRIFTED), None)

    def to_mapping(self) -> dict[str, Any]:
        """Numbers, findings and similarities as JSON-like data."""
        return {
            "count": self.count,
            "models": [
                {
                    "name": model.name,
                    "sha256": model.sha256,
                    "layers": [found.to_mapping() for found in model.layers.values()],
                    "findings": [{**vars(found), "units": list(found.units)} for found in model.findings()],
                    "similarity": _rounded(self.similarity(number)),
                    **(
                        {"drift": _known(self.drift(number)), "first_drift": self.first_drift(number)} if number else {}
                    ),
                }
                for number, model in enumerate(self.models)
            ],
        }

    def save(self, dir: str | Path) -> dict[str, Path]:
        """Write `health.npz`, then `manifest.json`, each whole or not at all. Returns the paths. Raises OutputError."""
        return write_result(Path(dir), "health", self.manifest(), self.arrays())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of `health.npz`, see the head of `engine/survey/health.py`."""
        arrays: dict[str, NDArray[Any]] = {f"hsic.{name}": array for name, array in vars(self.hsic_sums).items()}
        for m, model in enumerate(self.models):
            for n, found in enumerate(model.layers.values()):
                arrays |= {f"{m}.{n}.{name}": array for name, array in arrays_of(found).items()}
        return arrays

    def manifest(self) -> dict[str, Any]:
        """All but the arrays, as JSON-like data."""
        return {
            "format": FORMAT,
            "kind": "health",
            "count": self.count,
            "checkpoints": self.checkpoints,
            "models": [
                {"name": m.name, "sha256": m.sha256, "layers": [described(found) for found in m.layers.values()]}
                for m in self.models
            ],
        }


def load_health(dir: str | Path) -> Health:
    """What `Health.save` wrote. Raises OutputError for a folder without such a result, or a damaged one."""
    return read_result(Path(dir), "health", FORMAT, _from_saved)


def save_part(health: Health, path: Path, done: Mapping[str, Any]) -> None:
    """An unfinished result in one file; `done` says how far it is, as JSON-like data. Raises OutputError."""
    write_part(path, health.manifest(), health.arrays(), done)


def load_part(path: Path) -> tuple[Health, dict[str, Any]] | None:
    """What `save_part` wrote; None where there is nothing that can be read."""
    return read_part(path, "health", FORMAT, _from_saved)


def merge_healths(one: Health, other: Health) -> Health:
    """Of the images of both, the same to the last bit as one run over them if each but one has whole groups of 32
    images; else the same but for rounding and the grouping of similarities.

    Raises MethodError where they are of different models or layers.
    """
    if _compared(one) != _compared(other):
        raise MethodError("the results cannot be merged: they are of different models or layers")
    models = tuple(
        replace(a, layers={name: merged(found, b.layers[name]) for name, found in a.layers.items()})
        for a, b in zip(one.models, other.models, strict=True)
    )
    hsic = merge(merge(no_wide_sums(len(one.hsic_sums.top)), one.hsic_sums), other.hsic_sums)
    return Health(models, one.count + other.count, hsic, one.checkpoints)


def _compared(health: Health) -> Any:
    """What two results must share to be merged."""
    layers = [[described(found) | {"count": 0} for found in model.layers.values()] for model in health.models]
    return [model.sha256 for model in health.models], layers, health.checkpoints


def _from_saved(manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Health:
    models = []
    for m, entry in enumerate(manifest["models"]):
        layers = [from_arrays(part, sub_arrays(arrays, f"{m}.{n}")) for n, part in enumerate(entry["layers"])]
        models.append(ModelHealth(entry["name"], entry["sha256"], {found.layer.name: found for found in layers}))
    hsic = WideSums(**sub_arrays(arrays, "hsic"))
    return Health(tuple(models), int(manifest["count"]), hsic, int(manifest["checkpoints"]))


def _known(drift: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if np.isnan(amount) else amount for name, amount in drift.items()}


def _rounded(matrix: NDArray[np.float64]) -> list[list[float | None]]:
    return [[None if np.isnan(value) else round(float(value), 6) for value in row] for row in matrix]
