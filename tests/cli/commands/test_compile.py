"""`onnxray compile`: the file, the Triton model, and the page, which runs in a real browser where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result

import onnxray
from onnxray.cli.files.images import read
from onnxray.cli.pages.browser_page import FILES, VERSION
from onnxray.engine.inference.session import run as run_model
from onnxray.tests.cli.commands.javascript import EXAMPLE, modules, program, served

__all__ = ["served"]

HERE = Path(__file__).parent


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """A folder that looks like the npm package."""
    folder = tmp_path / "modules" / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    for name in FILES:
        (folder / "dist" / name).write_text(f"// {name}")
    return folder


def test_writes_a_model_that_explains_itself(run: Callable[..., Result], model: Path, tmp_path: Path) -> None:
    out = tmp_path / "explained.onnx"
    result = run("compile", model, "--method", "grad-cam", "--layer", "features", "--out", out, "--json", "-q")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["method"], told["layer"], told["out"]) == ("grad-cam", "features", str(out))
    proto = onnx.load(out)
    onnx.checker.check_model(proto, full_check=True)
    assert [v.name for v in proto.graph.output] == ["logits", "saliency_map"]


def test_options_of_the_method_and_the_range(run: Callable[..., Result], model: Path, tmp_path: Path) -> None:
    out = tmp_path / "explained.onnx"
    arguments = ["--method", "smoothgrad", "--option", "samples=2", "--option", "noise=0.1", "--normalize", "uint8"]
    result = run("compile", model, *arguments, "--target", "blue", "--out", out, "-q")
    assert result.exit_code == 0, result.stderr
    note = json.loads(onnxray.load(out).metadata["onnxray.compile"])
    assert note["options"] == {"samples": 2, "noise": 0.1, "seed": 0}
    assert (note["target"], note["normalize"]) == ("blue", "uint8")


def test_preprocessing_takes_the_image_as_it_is(
    run: Callable[..., Result], model: Path, photo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "explained.onnx"
    result = run("compile", model, "--preprocess", "--out", out, "-q")
    assert result.exit_code == 0, result.stderr
    image = read(photo)
    found = run_model(onnxray.load(out), {"image": image})["saliency_map"][0, 0]
    expected = onnxray.explain(onnxray.load(model), image).heatmap
    assert found.shape == image.shape[:2]
    assert np.abs(found - expected).max() <= 0.05 * np.abs(expected).max()  # a pixel level here and there
    several = run("compile", model, "--preprocess", "nhwc", "--out", tmp_path / "n.onnx", "-q", "--json")
    assert json.loads(several.stdout)["inputs"] == ["image: uint8 [N, height, width, 3]"]


def test_a_triton_model(run: Callable[..., Result], model: Path, tmp_path: Path) -> None:
    result = run("compile", model, "--target", "runtime", "--triton", tmp_path / "repository", "-q")
    assert result.exit_code == 0, result.stderr
    folder = tmp_path / "repository" / "small"
    assert 'name: "target_class"' in (folder / "config.pbtxt").read_text()
    served = onnxray.load(folder / "1" / "model.onnx")
    assert [v.name for v in served.inputs] == ["image", "target_class"]


def test_a_page(run: Callable[..., Result], model: Path, runtime: Path, tmp_path: Path) -> None:
    labels = '["</script><script>alert(1)</script>", "green", "blue", "gray", "none"]'
    model.with_name("small.card.json").write_text(f'{{"mean": 127.5, "std": 127.5, "labels": {labels}}}')
    site = tmp_path / "site"
    result = run("compile", model, "--html", site, "--web-runtime", runtime, "-q")
    assert result.exit_code == 0, result.stderr
    assert {p.relative_to(site).as_posix() for p in site.rglob("*") if p.is_file()} == {
        "index.html",
        "model.onnx",
        *(f"ort/{name}" for name in FILES),
    }
    text = (site / "index.html").read_text(encoding="utf-8")
    assert text.count("<script") == 2
    assert "alert(1)</script>" not in text
    assert "://" not in text, "the page must not load anything from elsewhere"
    again = run("compile", model, "--html", site, "--web-runtime", runtime, "-q")
    assert again.exit_code == 1
    assert "--force" in again.stderr


@pytest.mark.parametrize("name", ["{facts}", "{about}", "{title}", "a{title}{facts}b", "\\\\1"])
def test_a_name_like_a_mark_of_the_page_is_only_a_name(
    run: Callable[..., Result], model: Path, runtime: Path, tmp_path: Path, name: str
) -> None:
    file = model.with_name(f"{name}.onnx")
    file.write_bytes(model.read_bytes())
    done = run("compile", file, "--html", tmp_path / "page", "--web-runtime", runtime, "-q")
    assert done.exit_code == 0, done.stderr
    page = (tmp_path / "page" / "index.html").read_text("utf-8")
    assert f"<title>{name}</title>" in page


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "--out FILE"),
        (["--out", "x.onnx", "--web-runtime", "."], 2, "--html"),
        (["--out", "x.onnx", "--option", "samples"], 2, "NAME=VALUE"),
        (["--out", "x.onnx", "--option", "samples=2"], 2, "no option of grad-cam named 'samples'"),
        (["--out", "x.onnx", "--method", "gradcan"], 2, "nearest: 'grad-cam'"),
        (["--out", "x.onnx", "--method", "score-cam"], 1, "cannot be compiled"),
        (["--out", "x.onnx", "--target", "purple"], 1, "label"),
        (["--html", "site", "--web-runtime", "."], 1, "npm install onnxruntime-web@"),
    ],
)
def test_what_is_refused(
    run: Callable[..., Result],
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("compile", model, *arguments, "-q")
    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert not (tmp_path / "x.onnx").exists()
    assert not (tmp_path / "site").exists()


def test_nothing_is_replaced_unasked(run: Callable[..., Result], model: Path, tmp_path: Path) -> None:
    out = tmp_path / "explained.onnx"
    out.write_text("mine")
    assert run("compile", model, "--out", out, "-q").exit_code == 1
    assert out.read_text() == "mine"
    assert run("compile", model, "--out", out, "--force", "-q").exit_code == 0


# --- the browser and Node ---


@pytest.mark.slow
def test_the_page_explains_in_chromium(
    run: Callable[..., Result], model: Path, photo: Path, served: str, tmp_path: Path
) -> None:
    node, chromium = program("node"), program("chromium", "chromium-browser", "google-chrome")
    installed = modules("onnxruntime-web", "playwright-core")
    package = json.loads((installed / "node_modules" / "onnxruntime-web" / "package.json").read_text())
    assert package["version"] == VERSION
    site = tmp_path / "site"
    web = installed / "node_modules" / "onnxruntime-web"
    made = run("compile", model, "--target", "runtime", "--html", site, "--web-runtime", web, "-q")
    assert made.exit_code == 0, made.stderr
    shutil.copy(photo, site / "photo.png")
    command = [node, HERE / "browser.mjs", installed / "node_modules", chromium, f"{served}/site/?image=photo.png", "3"]
    ran = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=500)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["first"]["state"] == "done", told
    assert not told["errors"]
    assert all(url.startswith((f"{served}/", "blob:")) for url in told["asked"]), told["asked"]

    image, source = read(photo), onnxray.load(model)
    compiled = onnxray.compile(source, target="runtime", preprocess=True, normalize="uint8")
    for shown, target in ((told["first"], -1), (told["second"], 3)):
        found = run_model(compiled, {"image": image, "target_class": np.array([target])})
        powers = np.exp(found["logits"][0] - found["logits"][0].max())
        probabilities = powers / powers.sum()
        assert shown["classes"] == np.argsort(-probabilities, kind="stable")[:5].tolist()
        np.testing.assert_allclose(shown["scores"], np.sort(probabilities)[::-1][:5], atol=2e-3)
        heat = found["saliency_map"][0, 0]
        x, y = (int(word.strip("xy.,")) for word in shown["hottest"].split() if word.strip("xy.,").isdigit())
        assert heat[y, x] >= heat.max() - 2
    assert told["first"]["names"][0] in ("red", "green", "blue", "gray", "none")


@pytest.mark.slow
def test_the_node_example(run: Callable[..., Result], model: Path, photo: Path, tmp_path: Path) -> None:
    node, installed = program("node"), modules("onnxruntime-node")
    compiled = tmp_path / "explained.onnx"
    arguments = ["--preprocess", "--normalize", "uint8", "--target", "runtime", "--out", compiled]
    assert run("compile", model, *arguments, "-q").exit_code == 0
    image = read(photo)
    (tmp_path / "photo.ppm").write_bytes(b"P6\n%d %d\n255\n" % image.shape[1::-1] + image.tobytes())
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    (folder / "node_modules").symlink_to(installed / "node_modules")
    command = [node, folder / "heatmap.mjs", compiled, tmp_path / "photo.ppm", tmp_path / "heat.pgm"]
    ran = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    expected = run_model(onnxray.load(compiled), {"image": image})["saliency_map"][0, 0]
    data = (tmp_path / "heat.pgm").read_bytes()
    head = b"P5\n%d %d\n255\n" % expected.shape[::-1]
    assert data.startswith(head)
    found = np.frombuffer(data[len(head) :], np.uint8).reshape(expected.shape)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert f"{expected.shape[1]} x {expected.shape[0]}" in ran.stdout


def test_the_example_and_the_page_pin_one_version() -> None:
    assert json.loads((EXAMPLE / "package.json").read_text())["dependencies"] == {"onnxruntime-node": VERSION}
    tested = json.loads((HERE.parent / "package.json").read_text())["dependencies"]
    assert (tested["onnxruntime-node"], tested["onnxruntime-web"]) == (VERSION, VERSION)
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in tested.values())


@pytest.mark.parametrize(
    "asked", [("--dream", "features", "-O", "jitter=2"), ("--visualize", "features:3", "--size", 24)]
)
def test_a_file_that_optimises_an_image(
    asked: tuple[object, ...], run: Callable[..., Result], model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "loop.onnx"
    done = run("compile", model, *asked, "--out", file, "--json", "-q")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert told["method"] == str(asked[0]).removeprefix("--")
    start = np.random.default_rng(0).uniform(0.4, 0.6, (1, 3, 24, 24)).astype(np.float32)
    found = run_model(onnxray.load(file), {"image": start, "steps": np.array([4])})
    assert found["picture"].shape == start.shape
    assert (found["picture"] != start).any()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("--dream", "featurs"), "nearest: 'features'"),
        (("--dream", "features", "-m", "lrp"), "explains nothing"),
        (("--dream", "features", "--visualize", "features:1"), "either visualizes or dreams"),
        (("--visualize", "features"), "neither LAYER:CHANNEL nor an objective"),
        (("--visualize", "features:99"), "has channels 0 to"),
        (("--dream", "features", "-O", "rate=fast"), "the option rate of dream cannot be 'fast'"),
    ],
)
def test_what_a_file_that_optimises_cannot_be(
    asked: tuple[object, ...], words: str, run: Callable[..., Result], model: Path, tmp_path: Path
) -> None:
    done = run("compile", model, *asked, "--out", tmp_path / "loop.onnx")
    assert words in done.stderr
    assert done.exit_code == 1
    assert len(done.stderr.strip().splitlines()) == 1
