"""Maps over spectrograms: Hz and seconds at the axes, as the card says; planted tones are found in their band."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import TensorProto, helper, numpy_helper

import onnxray
from onnxray.cli.figures import spectrogram
from onnxray.cli.files.images import read
from onnxray.engine.sound.bands import band_frequencies, mel

SOUND = {"rate": 8000, "hop": 80, "mel": 1, "low": 60, "high": 3800}
BANDS, TIMES = 24, 100


def bank(rate: int, size: int) -> np.ndarray:
    """(bands, bins): triangles that are even in mel, written out from the definition."""
    ends = np.linspace(mel(np.array(60.0)), mel(np.array(3800.0)), BANDS + 2)
    hz = 700 * (10 ** (ends / 2595) - 1)
    bins = np.arange(size // 2 + 1) * rate / size
    up = (bins - hz[:-2, None]) / (hz[1:-1] - hz[:-2])[:, None]
    down = (hz[2:, None] - bins) / (hz[2:] - hz[1:-1])[:, None]
    return np.maximum(0, np.minimum(up, down))


def log_mel(x: np.ndarray) -> np.ndarray:
    """(bands, times) of a sound at 8 kHz."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(x, (0, 256)), 256)[::80][:TIMES]
    power = np.abs(np.fft.rfft(frames * np.hanning(256), axis=1)) ** 2
    return np.log(bank(8000, 256) @ power.T + 1e-3).astype(np.float32)


def model() -> onnx.ModelProto:
    """(N, 1, bands, times) -> (N, 1): how strong the strongest cell is against its surroundings."""
    weight = -np.ones((4, 1, 5, 5), np.float32) / 24
    weight[:, :, 2, 2] = 1
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[2] * 4, kernel_shape=[5, 5]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalMaxPool", ["r"], ["m"]),
        helper.make_node("ReduceMean", ["m"], ["y"], axes=[1, 2, 3], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "mel",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, BANDS, TIMES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_bands_are_those_of_the_bank() -> None:
    weights = bank(8000, 4096)
    peaks = np.arange(2049)[weights.argmax(axis=1)] * 8000 / 4096
    np.testing.assert_allclose(band_frequencies(SOUND, BANDS), peaks, atol=2)
    np.testing.assert_allclose(band_frequencies({"rate": 8000}, 5), [0, 1000, 2000, 3000, 4000])


def test_a_planted_tone_is_found_in_its_band_and_time() -> None:
    rng, right = np.random.default_rng(0), 0
    for _ in range(20):
        band, at = int(rng.integers(3, 22)), int(rng.integers(1000, 6000))
        hz = band_frequencies(SOUND, BANDS)[band]
        x = 0.05 * rng.standard_normal(8000)
        x[at : at + 200] += np.sin(2 * np.pi * hz * np.arange(200) / 8000)
        e = onnxray.explain(model(), log_mel(x)[None, None], "input-x-gradient", "value", sound=SOUND)
        found = np.unravel_index(int(e.values[0].argmax()), (BANDS, TIMES))
        right += abs(found[0] - band) <= 1 and at - 256 <= found[1] * 80 <= at + 200
    assert right >= 19


@pytest.mark.parametrize("method", ["input-x-gradient", "occlusion"])
def test_the_command_draws_it(method: str, run: Callable[..., Result], tmp_path: Path) -> None:
    onnx.save(model(), tmp_path / "mel.onnx")
    x = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)
    np.save(tmp_path / "x.npy", log_mel(x)[None, None])
    said = ",".join(f"{name}={value}" for name, value in SOUND.items())
    given = ("explain", tmp_path / "mel.onnx", tmp_path / "x.npy", "-t", "value", "-m", method)
    result = run(*given, "--sound", said, "-o", tmp_path / "out", "-q")
    assert result.exit_code == 0, result.stderr
    (picture,) = (tmp_path / "out").rglob("*.png")
    assert read(picture).shape[1] > 1000


def test_a_guess_of_the_axis_of_time_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(spectrogram.figure, "page", lambda title, lines, blocks: said.extend(lines))
    x = np.zeros((1, 1, BANDS, TIMES), np.float32) + np.arange(TIMES, dtype=np.float32)
    e = onnxray.explain(model(), x, "gradient", "value", sound=SOUND)
    spectrogram.figure_of(e, x[0], "title")
    assert any("Time is taken to be the longer axis" in line for line in said)


def test_what_is_no_spectrogram() -> None:
    x = np.zeros((1, 1, BANDS, TIMES), np.float32) + np.arange(TIMES, dtype=np.float32)
    plain = onnxray.explain(model(), x, "gradient", "value")
    said = onnxray.explain(model(), x, "gradient", "value", sound=SOUND)
    assert not spectrogram.is_spectrogram(plain, x[0])
    assert spectrogram.is_spectrogram(said, x[0])
    assert not spectrogram.is_spectrogram(said, x[0, :, :1])
