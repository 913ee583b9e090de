"""Models of one operator for `bench/fuzz.py`: ONNX's own node tests, their arguments stored but for one float input."""

from __future__ import annotations

import functools
import random
import warnings

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper

# Tests of larger tensors say nothing more and cost time.
_MOST_ELEMENTS = 20_000


@functools.cache
def bases() -> tuple[tuple[ModelProto, dict[str, np.ndarray]], ...]:
    """Models, each with what is fed to it."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    found = []
    for case in cases:
        if case.model is None or not case.data_sets or len(case.model.graph.node) > 8:
            continue
        values = case.data_sets[0][0]
        if all(isinstance(v, np.ndarray) and v.size <= _MOST_ELEMENTS for v in map(_array, values)):
            found.append(
                (case.model, dict(zip((i.name for i in case.model.graph.input), map(_array, values), strict=False)))
            )
    return tuple(found)


def _array(value: object) -> object:
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


def base(random_: random.Random) -> tuple[ModelProto, dict[str, np.ndarray]]:
    """A model whose inputs are stored in it at random, but for the first of floats, and what is fed to the others."""
    chosen, arrays = random_.choice(bases())
    model = ModelProto()
    model.CopyFrom(chosen)
    floats = [name for name, array in arrays.items() if array.dtype.kind == "f"]
    kept = {name for name in arrays if name in floats[:1] or random_.random() < 0.3}
    for name in arrays.keys() - kept:
        model.graph.initializer.append(numpy_helper.from_array(arrays[name], name))
    infos = [info for info in model.graph.input if info.name in kept]
    del model.graph.input[:]
    model.graph.input.extend(infos)
    if random_.random() < 0.3:  # sizes that are known at run time only
        for info in infos:
            for axis, dim in enumerate(info.type.tensor_type.shape.dim):
                dim.dim_param = f"{info.name}{axis}"
    if random_.random() < 0.3:
        for info in model.graph.output:
            info.ClearField("type")
            info.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return model, {name: array for name, array in arrays.items() if name in kept}
