"""Import files for annotation tools: whole after a kill, each image once, and settings that are none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from onnxray.cli.files.rle import to_rle
from onnxray.cli.sinks.registry import sink_of
from onnxray.cli.sinks.sink import Record
from onnxray.engine.errors import OutputError


def record(number: int, explained: bool = True) -> Record:
    region = {"box": [0, 0, 2, 2], "rle": to_rle(np.ones((4, 4), np.bool_)), "polygons": []}
    entry = {"method": "grad-cam", "target": "1", "label": "a (1)", "probability": 0.5, "region": region}
    fields = {"maps": [entry]} if explained else {}
    return Record(f"{number:064x}", Path(f"{number}.png"), fields, np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize("name", ["label-studio:a.json", "cvat:a.xml"])
def test_a_kill_loses_and_repeats_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(name.partition(":")[2])
    killed = sink_of(name)
    killed.open()
    for number in range(3):
        killed.write(record(number))
    with Path(f"{path}.items.jsonl").open("a") as file:  # no close(): killed in the middle of a line
        file.write('{"id": "00')
    sink = sink_of(name)
    sink.open()
    sink.write(record(2))
    sink.write(record(3))
    sink.write(record(4, explained=False))
    sink.close()
    text = path.read_text(encoding="utf-8")
    assert [text.count(f"{number}.png") for number in range(5)] == [1, 1, 1, 1, 0]
    assert len(Path(f"{path}.items.jsonl").read_text().splitlines()) == 4
    killed.close()


def test_nothing_yet_is_a_whole_file(tmp_path: Path) -> None:
    sink = sink_of(f"label-studio:{tmp_path / 'a.json'}")
    sink.open()
    assert json.loads((tmp_path / "a.json").read_text()) == []
    sink.close()


@pytest.mark.parametrize("kind", ["label-studio", "cvat"])
def test_what_is_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="'#onyl=' is not known: .*#only=box or mask"):
        sink_of(f"{kind}:a#onyl=box")
    with pytest.raises(OutputError, match="'#only=boxes' is not known: there are box, mask"):
        sink_of(f"{kind}:a#only=boxes")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        sink_of(f"{kind}:{tmp_path / 'folder'}").open()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        sink_of(f"{kind}:{tmp_path / 'file' / 'a'}").open()
