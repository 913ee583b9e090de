"""A float32 model whose operators compute in float16, as far as float16 can: inputs and outputs stay float32.

Each operator is converted alone; its schema says which inputs and outputs share a type. What float16 cannot compute
stays float32, with casts around it: sums of many terms, powers, places, weights beyond 65504, and what follows the last
heavy operator, such as the softmax, or the boxes of a detector.

ONNX Runtime ships a converter (`onnxruntime.transformers.float16`). It is not used: it clips weights beyond 65504
without a word, writes two casts of one name where two operators that stay float32 read the same value, converts scales
of quantised operators that have to be float32, and puts the casts of graphs inside operators outside of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto

from ..caches import of_model
from ..errors import ModelError
from ..proto import external_data as external
from ..proto.edit import copied, rename, replace, replace_nodes
from ..proto.nodes import plain_domain, reads, subgraphs
from ..proto.operators import MICROSOFT
from .model import Model

# The property of a converted model: how much of it computes in float16.
NOTE = "onnxray.half"
_OF_FILE = "the file: "
_UNMEASURED = "; the range of its values is not known"
# What follows the sha256 of a converted model where results of it are told apart from those of the file.
HALF = "+half"
LARGEST = float(np.finfo(np.float16).max)
_SMALLEST = float(np.finfo(np.float16).smallest_subnormal)
# Of a normalisation: from the usual 1e-5 on, a variance that becomes 0 changes the result by 0.3 % at most.
_EPSILON = 9e-6

_HEAVY = frozenset(
    "Conv ConvTranspose DeformConv MatMul Gemm Einsum LSTM GRU RNN Attention MultiHeadAttention FusedMatMul "
    "FusedConv".split()
)
# Sums of many terms, powers, and places in a tensor: they leave what float16 holds.
_RANGE = frozenset(
    "Pow Exp ReduceSum ReduceSumSquare ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceProd CumSum "
    "LpNormalization LpPool GlobalLpPool LRN MeanVarianceNormalization Range TopK NonMaxSuppression RoiAlign "
    "MaxRoiPool GridSample AffineGrid".split()
)
# Whatever comes in, numbers of at most 1 come out.
_BOUNDED = frozenset("Softmax Sigmoid HardSigmoid Tanh Erf".split())
_MICROSOFT_HALF = frozenset(
    "Gelu FastGelu BiasGelu QuickGelu SkipLayerNormalization SimplifiedLayerNormalization "
    "SkipSimplifiedLayerNormalization MultiHeadAttention FusedMatMul".split()
)
_QUANTISED = frozenset("QuantizeLinear DynamicQuantizeLinear ConvInteger MatMulInteger QGemm".split())
_FLOAT, _HALF = "tensor(float)", "tensor(float16)"


def is_narrowed(model: Model) -> bool:
    """Whether the model, or the one that it was made from, has been converted here; not one whose file was."""
    note = _note(model)
    return bool(note) and not note.startswith(_OF_FILE)


def is_measured(model: Model) -> bool:
    """Whether the range of a converted model's values was looked at."""
    return not _note(model).endswith(_UNMEASURED)


def identity(model: Model) -> str:
    """What tells models apart that answer differently: the sha256, with `+half` behind it where it was converted."""
    return f"{model.sha256}{HALF if is_narrowed(model) else ''}"


def mark_as_file(proto: ModelProto) -> None:
    """Say of a model that is read that its file holds what was converted, if it does: nobody converts it now."""
    for given in proto.metadata_props:
        if given.key == NOTE and not given.value.startswith(_OF_FILE):
            given.value = f"{_OF_FILE}{given.value}"


def _note(model: Model) -> str:
    return next((p.value for p in model.untyped.metadata_props if p.key == NOTE), "")


@of_model
def narrowed(model: Model, overflowing: frozenset[str] | None = frozenset()) -> Model:
    """`model` with float16 in place of float32 inside; its inputs, outputs and path are the same.

    overflowing: values known to leave the range of float16: what makes or reads them stays float32; None where that is
    not known: then what a weight beyond the range reaches stays float32, as far as a softmax or a sigmoid.

    Raises ModelError where no convolution or product of matrices can be converted: they are float16 or float64, or
    none, or quantised.
    """
    half = _in_half(model, overflowing)
    if _quantised(model) or not any(model.graph.node[i].op_type in _HEAVY for i in half):
        raise ModelError(f"half: {_why_none(model)}: leave half out")
    names = _names(model, half)
    known = "" if overflowing is not None else _UNMEASURED
    text = f"{len(half)} of {len(model.graph.node)} operators compute in float16{known}"
    with model.edited(metadata={NOTE: text}) as edit:
        graph = edit.graph
        for i, node in enumerate(graph.node):
            _convert(node, i in half, model, names)
        replace(graph.initializer, [t for given in graph.initializer for t in _weights(given, model, names)])
        replace_nodes(graph, _with_casts(graph.node, model, names))
        for info in graph.value_info:
            if names.narrow(info.name):
                info.type.tensor_type.elem_type = TensorProto.FLOAT16
    return Model(
        edit.model.untyped,
        path=model.path,
        folder=model.folder,
        overrides=model.overrides,
        sha256=model.sha256,
        inferred=False,
        key=("half", model.content_key, overflowing),
    )


