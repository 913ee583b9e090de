"""`mp4:FILE`: the overlays of a run as a video, one frame for each image."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...engine.atomic import leftover
from ...engine.errors import OutputError
from .collected import settings_of
from .sink import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SETTINGS = {"rate": "frames a second"}
_RATE = 12.0
_FRAME = re.compile(r"(\d{9})-([0-9A-Za-z]+)\.png")


class Mp4:
    """A video of the first explanation of each image; images without a map are left out.

    Frames are files in the folder FILE.frames, each on disk before the next image, until the end of a run makes a video
    of them: after a kill the next run goes on. A video that is there is kept: the next one is FILE-2.mp4, FILE-3.mp4,
    ... All frames get the size of the first: others are scaled to fit, on black. `#rate=`: frames a second.
    """

    def __init__(self, text: str) -> None:
        self.path, settings = settings_of(text, _SETTINGS)
        self._rate = _rate_of(settings)
        if self.path.suffix.lower() != ".mp4":
            raise OutputError(f"{str(self.path)!r} is no name of a video: write mp4:FILE.mp4")
        self.folder = self.path.with_name(f"{self.path.name}.frames")

    def open(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for file in self.folder.iterdir():
                if leftover(file.name):  # of a process that was killed
                    file.unlink(missing_ok=True)
            self._frames = sorted(p for p in self.folder.iterdir() if _FRAME.fullmatch(p.name))
        except OSError as error:
            raise OutputError(f"cannot write {str(self.folder)!r}: {error.strerror or error}") from error
        self._known = {path.stem[10:] for path in self._frames}

    def write(self, record: Record) -> None:
        from ..files.images import write

        key = re.sub(r"[^0-9A-Za-z]", "", record.id)[:80] or "0"
        if not record.explanations or key in self._known:
            return
        number = int(self._frames[-1].name[:9]) + 1 if self._frames else 1
        path = self.folder / f"{number:09d}-{key}.png"
        write(path, record.explanations[0].overlay())
        self._frames.append(path)
        self._known.add(key)

    def close(self) -> None:
        from ..files.images import read
        from ..files.video import VideoWriter

        if self._frames:
            size = read(self._frames[0]).shape[:2]
            with VideoWriter(self._free_name(), self._rate) as video:
                for path in self._frames:
                    video.add(fitted(read(path), (size[0], size[1])))
        shutil.rmtree(self.folder, ignore_errors=True)

    def _free_name(self) -> Path:
        path, number = self.path, 2
        while path.exists():
            path = self.path.with_name(f"{self.path.stem}-{number}{self.path.suffix}")
            number += 1
        return path


def fitted(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A frame (H, W, 3) as one of another size, whole and in its proportions, on black."""
    import numpy as np

    from ...kernels.resize import resize

    if frame.shape[:2] == size:
        return frame
    factor = min(size[0] / frame.shape[0], size[1] / frame.shape[1])
    height, width = (max(1, min(most, round(side * factor))) for side, most in zip(frame.shape[:2], size, strict=True))
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    out = np.zeros((*size, 3), np.uint8)
    out[top : top + height, left : left + width] = resize(frame, (height, width))
    return out


def _rate_of(settings: Mapping[str, str]) -> float:
    text = settings.get("rate", str(_RATE))
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.1 <= rate <= 240:
        raise OutputError(f"'#rate={text}' is no rate: frames a second, 0.1 to 240")
    return rate
