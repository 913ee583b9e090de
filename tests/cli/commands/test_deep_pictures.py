"""Commands on pictures of 12 bits and of five bands: as in Python, with the bands that the card displays."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import tifffile
from click.testing import CliRunner, Result

import onnxray
from onnxray.cli.files.arrays import fed
from onnxray.cli.files.images import read
from onnxray.cli.main import main
from onnxray.engine.preprocess.geometry import place
from onnxray.engine.survey.health import load_health
from onnxray.engine.survey.top import load_top
from onnxray.engine.top import Looks, pixel_slices
from onnxray.kernels import render as kernels_render

Run = Callable[..., Result]

BANDS = """
g (float[N, 5, 16, 16] x) => (float[N, 3] logits) {
  c = Conv <pads = [1, 1, 1, 1]> (x, w)
  r = Relu (c)
  p = GlobalAveragePool (r)
  f = Flatten (p)
  logits = MatMul (f, v)
}
"""
GRAY = BANDS.replace("N, 5", "N, 1")


@pytest.fixture
def small(tmp_path: Path, parse: Callable[..., onnx.ModelProto]) -> Callable[..., Path]:
    """small(text, card) -> a file with its card beside it; weights are random, the same each time."""

    def make(text: str, **card: Any) -> Path:
        rng = np.random.default_rng(0)
        channels = 5 if "N, 5" in text else 1
        w = rng.normal(0, 1, (4, channels, 3, 3)).astype(np.float32)
        path = tmp_path / f"m{channels}.onnx"
        weights = {"w": w, "v": rng.normal(0, 1, (4, 3)).astype(np.float32)}
        path.write_bytes(parse(text, **weights).SerializeToString())
        path.with_suffix(".card.json").write_text(json.dumps(card))
        return path

    return make


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A 12-bit picture in a 16-bit file."""
    y, x = np.mgrid[0:24, 0:20]
    path = tmp_path / "scan.png"
    cv2.imwrite(str(path), (1500 + 2500 * np.exp(-((y - 8) ** 2 + (x - 14) ** 2) / 9)).clip(0, 4095).astype(np.uint16))
    return path


CUBE = np.random.default_rng(2).normal(500, 200, (24, 20, 5)).clip(0, 4000).astype(np.uint16)


