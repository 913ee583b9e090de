"""What a site lacks, found out from its folder: pictures of units, the survey of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...files.sheet import read_record
from .folder import LayerFiles, read_survey
from .plan import COARSE, DIVERSE, FIRST, FIRSTS, KINDS, SHEET, STRONGEST


@dataclass(frozen=True)
class Due:
    """A sheet that belongs into the folder: its kind, its file and how many units it shows."""

    kind: str
    file: str
    units: int


def all_due(facts: Mapping[str, Any]) -> list[Due]:
    """The sheets of a whole site, by what it says of itself."""
    kinds = [kind for kind in KINDS if kind != DIVERSE or facts["options"]["diverse"]]
    found = []
    for layer in facts["layers"]:
        for first in range(0, len(layer["units"]), SHEET):
            names, units = LayerFiles(layer["slug"]), len(layer["units"][first : first + SHEET])
            found += [Due(kind, names.sheet(kind, first // SHEET), units) for kind in kinds]
    return found


def missing_in(folder: Path, due: Sequence[Due], images: int, looked_at: int = 0) -> dict[str, Any]:
    """What is not there: pictures by kind, images of the survey; each as {"done", "of"}. Empty for a whole folder.

    images: how many there are to look at. looked_at: how many a survey that has not ended has seen. Fine pictures stand
    for coarse ones; units that no picture can be made of count as done.
    """
    there = {sheet.file: read_record(folder / sheet.file) is not None for sheet in due}
    done, of = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
    for sheet in due:
        fine = sheet.file.replace(f"/{COARSE}-", f"/{STRONGEST}-")
        of[sheet.kind] += sheet.units
        if there[sheet.file] or (fine != sheet.file and read_record(folder / fine) is not None):
            done[sheet.kind] += sheet.units
        elif read_record(folder / sheet.file.replace(f"/{COARSE}-0.", f"/{FIRST}-0.")) is not None:
            done[sheet.kind] += min(FIRSTS, sheet.units)
    found = {kind: {"done": done[kind], "of": of[kind]} for kind in KINDS if of[kind]}
    surveyed = not images or read_survey(folder) is not None
    if surveyed and all(done[kind] == of[kind] for kind in KINDS):
        return {}
    return {
        "pictures": found,
        "survey": {"complete": surveyed, "done": images if surveyed else looked_at, "of": images},
    }
