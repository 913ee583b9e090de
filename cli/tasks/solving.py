"""Every method that is asked for on every problem of an input: one way for images, arrays and texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from ...engine.attribution.explanation import Explanation
    from ...engine.attribution.explanations import Explanations
    from ...engine.attribution.problem import Problem
    from ...engine.methods.registry import Method

# The question about one target, and the same at the layers that are named, which is the same object where none is.
Question: TypeAlias = "tuple[Problem, Problem]"


def both(made: Callable[..., Problem], layers: Sequence[str]) -> Question:
    """The question that `made` asks, and the same at `layers`."""
    plain = made()
    return plain, made(layer=list(layers)) if layers else plain


def solutions(
    questions: Iterable[Question],
    methods: Sequence[Method],
    every: bool,
    left_out: dict[str, str],
    say: Callable[[str], None],
    begun: Callable[[int, str], None] = lambda place, name: None,
) -> Iterator[tuple[Problem, Explanation | Explanations]]:
    """Each question by each method, with the problem that was solved.

    every: whether all methods are asked for; those that do not fit go into `left_out`, with the reason, and are said.
    begun: called before each method with its place and name. Raises MethodError where no method fits, and what a method
    raises that was asked for by name.
    """
    from ...engine.errors import GradientError, MethodError
    from ...engine.explain import solve

    fits = False
    for plain, at_layers in questions:
        for place, method in enumerate(methods):
            if method.name in left_out:
                continue
            begun(place, method.name)
            problem = at_layers if method.at_layer else plain
            try:
                found = solve(problem, method)
            except (MethodError, GradientError) as error:
                if not every:
                    raise
                left_out[method.name] = str(error)
                say(f"{method.name} left out: {error}")
            else:
                fits = True
                yield problem, found
    if not fits:
        raise MethodError("no method fits this model: `onnxray methods` lists them")
