"""How models hear: rates, frames, states that are carried, and what is refused."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import onnxray
from onnxray.engine.errors import CardError, SoundError
from onnxray.engine.load import load
from onnxray.engine.sound.given import Sound
from onnxray.engine.sound.hearing import frames_of, hearing, hears

from .test_plane import tone_model


def leaky(length: int | str = "T", rate: bool = False) -> onnx.ModelProto:
    """(N, T), state (1, N, 1) -> the mean power plus half the state; with a rate, an If over it that must be 16000."""

    def info(name: str, shape: list[int | str], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    def branch(scale: float) -> onnx.GraphProto:
        nodes = [helper.make_node("Constant", [], ["s"], value_float=scale), helper.make_node("Mul", ["q", "s"], ["b"])]
        return helper.make_graph(nodes, "branch", [], [info("b", ["N", length])])

    nodes = [
        helper.make_node("Mul", ["x", "x"], ["q"]),
        *(
            [
                helper.make_node("Constant", [], ["r"], value_int=16000),
                helper.make_node("Equal", ["sr", "r"], ["is"]),
                helper.make_node("If", ["is"], ["z"], then_branch=branch(1.0), else_branch=branch(100.0)),
            ]
            if rate
            else [helper.make_node("Identity", ["q"], ["z"])]
        ),
        helper.make_node("ReduceMean", ["z"], ["p"], axes=[1]),
        helper.make_node("Unsqueeze", ["p", "zero"], ["u"]),
        helper.make_node("Mul", ["state", "half"], ["h"]),
        helper.make_node("Add", ["u", "h"], ["stateN"]),
        helper.make_node("Squeeze", ["stateN", "zero"], ["y"]),
    ]
    arrays = {"zero": np.array([0]), "half": np.array(0.5, np.float32)}
    inputs = [info("x", ["N", length]), info("state", [1, "N", 1])]
    inputs += [info("sr", [], TensorProto.INT64)] * rate
    graph = helper.make_graph(
        nodes,
        "leaky",
        inputs,
        [info("y", ["N", 1]), info("stateN", [1, "N", 1])],
        [onnx.numpy_helper.from_array(a, n) for n, a in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("rate", [False, True])
def test_states_are_carried_from_frame_to_frame(rate: bool) -> None:
    """The score of a frame is what the frames before it have left, written out step by step."""
    x = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    sound = {"rate": 16000, "frame": 100, "context": 20}
    e = onnxray.explain(leaky(rate=rate), Sound(x, 16000), "input-x-gradient", "value", sound=sound)
    padded, state, wanted = np.concatenate([np.zeros(20, np.float32), x]), 0.0, []
    for start in range(0, 1000, 100):
        state = float((padded[start : start + 120] ** 2).mean()) + 0.5 * state
        wanted.append(state)
    np.testing.assert_allclose(e.sound.scores, wanted, rtol=1e-5)
    assert e.sound.explained == (int(np.argmax(wanted)),)
    assert e.sound.start == pytest.approx((100 * e.sound.explained[0] - 20) / 16000)
    # The power of the frame is quadratic: input x gradient is twice it.
    best = e.sound.explained[0]
    assert float(e.values.sum()) == pytest.approx(
        2 * float((padded[100 * best : 100 * best + 120] ** 2).mean()), rel=1e-4
    )
    whole = onnxray.explain(leaky(rate=rate), Sound(x, 16000, "all"), "input-x-gradient", "value", sound=sound)
    parts = [float((padded[s : s + 120] ** 2).mean()) for s in range(0, 1000, 100)]
    assert float(whole.values.sum()) == pytest.approx(2 * sum(parts), rel=1e-4)
    assert whole.sound.explained == tuple(range(10))


def test_one_frame_by_its_number() -> None:
    x = np.ones(250, np.float32)
    e = onnxray.explain(
        leaky(), Sound(x, 8000, 2), "input-x-gradient", "value", sound={"rate": 8000, "frame": 100, "context": 0}
    )
    assert e.sound.explained == (2,)
    with pytest.raises(SoundError, match="no frame 3: the sound has 3, from 0 to 2"):
        onnxray.explain(leaky(), Sound(x, 8000, 3), sound={"rate": 8000, "frame": 100})


def test_a_sound_is_resampled_cut_into_what_the_model_hears_and_said_so() -> None:
    model = load(tone_model(), sound={"rate": 8000})
    x = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    e = onnxray.explain(model, Sound(x, 16000), "input-x-gradient", 0)
    assert e.sound.rate == 8000
    assert len(e.sound.samples) == 8000
    assert not e.warnings
    other = onnxray.explain(tone_model(), Sound(x, 16000), "input-x-gradient", 0)
    assert any("the sound's own, 16000 Hz" in text for text in other.warnings)


def test_fixed_lengths_are_frames_and_short_sounds_are_filled_up() -> None:
    model = tone_model()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 4000
    heard = hearing(load(model))
    assert (heard.frame, heard.context, heard.length) == (4000, 0, 4000)
    frames, starts = frames_of(np.ones(9000, np.float32), heard)
    assert frames.shape == (3, 4000)
    assert starts.tolist() == [0, 4000, 8000]
    assert frames[2].sum() == 1000
    short = onnxray.explain(model, Sound(np.ones(10, np.float32), 8000), "gradient", 0, sound={"rate": 8000})
    assert any("10 samples, the model hears 4000" in text for text in short.warnings)


@pytest.mark.parametrize(
    ("samples", "rate", "words"),
    [
        ([], 8000, "no samples"),
        ([float("nan")] * 9, 8000, "NaN"),
        (np.zeros((2, 900)), 8000, "more channels than samples"),
        (np.zeros((2, 2, 2)), 8000, "give \\(T,\\) or"),
        (np.zeros(9), 0, "the rate 0"),
        (np.zeros(9), 8000.5, "the rate 8000.5"),
        (np.zeros(9, complex), 8000, "complex128"),
    ],
)
def test_what_is_no_sound(samples: object, rate: int, words: str) -> None:
    with pytest.raises(SoundError, match=words):
        Sound(samples, rate)
    with pytest.raises(SoundError, match="frames='most'"):
        Sound([0.0], 8000, "most")  # type: ignore[arg-type]


def test_integers_count_in_parts_of_full_scale() -> None:
    np.testing.assert_allclose(Sound(np.array([-32768, 0, 16384], np.int16), 8000).samples, [-1, 0, 0.5])
    np.testing.assert_allclose(Sound(np.array([0, 128, 192], np.uint8), 8000).samples, [-1, 0, 0.5])
    np.testing.assert_allclose(Sound(np.array([[1.0, 0.0]] * 3, np.float32), 8000).samples, [0.5] * 3)


def test_models_that_hear_nothing() -> None:
    with pytest.raises(SoundError, match="carries a state"):
        onnxray.explain(leaky(), Sound(np.ones(9), 8000))
    with pytest.raises(SoundError, match="asks for a rate"):
        onnxray.explain(leaky(rate=True), Sound(np.ones(9), 8000))
    with pytest.raises(SoundError, match="no input of samples|no row of samples"):
        onnxray.explain("builtin", Sound(np.ones(9), 8000))
    with pytest.raises(SoundError, match="they have to add up"):
        onnxray.explain(leaky(100), Sound(np.ones(9), 8000), sound={"rate": 8000, "frame": 80})
    with pytest.raises(SoundError, match="leave at= out"):
        onnxray.explain(tone_model(), Sound(np.ones(900), 8000), at="c")
    assert hears(load(tone_model()))
    assert not hears(load("builtin"))


@pytest.mark.parametrize("sound", [{"rate": 0}, {"rat": 1}, {"window": 30}, "rate=x", 7, {"rate": True}])
def test_cards_that_make_no_sense(sound: object) -> None:
    with pytest.raises(CardError, match="sound in the options must be"):
        load(tone_model(), sound=sound)
    assert load(tone_model(), sound="rate=8000, window=64").overrides["sound"] == {"rate": 8000, "window": 64}


def shipped(package: str, file: str) -> Path:
    """A model that a package of PyPI ships; skipped where it is not there (ONNXRAY_SOUNDS names a folder of wheels
    unpacked, else what is installed)."""
    places = [Path(os.environ["ONNXRAY_SOUNDS"]) / package] if "ONNXRAY_SOUNDS" in os.environ else []
    if (spec := importlib.util.find_spec(package)) is not None and spec.origin:
        places.append(Path(spec.origin).parent)
    found = [path for place in places for path in sorted(place.rglob(file))]
    if not found:
        pytest.skip(f"{package} is not installed, and ONNXRAY_SOUNDS names no folder that has it")
    return found[0]


@pytest.mark.parametrize("file", ["silero_vad.onnx", "silero_vad_op18_ifless.onnx", "silero_vad_16k_op15.onnx"])
def test_silero_hears_a_burst(file: str) -> None:
    """A voiced burst from 0.8 to 1.2 s: nine tenths of the relevance over all frames lie there."""
    path = shipped("silero_vad", file)
    rng, t = np.random.default_rng(0), np.arange(32000) / 16000
    x, burst = 0.002 * rng.standard_normal(32000), (t > 0.8) & (t < 1.2)
    voice = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20)) * (1 + 0.5 * np.sin(2 * np.pi * 4 * t))
    x[burst] += 0.2 * voice[burst]
    e = onnxray.explain(path, Sound(x, 16000, "all"), "input-x-gradient")
    inside = (e.sound.times > 0.77) & (e.sound.times < 1.23)
    share = np.abs(e.values).sum(axis=0)
    assert share[inside].sum() >= 0.89 * share.sum()
    strongest = onnxray.explain(path, Sound(x, 16000), "input-x-gradient")
    assert 0.75 < strongest.sound.start < 1.2
    assert strongest.score > 0.5


def test_basic_pitch_hears_the_note_where_it_is() -> None:
    path = shipped("basic_pitch", "nmp.onnx")
    t = np.arange(43844) / 22050
    x, note = 0.001 * np.random.default_rng(0).standard_normal(43844), (t > 0.6) & (t < 1.0)
    x[note] += 0.5 * np.sin(2 * np.pi * 440 * t[note]) * np.hanning(note.sum()) ** 0.25
    e = onnxray.explain(
        path, Sound(x, 22050), "input-x-gradient", "element:StatefulPartitionedCall:1:75,48", sound={"rate": 22050}
    )
    inside = (e.sound.times > 0.55) & (e.sound.times < 1.05)
    assert np.abs(e.values)[:, inside].sum() >= 0.95 * np.abs(e.values).sum()


def test_the_spectrogram_of_openwakeword_is_explained_by_its_sound() -> None:
    path = shipped("openwakeword", "melspectrogram.onnx")
    x = (1000 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)).astype(np.float32)
    got = onnxray.activations(path, x[None], ["output"])["output"]
    band = int(got[0, 0, 40].argmax())
    target = f"element:output:0,40,{band}"
    e = onnxray.explain(path, Sound(x, 16000), "input-x-gradient", target, sound={"rate": 16000})
    loudest = e.sound.frequencies[np.abs(e.values).sum(axis=1).argmax()]
    assert abs(loudest - 1000) < 150
