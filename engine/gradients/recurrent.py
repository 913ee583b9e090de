"""LSTM, GRU and RNN: written out as a Scan over time, which `control.scan` differentiates.

The products with the inputs are taken out of the loop: one MatMul over all steps. The graph does not grow with the
length of the sequence, which may be dynamic. The formulas are those of the ONNX standard (operators LSTM, GRU, RNN).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import onnx
from onnx import NodeProto, ValueInfoProto

from ..errors import NoGradient
from ..proto.values import shape_of, tensor_type
from .registry import decompose

if TYPE_CHECKING:
    from ..emitter.emitter import Emitter
    from ..emitter.node import Node

Activation: TypeAlias = "Callable[[Emitter, str], str]"
# (scope, projected input of the step, states before it) -> states after it; the first state is the output
Cell: TypeAlias = "Callable[[Emitter, str, Sequence[str]], list[str]]"

_ALPHA = {"affine": 1.0, "leakyrelu": 0.01, "thresholdedrelu": 1.0, "scaledtanh": 1.0, "hardsigmoid": 0.2, "elu": 1.0}
_BETA = {"affine": 0.0, "scaledtanh": 1.0, "hardsigmoid": 0.5}

# Of the inputs X, W, R, B, sequence_lens, initial_h, initial_c, P of an LSTM; GRU and RNN have the first six.
_RANKS = (3, 3, 3, 2, 1, 3, 3, 2)


def _activations(node: Node, defaults: Sequence[str], directions: int) -> list[list[Activation]]:
    """Per direction, the activation functions; parameters are taken from the lists in the order of use."""
    names = node.attribute("activations") or list(defaults) * directions
    alphas, betas = list(node.attribute("activation_alpha", [])), list(node.attribute("activation_beta", []))
    made: list[Activation] = []
    for name in names:
        kind = name.lower()
        alpha = (alphas.pop(0) if alphas else _ALPHA[kind]) if kind in _ALPHA else 0.0
        beta = (betas.pop(0) if betas else _BETA[kind]) if kind in _BETA else 0.0
        made.append(_activation(node, kind, float(alpha), float(beta)))
    count = len(defaults)
    return [made[i * count : (i + 1) * count] for i in range(directions)]


def _activation(node: Node, kind: str, alpha: float, beta: float) -> Activation:
    table: dict[str, Activation] = {
        "relu": lambda op, x: op.Relu(x),
        "tanh": lambda op, x: op.Tanh(x),
        "sigmoid": lambda op, x: op.Sigmoid(x),
        "softsign": lambda op, x: op.Softsign(x),
        "softplus": lambda op, x: op.Softplus(x),
        "affine": lambda op, x: op.Add(op.Mul(x, alpha), beta),
        "leakyrelu": lambda op, x: op.LeakyRelu(x, alpha=alpha),
        "thresholdedrelu": lambda op, x: op.ThresholdedRelu(x, alpha=alpha),
        "scaledtanh": lambda op, x: op.Mul(op.Tanh(op.Mul(x, beta)), alpha),
        "hardsigmoid": lambda op, x: op.HardSigmoid(x, alpha=alpha, beta=beta),
        "elu": lambda op, x: op.Elu(x, alpha=alpha),
    }
    if kind not in table:
        raise NoGradient(f"no gradient for {node.op_type!r} (node {node.label!r}): unknown activation {kind!r}")
    return table[kind]


def _split(op: Emitter, x: str, parts: int, axis: int = -1) -> list[str]:
    return [x] if parts == 1 else op.emit_several("Split", x, outputs=parts, axis=axis, num_outputs=parts)


def _take(op: Emitter, x: str, direction: int) -> str:
    """One direction of a parameter whose first axis runs over directions."""
    return op.Squeeze(op.Slice(x, [direction], [direction + 1], [0]), [0])


class _Layer:
    """One recurrent node, direction by direction."""

    def __init__(self, node: Node, op: Emitter, gates: int, states: int) -> None:
        self.node, self.op, self.gates = node, op, gates
        self.batch_first = node.attribute("layout", 0) == 1
        x = node.inputs[0]
        for name, rank in zip(node.inputs, _RANKS, strict=False):
            if name and shape_of(op.type(name)) is None:  # as in and behind an If: the standard says it
                op.set_type(name, tensor_type(op.elem_type(name), (None,) * rank))
        self.x = op.Transpose(x, perm=[1, 0, 2]) if self.batch_first else x
        hidden = node.attribute("hidden_size") or op.shape(node.inputs[2])[-1]
        if not isinstance(hidden, int):
            raise NoGradient(f"no gradient for {node.op_type!r} (node {node.label!r}): its hidden size is not known")
        self.hidden = hidden
        way = node.attribute("direction", "forward")
        self.backwards = [False, True] if way == "bidirectional" else [way == "reverse"]
        self.lengths = node.input(4)
        self.initial = [node.input(5 + i) for i in range(states)]
        self.clip = float(node.attribute("clip", 0.0))

    def _lengths64(self) -> str:
        assert self.lengths is not None
        return self.op.Cast(self.lengths, to=onnx.TensorProto.INT64)

    def limit(self, op: Emitter, x: str) -> str:
        """The bound that the attribute `clip` puts on the arguments of activations."""
        return op.Clip(x, -self.clip, self.clip) if self.clip else x

    def projected(self, direction: int, bias: str | None) -> str:
        """x W^T + bias for all steps: (time, batch, gates * hidden)."""
        op = self.op
        x = self.x
        if self.lengths is not None and self.backwards[direction]:
            x = op.ReverseSequence(x, self._lengths64(), time_axis=0, batch_axis=1)
        y = op.MatMul(x, op.Transpose(_take(op, self.node.inputs[1], direction), perm=[1, 0]))
        return y if bias is None else op.Add(y, bias)

    def start(self, direction: int) -> list[str]:
        op, states = self.op, []
        for initial in self.initial:
            if initial is None:
                shape = op.Concat(op.size_of(self.x, 1), [self.hidden], axis=0)
                zero = onnx.helper.make_tensor("", op.elem_type(self.x), [1], [0.0])
                states.append(op.ConstantOfShape(shape, value=zero))
            else:
                axis = 1 if self.batch_first else 0
                states.append(op.Squeeze(op.Slice(initial, [direction], [direction + 1], [axis]), [axis]))
        return states

    def run(self, direction: int, projected: str, cell: Cell) -> tuple[str, list[str]]:
        """All outputs (time, batch, hidden) and the last states (batch, hidden) of one direction."""
        op = self.op
        inner = op.scope()
        elem = op.elem_type(self.x)
        batch = op.shape(self.x)[1]
        states = [self._formal(inner, elem, (batch, self.hidden)) for _ in self.initial]
        step = self._formal(inner, elem, (batch, self.gates * self.hidden))
        formals = [*states, step]
        feeds = [projected]
        after = cell(inner, step.name, [s.name for s in states])
        output = after[0]
        if self.lengths is not None:
            valid = self._formal(inner, onnx.TensorProto.BOOL, (batch, 1))
            formals.append(valid)
            times = op.Range(op.const(0), op.Squeeze(op.size_of(self.x, 0), [0]), op.const(1))
            feeds.append(op.Unsqueeze(op.Less(op.Unsqueeze(times, [1]), self._lengths64()), [2]))
            after = [inner.Where(valid.name, a, s.name) for a, s in zip(after, states, strict=True)]
            output = inner.Where(valid.name, output, inner.const(0.0, like=output))
        results = []
        for value in (*after, output):
            results.append(inner.fresh("step_output"))
            inner.add(NodeProto(op_type="Identity", input=[value], output=[results[-1]], name=results[-1]))
        body = inner.graph(f"{self.node.label}_step", formals, results)
        names = [op.fresh("Scan") for _ in results]
        backwards = int(self.backwards[direction] and self.lengths is None)
        directions = [backwards] + [0] * (len(feeds) - 1)
        scan = onnx.helper.make_node(
            "Scan", [*self.start(direction), *feeds], names, names[0], body=body, num_scan_inputs=len(feeds),
            scan_input_directions=directions, scan_output_directions=[backwards],
        )  # fmt: skip
        op.add(scan)
        for name in names[:-1]:
            op.set_type(name, tensor_type(elem, (batch, self.hidden)))
        op.set_type(names[-1], tensor_type(elem, (op.shape(self.x)[0], batch, self.hidden)))
        y = names[-1]
        if self.lengths is not None and self.backwards[direction]:
            y = op.ReverseSequence(y, self._lengths64(), time_axis=0, batch_axis=1)
        return y, names[:-1]

    @staticmethod
    def _formal(inner: Emitter, elem: int, shape: tuple[int | str | None, ...]) -> ValueInfoProto:
        info = ValueInfoProto(name=inner.fresh("step"))
        info.type.CopyFrom(tensor_type(elem, shape))
        inner.set_type(info.name, info.type)
        return info

    def outputs(self, runs: Sequence[tuple[str, list[str]]]) -> list[str | None]:
        """Y, Y_h (and Y_c) in the node's layout."""
        op = self.op
        together = [op.Unsqueeze(y, [1]) for y, _ in runs]
        y = together[0] if len(together) == 1 else op.Concat(*together, axis=1)  # (time, directions, batch, hidden)
        if self.batch_first:
            y = op.Transpose(y, perm=[2, 0, 1, 3])
        result: list[str | None] = [y]
        for index in range(len(self.initial)):
            last = [op.Unsqueeze(states[index], [0]) for _, states in runs]
            h = last[0] if len(last) == 1 else op.Concat(*last, axis=0)
            result.append(op.Transpose(h, perm=[1, 0, 2]) if self.batch_first else h)
        return result


