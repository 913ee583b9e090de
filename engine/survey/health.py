"""The health of a model on a data set: measured, saved, merged; and how far other models have moved from it.

On disk a folder with `manifest.json` and `health.npz`, whose arrays are, M the number of the model (0 the one that was
asked about) and N that of the layer: `M.N.statistics.NAME`, `M.N.before` and `M.N.after` (histograms int64 (units,
bins)), `M.N.at_low`, `M.N.at_high`, `M.N.rows`, `M.N.means`, `M.N.products` (see `LayerHealth`), and `hsic` (layers of
all models, layers of all models), the sum over groups of images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MethodError, UnknownName
from .findings import Finding, findings
from .layer_health import LayerHealth, arrays_of, described, from_arrays, merged
from .layer_top import sub_arrays
from .similarity import cka
from .store import read_result, write_result

FORMAT = 1
# A layer with less similarity than this to itself in another model has drifted.
DRIFTED = 0.9


@dataclass(frozen=True)
class ModelHealth:
    """The layers of one model, by name; `name` of its file and `sha256`."""

    name: str
    sha256: str
    layers: Mapping[str, LayerHealth] = field(repr=False)

    def findings(self) -> list[Finding]:
        """What is doubtful, layer by layer, with advice."""
        return findings(list(self.layers.values()))


@dataclass(frozen=True)
class Health:
    """The health of a model on a data set.

    Attributes: `models`, the one that was asked about first, then those it is compared with; `count` of images;
    `hsic`, sums over groups of images for all layers of all models.
    """

    models: tuple[ModelHealth, ...]
    count: int
    hsic: NDArray[np.float64] = field(repr=False)

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
        own = np.diag(self.hsic)
        mine, theirs = (slice(starts[n], starts[n + 1]) for n in (0, range(len(self.models))[other]))
        return cka(self.hsic[mine, theirs], own[mine], own[theirs])

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
        arrays: dict[str, NDArray[Any]] = {"hsic": self.hsic}
        for m, model in enumerate(self.models):
            for n, found in enumerate(model.layers.values()):
                arrays |= {f"{m}.{n}.{name}": array for name, array in arrays_of(found).items()}
        manifest = {
            "format": FORMAT,
            "kind": "health",
            "count": self.count,
            "models": [
                {"name": m.name, "sha256": m.sha256, "layers": [described(found) for found in m.layers.values()]}
                for m in self.models
            ],
        }
        return write_result(Path(dir), "health", manifest, arrays)


def load_health(dir: str | Path) -> Health:
    """What `Health.save` wrote. Raises OutputError for a folder without such a result, or a damaged one."""
    return read_result(Path(dir), "health", FORMAT, _from_saved)


def merge_healths(one: Health, other: Health) -> Health:
    """Of the images of both, as one run over them would have it but for rounding and the grouping of similarities.

    Raises MethodError where they are of different models or layers.
    """
    if [(m.sha256, list(m.layers)) for m in one.models] != [(m.sha256, list(m.layers)) for m in other.models]:
        raise MethodError("the results cannot be merged: they are of different models or layers")
    models = tuple(
        replace(a, layers={name: merged(found, b.layers[name]) for name, found in a.layers.items()})
        for a, b in zip(one.models, other.models, strict=True)
    )
    return Health(models, one.count + other.count, one.hsic + other.hsic)


def _from_saved(manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Health:
    models = []
    for m, entry in enumerate(manifest["models"]):
        layers = [from_arrays(part, sub_arrays(arrays, f"{m}.{n}")) for n, part in enumerate(entry["layers"])]
        models.append(ModelHealth(entry["name"], entry["sha256"], {found.layer.name: found for found in layers}))
    return Health(tuple(models), int(manifest["count"]), arrays["hsic"])


def _known(drift: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if np.isnan(amount) else amount for name, amount in drift.items()}


def _rounded(matrix: NDArray[np.float64]) -> list[list[float | None]]:
    return [[None if np.isnan(value) else round(float(value), 6) for value in row] for row in matrix]
