"""The kernel decorator: nothing happens at import, the second process compiles nothing, no cache is no failure."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from onnxray.kernels.jit import kernel

ROOT = Path(__file__).resolve().parents[2]

# Calls every kernel module once, and prints how often a compiled function was found in the cache and how often not.
CALL_ALL = """
import json, sys
import numpy as np
from onnxray.kernels import blend, colormap, little, render, resize, topk, upsample
from onnxray.kernels.jit import Kernel

little._spent = little._MOST
image = np.arange(48 * 40 * 3, dtype=np.uint8).reshape(48, 40, 3)
map = np.arange(9.0).reshape(3, 3)
gray = colormap.table("gray")
checks = [
    colormap.apply(map, gray, 0, 8).sum(),
    upsample.upsample(map, (8, 8)).sum(),
    resize.resize(image, (7, 9)).sum(),
    resize.resize(image.astype(np.float32), (7, 9)).sum(),
    render.render(map, image, gray, 0, 8).sum(),
    render.render(map, image, gray, 0, 8, alpha_by_value=True).sum(),
    topk.update(topk.empty(3, 2), map, [0, 1, 2]).scores.sum(),
]
hits = misses = 0
for module in (blend, colormap, resize, topk, upsample):
    for value in vars(module).values():
        if isinstance(value, Kernel) and value._dispatcher is not None:
            stats = value.dispatcher.stats
            hits += sum(stats.cache_hits.values())
            misses += sum(stats.cache_misses.values())
checks = [float(check) for check in checks]
filled = "numba.np.arraymath" in sys.modules  # what Numba fills its tables from, to compile
print(json.dumps({"where": colormap.__file__, "checks": checks, "hits": hits, "misses": misses, "filled": filled}))
"""


def run(code: str, folder: Path | None = None, **environment: str) -> str:
    """The output of a fresh interpreter in which every warning is an error; `folder` holds the package, if a copy."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA", "XDG", "PYTHON"))}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=kept | environment | ({"PYTHONPATH": str(folder)} if folder else {}),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A cache folder that a first process has filled, and what that process printed."""
    cache = tmp_path_factory.mktemp("cache")
    return cache, json.loads(run(CALL_ALL, NUMBA_CACHE_DIR=str(cache)))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder with a copy of the package whose cache folder cannot be made, not even by root: a file has its name."""
    package = tmp_path / "onnxray"
    (package / "kernels").mkdir(parents=True)
    shutil.copy(ROOT / "__init__.py", package)
    for file in (ROOT / "kernels").glob("*.py"):
        shutil.copy(file, package / "kernels")
    (package / "kernels" / "__pycache__").write_text("not a folder")
    return tmp_path


def test_import_compiles_nothing():
    code = """
import sys
from onnxray.kernels import colormap, normalize, render, resize, threads, topk, upsample
print([name for name in ("numba", "llvmlite", "onnx", "cv2", "concurrent.futures") if name in sys.modules])
"""
    assert run(code).strip() == "[]"


@pytest.mark.slow
def test_the_second_process_compiles_nothing(warm):
    cache, first = warm
    assert first["misses"] > 8
    second = json.loads(run(CALL_ALL, NUMBA_CACHE_DIR=str(cache)))
    assert second["misses"] == 0
    assert second["hits"] > 8
    assert second["checks"] == first["checks"]
    assert first["filled"]
    assert not second["filled"]


# A kernel that is read, then one that is not there: Numba has to fill its tables after all.
ONE_AND_ANOTHER = """
import sys
import numpy as np
from onnxray.kernels import colormap, resize
from onnxray.kernels.jit import kernel

@kernel
def shifted(x):
    return np.sort(np.exp(x))[::-1] - 1.0

gray = colormap.table("gray")
read = float(colormap.apply(np.arange(9.0).reshape(3, 3), gray, 0, 8).sum())
before = "numba.np.arraymath" in sys.modules
print(read, before, float(shifted(np.zeros(3)).sum()))
"""


