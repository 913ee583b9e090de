"""The one way kernels are compiled: Numba, without the GIL, cached on disk if that is possible.

A kernel is a function over arrays and numbers, decorated with `@kernel`. Importing its module imports neither Numba nor
LLVM and compiles nothing: the first call does (about 0.2 s to import Numba, some milliseconds to read compiled code
from the cache, or seconds to compile it for the first time on this machine).

Where the cache lies is Numba's choice: `NUMBA_CACHE_DIR`, else `__pycache__` next to the source, else the user's cache
folder. Where none of them can be written (read-only site-packages and no home) or the disk is full, kernels work all
the same and are compiled once per process.

Kernels never use Numba's own threads: its default threading layer aborts the process when two Python threads enter it
at once. They release the GIL instead, and `threads.bands` runs them side by side.

A kernel may call another kernel of the same file. It must not call one of another file: Numba judges the freshness of
the cache by the caller's file alone.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import pickle
import threading
from collections.abc import Callable, Mapping
from typing import Any, Generic, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")

# Reentrant: compiling a kernel resolves the kernels it calls.
_lock = threading.RLock()


class Kernel(Generic[P, R]):
    """A function that is compiled on its first call; callable from Python and from other kernels of its file."""

    def __init__(self, function: Callable[P, R], fastmath: bool | set[str], error_model: str) -> None:
        functools.update_wrapper(self, function)
        self.py_func = function
        self._options = {"fastmath": fastmath, "error_model": error_model}
        self._dispatcher: Any = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        result: R = self.dispatcher(*args, **kwargs)
        return result

    @property
    def dispatcher(self) -> Any:
        """Numba's dispatcher (the plain function under NUMBA_DISABLE_JIT=1)."""
        if self._dispatcher is None:
            with _lock:
                if self._dispatcher is None:
                    self._dispatcher = _dispatcher(self.py_func, self._options)
        return self._dispatcher

    @property
    def loaded(self) -> bool:
        """Whether it has been called already, so that the next call costs nothing but its own work."""
        return self._dispatcher is not None

    @property
    def cache_folder(self) -> str | None:
        """Where its compiled code is kept, None where it is not: it is compiled anew by every process."""
        stats = getattr(self.dispatcher, "stats", None)  # none under NUMBA_DISABLE_JIT
        return None if stats is None else stats.cache_path

    @property
    def _numba_type_(self) -> Any:
        # What Numba asks a global of a kernel for, to learn its type: another kernel is a dispatcher like any other.
        return self.dispatcher._numba_type_


def kernel(
    function: Callable[P, R] | None = None, *, fastmath: bool | set[str] = False, error_model: str = "python"
) -> Any:
    """Decorator: compile `function` with Numba on its first call, cached on disk, without the GIL.

    `fastmath` as in Numba; only for kernels in which no NaN may occur. `error_model` as in Numba: with "numpy" a
    division by zero raises nothing, so that a loop with a division can be vectorised.
    """
    if function is None:
        return lambda wrapped: Kernel(wrapped, fastmath, error_model)
    return Kernel(function, fastmath, error_model)


def _dispatcher(function: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    import numba

    dispatcher = numba.njit(nogil=True, **options)(function)
    if not hasattr(dispatcher, "enable_caching"):  # NUMBA_DISABLE_JIT
        return dispatcher
    try:
        dispatcher.enable_caching()
    except (RuntimeError, OSError):  # "no locator available": there is no folder that can be written
        return dispatcher
    _tolerate_disk_errors(dispatcher._cache)
    return dispatcher


# What reading a damaged index may raise: pickle runs into anything.
_DAMAGED = (
    *(EOFError, pickle.UnpicklingError, ValueError, TypeError, LookupError, AttributeError, ImportError, MemoryError),
    *(OverflowError, AssertionError, RecursionError),
)


def _with_checksums(file: Any) -> None:
    """Compiled code is saved with its hash and read back only if that fits: LLVM may crash on damaged code."""

    def seal(obj: Any) -> bytes:
        data: bytes = dump(obj)
        return data + hashlib.sha256(data).digest()

    def load_data(name: str) -> Any:
        with open(file._data_path(name), "rb") as opened:
            found = opened.read()
        data, digest = found[:-_DIGEST], found[-_DIGEST:]
        if hashlib.sha256(data).digest() != digest:
            raise EOFError(f"{name} is damaged, or older than its checksums")
        return pickle.loads(data)

    def save_data(name: str, obj: Any) -> None:
        with file._open_for_write(file._data_path(name)) as opened:
            opened.write(seal(obj))

    dump = file._dump
    file._load_data, file._save_data = load_data, save_data


_DIGEST = hashlib.sha256().digest_size


def _light_load(cache: Any) -> Callable[[Any, Any], Any]:
    """Reads compiled code without the tables that Numba fills for compiling: they take 0.6 s, most of a first call.

    Compiled code needs the runtime of its arrays alone. Where nothing is found, Numba fills them before it compiles.
    """
    from numba.core.runtime import rtsys

    def load(signature: Any, context: Any) -> Any:
        rtsys.initialize(context)
        with cache._guard_against_spurious_io_errors():
            return cache._load_overload(signature, context)

    return load


def _tolerate_disk_errors(cache: Any) -> None:
    """A cache that cannot be written (disk full) or read (a file cut short by a crash) must not fail the call."""
    save, load = cache.save_overload, _light_load(cache)
    _with_checksums(cache._cache_file)

    def save_overload(signature: Any, result: Any) -> None:
        try:
            save(signature, result)
        except OSError:
            cache.disable()

    def load_overload(signature: Any, context: Any) -> Any:
        try:
            return load(signature, context)
        except _DAMAGED:
            with contextlib.suppress(OSError):
                cache.flush()  # forget what is there: compiled afresh, and saved again
        except OSError:
            cache.disable()
        return None

    cache.save_overload, cache.load_overload = save_overload, load_overload


@kernel
def _next(x):  # type: ignore[no-untyped-def]
    return x + 1.0


def probe() -> str | None:
    """Compile a kernel and run it: the folder where compiled code is kept, None where there is none.

    Raises whatever Numba and LLVM raise where they do not work.
    """
    if _next(1.0) != 2.0:
        raise ArithmeticError("compiled code does not add")
    return cast("Kernel[Any, Any]", _next).cache_folder
