"""Several explanations by one method: of the samples of a batch, or of several targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MethodError, ShapeError
from . import notebook
from .explanation import Explanation

if TYPE_CHECKING:
    from ..targets.target import Target


class Explanations(Sequence[Explanation]):
    """Several explanations by one method, of the samples of a batch or of several targets; sample by sample.

    `values` and `heatmap` stack those of the parts: values[i] is self[i].values.
    """

    def __init__(self, parts: Sequence[Explanation]) -> None:
        self.parts = tuple(parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: Any) -> Any:
        return Explanations(self.parts[index]) if isinstance(index, slice) else self.parts[index]

    def __iter__(self) -> Iterator[Explanation]:
        return iter(self.parts)

    def __repr__(self) -> str:
        return f"<{len(self)} explanations: {', '.join(map(repr, self.parts))}>"

    @property
    def values(self) -> NDArray[np.float32]:
        """float32 (n, ...): those of the parts. Raises ShapeError where their shapes differ."""
        return _stacked("values", [part.values for part in self.parts])

    @property
    def heatmap(self) -> NDArray[np.float32]:
        """float32 (n, H, W): those of the parts. Raises ShapeError where the images differ in size."""
        return _stacked("heatmaps", [part.heatmap for part in self.parts])

    @property
    def method(self) -> str:
        """The name of the method that made them."""
        return self.parts[0].method

    @property
    def layer(self) -> str | None:
        """Where the maps were made, None for methods that explain at the input."""
        return self.parts[0].layer

    @property
    def target(self) -> tuple[Target, ...]:
        """What each explains."""
        return tuple(part.target for part in self.parts)

    @property
    def score(self) -> NDArray[np.float32]:
        """float32 (n,): the explained numbers."""
        return np.array([part.score for part in self.parts], np.float32)

    @property
    def probability(self) -> tuple[float | None, ...]:
        """Those of the parts, None each where the target is not one class."""
        return tuple(part.probability for part in self.parts)

    @property
    def scores(self) -> NDArray[np.float32]:
        """float32 (n, C): the scores of all classes."""
        return np.stack([part.scores for part in self.parts])

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of all parts, each once."""
        return tuple(dict.fromkeys(w for part in self.parts for w in part.warnings))

    def overlay(
        self, alpha: float = 0.6, colormap: str | None = None, range: tuple[float, float] | None = None
    ) -> NDArray[np.uint8]:
        """Those of the parts side by side, (H, sum of W, 3). Raises MethodError where their heights differ."""
        pictures = [part.overlay(alpha, colormap, range) for part in self.parts]
        if len({len(p) for p in pictures}) > 1:
            raise MethodError("the images have different heights: take the overlays one by one")
        return np.concatenate(pictures, axis=1)

    def save(self, dir: str | Path) -> list[dict[str, Path]]:
        """Each in the folder as `METHOD-NUMBER`, numbered from 0: see `Explanation.save`. Raises OutputError."""
        return [part.save(dir, f"{self.method}-{number}") for number, part in enumerate(self.parts)]

    def show(self) -> None:
        """Show all of them: see `Explanation.show`. Raises OutputError."""
        notebook.show(self.parts)

    def plot(self, ax: Any = None, alpha: float = 0.6, colormap: str | None = None) -> Any:
        """Draw one overlay into each of the matplotlib axes `ax`, by default new ones in a row; returns the axes.

        Raises OutputError, MethodError as `Explanation.plot` does.
        """
        return notebook.plot_all(self.parts, ax, alpha, colormap)

    def _repr_html_(self) -> str:
        return "".join(part._repr_html_() for part in self.parts)


def _stacked(what: str, arrays: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    shapes = list(dict.fromkeys(array.shape for array in arrays))
    if len(shapes) > 1:
        raise ShapeError(
            f"the {what} have different shapes ({list(shapes[0])}, {list(shapes[1])}): take them one by one"
        )
    return np.stack(arrays)


def with_warning(found: Explanation | Explanations, text: str) -> Explanation | Explanations:
    """The explanations with one more warning, as their first."""
    if isinstance(found, Explanations):
        return Explanations([replace(part, warnings=(text, *part.warnings)) for part in found])
    return replace(found, warnings=(text, *found.warnings))
