"""What images are named by: files, lists, tables, videos, cameras, stdin."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from onnxray.cli.files.images import encode, write
from onnxray.cli.sources.live import live
from onnxray.cli.sources.registry import SOURCES, files_of, open_images, source_of
from onnxray.cli.sources.source import Frame, Selection
from onnxray.cli.sources.standard_input import frames_of
from onnxray.engine.errors import ImageError
from onnxray.engine.preprocess.card import Card

NOTHING: Callable[[str], None] = lambda text: None  # noqa: E731


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """1.png ... 4.png, and sub/5.png; each as wide as its number."""
    for n in (1, 2, 3, 4):
        write(tmp_path / "in" / f"{n}.png", np.full((4, n, 3), n, np.uint8))
    write(tmp_path / "in" / "sub" / "5.png", np.full((4, 5, 3), 5, np.uint8))
    return tmp_path / "in"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Ten frames of 10 a second, each of one gray level: 20 times its number."""
    path = tmp_path / "clip.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (32, 16))
    for n in range(10):
        video.write(np.full((16, 32, 3), 20 * n, np.uint8))
    video.release()
    return path


def names(items: list[str], **chosen: Any) -> list[str]:
    return [path.name for path in files_of(items, Selection(**chosen))]


def test_folders_are_entered_where_that_is_asked_for(folder: Path) -> None:
    assert names([str(folder)]) == ["1.png", "2.png", "3.png", "4.png"]
    assert names([str(folder)], recursive=True) == ["1.png", "2.png", "3.png", "4.png", "5.png"]
    assert names([str(folder)], every=2) == ["1.png", "3.png"]
    assert names([str(folder)], every=2, limit=1) == ["1.png"]
    assert names([str(folder), str(folder / "4.png")]) == ["1.png", "2.png", "3.png", "4.png"]


def test_lists_name_files_from_here_or_from_their_own_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "list.txt").write_text("# parts\nin/3.png\n\nin/sub\n in/1.png \n")
    assert names([f"@{tmp_path / 'list.txt'}"]) == ["3.png", "5.png", "1.png"]
    (folder / "list.txt").write_text(f"2.png\n{folder / '4.png'}\n")
    monkeypatch.chdir(tmp_path)
    assert names(["@in/list.txt"]) == ["2.png", "4.png"]


@pytest.mark.parametrize(
    ("file", "text", "item", "found"),
    [
        ("a.csv", "id,path\n7,in/1.png\n8,in/2.png\n", "a.csv", ["1.png", "2.png"]),
        ("a.csv", "id;x,Photo\n7,in/3.png\n", "a.csv:photo", ["3.png"]),
        ("a.csv", "anything\nin/3.png\n", "a.csv", ["3.png"]),
        ("a.tsv", "id\tfile_name\n7\tin/4.png\n", "a.tsv", ["4.png"]),
    ],
)
def test_tables(folder: Path, tmp_path: Path, file: str, text: str, item: str, found: list[str]) -> None:
    (tmp_path / file).write_text(text)
    assert names([str(tmp_path / item)]) == found


