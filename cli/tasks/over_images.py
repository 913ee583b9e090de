"""The loop over images that every command shares: what an earlier run has done, images that fail, progress."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ...engine.errors import (
    ImageError,
    OnnxrayError,
    OutputError,
    RuntimeUnavailable,
    ShapeError,
    SoundError,
    TargetError,
    UnknownName,
    VolumeError,
)
from ...engine.pipeline.flow import Flow, Sizes, Stages
from ..sources.registry import Images
from ..sources.share import WHOLE, Share
from ..sources.source import Frame
from ..terminal.words import as_options

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...engine.preprocess.card import Card
    from ..files.run import Run
    from ..terminal.progress import Progress

W = TypeVar("W")
R = TypeVar("R")
Pixels: TypeAlias = "NDArray[Any]"
Entry: TypeAlias = "dict[str, Any]"
# What came out for one image: results for its entry of the manifest, and the files written.
Outcome: TypeAlias = "tuple[dict[str, Any], Sequence[str]]"

# So many images in a row, from the first on, fail with the same error before it is taken for one of the model.
_ALIKE = 3
# Entry of the manifest of a part none of whose images is done: the error, not about images, that all of them share.
ALIKE = "alike"


@dataclass(frozen=True)
class ReadImage:
    """An image: `pixels`, uint8 (H, W, 3) RGB or what the card or `read` says, and the sha256 of its bytes."""

    path: Path
    pixels: Any
    sha256: str


@dataclass(frozen=True)
class _Finished:
    """What an image has come to. image: None where it is not read; entry: of an earlier run; outcome: of `one`."""

    path: Path
    image: ReadImage | None = None
    notes: Sequence[str] = ()
    entry: Entry | None = None
    outcome: Outcome | None = None
    error: Exception | None = None


def over_images(
    run: Run,
    bar: Progress,
    images: Images | Sequence[Path],
    one: Callable[[Path, Pixels, str], Outcome],
    news: Callable[[Path], Iterable[str]] = lambda _: (),
    fits: Callable[[Entry], object] = bool,
    read: Callable[[Path], Any] | None = None,
    workers: int = 1,
    card: Card | None = None,
) -> None:
    """Give every image to `one(path, pixels, folder)`; its entry goes into the manifest.

    read: what a file is given as, where it is not read as an image. workers: how many images `one` is called for at
    once, from as many threads; images are read in a thread of their own in any case. card: the model's, where the image
    goes into it.

    `pixels` are uint8 (H, W, 3) RGB, with a card all bits and bands that it reads (see `files.photos`), `folder` is the
    image's own in the run's folder. An image that the run keeps from an earlier one is not read. `news(path)` is what
    else there is to say after an image, called for one after the other, in order. For failures and `fits` see
    `over_batches`.
    """
    from ..files.run import done

    folders: dict[Path, str] = {}

    def named(path: Path, is_file: bool) -> None:
        folders[path] = run.folder_for(path, path.stem if is_file else path.name)

    def alone(image: ReadImage) -> Outcome:
        return one(image.path, image.pixels, folders[image.path])

    def entry_of(image: ReadImage, outcome: Outcome) -> Entry:
        del folders[image.path]
        for text in news(image.path):
            bar.say(text)
        results, files = outcome
        return done(image.path, image.sha256, files, **results)

    if isinstance(images, Images) and images.names:
        folders.update(zip(images.paths, images.names, strict=True))
    else:
        for path in images.paths if isinstance(images, Images) else images:
            named(path, True)
    loop = _Loop(run, bar, fits, read, workers, named=named, alone=alone, entry_of=entry_of, card=card)
    for _ in _noted(run, bar, loop.entries(images), _share_of(images)):
        pass


def over_batches(
    run: Run | None,
    bar: Progress,
    images: Images | Sequence[Path],
    several: Callable[[Sequence[ReadImage]], Sequence[Entry]],
    size: Callable[[], int],
    fits: Callable[[Entry], object] = bool,
    read: Callable[[Path], Any] | None = None,
    card: Card | None = None,
) -> Iterator[Entry]:
    """The entry of every image, as it is known; `several` makes those of at most `size()` images together.

    Images are read in a thread of their own; `several` is called in this one. Entries go into the manifest of `run` if
    there is one. Those of images that an earlier run has done, or that cannot be read, come before those of images that
    wait for their batch. `fits` is given the entries of an earlier run and raises KeyError, TypeError or ValueError for
    one that is not of the command's form: that image is done again.

    An image that cannot be read, or for which the work fails, fails alone and the others go on: but an error that is
    not about images and that the first three share, or all there are, is taken for one of the model and raised. So are
    OutputError and RuntimeUnavailable at once. A part of a run goes on; where all its images failed so, its manifest
    says it, and `merge` raises where all parts say the same.
    """
    loop = _Loop(run, bar, fits, read, several=several, size=size, card=card)
    yield from _noted(run, bar, loop.entries(images), _share_of(images))


def _share_of(images: Images | Sequence[Path]) -> Share:
    return images.share if isinstance(images, Images) else WHOLE


def _noted(run: Run | None, bar: Progress, entries: Iterator[Entry], share: Share) -> Iterator[Entry]:
    """The entries, written into the manifest and counted. Raises ImageError where too many failed."""
    failures = 0
    for entry in entries:
        if run:
            run.add(entry)
        bar.step(Path(entry["path"]).name)
        if entry["status"] == "failed":
            failures += 1
            share.check(failures, entry["error"])
        yield entry


# Pixels of the images in memory at once; a larger image is alone there.
_MOST_PIXELS = 32_000_000


class _Room:
    """How many pixels are in memory. Images are read one after the other, so that the first always finds room."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken: dict[Path, int] = {}
        self._open = True

    def take(self, path: Path, pixels: int) -> None:
        with self._changed:
            while self._open and self._taken and sum(self._taken.values()) + pixels > _MOST_PIXELS:
                self._changed.wait()
            self._taken[path] = pixels

    def leave(self, path: Path) -> None:
        with self._changed:
            self._taken.pop(path, None)
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody waits any more: the run ends."""
        with self._changed:
            self._open = False
            self._changed.notify_all()


@dataclass
class _Loop:
    """What `over_images` and `over_batches` do. held: failures that may be those of the model, to be said when one
    image is done.

    alone: the work on one image, in threads, and `entry_of` its entry; or else several: the work on several. ended: the
    error that every further image would meet as well: none is begun after it. of_part: whether these are images of a
    part of a run, where no failure is taken for the model's: the others are done elsewhere. messages: of all failures,
    None for those of images.
    """

    run: Run | None
    bar: Progress
    fits: Callable[[Entry], object]
    read: Callable[[Path], Any] | None = None
    workers: int = 1
    several: Callable[[Sequence[ReadImage]], Sequence[Entry]] | None = None
    size: Callable[[], int] = lambda: 1
    named: Callable[[Path, bool], None] | None = None
    alone: Callable[[ReadImage], Outcome] | None = None
    entry_of: Callable[[ReadImage, Outcome], Entry] | None = None
    card: Card | None = None
    held: list[tuple[Path, Exception]] = field(default_factory=list)
    of_part: bool = False
    messages: set[str | None] = field(default_factory=set)
    any_done: bool = False
    ended: list[Exception] = field(default_factory=list)
    room: _Room = field(default_factory=_Room)

    def entries(self, images: Images | Sequence[Path]) -> Iterator[Entry]:
        stages = Stages(self._worked, self._read)
        waiting: list[ReadImage] = []
        streams = isinstance(images, Images) and images.streams
        block = images.share.block if isinstance(images, Images) else None
        self.any_done = block is not None and block.lenient
        self.of_part = block is None and not _share_of(images).whole
        with Flow[_Finished](stages, Sizes(self.workers, queue=2)) as flow:
            try:
                for seen, found in enumerate(flow.map(self._items(images), ahead=streams), 1):
                    # A batch that waits is not counted: the image that fills it must find room.
                    self.room.leave(found.path)
                    yield from self._entries_of(found, waiting)
                    # By place: which images run together depends neither on those that fail nor on how a run is cut.
                    if seen % self.size() == 0:
                        yield from self._together(waiting)
                        waiting.clear()
            finally:
                self.room.close()
        yield from self._together(waiting)
        self._say_held(at_end=True)
        alike = " ".join(str(next(iter(self.messages))).split()) if len(self.messages) == 1 else None
        if self.run is not None and self.of_part and not self.any_done and None not in self.messages and alike:
            self.run.manifest[ALIKE] = alike

    def _items(self, images: Images | Sequence[Path]) -> Iterator[Path | Frame]:
        for item in images:
            if isinstance(item, Frame) and self.named is not None:
                self.named(item.path, False)
            yield item

    def _entries_of(self, found: _Finished, waiting: list[ReadImage]) -> Iterator[Entry]:
        for note in found.notes:
            self.bar.say(f"warning: {found.path}: {note}")
        if found.error is not None:
            yield self._fail(found.path, found.error)
        elif found.entry is not None:
            self.any_done = True
            yield found.entry
        elif found.outcome is not None and found.image is not None and self.entry_of is not None:
            self.any_done = True
            self._say_held()
            yield self.entry_of(found.image, found.outcome)
        elif found.image is not None:
            waiting.append(found.image)

    # --- in threads ---

    def _read(self, item: Path | Frame) -> _Finished:
        """The image of a file or frame, or what an earlier run made of it."""
        path = item if isinstance(item, Path) else item.path
        kept = self._kept(path) if isinstance(item, Path) else None
        if kept is not None:
            return _Finished(path, entry=kept)
        try:
            image, notes = self._image(item)
        except (ImageError, SoundError, VolumeError, ShapeError, UnknownName) as error:
            self.room.leave(path)
            return _Finished(path, error=error)
        return _Finished(path, image, notes)

    def _image(self, item: Path | Frame) -> tuple[ReadImage, Sequence[str]]:
        """The image, and what should be said of it."""
        from ..files.arrays import sha256_of
        from ..files.images import read_bytes
        from ..files.photos import photo_of, size_of

        if isinstance(item, Frame):
            picture = item.read(self.card)
            return ReadImage(item.path, picture.pixels, picture.sha256), picture.notes
        if self.read is not None:
            return ReadImage(item, self.read(item), sha256_of(item)), ()
        data = read_bytes(item)
        self.room.take(item, size_of(item, data, self.card))
        pixels, notes = photo_of(item, data, self.card)
        return ReadImage(item, pixels, hashlib.sha256(data).hexdigest()), notes

    def _kept(self, path: Path) -> Entry | None:
        entry = self.run.kept(path) if self.run else None
        try:
            if entry is not None:
                self.fits(entry)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None  # somebody has changed the manifest
        return entry

    def _worked(self, found: Sequence[_Finished]) -> list[_Finished]:
        """What `alone` makes of an image that is to be worked on; the others as they are."""
        (one,) = found
        if one.image is None or self.alone is None:
            return [one]
        if self.ended:
            raise self.ended[0]
        try:
            return [replace(one, outcome=self.alone(one.image))]
        except (OutputError, RuntimeUnavailable) as error:
            self.ended.append(error)
            raise
        except OnnxrayError as error:
            return [replace(one, error=error)]
        except MemoryError:
            return [replace(one, error=_no_memory(one.path))]

    # --- in the main one ---

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
        assert self.several is not None
        try:
            return self.several(images)
        except MemoryError:
            raise _no_memory(images[0].path) from None

    def _fail(self, path: Path, error: Exception) -> Entry:
        """The entry of an image that failed; says so, once it is sure that it is not the model that fails."""
        from ..files.run import failed

        of_images = isinstance(error, ImageError | SoundError | VolumeError | TargetError)
        self.held.append((path, error))
        self.messages.add(None if of_images else str(error))
        if self.any_done or of_images:
            self._say_held()
        elif len(self.held) >= _ALIKE:
            self._say_held(at_end=True)
        return failed(path, error)

    def _say_held(self, at_end: bool = False) -> None:
        """Say the failures held back. Raises the first where all are the same, none of the images is done, and no more
        are waited for."""
        texts = {str(error) for _, error in self.held}
        if at_end and not self.any_done and not self.of_part and len(texts) == 1:
            raise self.held[0][1]
        for path, error in self.held:
            _say_failed(self.bar, path, error)
        self.held.clear()


def _no_memory(path: Path) -> ImageError:
    return ImageError(f"{str(path)!r}: there is not enough memory for it")


def side_by_side(
    images: Images | Sequence[Path], runtime: Mapping[str, Any], devices: Sequence[int] = ()
) -> tuple[int, list[dict[str, Any]]]:
    """How many images a command works on at once, and the options of their sessions: so many threads for each.

    One where there is one image or one processor, on another device, and where a number of threads is asked for. With
    `devices` one on each, with options for each. Raises what `providers_on` raises.
    """
    from ...engine.inference.devices import providers_on
    from ...engine.runtime.providers import resolve_providers
    from ...kernels.threads import available

    if devices:
        chosen = providers_on(runtime.get("providers"), devices)
        return len(chosen), [{**runtime, "providers": providers} for providers in chosen]
    count = images.total if isinstance(images, Images) and images.total else len(images)
    few = count == 1 or available() < _AT_ONCE
    if few or runtime.get("threads") or resolve_providers(runtime.get("providers")) != ("CPUExecutionProvider",):
        return 1, [dict(runtime)]
    return _AT_ONCE, [{**runtime, "threads": available() // _AT_ONCE}]


def shared_among(works: Sequence[W], do: Callable[..., R]) -> Callable[..., R]:
    """`do(work, ...)` with the one of `works` that is free, one thread with each; with a single one at any time."""
    if len(works) == 1:
        return partial(do, works[0])
    from ...engine.inference.devices import Free

    free = Free(works)

    def on_free(*args: Any) -> R:
        with free.one() as work:
            return do(work, *args)

    return on_free


# Images at once: while one is drawn and written, the model runs for the other.
_AT_ONCE = 2


def _say_failed(bar: Progress, path: Path, error: Exception) -> None:
    """Errors about images name the file themselves."""
    text = as_options(str(error))
    bar.say(text if isinstance(error, ImageError | SoundError | VolumeError) else f"{path}: {text}", error=True)
