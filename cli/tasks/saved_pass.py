"""A pass over images that takes long: it is saved on the way, and gone on with where it was cut off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ..sources.share import WHOLE, Share, names_digest

if TYPE_CHECKING:
    from ...engine.preprocess.card import Card
    from ...engine.survey.pictures import Picture
    from ..files.run import Run
    from ..terminal.progress import Progress

Files: TypeAlias = "Sequence[tuple[Path, str | None]]"
T = TypeVar("T")

# The file in a run's folder that holds what is unfinished.
PART = "unfinished.npz"
# Seconds between two savings, at least, and how many times as long as the last one took.
SAVE, SAVE_TIMES = 20.0, 20


class Saving:
    """Saves now and then: not before the next time has come."""

    def __init__(self, save: Callable[[], None]) -> None:
        self._save, self._due = save, time.monotonic() + SAVE

    def if_due(self) -> None:
        """Save, if it is time."""
        if time.monotonic() > self._due:
            self.now()

    def now(self) -> None:
        """Save."""
        begun = time.monotonic()
        self._save()
        now = time.monotonic()
        self._due = now + max(SAVE, SAVE_TIMES * (now - begun))


@dataclass
class Pass:
    """A pass over `files` (with their classes) in the folder of a run.

    card: how they are read. at: how many are done. failures: messages by the place in the list, added by the thread
    that reads. share: which part of all images these are.
    """

    run: Run
    bar: Progress
    files: Files
    card: Card | None
    at: int = 0
    failures: dict[int, str] = field(default_factory=dict)
    share: Share = WHOLE

    @property
    def part(self) -> Path:
        return self.run.folder / PART

    def earlier(self, load: Callable[[Path], tuple[T, dict[str, Any]] | None], resume: bool) -> T | None:
        """What an unfinished pass of the folder has found, None where there is none; `at` and `failures` are set.

        What a run leaves that is replaced (`resume` False) is removed. Raises OutputError for one over other images.
        """
        from ...engine.errors import OutputError

        if not resume:
            self.part.unlink(missing_ok=True)
        found = load(self.part)
        if found is not None:
            done = found[1]
            if done.get("names_sha256") != names_digest(self.files):
                raise OutputError(
                    f"{str(self.run.folder)!r} holds an unfinished run over other images: give the same ones, --force "
                    "to replace it, or another folder with --out"
                )
            self.at = int(done["at"])
            self.failures = {int(place): str(text) for place, text in done["failures"].items()}
        self.bar.done = self.at
        return None if found is None else found[0]

    def done(self) -> Mapping[str, Any]:
        """How far the pass is, for the file of what is unfinished."""
        failures = {str(place): text for place, text in self.failures.copy().items() if place < self.at}
        return {"at": self.at, "names_sha256": names_digest(self.files), "failures": failures}

    def pictures(self, start: int) -> Iterator[Picture | None]:
        """The files from `start` on, decoded; None for one that cannot be read, which is said.

        Raises ImageError where too many cannot be read.
        """
        from ...engine.errors import ImageError
        from ...engine.survey.pictures import Picture
        from ..files.photos import read_photo

        for place in range(start, len(self.files)):
            path, label = self.files[place]
            try:
                pixels = read_photo(path, self.card)
            except (ImageError, MemoryError) as error:
                self.failures[place] = " ".join(str(error).split()) or "there is not enough memory for it"
                self.bar.say(self.failures[place], error=True)
                self.share.check(len(self.failures), self.failures[place])
                yield None
            else:
                yield Picture(str(path), pixels, label)

    def step(self, at: int, name: str = "") -> None:
        """So many are done, the last one being `name`."""
        self.at = at
        self.bar.done = at - 1
        self.bar.step(name)

    def end(self, count: int) -> None:
        """What failed goes into the manifest. Raises ImageError where none of the images was read."""
        from ...engine.errors import ImageError

        for place, text in sorted(self.failures.items()):
            self.run.add({"path": str(self.files[place][0]), "status": "failed", "error": text})
        if not count:
            first = next(iter(self.failures.values()))
            raise ImageError(f"none of the {len(self.files)} images can be read; the first: {first}")