@pytest.fixture(params=["tif", "npy"])
def cube(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"cube.{request.param}"
    if request.param == "npy":
        np.save(path, CUBE)
    else:
        tifffile.imwrite(path, np.moveaxis(CUBE, 2, 0), photometric="minisblack")
    return path


def manifest_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("command", ["explain", "activations", "top", "health"])
def test_few_bits_are_an_error_with_the_remedy(
    run: Run, small: Callable[..., Path], scan: Path, tmp_path: Path, command: str
) -> None:
    done = run(command, small(GRAY), scan, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "give --bits 12 or --window LOW,HIGH" in done.stderr
    assert run(command, small(GRAY), scan, "--bits", 12, "--out", tmp_path / "out2").exit_code == 0
    assert run(command, small(GRAY, window=[1000, 4000]), scan, "--out", tmp_path / "out3").exit_code == 0


def test_predict_reads_few_bits_as_12_and_says_so(run: Run, small: Callable[..., Path], scan: Path) -> None:
    """A folder of one camera's pictures is read alike, whatever each holds; Python does the same."""
    silent = small(GRAY)
    done = run("predict", silent, scan, "--json")
    assert done.exit_code == 0
    assert "is read as 12 bits" in done.stderr
    assert "--bits 12" in done.stderr
    want = json.loads(run("predict", silent, scan, "--json", "--bits", 12).stdout)["images"][0]["top"]
    got = json.loads(done.stdout)["images"][0]["top"]
    assert [guess["index"] for guess in got] == [guess["index"] for guess in want]
    np.testing.assert_allclose([guess["raw"] for guess in got], [guess["raw"] for guess in want], rtol=1e-3)
    pixels = cv2.imread(str(scan), cv2.IMREAD_UNCHANGED)
    for given in (pixels, [pixels, pixels // 8]):
        with pytest.warns(UserWarning, match="is read as 12 bits.*bits=12"):
            found = onnxray.predict(silent, given)
        known = onnxray.predict(silent, given, bits=12)
        for ours, theirs in zip(np.ravel(found), np.ravel(known), strict=True):
            assert ours.index == theirs.index
            assert abs(ours.probability - theirs.probability) < 1e-3


def test_the_map_of_a_12_bit_picture(run: Run, small: Callable[..., Path], scan: Path, tmp_path: Path) -> None:
    model, out = small(GRAY, bits=12, mean=127.5, std=127.5), tmp_path / "out"
    done = run("explain", model, scan, "-m", "gradient,grad-cam", "-o", out, "--alpha", 0)
    assert (done.exit_code, done.stdout) == (0, f"{out}\n")
    assert "the model was given 12 bits; what lies under the map shows them in 8 bits" in done.stderr
    pixels = cv2.imread(str(scan), cv2.IMREAD_UNCHANGED)
    seen = np.rint(pixels * (255 / 4095)).astype(np.uint8)
    for given in (scan, pixels, np.repeat(pixels[..., None], 3, axis=2)):
        e = onnxray.explain(model, given, "gradient")
        np.testing.assert_allclose(np.load(out / "scan" / "gradient.npy"), e.values, rtol=1e-3, atol=1e-6)
        assert e.image is not None
        np.testing.assert_array_equal(e.image[..., 0], seen)
    np.testing.assert_array_equal(read(out / "scan" / "gradient-overlay.png")[..., 0], seen)
    card = manifest_of(out)["card"]
    assert card["bits"] == 12


NAMED: dict[str, Any] = {
    "bands": ["b", "g", "r", "n", "s"],
    "order": ["r", "g", "b", "n", "s"],
    "display": ["r", "g", "b"],
    "window": [0, 1000],
}


def test_five_bands(run: Run, small: Callable[..., Path], cube: Path, tmp_path: Path) -> None:
    model, out = small(BANDS, **NAMED, mean=[1, 2, 3, 4, 5], std=100), tmp_path / "out"
    done = run("explain", model, cube, "-m", "gradient,occlusion,grad-cam", "-o", out, "--alpha", 0)
    assert done.exit_code == 0, done.output
    seen = np.rint(np.clip(CUBE[..., [2, 1, 0]] / 1000, 0, 1) * 255).astype(np.uint8)
    for given in (cube, CUBE):
        e = onnxray.explain(model, given, "gradient")
        np.testing.assert_array_equal(np.load(out / "cube" / "gradient.npy"), e.values)
        assert e.values.shape == (5, 16, 16)
        np.testing.assert_array_equal(e.image, seen)
        assert e.heatmap.shape == (24, 20)
    answer = onnxray.predict(model, CUBE)
    found = json.loads(run("predict", model, cube, "--json").stdout)["images"][0]
    assert found["top"][0]["probability"] == pytest.approx(answer.probability)
    done = run("activations", model, cube, "-o", tmp_path / "maps")
    assert done.exit_code == 0, done.output
    want = onnxray.activations(model, CUBE, "c")["c"]
    assert np.isfinite(want).all()


def test_floats_in_their_own_units(run: Run, small: Callable[..., Path], tmp_path: Path) -> None:
    model = small(BANDS, window="none", mean=500, std=200)
    np.save(tmp_path / "f.npy", CUBE.astype(np.float32))
    done = run("explain", model, tmp_path / "f.npy", "-m", "gradient", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    e = onnxray.explain(model, CUBE.astype(np.float32), "gradient")
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "f" / "gradient.npy"), e.values)
    tensor = ((CUBE.astype(np.float32) - 500) / 200).transpose(2, 0, 1)[None, :, :16, :16]
    assert onnxray.explain(model, tensor, "gradient").image is not None


def test_the_report_and_the_page(run: Run, small: Callable[..., Path], tmp_path: Path) -> None:
    model, cube = small(BANDS, **NAMED), tmp_path / "cube.tif"
    tifffile.imwrite(cube, np.moveaxis(CUBE, 2, 0), photometric="minisblack")
    done = run("demo", model, cube, "-o", tmp_path / "report")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "report" / "index.html").exists()
    done = run("compile", model, "--page", tmp_path / "page")
    assert done.exit_code != 0
    assert run("compile", model, "--preprocess", "-o", tmp_path / "c.onnx").exit_code == 0


def test_few_bits_from_stdin_are_an_error_too(small: Callable[..., Path], scan: Path, tmp_path: Path) -> None:
    data = scan.read_bytes()
    stream = struct.pack(">I", len(data)) + data
    for options, code in ((["-o", "a"], 1), (["-o", "b", "--bits", "12"], 0)):
        options[1] = str(tmp_path / options[1])
        arguments = ["explain", str(small(GRAY)), "-", "-m", "gradient", *options]
        done = CliRunner(catch_exceptions=False).invoke(main, arguments, input=stream)
        assert done.exit_code == code, done.output
        assert ("give --bits 12 or --window LOW,HIGH" in done.stderr) is bool(code)
    e = onnxray.explain(small(GRAY), scan, "gradient", bits=12)
    (made,) = (tmp_path / "b").glob("stdin*/gradient.npy")
    np.testing.assert_array_equal(np.load(made), e.values)


def test_the_report_of_one_picture_has_all_bits(
    run: Run, small: Callable[..., Path], scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's picture is what the card shows; what runs is what `explain` runs."""
    done = run("report", small(GRAY), scan, "-o", tmp_path / "a.html")
    assert done.exit_code == 1
    assert "give --bits 12 or --window LOW,HIGH" in done.stderr
    drawn: list[np.ndarray] = []
    original = kernels_render.render

    def render(heat: np.ndarray, image: np.ndarray, *args: Any, **options: Any) -> np.ndarray:
        drawn.append(image)
        return original(heat, image, *args, **options)

    monkeypatch.setattr(kernels_render, "render", render)
    done = run("report", small(GRAY, bits=12), scan, "-o", tmp_path / "b.html")
    assert done.exit_code == 0, done.output
    assert drawn
    seen = np.rint(cv2.imread(str(scan), cv2.IMREAD_UNCHANGED) * (255 / 4095))
    for image in drawn:
        if image.shape[:2] == seen.shape:
            np.testing.assert_array_equal(image, np.repeat(seen[..., None], 3, axis=2))
        else:  # enlarged to the nearest pixel
            assert np.array_equal(np.unique(image), np.unique(seen))


def test_a_picture_given_to_an_input_by_name_has_all_bits(small: Callable[..., Path], scan: Path) -> None:
    found = fed([f"x={scan}"], onnxray.load(small(GRAY, bits=12)))["x"]
    np.testing.assert_array_equal(found, cv2.imread(str(scan), cv2.IMREAD_UNCHANGED))


def test_dreams_begin_with_all_bits_and_bands(small: Callable[..., Path], scan: Path) -> None:
    pixels = cv2.imread(str(scan), cv2.IMREAD_UNCHANGED)
    fixed = {"steps": 0, "octaves": 1, "jitter": 0, "blurs": ()}
    made = onnxray.dream(small(GRAY, bits=12, mean=20, std=3), scan, "c", **fixed)
    np.testing.assert_allclose(made.pictures[0, 0], pixels / 4095, atol=1e-5)
    card = {**NAMED, "window": [0, 1000], "mean": 30, "std": 7}
    made = onnxray.dream(small(BANDS, **card), CUBE, "c", **fixed)
    want = np.clip(CUBE[..., [2, 1, 0, 3, 4]] / 1000, 0, 1).transpose(2, 0, 1)
    np.testing.assert_allclose(made.pictures[0], want, atol=1e-5)
    np.testing.assert_allclose(made.images[0], want[:3].transpose(1, 2, 0) * 255, atol=0.51)
    units = onnxray.dream(small(BANDS, window="none", mean=500, std=200), CUBE.astype(np.uint16), "c", **fixed)
    np.testing.assert_allclose(units.pictures[0, 4], np.clip((CUBE[..., 4] - 500.0) / 800 + 0.5, 0, 1), atol=1e-5)


def test_a_picture_without_the_bands(run: Run, small: Callable[..., Path], photo: Path, tmp_path: Path) -> None:
    done = run("explain", small(BANDS, **NAMED), photo, "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "the card names band 4, counted from 0, but the picture has 3" in done.stderr


@pytest.mark.parametrize("numbers", [np.uint16, np.float32])
def test_units_of_a_model_of_bands(run: Run, small: Callable[..., Path], tmp_path: Path, numbers: type) -> None:
    """Values, heat and health are those of the picture that the model sees, not of what is shown of it."""
    model = small(BANDS, window="none", mean=500, std=200)
    cubes = [np.roll(CUBE, n, 0).astype(numbers) for n in range(3)]
    for n, cube in enumerate(cubes):
        np.save(tmp_path / f"{n}.npy", cube)
    files, options = [tmp_path / f"{n}.npy" for n in range(3)], ("--layer", "c", "-q")
    done = run("top", model, *files, *options, "-o", tmp_path / "top", "-k", 2, "--project", "deconvnet")
    assert done.exit_code == 0, done.stderr
    maps = onnxray.activations(model, cubes, "c")["c"]
    units = json.loads((tmp_path / "top" / "units.json").read_text())["layers"]["c"]
    for unit, entry in enumerate(units):
        want = np.sort(maps[:, unit].max((1, 2)))[:0:-1]
        np.testing.assert_allclose([e["value"] for e in entry["strongest"]], want, rtol=1e-5)
    example = load_top(tmp_path / "top" / "result").strongest("c", 1)[0]
    n, looks = int(Path(example.image.name).stem), Looks(onnxray.load(model), "c")
    look = looks.look("c", 1, example, cubes[n], project=("deconvnet",))
    heat = place(looks.card, CUBE.shape[:2]).to_image(maps[n, 1], fill=np.nan)
    assert look.heat is not None
    np.testing.assert_allclose(look.heat, heat[pixel_slices(example.box, CUBE.shape[:2])], rtol=1e-4, atol=1e-4)
    assert look.crop.shape == look.projections["deconvnet"].shape == (*look.heat.shape, 3)
    done = run("health", model, *files, *options, "-o", tmp_path / "health")
    assert done.exit_code == 0, done.stderr
    found = load_health(tmp_path / "health" / "result").layer("c")
    np.testing.assert_allclose(found.mean, maps.mean((0, 2, 3)), rtol=1e-5, atol=1e-5)
