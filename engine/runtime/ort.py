"""The only importer of onnxruntime: options, sessions, its errors in our words."""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping, Sequence
from typing import Any

from google.protobuf.message import EncodeError
from onnx import ModelProto

from ...kernels.threads import available
from ..errors import ModelError, OnnxrayError, OpsetError, OutOfMemory, RuntimeUnavailable, ShapeError, UnknownName
from ..proto.nodes import DOMAIN_NAMES, all_nodes, label
from ..proto.weights import weights_apart
from .installation import check_installation, installed_distributions


def silence_telemetry(environment: MutableMapping[str, str]) -> None:
    """Keep ONNX Runtime from writing a device id and from reporting where it runs, unless ONNXRAY_TELEMETRY is 1.

    It looks at ORT_DISABLE_TELEMETRY when it is imported, and not later; what the user has set stays.
    """
    if environment.get("ONNXRAY_TELEMETRY") != "1":
        environment.setdefault("ORT_DISABLE_TELEMETRY", "1")


def _import_onnxruntime() -> Any:
    silence_telemetry(os.environ)
    try:
        import onnxruntime
    except ImportError as error:
        check_installation(installed_distributions())
        raise RuntimeUnavailable(
            f"onnxruntime is installed but cannot be imported ({error}): reinstall it with "
            "`pip install --force-reinstall onnxruntime-gpu`"
        ) from error
    installed = installed_distributions()
    if len(installed) > 1 or not hasattr(onnxruntime, "InferenceSession"):
        check_installation(installed)
        raise RuntimeUnavailable(
            "onnxruntime is only half installed: run `pip uninstall -y onnxruntime onnxruntime-gpu`, then "
            f"`pip install {installed[0]}`"
        )
    onnxruntime.set_default_logger_severity(4)
    return onnxruntime


ort = _import_onnxruntime()
# Its own exceptions, and what Python makes of the C++ standard library's.
ORT_ERRORS: tuple[type[Exception], ...] = (
    *(
        e
        for e in vars(ort.capi.onnxruntime_pybind11_state).values()
        if isinstance(e, type) and issubclass(e, Exception)
    ),
    RuntimeError,
    ValueError,
    IndexError,
    OverflowError,
    MemoryError,
)


# How ONNX Runtime's arena (BFCArena), CUDA and its libraries, DirectML and C++ say that memory does not suffice.
_NO_MEMORY = re.compile(
    r"out of memory|failed to allocate memory|BFCArena|bad_alloc|ALLOC(ATION)?_FAILED|CUDA (error|failure) 2\b|"
    r"cudaErrorMemoryAllocation|8007000E",
    re.IGNORECASE,
)


# How ONNX Runtime refuses an opset that is newer than what it knows.
_UNRELEASED = re.compile(
    r"Opset (\d+) is under development.* official support for domain ai\.onnx is till opset (\d+)", re.S
)

_LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "none": "ORT_DISABLE_ALL",
}


def session_options(threads: int | None, optimize: str = "all", spin: bool = True, folder: str | None = None) -> Any:
    if optimize not in _LEVELS:
        raise UnknownName("optimization level", optimize, _LEVELS, f"known are {', '.join(_LEVELS)}")
    if threads is not None and threads < 1:
        raise OnnxrayError(f"a session cannot have {threads} threads: give 1 or more, or None for every CPU")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads or available()
    options.inter_op_num_threads = 1
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, _LEVELS[optimize])
    if not spin:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if folder:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    return options


def create(proto: ModelProto, providers: Sequence[str | tuple[str, dict[str, str]]], options: Any) -> Any:
    """A session of ONNX Runtime. providers: full names, or pairs of a name and options. Raises ModelError.

    Large weights are handed over next to the graph: as a part of it they would be copied when it is serialised, parsed
    and made into tensors, and one of these copies stays.
    """
    try:
        return _create(proto, providers, options)
    except EncodeError:
        raise ModelError(
            "the model is too large for one protobuf (2 GiB): save it with external data, load the file"
        ) from None
    except ORT_ERRORS as error:
        strangers = _unknown_operator(proto, str(error))
        if strangers:
            raise ModelError(strangers) from error
        unreleased = _UNRELEASED.search(str(error))
        if unreleased:
            asked, newest = unreleased.groups()
            raise OpsetError(
                f"the model uses opset {asked}, the installed ONNX Runtime {ort.__version__} runs up to {newest}: "
                f"upgrade onnxruntime, or convert the file with onnx.version_converter.convert_version(model, {newest})"
            ) from error
        kind = OutOfMemory if _is_out_of_memory(error) else ModelError
        raise kind(f"ONNX Runtime {ort.__version__} cannot run this model: {one_line(error)}") from error


def _create(proto: ModelProto, providers: Sequence[str | tuple[str, dict[str, str]]], options: Any) -> Any:
    small, weights = weights_apart(proto)
    if weights:
        values = [ort.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
        options.add_external_initializers(list(weights), values)
    # No fallback: ONNX Runtime's Python layer would go on without the provider, and only print that it does.
    return ort.InferenceSession(small.SerializeToString(), options, providers=list(providers), enable_fallback=0)


def _unknown_operator(proto: ModelProto, said: str) -> str | None:
    """What to say where the model holds an operator of another domain that ONNX Runtime did not recognise."""
    for node in all_nodes(proto.graph):
        if node.domain not in DOMAIN_NAMES and f"{node.domain}:{node.op_type}(" in said and "not a registered" in said:
            return (
                f"operator {node.op_type!r} of the domain {node.domain!r} (node {label(node)}) is not one of ONNX "
                f"Runtime's {ort.__version__}: onnxray loads no operator libraries; export the model with standard "
                "operators"
            )
    return None


def one_line(error: Exception) -> str:
    """What ONNX Runtime says, without its codes and the places in its sources; of nested nodes, the innermost."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ", "", text)
    *_, last = text.split("Non-zero status code returned while running ")
    failed = re.match(r"(\w+) node\. Name:'([^']*)' Status Message: (?:/\S+:\d+ )?(.*)", last)
    if failed:
        op, name, reason = failed.groups()
        text = f"{op} node{f' {name!r}' if name else ''}: {reason}"
    return text[:400]


def run_error(error: Exception) -> OnnxrayError:
    """What a run raised, in our words: OutOfMemory, ShapeError for feeds that do not fit, else ModelError."""
    said = one_line(error)
    if _is_out_of_memory(error):
        remedy = "run fewer inputs at once, smaller ones, or on another provider"
        return OutOfMemory(f"ONNX Runtime ran out of memory while running the model: {said}; {remedy}")
    # With IO binding the same comes as a RuntimeError.
    feeds = type(error).__name__ == "InvalidArgument" or "Got invalid dimensions for input" in said
    return (ShapeError if feeds else ModelError)(f"ONNX Runtime failed while running the model: {said}")


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)) is not None
