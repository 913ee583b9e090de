"""`onnxray merge`: results of `top` or `health` over parts of a data set, merged."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .health import NUMBERS, SIMILARITY, TEXT, write_readable
from .top import RESULT


def merge(parts: Sequence[Path], out: Path, force: bool) -> dict[str, Any]:
    """Merge the results in the folders `parts` into the folder `out`; its manifest.

    Of `health`, the pictures, numbers and text of the whole are written next to it.

    Raises OutputError (a folder without a result, or one that holds something else), MethodError (results that do not
    fit each other).
    """
    from functools import reduce

    from ...engine.errors import MethodError, OutputError
    from ...engine.survey.health import load_health, merge_healths
    from ...engine.survey.store import MANIFEST, kind_of
    from ...engine.survey.top import load_top, merge_tops

    folders = [part / RESULT if (part / RESULT).is_dir() else part for part in parts]
    kinds = {kind_of(folder) or "top" for folder in folders}
    if len(kinds) > 1 and all(map(kind_of, folders)):
        raise MethodError("the results cannot be merged: they are of different commands")
    if kinds == {"health"}:
        merged: Any = reduce(merge_healths, [load_health(folder) for folder in folders])
    else:
        merged = merge_tops([load_top(folder) for folder in folders])
    if out.exists() and not out.is_dir():
        raise OutputError(f"{str(out)!r} is a file: give another folder with --out")
    taken = {path.name for path in out.iterdir()} if out.is_dir() else set()
    kind = kinds.pop()
    own = {MANIFEST, f"{kind}.npz"}
    if kind == "health":
        own |= {NUMBERS, SIMILARITY, TEXT, *(name for name in taken if re.fullmatch(r"histograms(-\d+)?\.png", name))}
    if taken - own:
        raise OutputError(f"{str(out)!r} holds other files: give another folder with --out")
    if taken and not force:
        raise OutputError(f"{str(out)!r} holds a result: give --force to replace it, or another folder with --out")
    merged.save(out)
    if kind == "health":
        written = write_readable(merged, out)
        for name in taken - {*written, MANIFEST, f"{kind}.npz"}:  # pages of a result with more layers
            (out / name).unlink()
    return json.loads((out / MANIFEST).read_text(encoding="utf-8", errors="surrogateescape"))  # type: ignore[no-any-return]
