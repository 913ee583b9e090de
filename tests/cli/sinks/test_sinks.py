"""Sinks: what they are named by, and that a record which comes twice is there once."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import pytest

import onnxray
from onnxray.cli.commands.watch import command
from onnxray.cli.files.images import read
from onnxray.cli.files.rle import from_rle
from onnxray.cli.sinks.folder import Folder
from onnxray.cli.sinks.jsonl import JsonLines, Standard
from onnxray.cli.sinks.registry import SINKS, sink_of
from onnxray.cli.sinks.sink import Record
from onnxray.cli.tasks.measures import Measures
from onnxray.engine.errors import OutputError, UnknownName


def test_names() -> None:
    found = [type(sink_of(text)) for text in ("-", "jsonl:a", "b/a.jsonl", "folder:a", "a/b", "C:/a")]
    assert found == [Standard, JsonLines, JsonLines, Folder, Folder, Folder]
    with pytest.raises(UnknownName, match="'jsnl'; nearest: 'jsonl'"):
        sink_of("jsnl:a")
    with pytest.raises(OutputError, match="names no place"):
        sink_of("folder:")


def test_a_record_that_comes_twice_is_one_line(tmp_path: Path) -> None:
    record = Record("abc", Path("a.png"), {"path": "a.png", "status": "done"})
    for _ in range(2):  # as after a restart
        sink = sink_of(f"jsonl:{tmp_path / 'a.jsonl'}")
        sink.open()
        sink.write(record)
        sink.write(record)
        sink.close()
    (line,) = (tmp_path / "a.jsonl").read_text().splitlines()
    assert json.loads(line) == {"id": "abc", "path": "a.png", "status": "done"}


def test_lines_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    Standard().write(Record("abc", Path("a.png"), {"path": "a.png", "score": float("nan")}))
    assert json.loads(capsys.readouterr().out) == {"id": "abc", "path": "a.png", "score": "nan"}


def test_a_folder(tmp_path: Path) -> None:
    photo = onnxray.samples()[4]
    e = onnxray.explain("builtin", photo)
    sink = sink_of(str(tmp_path / "out"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".onnxray-0123456789ab.part").write_text("of a process that was killed")
    sink.open()
    region = Measures().of(e)
    fields = {"path": str(photo), "maps": [{"method": e.method, "region": region}]}
    sink.write(Record("0123456789abcdef", photo, fields, e.image, (e,)))
    sink.close()
    base = f"{photo.stem}-0123456789"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        f"{base}-grad-cam-mask.png",
        f"{base}-grad-cam-overlay.png",
        f"{base}-grad-cam.npy",
        f"{base}.json",
    ]
    np.testing.assert_array_equal(np.load(tmp_path / "out" / f"{base}-grad-cam.npy"), e.values)
    np.testing.assert_array_equal(read(tmp_path / "out" / f"{base}-grad-cam-overlay.png"), e.overlay())
    mask = read(tmp_path / "out" / f"{base}-grad-cam-mask.png")[..., 0] == 255
    np.testing.assert_array_equal(mask, from_rle(region["rle"]))
    assert mask.sum() == region["area"]


def test_the_help_of_watch_names_every_sink() -> None:
    (option,) = (p for p in command.params if "--to" in p.opts)
    assert isinstance(option, click.Option)
    said = option.help or ""
    assert [name for name in SINKS if f"{name}:" not in said] == []
