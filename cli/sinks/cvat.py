"""`cvat:FILE.xml`: annotations in the form "CVAT for images 1.1", the hottest regions as boxes and masks.

The form is that of https://docs.cvat.ai/docs/other/xml_format; a mask's runs are those of its box, row by row, the
first of what is not in the mask.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray

from ..files.rle import from_rle
from .collected import Collected, label_of, settings_of, shapes_of
from .sink import Record

_SETTINGS = {"only": "box or mask"}
# What XML 1.0 cannot hold.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Cvat(Collected):
    """Images by their names, as CVAT knows them; ids count them in lexical order."""

    def __init__(self, text: str) -> None:
        path, settings = settings_of(text, _SETTINGS)
        super().__init__(path)
        self._shapes = shapes_of(settings)

    def item(self, record: Record) -> Mapping[str, Any]:
        assert record.pixels is not None
        height, width = record.pixels.shape[:2]
        shapes = [shape for entry in record.fields["maps"] for shape in self._shapes_of(entry)]
        return {"name": record.path.name, "width": width, "height": height, "shapes": shapes}

    def lines(self, items: list[dict[str, Any]]) -> Iterator[str]:
        labels = sorted({shape["label"] for item in items for shape in item["shapes"]})
        yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <task>\n'
        yield f"      <name>onnxray</name>\n      <size>{len(items)}</size>\n      <mode>annotation</mode>\n"
        yield "      <labels>\n"
        for label in labels:
            yield f"        <label>\n          <name>{escape(_xml(label))}</name>\n        </label>\n"
        yield "      </labels>\n    </task>\n  </meta>\n"
        for number, item in enumerate(sorted(items, key=lambda item: str(item["name"]))):
            about = {"id": number, **{key: item[key] for key in ("name", "width", "height")}}
            yield f"  <image {_attributes(about)}>\n"
            for shape in item["shapes"]:
                yield f"    <{shape['kind']} {_attributes({k: v for k, v in shape.items() if k != 'kind'})}/>\n"
            yield "  </image>\n"
        yield "</annotations>\n"

    def _shapes_of(self, entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        region = entry["region"]
        if region["box"] is None:
            return
        y0, x0, y1, x1 = region["box"]
        about = {"label": label_of(entry), "source": "auto", "occluded": 0}
        if "box" in self._shapes:
            yield {"kind": "box", **about, "xtl": x0, "ytl": y0, "xbr": x1, "ybr": y1, "z_order": 0}
        if "mask" in self._shapes:
            runs = ", ".join(str(run) for run in runs_of(from_rle(region["rle"])[y0:y1, x0:x1]))
            place = {"left": x0, "top": y0, "width": x1 - x0, "height": y1 - y0}
            yield {"kind": "mask", **about, "rle": runs, **place, "z_order": 0}


def runs_of(mask: NDArray[np.bool_]) -> list[int]:
    """The lengths of the runs of a mask (H, W), row by row, the first of what is not in it."""
    runs = [(value, sum(1 for _ in run)) for value, run in groupby(mask.ravel().tolist())]
    counts = [count for _, count in runs]
    return [0, *counts] if runs and runs[0][0] else counts


def _attributes(values: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={quoteattr(_xml(str(value)))}" for key, value in values.items())


def _xml(text: str) -> str:
    return _NOT_XML.sub("?", text)
