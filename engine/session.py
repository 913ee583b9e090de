"""Running models: the only importer of onnxruntime.

Execution providers are chosen by what really works on this machine, which is tried once, quietly; sessions are cached by the
content of the model and their options; a model whose batch size is fixed runs over a larger batch in pieces.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import importlib.metadata
import os
import sys
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from .errors import ModelError, RuntimeUnavailable, ShapeError, UnknownName
from .graph import Model, Value

# Distributions that install the module `onnxruntime`; two of them overwrite each other's files.
_DISTRIBUTIONS = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-rocm",
    "onnxruntime-migraphx",
    "onnxruntime-qnn",
    "onnxruntime-training",
    "ort-nightly",
    "ort-nightly-gpu",
)


def check_installation(installed: Sequence[str]) -> None:
    """Raise RuntimeUnavailable, with the remedy, unless exactly one onnxruntime distribution is in `installed`."""
    found = [name for name in _DISTRIBUTIONS if name in installed]
    if not found:
        raise RuntimeUnavailable(
            "onnxruntime is not installed: run `pip install onnxruntime-gpu` (Linux and Windows on x86-64) or "
            "`pip install onnxruntime` (elsewhere)"
        )
    if len(found) > 1:
        raise RuntimeUnavailable(
            f"{' and '.join(found)} are installed together and overwrite each other's files: run "
            f"`pip uninstall -y {' '.join(found)}`, then `pip install {found[1]}`"
        )


def _installed() -> list[str]:
    found = []
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version(name)
            found.append(name)
    return found


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        check_installation(_installed())
        raise RuntimeUnavailable(
            f"onnxruntime is installed but cannot be imported ({error}): reinstall it with "
            "`pip install --force-reinstall onnxruntime-gpu`"
        ) from error
    installed = _installed()
    if len(installed) > 1:
        check_installation(installed)
    onnxruntime.set_default_logger_severity(4)
    return onnxruntime


ort = _import_onnxruntime()
_ORT_ERRORS: tuple[type[Exception], ...] = tuple(
    e
    for e in vars(ort.capi.onnxruntime_pybind11_state).values()
    if isinstance(e, type) and issubclass(e, Exception)
)

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
    graph = onnx.parser.parse_graph("g (float[1] x) => (float[1] y) { y = Neg(x) }")
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    with _quiet() as said:
        try:
            made = ort.InferenceSession(proto.SerializeToString(), _options(None), providers=[provider])
            if made.get_providers()[0] == provider:
                made.run(None, {"x": np.zeros(1, np.float32)})
                return None
        except (*_ORT_ERRORS, RuntimeError) as error:
            said.append(str(error))
    detail = " ".join(" ".join(said).split())
    missing = detail.partition("error: ")[2] or detail
    return f"it cannot be loaded ({missing[:200]})" if missing else "it cannot be loaded"


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
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as file:
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield said
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, number)
                os.close(copy)
            file.seek(0)
            said.append(file.read().decode(errors="replace"))


def resolve_providers(asked: str | Sequence[str] | None) -> tuple[str, ...]:
    """Full names of the providers to use: the best usable one, or those asked for.

    Raises UnknownName for a name that does not exist and RuntimeUnavailable for one that does not work here: a request is
    never answered by another provider.
    """
    if asked is None:
        return providers()
    names = [asked] if isinstance(asked, str) else list(asked)
    full = []
    for name in names:
        provider = _SHORT.get(name.lower(), name)
        if provider not in _SHORT.values() and provider not in ort.get_all_providers():
            raise UnknownName("execution provider", name, _SHORT, f"usable here: {', '.join(providers())}")
        reason = unusable_reason(provider)
        if reason:
            usable = ", ".join(p.removesuffix("ExecutionProvider").lower() for p in providers())
            raise RuntimeUnavailable(f"execution provider {name!r} cannot be used: {reason}; usable here: {usable}")
        full.append(provider)
    if CPU not in full:
        full.append(CPU)  # for the operators that the provider does not have
    return tuple(full)


def default_threads() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_LEVELS = {"all": "ORT_ENABLE_ALL", "extended": "ORT_ENABLE_EXTENDED", "basic": "ORT_ENABLE_BASIC", "none": "ORT_DISABLE_ALL"}


def _options(threads: int | None, optimize: str = "all", spin: bool = True, folder: str | None = None) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads or default_threads()
    options.inter_op_num_threads = 1
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, _LEVELS[optimize])
    if not spin:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if folder:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    return options


class Session:
    """A model ready to run.

    Attributes: `model`, `providers` (full names, in order of preference), `inputs` (name -> Value), `outputs` (names).
    """

    def __init__(
        self,
        model: Model,
        *,
        providers: str | Sequence[str] | None = None,
        threads: int | None = None,
        optimize: str = "all",
        spin: bool = True,
    ) -> None:
        self.model = model
        self.providers = resolve_providers(providers)
        self.inputs: dict[str, Value] = {v.name: v for v in model.inputs}
        self.defaults = {v.name for v in model.graph.input} - set(self.inputs)
        self.outputs = tuple(v.name for v in model.outputs)
        folder = str(model.folder) if model.folder else None
        self._ort = _create(model.proto, self.providers, _options(threads, optimize, spin, folder))

    @property
    def device(self) -> str:
        """ "cuda" or "cpu": where tensors given as OrtValue should lie."""
        return "cuda" if self._ort.get_providers()[0] == CUDA else "cpu"

    def run(self, feeds: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Outputs by name, as arrays. `feeds` holds an array per input, shape as the model declares it.

        Arrays of another precision of the same kind (float64 for float32, int32 for int64) are converted. Where the model
        fixes the batch size and more samples are given, it runs piece by piece and the outputs are joined.

        Raises UnknownName (no such input or output), ShapeError (missing input, wrong type or shape), ModelError (the run
        itself failed).
        """
        names = list(self.outputs if outputs is None else outputs)
        for name in names:
            if name not in self.outputs:
                raise UnknownName("output", name, self.outputs, "onnxray.expose makes any value an output")
        ready = self._check(feeds)
        pieces = self._pieces(ready)
        if pieces is None:
            return dict(zip(names, self._call(names, ready), strict=True))
        runs = [self._call(names, piece) for piece in pieces]
        joined = {}
        for name, parts in zip(names, zip(*runs, strict=True), strict=True):
            if any(p.ndim == 0 for p in parts):
                raise ShapeError(f"output {name!r} has no batch axis to join the pieces along: run one sample at a time")
            joined[name] = np.concatenate(parts)
        return joined

    def run_on_device(self, feeds: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Like `run` with IO binding: feeds may be OrtValues, results are OrtValues that stay on the session's device.

        Pass them to another session's `run_on_device`, or read one with `.numpy()`. Batches are not cut into pieces.
        """
        binding = self._ort.io_binding()
        arrays = {k: v for k, v in feeds.items() if not isinstance(v, ort.OrtValue)}
        checked = self._check(arrays, partly=len(arrays) < len(feeds))
        for name, value in feeds.items():
            if isinstance(value, ort.OrtValue):
                binding.bind_ortvalue_input(name, value)
        for name, array in checked.items():
            binding.bind_cpu_input(name, array)
        names = list(self.outputs if outputs is None else outputs)
        for name in names:
            binding.bind_output(name, self.device)
        try:
            self._ort.run_with_iobinding(binding)
        except _ORT_ERRORS as error:
            raise _run_error(error) from error
        return dict(zip(names, binding.get_outputs(), strict=True))

    def _call(self, names: list[str], feeds: Mapping[str, Any]) -> list[Any]:
        try:
            result: list[Any] = self._ort.run(names, dict(feeds))
        except _ORT_ERRORS as error:
            raise _run_error(error) from error
        return result

    def _check(self, feeds: Mapping[str, Any], partly: bool = False) -> dict[str, Any]:
        for name in feeds:
            if name not in self.inputs and name not in self.defaults:
                raise UnknownName("model input", name, self.inputs)
        missing = [str(v) for n, v in self.inputs.items() if n not in feeds]
        if missing and not partly:
            raise ShapeError(f"the model also needs the input{'s' * (len(missing) > 1)} {'; '.join(missing)}")
        return {name: _fit(np.asarray(x), self.inputs.get(name)) for name, x in feeds.items()}

    def _pieces(self, feeds: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        """Feeds cut to the batch size that the model fixes, None where they fit as they are."""
        fixed = {}
        for name, array in feeds.items():
            value = self.inputs.get(name)
            if value is None or not value.shape or not isinstance(value.shape[0], int):
                continue
            if array.ndim == len(value.shape) and array.shape[0] != value.shape[0]:
                fixed[name] = (array.shape[0], value.shape[0])
        if not fixed:
            return None
        (given, size), *rest = fixed.values()
        if any(r != (given, size) for r in rest) or size == 0 or given % size:
            name = next(iter(fixed))
            raise ShapeError(f"input {self.inputs[name]} takes a batch of {size}, got {given}: give a multiple of it")
        return [
            {n: a[i : i + size] if n in fixed else a for n, a in feeds.items()} for i in range(0, given, size)
        ]


def _fit(array: Any, value: Value | None) -> Any:
    if value is None:
        return array
    if value.dtype is not None and array.dtype != value.dtype:
        kinds = {array.dtype.kind, value.dtype.kind}
        if not (len(kinds) == 1 or kinds == {"i", "u"}) or value.dtype.kind not in "fiu":
            raise ShapeError(f"input {value} was given {array.dtype} values: convert them to {value.dtype} first")
        array = array.astype(value.dtype)
    if value.shape is not None:
        if array.ndim != len(value.shape):
            raise ShapeError(f"input {value} was given an array of shape {list(array.shape)}: the number of axes differs")
        wrong = [i for i, d in enumerate(value.shape) if isinstance(d, int) and i > 0 and array.shape[i] != d]
        if wrong:
            raise ShapeError(f"input {value} was given an array of shape {list(array.shape)}: axis {wrong[0]} differs")
    return np.asarray(array, order="C")


def _create(proto: ModelProto, providers: Sequence[str], options: Any) -> Any:
    try:
        return ort.InferenceSession(proto.SerializeToString(), options, providers=list(providers))
    except _ORT_ERRORS as error:
        raise ModelError(f"ONNX Runtime {ort.__version__} cannot run this model: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text.split("] : ", 1)[-1].removeprefix("1 : FAIL : ")[:400]


def _run_error(error: Exception) -> Exception:
    kind = type(error).__name__
    cls = ShapeError if kind == "InvalidArgument" else ModelError
    return cls(f"ONNX Runtime failed while running the model: {_one_line(error)}")


_CACHE_SIZE = 8
_cache: OrderedDict[tuple[Any, ...], Session] = OrderedDict()
_lock = threading.Lock()


def session(
    model: Model,
    *,
    providers: str | Sequence[str] | None = None,
    threads: int | None = None,
    optimize: str = "all",
    spin: bool = True,
) -> Session:
    """A session for `model`; the last few are kept, by the model's content and these options.

    `providers`: names ("cuda", "cpu", or ONNX Runtime's own) in order of preference, None for the best that works here.
    `threads`: of one operator, None for every CPU. `optimize`: "all", "extended", "basic" or "none". `spin`: whether idle
    threads wait actively (off where several sessions take turns).
    """
    key = (model.content_key, resolve_providers(providers), threads, optimize, spin)
    with _lock:
        found = _cache.get(key)
        if found is not None:
            _cache.move_to_end(key)
            return found
    made = Session(model, providers=providers, threads=threads, optimize=optimize, spin=spin)
    with _lock:
        _cache[key] = made
        while len(_cache) > _CACHE_SIZE:
            _cache.popitem(last=False)
    return made


def run(model: Model, feeds: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """`session(model).run(feeds, outputs)` with the default options."""
    return session(model).run(feeds, outputs)


def evaluate(proto: ModelProto, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Outputs of a model without inputs, on the CPU, not optimised, not cached: for constant folding."""
    made = _create(proto, [CPU], _options(1, "none"))
    try:
        return dict(zip(names, made.run(list(names), {}), strict=True))
    except _ORT_ERRORS as error:
        raise _run_error(error) from error


def infer_types(model: Model, names: Sequence[str]) -> dict[str, Value]:
    """Types and shapes of `names` as ONNX Runtime infers them, operators of its own domains included.

    Raises ModelError when the model cannot be loaded, ShapeError for a value that is no tensor.
    """
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    made = _create(proto, [CPU], _options(1, "none", folder=str(model.folder) if model.folder else None))
    found = {}
    for output in made.get_outputs():
        if not output.type.startswith("tensor("):
            raise ShapeError(f"the value {output.name!r} is no tensor ({output.type}): choose a value beside it")
        kind = output.type.removeprefix("tensor(").removesuffix(")").upper()
        dtype = onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.DataType.Value(kind))
        shape = tuple(d if isinstance(d, int | str) else None for d in output.shape)
        found[output.name] = Value(output.name, np.dtype(dtype), shape)
    return found


def to_device(array: np.ndarray, device: str) -> Any:
    """`array` as an OrtValue on "cpu" or "cuda"."""
    return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), device, 0)
