"""`fiftyone:DIR`: samples with heat maps to import in FiftyOne.

The form is that of FiftyOne's own data sets in JSON, which `fiftyone.Dataset.from_dir(dataset_dir=DIR,
dataset_type=fiftyone.types.FiftyOneDataset)` reads: `samples.json`, `metadata.json`, and maps as pictures in `fields`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...engine.atomic import atomic
from .collected import Collected, label_of
from .sink import Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...engine.attribution.explanation import Explanation


class FiftyOne(Collected):
    """A data set in a folder. Of each image: `prediction`, and for each method (`grad-cam` as `grad_cam`, a second map
    as `grad_cam_2`) a Heatmap of that name and the hottest region, `grad_cam_region`.

    Heat maps are pictures of 8 bits, 0 for no heat, 255 for the map's maximum.
    """

    def __init__(self, text: str) -> None:
        self.folder = Path(text)
        super().__init__(self.folder / "samples.json")

    def open(self) -> None:
        super().open()
        with atomic(self.folder / "metadata.json") as temporary:
            temporary.write_text(json.dumps({"info": {"made_by": "onnxray"}}) + "\n", encoding="utf-8")

    def item(self, record: Record) -> Mapping[str, Any]:
        from ..files.images import write

        assert record.pixels is not None
        sample: dict[str, Any] = {"filepath": str(record.path.resolve()), "tags": [], "onnxray_id": record.id}
        names: list[str] = []
        for e, entry in zip(record.explanations, record.fields["maps"], strict=True):
            name = _free(re.sub(r"\W", "_", e.method), names)
            path = f"fields/{name}/{record.id}.png"
            write(self.folder / path, _levels(e))
            sample[name] = {"_cls": "Heatmap", "tags": [], "map_path": path}
            label, region = label_of(entry), entry["region"]
            if region["box"] is not None:
                sample[f"{name}_region"] = _detection(label, region["box"], record.pixels.shape[:2])
            if "prediction" not in sample:
                sample["prediction"] = _classification(record.fields, entry, label)
        return {"sample": sample}

    def lines(self, items: list[dict[str, Any]]) -> Iterator[str]:
        yield '{"samples": ['
        for number, item in enumerate(items):
            yield ("\n" if number == 0 else ",\n") + json.dumps(item["sample"])
        yield "\n]}\n"


def _free(name: str, names: list[str]) -> str:
    number = sum(known.partition("/")[0] == name for known in names) + 1
    names.append(f"{name}/{number}")
    return name if number == 1 else f"{name}_{number}"


def _levels(e: Explanation) -> NDArray[np.uint8]:
    """The heat of an explanation in 256 levels, uint8 (H, W)."""
    heat = np.maximum(np.nan_to_num(e.heatmap), 0)
    most = float(heat.max())
    return np.asarray((np.rint(heat * (255 / most)) if most else heat).astype(np.uint8))


def _detection(label: str, box: list[int], size: tuple[int, ...]) -> dict[str, Any]:
    """Boxes are left, top, width, height as shares of the image."""
    (y0, x0, y1, x1), (height, width) = box, size
    shares = [x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height]
    one = {"_cls": "Detection", "tags": [], "attributes": {}, "label": label, "bounding_box": shares}
    return {"_cls": "Detections", "detections": [one]}


def _classification(fields: Mapping[str, Any], entry: Mapping[str, Any], label: str) -> dict[str, Any]:
    """What the model predicts where a rule has asked for it, else the explained class."""
    known = fields.get("prediction") or {"label": label, "score": entry.get("probability")}
    found = {"_cls": "Classification", "tags": [], "label": str(known["label"])}
    return found if known.get("score") is None else {**found, "confidence": float(known["score"])}
