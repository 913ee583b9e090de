"""FiftyOne's import folder: its own importer where it is installed, else the documented form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxray
from onnxray.cli.files.images import stored_of
from onnxray.cli.sinks.registry import sink_of
from onnxray.cli.sinks.sink import Record
from onnxray.cli.tasks.measures import Measures


def written(folder: Path, photos: list[Path]) -> list[list[onnxray.Explanation]]:
    found, sink = [], sink_of(f"fiftyone:{folder}")
    sink.open()
    for number, photo in enumerate(photos):
        parts = [onnxray.explain("builtin", photo, target=target) for target in (None, 3)]
        maps = [
            {
                "method": e.method,
                "target": str(e.target),
                "label": e.label,
                "probability": e.probability,
                "region": Measures().of(e),
            }
            for e in parts
        ]
        sink.write(Record(f"{number:064x}", photo, {"maps": maps}, parts[0].image, parts))
        found.append(parts)
    sink.close()
    return found


def test_the_documented_form(tmp_path: Path) -> None:
    photos = onnxray.samples()[3:5]
    found = written(tmp_path, photos)
    assert "version" not in json.loads((tmp_path / "metadata.json").read_text())
    samples: list[dict[str, Any]] = json.loads((tmp_path / "samples.json").read_text())["samples"]
    assert [s["filepath"] for s in samples] == [str(photo.resolve()) for photo in photos]
    for sample, parts in zip(samples, found, strict=True):
        for name, e in zip(("grad_cam", "grad_cam_2"), parts, strict=True):
            assert (sample[name]["_cls"], sample[name]["map_path"]) == (
                "Heatmap",
                f"fields/{name}/{sample['onnxray_id']}.png",
            )
            data = (tmp_path / sample[name]["map_path"]).read_bytes()
            levels = stored_of(data, 1 << 20, "map")[0].squeeze()
            assert levels.shape == e.heatmap.shape
            heat = np.maximum(e.heatmap, 0)
            np.testing.assert_allclose(levels / 255, heat / heat.max(), atol=0.5 / 255 + 1e-6)
            (box,) = sample[f"{name}_region"]["detections"]
            y0, x0, y1, x1 = Measures().of(e)["box"]
            height, width = e.heatmap.shape
            wanted = [x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height]
            assert box["bounding_box"] == pytest.approx(wanted)
        assert sample["prediction"]["confidence"] == pytest.approx(parts[0].probability)


def test_fiftyone_reads_it(tmp_path: Path) -> None:
    pytest.importorskip("fiftyone", reason="FiftyOne is not installed: its own importer does not judge")
    from fiftyone.utils.data.importers import LegacyFiftyOneDatasetImporter

    photos = onnxray.samples()[3:5]
    written(tmp_path, photos)
    importer = LegacyFiftyOneDatasetImporter(str(tmp_path))
    importer.setup()
    for sample, photo in zip(importer, photos, strict=True):
        assert sample.filepath == str(photo.resolve())
        assert Path(sample.grad_cam.map_path).is_relative_to(tmp_path)
        assert sample.grad_cam.get_map().ndim == 2
        assert len(sample.grad_cam_2_region.detections) == 1


def test_a_restart_goes_on(tmp_path: Path) -> None:
    photos = onnxray.samples()[3:5]
    written(tmp_path, photos[:1])
    written(tmp_path, photos)
    assert len(json.loads((tmp_path / "samples.json").read_text())["samples"]) == 2
