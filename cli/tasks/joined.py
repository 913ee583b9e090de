"""Parts of a run over images, made with --shard or as blocks on a cluster, joined to the run over all of them.

A part is a run's folder of its own. Its files have the names that the whole run gives them, so that joining copies
them, puts the entries of the manifests in the order of the images, and writes what is said of all images together by
the same code as a run that was never cut.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engine.errors import MethodError, OutputError
from ..files.manifest import files_of, read_manifest, stays_in
from ..files.output import Output
from . import activation_statistics, evaluate, explain, predict
from .over_images import ALIKE

if TYPE_CHECKING:
    from ..files.run import Run
    from .about import About
    from .evaluate import Document

# What tells runs apart, by entry of the manifest.
_SHARED = {
    "command": "commands",
    "model": "models",
    "card": "preprocessing",
    "layers": "layers",
    "versions": "versions",
}
JOINED = ("activations", "evaluate", "explain", "predict")


@dataclass(frozen=True)
class RunPart:
    """A part: `where` it is, for messages; the `head` of its manifest, without images; how its entries and the bytes
    of its files are read."""

    where: str
    head: Mapping[str, Any]
    entries: Callable[[], Iterable[dict[str, Any]]]
    read: Callable[[str], bytes]

    @property
    def number(self) -> int:
        """Which part it is, from 1 on."""
        return int(self.head["options"]["shard"][0])


def is_part(folder: Path) -> bool:
    """Whether a folder holds a part of a run over images."""
    found = read_manifest(folder)
    return found is not None and found["command"] in JOINED and "shard" in (found.get("options") or {})


def part_in(folder: Path) -> RunPart:
    """The part in a folder. Raises OutputError: none, or one that is not finished."""
    found = read_manifest(folder)
    if found is None or "shard" not in (found.get("options") or {}):
        raise OutputError(f"{str(folder)!r} holds no part of a run: make it with --shard")
    if not found.get("complete"):
        raise OutputError(f"{str(folder)!r} is not finished: go on with --resume, then merge again")

    def read(name: str) -> bytes:
        if not stays_in(folder, name):
            raise _outside(str(folder), name)
        try:
            return (folder / name).read_bytes()
        except OSError as error:
            raise OutputError(f"cannot read {str(folder / name)!r}: {error.strerror or error}") from error

    images = found.pop("images")
    return RunPart(str(folder), found, lambda: images, read)


def in_order(parts: Sequence[RunPart]) -> list[RunPart]:
    """The parts of one run, by number.

    Raises OutputError: parts of different runs, one that is missing or twice; MethodError: every image failed with one
    error, which the whole run takes for one of the model.
    """
    first = parts[0]
    of = int(first.head["options"]["shard"][1])
    for part in parts:
        differing = [what for key, what in _SHARED.items() if part.head.get(key) != first.head.get(key)]
        if not differing and _given(part) != _given(first):
            differing = ["lists of images"]
        if not differing and _options(part) != _options(first):
            differing = ["options"]
        if not differing and part.head["options"]["shard"][1] != of:
            differing = ["numbers of parts"]
        if differing:
            raise OutputError(
                f"{part.where!r} and {first.where!r} are parts of different runs: different {differing[0]}"
            )
    numbers = [part.number for part in parts]
    missing = sorted({*range(1, of + 1)} - {*numbers})
    if missing:
        named = ", ".join(f"{n}/{of}" for n in missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise OutputError(f"{len(missing)} of {of} parts are missing: make --shard {named} as well")
    if len(numbers) > of:
        twice = next(n for n in numbers if numbers.count(n) > 1)
        raise OutputError(f"the part {twice}/{of} is given twice: leave one out")
    alike = {part.head.get(ALIKE) for part in parts}
    if None not in alike and len(alike) == 1:
        raise MethodError(f"all images of all parts failed alike: {alike.pop()}")
    return sorted(parts, key=lambda part: part.number)


def _options(part: RunPart) -> dict[str, Any]:
    """Those of the whole run."""
    return {key: value for key, value in part.head["options"].items() if key not in ("shard", "given")}


def _given(part: RunPart) -> Any:
    """How many images the whole run has, and the digest of their names; None of a block, whose list is the job's."""
    return part.head["options"].get("given")


def _outside(where: str, name: str) -> OutputError:
    return OutputError(f"the manifest of {where!r} names {name!r}, a file outside its folder: make that part again")


def join(parts: Iterable[RunPart], output: Output, document: Document) -> Run:
    """The run over all images, in a folder, of its parts in their order; they are read one after the other.

    document: makes the page of an evaluation. Raises OutputError.
    """
    from ..files.run import Run

    several = iter(parts)
    first = next(several)
    with Run(output, first.head["command"], _options(first), _about(first.head)) as run:
        run.manifest["versions"] = first.head["versions"]
        facts: bytes | None = None
        for part in _chained(first, several):
            for entry in part.entries():
                for name in files_of(entry) or ():
                    if not stays_in(run.folder, name):
                        raise _outside(part.where, name)
                    run.data(name, part.read(name))
                run.add(entry)
            if facts is None and evaluate.FACTS in part.head["files"]:
                facts = part.read(evaluate.FACTS)
        _conclude(run, facts, document)
    return run


def _chained(first: RunPart, others: Iterator[RunPart]) -> Iterator[RunPart]:
    yield first
    yield from others


def _about(head: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says of the model: what stands between the options and the images."""
    keys = list(head)
    stop = keys.index("files")
    return {key: head[key] for key in keys[keys.index("options") + 1 : stop]}


def _conclude(run: Run, facts: bytes | None, document: Document) -> None:
    """What is written of all images together."""
    command, options = run.manifest["command"], run.manifest["options"]
    if command == "explain":
        explain.conclude(run)
    elif command == "predict":
        predict.conclude(run, run.entries)
    elif command == "activations":
        activation_statistics.conclude(run, bool(options.get("stats")))
    elif facts is not None:
        evaluate.conclude(run, _metrics(options["metrics"]), _facts(facts), document)


def _metrics(options: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """Metrics with their options, as a manifest has them. Raises UnknownName, MethodError."""
    from ...engine.evaluate.registry import make

    plain = {
        name: {key: tuple(v) if isinstance(v, list) else v for key, v in of.items()} for name, of in options.items()
    }
    return [make(name, of) for name, of in plain.items()]


def _facts(data: bytes) -> About:
    from .about import About

    try:
        return About.from_mapping(json.loads(data))
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"the {evaluate.FACTS} of a part is damaged ({error}): make that part again") from error
