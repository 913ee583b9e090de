"""The site: resumed, split, killed, of models with hostile names."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import onnx
import pytest
from click.testing import Result

import onnxray
from onnxray.cli.files.images import read, write
from onnxray.cli.tasks import microscope
from onnxray.cli.tasks.site import crops
from onnxray.cli.tasks.site.plan import site_layers
from onnxray.cli.tasks.site.view import site_view

FEW = ("--steps", 2, "--picture-size", 32, "-q")


class Links(HTMLParser):
    """What a page leads to and loads, relative to itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value and not value.startswith(("#", "data:")):
                self.found.append(unquote(value.partition("#")[0]))

    def handle_data(self, data: str) -> None:
        if self.lasttag == "style":
            self.found += [unquote(address) for address in re.findall(r"url\(([^)]*)\)", data)]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def check(folder: Path, entered: bool = True) -> int:
    """Every link of every page leads to a file of the site, every picture is whole; how many pages there are.

    entered: whether there is a way in. The first page is written last, so before it is there pages that it leads to may
    link to others that are still to come; what is loaded into a page is there before it all the same.
    """
    pages = list(folder.rglob("*.html"))
    loaded = set()
    for page in pages:
        for link in Links(page.read_text(encoding="utf-8")).found:
            target = (page.parent / link).resolve()
            if not entered and target.suffix == ".html" and not target.is_file():
                continue
            assert target.is_file(), f"{page}: {link}"
            assert target.is_relative_to(folder.resolve())
            loaded.add(target)
    for target in loaded:
        if target.suffix == ".jpg":
            assert read(target).size
    return len(pages)


def test_a_site_of_every_unit(run: Callable[..., Result], model: Path, tmp_path: Path) -> None:
    done = run("microscope", model, "-o", tmp_path / "site", *FEW)
    assert done.exit_code == 0, done.stderr
    folders = sorted(f.name for f in (tmp_path / "site" / "layers").iterdir())
    assert len(folders) >= 2
    assert check(tmp_path / "site") > 10
    assert not [f for f in files_of(tmp_path / "site") if "coarse" in f]
    index = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert all(label in index for label in ("red", "green", "blue"))


def test_resumed_it_is_the_same(run: Callable[..., Result], model: Path, tmp_path: Path) -> None:
    assert run("microscope", model, "-o", tmp_path / "whole", *FEW).exit_code == 0
    first = run("microscope", model, "-o", tmp_path / "parts", *FEW, "--time", "0s")
    assert first.exit_code == 0
    assert check(tmp_path / "parts") > 10
    assert {f.name for f in (tmp_path / "parts").rglob("*.jpg")} == {"filters-0.jpg"}
    manifest = json.loads((tmp_path / "parts" / "manifest.json").read_text())
    assert manifest["complete"] is False
    assert manifest["missing"]["pictures"]["strongest"]["done"] == 0
    assert manifest["missing"]["pictures"]["strongest"]["of"] > 10
    assert manifest["missing"]["survey"] == {"complete": True, "done": 0, "of": 0}
    again = run("microscope", model, "-o", tmp_path / "parts", *FEW)
    assert "another run" in again.stderr
    assert run("microscope", model, "-o", tmp_path / "parts", *FEW, "--resume").exit_code == 0
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")


