"""Events as TensorBoard's own reader reads them; what a kill leaves is cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxray
from onnxray.cli.files.images import decode
from onnxray.cli.sinks.registry import sink_of
from onnxray.cli.sinks.sink import Record
from onnxray.engine.errors import OutputError

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


@pytest.fixture(scope="module")
def explanations() -> list[onnxray.Explanation]:
    return [onnxray.explain("builtin", photo) for photo in onnxray.samples()[:3]]


def record(number: int, e: onnxray.Explanation) -> Record:
    drift = {"smd": 0.5 + number, "psi": None}
    return Record(f"{number:064x}", Path(f"{number}.png"), {"maps": [{}], "drift": drift}, e.image, (e, e))


def written(folder: Path, records: list[Record]) -> None:
    sink = sink_of(f"tensorboard:{folder}")
    sink.open()
    for one in records:
        sink.write(one)
    sink.close()


def read(folder: Path) -> Any:
    found = accumulator.EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    return found.Reload()


def test_tensorboard_reads_it(tmp_path: Path, explanations: list[onnxray.Explanation]) -> None:
    written(tmp_path, [record(n, e) for n, e in enumerate(explanations)])
    found = read(tmp_path)
    assert found.Tags()["images"] == ["grad-cam/overlay", "grad-cam-2/overlay"]
    assert [i.step for i in found.Images("grad-cam/overlay")] == [0, 1, 2]
    for image, e in zip(found.Images("grad-cam/overlay"), explanations, strict=True):
        np.testing.assert_array_equal(decode(image.encoded_image_string), e.overlay())
        assert (image.height, image.width) == e.overlay().shape[:2]
    assert [s.value for s in found.Scalars("drift/smd")] == [0.5, 1.5, 2.5]
    assert [s.value for s in found.Scalars("grad-cam/probability")] == pytest.approx(
        [e.probability for e in explanations]
    )
    assert "drift/psi" not in found.Tags()["scalars"]


def test_a_restart_goes_on_and_cuts_what_a_kill_left(tmp_path: Path, explanations: list[onnxray.Explanation]) -> None:
    records = [record(n, e) for n, e in enumerate(explanations)]
    written(tmp_path, records[:2])
    (events,) = tmp_path.glob("events.*")
    whole, steps = events.read_bytes(), tmp_path / "onnxray-steps.jsonl"
    lines = steps.read_bytes().splitlines(keepends=True)
    # Killed between the second event and its line; then within an event.
    for left, rest in ((whole, b"".join(lines[:1])), (whole[:-100], b"".join(lines[:1]))):
        events.write_bytes(left)
        steps.write_bytes(rest)
        for other in set(tmp_path.glob("events.*")) - {events}:
            other.unlink()
        written(tmp_path, records)
        assert [i.step for i in read(tmp_path).Images("grad-cam/overlay")] == [0, 1, 2]
    # Nothing twice.
    written(tmp_path, records)
    assert len(read(tmp_path).Images("grad-cam/overlay")) == 3


def test_an_event_without_its_line_is_taken_back(
    tmp_path: Path, explanations: list[onnxray.Explanation], monkeypatch: pytest.MonkeyPatch
) -> None:
    sink: Any = sink_of(f"tensorboard:{tmp_path}")
    sink.open()
    one, append = record(0, explanations[0]), sink._journal.append

    def full(fields: Any) -> None:
        raise OutputError("no room")

    monkeypatch.setattr(sink._journal, "append", full)
    with pytest.raises(OutputError):
        sink.write(one)
    monkeypatch.setattr(sink._journal, "append", append)
    sink.write(one)
    sink.close()
    assert len(read(tmp_path).Images("grad-cam/overlay")) == 1


def test_images_without_a_map_are_left_out(tmp_path: Path) -> None:
    written(tmp_path, [Record("ab", Path("a.png"), {"explained": False})])
    assert list(tmp_path.glob("events.*")) == []
