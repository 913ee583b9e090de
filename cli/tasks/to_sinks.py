"""Explaining images, videos and cameras into sinks, in place of a folder with a manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ...engine.errors import ImageError, OnnxrayError, OutputError, RuntimeUnavailable
from ...engine.pipeline.flow import Flow, Sizes, Stages
from ..parameters.inputs import take_images
from ..sinks.registry import sinks_of
from ..sinks.sink import Record, Sink
from ..sources.source import Frame
from ..terminal.progress import Progress
from .drifting import Alarms
from .line import Found, LineOptions, Work, works_of
from .metrics import serving
from .over_images import shared_among, side_by_side


@dataclass(frozen=True)
class SinkOptions(LineOptions):
    """What `onnxray explain --to` is asked for."""

    images: Sequence[str]
    to: Sequence[str]


@dataclass
class Told:
    """What became of the images of a run: how many are done, failed, and were explained; whether drift crossed a
    limit."""

    done: int = 0
    failed: int = 0
    explained: int = 0
    alarmed: bool = False

    def to_mapping(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class _Read:
    """An image on its way: what it has come to, or the error."""

    found: Found
    error: Exception | None = None


def explain_to(options: SinkOptions) -> Told:
    """Explain every image; its record goes to each sink, in order.

    Raises what `explain` raises for what is asked for, OutputError where a sink takes nothing.
    """
    common, told = options.common, Told()
    images = take_images(options.images, options.model, common.quiet, options.selection)
    workers, runtimes = side_by_side(images, common.runtime, common.devices)
    works = works_of(options, runtimes, None)
    work, worked = works[0], shared_among(works, _worked)
    sinks = sinks_of(options.to, common.quiet)
    alarms = Alarms(sinks)
    with ExitStack() as stack:
        for sink in sinks:
            sink.open()
            stack.callback(sink.close)
        bar = stack.enter_context(Progress(len(images), quiet=common.quiet, bar=common.progress))
        stages = Stages(lambda several: [worked(one) for one in several], lambda item: _read(item, work))
        flow: Flow[_Read] = stack.enter_context(Flow(stages, Sizes(workers, queue=2)))
        stack.enter_context(serving(options.metrics, lambda: (told.done, told.failed), flow, work.drifting))
        for one in flow.map(images, ahead=images.streams):
            _commit(one, work, sinks, alarms, told, bar)
    told.alarmed = work.drifting is not None and work.drifting.alarmed
    return told


def _read(item: Path | Frame, work: Work) -> _Read:
    from ..files.images import read_bytes
    from ..files.photos import photo_of

    path = item if isinstance(item, Path) else item.path
    try:
        if isinstance(item, Frame):
            picture = item.read(work.card)
            fields = {"seconds": item.seconds}
            return _Read(Found(path, picture.sha256, picture.pixels, fields=fields))
        data = read_bytes(item)
        return _Read(Found(path, hashlib.sha256(data).hexdigest(), photo_of(item, data, work.card)[0]))
    except OnnxrayError as error:
        return _Read(Found(path, "", None), error)


def _worked(work: Work, one: _Read) -> _Read:
    if one.error is not None:
        return one
    try:
        found = work.done(one.found)
    except (OutputError, RuntimeUnavailable):
        raise  # every further image would meet it as well
    except OnnxrayError as error:
        return _Read(one.found, error)
    except MemoryError:
        return _Read(one.found, ImageError(f"{str(one.found.path)!r}: there is not enough memory for it"))
    return _Read(replace(found, fields={**one.found.fields, **found.fields}))


def _commit(one: _Read, work: Work, sinks: Sequence[Sink], alarms: Alarms, told: Told, bar: Progress) -> None:
    """The record of an image to every sink."""
    found, error = one.found, one.error
    fields: dict[str, Any] = {
        "path": str(found.path),
        "sha256": found.sha256 or None,
        "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "status": "done" if error is None else "failed",
    }
    if error is None:
        fields |= found.fields
    else:
        fields["error"] = str(error) if isinstance(error, ImageError) else f"{found.path}: {error}"
        bar.say(fields["error"], error=True)
    if error is None and found.look is not None and work.drifting is not None:
        fields["drift"] = work.drifting.fields(found.look, str(found.path), bar.say)
    key = hashlib.sha256(f"{found.path}|{found.sha256}".encode("utf-8", "surrogateescape")).hexdigest()
    shown = (None, ()) if error is not None else (found.pixels, found.explanations)
    record = Record(key, found.path, fields, *shown)
    for sink in sinks:
        sink.write(record)
    alarms.take(key, fields)
    told.done += error is None
    told.failed += error is not None
    told.explained += bool(fields.get("maps"))
    bar.step(found.path.name)