def test_parquet(folder: Path, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    pyarrow.parquet = __import__("importlib").import_module("pyarrow.parquet")

    table = pyarrow.table({"id": [1, 2], "image": ["in/2.png", "in/1.png"]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert names([str(tmp_path / "a.parquet")]) == ["2.png", "1.png"]
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ImageError, match=r"broken.parquet' cannot be read"):
        names([str(tmp_path / "broken.parquet")])


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(ImageError, match=r"pip install 'onnxray\[tables\]'"):
        names([str(tmp_path / "a.parquet")])


@pytest.mark.parametrize(
    ("make", "item", "says"),
    [
        (None, "@none.txt", "the list 'none.txt' cannot be read: No such file"),
        (("l.txt", "# nothing\n"), "@l.txt", "names no image: write one path per line"),
        (("l.txt", "gone.png\n"), "@l.txt", "no file or folder 'gone.png'"),
        (None, "none.csv", "the table 'none.csv' cannot be read"),
        (("t.csv", "id,picture\n1,a.png\n"), "t.csv", "only id, picture: name it, t.csv:COLUMN"),
        (("t.csv", "id,picture\n1,a.png\n"), "t.csv:pictur", "nearest: 'picture'"),
        (None, "clip.mp4", "'clip.mp4' is a stream of images: this command takes image files"),
        (None, "camera:0", "is a stream of images"),
    ],
)
def test_what_cannot_be_had_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: tuple[str, str] | None, item: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if make:
        Path(make[0]).write_text(make[1])
    with pytest.raises(ImageError, match=r"(?s)^[^\n]*$") as caught:
        names([item])
    assert says in str(caught.value)


def frames(items: list[str], **chosen: Any) -> list[Frame]:
    found = list(open_images(items, Selection(**chosen), NOTHING))
    assert all(isinstance(frame, Frame) for frame in found)
    return found  # type: ignore[return-value]


def test_frames_of_a_video(clip: Path) -> None:
    found = frames([str(clip)])
    assert [frame.path.name for frame in found] == [f"clip.avi#{n}" for n in range(10)]
    for n, frame in enumerate(found):
        picture = frame.read(None)
        assert picture.pixels.shape == (16, 32, 3)
        assert np.abs(picture.pixels.astype(int) - 20 * n).max() <= 2
    assert [f.path.name[9:] for f in frames([str(clip)], every=3)] == ["0", "3", "6", "9"]
    assert [f.path.name[9:] for f in frames([str(clip)], every=3, limit=2)] == ["0", "3"]
    assert [f.path.name[9:] for f in frames([str(clip)], duration=0.35)] == ["0", "1", "2", "3"]


def test_files_and_streams_together(clip: Path, folder: Path) -> None:
    images = open_images([str(folder), str(clip)], Selection(every=2, limit=4), NOTHING)
    assert images.streams
    assert len(images) == 0
    assert [getattr(item, "path", item).name for item in images] == ["1.png", "3.png", "clip.avi#0", "clip.avi#2"]


def test_a_stream_is_begun_before_anything_is_written(clip: Path) -> None:
    begun = open_images([str(clip)], Selection(limit=3), NOTHING).begin()
    assert [item.path.name[9:] for item in begun] == ["0", "1", "2"]  # type: ignore[union-attr]
    with pytest.raises(ImageError, match="no video"):
        open_images(["none.mp4"], Selection(), NOTHING).begin()


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("camera:77", "camera:77 cannot be opened"),
        ("camera:front", "write camera:0 for the first one"),
        ("rtsp://127.0.0.1:9/none", "rtsp://127.0.0.1:9/none cannot be opened"),
    ],
)
def test_cameras_that_are_not_there(item: str, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        open_images([item], Selection(), NOTHING).begin()


def test_a_broken_video(tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42 and no more")
    with pytest.raises(ImageError, match="cannot be opened: it is broken"):
        frames([str(tmp_path / "broken.mp4")])


def test_duration_of_files_is_refused(folder: Path) -> None:
    with pytest.raises(ImageError, match="take --limit"):
        names([str(folder)], duration=3.0)


class FakeCamera:
    """Gives the pictures of a list, None for none."""

    rate, closed = 25.0, 0

    def __init__(self, pictures: list[Any], is_open: bool = True) -> None:
        self.pictures, self.is_open = iter(pictures), is_open

    def read(self) -> Any:
        return next(self.pictures, None)

    def close(self) -> None:
        FakeCamera.closed += 1


def test_a_camera_that_drops_out_is_opened_again_and_that_is_said_once() -> None:
    shown = [np.full((2, 2, 3), n, np.uint8) for n in range(2)]

    def endless() -> Iterator[Any]:
        while True:
            yield shown[1]

    second = FakeCamera([])
    second.pictures = endless()
    cameras = iter([FakeCamera(shown[:1]), FakeCamera([], is_open=False), FakeCamera([], is_open=False), second])
    said: list[str] = []
    stream = live("camera:3", lambda: next(cameras), Selection(), said.append, first_pause=0.01)
    first, again = next(stream), next(stream)
    assert (first.read(None).pixels.max(), again.read(None).pixels.max()) == (0, 1)
    assert first.path.name == "camera:3#0"
    stream.close()  # type: ignore[attr-defined]
    assert said == ["camera:3 gives no picture: it is opened again until it comes back", "camera:3 is back after 0 s"]


def test_a_stream_ends_after_its_time_though_no_picture_comes() -> None:
    said: list[str] = []
    stream = live("camera:3", lambda: FakeCamera([]), Selection(duration=0.2), said.append, first_pause=0.01)
    assert list(stream) == []


def test_images_from_stdin() -> None:
    shown = [np.full((3, 4, 3), 40 * n, np.uint8) for n in range(3)]
    data = [encode(shown[0]), b"no image", encode(shown[2], ".jpg")]
    stream = io.BytesIO(b"".join(struct.pack(">I", len(part)) + part for part in data))
    found = list(frames_of(stream, Selection()))
    assert [frame.path.name for frame in found] == ["stdin#0", "stdin#1", "stdin#2"]
    np.testing.assert_array_equal(found[0].read(None).pixels, shown[0])
    with pytest.raises(ImageError, match="stdin#1"):
        found[1].read(None)
    assert found[2].read(None).pixels.shape == (3, 4, 3)


def test_all_bits_of_an_image_from_stdin() -> None:
    deep = np.linspace(0, 4095, 12).astype(np.uint16).reshape(3, 4)
    data = cv2.imencode(".png", deep)[1].tobytes()
    (frame,) = frames_of(io.BytesIO(struct.pack(">I", len(data)) + data), Selection())
    np.testing.assert_array_equal(frame.read(Card(bits=12)).pixels, deep)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x89PNG\r\n", "which is no length"),
        (b"\0\0", "which is no length"),
        (b"\0\0\0\x09abc", "ended inside image 0: 3 of 9 bytes"),
    ],
)
def test_what_is_no_image_on_stdin(data: bytes, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        list(frames_of(io.BytesIO(data), Selection()))


def test_every_source_says_what_it_is() -> None:
    assert all(source.form and source.about for source in SOURCES)
    assert all((source.paths is None) != (source.frames is None) for source in SOURCES)
    given = ("-", "@a", "camera:0", "rtsp://x", "a.csv", "s3://b/photos", "a.mp4", "a.png")
    taken = [source_of(item).form for item in given]
    assert taken == [source.form for source in SOURCES]


@pytest.mark.parametrize("crop", [(5, 0, 4, 2), (0, 3, 4, 2)])
def test_a_region_outside_the_image_is_refused(crop: tuple[int, int, int, int]) -> None:
    with pytest.raises(ImageError, match="is not inside the image of 8 x 4 pixels"):
        Selection(crop=crop).part(np.zeros((4, 8, 3), np.uint8))
