"""Runs that nobody asked for, made to learn constants, types and shapes of a model; on the CPU, not cached."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from ..proto.nodes import all_nodes
from ..proto.values import Value, fed, from_info
from .empty_maps import EmptyMaps
from .feeds import check_names, fit
from .memory import shared_arena
from .ort import ORT_ERRORS, create, ort, run_error, session_options
from .providers import CPU


def evaluate_constant(proto: ModelProto, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Outputs of a model without inputs, computed without optimisation: for constant folding. Raises ModelError."""
    made = create(proto, [CPU], session_options(1, "none"))
    try:
        return dict(zip(names, made.run(list(names), {}), strict=True))
    except ORT_ERRORS as error:
        raise run_error(error) from error


def infer_types(model: ModelProto, folder: Path | None, names: Sequence[str]) -> dict[str, Value]:
    """Types and shapes of `names` as ONNX Runtime infers them, operators of its own domains included.

    Values that are no tensors are left out. Raises ModelError when the model cannot be loaded.
    """
    if not names:
        return {}
    proto = ModelProto()
    proto.CopyFrom(model)
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    made = create(proto, [CPU], session_options(1, "none", folder=str(folder) if folder else None))
    found = {}
    for output in made.get_outputs():
        if not output.type.startswith("tensor("):
            continue
        kind = output.type.removeprefix("tensor(").removesuffix(")").upper()
        dtype = onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.DataType.Value(kind))
        # No axes is what it says of an unknown number of axes as well.
        shape = tuple(d if isinstance(d, (int, str)) else None for d in output.shape) or None
        found[output.name] = Value(output.name, np.dtype(dtype), shape)
    return found


def check_loads(model: ModelProto, folder: Path | None) -> None:
    """Raise ModelError, with ONNX Runtime's reason, if it does not load `model`."""
    create(model, [CPU], session_options(1, "none", folder=str(folder) if folder else None))


# A loop that does not end also piles up what it returns, outside the allocator.
TRIAL_BYTES = 2 << 30
_TRIAL_SECONDS = 20.0
_LOOP_SECONDS = 2.0


def trial_run(
    model: ModelProto, folder: Path | None, feeds: Mapping[str, Any], outputs: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Run `model` once, to learn shapes, within 2 GiB and 20 s, 2 s with a loop in it.

    A model is untrusted: a loop in it may never end, or grow. Raises ModelError where it exceeds the limits or fails
    otherwise, UnknownName and ShapeError for feeds that do not fit.
    """
    return trial_runner(model, folder, outputs)(feeds)


def trial_runner(
    model: ModelProto, folder: Path | None, outputs: Sequence[str] | None = None
) -> Callable[[Mapping[str, Any]], dict[str, np.ndarray]]:
    """`trial_run` for several runs of one model: loads it once, returns what runs it on given feeds."""
    names = [v.name for v in model.graph.output] if outputs is None else list(outputs)
    known = {v.name: v for v in map(from_info, model.graph.input)}
    required = {v.name: v for v in fed(model.graph)}
    empty_maps = EmptyMaps(model)
    loops = any(node.op_type in ("Loop", "Scan") for node in all_nodes(model.graph))
    options = session_options(1 if loops else None, "none", spin=False, folder=str(folder) if folder else None)
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    with shared_arena(options, TRIAL_BYTES):
        made = create(model, [CPU], options)

    def run(feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        check_names(feeds, required, known)
        empty_maps.check(feeds)
        limits = ort.RunOptions()
        limits.log_severity_level = 4
        limits.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        clock = threading.Timer(_LOOP_SECONDS if loops else _TRIAL_SECONDS, setattr, (limits, "terminate", True))
        clock.daemon = True
        clock.start()
        try:
            got = made.run(names, {name: fit(x, known[name]) for name, x in feeds.items()}, limits)
        except ORT_ERRORS as error:
            raise run_error(error) from error
        finally:
            clock.cancel()
        return dict(zip(names, got, strict=True))

    return run
