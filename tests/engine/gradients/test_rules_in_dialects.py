"""The rules' own cases in other dialects: the gradient is that of the plain form, which `test_rules.py` judges.

named and empty   every optional input that is left out is named ""
fed               constants are inputs of the model
stored            all inputs but those that are differentiated by are stored in the model
between           channels last in and out, a Transpose before and behind, at ONNX Runtime's default optimisation
optimised         as ONNX Runtime's own optimiser saves it at the extended level
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

import onnxray

from . import test_rules as plain

Feeds = Mapping[str, NDArray]
# Of ONNX's own tests of an operator, so many.
_FEW = 2


@dataclass
class Form:
    """A model in another dialect. moved: inputs and outputs -> how their axes were permuted."""

    model: onnx.ModelProto
    feeds: Feeds
    moved: Mapping[str, list[int]]


def _session(model: onnx.ModelProto, level: str = "ORT_ENABLE_ALL", save: str = "") -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = save
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def named_and_empty(model: onnx.ModelProto, feeds: Feeds, wrt: list[str], folder) -> Form:
    changed = copy.deepcopy(model)
    variadic = onnx.defs.OpSchema.FormalParameterOption.Variadic
    for node in changed.graph.node:
        schema = onnx.defs.get_schema(node.op_type, plain_opset(model))
        if not any(formal.option == variadic for formal in schema.inputs):
            node.input.extend([""] * (len(schema.inputs) - len(node.input)))
    return Form(changed, feeds, {})


def fed(model: onnx.ModelProto, feeds: Feeds, wrt: list[str], folder) -> Form:
    changed, given = copy.deepcopy(model), dict(feeds)
    constants = [n for n in model.graph.node if n.op_type == "Constant" and n.attribute[0].name == "value"]
    for node in constants:
        array = numpy_helper.to_array(node.attribute[0].t)
        given[node.output[0]] = array
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        changed.graph.input.append(helper.make_tensor_value_info(node.output[0], kind, array.shape))
    del changed.graph.node[:]
    changed.graph.node.extend(node for node in model.graph.node if node not in constants)
    return Form(changed, given, {})


def stored(model: onnx.ModelProto, feeds: Feeds, wrt: list[str], folder) -> Form:
    changed = copy.deepcopy(model)
    rest = {name: array for name, array in feeds.items() if name not in wrt and isinstance(array, np.ndarray)}
    changed.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in rest.items())
    del changed.graph.input[:]
    changed.graph.input.extend(info for info in model.graph.input if info.name not in rest)
    return Form(changed, {name: array for name, array in feeds.items() if name not in rest}, {})


def between(model: onnx.ModelProto, feeds: Feeds, wrt: list[str], folder) -> Form:
    changed, given, moved = copy.deepcopy(model), dict(feeds), {}
    graph = changed.graph
    outputs = [info for info in graph.output if info.name in {o for n in graph.node for o in n.output}]
    for info in (*(i for i in graph.input if i.name in wrt), *outputs):
        rank = len(info.type.tensor_type.shape.dim)
        if rank < 2:
            continue
        order = [0, *range(2, rank), 1] if rank > 2 else [1, 0]
        inner = f"{info.name}_inside"
        for node in graph.node:
            for field in (node.input, node.output):
                field[:] = [inner if name == info.name else name for name in field]
        moved[info.name] = order
        if info in outputs:
            graph.node.append(helper.make_node("Transpose", [inner], [info.name], perm=order))
            info.type.tensor_type.ClearField("shape")
        else:
            back = [int(axis) for axis in np.argsort(order)]
            graph.node.insert(0, helper.make_node("Transpose", [info.name], [inner], perm=back))
            sizes = [info.type.tensor_type.shape.dim[axis].dim_value for axis in order]
            info.CopyFrom(helper.make_tensor_value_info(info.name, info.type.tensor_type.elem_type, sizes))
            given[info.name] = np.ascontiguousarray(feeds[info.name].transpose(order))
    return Form(changed, given, moved)


def optimised(model: onnx.ModelProto, feeds: Feeds, wrt: list[str], folder) -> Form:
    _session(model, "ORT_ENABLE_EXTENDED", str(folder / "o.onnx"))
    return Form(onnx.load(folder / "o.onnx"), feeds, {})


FORMS: dict[str, Callable[..., Form]] = {f.__name__: f for f in (named_and_empty, fed, stored, between, optimised)}


def plain_opset(model: onnx.ModelProto) -> int:
    return max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))


def _gradients(model: onnx.ModelProto, feeds: Feeds, of: list[str], wrt: list[str], cotangents: Feeds) -> list[NDArray]:
    made = onnxray.vjp(model, of, wrt).proto
    inputs = {info.name for info in made.graph.input}
    given = {name: array for name, array in feeds.items() if name in inputs}
    return _session(made).run(
        [f"grad/{n}" for n in wrt], {**given, **{f"cotangent/{n}": c for n, c in cotangents.items()}}
    )


def _check(form: str, model: onnx.ModelProto, feeds: Feeds, wrt: list[str], of: list[str], folder) -> bool:
    """Whether ONNX Runtime runs both forms with the same result; if so, their gradients are the same."""
    feeds = {name: np.asarray(v) if isinstance(v, np.generic) else v for name, v in feeds.items()}
    try:
        values = _session(model).run(of, feeds)
        other = FORMS[form](model, feeds, wrt, folder)
        again = _session(other.model).run(of, other.feeds)
    except plain.RUNTIME_ERRORS:
        return False
    rng = np.random.default_rng(0)
    cotangents = {n: np.asarray(rng.standard_normal(v.shape)).astype(v.dtype) for n, v in zip(of, values, strict=True)}
    moved = {n: c.transpose(other.moved[n]) if n in other.moved else c for n, c in cotangents.items()}
    if any(v.shape != moved[n].shape for n, v in zip(of, again, strict=True)):
        return False
    before = _gradients(model, feeds, of, wrt, cotangents)
    after = _gradients(other.model, other.feeds, of, wrt, {n: np.asarray(c, order="C") for n, c in moved.items()})
    for name, first, second in zip(wrt, before, after, strict=True):
        back = second.transpose(np.argsort(other.moved[name])) if name in other.moved else second
        np.testing.assert_allclose(back, first, rtol=1e-3, atol=1e-4, err_msg=f"grad/{name}")
    return True


# Why the plain form is taken and the other one refused.
REFUSED = {("fed", "Split, one part unused"): "the sizes of the parts are not known before they are fed"}


@pytest.mark.parametrize("name", plain.CASES)
@pytest.mark.parametrize("form", FORMS)
def test_own_cases(form: str, name: str, parse, tmp_path) -> None:
    text, opset = plain.CASES[name]
    model, feeds, rng = parse(f"g {text}", opset=opset), {}, np.random.default_rng(3)
    for info in model.graph.input:
        kind = info.type.tensor_type
        shape = [d.dim_value for d in kind.shape.dim]
        feeds[info.name] = np.asarray(rng.standard_normal(shape), helper.tensor_dtype_to_np_dtype(kind.elem_type))
    wrt = [n for n, v in feeds.items() if plain.is_float(v)]
    of = [o.name for o in model.graph.output]
    if (form, name) in REFUSED:
        with pytest.raises(onnxray.OnnxrayError):
            _check(form, model, feeds, wrt, of, tmp_path)
        return
    _check(form, model, feeds, wrt, of, tmp_path)


def _node_tests(op: str) -> Iterator[tuple[onnx.ModelProto, Feeds, list[str], list[str]]]:
    for case in plain.node_tests().get(op, []):
        wrt = plain._wanted(case, op)
        of = [o.name for o in case.model.graph.output if o.type.tensor_type.elem_type in plain.FLOATS][:1]
        if wrt and of:
            yield case.model, plain._arrays(case), wrt, of


@pytest.mark.parametrize("op", [op for op in plain.rules() if op != "Scan"])  # judged in test_control.py
def test_node_tests(op: str, tmp_path) -> None:
    for form in ("named_and_empty", "stored", "between", "optimised"):
        left = _FEW
        for model, feeds, wrt, of in _node_tests(op):
            left -= _check(form, model, feeds, wrt, of, tmp_path)
            if not left:
                break
