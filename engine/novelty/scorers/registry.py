"""What a scorer is: what gathers features of good images, and what then says how far others are from them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...emitter.emitter import Emitter
from ...errors import UnknownName

# Files of this folder that are no scorers.
_NO_SCORERS = frozenset(("registry", "pooled"))


@dataclass(frozen=True, eq=False)
class Distances:
    """values: float32 (N, P), one for each place, or (N, 1) for a whole image. nearest: int64, the same shape: the
    number of the nearest row of the memory; None where there are no rows."""

    values: NDArray[np.float32]
    nearest: NDArray[np.int64] | None = None


class Gathered(Protocol):
    """What features of good images leave behind, in bounded memory."""

    def add(self, features: NDArray[np.float32], image: int) -> None:
        """Take in the features (P, D) of one image, the `image`-th of all."""

    def images(self) -> frozenset[int]:
        """Numbers of images that rows are kept of."""


class Fitted(Protocol):
    """What is known of good images.

    Attributes: `local`, whether there is a distance for each place; `sources` (M, 2), of each row that is kept the
    number of its image and its place, or None.
    """

    @property
    def local(self) -> bool: ...

    @property
    def sources(self) -> NDArray[np.int64] | None: ...

    def distances(self, features: NDArray[np.float32]) -> Distances:
        """Of the features (N, P, D)."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What `Scorer.from_arrays` takes."""

    def emit(self, op: Emitter, features: str) -> str:
        """The distances of features (N, P, D), the same shape as `Distances.values`, in standard operators."""


class Scorer(Protocol):
    """A way to say how far features are from those of good images."""

    def gathered(self, places: int, width: int, rows: int) -> Gathered: ...

    def fitted(self, parts: Sequence[Any], rows: int) -> Fitted:
        """What was gathered in parts, put together: at most `rows` rows where rows are kept. Raises MethodError."""

    def from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> Fitted: ...


S = TypeVar("S", bound=type)
_SCORERS: dict[str, Scorer] = {}


def scorer(name: str) -> Callable[[S], S]:
    """Class decorator: register an instance under `name`. Raises ValueError where there is one already."""

    def register(cls: S) -> S:
        if name in _SCORERS:
            raise ValueError(f"the scorer {name!r} is registered twice")
        _SCORERS[name] = cls()
        return cls

    return register


def scorers() -> dict[str, Scorer]:
    """All scorers by name."""
    folder = __name__.rpartition(".")[0]
    paths = importlib.import_module(folder).__path__
    for file in pkgutil.iter_modules(paths):
        if file.name not in _NO_SCORERS:
            importlib.import_module(f"{folder}.{file.name}")
    return dict(sorted(_SCORERS.items()))


def find_scorer(name: str) -> Scorer:
    """Raises UnknownName."""
    known = scorers()
    if name not in known:
        raise UnknownName("novelty method", name, list(known))
    return known[name]
