"""Numbers by value of a model: what its node costs, how much of the answer goes through it, how well its units are."""

from __future__ import annotations

import numpy as np

from ..attribution.problem import Problem
from ..graph.model import Model
from ..survey.health import Health


def macs(model: Model) -> dict[str, float]:
    """Multiply-accumulates of one sample, where they are known."""
    return {layer.output: float(layer.macs) for layer in model.layers if layer.macs is not None}


def parameters(model: Model) -> dict[str, float]:
    """Weights that the node reads."""
    return {layer.output: float(layer.params) for layer in model.layers}


def relevance(problem: Problem) -> dict[str, float]:
    """The sum of |activation * gradient of the score| over a layer's values, in units of the score.

    Gradient times activation is what each value adds to the score, to first order (A. Shrikumar et al., "Not Just a
    Black Box", arXiv:1605.01713, 2016). Of the layers that the explained value depends on. Raises GradientError and its
    subclasses, TargetError.
    """
    before = problem.model.ancestors(problem.target.of)
    real = [v.output for v in problem.source.layers if v.output in before and _is_real(problem.model, v.output)]
    gradients = problem.gradients.by(real)
    values = problem.runs.activations(real)
    return {name: float(np.abs(values[name].astype(np.float64) * gradients[name]).sum()) for name in real}


def _is_real(model: Model, name: str) -> bool:
    dtype = model.value(name).dtype
    return dtype is not None and dtype.kind == "f"


def dead_share(health: Health) -> dict[str, float]:
    """The share of a layer's units that have the same value for every image."""
    return {found.layer.value: float(found.dead.mean()) for found in health.layers.values()}


def silence(health: Health) -> dict[str, float]:
    """The share of a layer's values that are not above 0."""
    return {found.layer.value: float(found.sparsity.mean()) for found in health.layers.values()}


def rank_share(health: Health) -> dict[str, float]:
    """The effective rank of a layer as a share of its units."""
    found = {}
    for entry in health.layers.values():
        rank = entry.effective_rank()
        if rank == rank:
            found[entry.layer.value] = rank / entry.layer.units
    return found
