"""The folder of a site: what it must agree on to be continued or merged, and what lies in it of the work."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....engine.atomic import atomic
from ....engine.errors import OutputError
from ...files.manifest import indented, plain

FACTS, LINKS, IMAGES = "data/site.json", "data/links.json", "data/images.json"
# The survey of images while it is unfinished.
PART = "data/unfinished.npz"
# The classes that units speak for, while what the images say is written.
SPEAKING = "data/unfinished.json"
# In the list of images, that what they say of some layers has not been written yet.
UNFINISHED = "unfinished"
# The folder of the live page, and the file in it that is written last.
LIVE, LIVE_FACTS = "live", "live/facts.js"
# Of the form of what a site's folder holds.
FORMAT = 1


@dataclass(frozen=True)
class LayerFiles:
    """Names of the files of a layer, relative to the site."""

    slug: str

    def sheet(self, kind: str, number: int) -> str:
        return f"layers/{self.slug}/{kind}-{number}.jpg"

    def crops(self, number: int) -> str:
        return self.sheet("crops", number)

    def heats(self, number: int) -> str:
        return self.sheet("heats", number)

    def filters(self, number: int) -> str:
        return self.sheet("filters", number)

    @property
    def numbers(self) -> str:
        return f"data/layers/{self.slug}.json"


def write_json(path: Path, data: Mapping[str, Any], *, dense: bool = False) -> None:
    """Write data whole or not at all, the same bytes for the same data; `dense`, on one line. Raises OutputError."""
    text = json.dumps(plain(data), separators=(",", ":"), allow_nan=False) if dense else indented(plain(data))
    with atomic(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8", newline="\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The data of a file; None where there is none or it holds something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def read_survey(folder: Path) -> dict[str, Any] | None:
    """The list of images, once what they say of all layers is there; else None."""
    found = read_json(folder / IMAGES)
    return None if found is None or UNFINISHED in found else found


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
