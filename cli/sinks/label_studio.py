"""`label-studio:FILE.json`: tasks with predictions for Label Studio, the hottest regions as boxes and polygons.

The form is that of https://labelstud.io/guide/predictions: places in percent of the image.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from .collected import Collected, label_of, settings_of, shapes_of
from .sink import Record

_SETTINGS = {"images": "URL in front of the images' names", "only": "box or mask"}
# Where Label Studio serves the files of its own machine.
_LOCAL = "/data/local-files/?d="


class LabelStudio(Collected):
    """A list of tasks. `#images=URL`: the images are at URL + name; else at their paths on Label Studio's machine."""

    def __init__(self, text: str) -> None:
        path, settings = settings_of(text, _SETTINGS)
        super().__init__(path)
        self._images, self._shapes = settings.get("images"), shapes_of(settings)

    def item(self, record: Record) -> Mapping[str, Any]:
        assert record.pixels is not None
        height, width = record.pixels.shape[:2]
        predictions = [
            self._prediction(entry, (height, width), f"{record.id[:10]}-{number}")
            for number, entry in enumerate(record.fields["maps"])
        ]
        return {"data": {"image": self._address(record)}, "meta": {"onnxray": record.id}, "predictions": predictions}

    def lines(self, items: list[dict[str, Any]]) -> Iterator[str]:
        yield "["
        for number, item in enumerate(items):
            task = {key: value for key, value in item.items() if key != "id"}  # its own: Label Studio's are numbers
            yield ("\n" if number == 0 else ",\n") + json.dumps(task)
        yield "\n]\n"

    def _address(self, record: Record) -> str:
        if self._images is not None:
            return self._images + quote(record.path.name)
        return _LOCAL + quote(record.path.resolve().as_posix().lstrip("/"))

    def _prediction(self, entry: Mapping[str, Any], size: tuple[int, int], key: str) -> dict[str, Any]:
        found: dict[str, Any] = {"model_version": f"onnxray {entry['method']}"}
        if isinstance(entry.get("probability"), float):
            found["score"] = entry["probability"]
        region, label = entry["region"], label_of(entry)
        results = []
        if "box" in self._shapes and region["box"] is not None:
            results.append(_result(f"{key}-box", "box", "rectanglelabels", size, _box(region["box"], size), label))
        if "mask" in self._shapes:
            for number, polygon in enumerate(region["polygons"]):
                if len(polygon) >= 6:  # three corners
                    value = {"points": _points(polygon, size), "closed": True}
                    results.append(_result(f"{key}-outline-{number}", "outline", "polygonlabels", size, value, label))
        return {**found, "result": results}


def _result(
    key: str, control: str, kind: str, size: tuple[int, int], value: Mapping[str, Any], label: str
) -> dict[str, Any]:
    return {
        "id": key,
        "from_name": control,
        "to_name": "image",
        "type": kind,
        "original_width": size[1],
        "original_height": size[0],
        "image_rotation": 0,
        "value": {**value, kind: [label]},
    }


def _box(box: list[int], size: tuple[int, int]) -> dict[str, float]:
    y0, x0, y1, x1 = box
    height, width = size
    return {
        "x": 100 * x0 / width,
        "y": 100 * y0 / height,
        "width": 100 * (x1 - x0) / width,
        "height": 100 * (y1 - y0) / height,
        "rotation": 0,
    }


def _points(polygon: list[float], size: tuple[int, int]) -> list[list[float]]:
    """The corners, which are at centres of pixels, in percent."""
    return [
        [100 * (x + 0.5) / size[1], 100 * (y + 0.5) / size[0]] for x, y in zip(polygon[::2], polygon[1::2], strict=True)
    ]
