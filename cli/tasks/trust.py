"""Whether maps can be trusted: `explain --trust`, and the section of the reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...engine.attribution.explanation import Explanation
    from ...engine.evaluate.trust import Trust
    from ...engine.graph.model import Model
    from ...engine.methods.registry import Method
    from ...engine.preprocess.card import Card
    from ..figures.parts import Part, Section
    from .explain import ExplainOptions
    from .subject import Subject

    # The pixels of an image -> what judges its maps.
    Examine: TypeAlias = "Callable[[NDArray[Any]], Callable[[Explanation], Trust]]"

# Methods of three families, all quick; those that do not fit are left out.
_METHODS = ("grad-cam", "lrp", "gradient")
_MEANING = (
    "Quick checks of the maps of the predicted class. Green: nothing speaks against the map; yellow: look twice; red: "
    "do not rely on it alone; gray: not known. No check proves a map right; the command evaluate judges methods on "
    "many images."
)


def examine_with(
    model: Model, card: Card | None, methods: Sequence[Method], options: ExplainOptions, runtime: Mapping[str, Any]
) -> Examine | None:
    """What judges the maps of an image; None where trust is not asked for. Raises ModelError, CardError."""
    if not options.trust:
        return None
    from ...engine.inference.batches import RunOptions
    from ...engine.trust import Examiner
    from ..parameters.inputs import open_model

    other = None if options.against is None else open_model(options.against, options.common.card)
    by_name = {method.name: method for method in methods}
    running = RunOptions(**runtime, batch=options.batch)
    layers = tuple(options.layers)

    def examine(pixels: NDArray[Any]) -> Callable[[Explanation], Trust]:
        examiner = Examiner(model, pixels, layers, card, running, other)
        return lambda e: examiner.of(e, by_name[e.method])

    return examine


def section(subject: Subject) -> Section:
    """A table of checks for each of a few methods on the image looked at closely, for a report."""
    from ...engine.attribution.explanation import Explanation
    from ...engine.errors import GradientError, MethodError, TargetError
    from ...engine.explain import problem_of, solve
    from ...engine.inference.batches import RunOptions
    from ...engine.methods.registry import make
    from ...engine.trust import Examiner
    from ..figures.parts import Heading, Section, Table

    path, pixels = subject.focused
    runtime = RunOptions(**subject.work.runtime)
    examiner = Examiner(subject.model, pixels, card=subject.card, runtime=runtime)
    parts: list[Part] = []
    for method in map(make, _METHODS):
        try:
            found = solve(problem_of(subject.model, pixels, card=subject.card, runtime=runtime), method)
            if not isinstance(found, Explanation):
                continue
            trust = examiner.of(found, method)
        except (MethodError, GradientError, TargetError):
            continue  # the section of the methods says why it does not fit
        rows = tuple((check.name, check.light, check.words, check.meaning) for check in trust.checks)
        titles = ("check", "light", "what came out", "why it matters")
        parts += [
            Heading(f"{method.name}, {trust.target}: {trust.verdict}"),
            Table(titles, rows, lights=frozenset({1})),
        ]
    text = _MEANING if parts else f"No method that is checked fits this model on {path.name}."
    return Section("Can the maps be trusted?", text, parts)
