"""What was applied to scores at the end of a graph: softmax, sigmoid, their logarithms, in every exporter's dialect.

    softmax       Softmax; exp(a) / sum(exp(a)) by Div or Reciprocal, a with or without its maximum subtracted;
                  exp(log softmax); the probabilities of a classifier of ai.onnx.ml
    log-softmax   LogSoftmax; log(softmax); x - logsumexp(x)
    sigmoid       Sigmoid; 1 / (1 + exp(-x)); (1 + tanh(x / 2)) / 2; exp(-softplus(-x)); HardSigmoid

Values that only carry scores on (Reshape, Cast, Clip to 0..1, Dropout, a mean of probabilities, both branches of an If)
are looked through.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from onnx import GraphProto, NodeProto, numpy_helper

from ..graph.model import Model
from ..proto.attributes import attributes
from ..proto.nodes import plain_domain, subgraphs
from ..proto.operators import MICROSOFT, ML

Kind = Literal["softmax", "log-softmax", "sigmoid", "votes"]

# Operators that pass scores on as they are.
_CARRIERS = frozenset(
    """Identity Cast Reshape Flatten Squeeze Unsqueeze QuantizeLinear DequantizeLinear Transpose Dropout Expand
    Slice Gather""".split()
)
_MOVERS = frozenset("Reshape Flatten Squeeze Unsqueeze Transpose Slice Gather Expand".split())
_NAMED: dict[str, Kind] = {
    "Softmax": "softmax",
    "QLinearSoftmax": "softmax",
    "LogSoftmax": "log-softmax",
    "Sigmoid": "sigmoid",
    "QLinearSigmoid": "sigmoid",
    "HardSigmoid": "sigmoid",
}
_DEEPEST = 40


@dataclass(frozen=True)
class ScoreFunction:
    """A function that was applied to scores.

    kind: "votes" are probabilities that no logits stand behind (trees, nearest neighbours).
    node: the node that computes it, or the last of several. logits: the value it was applied to, if that stands in the
    main graph. moved: whether axes were moved between it and the value asked for.
    """

    kind: Kind
    node: NodeProto
    logits: str | None = None
    moved: bool = False

    @property
    def where(self) -> str:
        return f"{self.node.op_type} {self.node.name or next((o for o in self.node.output if o), '')!r}"


def score_function(model: Model, name: str) -> ScoreFunction | None:
    """The function that the value `name` comes out of, None if it holds plain numbers."""
    return _Scope(model, model.graph).function(name)


def last_node(model: Model, name: str) -> NodeProto | None:
    """The node that computes the numbers of `name`, carriers looked through."""
    return _Scope(model, model.graph).carried(name)[0]


class _Scope:
    """A graph, and the graphs around it: what makes a value, what a constant holds."""

    def __init__(self, model: Model, graph: GraphProto, outer: _Scope | None = None) -> None:
        self.model, self.graph, self.outer = model, graph, outer
        self._makers = {o: n for n in graph.node for o in n.output if o} if outer else None
        self._stored = {t.name: t for t in graph.initializer} if outer else {}

    def producer(self, name: str) -> NodeProto | None:
        if self._makers is None:
            return self.model.producer(name)
        found = self._makers.get(name)
        return found if found is not None or self.outer is None else self.outer.producer(name)

    def constant(self, name: str) -> float | None:
        """The number that a constant of one element holds."""
        if name in self._stored:
            array: np.ndarray | None = numpy_helper.to_array(self._stored[name])
        elif self.outer is not None:
            node = self.producer(name)
            if node is not None and node.op_type == "Constant":
                value = attributes(node).get("value")
                array = None if value is None else numpy_helper.to_array(value)
            else:
                return self.outer.constant(name)
        else:
            array = self.model.constant(name)
        return float(array.reshape(())) if array is not None and array.size == 1 and array.dtype.kind in "fiu" else None

    def carried(self, name: str) -> tuple[NodeProto | None, str, bool]:
        """The node behind the carriers of `name`, the value it makes, and whether axes were moved on the way."""
        moved, node = False, self.producer(name)
        for _ in range(_DEEPEST):
            if node is None or node.op_type not in _CARRIERS or not node.input:
                break
            moved = moved or node.op_type in _MOVERS
            name = node.input[0]
            node = self.producer(name)
        return node, name, moved

    def function(self, name: str, deep: int = 0) -> ScoreFunction | None:
        node, _, moved = self.carried(name)
        if node is None or deep > _DEEPEST:
            return None
        found = self._at(node, deep)
        return None if found is None else replace(found, moved=found.moved or moved)

    def _at(self, node: NodeProto, deep: int) -> ScoreFunction | None:
        domain = plain_domain(node.domain)
        if node.op_type in _NAMED and domain in ("", MICROSOFT):
            return self._found(_NAMED[node.op_type], node, node.input[0])
        if domain == ML:
            return ScoreFunction("votes", node) if _classifies(node) else None
        if node.op_type == "If":
            return self._branches(node, deep)
        if node.op_type in ("ReduceMean", "GlobalAveragePool", "Clip", "Min", "Max") and self._keeps_probability(node):
            inner = self.function(node.input[0], deep + 1)
            return None if inner is None or inner.kind == "log-softmax" else replace(inner, node=node, logits=None)
        for read in (self._divided, self._log_softmax, self._sigmoid, self._exponential, self._both_sides):
            found = read(node, deep)
            if found is not None:
                return found
        return None

    def _found(self, kind: Kind, node: NodeProto, logits: str) -> ScoreFunction:
        return ScoreFunction(kind, node, logits if self.outer is None else None)

    def _branches(self, node: NodeProto, deep: int) -> ScoreFunction | None:
        kinds = []
        for graph in subgraphs(node):
            if not graph.output:
                return None
            kinds.append(_Scope(self.model, graph, self).function(graph.output[0].name, deep + 1))
        if not kinds or kinds[0] is None or any(k is None or k.kind != kinds[0].kind for k in kinds):
            return None
        return replace(kinds[0], logits=None)

    def _keeps_probability(self, node: NodeProto) -> bool:
        """Whether a mean of probabilities, or a clip within 0 to 1, leaves them probabilities."""
        if node.op_type in ("ReduceMean", "GlobalAveragePool"):
            return True
        bounds = [self.constant(name) for name in node.input[1:] if name]
        bounds += [v for k, v in attributes(node).items() if k in ("min", "max")]
        return all(bound is not None and -1e-3 <= bound <= 1 for bound in bounds)

    # ---- softmax, written out

    def _divided(self, node: NodeProto, deep: int) -> ScoreFunction | None:
        """exp(a) / sum(exp(a)) with Div, or with Mul and Reciprocal; 1 / (1 + exp(-x)) with Div."""
        if node.op_type == "Div":
            top, bottom = self.producer(node.input[0]), self.carried(node.input[1])[0]
            if self.constant(node.input[0]) == 1.0:
                return self._one_over(node, node.input[1])
        elif node.op_type == "Mul":
            pairs = [(a, b) for a, b in (node.input[:2], node.input[1::-1]) if (p := self.carried(b)[0]) is not None]
            pairs = [(a, b) for a, b in pairs if (p := self.carried(b)[0]) is not None and p.op_type == "Reciprocal"]
            if not pairs:
                return None
            inverse = self.carried(pairs[0][1])[0]
            assert inverse is not None
            top, bottom = self.producer(pairs[0][0]), self.carried(inverse.input[0])[0]
        else:
            return None
        if top is None or bottom is None or (top.op_type, bottom.op_type) != ("Exp", "ReduceSum"):
            return None
        if self.carried(bottom.input[0])[1] != self.carried(top.output[0])[1] and bottom.input[0] != top.output[0]:
            return None
        return self._found("softmax", node, self._without_shift(top.input[0]))

    def _without_shift(self, name: str) -> str:
        """x of x - max(x), or of x - mean(x); `name` itself for other values."""
        node = self.producer(name)
        if node is not None and node.op_type == "Sub":
            shift = self.carried(node.input[1])[0]
            if shift is not None and shift.op_type in ("ReduceMax", "ReduceMean") and shift.input[0] == node.input[0]:
                return str(node.input[0])
        return name

    def _log_softmax(self, node: NodeProto, deep: int) -> ScoreFunction | None:
        """log(softmax), x - logsumexp(x), a - log(sum(exp(a)))."""
        if node.op_type == "Log":
            inner = self.function(node.input[0], deep + 1)
            return replace(inner, kind="log-softmax", node=node) if inner and inner.kind == "softmax" else None
        if node.op_type != "Sub":
            return None
        total = self.carried(node.input[1])[0]
        if total is not None and total.op_type == "ReduceLogSumExp" and total.input[0] == node.input[0]:
            return self._found("log-softmax", node, self._without_shift(node.input[0]))
        if total is not None and total.op_type == "Log":
            summed = self.carried(total.input[0])[0]
            power = self.producer(summed.input[0]) if summed is not None and summed.op_type == "ReduceSum" else None
            if power is not None and power.op_type == "Exp" and power.input[0] == node.input[0]:
                return self._found("log-softmax", node, self._without_shift(node.input[0]))
        return None

    # ---- sigmoid, written out

    def _one_over(self, node: NodeProto, name: str) -> ScoreFunction | None:
        """1 / (1 + exp(-x)), the denominator being `name`."""
        bottom = self.producer(name)
        if bottom is None or bottom.op_type != "Add":
            return None
        for one, power in (bottom.input[:2], bottom.input[1::-1]):
            made = self.producer(power)
            if self.constant(one) == 1.0 and made is not None and made.op_type == "Exp":
                inner = self._negated(made.input[0])
                return None if inner is None else self._found("sigmoid", node, inner)
        return None

    def _negated(self, name: str) -> str | None:
        """x of -x."""
        node = self.producer(name)
        if node is None:
            return None
        if node.op_type == "Neg":
            return str(node.input[0])
        if node.op_type == "Mul":
            return next((str(a) for a, b in (node.input[:2], node.input[1::-1]) if self.constant(b) == -1.0), None)
        if node.op_type == "Sub" and self.constant(node.input[0]) == 0.0:
            return str(node.input[1])
        return None

    def _sigmoid(self, node: NodeProto, deep: int) -> ScoreFunction | None:
        """1 / (1 + exp(-x)) with Reciprocal; tanh(x / 2) / 2 + 1 / 2 in its two forms."""
        if node.op_type == "Reciprocal":
            return self._one_over(node, node.input[0])
        outer = {"Mul": ("Add", 1.0), "Add": ("Mul", 0.5)}.get(node.op_type)
        if outer is None or len(node.input) < 2:
            return None
        for half, rest in (node.input[:2], node.input[1::-1]):
            made = self.producer(rest)
            if self.constant(half) != 0.5 or made is None or made.op_type != outer[0]:
                continue
            for number, power in (made.input[:2], made.input[1::-1]):
                tanh = self.producer(power)
                if self.constant(number) == outer[1] and tanh is not None and tanh.op_type == "Tanh":
                    return self._found("sigmoid", node, tanh.input[0])
        return None

    def _exponential(self, node: NodeProto, deep: int) -> ScoreFunction | None:
        """exp(log softmax(x)), exp(-softplus(-x))."""
        if node.op_type != "Exp":
            return None
        inner = self.function(node.input[0], deep + 1)
        if inner is not None and inner.kind == "log-softmax":
            return replace(inner, kind="softmax", node=node)
        plus = self.producer(self._negated(node.input[0]) or "")
        logits = self._negated(plus.input[0]) if plus is not None and plus.op_type == "Softplus" else None
        return None if logits is None else self._found("sigmoid", node, logits)

    def _both_sides(self, node: NodeProto, deep: int) -> ScoreFunction | None:
        """[1 - p, p] with p a probability, as scikit-learn's binary classifiers end."""
        if node.op_type != "Concat" or len(node.input) != 2:
            return None
        first = self.producer(node.input[0])
        if first is None or first.op_type != "Sub" or first.input[1] != node.input[1]:
            return None
        inner = self.function(node.input[1], deep + 1) if self.constant(first.input[0]) == 1.0 else None
        return ScoreFunction("softmax", node) if inner is not None and inner.kind in ("sigmoid", "votes") else None


def _classifies(node: NodeProto) -> bool:
    after = attributes(node).get("post_transform", "NONE")
    # Trees and nearest neighbours vote; linear classifiers and SVMs give raw scores unless the attribute is set.
    votes = node.op_type in ("TreeEnsembleClassifier", "Normalizer")
    return votes or after in ("SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")


def as_scores(function: ScoreFunction | None) -> Literal["logits", "probabilities", "log-probabilities"]:
    """What a value that comes out of `function` holds."""
    if function is None:
        return "logits"
    return "log-probabilities" if function.kind == "log-softmax" else "probabilities"
