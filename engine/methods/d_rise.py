"""D-RISE.

V. Petsiuk, R. Jain, V. Manjunatha, V. I. Morariu, A. Mehra, V. Ordonez and K. Saenko, "Black-box Explanation of Object
Detectors via Saliency Maps", CVPR 2021, section 3: RISE with, in place of a score, how well the boxes of the masked
image match the explained one,

    match = max over candidates of  IoU(box, candidate) * similarity of their classes

The paper's similarity is the cosine of both vectors of class probabilities times the candidate's objectness (of a
detector without objectness, its greatest probability); here it is by default the candidate's probability of the
explained class, which a detector of one class has as well. Candidates are taken before suppression, so that their best
is found wherever it moves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.matches import best_matches
from ..attribution.box_layers import is_of_box
from ..detection.detections import Detection
from ..detection.emit import LABELS, OBJECTNESS, SCORES, SIDES
from ..errors import MethodError
from ..inference.row_graphs import RowGraph
from ..targets.boxes import BoxTarget
from ..targets.kinds.box import Box
from .options import option
from .registry import method
from .rise import Rise

if TYPE_CHECKING:
    from ..attribution.maps import Maps
    from ..attribution.problem import Problem


@method("d-rise")
@dataclass(frozen=True)
class DRise(Rise):
    """RISE for boxes of a detector: the mean of how well a box is still found where a pixel is seen. Needs no gradient.

    Each masked image is matched with the box by overlap times probability. All boxes share one set of masks, so that
    ten take as long as one. `rise` itself explains the one candidate's score, which falls as soon as the box moves.
    `details` are those of `rise`.
    """

    masks: int = option(2000, "Masked inputs, at most.", low=1, high=10_000_000)
    cells: int = option(16, "Cells of a mask along each side.", low=1, high=1024)
    cosine: bool = option(False, "Compare all class probabilities by their cosine, as the paper does.")

    def __call__(self, problem: Problem) -> Maps:
        if not is_of_box(problem):
            raise MethodError(
                "d-rise explains boxes of a detector (target box, box:top:3, ...), and this target is none"
            )
        if any(isinstance(target, Box) and not target.aspect.is_score for target in problem.targets):
            raise MethodError(
                "d-rise explains that a box is found: leave out the side, objectness, mask or point, or use rise"
            )
        return super().__call__(problem)

    def scores(
        self,
        problem: Problem,
        count: int,
        masked: Callable[[NDArray[np.int64]], NDArray[Any]],
        sample: int,
        progress: Callable[[int], None],
        graph: Callable[[], RowGraph],
    ) -> NDArray[np.float64]:
        boxes = _boxes(problem, sample)
        there, names = problem.model.values, [SIDES, SCORES]
        if LABELS in there:
            names.append(LABELS)
        elif self.cosine and OBJECTNESS in there and not _is_centredness(problem):
            names.append(OBJECTNESS)
        clean = {name: array[sample] for name, array in problem.runs.activations(names).items()}
        if self.cosine and OBJECTNESS not in names and clean[SCORES].shape[-1] == 1:
            raise MethodError("the detector gives one probability a box: leave cosine out")
        rows, labels = [box.candidate for box in boxes], np.array([box.label for box in boxes])
        wanted, own = clean[SIDES][rows], clean[SCORES][rows]
        result = np.empty((count, len(boxes)))

        def consume(numbers: NDArray[np.int64], got: dict[str, NDArray[Any]]) -> None:
            if LABELS in got:
                for k, label in enumerate(labels):
                    # Classes are numbers of a column of their own: those of another class do not match.
                    scores = np.where(np.rint(got[LABELS]) == label, got[SCORES], 0)
                    result[numbers, k] = best_matches(got[SIDES], scores, wanted[k : k + 1], [0])[:, 0]
            else:
                compared = _compared(got, own) if self.cosine else (None, None)
                result[numbers] = best_matches(got[SIDES], got[SCORES], wanted, labels, *compared)
            progress(len(numbers))

        problem.runs.values_generated(count, masked, sample, names, consume, graph)
        return result


def _is_centredness(problem: Problem) -> bool:
    """Whether the number is how near the middle of an object a place is (FCOS): nothing where there is no object."""
    return isinstance(problem.target, BoxTarget) and problem.target.table.layout.root


def _compared(got: dict[str, NDArray[Any]], own: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
    """What the paper's cosine needs: the classes of the boxes, and the objectness of candidates where there is one."""
    if OBJECTNESS not in got:
        return own, None
    return own, 1 / (1 + np.exp(-got[OBJECTNESS][..., 0]))


def _boxes(problem: Problem, sample: int) -> list[Detection]:
    rows = np.flatnonzero(problem.sample == sample)
    targets = [problem.targets[row] for row in rows]
    return [box.found for box in targets if isinstance(box, Box) and box.found is not None]
