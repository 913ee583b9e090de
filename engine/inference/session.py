"""Running models: the only importer of onnxruntime.

Execution providers are chosen by what really works on this machine, which is tried once, quietly; sessions are cached
by the content of the model and their options. A model whose batch size is fixed runs over a larger batch with its batch
size made dynamic where that is provably the same (see `graph/dynamic_batch/`), else in pieces.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import EncodeError
from onnx import ModelProto

from ..errors import ModelError, OnnxrayError, RuntimeUnavailable, ShapeError, UnknownName
from ..graph.model import Model
from ..proto.nodes import DOMAIN_NAMES, label
from ..proto.validate import all_nodes
from ..proto.values import Value, from_info
from ..runtime.feeds import check_names, fit, join, pieces
from ..runtime.installation import check_installation, installed_distributions


def _import_onnxruntime() -> Any:
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
            made = ort.InferenceSession(proto.SerializeToString(), session_options(None), providers=[provider])
            if made.get_providers()[0] == provider:
                made.run(None, {"x": np.zeros(1, np.float32)})
                return None
        except ORT_ERRORS as error:
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


def resolve_providers(asked: str | Sequence[str] | None) -> tuple[str, ...]:
    """Full names of the providers to use: the best usable one, or those asked for.

    Raises UnknownName for a name that does not exist and RuntimeUnavailable for one that does not work here: a
    request is never answered by another provider.
    """
    if asked is None:
        return providers()
    names = list(asked) if isinstance(asked, Sequence) and not isinstance(asked, str) else [asked]
    full = []
    for name in names:
        provider = _SHORT.get(str(name).lower(), str(name))
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


_LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "none": "ORT_DISABLE_ALL",
}


def session_options(
    threads: int | None, optimize: str = "all", spin: bool = True, folder: str | None = None, pooled: bool = False
) -> Any:
    if optimize not in _LEVELS:
        raise UnknownName("optimization level", optimize, _LEVELS, f"known are {', '.join(_LEVELS)}")
    if threads is not None and threads < 1:
        raise OnnxrayError(f"a session cannot have {threads} threads: give 1 or more, or None for every CPU")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads or default_threads()
    options.inter_op_num_threads = 1
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, _LEVELS[optimize])
    if not spin:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if folder:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    if pooled:
        _register_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
    return options


@cache
def _register_arena() -> None:
    """One arena of the process for all pooled sessions, grown by what is asked for and no more."""
    info = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    same_as_requested, default = 1, -1
    ort.create_and_register_allocator(info, ort.OrtArenaCfg(0, same_as_requested, default, default))


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
        pooled: bool = False,
    ) -> None:
        """`pooled`: for many small sessions of one process: they share one arena, and `model` keeps no weights."""
        self.model = model
        self.providers = resolve_providers(providers)
        self.inputs: dict[str, Value] = {v.name: v for v in model.inputs}
        self.defaults = {v.name: v for v in map(from_info, model.graph.input) if v.name not in self.inputs}
        self.outputs = tuple(v.name for v in model.outputs)
        self._made_with: dict[str, Any] = {"threads": threads, "optimize": optimize, "spin": spin}
        folder = str(model.folder) if model.folder else None
        self._ort = create(model.proto, self.providers, session_options(threads, optimize, spin, folder, pooled))
        if pooled:
            self.model = _without_weights(model)
        elements = (*self._ort.get_inputs(), *self._ort.get_outputs())
        self._plain = not any(e.type.removeprefix("tensor(").rstrip(")") in _NOT_IN_NUMPY for e in elements)

    @property
    def device(self) -> str:
        """ "cuda" or "cpu": where tensors given as OrtValue should lie."""
        return "cuda" if self._ort.get_providers()[0] == CUDA else "cpu"

    def run(self, feeds: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Outputs by name, as arrays. `feeds` holds an array per input, shape as the model declares it.

        Arrays of another precision of the same kind (float64 for float32, int32 for int64) are converted. Where the
        model fixes the batch size and more samples are given, it runs with its batch size made dynamic if it is certain
        that samples do not mix (`batch.make_dynamic`), 32 times its batch size at once; else piece by piece. Outputs
        are joined along axis 0.

        Raises UnknownName (no such input or output), ShapeError (missing input, wrong type or shape), ModelError (the
        run itself failed).
        """
        names = list(self.outputs if outputs is None else outputs)
        for name in names:
            if name not in self.outputs:
                raise UnknownName("output", name, self.outputs, "onnxray.expose makes any value an output")
        check_names(feeds, self.inputs, self.defaults)
        known = {**self.defaults, **self.inputs}
        ready = {name: fit(x, known[name]) for name, x in feeds.items()}
        if not names:
            return {}
        single = pieces(ready, known)
        if single is None:
            return dict(zip(names, self._call(names, ready), strict=True))
        larger = self._dynamic
        if larger is None:
            runs = [self._call(names, piece) for piece in single]
            return join(names, runs, [self._batch] * len(single))
        parts = pieces(ready, known, at_once=_MOST_AT_ONCE) or []
        runs = [larger._call(names, part) for part in parts]
        leading = next(iter(self.inputs))
        return join(names, runs, [part[leading].shape[0] for part in parts])

    @property
    def _batch(self) -> int:
        """The batch size that the model fixes; asked for only where it does."""
        return next(v.shape[0] for v in self.inputs.values() if v.shape and isinstance(v.shape[0], int))

    @cached_property
    def _dynamic(self) -> Session | None:
        """The same with a dynamic batch size, None where that is not certain to give the same results."""
        from ..graph.dynamic_batch.make_dynamic import make_dynamic

        try:
            model = make_dynamic(self.model)
        except ShapeError:
            return None
        return Session(model, providers=self.providers, **self._made_with)

    def run_on_device(self, feeds: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Like `run` with IO binding: feeds may be OrtValues, results are OrtValues that stay on the session's device.

        Pass them to another session's `run_on_device`, or read one with `.numpy()`. Batches are not cut into pieces.
        """
        names = list(self.outputs if outputs is None else outputs)
        for name in names:
            if name not in self.outputs:
                raise UnknownName("output", name, self.outputs, "onnxray.expose makes any value an output")
        check_names(feeds, self.inputs, self.defaults)
        known = {**self.defaults, **self.inputs}
        binding = self._ort.io_binding()
        try:
            for name, x in feeds.items():
                binding.bind_ortvalue_input(name, x if isinstance(x, ort.OrtValue) else _ort_value(fit(x, known[name])))
            for name in names:
                binding.bind_output(name, self.device)
            self._ort.run_with_iobinding(binding)
        except ORT_ERRORS as error:
            raise run_error(error) from error
        return dict(zip(names, binding.get_outputs(), strict=True))

    def _call(self, names: list[str], feeds: Mapping[str, Any], options: Any = None) -> list[Any]:
        try:
            if self._plain:
                result: list[Any] = self._ort.run(names, dict(feeds), options)
                return result
            values = {name: _ort_value(array) for name, array in feeds.items()}
            return [_from_ort_value(v) for v in self._ort.run_with_ort_values(names, values, options)]
        except ORT_ERRORS as error:
            raise run_error(error) from error


@cache
def _trimmer() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None  # not glibc


def release_memory() -> None:
    """Give back to the system what was freed: glibc keeps the large copies of weights that making sessions leaves."""
    trim = _trimmer()
    if trim is not None:
        trim(0)


def _without_weights(model: Model) -> Model:
    proto = ModelProto()
    for info in model.graph.input:
        proto.graph.input.add().CopyFrom(info)
    for info in model.graph.output:
        proto.graph.output.add().CopyFrom(info)
    return Model(proto)


# Samples at once, in batch sizes of the model, once that is dynamic: enough for the kernels, and bounded in memory.
_MOST_AT_ONCE = 32
# Element types that ONNX Runtime does not exchange with NumPy by itself.
_NOT_IN_NUMPY = ("bfloat16", "float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz")


def _ort_value(array: Any, device: str = "cpu") -> Any:
    array = np.asarray(array, order="C")
    if array.dtype.kind != "V" and array.dtype.name not in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        return ort.OrtValue.ortvalue_from_numpy(array, device, 0)
    bits = array.view(np.uint16 if array.dtype.itemsize == 2 else np.uint8)
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, onnx.helper.np_dtype_to_tensor_dtype(array.dtype))


def _from_ort_value(value: Any) -> Any:
    kind = value.data_type().removeprefix("tensor(").rstrip(")")
    if kind not in _NOT_IN_NUMPY:
        return value.numpy()
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.DataType.Value(kind.upper())))
    data = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return np.frombuffer(data, dtype).reshape(value.shape()).copy()


def create(proto: ModelProto, providers: Sequence[str], options: Any) -> Any:
    try:
        return ort.InferenceSession(proto.SerializeToString(), options, providers=list(providers))
    except EncodeError:
        raise ModelError(
            "the model is too large for one protobuf (2 GiB): save it with external data, load the file"
        ) from None
    except ORT_ERRORS as error:
        strangers = _unknown_operator(proto, str(error))
        if strangers:
            raise ModelError(strangers) from error
        raise ModelError(f"ONNX Runtime {ort.__version__} cannot run this model: {_one_line(error)}") from error


def _unknown_operator(proto: ModelProto, said: str) -> str | None:
    """What to say where the model holds an operator of another domain that ONNX Runtime did not recognise."""
    for node in all_nodes(proto.graph):
        if node.domain not in DOMAIN_NAMES and f"{node.domain}:{node.op_type}(" in said and "not a registered" in said:
            return (
                f"operator {node.op_type!r} of the domain {node.domain!r} (node {label(node)}) is none of ONNX "
                f"Runtime's {ort.__version__}: onnxray loads no operator libraries; export the model with standard "
                "operators"
            )
    return None


def _one_line(error: Exception) -> str:
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
    said = _one_line(error)
    # With IO binding the same comes as a RuntimeError.
    feeds = type(error).__name__ == "InvalidArgument" or "Got invalid dimensions for input" in said
    return (ShapeError if feeds else ModelError)(f"ONNX Runtime failed while running the model: {said}")


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
    `threads`: of one operator, None for every CPU. `optimize`: "all", "extended", "basic" or "none". `spin`: whether
    idle threads wait actively (off where several sessions take turns).
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


def to_device(array: np.ndarray, device: str) -> Any:
    """`array` as an OrtValue on "cpu" or "cuda"."""
    return _ort_value(array, device)
