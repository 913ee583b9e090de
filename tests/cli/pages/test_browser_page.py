"""The page of a compiled model: what is in it, and that it fits narrow screens."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.cli.pages.browser_page import FILES, GPU_FILES, page, write_page
from onnxray.tests.cli.chromium import measured
from onnxray.tests.engine.detection import families

LABELS = [f"a class with a rather long name, number {i}, of which there are many" for i in range(1001)]


@pytest.fixture
def source(parse: Any) -> onnxray.Model:
    proto: onnx.ModelProto = parse(
        """
        m (float[N, 3, 8, 8] x) => (float[N, 1001] y)
        { a = Conv (x, w) maps = Relu (a) p = GlobalAveragePool (maps) f = Flatten (p) y = Gemm (f, v) }
        """,
        w=np.ones((4, 3, 3, 3), np.float32),
        v=np.ones((4, 1001), np.float32),
    )
    return onnxray.load(proto, size=8, mean=0, std=255, resize="stretch", labels=LABELS)


@pytest.fixture
def compiled(source: onnxray.Model) -> onnxray.Model:
    return onnxray.compile(source, target="runtime", preprocess="HWC", normalize="uint8")


def facts_of(html: str) -> dict[str, Any]:
    found = re.search(r'id="facts">(.*?)</script>', html, re.DOTALL)
    assert found
    facts: dict[str, Any] = json.loads(found[1])
    return facts


def test_with_a_thousand_classes_the_page_fits_a_phone(
    compiled: onnxray.Model, source: onnxray.Model, tmp_path: Path
) -> None:
    """The list of classes was as wide as its longest label."""
    html = page(compiled, source, "net").replace('id="result" hidden', 'id="result"')
    assert 'id="result">' in html
    (tmp_path / "index.html").write_text(html.replace('id="target-label" hidden', 'id="target-label"'))
    for found in measured(tmp_path, "index.html", tmp_path / "profile"):
        assert found["page"] <= found["width"], found
        assert found["outside"] == [], found


def test_the_title_says_what_the_page_does_and_it_has_an_icon(compiled: onnxray.Model, source: onnxray.Model) -> None:
    html = page(compiled, source, "net")
    assert "<title>net</title>" in html
    assert "<h1>net: grad-cam in the browser</h1>" in html
    assert 'rel="icon" href="data:' in html
    for part in ("original", "bar", "low", "high", "samples"):
        assert f'id="{part}"' in html


def test_samples_are_copied_and_offered(compiled: onnxray.Model, source: onnxray.Model, tmp_path: Path) -> None:
    from onnxray.cli.files.images import write

    sample = write(tmp_path / "a sample.png", np.zeros((4, 4, 3), np.uint8))
    for names, webgpu in ((FILES, False), ((*FILES, *GPU_FILES), True)):
        runtime, folder = tmp_path / f"runtime{webgpu}", tmp_path / f"site{webgpu}"
        runtime.mkdir()
        for name in names:
            (runtime / name).write_bytes(b"x")
        index = write_page(compiled, source, folder, runtime, title="net", samples=[sample])
        facts = facts_of(index.read_text(encoding="utf-8"))
        assert facts["samples"] == ["a sample.png"]
        assert (folder / "samples" / "a sample.png").read_bytes() == sample.read_bytes()
        assert facts["webgpu"] == webgpu
        assert {path.name for path in (folder / "ort").iterdir()} == set(names)


@pytest.mark.parametrize("given", [{"dream": "maps"}, {"visualize": "maps:1", "size": 8}])
def test_a_model_that_optimises_an_image_has_its_own_page(
    given: dict[str, Any], source: onnxray.Model, tmp_path: Path
) -> None:
    html = page(onnxray.compile(source, **given), source, "net", ["a.png"], True)
    dreams = "dream" in given
    title = "DeepDream" if dreams else "What it looks for"
    assert f"<h1>net: {title}, in the browser</h1>" in html
    assert "{" + "facts}" not in html
    size = ["height", "width"] if dreams else [8, 8]
    assert facts_of(html) == {"dreams": dreams, "size": size, "channels": 3, "samples": ["a.png"], "webgpu": True}
    (tmp_path / "index.html").write_text(html.replace('id="result" hidden', 'id="result"'))
    for found in measured(tmp_path, "index.html", tmp_path / "profile"):
        assert found["page"] <= found["width"], found
        assert found["outside"] == [], found


def test_the_page_of_a_detector_has_the_explained_box(tmp_path: Path) -> None:
    model = families.yolo8().model
    source = onnxray.Model(model.proto, overrides={**model.overrides, "labels": list("abcde")})
    file = onnxray.compile(source, "hires-cam", target="box", preprocess="HWC", normalize="uint8")
    html = page(file, source, "net")
    facts = facts_of(html)
    assert (facts["box"], facts["labels"], facts["scores"]) == ("explained_box", list("abcde"), None)
    assert "of the most certain box, computed by the model file." in html
    (tmp_path / "index.html").write_text(html.replace('id="result" hidden', 'id="result"'))
    for found in measured(tmp_path, "index.html", tmp_path / "profile"):
        assert found["page"] <= found["width"], found
        assert found["outside"] == [], found
