"""Frames as GIF and MP4, read back."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from onnxray.cli.files.video import VideoWriter, frames_of, write_video
from onnxray.engine.errors import OutputError


def frames(count: int = 6, size: tuple[int, int] = (64, 80)) -> list[np.ndarray]:
    made = [np.zeros((*size, 3), np.uint8) for _ in range(count)]
    for i, frame in enumerate(made):
        frame[:, :, 0] = 40 * i
    return made


def test_gif(tmp_path: Path) -> None:
    with Image.open(write_video(tmp_path / "a.gif", frames(), 10)) as image:
        assert image.n_frames == 6  # type: ignore[attr-defined]
        assert image.size == (80, 64)
        image.seek(5)
        red, green, blue = image.convert("RGB").getpixel((5, 5))  # type: ignore[misc]
        assert (abs(red - 200) < 12, green < 12, blue < 12) == (True, True, True)
        assert image.info["duration"] == 1100


def test_mp4(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames(size=(65, 81)), 8)
    video = cv2.VideoCapture(str(path))
    count, seen = 0, None
    while True:
        more, frame = video.read()
        if not more:
            break
        count, seen = count + 1, frame
    assert count == 6 + 8
    assert seen is not None
    assert seen.shape == (64, 80, 3)
    assert abs(int(seen[30, 30, 2]) - 200) < 12


def failing(folder: Path) -> None:
    """A run that ends in an error leaves no file."""
    video = VideoWriter(folder / "c.mp4")
    video.add(frames()[0])
    error = KeyError()
    video.__exit__(KeyError, error, None)


def test_what_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="give .gif or .mp4"):
        write_video(tmp_path / "a.avi", frames())
    with pytest.raises(OutputError, match="0 frames"):
        write_video(tmp_path / "a.gif", [])
    with VideoWriter(tmp_path / "b.mp4") as video:
        video.add(frames()[0])
        with pytest.raises(OutputError, match="a frame of 32x32 in a video of 64x80"):
            video.add(frames(size=(32, 32))[0])
    assert [p.name for p in tmp_path.iterdir()] == ["b.mp4"]
    (tmp_path / "b.mp4").unlink()
    failing(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_small_pictures_are_enlarged() -> None:
    (frame,) = frames_of([np.zeros((50, 60, 3), np.uint8)], 100)
    assert frame.shape == (100, 120, 3)
