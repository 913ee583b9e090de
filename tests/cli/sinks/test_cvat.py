"""CVAT's import file: the documented elements and attributes; its masks decoded by their definition."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

import onnxray
from onnxray.cli.files.rle import from_rle, to_rle
from onnxray.cli.sinks.cvat import runs_of
from onnxray.cli.sinks.registry import sink_of
from onnxray.cli.sinks.sink import Record
from onnxray.cli.tasks.measures import Measures


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_the_documented_form(tmp_path: Path) -> None:
    mask_utils = pytest.importorskip("pycocotools.mask")
    entries, photos = [], onnxray.samples()[4:2:-1]
    sink = sink_of(f"cvat:{tmp_path / 'a.xml'}")
    sink.open()
    for number, photo in enumerate(photos):
        e = onnxray.explain("builtin", photo)
        entry = {"method": e.method, "target": str(e.target), "label": f'a<"{number}', "region": Measures().of(e)}
        entries.append(entry)
        sink.write(Record(f"{number:064x}", photo, {"maps": [entry]}, e.image, (e,)))
    sink.close()
    root = ElementTree.parse(tmp_path / "a.xml").getroot()
    assert (root.tag, root.findtext("version"), root.findtext("meta/task/mode")) == ("annotations", "1.1", "annotation")
    assert [label.text for label in root.iterfind("meta/task/labels/label/name")] == ['a<"0', 'a<"1']
    assert [i.get("name") for i in root.iterfind("image")] == sorted(photo.name for photo in photos)
    assert [i.get("id") for i in root.iterfind("image")] == ["0", "1"]
    for photo, entry in zip(photos, entries, strict=True):
        (image,) = (i for i in root.iterfind("image") if i.get("name") == photo.name)
        box, mask = image
        y0, x0, y1, x1 = entry["region"]["box"]
        assert [float(box.get(key) or "nan") for key in ("ytl", "xtl", "ybr", "xbr")] == [y0, x0, y1, x1]
        assert {box.get("label"), mask.get("label")} == {entry["label"]}
        left, top, width, height = (int(mask.get(key) or "0") for key in ("left", "top", "width", "height"))
        runs = [int(run) for run in (mask.get("rle") or "").split(",")]
        flat = [bit for number, run in enumerate(runs) for bit in [number % 2] * run]
        found = np.zeros((int(image.get("height") or "0"), int(image.get("width") or "0")), np.uint8)
        found[top : top + height, left : left + width] = np.reshape(flat, (height, width))
        np.testing.assert_array_equal(found, mask_utils.decode(entry["region"]["rle"]))


def test_one_shape_only_and_characters_that_xml_lacks(tmp_path: Path) -> None:
    region = {"box": [1, 1, 3, 4], "rle": to_rle(np.ones((4, 5), np.bool_)), "polygons": []}
    entry = {"method": "grad-cam", "target": "1", "label": "a\x07 (1)", "region": region}
    sink = sink_of(f"cvat:{tmp_path / 'a.xml'}#only=mask")
    sink.open()
    sink.write(Record("ab", Path("a.png"), {"maps": [entry]}, np.zeros((4, 5, 3), np.uint8)))
    sink.close()
    (shape,) = ElementTree.parse(tmp_path / "a.xml").getroot().findall("image/*")
    assert (shape.tag, shape.get("label"), shape.get("rle")) == ("mask", "a?", "0, 6")


def test_masks_there_and_back() -> None:
    rng = np.random.default_rng(0)
    for shape in [(1, 1), (3, 7), (40, 90)]:
        for share in (0.0, 0.1, 0.9, 1.0):
            mask = rng.random(shape) < share
            np.testing.assert_array_equal(from_rle(to_rle(mask)), mask)
            assert sum(runs_of(mask)) == mask.size
