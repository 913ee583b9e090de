"""`onnxray predict`: its numbers, its forms of output, batches, failures; accuracy on real networks."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import numpy_helper

from onnxray.cli.files.images import read
from onnxray.engine.inference.session import run as run_model
from onnxray.engine.load import load
from onnxray.engine.preprocess.card import Card
from onnxray.engine.preprocess.image import prepare

LABELS = ["red", "green", "blue", "gray", "none"]


def expected(model: Path, image: Path) -> np.ndarray:
    """Probabilities, the short way."""
    card = Card(size=(16, 16), mean=(127.5,), std=(127.5,))
    logits = run_model(load(model), {"image": prepare(read(image), card).tensor})["logits"][0].astype(np.float64)
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


def test_json(run: Callable[..., Result], model: Path, photos: Path) -> None:
    done = run("predict", model, photos, "--json", "--top", 3)
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert set(found) == {"model", "card", "probabilities", "answer", "images"}
    assert found["probabilities"] == "softmax of output 'logits'"
    assert found["card"]["mean"] == [127.5] * 3
    assert [Path(i["path"]).name for i in found["images"]] == ["noise.png", "ramp.png", "square.png"]
    for image in found["images"]:
        assert set(image) == {"path", "status", "sha256", "size", "top", "files"}
        wanted = expected(model, Path(image["path"]))
        order = np.argsort(-wanted, kind="stable")[:3]
        assert [guess["index"] for guess in image["top"]] == order.tolist()
        assert [guess["label"] for guess in image["top"]] == [LABELS[i] for i in order]
        np.testing.assert_allclose([guess["probability"] for guess in image["top"]], wanted[order], rtol=1e-5)
    assert found["images"][1]["size"] == [40, 56]


def test_text(run: Callable[..., Result], model: Path, photo: Path) -> None:
    lines = run("predict", model, photo).stdout.splitlines()
    best = int(expected(model, photo).argmax())
    assert lines[0] == str(photo)
    assert lines[1].split() == [f"{100 * expected(model, photo)[best]:.2f}", "%", LABELS[best]]
    assert lines[-1] == "(probabilities: softmax of output 'logits')"
    assert len(lines) == 7


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_batches_change_nothing(run: Callable[..., Result], model: Path, photos: Path, batch: int) -> None:
    one = json.loads(run("predict", model, photos, "--json", "--batch", 1).stdout)["images"]
    many = json.loads(run("predict", model, photos, "--json", "--batch", batch).stdout)["images"]
    for a, b in zip(one, many, strict=True):
        assert [g["index"] for g in a["top"]] == [g["index"] for g in b["top"]]
        np.testing.assert_allclose(
            [g["probability"] for g in a["top"]], [g["probability"] for g in b["top"]], rtol=1e-5
        )


@pytest.mark.parametrize("size", [1, 2, 4])
def test_models_for_a_fixed_number_of_images(
    run: Callable[..., Result], model: Path, photos: Path, cnn: onnx.ModelProto, size: int
) -> None:
    fixed = onnx.ModelProto()
    fixed.CopyFrom(cnn)
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = size
    path = model.with_name("fixed.onnx")
    path.write_bytes(fixed.SerializeToString())
    path.with_name("fixed.card.json").write_text(model.with_name("small.card.json").read_text())
    dynamic = json.loads(run("predict", model, photos, "--json").stdout)["images"]
    found = json.loads(run("predict", path, photos, "--json").stdout)["images"]
    for a, b in zip(dynamic, found, strict=True):
        np.testing.assert_allclose(
            [g["probability"] for g in a["top"]], [g["probability"] for g in b["top"]], rtol=1e-5
        )


def test_a_model_that_only_pretends_to_take_batches_runs_one_by_one(
    run: Callable[..., Result], tmp_path: Path, photos: Path, parse: Callable[..., Any]
) -> None:
    proto = parse(
        """
        g (float[N, 3, 2, 2] x) => (float[M, 12] y)
        { shape = Constant <value = int64[2] {1, 12}> ()  y = Reshape (x, shape) }
        """
    )
    path = tmp_path / "baked.onnx"
    path.write_bytes(proto.SerializeToString())
    options = ["--mean", 0, "--std", 255, "--scores", "logits", "--json"]
    done = run("predict", path, photos, *options)
    assert done.exit_code == 0
    assert done.stderr.count("running one at a time") == 1
    alone = json.loads(run("predict", path, photos, *options, "--batch", 1).stdout)
    assert json.loads(done.stdout)["images"] == alone["images"]


def test_a_guessed_preprocessing_is_said_once(run: Callable[..., Result], model: Path, photos: Path) -> None:
    model.with_name("small.card.json").unlink()
    done = run("predict", model, photos)
    assert done.stderr.count("no preprocessing found") == 1
    assert "class " in done.stdout
    assert run("predict", model, photos, "--quiet").stderr == ""


def test_a_broken_image_is_reported_and_the_rest_goes_on(run: Callable[..., Result], model: Path, photos: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    done = run("predict", model, photos, "--json")
    assert done.exit_code == 1
    found = {Path(i["path"]).name: i for i in json.loads(done.stdout)["images"]}
    assert found["broken.jpg"]["status"] == "failed"
    assert found["broken.jpg"]["error"] in done.stderr
    assert sum(i["status"] == "done" for i in found.values()) == 3
    assert done.stderr.splitlines()[-1] == "onnxray: 1 of 4 images failed"


def test_a_run_with_a_folder(run: Callable[..., Result], model: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("predict", model, photos, "--out", out, "--top", 2)
    assert done.exit_code == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["command"], manifest["complete"], manifest["options"]["top"]) == ("predict", True, 2)
    assert manifest["files"] == ["predictions.csv"]
    rows = list(csv.DictReader((out / "predictions.csv").read_text().splitlines()))
    assert len(rows) == 6
    assert rows[0]["label"] == manifest["images"][0]["top"][0]["label"]
    assert float(rows[0]["probability"]) == manifest["images"][0]["top"][0]["probability"]


def test_labels_and_overrides(run: Callable[..., Result], model: Path, photo: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\nd\ne\n")
    found = json.loads(run("predict", model, photo, "--json", "--labels", names, "--order", "bgr").stdout)
    assert {g["label"] for g in found["images"][0]["top"]} == set("abcde")
    assert found["card"]["order"] == "BGR"
    names.write_text("a\nb\n")
    done = run("predict", model, photo, "--labels", names)
    assert done.exit_code == 1
    assert "2 labels for an output of 5 classes" in done.stderr


def test_a_card_file_by_option(run: Callable[..., Result], model: Path, photo: Path, tmp_path: Path) -> None:
    with_beside = json.loads(run("predict", model, photo, "--json").stdout)
    card = model.with_name("small.card.json").rename(tmp_path / "elsewhere.json")
    given = json.loads(run("predict", model, photo, "--json", "--card", card).stdout)
    assert given["images"] == with_beside["images"]
    overridden = json.loads(run("predict", model, photo, "--json", "--card", card, "--std", 50).stdout)
    assert overridden["card"]["mean"] == [127.5] * 3
    assert overridden["card"]["std"] == [50] * 3


def zoo_cards(zoo: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """A link to, and a card file beside, every image model of the zoo, as its manifest says."""
    found = {}
    for entry in json.loads((zoo / "manifest.json").read_text())["files"]:
        told = entry.get("preprocessing")
        if not entry["file"].startswith("models/") or not isinstance(told, dict):
            continue
        source = zoo / entry["file"]
        os.symlink(source, folder / source.name)
        resize = told.get("resize", "stretch")
        card = {
            "size": told["size"],
            "mean": told["mean"],
            "std": told["std"],
            "order": "GRAY" if told["order"] == "grey" else told["order"],
            "layout": entry["layout"],
            "resize": "crop" if "then centre crop" in resize else "stretch",
        }
        if "labels" in entry:
            card["labels"] = (zoo / entry["labels"]).read_text().splitlines()
        (folder / f"{source.stem}.card.json").write_text(json.dumps(card))
        found[source.stem] = entry
    return found


@pytest.mark.parametrize(
    ("name", "images", "right"),
    [
        ("mobilenet_v2_100_224", "images/imagenet_samples", 45),
        ("squeezenet_v1_1", "images/imagenet_samples", 37),
        ("mobilenet_v1_075_192", "images/imagenet_samples", 38),
        ("mobilenet_v1_025_224", "images/imagenet_samples", 35),
        ("mobilenet_v2_int8_qlinear", "images/imagenet_samples", 33),
        ("mobilenet_v2_int8_qdq_nhwc", "images/imagenet_samples", 42),
        ("resnet20_cifar10", "images/cifar10", 34),
        ("resnet56_cifar10", "images/cifar10", 34),
        ("casting_inspection_cnn", "inspection/casting", 24),
        ("vit_mnist", "images/mnist", 20),
        ("mnist_cntk", "images/mnist", 20),
    ],
)
def test_accuracy_on_real_networks(
    run: Callable[..., Result], zoo: Path, tmp_path: Path, name: str, images: str, right: int
) -> None:
    """The top-1 counts of the zoo, which other software measured on the same images."""
    zoo_cards(zoo, tmp_path)
    done = run("predict", tmp_path / f"{name}.onnx", zoo / images, "--json", "--quiet")
    assert done.exit_code == 0, done.stderr
    hits = 0
    for image in json.loads(done.stdout)["images"]:
        stem, label = Path(image["path"]).stem, image["top"][0]["label"]
        if images.endswith("imagenet_samples"):
            hits += label.split()[0] == stem.split("_")[0]
        elif images.endswith("mnist"):
            hits += label == stem.rpartition("label")[2]
        else:
            hits += stem.startswith(label)
    assert hits >= right


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_no_numbers(
    run: Callable[..., Result], tmp_path: Path, cnn: onnx.ModelProto, photo: Path, value: float
) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(cnn)
    for tensor in broken.graph.initializer:
        array = numpy_helper.to_array(tensor).copy()
        if array.dtype.kind == "f":
            array.reshape(-1)[0] = value
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    model = tmp_path / "broken.onnx"
    onnx.save(broken, model)
    for extra in ((), ("--json",)):
        done = run("predict", model, photo, "-q", *extra)
        assert done.exit_code == 1
        assert done.stderr.startswith(f"onnxray: error: {str(photo)!r}: the model's scores are NaN or infinite")


def test_only_images_for_which_a_rule_holds(
    run: Callable[..., Result], model: Path, photos: Path, tmp_path: Path
) -> None:
    scores = {path.name: float(expected(model, path).max()) for path in sorted(photos.iterdir())}
    limit = sorted(scores.values())[1]
    rule, out = (
        ("--when", f"score >= {limit - 1e-6} and label in ['red', 'green', 'blue', 'gray', 'none']"),
        tmp_path / "o",
    )
    wanted = {name: score >= limit for name, score in scores.items()}
    found = json.loads(run("predict", model, photos, *rule, "--top", 1, "--json").stdout)["images"]
    assert {Path(entry["path"]).name: entry["holds"] for entry in found} == wanted
    assert all(len(entry["top"]) == 1 for entry in found)
    done = run("predict", model, photos, *rule, "-o", out)
    assert [Path(line).name for line in done.stdout.splitlines() if line.endswith(".png")] == [
        name for name, held in wanted.items() if held
    ]
    rows = list(csv.DictReader((out / "predictions.csv").read_text().splitlines()))
    assert {Path(row["image"]).name for row in rows} == {name for name, held in wanted.items() if held}
    assert run("predict", model, photos, *rule, "-o", out, "--resume").stdout == done.stdout


def test_rules_that_are_wrong(
    run: Callable[..., Result], model: Path, photos: Path, tmp_path: Path, parse: Callable[..., Any]
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 16, 16), np.float32))
    for options, words in (
        ((photos, "--when", "scor > 1"), "no name of a rule named 'scor'"),
        ((photos, "--memory", "m.npz"), "--memory has no effect without --when"),
        ((photos, "--when", "novelty > 1", "--memory", tmp_path / "m.npz"), "there is no memory"),
        ((tmp_path / "x.npy", "--when", "score > 1"), "arrays are given"),
    ):
        done = run("predict", model, *options)
        assert done.exit_code == 1
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_half(run: Callable[..., Result], model: Path, photo: Path, tmp_path: Path) -> None:
    due = json.loads(run("predict", model, photo, "--json").stdout)
    done = run("predict", model, photo, "--json", "--half", "--provider", "cpu", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("half: the CPU provider") == 1
    found = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert "operators compute in float16" in found["model"]["half"]
    plain = run("predict", model, photo, "--json", "--out", tmp_path / "plain")
    assert "half" not in json.loads((tmp_path / "plain" / "manifest.json").read_text(encoding="utf-8"))["model"]
    assert "half" not in plain.stderr
    assert str(due)[:40] == str(json.loads(done.stdout))[:40]
    again = run("predict", model, photo, "--out", tmp_path / "out", "--resume")
    assert again.exit_code == 1
    assert "holds a run with float16 (--half)" in again.stderr
