"""All kinds of sinks, by what stands in front of the colon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ...engine.errors import OutputError, UnknownName
from . import cvat, fiftyone, folder, http_post, jsonl, label_studio, mp4, mqtt, tensorboard
from .sink import Sink

# Name -> how it is made of what follows the colon, and what it is.
SINKS: dict[str, tuple[Callable[[str], Sink], str]] = {
    "folder": (folder.Folder, "folder:DIR, overlays, maps and data as files"),
    "jsonl": (jsonl.JsonLines, "jsonl:FILE, one line of JSON for each image; - for stdout"),
    "http": (partial(http_post.HttpPost, "http"), "http://HOST/PATH, one POST for each image"),
    "https": (partial(http_post.HttpPost, "https"), "https://HOST/PATH, the same, encrypted"),
    "label-studio": (label_studio.LabelStudio, "label-studio:FILE.json, tasks with the hottest regions to import"),
    "cvat": (cvat.Cvat, "cvat:FILE.xml, annotations of the hottest regions to import"),
    "mp4": (mp4.Mp4, "mp4:FILE.mp4, the overlays as a video"),
    "tensorboard": (tensorboard.TensorBoard, "tensorboard:DIR, overlays as images of TensorBoard"),
    "fiftyone": (fiftyone.FiftyOne, "fiftyone:DIR, a data set with heat maps to import in FiftyOne"),
    "mqtt": (partial(mqtt.Mqtt, "mqtt"), "mqtt://HOST/TOPIC, one message for each image"),
    "mqtts": (partial(mqtt.Mqtt, "mqtts"), "mqtts://HOST/TOPIC, the same, encrypted"),
}


def sinks_of(texts: Sequence[str], quiet: bool) -> list[Sink]:
    """The sinks that texts name; quiet: they say errors only. Raises what `sink_of` raises."""
    found = [sink_of(text) for text in texts]
    for sink in found:
        if quiet and isinstance(sink, http_post.HttpPost | mqtt.Mqtt):
            sink.tell = lambda text: None
    return found


def sink_of(text: str) -> Sink:
    """The sink that a text names: `KIND:WHERE`, `-`, a file that ends in .jsonl, or a folder.

    Raises UnknownName for another kind, OutputError where nothing follows the colon.
    """
    if text == "-":
        return jsonl.Standard()
    kind, colon, where = text.partition(":")
    if kind in SINKS and colon:
        if not where:
            raise OutputError(f"the sink {text!r} names no place: {SINKS[kind][1]}")
        return SINKS[kind][0](where)
    if text.lower().endswith(".jsonl"):
        return jsonl.JsonLines(text)
    if colon and len(kind) > 1 and "/" not in kind:
        raise UnknownName("sink", kind, SINKS, f"there are {', '.join(SINKS)}")
    return folder.Folder(text)
