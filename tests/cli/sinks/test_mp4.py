"""The overlays of a run as a video: read back, also after a kill and beside an earlier one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import onnxray
from onnxray.cli.files.video import Capture
from onnxray.cli.sinks.mp4 import fitted
from onnxray.cli.sinks.registry import sink_of
from onnxray.cli.sinks.sink import Record
from onnxray.engine.attribution.explanation import Explanation
from onnxray.engine.errors import OutputError


@pytest.fixture(scope="module")
def explanations() -> list[Explanation]:
    return [onnxray.explain("builtin", photo) for photo in onnxray.samples()[:3]]


def record(number: int, e: Explanation) -> Record:
    return Record(f"{number:064x}", Path(f"{number}.png"), {}, e.image, (e,))


def frames(path: Path) -> list[np.ndarray]:
    found = []
    with Capture(str(path)) as video:
        while (frame := video.read()) is not None:
            found.append(frame)
    return found


def test_a_video_of_the_overlays(tmp_path: Path, explanations: list[Explanation]) -> None:
    path = tmp_path / "a.mp4"
    killed = sink_of(f"mp4:{path}#rate=5")
    killed.open()
    killed.write(record(0, explanations[0]))
    (tmp_path / "a.mp4.frames" / ".onnxray-0123456789ab.part").write_text("half")
    sink = sink_of(f"mp4:{path}#rate=5")  # after a kill
    sink.open()
    for number, e in enumerate(explanations):
        sink.write(record(number, e))
    sink.write(dataclasses.replace(record(9, explanations[0]), explanations=()))
    sink.close()
    found = frames(path)
    assert len(found) == 3
    for frame, e in zip(found, explanations, strict=True):
        wanted = fitted(e.overlay(), explanations[0].overlay().shape[:2])
        wanted = wanted[: frame.shape[0], : frame.shape[1]].astype(float)
        assert np.abs(frame - wanted).mean() < 8  # of 255, by the lossy codec
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
    with Capture(str(path)) as video:
        assert video.rate == pytest.approx(5)


def test_an_earlier_video_is_kept(tmp_path: Path, explanations: list[Explanation]) -> None:
    for number in range(2):
        sink = sink_of(f"mp4:{tmp_path / 'a.mp4'}")
        sink.open()
        sink.write(record(number, explanations[number]))
        sink.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a-2.mp4", "a.mp4"]
    assert len(frames(tmp_path / "a-2.mp4")) == 1


def test_no_image_no_video(tmp_path: Path) -> None:
    sink = sink_of(f"mp4:{tmp_path / 'a.mp4'}")
    sink.open()
    sink.close()
    assert not list(tmp_path.iterdir())


def test_frames_of_other_sizes_fit() -> None:
    white = np.full((10, 40, 3), 255, np.uint8)
    found = fitted(white, (20, 20))
    assert found.shape == (20, 20, 3)
    assert (found[7:12] > 0).all(axis=2).sum() == 5 * 20
    assert not found[:7].any()
    assert not found[12:].any()


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no name of a video"):
        sink_of("mp4:a.avi")
    with pytest.raises(OutputError, match="'#rate=fast' is no rate"):
        sink_of("mp4:a.mp4#rate=fast")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        sink_of(f"mp4:{tmp_path / 'file' / 'a.mp4'}").open()