def _quantised(model: Model) -> bool:
    return any(op in _QUANTISED or op.startswith("QLinear") for _, op in model.operators)


def _why_none(model: Model) -> str:
    if _quantised(model):
        return "the model is quantised to integers, whose steps float16 would shift"
    heavy = [node for node in model.graph.node if node.op_type in _HEAVY]
    kinds = {str(model.values[o].dtype) for node in heavy for o in node.output[:1]} - {"float32"}
    if kinds:
        return f"only float32 becomes float16, and the model computes in {' and '.join(sorted(kinds))}"
    return "the model has no convolution or product of matrices in float32 that float16 can compute"


# --- which operators ---


def _in_half(model: Model, overflowing: frozenset[str] | None) -> frozenset[int]:
    """The places of the nodes that compute in float16."""
    nodes, values = model.graph.node, model.values
    beyond = {name for name in model.initializers if _beyond(model, name)}
    # A product of what is huge fits where a run has shown it.
    resets = _HEAVY if overflowing is not None else frozenset()
    half: set[int] = set()
    wide: set[str] = set()  # values out of range, or that may be; where all that a node reads is such, it is as well
    huge: set[str] = set()  # values that hold what is beyond the range: whatever reads them is float32
    for i, node in enumerate(nodes):
        read = [n for n in reads(node) if model.constant(n) is None]
        floats = [n for n in read if values[n].dtype == np.float32] if all(n in values for n in read) else []
        lost = bool(beyond.intersection(node.input)) or _divides_by_small(node, model)
        lost |= not (overflowing or frozenset()).isdisjoint((*node.output, *node.input))
        lost |= not huge.isdisjoint(read) and node.op_type not in resets
        lost |= any(abs(attribute.f) > LARGEST for attribute in node.attribute)
        of_range = node.op_type in _RANGE or _squares(node) or (node.op_type == "Cast" and not floats)
        of_range |= bool(floats) and wide.issuperset(floats) and node.op_type not in _HEAVY
        if node.op_type not in _BOUNDED:
            huge.update(node.output if lost else ())
            wide.update(node.output if lost or of_range else ())
        if not lost and not of_range and not _has_bodies(node) and _has_half(node, model):
            half.add(i)
    return frozenset(half - _tail(model))


def _has_bodies(node: NodeProto) -> bool:
    return next(subgraphs(node), None) is not None


def _squares(node: NodeProto) -> bool:
    return bool(node.op_type == "Mul" and node.input[0] == node.input[1])


def _beyond(model: Model, name: str) -> bool:
    """Whether a float32 weight is larger than float16 can be, or float16 takes all its numbers for 0."""
    if model.values[name].dtype != np.float32:
        return False
    values = model.constant(name)
    if values is None or not values.size:
        return False
    largest = float(np.max(np.abs(values), where=np.isfinite(values), initial=0.0))
    return largest > LARGEST or 0 < largest < _SMALLEST


def _divides_by_small(node: NodeProto, model: Model) -> bool:
    """Whether a node divides by weights some of which float16 takes for 0, with nothing added to them that it keeps."""
    place = {"Div": 1, "BatchNormalization": 4}.get(node.op_type)
    if place is None or (node.op_type == "BatchNormalization" and _epsilon(node) >= _EPSILON):
        return False
    name = node.input[place]
    values = model.constant(name)
    if values is None or values.dtype != np.float32:
        return False
    magnitudes = np.abs(values)
    return bool(((magnitudes > 0) & (magnitudes < _SMALLEST)).any())


def _epsilon(node: NodeProto) -> float:
    return next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)


def _tail(model: Model) -> set[int]:
    """The places of the nodes after the last heavy operator."""
    nodes, after = model.graph.node, set()
    before: set[str] = set()
    for i in range(len(nodes) - 1, -1, -1):
        node = nodes[i]
        if node.op_type in _HEAVY or not before.isdisjoint(node.output):
            before.update(reads(node))
        else:
            after.add(i)
    return after


