"""Feature ablation.

N. Kokhlikyan, V. Miglani, M. Martin, E. Wang, B. Alsallakh, J. Reynolds, A. Melnikov, N. Kliushkina, C. Araya, S. Yan
and O. Reblitz-Richardson, "Captum: A unified and generic model interpretability library for PyTorch", arXiv:2009.07896,
2020, section 3:

    value of a feature = score(input) - score(input with the feature replaced)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..attribution.coalitions import Coalitions
from .families.perturbation import Perturbation, SampleAnswer
from .registry import method


@method("ablation", "feature-ablation")
@dataclass(frozen=True)
class Ablation(Perturbation):
    """How far the score falls when a feature alone is hidden: segments of an image, columns of a table, your masks.

    Runs the network once per feature. Needs no gradient. Where masks overlap, an element's value is the sum of theirs.
    """

    def explain_sample(self, coalitions: Coalitions) -> list[SampleAnswer]:
        drops = coalitions.clean - coalitions.scores_without()
        return [SampleAnswer(np.ascontiguousarray(row), {"runs": len(drops)}) for row in drops.T]
