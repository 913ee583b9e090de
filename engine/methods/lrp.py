"""Layer-wise relevance propagation.

S. Bach, A. Binder, G. Montavon, F. Klauschen, K.-R. Müller and W. Samek, "On Pixel-Wise Explanations for Non-Linear
Classifier Decisions by Layer-Wise Relevance Propagation", PLOS ONE 10(7), 2015; G. Montavon, A. Binder, S. Lapuschkin,
W. Samek and K.-R. Müller, "Layer-Wise Relevance Propagation: An Overview", in Explainable AI, LNCS 11700, 2019. The
rules' formulas are in `engine/relevance/rules.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..attribution.baselines import baseline
from ..attribution.maps import InputMaps, Maps
from ..caches import Kept
from ..compiled.emitted import Emitted, EmittedInput
from ..errors import MethodError
from ..relevance.registry import Composite
from ..relevance.table import Table
from ..relevance.zone import propagation
from .options import option
from .registry import Method, Sanity, method

if TYPE_CHECKING:
    from ..attribution.problem import Problem
    from ..compiled.build import Build

# Name: rules of convolutions, of matrix products, of the first layer.
COMPOSITES = {
    "epsilon-plus-flat": ("z-plus", "epsilon", "flat"),
    "epsilon-plus": ("z-plus", "epsilon", "same"),
    "epsilon-alpha-beta-flat": ("alpha-beta", "epsilon", "flat"),
    "epsilon-alpha-beta": ("alpha-beta", "epsilon", "same"),
    "epsilon-gamma-box": ("gamma", "epsilon", "box"),
    "epsilon-gamma": ("gamma", "epsilon", "same"),
    "epsilon": ("epsilon", "epsilon", "same"),
    "gamma": ("gamma", "gamma", "same"),
    "z-plus": ("z-plus", "z-plus", "same"),
    "alpha-beta": ("alpha-beta", "alpha-beta", "same"),
}
LAYER_RULES = ("epsilon", "gamma", "z-plus", "alpha-beta")
FIRST_RULES = ("same", "flat", "w-square", "box")
# Where the input got less than this part of the score, or as much more, constants had most of the say.
WORTH_WARNING = 0.5
_tables = Kept[tuple[Any, ...], Table](8)


@method("lrp", "layer-wise-relevance-propagation")
@dataclass(frozen=True)
class Lrp(Method):
    """The score, shared out layer by layer in proportion to what each value contributed.

    What a unit got is handed to the values it was made of, down to the pixels; biases keep their share. A composite
    says by which rule, for each kind of layer (convolutions; matrix products, among them the last layer whatever it is;
    the first layer):

    | composite | convolutions | products | first | when |
    | --- | --- | --- | --- | --- |
    | `epsilon-plus-flat` | z-plus | epsilon | flat | the default: smooth maps of what speaks for the target |
    | `epsilon-plus` | z-plus | epsilon | | the same down to single values; those of 0 get nothing |
    | `epsilon-alpha-beta-flat` | alpha-beta | epsilon | flat | what speaks against the target shows as well |
    | `epsilon-alpha-beta` | alpha-beta | epsilon | | |
    | `epsilon-gamma-box` | gamma | epsilon | box | both signs, milder; needs an image, or `low` and `high` |
    | `epsilon-gamma` | gamma | epsilon | | the same for inputs without known limits |
    | `epsilon` | epsilon | epsilon | | nearly input times gradient where all units are rectifiers; noisy when deep |
    | `gamma`, `z-plus`, `alpha-beta` | the same rule everywhere | | | to compare rules |

    `conv`, `dense` and `first` change one of the three (`first` also knows `w-square`; `flat` is for convolutions).
    With `epsilon` the map adds up to the score less what biases, rounding and `epsilon` absorbed; in deep networks with
    normalisation that can be nearly all of it: then the pattern counts, not the total. `details` have the numbers, and
    `bias=False` shares out among inputs what biases would have got. A unit without any input of the sign that a rule
    asks for loses (z-plus, gamma) or gains (alpha-beta) relevance even so: of a MobileNetV2 trained on ImageNet, whose
    blocks end in layers without a rectifier, the default's map holds 5e-6 of the score, 2e-3 with `bias=False`, and the
    two maps correlate with 0.94.

    A batch normalisation, factor or sum behind a layer counts as part of it. Functions of one value pass relevance
    unchanged; of a product the gate counts as a constant, as do attention weights and the statistics that a layer
    normalisation divides by. A softmax at the end is left out: the score before it is explained.

    On a ResNet-20 trained on CIFAR-10, maps of the default keep 0.60 of their pattern when the upper layers are
    randomised, of the other composites 0.44 to 0.66; those of `z-plus` throughout keep 0.90, more than guided
    backpropagation, and hardly tell classes apart: take them for what the network sees, not for why it decides.
    """

    randomisation: ClassVar[Sanity] = "passes"

    composite: str = option("epsilon-plus-flat", "Which rule each kind of layer follows.", choices=tuple(COMPOSITES))
    conv: str | None = option(None, "The rule of convolutions, in place of the composite's.", choices=LAYER_RULES)
    dense: str | None = option(None, "The rule of matrix products, in place of the composite's.", choices=LAYER_RULES)
    first: str | None = option(None, "The rule of the first layer, in place of the composite's.", choices=FIRST_RULES)
    epsilon: float = option(1e-6, "What the epsilon rule adds to each denominator.", low=0)
    gamma: float = option(0.25, "How much the gamma rule favours contributions of the unit's sign.", low=0)
    alpha: float = option(2.0, "Weight of positive contributions; negative ones count alpha - 1.", low=1)
    bias: bool = option(True, "Biases take their share of the relevance, and keep it.")
    low: float | None = option(None, "Least value of the input, for `box`; none: that of a pixel.")
    high: float | None = option(None, "Greatest value of the input, for `box`; none: that of a pixel.")

    def idle(self) -> Mapping[str, str]:
        conv, dense, first = COMPOSITES[self.composite]
        used = {self.conv or conv, self.dense or dense, self.first or first}
        needs = {"gamma": "gamma", "alpha": "alpha-beta", "low": "box", "high": "box"}
        return {name: f"a composite or rule with {rule!r}" for name, rule in needs.items() if rule not in used}

    def __call__(self, problem: Problem) -> Maps:
        problem = problem.before_softmax()
        name = problem.input.name
        values = problem.gradients.by([name], self._rules(problem))[name]
        totals = values.reshape(len(values), -1).sum(axis=1, dtype=np.float64)
        details, warnings = [], []
        for total, score, target in zip(totals.tolist(), problem.scores.tolist(), problem.targets, strict=True):
            lost = score - total
            share = abs(lost) / max(abs(score), 1e-12)
            details.append({"propagated_score": score, "relevance": total, "absorbed": lost, "absorbed_share": share})
            warnings.append(self._warning(f"the map of {target.title}", total, score, share))
        return InputMaps(values, reduce="sum", details=tuple(details), warnings=tuple(warnings))

    def _warning(self, what: str, total: float, score: float, share: float) -> tuple[str, ...]:
        if share <= WORTH_WARNING:
            return ()
        conv, dense, first = COMPOSITES[self.composite]
        signed = {self.conv or conv, self.dense or dense, self.first or first} & {"z-plus", "gamma", "alpha-beta"}
        lost = ["biases"] if self.bias else ["constants"]
        if signed:
            asks = "asks" if len(signed) == 1 else "ask"
            lost.append(f"units without inputs of the sign that {' and '.join(sorted(signed))} {asks} for")
        remedy = "compare places within the map, not its sum"
        if self.bias:
            remedy += "; bias=False shares out what biases got"
        return (
            f"{what} adds up to {total:.4g}, the score is {score:.4g}: {' and '.join(lost)} kept the rest: {remedy}",
        )

    def emit(self, build: Build) -> Emitted:
        build.before_softmax()
        (relevance,) = build.gradients([build.x], self._rules(build.problem), whole=True)
        return EmittedInput(build.real(relevance), reduce="sum")

    def _rules(self, problem: Problem) -> Table:
        """The rules for this model and target."""
        conv, dense, first = COMPOSITES[self.composite]
        conv, dense, first = self.conv or conv, self.dense or dense, self.first or first
        low, high = self._bounds(problem) if first == "box" else (None, None)
        of, name = problem.target.of, problem.input.name
        ends = tuple(b"" if bound is None else bound.tobytes() for bound in (low, high))
        numbers = (self.epsilon, self.gamma, self.alpha, self.bias)
        key = (problem.model.content_key, of, name, conv, dense, first, *numbers, *ends)

        def make() -> Table:
            composite = Composite(conv, dense, first, *numbers, low, high)
            lrp = propagation(problem.model, composite, of, name)
            if of in lrp.zone:
                raise MethodError(
                    f"the target {problem.asked} explains {of!r}, which comes before the first layer with weights: "
                    "choose a value behind one"
                )
            return Table(lrp, f"lrp {conv}, {dense}, {first}")

        return _tables.get(key, make)

    def _bounds(self, problem: Problem) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The least and the greatest value that an element of the input can have, broadcastable to it."""
        x, channel = problem.input.x, problem.input.channel
        ends: list[NDArray[Any]] = []
        if self.low is None or self.high is None:
            if problem.input.card is None:
                raise MethodError(
                    "the box rule needs the least and the greatest value of the input, known for images only: "
                    "give low and high, or take composite epsilon-gamma"
                )
            keep = None if channel is None else tuple(a for a in range(x.ndim) if a != channel)
            ends = [baseline(problem, name).max(axis=keep, keepdims=True) for name in ("black", "white")]
        wide = (1,) * x.ndim
        low = np.minimum(*ends) if self.low is None else np.full(wide, self.low)
        high = np.maximum(*ends) if self.high is None else np.full(wide, self.high)
        if (low >= high).any():
            raise MethodError(f"low must be less than high, got {float(low.max())} and {float(high.min())}")
        return low.astype(np.float32), high.astype(np.float32)
