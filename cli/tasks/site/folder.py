"""The folder of a site: what it must agree on to be continued or merged, and what lies in it of the work."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ....engine.atomic import atomic
from ....engine.errors import OutputError
from ...files.manifest import indented, plain

FACTS = "data/site.json"
# Of the form of what a site's folder holds.
FORMAT = 1


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write data whole or not at all, the same bytes for the same data. Raises OutputError."""
    with atomic(path) as temporary:
        temporary.write_text(indented(plain(data)) + "\n", encoding="utf-8", newline="\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The data of a file; None where there is none or it holds something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def read_facts(folder: Path) -> dict[str, Any]:
    """What the site in a folder says of its model. Raises OutputError where there is no site."""
    found = read_json(folder / FACTS)
    if found is None or found.get("format") != FORMAT:
        raise OutputError(f"{str(folder)!r} holds no site of onnxray microscope: name the folder that it wrote")
    return found


def is_site(folder: Path) -> bool:
    """Whether a folder holds the work of `onnxray microscope`."""
    found = read_json(folder / FACTS)
    return found is not None and found.get("format") == FORMAT
