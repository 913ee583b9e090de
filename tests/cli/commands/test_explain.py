"""`onnxray explain`: what it writes, that the maps are the engine's, that runs are repeatable and can go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from click.testing import Result

import onnxray
from onnxray.cli.files.images import read, write
from onnxray.cli.parameters.methods import PATIENT, listing
from onnxray.engine.errors import MethodError
from onnxray.engine.methods.registry import methods, options_of
from onnxray.tests.rounding import ROUNDING, apart

Run = Callable[..., Result]


def manifest_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refused(done: Result, *words: str, code: int = 1) -> None:
    assert done.exit_code == code, done.output
    (line,) = [line for line in done.stderr.splitlines() if "error: " in line]
    for word in words:
        assert word in line


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_the_files_of_one_image(run: Run, model: Path, photo: Path, out: Path) -> None:
    done = run("explain", model, photo, "--out", out, "--method", "grad-cam,gradient")
    assert (done.exit_code, done.stdout) == (0, f"{out}\n")
    manifest = manifest_of(out)
    (image,) = manifest["images"]
    names = [f"ramp/{m}{e}" for m in ("grad-cam", "gradient") for e in (".npy", "-heatmap.png", "-overlay.png")]
    assert image["files"] == [*names, "ramp/sheet.png"]
    assert set(contents(out)) == {"manifest.json", *image["files"]}
    for entry in image["maps"]:
        e = onnxray.explain(model, photo, entry["method"])
        stored = np.load(out / entry["files"][0])
        assert stored.dtype == np.float32
        assert np.array_equal(stored, e.values)
        assert np.array_equal(read(out / entry["files"][1]), e.picture())
        assert np.array_equal(read(out / entry["files"][2]), e.overlay(0.6))
        assert entry["target"] == {"asked": "predicted", "explained": str(e.target), "label": e.label}
        assert entry["score"] == pytest.approx(e.score)
        assert entry["probability"] == pytest.approx(e.probability)
        assert (entry["display"]["lowest"], entry["display"]["highest"]) == pytest.approx(e.range)
        assert entry["layer"] == e.layer
    assert image["geometry"]["original"] == [40, 56]
    assert manifest["options"]["methods"] == {"grad-cam": {}, "gradient": {}}
    assert manifest["command"] == "explain"


def test_score_and_probability_mean_the_same_in_predict_and_explain(
    run: Run, model: Path, photo: Path, out: Path
) -> None:
    (image,) = json.loads(run("predict", model, photo, "--json").stdout)["images"]
    assert run("explain", model, photo, "--out", out, "-m", "gradient", "-t", "top:3").exit_code == 0
    for guess, entry in zip(image["top"], manifest_of(out)["images"][0]["maps"], strict=False):
        assert entry["target"]["label"] == f"{guess['label']} ({guess['index']})"
        assert entry["score"] == pytest.approx(guess["raw"], rel=1e-5)
        assert entry["probability"] == pytest.approx(guess["probability"], rel=1e-5)


def test_that_line_stays_short_with_many_methods(run: Run, model: Path, photo: Path, out: Path) -> None:
    methods = "grad-cam,hires-cam,layer-cam,xgrad-cam,gradient,input-x-gradient,deconvnet,guided-backprop"
    result = run("explain", model, photo, "-m", methods, "--out", out, "--format", "sheet")
    (line,) = [line for line in result.stderr.splitlines() if "sheet.png" in line]
    assert "; 4 more; " in line


def test_a_line_on_stderr_says_what_came_out(run: Run, model: Path, photo: Path, out: Path) -> None:
    done = run("explain", model, photo, "--out", out, "-m", "grad-cam")
    e = onnxray.explain(model, photo)
    assert done.stdout == f"{out}\n"
    assert done.stderr == f"onnxray: ramp.png: {e.label}, {e.score_text}, grad-cam at {e.layer}; {out}/ramp/sheet.png\n"
    assert run("explain", model, photo, "--out", out, "--force", "--quiet").stderr == ""


def test_warnings_come_once_in_the_words_of_the_command_line(
    run: Run, cnn: onnx.ModelProto, photo: Path, tmp_path: Path
) -> None:
    onnx.save(cnn, tmp_path / "bare.onnx")
    done = run("explain", tmp_path / "bare.onnx", photo, "--out", tmp_path / "out", "-m", "grad-cam,gradient,lrp")
    said = [line for line in done.stderr.splitlines() if "ImageNet" in line]
    assert len(said) == 1
    assert "--mean" in said[0]
    assert "mean=" not in done.stderr


def test_the_same_run_writes_the_same_bytes(run: Run, model: Path, photos: Path, tmp_path: Path) -> None:
    arguments = ("explain", model, photos, "-m", "smoothgrad,recipro-cam", "-O", "samples=3", "--threshold", 0.4)
    for name in ("a", "b"):
        assert run(*arguments, "--out", tmp_path / name).exit_code == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_an_interrupted_run_goes_on_to_the_same_files(
    run: Run, model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("explain", model, photos, "-m", "gradient,grad-cam", "-t", "top:2")
    assert run(*arguments, "--out", tmp_path / "whole").exit_code == 0
    import onnxray.cli.files.images

    true, seen = onnxray.cli.files.images.read_bytes, []

    def interrupted(path: Path, *rest: Any) -> Any:
        seen.append(path)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return true(path, *rest)

    monkeypatch.setattr(onnxray.cli.files.images, "read_bytes", interrupted)
    assert run(*arguments, "--out", tmp_path / "parts").exit_code == 130
    monkeypatch.setattr(onnxray.cli.files.images, "read_bytes", true)
    part = manifest_of(tmp_path / "parts")
    assert not part["complete"]
    assert len(part["images"]) == 1
    refused(run(*arguments, "--out", tmp_path / "parts"), "--force")
    refused(run(*arguments, "-t", "1", "--out", tmp_path / "parts", "--resume"), "other options")
    stamp = (tmp_path / "parts" / part["images"][0]["files"][0]).stat().st_mtime_ns
    assert run(*arguments, "--out", tmp_path / "parts", "--resume").exit_code == 0
    assert (tmp_path / "parts" / part["images"][0]["files"][0]).stat().st_mtime_ns == stamp
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_formats(run: Run, model: Path, photo: Path, out: Path) -> None:
    assert run("explain", model, photo, "--out", out, "--format", "npy").exit_code == 0
    assert set(contents(out)) == {"manifest.json", "ramp/grad-cam.npy"}
    assert run("explain", model, photo, "--out", out, "--format", "overlay, sheet", "--force").exit_code == 0
    assert set(contents(out)) == {"manifest.json", "ramp/grad-cam-overlay.png", "ramp/sheet.png"}
    refused(run("explain", model, photo, "--format", "tiff"), "'tiff' is not one of", code=2)


@pytest.mark.parametrize(("name", "suffix", "start"), [("jpeg", "jpg", b"\xff\xd8"), ("webp", "webp", b"RIFF")])
def test_overlays_in_other_formats(run: Run, model: Path, photo: Path, out: Path, name: str, suffix: str, start: bytes):
    assert run("explain", model, photo, "--out", out, "--format", name, "--threshold", 0.5).exit_code == 0
    found = contents(out)
    assert {Path(file).name for file in found} == {
        *("manifest.json", "grad-cam.npy", "grad-cam-heatmap.png", "grad-cam-mask.png", "grad-cam-region.json"),
        *(f"grad-cam-overlay.{suffix}", f"grad-cam-region.{suffix}", f"sheet.{suffix}"),
    }
    assert found[f"ramp/grad-cam-overlay.{suffix}"].startswith(start)
    assert run("explain", model, photo, "--out", out, "--format", "overlay", "--force").exit_code == 0
    given = cv2.imread(str(out / "ramp" / "grad-cam-overlay.png")).astype(float)
    lossy = cv2.imdecode(np.frombuffer(found[f"ramp/grad-cam-overlay.{suffix}"], np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(lossy - given).mean() < 4
    refused(run("explain", model, photo, "--format", "jpeg,webp"), "written in one format", code=2)


def test_several_targets_are_told_apart(run: Run, model: Path, photo: Path, out: Path) -> None:
    done = run(
        "explain",
        model,
        photo,
        "--out",
        out,
        "-t",
        "top:2",
        "-t",
        "green",
        "-t",
        "contrast:red,gray",
        "--format",
        "npy",
    )
    assert done.exit_code == 0
    (image,) = manifest_of(out)["images"]
    assert len(image["maps"]) == 4
    for entry in image["maps"]:
        e = onnxray.explain(model, photo, "grad-cam", entry["target"]["explained"])
        assert apart(np.load(out / entry["files"][0]), e.values) <= ROUNDING
    assert "ramp/grad-cam-1-green.npy" in image["files"] or "ramp/grad-cam-1-green-2.npy" in image["files"]
    assert "ramp/grad-cam-contrast-0-3.npy" in image["files"]


def test_the_hottest_region(run: Run, model: Path, photo: Path, out: Path) -> None:
    assert run("explain", model, photo, "--out", out, "--threshold", 0.5, "--format", "npy").exit_code == 0
    (image,) = manifest_of(out)["images"]
    (entry,) = image["maps"]
    e = onnxray.explain(model, photo)
    mask = read(out / "ramp" / "grad-cam-mask.png")[..., 0] == 255
    assert np.array_equal(mask, e.heatmap >= 0.5 * e.heatmap.max())
    shape = json.loads((out / "ramp" / "grad-cam-region.json").read_text())
    assert shape["box"] == entry["region"]["box"]
    y0, x0, y1, x1 = shape["box"]
    assert mask[y0:y1, x0:x1].any(axis=1).all()
    assert (out / "ramp" / "grad-cam-region.png").is_file()
    assert shape["peak"] == list(np.unravel_index(e.heatmap.argmax(), e.heatmap.shape))
    refused(run("explain", model, photo, "--threshold", 0), "0<x<=1", code=2)
    refused(run("explain", model, photo, "--side", "both"), "--side is about the regions of --threshold", code=2)


def test_a_shared_range_shows_weak_maps_as_weak(run: Run, model: Path, photos: Path, out: Path) -> None:
    """A clean part must look clean next to a broken one: each map in its own range glows."""
    result = run("explain", model, photos, "--out", out, "--range", "shared", "--format", "overlay,heatmap,sheet")
    assert result.exit_code == 0
    maps = {image["path"].split("/")[-1]: image["maps"][0] for image in manifest_of(out)["images"]}
    own = {name: onnxray.explain(model, photos / name).range for name in maps}
    ends = {(m["display"]["lowest"], m["display"]["highest"]) for m in maps.values()}
    assert ends == {(0.0, max(high for _, high in own.values()))}
    assert {name: tuple(m["display"]["own_range"]) for name, m in maps.items()} == own
    for name in maps:
        expected = onnxray.explain(model, photos / name).overlay(0.6, range=next(iter(ends)))
        assert np.array_equal(read(out / name.split(".")[0] / "grad-cam-overlay.png"), expected)


def test_a_shared_range_after_more_images_draws_all_anew(run: Run, model: Path, photos: Path, out: Path) -> None:
    names = sorted(photos.iterdir())
    arguments = ("--out", out, "--range", "shared", "--format", "overlay")
    weakest, *others = sorted(names, key=lambda path: onnxray.explain(model, path).range[1])
    assert run("explain", model, weakest, *arguments).exit_code == 0
    before = manifest_of(out)["images"][0]["maps"][0]["display"]["highest"]
    assert run("explain", model, weakest, *others, *arguments, "--resume").exit_code == 0
    assert len({image["maps"][0]["display"]["highest"] for image in manifest_of(out)["images"]}) == 1
    assert manifest_of(out)["images"][0]["maps"][0]["display"]["highest"] > before


def test_a_given_range_is_kept_and_signed_maps_stay_around_zero(run: Run, model: Path, photo: Path, out: Path) -> None:
    arguments = ("-m", "grad-cam,gradient", "--out", out, "--format", "heatmap", "--range", "-0.5,2")
    assert run("explain", model, photo, *arguments).exit_code == 0
    cam, gradient = (m["display"] for m in manifest_of(out)["images"][0]["maps"])
    assert (cam["lowest"], cam["highest"]) == (-0.5, 2)
    assert (gradient["lowest"], gradient["highest"]) == (-2, 2)
    for text in ("2,1", "1", "a,b", "0,nan", "all"):
        refused(run("explain", model, photo, "--range", text), "neither each, shared nor LOW,HIGH", code=2)


def test_regions_speak_for_the_target_unless_asked_otherwise(run: Run, model: Path, photo: Path, out: Path) -> None:
    for side, sign in (("positive", 1), ("negative", -1)):
        folder = out / side
        arguments = ("-m", "occlusion", "--out", folder, "--threshold", 0.9, "--side", side, "--format", "npy")
        assert run("explain", model, photo, *arguments).exit_code == 0
        region = json.loads((folder / "ramp" / "occlusion-region.json").read_text())
        assert region["side"] == side
        assert all(sign * part["value"] > 0 for part in region["parts"])


def test_options_of_methods(run: Run, model: Path, photo: Path, out: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "base.npy", np.full((3, 16, 16), 0.5, np.float32))
    settings = ("-O", "steps=4", "-O", f"integrated-gradients:baseline={tmp_path / 'base.npy'}", "-O", "seed=3")
    done = run(
        "explain", model, photo, "--out", out, "-m", "integrated-gradients,smoothgrad", *settings, "-O", "samples=2"
    )
    assert done.exit_code == 0, done.stderr
    chosen = manifest_of(out)["options"]["methods"]
    assert chosen["integrated-gradients"]["steps"] == 4
    assert chosen["integrated-gradients"]["baseline"]["array"] == [3, 16, 16]
    assert (chosen["smoothgrad"]["samples"], chosen["smoothgrad"]["seed"]) == (2, 3)
    base = np.load(tmp_path / "base.npy")
    e = onnxray.explain(model, photo, "integrated-gradients", steps=4, baseline=base)
    assert np.array_equal(np.load(out / "ramp" / "integrated-gradients.npy"), e.values)


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (("-m", "gradcan"), ("no method named 'gradcan'", "nearest: 'grad-cam'"), 2),
        (("-O", "steps=3"), ("no option of grad-cam named 'steps'",), 2),
        (("-m", "smoothgrad", "-O", "sample=3"), ("nearest: 'samples'",), 2),
        (("-m", "smoothgrad", "-O", "samples=0"), ("an integer from 1 to 100,000",), 2),
        (("-O", "steps"), ("is not [METHOD:]NAME=VALUE",), 2),
        (("-O", "gradient:steps=3"), ("method asked for",), 2),
        (("-m", "integrated-gradients", "-O", "baseline=none.npy"), ("cannot be read as an array",), 2),
        (("-t", "purple"), ("no label named 'purple'",), 1),
        (("-t", "gren"), ("nearest: 'green'",), 1),
        (("-t", "9"), ("class 9 does not exist", "classes 0 to 4"), 1),
        (("-t", "top:x"), ("write top:NUMBER",), 1),
        (("-t", "region:1"), ("no output has a score for every class and place",), 1),
        (("--layer", "featurs"), ("nearest: 'features'",), 1),
        (("--layer", "logits"), ("is not a map of the image",), 1),
        (("-m", "gradient", "--layer", "features"), ("leave --layer out",), 1),
        (("--colormap", "jett"), ("no colour map named 'jett'",), 2),
        (("-o", "steps=3"), ("'steps=3'", "-O"), 2),
        (("--alpha", "2"), ("0<=x<=1",), 2),
        (("-m", ","), ("names no method",), 2),
    ],
)
def test_wrong_usage_is_said_in_one_line_before_anything_is_written(
    run: Run, model: Path, photo: Path, out: Path, arguments: tuple[str, ...], words: tuple[str, ...], code: int
) -> None:
    refused(run("explain", model, photo, "--out", out, *arguments), *words, code=code)
    assert not [name for name in contents(out) if name != "manifest.json"] if out.exists() else True


def test_a_method_that_one_image_overflows_in_is_there_for_the_others(
    run: Run, model: Path, photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxray.engine import explain as engine

    true = engine.solve

    def solve(problem: Any, method: Any) -> Any:
        is_first = problem.input.images[0].shape == (32, 20, 3)  # noise.png; images are explained side by side
        if method.name == "lrp" or (method.name == "gradient" and is_first):
            raise MethodError("the score is not a finite number")
        return true(problem, method)

    monkeypatch.setattr(engine, "solve", solve)
    monkeypatch.setattr("onnxray.cli.parameters.methods.PATIENT", set(methods()) - {"gradient", "lrp", "grad-cam"})
    done = run("explain", model, photos, "--out", out, "-m", "all", "--format", "npy")
    assert done.exit_code == 0, done.stderr
    manifest = manifest_of(out)
    assert [[m["method"] for m in image["maps"]] for image in manifest["images"]] == [
        ["grad-cam"],
        ["grad-cam", "gradient"],
        ["grad-cam", "gradient"],
    ]
    assert [sorted(image["left_out"]) for image in manifest["images"]] == [["gradient", "lrp"], ["lrp"], ["lrp"]]
    assert list(manifest["left_out"]) == ["lrp"]


def test_all_means_every_method_that_fits(run: Run, model: Path, photo: Path, out: Path) -> None:
    done = run(
        "explain", model, photo, "--out", out, "-m", "all", "--format", "npy", "-O", "steps=4", "-O", "samples=2"
    )
    assert done.exit_code == 0, done.stderr
    manifest = manifest_of(out)
    made = {entry["method"] for entry in manifest["images"][0]["maps"]}
    assert made | set(manifest.get("left_out", {})) == set(methods()) - set(PATIENT)
    assert {"grad-cam", "gradient", "cam", "recipro-cam"} <= made


def test_each_image_has_its_own_target(run: Run, model: Path, photos: Path, out: Path) -> None:
    options = ("explain", model, photos, "--format", "npy", "-m", "gradient")
    done = run(*options, "--out", out, "-t", "each:2,0,1")
    assert done.exit_code == 0, done.stderr
    images = manifest_of(out)["images"]
    assert [image["maps"][0]["target"] for image in images] == [
        {"asked": str(n), "explained": str(n), "label": image["maps"][0]["target"]["label"]}
        for n, image in zip((2, 0, 1), images, strict=True)
    ]
    again = run(*options, "--out", out.with_name("one"), "-t", "0")
    assert again.exit_code == 0, again.stderr
    one = manifest_of(out.with_name("one"))["images"][1]["maps"][0]
    np.testing.assert_array_equal(
        np.load(out / images[1]["maps"][0]["files"][0]), np.load(out.with_name("one") / one["files"][0])
    )
    refused(run(*options, "--out", out.with_name("two"), "-t", "each:2,0"), "2 targets are given for 3 samples")


def test_layers_go_to_the_methods_that_take_them(run: Run, model: Path, photo: Path, out: Path) -> None:
    layers = ("--layer", "stem_relu", "--layer", "features")
    assert (
        run("explain", model, photo, "--out", out, "-m", "gradient,grad-cam", *layers, "--format", "npy").exit_code == 0
    )
    by_method = {entry["method"]: entry for entry in manifest_of(out)["images"][0]["maps"]}
    assert by_method["grad-cam"]["layer"] == "stem_relu+features"
    assert by_method["gradient"]["layer"] is None


def test_a_broken_image_does_not_stop_the_others(run: Run, model: Path, photos: Path, out: Path) -> None:
    (photos / "broken.png").write_bytes(b"\x89PNG broken")
    done = run("explain", model, photos, "--out", out, "--format", "npy")
    assert done.exit_code == 1
    by_name = {Path(i["path"]).name: i for i in manifest_of(out)["images"]}
    assert by_name["broken.png"]["status"] == "failed"
    assert sum(i["status"] == "done" for i in by_name.values()) == 3
    assert "1 of 4 images failed" in done.stderr


def test_json_is_the_manifest(run: Run, model: Path, photo: Path, out: Path) -> None:
    done = run("explain", model, photo, "--out", out, "--json", "--quiet")
    assert json.loads(done.stdout) == manifest_of(out)
    assert done.stderr == ""


def test_names_that_would_collide_do_not(run: Run, model: Path, photo: Path, tmp_path: Path, out: Path) -> None:
    write(tmp_path / "other" / "ramp.png", read(photo))
    assert run("explain", model, photo, tmp_path / "other", "--out", out, "--format", "npy").exit_code == 0
    assert {"ramp/grad-cam.npy", "ramp-2/grad-cam.npy"} <= set(contents(out))


def test_methods_are_listed_with_their_options(run: Run) -> None:
    done = run("explain", "--list-methods")
    assert done.exit_code == 0
    assert done.stdout == listing() + "\n"
    for name, cls in methods().items():
        assert f"{name}: " in done.stdout
        for option in options_of(cls):
            assert f"-O {option.name}=" in done.stdout


def test_progress_within_an_image(model: Path, photo: Path) -> None:
    """The share of an image that is done rises from method to method and target to target, to its end."""
    from onnxray.cli.files.output import Output
    from onnxray.cli.parameters.options import Common
    from onnxray.cli.tasks.explain import Explainer, ExplainOptions
    from onnxray.engine.methods.registry import make
    from onnxray.engine.preprocess.find import find_card
    from onnxray.engine.targets.target import Target

    shown: list[tuple[float, str]] = []
    chosen = [make("rise", {"masks": 40}), make("rise", {"masks": 80, "seed": 1})]
    targets = [Target.of(0), Target.of(1)]
    options = ExplainOptions(
        model=str(model),
        images=(str(photo),),
        methods=("rise",),
        targets=("0", "1"),
        layers=(),
        at=None,
        feeds=(),
        settings=(),
        formats=(),
        alpha=0.6,
        colormap=None,
        threshold=None,
        side="positive",
        batch=4,
        range="each",
        output=Output(photo.parent),
        common=Common(card={}, runtime={"threads": 2}),
    )
    loaded = onnxray.load(model)
    work = Explainer(
        loaded,
        find_card(loaded),
        targets,
        chosen,
        False,
        options,
        None,  # type: ignore[arg-type]
        lambda share, name: shown.append((share, name)),
    )
    assert len(list(work.explanations(read(photo), {}))) == 4
    shares = [share for share, _ in shown]
    assert shares == sorted(shares)
    assert len(set(shares)) == 60
    assert shares[-1] == 1
    assert {name for _, name in shown} == {"rise"}


def test_the_card_is_read_once(run: Run, model: Path, photo: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxray.engine.attribution import photos
    from onnxray.engine.preprocess import find

    calls, true = [], find.find_card

    def counted(model: onnxray.Model) -> object:
        calls.append(model)
        return true(model)

    monkeypatch.setattr(find, "find_card", counted)
    monkeypatch.setattr(photos, "find_card", counted)
    done = run("explain", model, photo, "--out", out, "-m", "gradient,grad-cam", "--target", "0", "--target", "1")
    assert done.exit_code == 0, done.output
    assert len(calls) == 1


def test_a_region_of_interest_is_mapped_back_exactly(run: Run, model: Path, photo: Path, out: Path) -> None:
    """The map of the part alone, on the part's own pixels, and nothing outside it."""
    pixels = read(photo)
    part = write(out.with_name("part.png"), pixels[6:30, 11:51])
    assert run("explain", model, photo, "-o", out, "--crop", "11,6,40,24", "--threshold", 0.5).exit_code == 0
    (image,) = manifest_of(out)["images"]
    alone = onnxray.explain(model, part)
    np.testing.assert_array_equal(np.load(out / "ramp" / "grad-cam.npy"), alone.values)
    assert image["geometry"] == {**alone.geometry.to_mapping(), "original": [40, 56], "crop": [11, 6, 40, 24]}
    assert manifest_of(out)["options"]["crop"] == [11, 6, 40, 24]
    overlay = read(out / "ramp" / "grad-cam-overlay.png")
    np.testing.assert_array_equal(overlay[6:30, 11:51], alone.overlay())
    mask = read(out / "ramp" / "grad-cam-mask.png")[..., 0] > 0
    assert mask[6:30, 11:51].any()
    assert not mask[:6].any()
    assert not mask[:, 51:].any()
    refused(run("explain", model, photo, "-o", out, "--force", "--crop", "30,0,40,24"), "not inside", "56 x 40")


