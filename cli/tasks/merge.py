"""`onnxray merge`: results over parts of a data set, merged."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engine.errors import OutputError
from ..files.output import Output
from ..files.remote import is_uri, uri_of
from .cluster.store import JOB, Store, finished
from .health import NUMBERS, SIMILARITY, TEXT, write_readable
from .joined import RunPart, in_order, is_part, join, part_in
from .merge_sites import are_sites, merge_sites
from .top import RESULT

if TYPE_CHECKING:
    from .evaluate import Document
    from .microscope import Pages


def merge_any(parts: Sequence[Path], out: Path, force: bool, document: Document, write_pages: Pages) -> dict[str, Any]:
    """Merge parts of whatever command into the folder `out`; the manifest.

    document, write_pages: make the pages of an evaluation and of a site. Raises OutputError, MethodError.
    """
    for folder in (*parts, out):
        if is_uri(str(folder)):
            raise OutputError(f"{uri_of(str(folder))!r} is a URI: merge copies of parts in local folders into another")
    if are_sites(parts):
        return merge_sites(parts, out, force, write_pages)
    if len(parts) == 1 and (parts[0] / "parts" / JOB).is_file():
        store = Store(str(parts[0] / "parts"))
        numbers = finished(store)
        in_order([_head_only(store.part(number)) for number in numbers])
        # Block by block: a part holds its files once one of them is read.
        return join(map(store.part, numbers), Output(out, force), document).document()
    if not any(map(is_part, parts)):
        return merge(parts, out, force)
    if out.resolve() in {part.resolve() for part in parts}:
        raise OutputError(f"{str(out)!r} is one of the parts: give another folder with --out")
    return join(in_order([part_in(part) for part in parts]), Output(out, force), document).document()


def _head_only(part: RunPart) -> RunPart:
    """A part without what it holds of its records and files."""
    return replace(part, entries=tuple, read=_none)


def _none(name: str) -> bytes:
    raise OutputError(f"{name!r} is not read yet")


def merge(parts: Sequence[Path], out: Path, force: bool) -> dict[str, Any]:
    """Merge the results in the folders `parts` into the folder `out`; its manifest.

    Of `health`, the pictures, numbers and text of the whole are written next to it.

    Raises OutputError (a folder without a result, or one that holds something else), MethodError (results that do not
    fit each other).
    """
    from functools import reduce

    from ...engine.errors import MethodError
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
