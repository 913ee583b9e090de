"""Files of sounds: told by content, read with and without libsndfile, refused in one line."""

from __future__ import annotations

import sys
import wave
from pathlib import Path

import numpy as np
import pytest

import onnxray
from onnxray.cli.files import sounds
from onnxray.cli.files.sounds import is_sound_file, read_sound, sound_files, wav_of
from onnxray.engine.errors import SoundError
from onnxray.tests.engine.sound.test_plane import tone_model

X = (0.5 * np.sin(2 * np.pi * 440 * np.arange(4000) / 8000)).astype(np.float32)


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "aiff"])
def test_every_kind_is_told_by_content_and_read(tmp_path: Path, kind: str) -> None:
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "clip.dat"
    soundfile.write(path, np.stack([X, X], axis=1), 8000, format=kind.upper())
    assert is_sound_file(path)
    found = read_sound(path)
    assert found.rate == 8000
    np.testing.assert_allclose(found.samples, X, atol=0.03 if kind == "ogg" else 1e-4)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_wav_of_whole_numbers_without_libsndfile(tmp_path: Path, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.wav"
    whole = np.rint(X.astype(np.float64) * (2 ** (8 * width - 1) - 1)).astype("<i4")
    data = (
        (whole + 128).astype(np.uint8).tobytes()
        if width == 1
        else whole.view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
    )
    with wave.open(str(path), "wb") as file:
        file.setparams((1, width, 8000, 0, "NONE", ""))
        file.writeframes(data)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    found = read_sound(path)
    np.testing.assert_allclose(found.samples, X, atol=2.0 ** -(8 * width - 2))
    other = tmp_path / "other.flac"
    other.write_bytes(b"fLaC" + bytes(100))
    with pytest.raises(SoundError, match=r"onnxray\[audio\]"):
        read_sound(other)


def test_written_sounds_are_read_again(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav_of(X, 8000))
    np.testing.assert_allclose(read_sound(tmp_path / "a.wav").samples, X, atol=1e-4)


@pytest.mark.parametrize(
    "data", [b"RIFF\0\0\0\0WAVE", b"fLaC" + bytes(50), b"OggS" + bytes(500), b"RIFF\xff\xff\xff\xffWAVEfmt "]
)
def test_broken_files_are_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "broken.wav"
    path.write_bytes(data)
    assert is_sound_file(path)
    with pytest.raises(SoundError) as refused:
        read_sound(path)
    assert "broken.wav" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("library", [True, False])
def test_a_sound_that_is_too_long_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: bool
) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(wav_of(X, 8000))
    monkeypatch.setattr(sounds, "MOST_SAMPLES", 1000)
    if not library:
        monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(SoundError, match=r"4000 samples, more than .*1000: cut it"):
        read_sound(path)


def test_files_folders_and_patterns(tmp_path: Path) -> None:
    for name in ("b10.wav", "b2.wav", "note.txt"):
        (tmp_path / name).write_bytes(wav_of(X, 8000))
    assert [p.name for p in sound_files([str(tmp_path)])] == ["b2.wav", "b10.wav"]
    assert [p.name for p in sound_files([str(tmp_path / "*.wav"), str(tmp_path / "b2.wav")])] == ["b2.wav", "b10.wav"]
    with pytest.raises(SoundError, match="matches no sound"):
        sound_files([str(tmp_path / "*.flac")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SoundError, match="has no sound in it"):
        sound_files([str(tmp_path / "empty")])
    assert not is_sound_file(tmp_path / "none.wav")


def test_python_takes_paths(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav_of(X, 8000))
    found = onnxray.explain(tone_model(), str(tmp_path / "a.wav"), "input-x-gradient", 0, sound={"rate": 8000})
    again = onnxray.explain(tone_model(), [tmp_path / "a.wav"], "input-x-gradient", 0, sound={"rate": 8000})
    assert isinstance(again, onnxray.Explanations)
    np.testing.assert_array_equal(found.values, again[0].values)
    assert found.sound.rate == 8000
