"""What to advise where a method refuses an input: methods that take this very one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import OnnxrayError

if TYPE_CHECKING:
    from .problem import Problem

# By the gradient at the input. The other names are of methods that only run the network.
_BY_GRADIENT = frozenset(("gradient", "input-x-gradient", "integrated-gradients", "guided-backprop"))
# Features that kernel-shap and lime solve for at most, where the input has no superpixels.
_MOST = 4096
USUAL = ("gradient", "occlusion", "ablation")


def advised(problem: Problem, wanted: tuple[str, ...] = USUAL, more: tuple[str, ...] = ()) -> str:
    """Of the methods `wanted`, which explain at the input, those that fit, and `more` that are known to, in words.

    `ablation` where there is none: it takes all that runs.
    """
    found = [*more, *(name for name in wanted if _fits(problem, name))] or ["ablation"]
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} or {found[-1]}"


def has_slope(problem: Problem) -> bool:
    """Whether the score has a gradient at the input."""
    if problem.input.x.dtype.kind != "f":
        return False
    try:
        problem.gradients.by([problem.input.name])
    except OnnxrayError:
        return False
    return True


def _fits(problem: Problem, name: str) -> bool:
    x = problem.input.x
    if name in _BY_GRADIENT:
        return has_slope(problem)
    if name == "occlusion":
        return x.ndim > 1 and problem.input.name in problem.model.ancestors(problem.target.of)
    if name in ("kernel-shap", "lime"):
        return problem.input.plane is not None or x[0].size <= _MOST
    return True