def _has_half(node: NodeProto, model: Model) -> bool:
    """Whether the operator computes float32 of float32, and may compute float16 of float16."""
    values = model.values
    if not all(n in values and values[n].dtype is not None for n in (*node.input, *node.output) if n):
        return False
    places = [(formal, n) for formal, n in _formals(node, model) if n and values[n].dtype == np.float32]
    of_inputs = {formal for formal, n in places if n in node.input}
    of_outputs = {formal for formal, n in places if n in node.output}
    if not of_outputs or _FLOAT in of_outputs or not of_outputs <= of_inputs:
        return False
    if plain_domain(node.domain):
        return True
    allowed = {c.type_param_str: c.allowed_type_strs for c in _schema(node, model).type_constraints}
    return all(_HALF in allowed.get(formal, ()) for formal in of_inputs - {_FLOAT})


def _schema(node: NodeProto, model: Model) -> onnx.defs.OpSchema:
    return onnx.defs.get_schema(node.op_type, model.opset, "")


def _formals(node: NodeProto, model: Model) -> Iterator[tuple[str, str]]:
    """What the schema calls the type of each input and output, with the value there; nothing of what is not known."""
    domain = plain_domain(node.domain)
    if domain == MICROSOFT and node.op_type in _MICROSOFT_HALF:
        yield from (("T", name) for name in (*node.input, *node.output))
    if domain:
        return
    schema = _schema(node, model)
    for names, formals in ((node.input, schema.inputs), (node.output, schema.outputs)):
        for place, name in enumerate(names):
            yield formals[min(place, len(formals) - 1)].type_str, name


# --- what they read and make ---


@dataclass(frozen=True)
class _Names:
    """Under which names values are float16 (`halves`) and float32 (`wides`), those that are read so.

    made: float32 values that are made in float16; ends: outputs of the model.
    """

    halves: Mapping[str, str]
    wides: Mapping[str, str]
    made: frozenset[str]
    ends: frozenset[str]

    def narrow(self, name: str) -> bool:
        """Whether the value of this name is float16 now."""
        return name in self.made and name not in self.ends


def _names(model: Model, half: frozenset[int]) -> _Names:
    values, nodes = model.values, model.graph.node
    float32 = {name for name, value in values.items() if value.dtype == np.float32}
    ends = frozenset(v.name for v in model.graph.output)
    made = frozenset(o for i in half for o in nodes[i].output if o in float32)
    halved = [set(_shared(node, model)) if i in half else set() for i, node in enumerate(nodes)]
    in_half = set[str]().union(*halved) & float32
    in_float = {n for node, shared in zip(nodes, halved, strict=True) for n in reads(node) if n not in shared}
    in_float = (in_float & float32) | ends
    taken = set(values)
    halves, wides = {}, {}
    for name in sorted(in_half | made):
        keeps = name not in in_float if model.constant(name) is not None else name in made and name not in ends
        halves[name] = name if keeps else _free(f"{name}/float16", taken)
    for name in sorted(in_float):
        wides[name] = _free(f"{name}/float32", taken) if name in made and name not in ends else name
    return _Names(halves, wides, made, ends)


def _shared(node: NodeProto, model: Model) -> list[str]:
    """What a node reads whose type it shares with its outputs: all but what the schema fixes to be float32."""
    return [name for formal, name in _formals(node, model) if name in node.input and formal != _FLOAT]


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _convert(node: NodeProto, half: bool, model: Model, names: _Names) -> None:
    if not half:
        rename(node, {name: names.wides[name] for name in reads(node) if name in names.wides})
        return
    shared = set(_shared(node, model))
    node.input[:] = [(names.halves if n in shared else names.wides).get(n, n) for n in node.input]
    node.output[:] = [names.halves.get(n, n) for n in node.output]


def _weights(tensor: TensorProto, model: Model, names: _Names) -> Iterator[TensorProto]:
    """A weight as it is, in float16, or both, as it is read."""
    constant = model.constant(tensor.name) is not None
    if not constant or tensor.name not in names.halves or tensor.name in names.wides:
        yield tensor
    if constant and tensor.name in names.halves:
        narrow = external.read(tensor, model.folder).astype(np.float16)
        yield onnx.numpy_helper.from_array(narrow, names.halves[tensor.name])


def _with_casts(nodes: Sequence[NodeProto], model: Model, names: _Names) -> Iterator[NodeProto]:
    """The nodes, with the casts of what each makes behind it, and those of the inputs in front."""
    for value in model.graph.input:
        yield from _casts(value.name, model, names)
    for node, before in zip(nodes, model.graph.node, strict=True):
        yield copied(node)
        for name in before.output:
            yield from _casts(name, model, names)


def _casts(name: str, model: Model, names: _Names) -> Iterator[NodeProto]:
    half, wide = names.halves.get(name, ""), names.wides.get(name, "")
    if not half or (not wide and name in names.made) or model.constant(name) is not None:
        return
    if name in names.made:
        yield onnx.helper.make_node("Cast", [half], [wide], name=wide, to=TensorProto.FLOAT)
    else:
        yield onnx.helper.make_node("Cast", [name], [half], name=half, to=TensorProto.FLOAT16)