def _biases(layer: _Layer, direction: int) -> tuple[str | None, str | None]:
    """The biases of the input and of the recurrent products."""
    bias = layer.node.input(3)
    if bias is None:
        return None, None
    first, second = _split(layer.op, _take(layer.op, bias, direction), 2)
    return first, second


@decompose("RNN")
def rnn(node: Node, op: Emitter) -> list[str | None]:
    layer = _Layer(node, op, 1, 1)
    functions = _activations(node, ["Tanh"], len(layer.backwards))
    runs = []
    for direction in range(len(layer.backwards)):
        first, second = _biases(layer, direction)
        bias = None if first is None else op.Add(first, second)
        recurrent = op.Transpose(_take(op, node.inputs[2], direction), perm=[1, 0])
        (f,) = functions[direction]

        def cell(
            scope: Emitter, x: str, states: Sequence[str], recurrent: str = recurrent, f: Activation = f
        ) -> list[str]:
            return [f(scope, layer.limit(scope, scope.Add(x, scope.MatMul(states[0], recurrent))))]

        runs.append(layer.run(direction, layer.projected(direction, bias), cell))
    return layer.outputs(runs)


@decompose("GRU")
def gru(node: Node, op: Emitter) -> list[str | None]:
    layer = _Layer(node, op, 3, 1)
    functions = _activations(node, ["Sigmoid", "Tanh"], len(layer.backwards))
    reset_after = node.attribute("linear_before_reset", 0) != 0
    runs = []
    for direction in range(len(layer.backwards)):
        first, second = _biases(layer, direction)
        weights = op.Transpose(_take(op, node.inputs[2], direction), perm=[1, 0])
        bias, inner_bias = first, None
        if first is not None and second is not None:
            # The recurrent bias of the candidate is inside the reset product if that comes after the product.
            if reset_after:
                sizes = [2 * layer.hidden, layer.hidden]
                gates, inner_bias = op.emit_several("Split", second, sizes, outputs=2, axis=0)
                bias = op.Add(first, op.Pad(gates, [0, layer.hidden]))
            else:
                bias = op.Add(first, second)
        sizes = [2 * layer.hidden, layer.hidden]
        of_gates, of_candidate = op.emit_several("Split", weights, sizes, outputs=2, axis=1)
        f, g = functions[direction]

        def cell(
            scope: Emitter, x: str, states: Sequence[str], of_gates: str = of_gates, of_candidate: str = of_candidate,
            inner_bias: str | None = inner_bias, f: Activation = f, g: Activation = g, sizes: list[int] = sizes,
        ) -> list[str]:  # fmt: skip
            h = states[0]
            x_gates, x_candidate = scope.emit_several("Split", x, sizes, outputs=2, axis=-1)
            both = layer.limit(scope, scope.Add(x_gates, scope.MatMul(h, of_gates)))
            z, r = _split(scope, f(scope, both), 2)
            if reset_after:
                product = scope.MatMul(h, of_candidate)
                product = product if inner_bias is None else scope.Add(product, inner_bias)
                product = scope.Mul(r, product)
            else:
                product = scope.MatMul(scope.Mul(r, h), of_candidate)
            candidate = g(scope, layer.limit(scope, scope.Add(x_candidate, product)))
            return [scope.Add(candidate, scope.Mul(z, scope.Sub(h, candidate)))]

        runs.append(layer.run(direction, layer.projected(direction, bias), cell))
    return layer.outputs(runs)


