"""`camera:0`: cameras of this machine, by number."""

from __future__ import annotations

from collections.abc import Iterator

from ...engine.errors import ImageError
from .live import live
from .source import Frame, Say, Selection, Source


def _frames(item: str, selection: Selection, say: Say) -> Iterator[Frame]:
    from ..files.video import Capture

    number = item.partition(":")[2]
    if not (number.isascii() and number.isdigit()):
        raise ImageError(f"{item!r} names no camera: write camera:0 for the first one")
    return live(item, lambda: Capture(int(number)), selection, say)


SOURCE = Source("camera:0", "a camera, by number", lambda item: item.startswith("camera:"), frames=_frames)
