"""Parts of a site, made by `onnxray microscope --shard`, joined to the whole site."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .microscope import finish
from .site.folder import FACTS, LIVE, SPEAKING, is_site, read_facts
from .site.missing import all_due, missing_in

if TYPE_CHECKING:
    from ..files.run import Run
    from .microscope import Pages

# Entries of the manifest that all parts share.
_SHARED = {"model": "models", "card": "preprocessing", "layers": "layers", "options": "options", "versions": "versions"}


def are_sites(parts: Sequence[Path]) -> bool:
    """Whether any of the folders holds a site, or a part of one."""
    return any(is_site(part) for part in parts)


def merge_sites(parts: Sequence[Path], out: Path, force: bool, write_pages: Pages) -> dict[str, Any]:
    """Join the parts in the folder `out`, a folder of its own; the manifest.

    Raises OutputError: a folder without a site, one that is in use, parts that do not fit each other, a full disk.
    """
    from ...engine.errors import OutputError
    from ..files.output import Output
    from ..files.run import Run

    facts = [read_facts(part) for part in parts]
    manifests = [_manifest(part) for part in parts]
    for part, mine, other in zip(parts, facts, manifests, strict=True):
        differing = [what for key, what in _SHARED.items() if other.get(key) != manifests[0].get(key)]
        if differing or mine != facts[0]:
            what = differing[0] if differing else "options"
            raise OutputError(f"{str(part)!r} and {str(parts[0])!r} are parts of different sites: different {what}")
    if out.resolve() in {part.resolve() for part in parts}:
        raise OutputError(f"{str(out)!r} is one of the parts: give another folder with --out")
    first = manifests[0]
    about = {key: first[key] for key in ("model", "card", "layers")}
    with Run(Output(out, force), "microscope", first["options"], about) as run:
        for part in parts:
            _copy(part, run)
        finish(run, write_pages)
        for manifest in manifests:
            for entry in manifest["images"]:
                run.add(entry)
        run.manifest["versions"] = first["versions"]
        run.missing = missing_in(run.folder, all_due(facts[0]), facts[0]["options"]["images"]["count"])
    return run.document()


def _manifest(part: Path) -> dict[str, Any]:
    from ...engine.errors import OutputError
    from ..files.manifest import read_manifest

    found = read_manifest(part)
    if found is None or found["command"] != "microscope":
        raise OutputError(f"{str(part)!r} has no manifest of onnxray microscope: make that part again")
    return found


def _copy(part: Path, run: Run) -> None:
    """What the pages are made of: facts, numbers, sheets that are whole."""
    from ...engine.errors import OutputError
    from ..files.sheet import read_record

    known = [path for path in part.glob("data/*.json") if path != part / SPEAKING]
    data = [part / FACTS, *known, *part.glob("data/layers/*.json")]
    live = [path for path in sorted(part.glob(f"{LIVE}/**/*.js")) if path.name != "live.js"]
    sheets = [path for folder in ("layers/*", "images") for path in part.glob(f"{folder}/*.jpg")]
    for path in [*data, *live, *(path for path in sheets if read_record(path) is not None)]:
        try:
            run.data(path.relative_to(part).as_posix(), path.read_bytes())
        except OSError as error:
            raise OutputError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
