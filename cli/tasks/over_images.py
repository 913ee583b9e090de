"""The loop over images that every command shares: what an earlier run has done, images that fail, progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..files.run import Run
    from ..terminal.progress import Progress

Pixels: TypeAlias = "NDArray[np.uint8]"
Entry: TypeAlias = "dict[str, Any]"
# What came out for one image: results for its entry of the manifest, and the files written.
Outcome: TypeAlias = "tuple[dict[str, Any], Sequence[str]]"


def over_images(
    run: Run,
    bar: Progress,
    paths: Sequence[Path],
    one: Callable[[Path, Pixels, str], Outcome],
    news: Callable[[], Iterable[str]] = tuple,
) -> None:
    """Give every image to `one(path, pixels, folder)`; its entry goes into the manifest.

    `pixels` are uint8 (H, W, 3) RGB, `folder` is the image's own in the run's folder. An image that the run keeps from
    an earlier one is not read. One that cannot be read, or lacks the target, fails alone and the others go on. `news`
    is what else there is to say after an image.
    """
    folders = {path: run.name(path.stem) for path in paths}

    def alone(images: Sequence[tuple[Path, Pixels]]) -> list[Entry]:
        ((path, pixels),) = images
        entry = _attempt(bar, path, lambda: one(path, pixels, folders[path]))
        for text in news():
            bar.say(text)
        return [entry]

    for _ in over_batches(run, bar, paths, alone, lambda: 1):
        pass


def over_batches(
    run: Run | None,
    bar: Progress,
    paths: Sequence[Path],
    several: Callable[[Sequence[tuple[Path, Pixels]]], Sequence[Entry]],
    size: Callable[[], int],
) -> Iterator[Entry]:
    """The entry of every image, as it is known; `several` makes those of at most `size()` images together.

    Entries go into the manifest of `run` if there is one. Those of images that an earlier run has done, or that cannot
    be read, come before those of images that wait for their batch.
    """
    for entry in _entries(run, bar, paths, several, size):
        if run:
            run.add(entry)
        bar.step(Path(entry["path"]).name)
        yield entry


def _entries(
    run: Run | None,
    bar: Progress,
    paths: Sequence[Path],
    several: Callable[[Sequence[tuple[Path, Pixels]]], Sequence[Entry]],
    size: Callable[[], int],
) -> Iterator[Entry]:
    from ...engine.errors import ImageError
    from ..files.images import read

    waiting: list[tuple[Path, Pixels]] = []
    for path in paths:
        kept = run.kept(path) if run else None
        if kept is not None:
            yield kept
            continue
        try:
            waiting.append((path, read(path)))
        except ImageError as error:
            yield _fail(bar, path, error)
        if len(waiting) >= size():
            yield from several(waiting)
            waiting = []
    if waiting:
        yield from several(waiting)


def _attempt(bar: Progress, path: Path, work: Callable[[], Outcome]) -> Entry:
    from ...engine.errors import ImageError, TargetError
    from ..files.run import done

    try:
        results, files = work()
        return done(path, files, **results)
    except (ImageError, TargetError) as error:
        return _fail(bar, path, error)


def _fail(bar: Progress, path: Path, error: Exception) -> Entry:
    """Say that an image failed; its entry. Errors about images name the file themselves."""
    from ...engine.errors import ImageError
    from ..files.run import failed

    bar.say(str(error) if isinstance(error, ImageError) else f"{path}: {error}", error=True)
    return failed(path, error)
