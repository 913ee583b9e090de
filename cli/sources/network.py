"""`rtsp://...`: streams of network cameras."""

from __future__ import annotations

from collections.abc import Iterator

from .live import live
from .source import Frame, Say, Selection, Source

SCHEMES = ("rtsp://", "rtsps://", "rtmp://", "udp://", "tcp://")


def _frames(item: str, selection: Selection, say: Say) -> Iterator[Frame]:
    from ..files.video import Capture

    return live(item, lambda: Capture(item), selection, say)


SOURCE = Source("rtsp://...", "a network camera", lambda item: item.lower().startswith(SCHEMES), frames=_frames)
