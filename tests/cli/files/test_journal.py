"""The journal: whole lines, or none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onnxray.cli.files.journal import Journal
from onnxray.engine.errors import OutputError


def test_lines_stay_and_half_ones_go(tmp_path: Path) -> None:
    path = tmp_path / "new" / "records.jsonl"
    with Journal(path) as journal:
        journal.append({"path": "a\n", "number": 1.5})
        journal.append({"path": "b"})
    whole = path.read_bytes()
    for torn in (b'{"path": "c', b"x" * 200_000):
        path.write_bytes(whole + torn)
        with Journal(path) as journal:
            assert list(journal.records()) == [{"path": "a\n", "number": 1.5}, {"path": "b"}]
        assert path.read_bytes() == whole
    path.write_bytes(b"no line at all")
    with Journal(path) as journal:
        assert list(journal.records()) == []
        journal.append({"path": "d"})
        assert list(journal.records()) == [{"path": "d"}]


def test_strange_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'\xff\xfe\n[1]\n{"path": "a"}\n')
    with Journal(path) as journal:
        assert list(journal.records()) == [{"path": "a"}]


def test_what_the_disk_has_no_room_for_is_not_there_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "records.jsonl"
    with Journal(path) as journal:
        journal.append({"path": "a"})
        before = path.read_bytes()

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OutputError, match="No space left"):
                journal.append({"path": "b"})
        assert path.read_bytes() == before
        journal.append({"path": "b"})
        assert [r["path"] for r in journal.records()] == ["a", "b"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        Journal(tmp_path / "file" / "records.jsonl")
