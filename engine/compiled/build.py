"""A model to which an explanation is being added: gradients first, then whatever is computed from them.

`Build` is for names of values what `Problem` is for arrays. Gradients are asked for before anything else is emitted:
each call differentiates the graph as it is, and the forward pass is shared by all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, TypeProto, ValueInfoProto

from ...kernels.upsample import taps
from ..autodiff.path import Rules
from ..autodiff.vjp import differentiated
from ..emitter.assemble import finish
from ..emitter.emitter import Emitter
from ..emitter.graph_types import GraphTypes
from ..errors import MethodError, ModelError, ShapeError, TargetError
from ..graph.dynamic_batch.make_dynamic import make_dynamic
from ..graph.model import Model
from ..graph.split import expose
from ..graph.upgrade import GRADIENT_OPSET, upgraded
from ..inference.session import run
from ..proto.edit import ordered, rename
from ..proto.external_data import nbytes
from ..proto.nodes import reads
from ..targets.resolved import ClassTarget, FixedTarget
from .linear_head import Head, find_head

if TYPE_CHECKING:
    from ..attribution.problem import Problem

PREFIX = "saliency"
TARGET = "target_class"
# Maps of up to that many cells a side are resampled by two products of matrices, several times faster than ONNX
# Runtime's Resize; of larger ones the products would do more work.
_SMALL = 64


class Build:
    """A model to which an explanation is being added: gradients first, then whatever is computed from them.

    Attributes: `problem` (model, target, layers, and an example of the input: zeros), `x` the explained input's name,
    `runtime` whether the class comes as an input.
    """

    def __init__(self, problem: Problem, runtime: bool = False) -> None:
        self.problem, self.runtime = problem, runtime
        self.x = problem.input.name
        self._model: Model | None = None
        self._seeds: dict[str, str] = {}
        self._op: Emitter | None = None
        self._cotangents: dict[str, str] = {}

    # --- gradients: before anything is emitted ---

    def before_softmax(self) -> None:
        """Explain the scores before the softmax from now on, where the output holds probabilities."""
        assert self._model is None
        self.problem = self.problem.before_softmax()

    def gradients(self, wrt: Sequence[str], rules: Rules = None, whole: bool = False) -> list[str]:
        """The score's gradient (N, ...) by each of `wrt`: names of values. Raises GradientError and its subclasses.

        whole: by the rules of all layers, the last one too, where else a row of its weights stands for it.
        """
        assert self._op is None, "gradients come first"
        model = self.model
        known = {v.name for v in (*model.graph.input, *model.graph.output)}
        start = self.problem.target.of if whole else self._start(wrt)
        made = differentiated(model, start, list(dict.fromkeys(wrt)), rules, wide=True)
        self._seeds.update((v.name, start) for v in made.graph.input if v.name not in known)
        names = [v.name for v in made.graph.output][len(model.graph.output) :]
        self._model = made
        by_value = dict(zip(dict.fromkeys(wrt), names, strict=True))
        return [by_value[name] for name in wrt]

    @property
    def model(self) -> Model:
        """The model as it is so far, opset 18 or newer."""
        if self._model is None:
            self._model = upgraded(self.problem.model, GRADIENT_OPSET)
        return self._model

    # --- emitting ---

    @property
    def op(self) -> Emitter:
        """Emits nodes behind everything that is there."""
        if self._op is None:
            nodes = [NodeProto.FromString(n.SerializeToString()) for n in self.model.graph.node]
            self._op = Emitter(GraphTypes(self.model, nodes, self.model.opset))
            self._op.prefix = PREFIX
        return self._op

    def real(self, name: str) -> str:
        """The value in float32."""
        op = self.op
        return name if op.elem_type(name) == TensorProto.FLOAT else op.Cast(name, to=TensorProto.FLOAT)

    def plane(self) -> str | list[int]:
        """(H, W) of the input: a list where they are fixed, else the name of an int64 vector."""
        axes = self.problem.input.axes
        if axes is None:
            raise MethodError("the input is not an image: there is no plane to bring a map to")
        shape = self.op.shape(self.x)
        fixed = [d for a in axes if isinstance(d := shape[a], int)]
        return fixed if len(fixed) == 2 else self.op.Concat(*(self.op.size_of(self.x, a) for a in axes), axis=0)

    def resized(self, maps: str, size: str | Sequence[int]) -> str:
        """(N, C, h, w) sampled at (H, W), bilinear with half-pixel centres, as `kernels.upsample` does."""
        shape = self.op.shape(maps)
        if not isinstance(size, str) and list(shape[2:]) == list(size):
            return maps
        sides = [d for d in shape[2:] if isinstance(d, int)]
        if not isinstance(size, str) and len(sides) == 2 and max(sides) <= _SMALL:
            down, across = (_bilinear(side, wide) for side, wide in zip(sides, size, strict=True))
            return self.op.MatMul(self.op.const(down), self.op.MatMul(maps, self.op.const(across.T.copy())))
        # Sizes of all axes: ONNX Runtime's optimiser moves transpositions through a Resize, and fails where that names
        # its axes.
        wanted = self.op.const(list(size)) if not isinstance(size, str) else size
        sizes = self.op.Concat(self.op.shape_of(maps, 0, 2), wanted, axis=0)
        options = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        return self.op.Resize(maps, None, None, sizes, **options)

    def greatest(self, maps: str) -> str:
        """The greatest magnitude of each sample of (N, ...), 1 where all is zero: (N, 1, ...)."""
        op = self.op
        axes = list(range(1, op.rank(maps)))
        most = op.ReduceMax(op.Abs(maps), axes, keepdims=1)
        return op.Where(op.Greater(most, op.const(0, like=most)), most, op.const(1, like=most))

    # --- the target ---

    @cached_property
    def _head(self) -> tuple[Head, frozenset[str]] | None:
        """The last linear layer, where the target is made of classes, and the values before it."""
        target = self.problem.target
        if not isinstance(target, ClassTarget):
            return None
        head = find_head(self.problem.model, target.of, target.axis)
        return None if head is None else (head, self.problem.model.ancestors(head.value))

    def _start(self, wrt: Sequence[str]) -> str:
        """The value from which the gradient is pulled back: the explained one, or what the last linear layer reads."""
        if self._head is None or not set(wrt) <= self._head[1]:
            return self.problem.target.of
        return self._head[0].value

    def cotangent(self, start: str | None = None) -> str:
        """(N, ...) in shape and type of the explained value: score = sum(y * cotangent); or of the value `start`.

        float32 where that is float16.
        """
        target = self.problem.target
        start = start or target.of
        if start not in self._cotangents:
            if isinstance(target, FixedTarget):
                self._cotangents[start] = self._fixed_cotangent(target)
            elif self._head is not None and start != target.of:
                self._cotangents[start] = self._row_cotangent(target, self._head[0])
            else:
                self._cotangents[start] = self._class_cotangent(target)
        return self._cotangents[start]

    def _scores(self, target: ClassTarget) -> tuple[str, str]:
        """The class scores (N, C), float32, and C as a vector of one."""
        op = self.op
        rank = op.rank(target.of)
        if not rank:  # one number, without samples
            return self.real(op.Reshape(target.of, op.const([1, 1]))), op.const([1])
        axis = target.axis if rank > target.axis else rank - 1
        count = op.size_of(target.of, axis)
        return self.real(op.Reshape(target.of, op.Concat(op.const([-1]), count, axis=0))), count

    def _terms(self, target: ClassTarget, scores: str) -> list[tuple[str, float, bool]]:
        """Indices (1,) or (N,) of the classes, each with its weight, and whether there surely is such a class."""
        op = self.op
        if self.runtime:
            op.set_type(TARGET, onnx.helper.make_tensor_type_proto(TensorProto.INT64, ["targets"]))
            best = op.ArgMax(scores, axis=1, keepdims=0)
            return [(op.Where(op.Less(TARGET, op.const(0, like=TARGET)), best, TARGET), 1.0, False)]
        terms = [(int(c), float(w)) for c, w in zip(target.codes[0], target.weights[0], strict=True) if w]
        ranks = [-code for code, _ in terms if code < 0]
        if ranks == [1] and len(terms) == 1:
            return [(op.ArgMax(scores, axis=1, keepdims=0), terms[0][1], True)]
        order = op.emit_several("TopK", scores, op.const([max(ranks)]), axis=-1, outputs=2)[1] if ranks else ""
        width = op.shape(scores)[1]
        found = []
        for code, weight in terms:
            if code < 0:
                found.append((op.Reshape(op.Gather(order, op.const([-code - 1]), axis=1), [-1]), weight, True))
            else:
                found.append((op.const([code]), weight, isinstance(width, int) and code < width))
        return found

    def _row_cotangent(self, target: ClassTarget, head: Head) -> str:
        """Of what the last linear layer reads: the sum of its weights' rows for the classes."""
        op = self.op
        scores, count = self._scores(target)
        deep = [d for d in op.shape(head.value)[1:] if isinstance(d, int)]
        known = len(deep) == op.rank(head.value) - 1
        total, alone = "", True
        for index, weight, sure in self._terms(target, scores):
            # A class that does not exist has a gradient of zero, as in a one-hot vector.
            there = None if sure else op.And(op.Less(index, count), op.GreaterOrEqual(index, op.Neg(count)))
            row = op.Where(there, index, op.const(0, like=index)) if there else index
            rows = op.Gather(head.weights, row, axis=head.axis)
            if head.axis:
                rows = op.Transpose(rows, perm=[1, 0])
            elif op.rank(rows) > 2:
                rows = op.Flatten(rows)
            if there:
                rows = op.Mul(rows, op.Unsqueeze(op.cast(there, rows), [1]))
            if weight != 1:
                rows = op.Mul(rows, op.const(weight, like=rows))
            total = op.Add(total, rows) if total else rows
            alone = alone and op.shape(index) == (1,)
        if alone:
            total = op.Expand(total, op.Concat(op.size_of(head.value, 0), op.const([1]), axis=0))
        return op.Reshape(self._as_cotangent(total, head.value), [-1, *deep] if known else op.shape_of(head.value))

    def _class_cotangent(self, target: ClassTarget) -> str:
        op, of = self.op, target.of
        scores, count = self._scores(target)
        total = ""
        for index, weight, _ in self._terms(target, scores):
            values = op.const(np.array([0, weight], np.float32))
            term = op.OneHot(index, count, values, axis=-1)
            total = op.Add(total, term) if total else term
        return op.Reshape(self._as_cotangent(op.Expand(total, op.Shape(scores)), of), op.shape_of(of))

    def _fixed_cotangent(self, target: FixedTarget) -> str:
        op = self.op
        shape = op.shape(target.of)
        fixed = all(isinstance(d, int) for d in shape[1:])
        if target.emit is not None and not (target.constant and fixed):
            return self._as_cotangent(target.emit(op, target.of), target.of)
        if not target.constant:
            raise TargetError(
                f"the target {self.problem.asked} depends on the answer in a way that no graph here chooses: name the "
                "channel, place or class"
            )
        if not fixed:
            raise TargetError(f"the target {self.problem.asked} needs a fixed size of {target.of!r}: set the input's")
        constant = op.const(np.asarray(self.problem.cotangents[:1], np.float32))
        cotangent = self._as_cotangent(constant, target.of)
        if not shape:  # one number, without samples: Expand would keep their axis
            return op.Reshape(cotangent, op.const(np.array([], np.int64)))
        return op.Expand(cotangent, op.Shape(target.of))

    def _as_cotangent(self, value: str, of: str) -> str:
        """In the type of the value that it belongs to; what flows back through a float16 model is float32."""
        return self.real(value) if self.op.elem_type(of) == TensorProto.FLOAT16 else self.op.cast(value, of)

    # --- passes on other inputs ---

    def repeated(self, value: str, count: int) -> str:
        """(N, ...) -> (N * count, ...), sample by sample."""
        op = self.op
        rank = op.rank(value)
        wide = op.Expand(op.Unsqueeze(value, [1]), [1, count] + [1] * (rank - 1))
        return self.folded(wide)

    def folded(self, value: str) -> str:
        """(N, S, ...) -> (N * S, ...)."""
        op = self.op
        rest = op.shape_of(value, 2) if op.rank(value) > 2 else op.const(np.array([], np.int64))
        return op.Reshape(value, op.Concat(op.const([-1]), rest, axis=0), allowzero=0)

    def unfolded(self, value: str, count: int) -> str:
        """(N * S, ...) -> (N, S, ...)."""
        op = self.op
        rest = op.shape_of(value, 1) if op.rank(value) > 1 else op.const(np.array([], np.int64))
        return op.Reshape(value, op.Concat(op.const([-1, count]), rest, axis=0))

    def gradients_at(self, x: str, count: int) -> str:
        """The gradient (N * count, ...) by the input at x (N * count, ...), each with its sample's target."""
        model = self.batched()
        start = self._start([self.x])
        graph = differentiated(model, start, [self.x], wide=True)
        seed = graph.inputs[len(graph.inputs) - 1].name
        feeds = {name: self.repeated_input(name, count) for name in (v.name for v in model.inputs) if name != self.x}
        feeds |= {self.x: self.op.cast(x, self.x), seed: self.repeated(self.cotangent(start), count)}
        (found,) = self.copy(graph, feeds, [graph.graph.output[-1].name])
        return self.real(found)

    def repeated_input(self, name: str, count: int) -> str:
        """A model's input for a batch of `count` times as many samples."""
        return self.repeated(name, count) if self._repeats(name) else name

    def batched(self) -> Model:
        """The plain model, for any number of samples. Raises MethodError where it cannot be had."""
        model = self.problem.model
        try:
            dynamic = make_dynamic(model)
            two = {self.x: np.repeat(self.problem.input.x[:1], 2, 0)}
            for name, array in self.problem.input.others.items():
                batched = self._repeats(name)
                two[name] = np.repeat(array[:1], 2, 0) if batched else array
            exposed = expose(dynamic, [self.problem.target.of], only=True)
            read = {v.name for v in exposed.inputs}  # token ids of which only the embeddings are read are left out
            run(exposed, {name: array for name, array in two.items() if name in read})
        except (ShapeError, ModelError) as error:
            raise MethodError(
                f"the method runs the model on several inputs at once, and this model takes one: {error}"
            ) from None
        return dynamic

    def _repeats(self, name: str) -> bool:
        explained, own = self.problem.model.value(self.x).shape, self.problem.model.value(name).shape
        return bool(own and explained and own[0] == explained[0])

    def copy(self, part: Model, feeds: Mapping[str, str], outputs: Sequence[str]) -> list[str]:
        """Emit the nodes of `part` that make `outputs` once more, its inputs being the values `feeds`; new names."""
        op = self.op
        nodes = ordered([NodeProto.FromString(n.SerializeToString()) for n in part.graph.node], outputs)
        names = dict(feeds)
        used = {name for node in nodes for name in reads(node)}
        for tensor in part.graph.initializer:
            if tensor.name in used and tensor.name not in feeds and not self._is_stored(tensor):
                names[tensor.name] = op.fresh("constant")
                copied = TensorProto()
                copied.CopyFrom(tensor)
                copied.name = names[tensor.name]
                op.initializers[copied.name] = copied
                op.set_type(copied.name, onnx.helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims)))
        for node in nodes:
            for name in node.output:
                if name:
                    names[name] = op.fresh(f"batch/{name}")
        for node in nodes:
            rename(node, names)
            node.name = next((o for o in node.output if o), node.name)
            op.nodes.append(node)
        for name in outputs:
            value = part.value(name)
            if value.dtype is None:
                raise ShapeError(f"the type of {name!r} cannot be known: the model cannot be run inside itself")
            elem = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
            shape = None if value.shape is None else [d if isinstance(d, int) else None for d in value.shape]
            op.set_type(names[name], onnx.helper.make_tensor_type_proto(elem, shape))
        return [names[name] for name in outputs]

    def _is_stored(self, tensor: TensorProto) -> bool:
        """Whether the model holds the very same constant under that name."""
        own = self.op.known_types.stored.get(tensor.name)
        if own is None or own.data_type != tensor.data_type or list(own.dims) != list(tensor.dims):
            return False
        if nbytes(own) != nbytes(tensor):
            return False
        return bool(own.SerializeToString(deterministic=True) == tensor.SerializeToString(deterministic=True))

    # --- the end ---

    def finished(
        self, outputs: Mapping[str, str], entry: Entry | None, metadata: Mapping[str, str], default: bool
    ) -> Model:
        """The model: the source's inputs and outputs, the class input, and `outputs` (name -> value).

        entry: what takes the place of the explained input. default: whether the class input may be left out.
        """
        op, source = self.op, self.problem.source
        for seed, start in self._seeds.items():
            op.nodes.append(NodeProto(op_type="Identity", input=[self.cotangent(start)], output=[seed], name=seed))
        for name, value in outputs.items():
            op.nodes.append(NodeProto(op_type="Identity", input=[value], output=[name], name=name))
        nodes = [*op.known_types.nodes, *op.nodes]
        graph = GraphProto(name=self.model.graph.name or "model")
        kept = {v.name: v for v in self.model.graph.output}
        graph.output.extend(kept[v.name] for v in source.graph.output)
        for name, value in outputs.items():
            info = graph.output.add(name=name)
            info.type.CopyFrom(self._declared(value))
        if entry is not None:
            for node in nodes:
                rename(node, {self.x: entry.value})
                rename(node, {entry.placeholder: self.x})
        inputs = {v.name: v for v in self.model.graph.input if v.name not in self._seeds}
        for name, info in inputs.items():
            graph.input.append(entry.info if entry is not None and name == self.x else info)
        if any(TARGET in reads(node) for node in ordered(nodes, [v.name for v in graph.output])):
            graph.input.add(name=TARGET).type.CopyFrom(op.type(TARGET))
            if default:
                graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1], np.int64), TARGET))
        return finish(op, graph, nodes, metadata)

    def _declared(self, value: str) -> TypeProto:
        """The value's type, its first axis named as the explained input's: the batch."""
        op = self.op
        shape, batch = list(op.shape(value)), op.shape(self.x)[0]
        if shape and not isinstance(shape[0], int):
            shape[0] = batch
        kind: TypeProto = onnx.helper.make_tensor_type_proto(op.elem_type(value), shape)
        return kind


def _bilinear(before: int, after: int) -> NDArray[np.float32]:
    """The weights (after, before) with which `kernels.upsample` resamples one axis."""
    index, weight = taps(before, after, "bilinear")
    matrix = np.zeros((after, before), np.float32)
    np.add.at(matrix, (np.arange(after)[:, None], index), weight)
    return matrix


@dataclass(frozen=True)
class Entry:
    """What takes the place of the explained input, under its name: `info` declares it, `value` is made of it.

    The nodes that make it read `placeholder`, which gets the input's name when everything is emitted.
    """

    info: ValueInfoProto
    placeholder: str
    value: str
