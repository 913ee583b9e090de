"""Execution providers: which of them work on this machine, and with which options they are asked for."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import onnx

from ..errors import OnnxrayError, RuntimeUnavailable, UnknownName
from .ort import ORT_ERRORS, one_line, ort, session_options

_SHORT = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "directml": "DmlExecutionProvider",
    "dml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
}
CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

# What may be asked for: a name, or several in order of preference, each with options or without; None for the best.
Providers: TypeAlias = str | Sequence[str | tuple[str, Mapping[str, Any]]] | None


class Provider(NamedTuple):
    """An execution provider: its name, and its options as text, sorted by their names. Hashable: a key of caches."""

    name: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def given(self) -> str | tuple[str, dict[str, str]]:
        """As ONNX Runtime takes it."""
        return (self.name, dict(self.options)) if self.options else self.name


@cache
def providers() -> tuple[str, ...]:
    """Execution providers that work on this machine, best first; the last one is the CPU."""
    usable = [CPU]
    if unusable_reason(CUDA) is None:
        usable.insert(0, CUDA)
    return tuple(usable)


@cache
def unusable_reason(provider: str) -> str | None:
    """Why `provider` cannot be used here, None if it can. Tries it once on a model of one node, without output."""
    if provider == CPU:
        return None
    if provider not in ort.get_available_providers():
        return f"the installed onnxruntime {ort.__version__} was built without it"
    if provider in (CUDA, "TensorrtExecutionProvider"):
        reason = _no_cuda_device()
        if reason:
            return reason
        _preload_cuda()
    with _quiet() as said:
        try:
            made = ort.InferenceSession(_tiny_model(), session_options(None), providers=[provider])
            if made.get_providers()[0] == provider:
                made.run(None, {"x": np.zeros(1, np.float32)})
                return None
        except ORT_ERRORS as error:
            said.append(str(error))
    detail = " ".join(" ".join(said).split())
    missing = detail.partition("error: ")[2] or detail
    return f"it cannot be loaded ({missing[:200]})" if missing else "it cannot be loaded"


@cache
def _refused_options(provider: Provider) -> str | None:
    """Why a provider that can be used cannot be with these options, in ONNX Runtime's words; None if it can."""
    if not provider.options:
        return None
    if provider.name == CPU:
        return "the CPU takes no options"  # ONNX Runtime would ignore them
    with _quiet():
        try:
            made = ort.InferenceSession(
                _tiny_model(), session_options(None), providers=[provider.given], enable_fallback=0
            )
        except ORT_ERRORS as error:
            return one_line(error)
        return None if made.get_providers()[0] == provider.name else "ONNX Runtime continues without it"


def _tiny_model() -> Any:
    graph = onnx.parser.parse_graph("g (float[1] x) => (float[1] y) { y = Neg(x) }")
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return proto.SerializeToString()


def _no_cuda_device() -> str | None:
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return "no NVIDIA driver is installed"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "no NVIDIA GPU is visible"
    return None


def _preload_cuda() -> None:
    """Make the CUDA libraries that pip installed visible to the loader (a no-op where they are system-wide)."""
    if hasattr(ort, "preload_dlls"):
        with _quiet():
            ort.preload_dlls()


@contextlib.contextmanager
def _quiet() -> Iterator[list[str]]:
    """Catch what native code writes to stdout and stderr; the list holds it afterwards."""
    said: list[str] = []
    _flush()
    saved: list[tuple[int, int]] = []
    with tempfile.TemporaryFile() as file:
        try:
            for number in (1, 2):
                with contextlib.suppress(OSError):  # a daemon's may be closed
                    saved.append((number, os.dup(number)))
                    os.dup2(file.fileno(), number)
            yield said
        finally:
            _flush()
            for number, copy in saved:
                os.dup2(copy, number)
                os.close(copy)
            file.seek(0)
            said.append(file.read().decode(errors="replace"))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # as under pythonw
            stream.flush()


def asked_providers(asked: Providers) -> tuple[Provider, ...] | None:
    """What was asked for in one form, names as they were given; None where nothing was.

    Raises OnnxrayError where it has another form than a name, or a list of names and (name, {option: value}) pairs.
    """
    if asked is None:
        return None
    several = isinstance(asked, Sequence) and not isinstance(asked, str)
    return tuple(_asked(entry) for entry in (asked if several else [asked]))


def _asked(entry: Any) -> Provider:
    if not isinstance(entry, tuple | list | Mapping):
        return Provider(str(entry))
    try:
        name, options = entry
        pairs = sorted(dict(options).items())
        valid = isinstance(name, str) and all(isinstance(key, str) and key for key, _ in pairs)
        valid = valid and all(isinstance(value, str | int | float) for _, value in pairs)
    except (TypeError, ValueError):
        valid = False
    if not valid:
        example = '[("cuda", {"use_tf32": 0})]'
        raise OnnxrayError(f"{entry!r} is not an execution provider: give a list of names and pairs, as in {example}")
    return Provider(name, tuple((key, _text(value)) for key, value in pairs))


def _text(value: str | float) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def resolve(asked: Providers) -> tuple[Provider, ...]:
    """The providers to use, with their full names: the best usable one, or those asked for.

    Raises UnknownName for a name that does not exist, RuntimeUnavailable for a provider that does not work here or does
    not take its options, OnnxrayError for what is no list of providers: a request is never answered by another
    provider.
    """
    entries = asked_providers(asked)
    if entries is None:
        return tuple(Provider(name) for name in providers())
    full = []
    for name, options in entries:
        provider = Provider(_SHORT.get(name.lower(), name), options)
        if provider.name not in _SHORT.values() and provider.name not in ort.get_all_providers():
            raise UnknownName("execution provider", name, _SHORT, f"usable here: {', '.join(providers())}")
        reason = unusable_reason(provider.name)
        if reason:
            usable = ", ".join(p.removesuffix("ExecutionProvider").lower() for p in providers())
            raise RuntimeUnavailable(f"execution provider {name!r} cannot be used: {reason}; usable here: {usable}")
        refused = _refused_options(provider)
        if refused:
            shown = ",".join(f"{key}={value}" for key, value in options)
            raise RuntimeUnavailable(f"execution provider {name!r} cannot be used with {shown}: {refused}")
        full.append(provider)
    if CPU not in {provider.name for provider in full}:
        full.append(Provider(CPU))  # for the operators that the provider does not have
    return tuple(full)


def resolve_providers(asked: Providers) -> tuple[str, ...]:
    """The full names of the providers to use, see `resolve`."""
    return tuple(provider.name for provider in resolve(asked))
