"""Frames as a moving picture: GIF by Pillow, whose palettes suit each frame (OpenCV has one for all), MP4 by OpenCV.

Video files, cameras and network streams as pictures. Besides `images.py` the only importer of OpenCV.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...engine.atomic import atomic
from ...engine.errors import OutputError

SUFFIXES = (".gif", ".mp4")
# Frames a second of a video that does not say.
_RATE = 25.0
# Milliseconds that a network stream may take to open, and to send a picture.
_PATIENCE = 10_000
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # else FFmpeg writes to stderr by itself


class Capture:
    """Pictures of a video file (its path), a camera (its number) or a network stream (its address); a context manager.

    Attributes: `is_open`, `rate` in frames a second.
    """

    def __init__(self, what: str | int) -> None:
        self._capture: Any
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _PATIENCE, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _PATIENCE]
        try:
            if isinstance(what, str) and "://" in what:
                self._capture = cv2.VideoCapture(what, cv2.CAP_FFMPEG, limits)
            else:
                self._capture = cv2.VideoCapture(what)
            self.is_open = bool(self._capture.isOpened())
            rate = self._capture.get(cv2.CAP_PROP_FPS) if self.is_open else 0.0
        except cv2.error:
            self._capture, self.is_open, rate = None, False, 0.0
        self.rate = float(rate) if 0 < rate < 1e5 else _RATE

    def read(self) -> NDArray[np.uint8] | None:
        """The next picture, uint8 (H, W, 3) RGB; None at the end, or where none comes."""
        if self._capture is None:
            return None
        there, frame = self._capture.read()
        if not there or frame is None:
            return None
        if frame.ndim == 2 or frame.shape[2] == 1:
            return np.repeat(frame.reshape(*frame.shape[:2], 1), 3, axis=2)
        return np.ascontiguousarray(frame[..., 2::-1])

    def skip(self) -> bool:
        """Leave the next picture out; False at the end."""
        return self._capture is not None and bool(self._capture.grab())

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def write_video(path: str | os.PathLike[str], frames: Sequence[NDArray[np.uint8]], rate: float = 12.0) -> Path:
    """Write frames, uint8 (H, W, 3) RGB of one size, as GIF or MP4, by the path's suffix; whole or not at all.

    The last frame is shown for a second longer. Raises OutputError for another suffix, for no frames, where it cannot
    be written.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES or not len(frames):
        raise OutputError(f"{len(frames)} frames cannot be written as {path.name!r}: give .gif or .mp4, and frames")
    stay = max(1, round(rate))
    if path.suffix.lower() == ".mp4":
        with VideoWriter(path, rate) as video:
            for frame in (*frames, *[frames[-1]] * stay):
                video.add(frame)
        return path
    pictures = [Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
    pause = round(1000 / rate)
    durations = [pause] * (len(frames) - 1) + [pause + 1000]
    with atomic(path) as temporary:
        pictures[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=durations,
            loop=0,
            optimize=False,
        )
    return path


class VideoWriter:
    """An MP4 file, frame by frame, for runs of any length; a context manager. The file appears when it is complete."""

    def __init__(self, path: str | os.PathLike[str], rate: float = 12.0) -> None:
        self.path, self.rate = Path(path), rate
        self._writer: Any = None
        self._folder = tempfile.TemporaryDirectory(prefix="onnxray-")

    def __enter__(self) -> VideoWriter:
        return self

    def add(self, frame: NDArray[np.uint8]) -> None:
        """Append a frame, uint8 (H, W, 3) RGB, of the same size as the first. Raises OutputError."""
        height, width = (side - side % 2 for side in frame.shape[:2])  # the codec takes even sides
        if self._writer is None:
            self._size = (height, width)
            file = str(Path(self._folder.name, "video.mp4"))
            self._writer = cv2.VideoWriter(file, cv2.VideoWriter.fourcc(*"mp4v"), self.rate, (width, height))
            if not self._writer.isOpened():
                raise OutputError("OpenCV has no encoder for MP4 here: write a .gif")
        if (height, width) != self._size:
            raise OutputError(f"a frame of {height}x{width} in a video of {self._size[0]}x{self._size[1]}")
        self._writer.write(_bgr(frame[:height, :width]))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._writer is not None:
                self._writer.release()
                if error is None:
                    with atomic(self.path) as temporary:
                        temporary.write_bytes(Path(self._folder.name, "video.mp4").read_bytes())
        finally:
            self._folder.cleanup()


def _bgr(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(frame[..., ::-1])


def frames_of(pictures: Iterable[NDArray[np.uint8]], least: int = 160) -> list[NDArray[np.uint8]]:
    """Pictures enlarged, each pixel to a square, until their shorter side has `least` pixels."""
    found = []
    for picture in pictures:
        factor = max(1, -(-least // min(picture.shape[:2])))
        found.append(np.repeat(np.repeat(picture, factor, axis=0), factor, axis=1))
    return found
