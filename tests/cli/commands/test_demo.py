"""`onnxray demo` and its report."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import Result

from onnxray.cli.files.images import decode, read, write
from onnxray.cli.tasks.demo import SECTIONS
from onnxray.engine.load import load

_TITLES = (
    "Prediction",
    "Explanations",
    "Can the maps be trusted?",
    "Activations",
    "Filters",
    "What units look for",
    "Dreams",
    "Layers",
)


class Page(HTMLParser):
    """Tags with their attributes, and the visible text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open and "script" not in self.open:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def report(run: Callable[..., Result], model: Path, photos: Path, tmp_path: Path) -> Path:
    done = run("demo", model, photos, "--out", tmp_path / "report")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'report' / 'index.html'}\n"
    return tmp_path / "report"


def test_the_report_is_whole_and_self_contained(report: Path) -> None:
    source = (report / "index.html").read_text(encoding="utf-8")
    page = Page(source)
    assert page.open == []
    titles = [t for t in page.text if t in _TITLES]
    assert len(page.all("section")) == len(SECTIONS)
    assert titles[: len(SECTIONS)] == titles[len(SECTIONS) :]  # in the navigation and above the section
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "base", "form")
        for name in ("src", "href", "srcset", "data", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(
                ("data:image/png;base64,", "data:image/jpeg;base64,", "#section-")
            ), value
        assert not any(name.startswith("on") for name in attributes)
    assert not re.search(r"url\((?!data:image/)|@import|https?://", source)
    assert len(page.all("script")) == 1  # the slider, whose hash the policy names
    assert page.all("script") == [{}]
    assert "default-src 'none'" in source
    anchors = {attributes["href"] for attributes in page.all("a")}
    assert anchors == {f"#{attributes['id']}" for attributes in page.all("section")}


def test_its_pictures_are_those_beside_it(report: Path) -> None:
    page = Page((report / "index.html").read_text(encoding="utf-8"))
    inside = [decode(base64.b64decode((a["src"] or "").partition(",")[2])) for a in page.all("img")]
    for attributes, image in zip(page.all("img"), inside, strict=True):
        assert (int(attributes["height"] or 0), int(attributes["width"] or 0)) == image.shape[:2]
        assert attributes["alt"]
    manifest = json.loads((report / "manifest.json").read_text())
    beside = [name for name in manifest["files"] if name.endswith(".png")]
    assert len(beside) >= 5
    assert len(inside) > 30
    for name in beside:
        assert read(report / name).size
    # Figures that the page does not take apart are in it as they are.
    encoded = {image.tobytes() for image in inside}
    assert any(read(report / name).tobytes() in encoded for name in beside)


def test_it_says_what_predict_says(report: Path, run: Callable[..., Result], model: Path, photos: Path) -> None:
    page = Page((report / "index.html").read_text(encoding="utf-8"))
    for image in json.loads(run("predict", model, photos, "--json", "--top", 3).stdout)["images"]:
        assert Path(image["path"]).name in page.text
        for guess in image["top"]:
            assert guess["label"] in page.text
            assert f"{100 * guess['probability']:.1f} %" in page.text


def test_the_same_demo_writes_the_same_bytes(
    report: Path, run: Callable[..., Result], model: Path, photos: Path
) -> None:
    other = report.with_name("other")
    assert run("demo", model, photos, "--out", other).exit_code == 0
    names = sorted(str(p.relative_to(report)) for p in report.rglob("*") if p.is_file())
    assert names == sorted(str(p.relative_to(other)) for p in other.rglob("*") if p.is_file())
    for name in names:
        assert (report / name).read_bytes() == (other / name).read_bytes()


def test_names_from_files_are_escaped(run: Callable[..., Result], model: Path, photo: Path, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    proto = load(model).proto
    copy = type(proto)()
    copy.CopyFrom(proto)
    for node in copy.graph.node:
        node.name = f'{evil}"{node.output[0]}'
    copy.producer_name = f"{evil}&"
    path = tmp_path / "evil.onnx"
    path.write_bytes(copy.SerializeToString())
    path.with_name("evil.card.json").write_text(
        json.dumps({"mean": 0, "std": 1, "labels": [evil + str(i) for i in range(5)]})
    )
    image = write(tmp_path / "a'b&c.png", read(photo))
    done = run("demo", path, image, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    source = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert source.count("<script") == 1  # the slider
    assert "<script>alert" not in source
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in source
    page = Page(source)
    assert "a'b&c.png" in page.text
    assert page.open == []


def test_the_default_folder_is_only_reused_after_a_demo(
    run: Callable[..., Result], model: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert run("demo", model, photo).stdout.strip() == str(Path("onnxray-demo") / "index.html")
    assert run("demo", model, photo, "--out", "onnxray-demo").exit_code == 1
    assert run("demo", model, photo, "--out", "onnxray-demo", "--force").exit_code == 0
    assert run("filters", model, "--out", "onnxray-demo", "--force").exit_code == 0
    done = run("demo", model, photo)
    assert done.exit_code == 1
    assert "holds another run (onnxray filters)" in done.stderr


@pytest.mark.parametrize("name", ["deeplabv3_mnv2_257", "ultraface_rfb_320"])
def test_models_that_are_no_classifiers(
    run: Callable[..., Result], zoo: Path, photo: Path, tmp_path: Path, name: str
) -> None:
    done = run("demo", zoo / "models" / f"{name}.onnx", photo, "--out", tmp_path / "out", "--quiet")
    assert done.exit_code == 0, done.stderr
    page = Page((tmp_path / "out" / "index.html").read_text(encoding="utf-8"))
    assert any(text.startswith("There is no prediction to show: nothing to predict: the output") for text in page.text)


def test_the_builtin_demo(run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("demo")
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("scans") == 1  # what else there is to explain, once
    manifest = json.loads((tmp_path / "onnxray-demo" / "manifest.json").read_text())
    assert manifest["complete"] is True
    assert len(manifest["images"]) >= 8
    assert {image["status"] for image in manifest["images"]} == {"done"}
