"""Which images of a run are done here: all, one of N parts, or a block that somebody else has listed.

A part knows its place in the whole run, so that what it writes is what the whole run writes of its images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...engine.errors import ImageError, MethodError
from ..files.names import Names
from ..files.run import RESERVED


@dataclass(frozen=True)
class Block:
    """Images that are listed already: `paths` with their classes, the names of their files in the whole run, the place
    of the first among all, and how many there are in all.

    lenient: an error that all of them share is theirs, not the model's: other blocks are done.
    """

    paths: tuple[Path, ...]
    labels: tuple[str | None, ...]
    names: tuple[str, ...]
    start: int
    total: int
    lenient: bool = False


@dataclass(frozen=True)
class Share:
    """The I-th of N parts, `number` of `parts`, counted from 1; where its images are listed already, its `block`.

    max_failures: of more images the run ends; None: however many fail. asked: whether a part is asked for, if only the
    first of one. given: how many images the whole run has, and the digest of their names, once they are known.
    """

    number: int = 1
    parts: int = 1
    block: Block | None = None
    max_failures: int | None = None
    asked: bool = False
    given: tuple[int, str] | None = None

    def check(self, failures: int, last: str) -> None:
        """Raises ImageError where more images have failed than may; `last` is the message of the last one."""
        if self.max_failures is not None and failures > self.max_failures:
            raise ImageError(f"{failures} images failed, more than the {self.max_failures} of --max-failures: {last}")

    @property
    def whole(self) -> bool:
        """Whether it is all there is."""
        return self.parts == 1 and self.block is None

    def to_mapping(self) -> dict[str, Any]:
        """For the options of a manifest."""
        if self.given is not None:
            count, names = self.given
            return {"shard": [self.number, self.parts], "given": {"images": count, "names_sha256": names}}
        return {} if self.whole else {"shard": [self.number, self.parts]}


WHOLE = Share()


def names_digest(files: Iterable[tuple[Path, str | None]]) -> str:
    """sha256 of the names of the files and their classes, in order."""
    digest = hashlib.sha256()
    for path, label in files:
        digest.update(f"{path}\0{label or ''}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def bounds(count: int, number: int, parts: int, group: int = 1) -> tuple[int, int]:
    """First and end of the I-th of N parts of `count` images, about equal, cut between groups.

    Raises MethodError where the part is empty.
    """
    groups = -(-count // group)
    start, stop = ((groups * n // parts) * group for n in (number - 1, number))
    if start == stop and count:
        kind = f"groups of {group}" if group > 1 else "images"
        raise MethodError(
            f"part {number} of {parts} has no images: there are {groups} {kind} to share, so ask for {groups} parts at "
            "most"
        )
    return start, min(stop, count)


def names_of(paths: Sequence[Path], wanted: Callable[[Path], str]) -> list[str]:
    """What the files of each image are called in a run over all of `paths`; `wanted` is taken where it is free."""
    names = Names(RESERVED)
    return [names.name(wanted(path)) for path in paths]


def stem_of(path: Path) -> str:
    """The name of an image without its ending."""
    return path.stem