@decompose("LSTM")
def lstm(node: Node, op: Emitter) -> list[str | None]:
    layer = _Layer(node, op, 4, 2)
    functions = _activations(node, ["Sigmoid", "Tanh", "Tanh"], len(layer.backwards))
    coupled = node.attribute("input_forget", 0) != 0
    runs = []
    for direction in range(len(layer.backwards)):
        first, second = _biases(layer, direction)
        bias = None if first is None else op.Add(first, second)
        recurrent = op.Transpose(_take(op, node.inputs[2], direction), perm=[1, 0])
        peepholes = node.input(7)
        peeps = None if peepholes is None else _split(op, _take(op, peepholes, direction), 3)  # input, output, forget
        f, g, h = functions[direction]

        def cell(
            scope: Emitter, x: str, states: Sequence[str], recurrent: str = recurrent,
            peeps: list[str] | None = peeps, f: Activation = f, g: Activation = g, h: Activation = h,
        ) -> list[str]:  # fmt: skip
            hidden, memory = states
            i, o, forget, c = _split(scope, scope.Add(x, scope.MatMul(hidden, recurrent)), 4)
            if peeps is not None:
                i = scope.Add(i, scope.Mul(peeps[0], memory))
                forget = scope.Add(forget, scope.Mul(peeps[2], memory))
            i = f(scope, layer.limit(scope, i))
            kept = scope.Sub(scope.const(1.0, like=i), i) if coupled else f(scope, layer.limit(scope, forget))
            memory = scope.Add(scope.Mul(kept, memory), scope.Mul(i, g(scope, layer.limit(scope, c))))
            if peeps is not None:
                o = scope.Add(o, scope.Mul(peeps[1], memory))
            return [scope.Mul(f(scope, layer.limit(scope, o)), h(scope, memory)), memory]

        runs.append(layer.run(direction, layer.projected(direction, bias), cell))
    return layer.outputs(runs)
