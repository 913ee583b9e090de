"""LIME.

M. T. Ribeiro, S. Singh and C. Guestrin, ""Why Should I Trust You?": Explaining the Predictions of Any Classifier", KDD
2016, sections 3.3 and 3.4, with the choices of the authors' implementation for images: coalitions drawn evenly, the
whole input first, weighted by exp(-d^2 / width^2) ^ 1/2 with d the cosine distance to the whole input; then ridge
regression with an intercept:

    minimise  sum over z of  weight(z) * (score(z) - intercept - sum over i of value_i * z_i)^2  +  alpha * |value|^2
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..attribution.coalitions import Coalitions, check_count, check_size, fit_quality
from ..errors import MethodError
from .families.perturbation import Perturbation, SampleAnswer
from .options import option
from .registry import method


@method("lime")
@dataclass(frozen=True)
class Lime(Perturbation):
    """The weights of a linear model that imitates the network around this input, feature by feature.

    The network runs on copies of the input with random features hidden; those that are most like the input count most.
    `details` has the fit's R^2 (`r2`): where it is low, no linear model describes the network here. Needs no gradient.
    """

    samples: int = option(1000, "Copies of the input, with random features hidden.", low=2, high=1_000_000)
    kernel_width: float = option(0.25, "Cosine distance at which a copy counts exp(-1/2).", low=1e-6)
    alpha: float = option(1.0, "Of the ridge regression: pulls values towards 0.", low=0)

    def explain_sample(self, coalitions: Coalitions) -> list[SampleAnswer]:
        features = coalitions.features
        check_count("lime", features)
        check_size(self.samples, len(features))
        keep = draw(self.samples, len(features), self.seed)
        scores = coalitions.scores(keep)
        weights = proximity(keep, self.kernel_width)
        answers = []
        for y in scores.T:
            values, intercept = ridge(keep.astype(np.float64), y, weights, self.alpha)
            r2 = fit_quality(y, keep @ values + intercept, weights)
            details = {"r2": r2, "intercept": intercept, "local_prediction": float(values.sum() + intercept)}
            answers.append(SampleAnswer(values, {**details, "runs": len(keep)}))
        return answers


def draw(samples: int, features: int, seed: int) -> NDArray[np.bool_]:
    """Coalitions (samples, features): everything, then each feature kept with probability one half."""
    keep = np.random.default_rng(seed).integers(0, 2, (samples, features), dtype=np.uint8).astype(bool)
    keep[0] = True
    return keep


def proximity(keep: NDArray[np.bool_], width: float) -> NDArray[np.float64]:
    """The weight (B,) of each coalition: sqrt(exp(-d^2 / width^2)), d its cosine distance to the whole input."""
    # The cosine between z and all ones is |z| / (sqrt|z| sqrt F); of an empty coalition it counts as 0.
    distance = 1 - np.sqrt(keep.mean(axis=1, dtype=np.float64))
    return np.asarray(np.exp(-0.5 * (distance / width) ** 2))


def ridge(
    z: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64], alpha: float
) -> tuple[NDArray[np.float64], float]:
    """Coefficients (F,) and intercept of the weighted ridge regression of y (B,) on z (B, F); the intercept is free.

    Raises MethodError where the samples do not determine the coefficients (alpha 0 only).
    """
    mean, centre = np.average(z, axis=0, weights=weights), float(np.average(y, weights=weights))
    root = np.sqrt(weights)
    x, target = (z - mean) * root[:, None], (y - centre) * root
    if alpha:
        values = np.linalg.solve(x.T @ x + alpha * np.eye(x.shape[1]), x.T @ target)
    else:
        values, _, rank, _ = np.linalg.lstsq(x, target, rcond=None)
        if rank < x.shape[1]:
            raise MethodError(
                f"{len(z)} samples do not determine the values of {x.shape[1]} features without regularisation: take "
                "more samples, fewer segments, or alpha > 0"
            )
    return values, float(centre - mean @ values)
