"""`onnxray activations`: what it writes, that the numbers are the network's, that runs are repeatable and can go on."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import Result

from onnxray.cli.files.images import read
from onnxray.engine.activations import activations
from onnxray.engine.preprocess.card import Card
from onnxray.engine.preprocess.image import prepare
from onnxray.tests.rounding import ROUNDING, apart


def manifest_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def values(model: Path, image: Path, layer: str) -> np.ndarray:
    tensor = prepare(read(image), Card(size=(16, 16), mean=(127.5,), std=(127.5,))).tensor
    return np.asarray(activations(str(model), tensor, layer)[layer][0])


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_a_feature_map(run: Callable[..., Result], model: Path, photo: Path, out: Path) -> None:
    done = run("activations", model, photo, "--layer", "stem_relu", "--out", out)
    assert (done.exit_code, done.stdout) == (0, f"{out}\n")
    manifest = manifest_of(out)
    (image,) = manifest["images"]
    (layer,) = image["layers"]
    names = ("stem_relu.npy", *(f"stem_relu-{what}.png" for what in ("channels", "mean", "overlay", "histogram")))
    assert image["files"] == layer["files"] == [f"ramp/{name}" for name in names]
    assert set(contents(out)) == {"manifest.json", "statistics.csv", *image["files"]}
    stored = np.load(out / "ramp" / "stem_relu.npy")
    assert stored.dtype == np.float32
    assert apart(stored, values(model, photo, "stem_relu")) <= ROUNDING
    statistics = layer["statistics"]
    assert statistics["min"] == stored.min()
    assert statistics["max"] == stored.max()
    assert statistics["mean"] == pytest.approx(stored.mean(dtype=np.float64))
    assert statistics["std"] == pytest.approx(stored.std(dtype=np.float64))
    assert statistics["zeros"] == (stored == 0).mean()
    assert layer["silent"] == np.flatnonzero((stored == 0).all(axis=(1, 2))).tolist()
    assert layer["shown"] == np.argsort(-stored.mean(axis=(1, 2)), kind="stable").tolist()
    assert layer["activation_function"] == {"before": "stem", "after": "stem_relu"}
    assert layer["ranges"]["mean"]["hi"] == pytest.approx(float(stored.mean(axis=0, dtype=np.float64).max()))
    assert layer["ranges"]["mean"]["lo"] == 0
    assert read(out / "ramp" / "stem_relu-overlay.png").shape == (40, 56, 3)


def test_the_manifest(run: Callable[..., Result], model: Path, photos: Path, out: Path) -> None:
    run("activations", model, photos, "--layer", "features", "--layer", "logits", "--most", 3, "--out", out)
    manifest = manifest_of(out)
    assert (manifest["format"], manifest["command"], manifest["complete"]) == (1, "activations", True)
    assert manifest["layers"] == ["features", "logits"]
    assert manifest["options"] == {
        "all_layers": False,
        "blocks": False,
        "all": False,
        "most": 3,
        "range": "shared",
        "providers": None,
        "threads": None,
    }
    assert manifest["model"]["path"] == str(model)
    assert len(manifest["model"]["sha256"]) == 64
    assert manifest["card"]["mean"] == [127.5] * 3
    assert "small.card.json" in manifest["card"]["source"]
    assert manifest["card"]["labels"]["count"] == 5
    assert {"python", "onnx", "numpy"} <= set(manifest["versions"])
    for image in manifest["images"]:
        assert image["geometry"]["size"] == [16, 16]
        assert len(image["sha256"]) == 64
        assert len(image["layers"][0]["shown"]) == 3
    rows = list(csv.DictReader((out / "statistics.csv").read_text().splitlines()))
    assert [(Path(row["image"]).stem, row["layer"]) for row in rows] == [
        (name, layer) for name in ("noise", "ramp", "square") for layer in ("features", "logits")
    ]
    assert manifest["silent_in_all_images"]["features"] == sorted(
        set.intersection(*(set(image["layers"][0]["silent"]) for image in manifest["images"]))
    )


def test_the_walk(run: Callable[..., Result], model: Path, photo: Path, out: Path) -> None:
    done = run("activations", model, photo, "--all-layers", "--out", out)
    assert done.exit_code == 0
    (image,) = manifest_of(out)["images"]
    assert image["files"] == ["ramp/walk.png"]
    walked = [step["name"] for step in image["walk"]]
    assert walked == ["stem", "stem_relu", "pooled", "inner", "joined", "features", "gap", "logits"]
    wanted = values(model, photo, "stem_relu").max()
    assert image["walk"][1]["statistics"]["max"] == pytest.approx(float(wanted), rel=ROUNDING)


def test_the_default_layer_is_said_with_its_reason(
    run: Callable[..., Result], model: Path, photo: Path, out: Path
) -> None:
    done = run("activations", model, photo, "--out", out)
    assert "layer 'features': the last one of 8 channels of 8x8 cells along the image" in done.stderr
    assert manifest_of(out)["layers"] == ["features"]
    again = run("activations", model, photo, "--out", out, "--force", "--quiet")
    assert again.stderr == ""


def test_the_default_folder(
    run: Callable[..., Result], model: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("activations", model, photo).stdout == "onnxray-activations\n"
    assert (tmp_path / "onnxray-activations" / "manifest.json").is_file()


def test_the_same_run_writes_the_same_bytes(
    run: Callable[..., Result], model: Path, photos: Path, tmp_path: Path
) -> None:
    arguments = ["activations", model, photos, "--all-layers", "--layer", "features", "--layer", "logits"]
    for name in ("a", "b"):
        assert run(*arguments, "--out", tmp_path / name).exit_code == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_another_run_is_not_overwritten(run: Callable[..., Result], model: Path, photo: Path, out: Path) -> None:
    assert run("activations", model, photo, "--layer", "stem", "--out", out).exit_code == 0
    before = contents(out)
    done = run("activations", model, photo, "--layer", "inner", "--out", out)
    assert done.exit_code == 1
    assert "holds another run (onnxray activations): give --force" in done.stderr
    assert contents(out) == before
    (out / "ramp" / "mine.txt").write_text("not onnxray's")
    assert run("activations", model, photo, "--layer", "inner", "--out", out, "--force").exit_code == 0
    after = set(contents(out))
    assert "ramp/mine.txt" in after
    assert not any("stem" in name for name in after)
    assert any("inner" in name for name in after)


def test_a_folder_of_somebody_else_is_not_touched(
    run: Callable[..., Result], model: Path, photo: Path, out: Path
) -> None:
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    done = run("activations", model, photo, "--out", out)
    assert done.exit_code == 1
    assert "files that no run of onnxray wrote" in done.stderr
    assert set(contents(out)) == {"thesis.txt"}


def test_resume(run: Callable[..., Result], model: Path, photos: Path, out: Path) -> None:
    arguments = ["activations", model, photos, "--layer", "features", "--out", out]
    (photos / "ramp.png").rename(photos / "ramp.kept")
    (photos / "ramp.png").write_bytes(b"broken")
    assert run(*arguments).exit_code == 1
    (photos / "ramp.kept").rename(photos / "ramp.png")
    noise = out / "noise" / "features.npy"
    times = {p: p.stat().st_mtime_ns for p in out.rglob("*.npy")}
    assert run(*arguments, "--resume").exit_code == 0
    assert noise.stat().st_mtime_ns == times[noise]
    manifest = manifest_of(out)
    assert [image["status"] for image in manifest["images"]] == ["done"] * 3
    fresh = out.with_name("fresh")
    assert run(*arguments[:-1], fresh).exit_code == 0
    assert contents(out) == contents(fresh)
    # a changed image is done again, other options are another run
    (photos / "noise.png").write_bytes((photos / "square.png").read_bytes())
    assert run(*arguments, "--resume").exit_code == 0
    assert manifest_of(out)["images"][0]["sha256"] == manifest_of(out)["images"][2]["sha256"]
    done = run(*arguments, "--resume", "--most", 2)
    assert done.exit_code == 1
    assert "holds a run with other options, which cannot be continued" in done.stderr


def test_images_of_the_same_name_do_not_collide(
    run: Callable[..., Result], model: Path, photo: Path, out: Path
) -> None:
    other = photo.parent.parent / "more" / "RAMP.png"
    other.parent.mkdir()
    other.write_bytes(photo.with_name(photo.name).read_bytes())
    assert run("activations", model, photo, other, "--layer", "stem", "--out", out).exit_code == 0
    files = [image["files"][0] for image in manifest_of(out)["images"]]
    assert files == ["ramp/stem.npy", "RAMP-2/stem.npy"]


def test_layers_that_are_no_maps(run: Callable[..., Result], model: Path, photo: Path, out: Path) -> None:
    run("activations", model, photo, "--layer", "logits", "--out", out)
    (layer,) = manifest_of(out)["images"][0]["layers"]
    assert layer["kind"] == "vector"
    assert [Path(name).name for name in layer["files"]] == ["logits.npy", "logits-units.png", "logits-histogram.png"]


def test_json_is_the_manifest(run: Callable[..., Result], model: Path, photo: Path, out: Path) -> None:
    done = run("activations", model, photo, "--out", out, "--json")
    assert json.loads(done.stdout) == manifest_of(out)


def test_a_fixed_batch(run: Callable[..., Result], model: Path, photo: Path, out: Path, cnn: onnx.ModelProto) -> None:
    fixed = onnx.ModelProto()
    fixed.CopyFrom(cnn)
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    path = model.with_name("fixed.onnx")
    path.write_bytes(fixed.SerializeToString())
    path.with_name("fixed.card.json").write_text(model.with_name("small.card.json").read_text())
    assert run("activations", path, photo, "--layer", "features", "--out", out).exit_code == 0
    assert apart(np.load(out / "ramp" / "features.npy"), values(model, photo, "features")) <= ROUNDING


@pytest.mark.parametrize(
    ("case", "kinds"),
    [
        ("hf_vit_op17", {"table", "maps"}),
        ("t_unet_bilinear_op11", {"maps"}),
        ("k_cnn_bn_op13", {"maps", "vector"}),
        ("t_uint8_nhwc_op17", {"maps"}),
        ("t_int8_nchw_op13", {"maps"}),
        ("t_fp16_cnn_op17", {"maps"}),
    ],
)
def test_every_layer_of_networks_of_all_kinds(
    run: Callable[..., Result], zoo: Path, photo: Path, out: Path, case: str, kinds: set[str]
) -> None:
    folder = zoo / "frameworks" / case
    model = next(folder.glob("*.onnx"))
    names = [layer["name"] for layer in json.loads(run("inspect", model, "--json").stdout)["layers"]]
    chosen = [part for name in names for part in ("--layer", name)]
    done = run("activations", model, photo, *chosen, "--all-layers", "--out", out, "--quiet")
    assert done.exit_code == 0, done.stderr
    layers = manifest_of(out)["images"][0]["layers"]
    assert kinds <= {layer["kind"] for layer in layers}
    for layer in layers:
        assert all((out / name).stat().st_size > 100 for name in layer["files"])


def test_channels_in_their_own_ranges(run: Callable[..., Result], model: Path, photo: Path, out: Path) -> None:
    """Weak channels are nearly black in the range of all."""
    names = {}
    for range in ("shared", "each"):
        assert run("activations", model, photo, "--range", range, "--out", out / range).exit_code == 0
        names[range] = read(out / range / "ramp" / "features-channels.png")
    most = np.load(out / "each" / "ramp" / "features.npy").max(axis=(1, 2))
    assert most.min() < 0.8 * most.max()
    bright = {range: (picture.astype(int).sum(axis=2) > 500).sum() for range, picture in names.items()}
    assert names["each"].shape[1] == names["shared"].shape[1]
    assert bright["each"] != bright["shared"]


def test_a_walk_by_blocks_has_fewer_tiles(run: Callable[..., Result], model: Path, photo: Path, out: Path) -> None:
    names = {}
    for option in ("--all-layers", "--blocks"):
        assert run("activations", model, photo, option, "--out", out / option).exit_code == 0
        (image,) = manifest_of(out / option)["images"]
        names[option] = [layer["name"] for layer in image["walk"]]
        assert "ramp/walk.png" in image["files"]
    assert set(names["--blocks"]) < set(names["--all-layers"])
    assert names["--blocks"][-1] == names["--all-layers"][-1] == "logits"
    assert "features" in names["--blocks"]  # the activation function behind the sum of branches