def test_what_images_say_is_written_layer_by_layer(
    run: Callable[..., Result], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time ends when the crops of the first layer are cut: pages are made all the same, --resume goes on there."""
    for name in "ab":
        write(tmp_path / f"{name}.png", np.random.default_rng(ord(name)).integers(0, 256, (32, 32, 3), np.uint8))
    images = [tmp_path / "a.png", tmp_path / "b.png"]
    assert run("microscope", model, *images, "-o", tmp_path / "whole", *FEW).exit_code == 0
    cut, made = crops.crops, list[str]()

    def counted(*given: Any) -> Any:
        made.append(given[1].name)
        return cut(*given)

    monkeypatch.setattr(crops, "crops", counted)
    with monkeypatch.context() as patch:
        patch.setattr(microscope._Work, "late", lambda work: bool(made))
        patch.setattr(microscope._Work, "_pictures", lambda *given: None)
        done = run("microscope", model, *images, "-o", tmp_path / "parts", *FEW, "--time", "10m")
    assert done.exit_code == 0, done.stderr
    first = set(made)
    assert len(first) == 1
    assert check(tmp_path / "parts") > 10
    # What is there is shown: of a unit without a picture the strongest crop.
    for page in (tmp_path / "parts" / "layers").glob("*/index.html"):
        assert ("crops-0.jpg" in page.read_text(encoding="utf-8")) == (page.parent / "crops-0.jpg").is_file()
    assert "crops-0.jpg" in (tmp_path / "parts" / "index.html").read_text(encoding="utf-8")
    missing = json.loads((tmp_path / "parts" / "manifest.json").read_text())["missing"]
    assert missing["survey"]["complete"] is False
    made.clear()
    assert run("microscope", model, *images, "-o", tmp_path / "parts", *FEW, "--resume").exit_code == 0
    assert made
    assert not first & set(made)
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")


def test_it_may_not_be_continued_with_other_options(run: Callable[..., Result], model: Path, tmp_path: Path) -> None:
    assert run("microscope", model, "-o", tmp_path, *FEW, "--units", "0", "--force").exit_code == 0
    done = run("microscope", model, "-o", tmp_path, *FEW, "--units", "0", "--seed", 1, "--resume")
    assert done.exit_code == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "other options" in done.stderr


def test_layers_and_units_can_be_chosen(run: Callable[..., Result], model: Path, tmp_path: Path) -> None:
    done = run("microscope", model, "-o", tmp_path / "site", *FEW, "--layer", "features", "--units", "0-1,3")
    assert done.exit_code == 0, done.stderr
    (folder,) = (tmp_path / "site" / "layers").iterdir()
    assert sorted(f.stem for f in folder.glob("*.html")) == ["0", "1", "3", "index"]


@pytest.mark.parametrize(
    ("asked", "words", "code"),
    [
        (("--layer", "featurs"), "nearest: 'features'", 1),
        (("--units", "a-b"), "is not a unit", 1),
        (("--units", "99999"), "no layer", 1),
        (("--time", "soon"), "is no time", 2),
        (("--shard", "3/2"), "is no part", 2),
    ],
)
def test_what_makes_no_sense_is_refused(
    asked: tuple[object, ...], words: str, code: int, run: Callable[..., Result], model: Path, tmp_path: Path
) -> None:
    done = run("microscope", model, "-o", tmp_path / "site", *FEW, *asked)
    assert done.exit_code == code
    assert words in done.stderr


@pytest.mark.parametrize(
    ("behind", "classes"),
    [
        ("f = Flatten (c)", "c"),
        ("f = Reshape (c, to)", "c"),
        ("s = Squeeze (c, axes) f = Identity (s)", "c"),
        ("r = Relu (c) p = GlobalAveragePool (r) f = Flatten (p)", "r"),
    ],
)
def test_classes_are_those_of_the_answer(
    run: Callable[..., Result], parse: Any, tmp_path: Path, behind: str, classes: str
) -> None:
    """The layer that computes them lies before what gives the scores another shape."""
    pool = "x" if "Global" in behind else "g"
    shape = "float[N, 3, H, W]" if "Global" in behind else "float[N, 3, 8, 8]"
    rng = np.random.default_rng(0)
    proto = parse(
        f"""
        m ({shape} x) => (float[N, 4] y)
        {{ a = Conv (x, w) g = GlobalAveragePool (a) c = Conv ({pool.replace("x", "a")}, v) {behind} y = Softmax (f) }}
        """,
        w=rng.normal(size=(5, 3, 3, 3)).astype(np.float32),
        v=rng.normal(size=(4, 5, 1, 1)).astype(np.float32),
        to=np.array([0, -1]),
        axes=np.array([2, 3]),
    )
    onnx.save(proto, tmp_path / "m.onnx")
    (tmp_path / "labels.txt").write_text("one\ntwo\nthree\nfour\n")
    layers = site_layers(onnxray.load(tmp_path / "m.onnx", size=(8, 8)), (), "")
    assert [layer.entry.last.output for layer in layers if layer.classes] == [classes]
    given = ("--labels", tmp_path / "labels.txt", "--size", "8x8", "-o", tmp_path / "site", *FEW)
    assert run("microscope", tmp_path / "m.onnx", *given).exit_code == 0
    index = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "<h2>Classes</h2>" in index
    assert "three" in index
    check(tmp_path / "site")


def test_names_are_shown_and_not_run(run: Callable[..., Result], parse: Any, tmp_path: Path) -> None:
    """Layers called alike, and as a script and a way out of the folder."""
    proto = parse(
        """
        m (float[N, 3, 16, 16] x) => (float[N, 2] y)
        { a = Conv (x, w) b = Conv (a, v) c = Conv (b, v) p = GlobalAveragePool (c) f = Flatten (p) y = Gemm (f, h) }
        """,
        w=np.ones((4, 3, 3, 3), np.float32),
        v=np.ones((4, 4, 3, 3), np.float32),
        h=np.ones((4, 2), np.float32),
    )
    names = ["<script>alert(1)</script>", "../../out", "..\\..//OUT"]
    for node, name in zip(proto.graph.node, names, strict=False):
        node.name = name
    path = tmp_path / "net.onnx"
    onnx.save(proto, path)
    (tmp_path / "net.card.json").write_text(
        '{"mean": 0, "std": 255, "labels": ["<img src=x onerror=alert(1)>", "</script>"]}'
    )
    done = run("microscope", path, "-o", tmp_path / "site", *FEW)
    assert done.exit_code == 0, done.stderr
    check(tmp_path / "site")
    for name, data in files_of(tmp_path / "site").items():
        if name.endswith((".html", ".js")):
            text = data.decode()
            assert "<script>alert" not in text
            assert "<img src=x" not in text
    assert "&lt;script&gt;alert(1)" in (tmp_path / "site" / "index.html").read_text()
    assert {f.name for f in tmp_path.iterdir()} == {"net.onnx", "net.card.json", "site"}
    assert len(list((tmp_path / "site" / "layers").iterdir())) == 4


def test_a_unit_that_nothing_drives_has_a_page(run: Callable[..., Result], parse: Any, tmp_path: Path) -> None:
    weights = np.ones((2, 3, 3, 3), np.float32)
    weights[1] = 0
    proto = parse("m (float[N, 3, 16, 16] x) => (float[N, 2, 14, 14] y) { y = Conv (x, w) }", w=weights)
    onnx.save(proto, tmp_path / "net.onnx")
    done = run("microscope", tmp_path / "net.onnx", "-o", tmp_path / "site", *FEW, "--mean", 0, "--std", 255)
    assert done.exit_code == 0, done.stderr
    check(tmp_path / "site")
    (page,) = (tmp_path / "site" / "layers").glob("*/1.html")
    assert "There is no optimised picture" in page.read_text()


def test_parts_join_to_the_whole_byte_for_byte(
    run: Callable[..., Result], model: Path, photos: Path, tmp_path: Path
) -> None:
    (photos / "broken.png").write_bytes(b"no image")
    whole = run("microscope", model, photos, "-o", tmp_path / "whole", *FEW)
    assert whole.exit_code == 1
    assert "1 of 1 images failed" in whole.stderr
    for n in (1, 2, 3):
        run("microscope", model, photos, "-o", tmp_path / f"part{n}", *FEW, "--shard", f"{n}/3")
        check(tmp_path / f"part{n}")
    run("merge", tmp_path / "part1", tmp_path / "part2", "-o", tmp_path / "some")
    missing = json.loads((tmp_path / "some" / "manifest.json").read_text())["missing"]
    assert any(found["done"] < found["of"] for found in missing["pictures"].values())
    assert missing["survey"]["complete"]
    assert json.loads((tmp_path / "part1" / "manifest.json").read_text())["complete"]
    parts = [tmp_path / f"part{n}" for n in (3, 1, 2)]
    done = run("merge", *parts, "-o", tmp_path / "joined")
    assert done.exit_code == 0, done.stderr
    assert files_of(tmp_path / "joined") == files_of(tmp_path / "whole")
    assert check(tmp_path / "joined") > 10


def test_parts_of_different_sites_are_not_joined(run: Callable[..., Result], model: Path, tmp_path: Path) -> None:
    for n, seed in ((1, 0), (2, 1)):
        more = ("--units", 0, "--shard", f"{n}/2", "--seed", seed)
        assert run("microscope", model, "-o", tmp_path / str(n), *FEW, *more).exit_code == 0
    done = run("merge", tmp_path / "1", tmp_path / "2", "-o", tmp_path / "joined")
    assert done.exit_code == 1
    assert "parts of different sites: different options" in done.stderr
    done = run("merge", tmp_path / "1", tmp_path, "-o", tmp_path / "joined")
    assert "holds no site" in done.stderr


def test_the_strongest_images_of_a_known_unit(run: Callable[..., Result], parse: Any, tmp_path: Path) -> None:
    """A unit that sees red: the red square is cut out, and it is what the class of the unit is about."""
    weights = np.zeros((2, 3, 1, 1), np.float32)
    weights[0, :, 0, 0] = 1, -1, -1
    weights[1, :, 0, 0] = -1, -1, 1
    proto = parse(
        """
        m (float[N, 3, 64, 64] x) => (float[N, 2] y)
        { a = Conv (x, w) r = Relu (a) q = AveragePool <kernel_shape = [16, 16], strides = [16, 16]> (r)
          p = GlobalMaxPool (q) f = Flatten (p) y = Gemm (f, h) }
        """,
        w=weights,
        h=np.eye(2, dtype=np.float32),
    )
    onnx.save(proto, tmp_path / "net.onnx")
    card = {"mean": 0, "std": 255, "labels": ["red", "blue"], "resize": "stretch"}
    (tmp_path / "net.card.json").write_text(json.dumps(card))
    pixels = np.full((64, 64, 3), 90, np.uint8)
    for name, channel in (("a red", 0), ("b blue", 2)):
        image = pixels.copy()
        image[16:32, 32:48] = 0
        image[16:32, 32:48, channel] = 255
        write(tmp_path / "photos" / f"{name}.png", image)
    done = run("microscope", tmp_path / "net.onnx", tmp_path / "photos", "-o", tmp_path / "site", *FEW)
    assert done.exit_code == 0, done.stderr
    site = site_view(tmp_path / "site")
    colours = site.layers[0]
    for unit, name in ((0, "a red.png"), (1, "b blue.png")):
        best = colours.by_number[unit].numbers["strongest"][0]
        assert site.images[best["image"]].name == name
        assert best["value"] == pytest.approx(1)
        top, left, bottom, right = (64 * share for share in best["box"])
        assert 16 <= top < bottom <= 32
        assert 32 <= left < right <= 48
        sprite = colours.by_number[unit].crops[0]
        sheet = read(tmp_path / "site" / sprite.file)
        height, width = sprite.tile
        tile = sheet[sprite.row * height :][:height, sprite.column * width :][:, :width]
        assert abs(tile.reshape(-1, 3).mean(axis=0) - np.eye(3)[2 * unit] * 255).max() < 12
        speaks = colours.by_number[unit].numbers["classes"]
        assert speaks[0][0] == unit
        assert speaks[0][1] > 0
        assert [link[:2] for link in site.class_layer.by_number[unit].links["in"]] == [[0, unit]]


@pytest.mark.parametrize(("content", "words"), [(None, "no image"), (b"text", "none of the 1 images can be read")])
def test_without_an_image_that_can_be_read_one_line_says_so(
    content: bytes | None, words: str, run: Callable[..., Result], model: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    if content:
        (tmp_path / "photos" / "a.png").write_bytes(content)
    for more in ((), ("--time", "10m")):
        done = run("microscope", model, tmp_path / "photos", "-o", tmp_path / "site", *FEW, *more, "--force")
        assert done.exit_code == 1
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert not list((tmp_path / "site").glob("layers/*/*.jpg"))  # before any picture is made


def test_a_full_disk_is_one_line(run: Callable[..., Result], model: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    done = run("microscope", model, "-o", tmp_path / "site", *FEW)
    assert done.exit_code == 1
    assert "No space left on device" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    monkeypatch.undo()
    assert run("microscope", model, "-o", tmp_path / "site", *FEW, "--resume").exit_code == 0
    assert check(tmp_path / "site") > 10


def test_the_site_of_another_model_is_left_alone(
    run: Callable[..., Result], model: Path, parse: Any, tmp_path: Path
) -> None:
    assert run("microscope", model, "-o", tmp_path / "site", *FEW, "--units", 0).exit_code == 0
    before = files_of(tmp_path / "site")
    proto = parse(
        "m (float[N, 3, 16, 16] x) => (float[N, 2, 14, 14] y) { y = Conv (x, w) }", w=np.ones((2, 3, 3, 3), np.float32)
    )
    onnx.save(proto, tmp_path / "other.onnx")
    for more in ((), ("--resume",)):
        done = run(
            "microscope", tmp_path / "other.onnx", "-o", tmp_path / "site", *FEW, "--mean", 0, "--std", 255, *more
        )
        assert done.exit_code == 1
        assert "another model" in done.stderr or "another run" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert files_of(tmp_path / "site") == before


def test_python_and_the_command_line_make_the_same(
    run: Callable[..., Result], model: Path, photos: Path, tmp_path: Path
) -> None:
    index = onnxray.microscope(model, photos, out=tmp_path / "python", units="0-1", steps=2, picture_size=32)
    assert index == tmp_path / "python" / "index.html"
    assert run("microscope", model, photos, "-o", tmp_path / "command", *FEW, "--units", "0-1").exit_code == 0
    assert files_of(tmp_path / "python") == files_of(tmp_path / "command")


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on(model: Path, photos: Path, tmp_path: Path, run: Callable[..., Result]) -> None:
    """Whatever is on disk then is whole, and the end is what it would have been: ONNXRAY_KILLS times, by default 4."""
    work = ("microscope", model, photos, "--steps", 6, "--picture-size", 32, "-q")
    assert run(*work, "-o", tmp_path / "whole").exit_code == 0
    often = "microscope._EVERY, microscope._TIMES = 0.3, 0.0"  # pages are written again and again
    program = f"from onnxray.cli.tasks import microscope; {often}; from onnxray.cli.main import main; main()"
    command = [sys.executable, "-c", program, *work, "-o", tmp_path / "site", "--resume"]
    moments, kills = random.Random(3), int(os.environ.get("ONNXRAY_KILLS", "4"))
    while kills:
        process = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(moments.uniform(1.0, 6.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills -= 1
            check(tmp_path / "site", entered=(tmp_path / "site" / "index.html").is_file())
        else:  # it was faster: once more from the start
            assert process.returncode == 0
            assert files_of(tmp_path / "site") == files_of(tmp_path / "whole")
            shutil.rmtree(tmp_path / "site")
    assert run(*work, "-o", tmp_path / "site", "--resume").exit_code == 0
    assert files_of(tmp_path / "site") == files_of(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("size", ["48k", "120k", "240k"])
def test_a_disk_that_fills_up(run: Callable[..., Result], model: Path, photos: Path, tmp_path: Path, size: str) -> None:
    """A real file system of that size: one line, nothing broken; with more room the run goes on to the same end."""
    disk, work = tmp_path / "disk", ("microscope", model, photos, *FEW)
    disk.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("no right to mount a file system")
    try:
        done = run(*work, "-o", disk / "site")
        assert done.exit_code == 1
        assert "No space left on device" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        check(disk / "site", entered=(disk / "site" / "index.html").is_file())
        subprocess.run([mount, "-o", "remount,size=64m", disk], check=True)
        assert run(*work, "-o", disk / "site", "--resume").exit_code == 0
        assert run(*work, "-o", tmp_path / "whole").exit_code == 0
        assert files_of(disk / "site") == files_of(tmp_path / "whole")
    finally:
        subprocess.run(["umount", disk], check=True)
