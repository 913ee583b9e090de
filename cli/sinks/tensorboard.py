"""`tensorboard:DIR`: overlays as images of TensorBoard, one step for each image, with scores and drift as scalars.

Event files are records of TensorFlow (length, checksums, a protobuf Event), written with the classes of the package
`tensorboard`, which the extra of that name installs.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

from ...engine.errors import OutputError, RuntimeUnavailable
from ..files.journal import Journal
from .sink import Record

# What is kept next to the events: a line for each image, with its step.
STEPS = "onnxray-steps.jsonl"


class TensorBoard:
    """A run of TensorBoard: the tag METHOD/overlay, or METHOD-2/overlay for a second map, at one step for each image.

    Each event is on disk before its line in `onnxray-steps.jsonl`; what a killed process wrote without such a line is
    cut off at the next start and written again. Images without a map are left out.
    """

    def __init__(self, text: str) -> None:
        self.folder = Path(text)

    def open(self) -> None:
        _modules()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write {str(self.folder)!r}: {error.strerror or error}") from error
        self._journal = Journal(self.folder / STEPS)
        known = [line for line in self._journal.records() if isinstance(line.get("end"), int) and line.get("file")]
        self._known = {line["id"] for line in known}
        self._step = 1 + max((int(line["step"]) for line in known), default=-1)
        ends = {str(line["file"]): int(line["end"]) for line in known}
        for name, end in ends.items():
            path = self.folder / Path(name).name
            if path.exists() and path.stat().st_size > end:
                os.truncate(path, end)
        newest = max((int(name.split(".")[3]) for name in ends), default=0)
        # Files are read in the order of their names: a clock that was set back must not break that.
        stamp = max(int(time.time()), newest + 1)
        self._path = self.folder / f"events.out.tfevents.{stamp:010d}.{socket.gethostname()}.{os.getpid()}.onnxray"
        self._end = 0

    def write(self, record: Record) -> None:
        event_pb2, summary_pb2, _ = _modules()
        if record.id in self._known or not record.explanations:
            return
        if not self._end:
            self._append(event_pb2.Event(wall_time=time.time(), file_version="brain.Event:2"))
        summary = summary_pb2.Summary(value=_values(record, summary_pb2))
        before = self._end
        self._append(event_pb2.Event(wall_time=time.time(), step=self._step, summary=summary))
        line = {
            "id": record.id,
            "step": self._step,
            "path": str(record.path),
            "file": self._path.name,
            "end": self._end,
        }
        try:
            self._journal.append(line)
        except OutputError:
            os.truncate(self._path, before)
            self._end = before
            raise
        self._known.add(record.id)
        self._step += 1

    def close(self) -> None:
        self._journal.close()

    def _append(self, event: Any) -> None:
        """Put an event at the end; it is on disk then, or the file is as it was. Raises OutputError."""
        writer = _modules()[2]
        try:
            with self._path.open("ab") as file:
                try:
                    writer(file).write(event.SerializeToString())
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(self._end)
                    raise
                self._end = file.tell()
        except OSError as error:
            raise OutputError(f"cannot write {str(self._path)!r}: {error.strerror or error}") from error


def _values(record: Record, summary_pb2: Any) -> list[Any]:
    """The values of one step: pictures, then numbers."""
    from ..files.images import encode

    values, seen = [], dict[str, int]()
    for e in record.explanations:
        seen[e.method] = seen.get(e.method, 0) + 1
        name = e.method if seen[e.method] == 1 else f"{e.method}-{seen[e.method]}"
        overlay = e.overlay()
        height, width = overlay.shape[:2]
        picture = summary_pb2.Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=encode(overlay)
        )
        values.append(summary_pb2.Summary.Value(tag=f"{name}/overlay", image=picture))
        if e.probability is not None:
            values.append(summary_pb2.Summary.Value(tag=f"{name}/probability", simple_value=e.probability))
    drift = record.fields.get("drift") or {}
    for measure in ("smd", "psi"):
        if isinstance(drift.get(measure), float):
            values.append(summary_pb2.Summary.Value(tag=f"drift/{measure}", simple_value=drift[measure]))
    return values


def _modules() -> tuple[Any, Any, Any]:
    """The protobufs of events and summaries, and the writer of records. Raises RuntimeUnavailable."""
    try:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ImportError as error:
        raise RuntimeUnavailable(
            "tensorboard: needs the package tensorboard: pip install 'onnxray[tensorboard]'"
        ) from error
    return event_pb2, summary_pb2, RecordWriter
