"""Files are written whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from onnxray.engine.atomic import atomic, holder_of, leftover, take_lock
from onnxray.engine.errors import OutputError


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "file.bin"
    with atomic(target) as temporary:
        assert temporary.parent == target.parent
        temporary.write_bytes(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert names(target.parent) == ["file.bin"]


def test_replaces_only_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic(target) as temporary:  # noqa: PT012
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]
    with atomic(target) as temporary:
        temporary.write_bytes(b"new")
    assert target.read_bytes() == b"new"


def test_an_error_while_writing_names_the_place(tmp_path: Path) -> None:
    target = tmp_path / "file"
    with pytest.raises(OutputError, match="No space left on device") as raised, atomic(target):
        raise OSError(28, "No space left on device")
    assert str(target) in str(raised.value)
    assert names(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No space left"), atomic(tmp_path / "file"), open("/dev/full", "w") as file:
        file.write("x" * 100_000)
    assert names(tmp_path) == []


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for target in (tmp_path, tmp_path / "file" / "x", tmp_path / ("n" * 300), Path("a\0b")):
        with pytest.raises(OutputError, match="cannot write"), atomic(target):
            pass
    assert names(tmp_path) == ["file"]


def test_devices_are_not_replaced() -> None:
    if not os.path.exists("/dev/null"):
        pytest.skip("no devices here")
    with pytest.raises(OutputError, match="it is a device"), atomic(Path("/dev/null")):
        pass
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs a user whom permissions hold back")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="Permission denied"), atomic(tmp_path / "file"):
            pass
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(sys.platform == "win32", reason="no such permissions there")
def test_permissions_of_any_new_file(tmp_path: Path) -> None:
    script = (
        "import os, pathlib; os.umask(0o027)\n"
        "from onnxray.engine.atomic import atomic\n"
        "with atomic(pathlib.Path('f')) as t: t.write_text('x')\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o640


def test_a_name_that_just_fits(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 250)
    with atomic(target) as temporary:
        temporary.write_text("x")
    assert target.read_text() == "x"


def test_two_writers_at_once(tmp_path: Path) -> None:
    target = tmp_path / "file"

    def write(content: str) -> None:
        with atomic(target) as temporary:
            temporary.write_text(content * 1000)

    threads = [threading.Thread(target=write, args=(c,)) for c in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_text() in {c * 1000 for c in "abcdefgh"}
    assert names(tmp_path) == ["file"]


def test_a_lock_is_held_once_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = take_lock(path)
    assert lock is not None
    assert take_lock(path) is None
    assert holder_of(path) == f"process {os.getpid()}"
    lock.release()
    assert names(tmp_path) == []
    assert take_lock(path) is not None
    assert holder_of(tmp_path / "none") == "another process"


def test_one_of_many_has_the_lock(tmp_path: Path) -> None:
    path, holding, most = tmp_path / "lock", [], []

    def work() -> None:
        for _ in range(200):
            lock = take_lock(path)
            if lock is not None:
                holding.append(lock)
                most.append(len(holding))
                holding.remove(lock)
                lock.release()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}


def test_names_of_leftovers() -> None:
    assert leftover(".onnxray-0123456789ab.part")
    assert not leftover(".onnxray-0123456789ab.part2")
    assert not leftover("model.onnx.part")