def test_the_frames_of_a_video(run: Run, model: Path, photo: Path, out: Path) -> None:
    import cv2

    pixels, clip = read(photo), out.with_name("clip.avi")
    video = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (56, 40))
    for n in range(6):
        video.write(np.roll(pixels, 5 * n, axis=1)[..., ::-1])
    video.release()
    done = run("explain", model, clip, "-o", out, "--every", 2, "--format", "npy,overlay")
    assert done.exit_code == 0, done.stderr
    images = manifest_of(out)["images"]
    assert [image["path"] for image in images] == [f"{clip}#{n}" for n in (0, 2, 4)]
    assert [image["files"][0] for image in images] == [f"clip.avi-{n}/grad-cam.npy" for n in (0, 2, 4)]
    refused(run("explain", model, clip, "-o", out, "--force", "--range", "shared"), "a stream is seen once")
    refused(run("explain", model, "none.mp4", "-o", out.with_name("new")), "there is no video 'none.mp4'")
    assert not out.with_name("new").exists()


def test_images_side_by_side_are_those_one_by_one(run: Run, model: Path, photos: Path, tmp_path: Path) -> None:
    """`--threads 2` asks for one image at a time."""
    for name, more in (("side", ()), ("one", ("--threads", 2))):
        assert (
            run("explain", model, photos, "-o", tmp_path / name, "-m", "grad-cam,gradient,occlusion", *more).exit_code
            == 0
        )
    side, one = contents(tmp_path / "side"), contents(tmp_path / "one")
    assert side.keys() == one.keys()
    assert [name for name in side if side[name] != one[name]] == ["manifest.json"]
    manifests = [json.loads(found["manifest.json"]) for found in (side, one)]
    assert manifests[0]["images"] == manifests[1]["images"]
