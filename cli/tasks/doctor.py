"""Whether this installation works: versions, providers, processors, kernels, pictures, extras; remedies where not."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...engine.errors import OnnxrayError
from ...kernels.threads import available

GOOD, NOTE, PROBLEM = "good", "note", "problem"

# What each extra brings; a test holds the names equal to those of the package.
EXTRAS = {
    "audio": "sounds: FLAC, OGG, MP3, and WAV of every kind",
    "medical": "medical images: DICOM and NIfTI",
    "mqtt": "`watch --to mqtt://...`: records to a broker",
    "prometheus": "`watch --prometheus PORT`: figures for Prometheus",
    "ray": "`--on ray`: runs over many images on a Ray cluster",
    "tables": "paths of images from Parquet files",
    "tensorboard": "`explain --to tensorboard:DIR`: overlays as images of TensorBoard",
    "text": "texts: tokenizer.json and vocab.txt of transformers",
    "watch": "`watch`: events of a folder, and rules such as --when 'score > 0.6'",
}
# Extras that nobody needs to use onnxray.
DEVELOPMENT = ("test", "docs", "torch", "peers")

# Distributions that install the module `cv2` and overwrite each other's files.
_OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
_LIBRARIES = ("onnx", "numpy", "numba", "scipy", "scikit-image", "pillow", "tifffile", "click", "jinja2")


@dataclass(frozen=True)
class Check:
    """Something that was tried.

    state: "good", "note" (it works, but there is something to know) or "problem"; remedy: what to do, or "".
    """

    name: str
    state: str
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """What `doctor` found: `checks` in order. `str()` is what the command line prints."""

    checks: tuple[Check, ...]

    @property
    def good(self) -> bool:
        """Whether no check found a problem."""
        return not any(check.state == PROBLEM for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"good": self.good, "checks": [asdict(check) for check in self.checks]}

    def __str__(self) -> str:
        wide = max(len(check.name) for check in self.checks)
        marks = {GOOD: "ok     ", NOTE: "note   ", PROBLEM: "PROBLEM"}
        lines = []
        for check in self.checks:
            lines.append(f"{marks[check.state]}  {check.name:{wide}}  {check.text}")
            if check.remedy:
                lines.append(f"{'':9}{'':{wide}}  -> {check.remedy}")
        found = sum(check.state == PROBLEM for check in self.checks)
        lines += ["", "everything works" if not found else f"{found} problem{'s' if found > 1 else ''} found"]
        return "\n".join(lines)


def doctor() -> Diagnosis:
    """Try everything once, on this machine; nothing is changed."""
    parts: Sequence[Callable[[], Iterator[Check]]] = (
        _versions,
        _onnxruntime,
        _providers,
        _processors,
        _kernels,
        _pictures,
        _folders,
        _extras,
    )
    return Diagnosis(tuple(check for part in parts for check in part()))


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _versions() -> Iterator[Check]:
    from ...engine.version import __version__

    where = f"{platform.system()} {platform.release()} on {platform.machine()}"
    yield Check("onnxray", GOOD, f"{__version__}, Python {platform.python_version()}, {where}")
    found = {name: _version(name) for name in _LIBRARIES}
    missing = [name for name, version in found.items() if version is None]
    text = ", ".join(f"{name} {version}" for name, version in found.items() if version is not None)
    if missing:
        remedy = "pip install --upgrade --force-reinstall onnxray"
        yield Check("libraries", PROBLEM, f"not installed: {', '.join(missing)}; there are {text}", remedy)
    else:
        yield Check("libraries", GOOD, text)


def _onnxruntime() -> Iterator[Check]:
    from ...engine.runtime.installation import check_installation, installed_distributions

    installed = installed_distributions()
    try:
        check_installation(installed)
    except OnnxrayError as error:
        yield Check("onnxruntime", PROBLEM, *_halves(str(error)))
        return
    try:
        from ...engine.runtime.ort import ort
    except OnnxrayError as error:
        yield Check("onnxruntime", PROBLEM, *_halves(str(error)))
        return
    yield Check("onnxruntime", GOOD, f"{ort.__version__} ({installed[0]})")


def _halves(message: str) -> tuple[str, str]:
    """What is wrong, and the remedy: what stands before and behind the colon."""
    text, _, remedy = message.partition(": ")
    return text, remedy


def _providers() -> Iterator[Check]:
    """Each provider of the installed package, tried on a model of one node."""
    try:
        from ...engine.runtime.ort import ort
        from ...engine.runtime.providers import CUDA, unusable_reason
    except OnnxrayError:
        return  # said above
    for name in ort.get_available_providers():
        reason = unusable_reason(name)
        short = f"provider {name.removesuffix('ExecutionProvider')}"
        if reason is None:
            yield Check(short, GOOD, "runs a model")
        elif name == CUDA and "cannot be loaded" in reason:
            remedy = "pip install --upgrade 'onnxruntime-gpu[cuda,cudnn]', then run `onnxray doctor` again"
            yield Check(short, PROBLEM, reason, remedy)
        else:
            yield Check(short, NOTE, f"not used: {reason}")


def _processors() -> Iterator[Check]:
    usable, most = available(), quota()
    text = f"{usable} of {os.cpu_count()} can be used"
    if most is not None and most < usable - 0.5:
        remedy = f"give --threads {max(1, round(most))} (threads={max(1, round(most))} in Python)"
        yield Check("processors", NOTE, f"{text}, but this container may use {most:g} of them at a time", remedy)
    else:
        yield Check("processors", GOOD, text)


def quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Processors that this container may keep busy (Linux control groups, either version), None where any number."""
    try:
        allowed, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            allowed, period = ((root / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return None
    try:
        return float(allowed) / float(period) if float(allowed) > 0 else None
    except (ValueError, ZeroDivisionError):
        return None  # "max"


def _kernels() -> Iterator[Check]:
    """Whether Numba compiles, and keeps what it compiled."""
    try:
        from ...kernels.jit import probe

        folder = probe()
    except Exception as error:  # whatever Numba or LLVM raises: finding out is what this is for
        remedy = "pip install --upgrade --force-reinstall numba llvmlite"
        yield Check("kernels", PROBLEM, f"Numba does not work: {' '.join(str(error).split())[:200]}", remedy)
        return
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        remedy = "unset the environment variable NUMBA_DISABLE_JIT"
        yield Check("kernels", PROBLEM, "not compiled, a hundred times slower: NUMBA_DISABLE_JIT is set", remedy)
    elif folder is None:
        remedy = "set the environment variable NUMBA_CACHE_DIR to a folder that can be written"
        yield Check("kernels", NOTE, "compiled anew by every process (seconds): no folder keeps them", remedy)
    else:
        yield Check("kernels", GOOD, f"compiled once, kept in {folder}")


def _pictures() -> Iterator[Check]:
    """OpenCV: one copy of it, the files that it reads and writes, its letters."""
    installed = [name for name in _OPENCV if _version(name) is not None]
    if len(installed) > 1:
        remedy = f"pip uninstall -y {' '.join(installed)}, then pip install {installed[0]}"
        text = f"{' and '.join(installed)} are installed together and overwrite each other's files"
        yield Check("OpenCV", PROBLEM, text, remedy)
    try:
        import numpy as np

        from ..files.images import abilities, draw_text
    except ImportError as error:
        remedy = (
            "pip uninstall -y opencv-python, then pip install opencv-python-headless (for machines without a display)"
        )
        yield Check("OpenCV", PROBLEM, f"cannot be imported: {error}", remedy)
        return
    version, kinds, has_letters = abilities()
    yield Check("OpenCV", GOOD, f"{version} ({', '.join(installed) or 'not installed by pip'})")
    missing = [kind for kind, kept in kinds.items() if not kept]
    if missing:
        remedy = "convert such files, for example to PNG, or install another build of OpenCV"
        yield Check("image files", NOTE, f"this build does not write and read {', '.join(missing)}", remedy)
    else:
        yield Check("image files", GOOD, ", ".join(kinds))
    canvas = np.zeros((24, 64, 3), np.uint8)
    draw_text(canvas, "onnxray", (2, 2), 16, (255, 255, 255))
    if not canvas.any():
        yield Check("letters", PROBLEM, "OpenCV draws no text", "pip install --upgrade opencv-python")
    elif not has_letters:
        remedy = "pip install --upgrade 'opencv-python>=5' where it exists for this system"
        yield Check("letters", NOTE, "pictures have ASCII letters only: this OpenCV has no TrueType fonts", remedy)
    else:
        yield Check("letters", GOOD, "TrueType, built into OpenCV")


def _folders() -> Iterator[Check]:
    """Where results and downloads are written."""
    folder = tempfile.gettempdir()
    try:
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"onnxray")
    except OSError as error:
        remedy = "set the environment variable TMPDIR to a folder that can be written"
        yield Check("temporary files", PROBLEM, f"{folder} cannot be written: {error.strerror}", remedy)
        return
    yield Check("temporary files", GOOD, folder)


def _extras() -> Iterator[Check]:
    """What is installed of each extra, and what it would bring."""
    needed = extras()
    for name, brings in EXTRAS.items():
        missing = [package for package in needed.get(name, ()) if _version(package) is None]
        if missing:
            remedy = f"pip install 'onnxray[{name}]'"
            yield Check(f"extra {name}", NOTE, f"not installed ({', '.join(missing)}): {brings}", remedy)
        else:
            yield Check(f"extra {name}", GOOD, brings)


def extras() -> Mapping[str, tuple[str, ...]]:
    """The packages of each extra of the installed onnxray."""
    found: dict[str, list[str]] = {}
    for line in importlib.metadata.requires("onnxray") or ():
        requirement, _, condition = line.partition(";")
        match = re.search(r"""extra\s*==\s*['"]([^'"]+)['"]""", condition)
        if match is not None:
            found.setdefault(match[1], []).append(re.split(r"[^A-Za-z0-9_.-]", requirement.strip())[0])
    return {name: tuple(packages) for name, packages in found.items()}
