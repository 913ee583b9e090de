"""Whatever a user can do wrong gives one line on stderr and an exit code, never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import Result

from onnxray.cli.files.images import encode


def refused(done: Result, *words: str, code: int = 1) -> None:
    """One line of error with all `words` in it, nothing on stdout."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("onnxray: error: ")]
    assert len(errors) == 1, done.stderr
    assert done.exit_code == code
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in errors[0], errors[0]


COMMANDS: dict[str, Callable[[object, object, object], tuple[object, ...]]] = {
    "inspect": lambda model, image, out: ("inspect", model),
    "predict": lambda model, image, out: ("predict", model, image),
    "activations": lambda model, image, out: ("activations", model, image, "--out", out),
    "filters": lambda model, image, out: ("filters", model, "--on", image, "--out", out),
    "explain": lambda model, image, out: ("explain", model, image, "--out", out),
    "demo": lambda model, image, out: ("demo", model, image, "--out", out),
}


@pytest.fixture(params=COMMANDS)
def call(request: pytest.FixtureRequest, run: Callable[..., Result], tmp_path: Path) -> Callable[..., Result]:
    """call(model, image): each command in turn."""
    return lambda model, image: run(*COMMANDS[request.param](model, image, tmp_path / "out"))


@pytest.fixture(params=[name for name in COMMANDS if name != "inspect"])
def look(request: pytest.FixtureRequest, run: Callable[..., Result], tmp_path: Path) -> Callable[..., Result]:
    """look(model, image): each command that looks at images in turn."""
    return lambda model, image: run(*COMMANDS[request.param](model, image, tmp_path / "out"))


def test_no_such_model(call: Callable[..., Result], photo: Path) -> None:
    refused(call("buildin", photo), "'buildin'", "nearest: 'builtin'", "models list")
    refused(call("nowhere/m.onnx", photo), "no such model file: 'nowhere/m.onnx'")


def test_an_empty_model(call: Callable[..., Result], photo: Path, tmp_path: Path) -> None:
    path = tmp_path / "empty.onnx"
    path.write_bytes(b"")
    refused(call(path, photo), "empty.onnx", "is empty")


