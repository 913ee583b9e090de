"""All kinds of sources, and the images that a list of them gives."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...engine.errors import ImageError
from . import camera, listed, network, paths, remote, standard_input, table, video
from .share import WHOLE, Block, Share, bounds, names_digest, names_of, stem_of
from .source import Frame, Say, Selection, Source

# The first that takes a text is asked; `paths` takes everything.
SOURCES: tuple[Source, ...] = (
    *(standard_input.SOURCE, listed.SOURCE, camera.SOURCE, network.SOURCE),
    *(table.SOURCE, remote.SOURCE, video.SOURCE, paths.SOURCE),
)


def source_of(item: str) -> Source:
    """The kind of source that a text names."""
    return next(source for source in SOURCES if source.takes(item))


@dataclass(frozen=True)
class Images:
    """The images of a run, in order: files, which are known beforehand, and frames of streams.

    paths: the files, each once, where there is nothing else; empty where there is a stream. It may be gone through
    several times where there are files only. Of a part of a run: `start`, the place of its first image among all;
    `total`, how many there are in all; `names`, of their files in the whole run; `share`, which part it is.
    """

    paths: tuple[Path, ...]
    items: tuple[str | Path, ...]
    selection: Selection
    say: Say
    begun: Iterator[Path | Frame] | None = None
    start: int = 0
    total: int = 0
    names: tuple[str, ...] = ()
    share: Share = WHOLE

    @property
    def streams(self) -> bool:
        """Whether there are images that are not files."""
        return any(isinstance(item, str) for item in self.items)

    def __len__(self) -> int:
        """How many there are, 0 where that is not known."""
        return len(self.paths)

    def __iter__(self) -> Iterator[Path | Frame]:
        if not self.streams:
            return iter(self.paths)
        return self._frames() if self.begun is None else self.begun

    def begin(self) -> Images:
        """The same with streams opened up to their first image: what cannot be opened is known before anything is
        written. Raises ImageError."""
        if not self.streams:
            return self
        rest = self._frames()
        return replace(self, begun=itertools.chain(list(itertools.islice(rest, 1)), rest))

    def _frames(self) -> Iterator[Path | Frame]:
        every, limit = self.selection.every, self.selection.limit
        files = (item for item in self.items if isinstance(item, Path))
        taken = set(itertools.islice(files, 0, None, every))
        return itertools.islice(self._all(taken), limit)

    def _all(self, taken: set[Path]) -> Iterator[Path | Frame]:
        for item in self.items:
            if isinstance(item, str):
                frames = source_of(item).frames
                assert frames is not None
                yield from frames(item, self.selection, self.say)
            elif item in taken:
                yield item


def open_images(names: Sequence[str], selection: Selection, say: Say) -> Images:
    """The images that `names` stand for. Raises ImageError for files, folders and lists that are not there."""
    found: dict[str | Path, None] = {}
    for name in names:
        source = source_of(name)
        if source.paths is None:
            found[name] = None
        else:
            found.update(dict.fromkeys(source.paths(name, selection)))
    if not found:
        raise ImageError("no image was named")
    items = tuple(found)
    files = tuple(item for item in items if isinstance(item, Path))
    if len(files) < len(items):
        return Images((), items, selection, say)
    if selection.duration is not None:
        raise ImageError("--duration is about videos and cameras, and only files are given: take --limit")
    files = files[:: selection.every][: selection.limit]
    return Images(files, files, selection, say, total=len(files))


def part_of_images(images: Images, share: Share, wanted: Callable[[Path], str] = stem_of, group: int = 1) -> Images:
    """The images of a part, cut between groups; `share` of them knows of which images it is a part.

    wanted: what an image's files are called, where that is free.

    Raises ImageError for a stream, MethodError for a part without images.
    """
    images = replace(images, share=share)
    if share.whole and (images.streams or not share.asked):
        return images
    if images.streams:
        raise ImageError("a stream of images cannot be cut into parts: give files")
    start, stop = bounds(len(images.paths), share.number, share.parts, group)
    mine, names = images.paths[start:stop], tuple(names_of(images.paths, wanted)[start:stop])
    share = replace(share, given=(len(images.paths), names_digest((path, None) for path in images.paths)))
    return replace(images, paths=mine, items=mine, start=start, names=names, share=share)


def images_of_block(block: Block, share: Share, selection: Selection, say: Say) -> Images:
    """The images of a block."""
    return Images(block.paths, block.paths, selection, say, None, block.start, block.total, block.names, share)


def files_of(names: Sequence[str], selection: Selection) -> list[Path]:
    """The same for commands that take files only. Raises ImageError for streams as well."""
    for name in names:
        if source_of(name).frames is not None:
            raise ImageError(f"{name!r} is a stream of images: this command takes image files")
    return list(open_images(names, selection, lambda _: None).paths)
