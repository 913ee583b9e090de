"""Running a network on inputs with some features hidden: what LIME, Kernel SHAP, ablation and Sobol share.

A coalition says which features of a sample are kept; the others are replaced by a fill. Everything here needs only a
forward pass, so any model that ONNX Runtime runs will do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...attribution.baselines import FILLS, background_rows, usual_fill
from ...attribution.coalitions import SEGMENT_MEAN, Coalitions, fills_of
from ...attribution.maps import Display, Maps
from ...attribution.segments import AUTO, GRID_HELP, NAMES, Features, features_of, idle_segment_options
from ...errors import MethodError
from ..options import option
from ..registry import Method, Needs

if TYPE_CHECKING:
    from ...attribution.problem import Problem


@dataclass(frozen=True)
class SampleAnswer:
    """What a method finds out about one row: a value for every feature, and numbers worth knowing."""

    values: NDArray[np.float64]
    details: dict[str, Any]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Perturbation(Method):
    """Base of the methods that hide features and look at the score. Subclasses define `explain_sample`."""

    needs: ClassVar[Needs] = "forward"
    display: ClassVar[Display] = "signed"
    # What the segments "auto" are on images.
    on_images: ClassVar[str] = AUTO

    segments: int | str | np.ndarray = option(  # noqa: RUF009
        AUTO,
        "What is hidden as one: superpixels (a number: about that many), cells of a grid, single elements, or an "
        "array: labels over the input plane or the image, masks (booleans, one axis more).",
        choices=NAMES,
        low=1,
        high=100_000,
    )
    grid: int | str | tuple[int | str, ...] = option(8, GRID_HELP, low=1, high=1024)
    compactness: float = option(30.0, "Of superpixels: low ones follow colours, high ones are compact.", low=1e-3)
    fill: str | float | np.ndarray | None = option(  # noqa: RUF009
        None,
        "What stands in for hidden features. None: blur on images, zero on other inputs.",
        choices=(*FILLS, SEGMENT_MEAN),
    )
    background: np.ndarray | None = option(  # noqa: RUF009
        None,
        "Samples of the data (rows, ...) in place of a fill: the score with features hidden is the mean over rows that "
        "give their own values for them (interventional Shapley values).",
    )
    background_rows: int = option(100, "Rows of the background at most, chosen by the seed.", low=1, high=1_000_000)
    seed: int = option(0, "Of what is drawn at random, the fill `noise` included.", low=0)

    def idle(self) -> Mapping[str, str]:
        segments = self.segments
        if isinstance(segments, str) and segments == AUTO:
            segments = self.on_images
        rows = {"background_rows": "a background"} if self.background is None else {}
        return {**idle_segment_options(segments), **rows}

    def explain_sample(self, coalitions: Coalitions) -> list[SampleAnswer]:
        """An answer for each target of the sample. Raises MethodError."""
        raise TypeError(f"{type(self).__name__} defines no explain_sample")

    def __call__(self, problem: Problem) -> Maps:
        segments = self.segments
        if isinstance(segments, str) and segments == AUTO and problem.input.plane is not None:
            segments = self.on_images
        found = features_of(problem, segments, self.grid, self.compactness)
        if self.background is not None:
            usual = next(f.default for f in fields(self) if f.name == "fill")
            if isinstance(self.fill, np.ndarray) or self.fill != usual:
                raise MethodError(
                    "background rows stand in for hidden features, so that fill has no effect: leave one out"
                )
            rows = background_rows(problem, self.background, self.background_rows, self.seed)
        else:
            fill = usual_fill(problem) if self.fill is None else self.fill
            fills = fills_of(problem, found, fill, self.seed)
        values, details, warnings = [], [], []
        for sample, features in enumerate(found):
            hidden = fills[sample] if self.background is None else rows
            answers = self.explain_sample(Coalitions(problem, sample, features, hidden, self.background is not None))
            for answer in answers:
                values.append(features.spread(answer.values))
                details.append({"features": features.kind, **_by_segment(features, answer.values), **answer.details})
                warnings.append(answer.warnings)
        return found[0].maps(np.stack(values), display=self.display, details=tuple(details), warnings=tuple(warnings))


def _by_segment(features: Features, values: NDArray[np.float64]) -> dict[str, Any]:
    """The value of every segment and where it lies; of single elements the map itself says it."""
    if len(features) == features.labels.size:
        return {}
    return {"weights": tuple(values.tolist()), "names": features.names, "segments": features.labels}