def test_a_text_file_as_model(call: Callable[..., Result], photo: Path, tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("this is not a model, it is a sentence\n" * 20)
    refused(call(path, photo), "text.onnx", "not an ONNX model")


def test_a_folder_as_model(call: Callable[..., Result], photo: Path, tmp_path: Path) -> None:
    refused(call(tmp_path, photo), "is a folder")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_truncated_model(call: Callable[..., Result], model: Path, photo: Path, share: float) -> None:
    data = model.read_bytes()
    model.write_bytes(data[: int(len(data) * share)])
    refused(call(model, photo), "small.onnx")


@pytest.mark.parametrize("location", ["../secret.bin", "missing.bin", "/etc/hostname", "a/../../secret.bin"])
def test_external_data_that_is_missing_or_elsewhere(
    call: Callable[..., Result], tmp_path: Path, cnn: onnx.ModelProto, photo: Path, location: str
) -> None:
    (tmp_path / "secret.bin").write_bytes(b"\0" * 100_000)
    folder = tmp_path / "models"
    folder.mkdir()
    proto = onnx.ModelProto()
    proto.CopyFrom(cnn)
    tensor = next(t for t in proto.graph.initializer if t.name == "w1")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path = folder / "external.onnx"
    path.write_bytes(proto.SerializeToString())
    refused(call(path, photo), location)


def test_a_model_without_an_image_input(look: Callable[..., Result], tmp_path: Path, photo: Path, parse: Any) -> None:
    path = tmp_path / "text_model.onnx"
    weight = np.ones((6, 4), np.float32)
    proto = parse("g (float[N, 6] words) => (float[N, 4] y) { y = MatMul (words, w) }", w=weight)
    path.write_bytes(proto.SerializeToString())
    refused(look(path, photo), "no image input", "words")


def test_an_unknown_layer(run: Callable[..., Result], model: Path, photo: Path, tmp_path: Path) -> None:
    for command in (["activations", model, photo], ["filters", model]):
        done = run(*command, "--layer", "stem_rleu", "--out", tmp_path / "out")
        refused(done, "no layer named 'stem_rleu'", "nearest: 'stem_relu'")
        assert not (tmp_path / "out").exists()


def test_an_unknown_label_or_field(run: Callable[..., Result], model: Path, photo: Path, tmp_path: Path) -> None:
    refused(run("predict", model, photo, "--labels", tmp_path / "none.txt"), "none.txt", "cannot be read")
    card = tmp_path / "my.json"
    card.write_text('{"maen": 1}')
    refused(run("predict", model, photo, "--card", card), "unknown field 'maen'", "nearest: 'mean'")
    card.write_text("{")
    refused(run("predict", model, photo, "--card", card), "is not JSON", "line 1")
    refused(run("predict", model, photo, "--card", tmp_path), "is not a regular file")
    refused(run("predict", model, photo, "--input", "imgae"), "no model input named 'imgae'", "nearest: 'image'")
    refused(run("predict", model, photo, "--output", "logit"), "no model output named 'logit'", "nearest: 'logits'")
    refused(run("predict", model, photo, "--size", "99999999x99999999"), "size")
    refused(run("predict", model, photo, "--provider", "cuad"), "'cuad'", "nearest: 'cuda'")
    refused(run("predict", model, photo, "--provider", "cpu:a=1"), "cannot be used with a=1: the CPU takes no options")
    for text in ("cuda:", ":a=1", "cuda:a", "cuda:a=", "cuda:=1", "cuda:a=1,", "cuda:a=1,a=2"):
        refused(run("predict", model, photo, "--provider", text), f"{text!r} is not NAME", "NAME:OPTION=VALUE", code=2)


def test_a_layer_without_weights(run: Callable[..., Result], model: Path, tmp_path: Path) -> None:
    done = run("filters", model, "--layer", "stem_relu", "--out", tmp_path / "out")
    refused(done, "'stem_relu' (Relu) has no stored weights", "'stem' (Conv)")


def test_images_that_do_not_exist(look: Callable[..., Result], model: Path, photo: Path, tmp_path: Path) -> None:
    refused(look(model, photo.with_name("rmap.png")), "rmap.png", "nearest: 'ramp.png'")
    empty = tmp_path / "nothing"
    empty.mkdir()
    refused(look(model, empty), "nothing", "no image in it")
    refused(look(model, tmp_path / "*.tiff"), "*.tiff")


def broken_images(folder: Path, photo: Path) -> Iterator[tuple[Path, str]]:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    jpeg, png = encode(noise, ".jpg"), encode(noise, ".png")
    for name, data, word in (
        ("empty.png", b"", "empty"),
        ("half.jpg", jpeg[: len(jpeg) // 2], "half.jpg"),
        ("half.png", png[: len(png) // 2], "half.png"),
        ("text.jpg", b"hello, I am a text\n", "text.jpg"),
        ("huge.png", png[:16] + b"\x00\x01\x00\x00\x00\x01\x00\x00" + png[24:], "million"),
    ):
        path = folder / name
        path.write_bytes(data)
        yield path, word


def test_images_that_cannot_be_read(run: Callable[..., Result], model: Path, photo: Path, tmp_path: Path) -> None:
    for path, word in broken_images(tmp_path, photo):
        done = run("predict", model, path)
        refused(done, path.name, word)
        assert done.stderr.splitlines()[-1] == "onnxray: 1 of 1 images failed"


@pytest.mark.parametrize("command", ["activations", "filters", "demo"])
def test_a_broken_image_among_others(
    run: Callable[..., Result], model: Path, photos: Path, tmp_path: Path, command: str
) -> None:
    (photos / "half.png").write_bytes((photos / "noise.png").read_bytes()[:200])
    out = tmp_path / "out"
    images = ["--on", photos] if command == "filters" else [photos]
    done = run(command, model, *images, "--out", out)
    assert done.exit_code == 1
    assert "half.png" in done.stderr
    assert done.stderr.splitlines()[-1] == "onnxray: 1 of 4 images failed"
    manifest = json.loads((out / "manifest.json").read_text())
    status = {Path(image["path"]).name: image["status"] for image in manifest["images"]}
    assert status == {"half.png": "failed", "noise.png": "done", "ramp.png": "done", "square.png": "done"}
    assert manifest["complete"] is True


@pytest.mark.parametrize("command", ["predict", "activations", "filters", "demo"])
def test_a_folder_that_cannot_be_written(
    run: Callable[..., Result], model: Path, photo: Path, tmp_path: Path, command: str
) -> None:
    place = tmp_path / "file"
    place.write_text("in the way")
    images = ["--on", photo] if command == "filters" else [photo]
    refused(run(command, model, *images, "--out", place), "'" + str(place) + "' is a file")
    refused(run(command, model, *images, "--out", place / "below"), "cannot write", "file")
    assert place.read_text() == "in the way"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(run: Callable[..., Result], model: Path, photo: Path, tmp_path: Path) -> None:
    place = tmp_path / "closed"
    place.mkdir()
    place.chmod(0o500)
    refused(run("activations", model, photo, "--out", place / "out"), "Permission denied")


def test_a_folder_on_a_file_system_that_cannot_be_written(run: Callable[..., Result], model: Path, photo: Path) -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("no /proc here")
    refused(run("activations", model, photo, "--out", "/proc/onnxray"), "cannot write", "/proc/onnxray")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if mount is None or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root and Linux")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("command", ["activations", "filters", "demo"])
def test_a_full_disk(run: Callable[..., Result], model: Path, photo: Path, full_disk: Path, command: str) -> None:
    images = ["--on", photo] if command == "filters" else [photo]
    refused(run(command, model, *images, "--out", full_disk / "out"), "No space left on device")
    assert not list(full_disk.rglob("*.part"))


def test_a_crash_of_the_process_is_none_of_these(model: Path, photo: Path, tmp_path: Path) -> None:
    """The same through a real process, where nothing catches what the runner would."""
    (tmp_path / "bad.onnx").write_bytes(model.read_bytes()[:500])
    command = [sys.executable, "-m", "onnxray.cli.main", "predict", str(tmp_path / "bad.onnx"), str(photo)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("onnxray: error: ")
