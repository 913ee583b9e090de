"""Video files, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...engine.errors import ImageError
from .live import picture_of
from .source import Frame, Say, Selection, Source

SUFFIXES = (".mp4", ".m4v", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".mjpeg", ".ts")


def _frames(item: str, selection: Selection, say: Say) -> Iterator[Frame]:
    from ..files.video import Capture

    if not Path(item).is_file():
        raise ImageError(f"there is no video {item!r}")
    with Capture(item) as capture:
        if not capture.is_open:
            raise ImageError(
                f"the video {item!r} cannot be opened: it is broken, or of a kind that OpenCV does not read"
            )
        number = 0
        while selection.lasts(number / capture.rate):
            if number % selection.every:
                if not capture.skip():
                    break
            elif (pixels := capture.read()) is not None:
                yield Frame(Path(f"{item}#{number}"), picture_of(pixels), number / capture.rate)
            else:
                break
            number += 1
        if not number:
            raise ImageError(f"the video {item!r} has no frame that can be decoded")


SOURCE = Source(
    "clip.mp4",
    "the frames of a video",
    lambda item: item.lower().endswith(SUFFIXES) and "*" not in item,
    frames=_frames,
)
