"""The loop over images that every command shares: what an earlier run has done, images that fail, progress."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ...engine.errors import (
    ImageError,
    OnnxrayError,
    OutputError,
    RuntimeUnavailable,
    ShapeError,
    TargetError,
    UnknownName,
)
from ..terminal.words import as_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..files.run import Run
    from ..terminal.progress import Progress

Pixels: TypeAlias = "NDArray[np.uint8]"
Entry: TypeAlias = "dict[str, Any]"
# What came out for one image: results for its entry of the manifest, and the files written.
Outcome: TypeAlias = "tuple[dict[str, Any], Sequence[str]]"

# So many images in a row, from the first on, fail with the same error before it is taken for one of the model.
_ALIKE = 3


@dataclass(frozen=True)
class ReadImage:
    """An image file: uint8 (H, W, 3) RGB `pixels` (or what `read` made of it), and the sha256 of its bytes."""

    path: Path
    pixels: Any
    sha256: str


def over_images(
    run: Run,
    bar: Progress,
    paths: Sequence[Path],
    one: Callable[[Path, Pixels, str], Outcome],
    news: Callable[[], Iterable[str]] = tuple,
    fits: Callable[[Entry], object] = bool,
    read: Callable[[Path], Any] | None = None,
) -> None:
    """Give every image to `one(path, pixels, folder)`; its entry goes into the manifest.

    read: what a file is given as, where it is not read as an image.

    `pixels` are uint8 (H, W, 3) RGB, `folder` is the image's own in the run's folder. An image that the run keeps from
    an earlier one is not read. `news` is what else there is to say after an image. For failures and `fits` see
    `over_batches`.
    """
    from ..files.run import done

    folders = {path: run.folder_for(path) for path in paths}

    def alone(images: Sequence[ReadImage]) -> list[Entry]:
        (image,) = images
        results, files = one(image.path, image.pixels, folders[image.path])
        for text in news():
            bar.say(text)
        return [done(image.path, image.sha256, files, **results)]

    for _ in over_batches(run, bar, paths, alone, lambda: 1, fits, read):
        pass


def over_batches(
    run: Run | None,
    bar: Progress,
    paths: Sequence[Path],
    several: Callable[[Sequence[ReadImage]], Sequence[Entry]],
    size: Callable[[], int],
    fits: Callable[[Entry], object] = bool,
    read: Callable[[Path], Any] | None = None,
) -> Iterator[Entry]:
    """The entry of every image, as it is known; `several` makes those of at most `size()` images together.

    Entries go into the manifest of `run` if there is one. Those of images that an earlier run has done, or that cannot
    be read, come before those of images that wait for their batch. `fits` is given the entries of an earlier run and
    raises KeyError, TypeError or ValueError for one that is not of the command's form: that image is done again.

    An image that cannot be read, or for which the work fails, fails alone and the others go on: but an error that is
    not about images and that the first three share, or all there are, is taken for one of the model and raised. So are
    OutputError and RuntimeUnavailable at once.
    """
    for entry in _Loop(run, bar, several, size, fits, read).entries(paths):
        if run:
            run.add(entry)
        bar.step(Path(entry["path"]).name)
        yield entry


@dataclass
class _Loop:
    """What `over_batches` does. held: failures that may be those of the model, to be said when one image is done."""

    run: Run | None
    bar: Progress
    several: Callable[[Sequence[ReadImage]], Sequence[Entry]]
    size: Callable[[], int]
    fits: Callable[[Entry], object]
    read: Callable[[Path], Any] | None = None
    held: list[tuple[Path, Exception]] = field(default_factory=list)
    any_done: bool = False

    def entries(self, paths: Sequence[Path]) -> Iterator[Entry]:
        waiting: list[ReadImage] = []
        for path in paths:
            kept = self._kept(path)
            if kept is not None:
                self.any_done = True
                yield kept
                continue
            try:
                image, notes = _read(path) if self.read is None else _read_by(self.read, path)
                for note in notes:
                    self.bar.say(f"warning: {path}: {note}")
                waiting.append(image)
            except (ImageError, ShapeError, UnknownName) as error:
                yield self._fail(path, error)
            if len(waiting) >= self.size():
                yield from self._together(waiting)
                waiting = []
        yield from self._together(waiting)
        self._say_held(at_end=True)

    def _kept(self, path: Path) -> Entry | None:
        entry = self.run.kept(path) if self.run else None
        try:
            if entry is not None:
                self.fits(entry)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None  # somebody has changed the manifest
        return entry

    def _together(self, images: Sequence[ReadImage]) -> Iterator[Entry]:
        if not images:
            return
        try:
            entries = self._made(images)
        except (OutputError, RuntimeUnavailable):
            raise  # every further image would meet it as well
        except OnnxrayError as error:
            if len(images) == 1:
                yield self._fail(images[0].path, error)
            else:
                for image in images:
                    yield from self._together([image])
            return
        self.any_done = True
        self._say_held()
        yield from entries

    def _made(self, images: Sequence[ReadImage]) -> Sequence[Entry]:
        try:
            return self.several(images)
        except MemoryError:
            raise ImageError(f"{str(images[0].path)!r}: there is not enough memory for it") from None

    def _fail(self, path: Path, error: Exception) -> Entry:
        """The entry of an image that failed; says so, once it is sure that it is not the model that fails."""
        from ..files.run import failed

        self.held.append((path, error))
        if self.any_done or isinstance(error, ImageError | TargetError):
            self._say_held()
        elif len(self.held) >= _ALIKE:
            self._say_held(at_end=True)
        return failed(path, error)

    def _say_held(self, at_end: bool = False) -> None:
        """Say the failures held back. Raises the first where all are the same, none of the images is done, and no more
        are waited for."""
        texts = {str(error) for _, error in self.held}
        if at_end and not self.any_done and len(texts) == 1:
            raise self.held[0][1]
        for path, error in self.held:
            _say_failed(self.bar, path, error)
        self.held.clear()


def _read(path: Path) -> tuple[ReadImage, Sequence[str]]:
    """The image, and what should be said of it."""
    from ..files.images import decode_with_notes, read_bytes

    data = read_bytes(path)
    pixels, notes = decode_with_notes(data, where=repr(str(path)))
    return ReadImage(path, pixels, hashlib.sha256(data).hexdigest()), notes


def _read_by(read: Callable[[Path], Any], path: Path) -> tuple[ReadImage, Sequence[str]]:
    from ..files.arrays import sha256_of

    return ReadImage(path, read(path), sha256_of(path)), ()


def _say_failed(bar: Progress, path: Path, error: Exception) -> None:
    """Errors about images name the file themselves."""
    text = as_options(str(error))
    bar.say(text if isinstance(error, ImageError) else f"{path}: {text}", error=True)
