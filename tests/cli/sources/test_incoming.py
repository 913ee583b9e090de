"""Files that arrive: each once, and only when it is whole."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from onnxray.cli.sources.incoming import Arrived, Incoming

pytest.importorskip("watchdog")


def until(incoming: Incoming, names: set[str], seconds: float = 60.0) -> list[str]:
    """What is given until all of `names` have come."""
    found: list[str] = []
    end = time.monotonic() + seconds
    while not names <= set(found) and time.monotonic() < end:
        found += [arrived.path.name for arrived in incoming.ready(0.05)]
    return found


def of(
    folder: Path,
    recursive: bool = False,
    known: Callable[[Arrived], bool] = lambda _: False,
    settled: float = 0.2,
) -> Incoming:
    return Incoming(folder, recursive, known, lambda text: None, settled=settled, look=0.1)


def test_each_comes_once_and_what_is_known_never(tmp_path: Path) -> None:
    (tmp_path / "2.png").write_bytes(b"b")
    (tmp_path / "1.png").write_bytes(b"a")
    (tmp_path / "known.png").write_bytes(b"k")
    (tmp_path / "notes.txt").write_bytes(b"no image")
    (tmp_path / ".hidden.png").write_bytes(b"h")
    with of(tmp_path, known=lambda arrived: arrived.path.name == "known.png") as incoming:
        assert sorted(until(incoming, {"1.png", "2.png"})) == ["1.png", "2.png"]
        (tmp_path / "3.png").write_bytes(b"c")
        assert until(incoming, {"3.png"}) == ["3.png"]
        (tmp_path / "1.png").write_bytes(b"another one of the name")
        assert until(incoming, {"1.png"}) == ["1.png"]
        assert until(incoming, {"nothing more"}, 0.5) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only inotify tells that a writer has closed its file")
def test_a_file_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    """Until its writer closes it, however long that takes: a pause of the writer's is not its end here."""
    with of(tmp_path, settled=3600.0) as incoming, (tmp_path / "slow.png").open("wb") as file:
        for _ in range(8):
            file.write(b"part")
            file.flush()
            assert until(incoming, {"slow.png"}, 0.08) == []
        file.close()
        assert until(incoming, {"slow.png"}) == ["slow.png"]


def test_a_file_that_is_no_longer_changed_is_taken(tmp_path: Path) -> None:
    """Its writer has it open all the time."""
    with of(tmp_path) as incoming, (tmp_path / "open.png").open("wb") as file:
        file.write(b"whole")
        file.flush()
        assert until(incoming, {"open.png"}) == ["open.png"]


def test_a_file_that_is_renamed_into_place(tmp_path: Path) -> None:
    with of(tmp_path) as incoming:
        (tmp_path / "part-1.tmp").write_bytes(b"whole")
        assert until(incoming, {"part-1.png"}, 0.4) == []
        (tmp_path / "part-1.tmp").rename(tmp_path / "part-1.png")
        assert until(incoming, {"part-1.png"}) == ["part-1.png"]


def test_what_was_not_whole_comes_again(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"half")
    with of(tmp_path) as incoming:
        assert until(incoming, {"1.png"}) == ["1.png"]
        incoming.again(tmp_path / "1.png", 0.1)
        assert until(incoming, {"1.png"}) == ["1.png"]


@pytest.mark.parametrize("recursive", [True, False])
def test_folders_inside(tmp_path: Path, recursive: bool) -> None:
    (tmp_path / "a").mkdir()
    with of(tmp_path, recursive) as incoming:
        (tmp_path / "a" / "1.png").write_bytes(b"a")
        (tmp_path / "2.png").write_bytes(b"b")
        wanted = {"1.png", "2.png"} if recursive else {"2.png"}
        assert set(until(incoming, wanted)) == wanted
        assert until(incoming, {"nothing more"}, 0.4) == []


def test_a_folder_that_vanishes_is_waited_for(tmp_path: Path) -> None:
    said: list[str] = []
    folder = tmp_path / "in"
    folder.mkdir()
    with Incoming(folder, False, lambda _: False, said.append, settled=0.2, look=0.1) as incoming:
        shutil.rmtree(folder)
        assert until(incoming, {"1.png"}, 0.6) == []
        folder.mkdir()
        (folder / "1.png").write_bytes(b"a")
        assert until(incoming, {"1.png"}) == ["1.png"]
        (folder / "2.png").write_bytes(b"b")
        assert until(incoming, {"2.png"}) == ["2.png"]
    assert [line.partition("'")[0] for line in said] == ["the folder ", "the folder "]
    assert "is waited for" in said[0]
    assert "is back" in said[1]
