"""`onnxray merge`: results over parts of a data set, merged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .top import RESULT


def merge(parts: Sequence[Path], out: Path, force: bool) -> dict[str, Any]:
    """Merge the results in the folders `parts` into the folder `out`; its manifest.

    Raises OutputError (a folder without a result, or one that holds something else), MethodError (results that do not
    fit each other).
    """
    from ...engine.errors import OutputError
    from ...engine.survey.store import MANIFEST
    from ...engine.survey.top import load_top, merge_tops

    merged = merge_tops([load_top(part / RESULT if (part / RESULT).is_dir() else part) for part in parts])
    if out.exists() and not out.is_dir():
        raise OutputError(f"{str(out)!r} is a file: give another folder with --out")
    taken = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if taken - {MANIFEST, "top.npz"}:
        raise OutputError(f"{str(out)!r} holds other files: give another folder with --out")
    if taken and not force:
        raise OutputError(f"{str(out)!r} holds a result: give --force to replace it, or another folder with --out")
    merged.save(out)
    return merged.manifest()
