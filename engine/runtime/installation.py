"""Whether exactly one onnxruntime is installed, and what to do if not."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Sequence

from ..errors import RuntimeUnavailable

# Distributions that install the module `onnxruntime`; two of them overwrite each other's files.
DISTRIBUTIONS = (
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
    found = [name for name in DISTRIBUTIONS if name in installed]
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


def installed_distributions() -> list[str]:
    """Those of `DISTRIBUTIONS` that are installed in this environment."""
    found = []
    for name in DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version(name)
            found.append(name)
    return found
