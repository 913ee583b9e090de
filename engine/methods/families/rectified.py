"""What guided backpropagation and the deconvolutional network share: their rules are about rectifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...autodiff.rectifiers import rectifies
from ...graph.dependencies import between
from ...proto.nodes import subgraphs

if TYPE_CHECKING:
    from ...attribution.problem import Problem


def without_rectifiers(problem: Problem) -> tuple[tuple[str, ...], ...]:
    """For every row, a warning if no rectifier lies between the input and the target: the rules change nothing then."""
    model = problem.model
    nodes = between(model, problem.input.name, problem.target.of)
    changes = any(rectifies(node, model.constant) or any(subgraphs(node)) for node in nodes)
    text = (
        "no rectifier (Relu, LeakyRelu, PRelu, ReLU6) lies between the input and the target: this is the plain gradient"
    )
    return (() if changes else (text,),) * problem.rows