@pytest.mark.slow
def test_compiling_after_reading(warm):
    cache, first = warm
    result = run(ONE_AND_ANOTHER, NUMBA_CACHE_DIR=str(cache)).split()
    assert result == [str(first["checks"][0]), "False", "0.0"]


@pytest.mark.slow
def test_no_folder_for_the_cache(warm, copied):
    nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null/cache", "LOCALAPPDATA": "NUL"}
    result = json.loads(run(CALL_ALL, copied, **nowhere))
    assert Path(result["where"]).is_relative_to(copied)
    assert result["checks"] == warm[1]["checks"]
    assert result["hits"] == 0
    cached = [file for file in copied.rglob("*") if file.suffix in (".nbi", ".nbc")]
    assert cached == []


@pytest.mark.slow
def test_a_cache_folder_that_cannot_be_made(warm, copied):
    below_a_file = str(copied / "onnxray" / "__init__.py" / "cache")
    result = json.loads(run(CALL_ALL, copied, NUMBA_CACHE_DIR=below_a_file, HOME="/dev/null"))
    assert Path(result["where"]).is_relative_to(copied)
    assert result["checks"] == warm[1]["checks"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
def test_a_full_disk(warm, tmp_path):
    """No file may grow beyond 0 bytes, which fails as a full disk does: on writing, not on opening."""
    limit = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
"""
    result = json.loads(run(limit + CALL_ALL, NUMBA_CACHE_DIR=str(tmp_path)))
    assert result["checks"] == warm[1]["checks"]
    assert result["hits"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "size"), [(".nbi", 0), (".nbi", 40), (".nbc", 40)])
def test_files_cut_short(warm, tmp_path, suffix, size):
    shutil.copytree(warm[0], tmp_path / "cache")
    broken = [file for file in (tmp_path / "cache").rglob("topk._update*") if file.suffix == suffix]
    assert broken
    for file in broken:
        file.write_bytes(file.read_bytes()[:size])
    for misses in (1, 0):  # compiled once more, then found again
        result = json.loads(run(CALL_ALL, NUMBA_CACHE_DIR=str(tmp_path / "cache")))
        assert result["checks"] == warm[1]["checks"]
        assert result["misses"] == misses


@kernel
def _double(x):
    return 2 * x


@kernel
def _add_doubles(values):
    total = 0.0
    for value in values:
        total += _double(value)
    return total


@pytest.mark.slow
def test_damaged_code_is_compiled_afresh(warm, tmp_path):
    """A page of zeros, as a power cut leaves it: LLVM crashes on such code."""
    cache = tmp_path / "cache"
    shutil.copytree(warm[0], cache)
    for file in cache.rglob("*.nbc"):
        data = bytearray(file.read_bytes())
        data[4096:12288] = bytes(8192)
        file.write_bytes(data)
    for expected in ("misses", "hits"):
        result = json.loads(run(CALL_ALL, NUMBA_CACHE_DIR=str(cache)))
        assert result["checks"] == warm[1]["checks"]
        assert result[expected] > 8


def test_kernels_call_kernels():
    assert _add_doubles.py_func is not _add_doubles
    assert _add_doubles(np.arange(4.0)) == 12.0
    assert _double(21) == 42
    assert _double.__name__ == "_double"


@pytest.mark.slow
def test_first_calls_from_many_threads():
    """Eight threads that all need the compiler, then the pool, at once."""
    code = """
import threading
import numpy as np
from onnxray.kernels import colormap, render, upsample

image = np.random.default_rng(0).integers(0, 256, (1200, 1600, 3), dtype=np.uint8)
results, errors, start = [None] * 8, [], threading.Barrier(8)

def work(i):
    try:
        start.wait()
        for _ in range(3):
            map = upsample.upsample(np.eye(5), (700, 800), threads=3)
            results[i] = render.render(map, image, colormap.table("ember"), 0, 1, threads=3)
    except Exception as error:
        errors.append(error)

threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not errors, errors
assert all((result == results[0]).all() for result in results)
print("same")
"""
    assert run(code).strip() == "same"
