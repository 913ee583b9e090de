"""Label Studio's import file, against its documented form: https://labelstud.io/guide/predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxray
from onnxray.cli.sinks.registry import sink_of
from onnxray.cli.sinks.sink import Record
from onnxray.cli.tasks.measures import Measures


def tasks(tmp_path: Path, settings: str = "") -> tuple[Any, dict[str, Any]]:
    photo = onnxray.samples()[4]
    e = onnxray.explain("builtin", photo)
    entry = {"method": e.method, "target": str(e.target), "label": e.label, "probability": e.probability}
    entry["region"] = Measures().of(e)
    sink = sink_of(f"label-studio:{tmp_path / 'a.json'}{settings}")
    sink.open()
    sink.write(Record("ab" * 32, photo, {"maps": [entry]}, e.image, (e,)))
    sink.close()
    return json.loads((tmp_path / "a.json").read_text()), {**entry, "size": e.heatmap.shape, "photo": photo}


def test_the_documented_form(tmp_path: Path) -> None:
    (task,), entry = tasks(tmp_path)
    assert task["data"]["image"] == "/data/local-files/?d=" + entry["photo"].resolve().as_posix().lstrip("/")
    (prediction,) = task["predictions"]
    assert prediction["model_version"] == "onnxray grad-cam"
    assert prediction["score"] == pytest.approx(entry["probability"])
    box, *outlines = prediction["result"]
    height, width = entry["size"]
    for result, kind, control in [
        (box, "rectanglelabels", "box"),
        *[(o, "polygonlabels", "outline") for o in outlines],
    ]:
        assert (result["type"], result["from_name"], result["to_name"]) == (kind, control, "image")
        assert (result["original_width"], result["original_height"], result["image_rotation"]) == (width, height, 0)
        assert result["value"][kind] == [entry["label"].rpartition(" (")[0]]
    assert len({result["id"] for result in prediction["result"]}) == len(prediction["result"])
    value = box["value"]
    y0, x0, y1, x1 = entry["region"]["box"]
    back = np.array([value["y"] * height, value["x"] * width, value["height"] * height, value["width"] * width]) / 100
    np.testing.assert_allclose(back, [y0, x0, y1 - y0, x1 - x0])
    points = np.array(outlines[0]["value"]["points"]) / 100 * [width, height]
    assert outlines[0]["value"]["closed"] is True
    np.testing.assert_allclose(points.min(axis=0), [x0 + 0.5, y0 + 0.5])
    np.testing.assert_allclose(points.max(axis=0), [x1 - 0.5, y1 - 0.5])


def test_settings(tmp_path: Path) -> None:
    (task,), entry = tasks(tmp_path, "#images=https://files.example/a/&only=box")
    assert task["data"]["image"] == f"https://files.example/a/{entry['photo'].name}"
    assert [result["type"] for result in task["predictions"][0]["result"]] == ["rectanglelabels"]
