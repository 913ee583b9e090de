"""`explain` of sounds: values, pictures, what is heard, and the page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result

import onnxray
from onnxray.cli.files.images import read
from onnxray.cli.files.sounds import read_sound, wav_of
from onnxray.tests.engine.sound.test_hearing import leaky
from onnxray.tests.engine.sound.test_plane import tone_model

Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx.save(tone_model(), tmp_path / "tones.onnx")
    onnx.save(leaky(), tmp_path / "leaky.onnx")
    rng = np.random.default_rng(0)
    x = 0.01 * rng.standard_normal(4000)
    x[1000:2000] += 0.5 * np.sin(2 * np.pi * 1000 * np.arange(1000) / 8000)
    (tmp_path / "clip.wav").write_bytes(wav_of(x, 8000))
    (tmp_path / "two & <b>.wav").write_bytes(wav_of(x[::-1], 8000))
    return tmp_path


def test_everything_is_written_and_equals_python(run: Run, folder: Path) -> None:
    given = ("explain", folder / "tones.onnx", folder / "clip.wav", folder / "two & <b>.wav")
    out = folder / "out"
    result = run(*given, "--sound", "rate=8000", "-m", "input-x-gradient,occlusion", "-t", "0", "-o", out, "--json")
    assert result.exit_code == 0, result.stderr
    entries = json.loads(result.stdout)["images"]
    assert [len(entry["maps"]) for entry in entries] == [2, 2]
    for entry in entries:
        for name in entry["files"]:
            assert (out / name).is_file()
    (first, second) = entries[0]["maps"]
    assert first["sound"]["rate"] == 8000
    e = onnxray.explain(folder / "tones.onnx", folder / "clip.wav", "input-x-gradient", 0, sound={"rate": 8000})
    np.testing.assert_array_equal(np.load(out / first["files"][0]), e.values)
    sound, heard, without = (read_sound(out / name).samples for name in (entries[0]["files"][0], *first["files"][-2:]))
    np.testing.assert_allclose(heard + without, sound, atol=1e-4)
    figure = read(out / next(n for n in first["files"] if n.endswith("input-x-gradient.png")))
    assert figure.shape[1] > 1000
    page = (out / "index.html").read_text()
    assert "two &amp; &lt;b&gt;.wav" in page
    named = re.findall(r'src="([^"]+)"', page)
    assert len(named) == 2 * 2 * 5
    assert all((out / name).is_file() for name in named)
    assert second["method"] == "occlusion"


def test_frames_are_asked_for(run: Run, folder: Path) -> None:
    given = ("explain", folder / "leaky.onnx", folder / "clip.wav", "--sound", "rate=8000,frame=500", "-t", "value")
    for frames, wanted in (("strongest", 1), ("all", 8), ("2", 1)):
        out = folder / frames
        result = run(*given, "--frames", frames, "-m", "input-x-gradient", "-o", out, "--json")
        assert result.exit_code == 0, result.stderr
        (found,) = json.loads(result.stdout)["images"][0]["maps"]
        assert len(found["sound"]["frames"]) == wanted
    assert json.loads((folder / "2/manifest.json").read_text())["images"][0]["maps"][0]["sound"]["frames"] == [2]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--sound", "rate=0"), "sound"),
        (("--frames", "some"), "none of strongest, all"),
        (("--trust",), "sounds are given"),
        (("--at", "c"), "leave --at out"),
        (("--crop", "0,0,5,5"), "--crop is about images"),
        (("--max-failures", "1"), "--max-failures is about images"),
        (("--resume",), "--force in place of --resume"),
        (("-m", "attention-rollout"), "attention"),
    ],
)
def test_what_makes_no_sense_is_one_line(run: Run, folder: Path, more: tuple[str, ...], words: str) -> None:
    result = run("explain", folder / "tones.onnx", folder / "clip.wav", *more, "-o", folder / "out", "-q")
    assert result.exit_code
    assert words in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith(("Error", "onnxray: error"))]) <= 1


def test_frames_without_a_sound(run: Run, folder: Path) -> None:
    np.save(folder / "x.npy", np.zeros((1, 1, 900), np.float32))
    result = run("explain", folder / "tones.onnx", folder / "x.npy", "--frames", "all", "-o", folder / "out")
    assert "--frames is about sounds" in result.stderr


def test_a_broken_file_fails_alone(run: Run, folder: Path) -> None:
    (folder / "broken.wav").write_bytes(b"RIFF\0\0\0\0WAVE")
    given = ("explain", folder / "tones.onnx", folder / "clip.wav", folder / "broken.wav", "--sound", "rate=8000")
    result = run(*given, "-m", "gradient", "-t", "0", "-o", folder / "out")
    assert result.exit_code == 1
    assert "broken.wav" in result.stderr
    assert (folder / "out/index.html").is_file()
