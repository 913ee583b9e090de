"""ONNX Runtime below onnxray's public interface: sessions with provider options, values bound to a device."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# Options that every session made on a provider gets, those that onnxray makes included (`options`).
_OPTIONS: dict[str, dict[str, str]] = {}
# First provider of every session made, the engine's own included: shows what ran where.
MADE: list[str] = []


class _Session(ort.InferenceSession):
    """As ONNX Runtime's, with the options above; never answers by another provider than the one asked for."""

    def __init__(self, model: Any, sess_options: Any = None, providers: Any = None, **more: Any) -> None:
        names = [p if isinstance(p, str) else p[0] for p in providers or [CPU]]
        given = [(p, _OPTIONS[p]) if isinstance(p, str) and _OPTIONS.get(p) else p for p in providers or [CPU]]
        super().__init__(model, sess_options, providers=given, **{"enable_fallback": 0, **more})
        MADE.append(self.get_providers()[0])
        if self.get_providers()[0] != names[0]:
            raise RuntimeError(f"asked for {names[0]}, got {self.get_providers()[0]}")


ort.InferenceSession = _Session


# What makes another provider compute in float32, where CUDA is asked for `use_tf32=0`.
_EXACT = {"OpenVINOExecutionProvider": {"precision": "FP32"}}


@contextmanager
def options(**values: Any) -> Iterator[None]:
    """Within the block, sessions on CUDA are made with these provider options; with `use_tf32=0` other providers, too,
    compute in float32."""
    before = dict(_OPTIONS)
    _OPTIONS[CUDA] = {**_OPTIONS.get(CUDA, {}), **{k: str(v) for k, v in values.items()}}
    if values.get("use_tf32") == 0:
        _OPTIONS.update(_EXACT)
    try:
        yield
    finally:
        _OPTIONS.clear()
        _OPTIONS.update(before)


def usable() -> list[str]:
    """The providers that onnxray finds usable here, the CPU last."""
    from onnxray.engine.runtime.providers import providers

    return list(providers())


def why_not(provider: str) -> str | None:
    from onnxray.engine.runtime.providers import unusable_reason

    return unusable_reason(provider)


# The provider that this process measures, where the run has chosen one.
_CHOSEN: list[str] = []


def measure(provider: str) -> None:
    """From now on this process measures the provider of that full name."""
    _CHOSEN[:] = [provider]


def device() -> str:
    """The provider that is measured: the best one that works here."""
    return _CHOSEN[0] if _CHOSEN else usable()[0]


@contextmanager
def form_for(target: str) -> Iterator[None]:
    """Within the block, `vjp` writes convolutions' data gradients for "cpu" or "cuda"."""
    from onnxray.engine.gradients import convolution

    before = convolution.data_form.__defaults__
    convolution.data_form.__defaults__ = (target,)
    try:
        yield
    finally:
        convolution.data_form.__defaults__ = before


def session(proto: Any, provider: str, *, folder: Path | None = None, fixed: Mapping[str, int] | None = None, **more):
    """A plain ONNX Runtime session. `fixed`: sizes of symbolic axes; `profile`: the stem of its profile's file;
    `verbose`: it writes its placement to stderr; `threads`; `fallback`: ONNX Runtime's own, to the CPU."""
    settings = ort.SessionOptions()
    settings.log_severity_level = 0 if more.get("verbose") else 4
    settings.intra_op_num_threads = more.get("threads") or len(os.sched_getaffinity(0))
    if folder:
        settings.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    for name, size in (fixed or {}).items():
        settings.add_free_dimension_override_by_name(name, size)
    if more.get("profile"):
        settings.enable_profiling = True
        settings.profile_file_prefix = str(more["profile"])
    data = proto if isinstance(proto, bytes) else proto.SerializeToString()
    chosen = [provider] if provider == CPU else [provider, CPU]
    return ort.InferenceSession(data, settings, providers=chosen, enable_fallback=int(more.get("fallback", 0)))


def where(provider: str) -> str:
    """The memory that values for the provider are bound to."""
    return "cuda" if provider in (CUDA, "TensorrtExecutionProvider") else "cpu"


def value(array: np.ndarray, provider: str) -> Any:
    return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), where(provider), 0)


class Bound:
    """A session with its inputs and outputs bound to memory of its device, once: what a call then costs is the run."""

    def __init__(self, made: Any, provider: str, feeds: Mapping[str, Any], outputs: Mapping[str, tuple[Any, Any]]):
        self.session, self.binding = made, made.io_binding()
        self.feeds = {n: x if isinstance(x, ort.OrtValue) else value(x, provider) for n, x in feeds.items()}
        self.outputs = {
            name: ort.OrtValue.ortvalue_from_shape_and_type(list(shape), np.dtype(dtype), where(provider), 0)
            for name, (shape, dtype) in outputs.items()
        }
        for name, x in self.feeds.items():
            self.binding.bind_ortvalue_input(name, x)
        for name, x in self.outputs.items():
            self.binding.bind_ortvalue_output(name, x)

    def __call__(self) -> None:
        self.session.run_with_iobinding(self.binding)

    def numpy(self, name: str) -> np.ndarray:
        return self.outputs[name].numpy()


@contextmanager
def overheard() -> Iterator[list[str]]:
    """Collects what native code writes to stdout and stderr."""
    said: list[str] = []
    with tempfile.TemporaryFile() as file:
        saved = [(n, os.dup(n)) for n in (1, 2)]
        for number, _ in saved:
            os.dup2(file.fileno(), number)
        try:
            yield said
        finally:
            for number, copy in saved:
                os.dup2(copy, number)
                os.close(copy)
            file.seek(0)
            said.append(file.read().decode(errors="replace"))
