"""What is done with each image of a line: looked at, judged by a rule, explained, measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..parameters.inputs import card_of, open_model
from ..parameters.line import DriftOptions, Inspection
from ..parameters.methods import BOXES, DEFAULT, chosen_methods
from ..sources.source import ALL, Selection
from .drifting import Drifting, drifting_of
from .explain import of_boxes, target_of
from .inspecting import judge_of
from .measures import Measures, measures_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...engine.attribution.explanation import Explanation
    from ...engine.graph.model import Model
    from ...engine.methods.registry import Method
    from ...engine.pipeline.drift import Look, Looking
    from ...engine.pipeline.judge import Judge
    from ...engine.preprocess.card import Card
    from ...engine.targets.target import Target
    from ..parameters.options import Common


@dataclass(frozen=True)
class Found:
    """What an image has come to. pixels: as the card reads them, then as they are shown, uint8 (H, W, 3), None where
    it could not be read; fields: for its record; look: what drift is measured from."""

    path: Path
    sha256: str
    pixels: Any
    explanations: Sequence[Explanation] = ()
    fields: dict[str, Any] = field(default_factory=dict)
    look: Look | None = None


@dataclass(frozen=True)
class LineOptions:
    """What is asked of each image, in the words of the command line."""

    model: str
    methods: Sequence[str]
    targets: Sequence[str]
    layers: Sequence[str]
    settings: Sequence[str]
    threshold: float
    inspection: Inspection
    drift: DriftOptions
    common: Common
    selection: Selection
    metrics: str | None


@dataclass(frozen=True)
class Work:
    """Images in, explanations out; for threads."""

    model: Model
    card: Card
    methods: Sequence[Method]
    targets: Sequence[Target]
    layers: Sequence[str]
    judge: Judge
    measures: Measures
    drifting: Drifting | None
    looking: Looking | None
    selection: Selection
    runtime: dict[str, Any]

    def on(self, runtime: dict[str, Any]) -> Work:
        """The same with other options of sessions; what drift is measured from is shared."""
        from ...engine.inference.batches import RunOptions

        looking = None if self.looking is None else self.looking.on(RunOptions(**runtime))
        return replace(self, runtime=runtime, judge=self.judge.on(runtime), looking=looking)

    def done(self, image: Found) -> Found:
        """An image with all that is asked of it. Raises what `explain` raises."""
        from ...engine.preprocess.depth import shown

        seen, picture = self.selection.part(image.pixels), shown(image.pixels, self.card)
        look = None if self.looking is None else self.looking.look(seen)
        fields, wanted = self.judge.of(seen, str(image.path))
        if not wanted:
            return replace(image, pixels=picture, fields=fields, look=look)
        placed = [self.selection.placed(e, picture) for e in self._explained(seen)]
        fields["maps"] = [self._entry(e) for e in placed]
        return replace(image, pixels=picture, explanations=placed, fields=fields, look=look)

    def _explained(self, seen: NDArray[Any]) -> list[Explanation]:
        from ...engine.explain import problem_of, solve
        from ...engine.inference.batches import RunOptions

        found: list[Explanation] = []
        for target in self.targets:
            runtime = RunOptions(**self.runtime)
            for at_layer in (True, False):
                methods = [method for method in self.methods if method.at_layer is at_layer]
                if methods:
                    layers = list(self.layers) if at_layer else None
                    problem = problem_of(self.model, seen, target, layers, card=self.card, runtime=runtime)
                    found += [e for method in methods for e in solve(problem, method)]
        return found

    def _entry(self, e: Explanation) -> dict[str, Any]:
        about = {"method": e.method, "target": str(e.target), "label": e.label, "score": e.score}
        return {**about, "probability": e.probability, "layer": e.layer, "region": self.measures.of(e)}


def works_of(options: LineOptions, runtimes: Sequence[dict[str, Any]], keep: Path | None) -> list[Work]:
    """The model and what is asked of it, checked before the first image, for each of `runtimes`. keep: see `Drifting`.

    Raises RuleError, UnknownName, ModelError, CardError, TargetError, MethodError, ImageError, OutputError.
    """
    model = open_model(options.model, options.common.card)
    usual = BOXES if of_boxes(model, options.targets) else DEFAULT
    methods, _ = chosen_methods(options.methods or (usual,), options.settings)
    card = card_of(model, options.common.quiet)
    runtime = runtimes[0]
    judge = judge_of(model, card, options.inspection.when, options.inspection.memory, runtime)
    targets = [target_of(text, model, card) for text in options.targets]
    measures = measures_of(options.threshold, options.inspection)
    drifting = drifting_of(model, options.drift, runtime, keep)
    looking = None if drifting is None else drifting.looking
    about = (model, card, methods, targets, options.layers, judge, measures, drifting, looking, options.selection)
    first = Work(*about, runtime)
    works = [first, *(first.on(other) for other in runtimes[1:])]
    for work in works:
        _warm(work)
    return works


def _warm(work: Work) -> None:
    """Make sessions and compile kernels, and find out what is wrong, by an image of zeros."""
    import numpy as np

    from ...engine.errors import ShapeError, TargetError

    zeros = np.zeros((*work.card.size, 3), np.uint8)
    plain = replace(work, selection=ALL, measures=Measures(), judge=replace(work.judge, rule=None))
    try:
        plain.done(Found(Path("zeros"), "", zeros))
        work.judge.of(zeros, "image.png")
    except (ShapeError, TargetError):
        return  # of zeros only
