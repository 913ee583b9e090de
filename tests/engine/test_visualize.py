"""The front door: sizes, kinds of models, what is asked for, and one clear line for what cannot be had."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.cli.files.images import read
from onnxray.engine.errors import (
    Disconnected,
    GradientError,
    ImageError,
    MethodError,
    ModelError,
    ShapeError,
    TargetError,
    UnknownName,
)

Parse = Callable[..., onnx.ModelProto]
SURFACE = Path(onnxray.__file__).parent / "models" / "surface.onnx"


@pytest.fixture(scope="module")
def surface() -> onnxray.Model:
    return onnxray.load(SURFACE)


def test_a_class_of_the_builtin_model(surface: onnxray.Model) -> None:
    v = onnxray.visualize(surface, target="crack", steps=32, size=96, seed=1)
    assert v.images.shape == (1, 96, 96, 3)
    assert v.images.dtype == np.uint8
    assert v.after[0] > 0.99
    assert v.activations[0] == v.before[0] > 20
    assert v.objectives == ("logit:crack",)
    # No gray: the picture has structure; no pixel noise: most of its energy is at low frequencies.
    assert v.images.std() > 15
    assert high_energy(v.pictures[0]) < 0.3


def high_energy(picture: np.ndarray) -> float:
    """The share of the energy above 0.25 cycles per pixel."""
    plane = picture.mean(axis=0) - picture.mean()
    power = np.abs(np.fft.fft2(plane)) ** 2
    f = np.hypot(np.fft.fftfreq(plane.shape[0])[:, None], np.fft.fftfreq(plane.shape[1])[None])
    return float(power[f > 0.25].sum() / power.sum())


def test_channels_beat_the_sample_images(surface: onnxray.Model) -> None:
    layer, channels = "stage3/relu2", [0, 7, 20]
    v = onnxray.visualize(surface, layer, channels, steps=48)
    assert v.images.shape[:1] == (3,)
    from onnxray.cli.files.images import decode
    from onnxray.engine.preprocess.image import find_card, prepare_batch

    photos = [decode(p.read_bytes(), where=p.name) for p in sorted((SURFACE.parent / "samples").glob("*.png"))]
    x, _ = prepare_batch(photos, find_card(surface))
    before = onnxray.activations(surface, x, ["stage3/conv2"])["stage3/conv2"].mean(axis=(2, 3))
    for value, channel in zip(v.before, channels, strict=True):
        assert value > before[:, channel].max()


def test_the_same_picture_alone_and_among_others(surface: onnxray.Model) -> None:
    several = onnxray.visualize(surface, "stage2/relu2", "3-5", steps=4, threads=1)
    alone = onnxray.visualize(surface, "stage2/relu2", 4, steps=4, threads=1)
    assert (several.images[1] == alone.images[0]).all()


def test_a_batch_gives_the_same_pictures(surface: onnxray.Model) -> None:
    one, two = (onnxray.visualize(surface, "stage2/relu2", "3-5", steps=3, batch=b).pictures for b in (1, 2))
    assert np.abs(one - two).max() < 1e-3


def test_units_are_drawn_near_their_field(surface: onnxray.Model) -> None:
    assert onnxray.visualize(surface, "stage1/relu", 0, steps=1).images.shape[1:3] == (96, 96)
    assert onnxray.visualize(surface, "stage4/relu2", 0, steps=1).images.shape[1:3] == (128, 128)
    assert onnxray.visualize(surface, "stage1/relu", 0, steps=1, size=(40, 72)).images.shape[1:3] == (40, 72)


def test_everything_that_can_be_asked(surface: onnxray.Model) -> None:
    def of(**given: Any) -> tuple[str, ...]:
        return onnxray.visualize(surface, steps=1, size=64, **given).objectives

    layer = "stage3/relu2"
    assert of(layer=layer) == (f"layer:{layer}",)
    assert of(layer=layer, channel=3) == (f"channel:{layer}:3",)
    assert of(layer=layer, neuron=(3, 2, 2)) == (f"neuron:{layer}:3,2,2",)
    assert of(layer=layer, neuron=[(3, 2, 2), (4, 0, 0)]) == (f"neuron:{layer}:3,2,2", f"neuron:{layer}:4,0,0")
    assert of(layer=layer, direction=np.ones(64)) == (f"direction:{layer}",)
    assert of(target=[0, "pit"]) == ("logit:0", "logit:pit")
    assert of(target="prob:pit") == ("probability:pit",)
    assert of(target="contrast:pit,clean") == ("logit:pit + -1*logit:clean",)
    assert of(objective=f"channel:{layer}:3 + logit:pit") == (f"channel:{layer}:3 + logit:pit",)
    assert len(of(target="pit", count=2)) == 2


def test_minimised_is_low(surface: onnxray.Model) -> None:
    low, high = (onnxray.visualize(surface, "stage3/conv2", 3, steps=16, minimise=m) for m in (True, False))
    assert low.activations[0] < 0 < high.activations[0]
    assert low.activations[0] == pytest.approx(low.before[0])


def test_saved(surface: onnxray.Model, tmp_path: Path) -> None:
    v = onnxray.visualize(surface, "stage2/relu2", [1, 2], steps=2)
    paths = v.save(tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"0.png", "1.png", "pictures.npy", "manifest.json"}
    assert np.load(paths["pictures"]).shape == v.pictures.shape
    told = json.loads(paths["manifest"].read_text())
    assert told["objectives"] == ["channel:stage2/relu2:1", "channel:stage2/relu2:2"]
    assert told["options"]["optimiser"].startswith("adam:")


CONV = "g ({kind}[1,{shape}] x) => (y) {{ {front} a = Conv (t, w) r = Relu (a) f = Flatten (r) y = MatMul (f, d) }}"


@pytest.mark.parametrize(
    ("kind", "shape", "front", "channels", "options"),
    [
        ("float", "1,12,12", "t = Identity (x)", 1, {"order": "GRAY"}),
        ("float", "5,12,12", "t = Identity (x)", 5, {}),
        ("float", "12,12,3", "t = Transpose <perm = [0, 3, 1, 2]> (x)", 3, {}),
        ("float", "3,12,12", "t = Identity (x)", 3, {"order": "BGR", "mean": 128, "std": 64}),
        ("uint8", "12,12,3", "c = Cast <to = 1> (x) t = Transpose <perm = [0, 3, 1, 2]> (c)", 3, {}),
        ("float16", "3,12,12", "t = Cast <to = 1> (x)", 3, {}),
    ],
)
def test_kinds_of_input(
    kind: str, shape: str, front: str, channels: int, options: dict[str, Any], parse: Parse
) -> None:
    rng = np.random.default_rng(0)
    arrays = {"w": rng.standard_normal((4, channels, 3, 3)), "d": rng.standard_normal((400, 2))}
    text = CONV.format(kind=kind, shape=shape, front=front)
    proto = parse(text, **{name: a.astype(np.float32) for name, a in arrays.items()})
    v = onnxray.visualize(proto, "r", 1, steps=12, transforms=(), **options)
    assert v.pictures.shape == (1, channels, 12, 12)
    assert v.images.shape == (1, 12, 12, 3)
    assert v.history[0][-1] > v.history[0][0]
    larger = onnxray.visualize(proto, "r", 1, steps=2, size=(20, 31), **options)
    assert larger.images.shape == (1, 20, 31, 3)
    with pytest.raises(ShapeError, match="the size 12x12 of the image cannot be changed: at node 'f' .Flatten."):
        onnxray.visualize(proto, "y", 0, steps=1, size=20, **options)


def test_a_mirrored_order_is_seen_in_true_colours(parse: Parse) -> None:
    """A unit that sees blue, in a model that reads BGR, is drawn blue."""
    weights = np.zeros((1, 3, 1, 1), np.float32)
    weights[0, 0] = 1
    proto = parse("g (float[1,3,12,12] x) => (y) { y = Conv (x, w) }", w=weights)
    colour = (
        onnxray.visualize(proto, "y", 0, steps=60, order="BGR", transforms=(), parametrisation="pixels")
        .images[0]
        .mean(axis=(0, 1))
    )
    assert colour[2] > colour[:2].max() + 20


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({}, MethodError, "nothing is asked for"),
        ({"channel": 3}, MethodError, "name it with layer="),
        ({"layer": "stage9/relu2"}, UnknownName, "no layer or value named 'stage9/relu2'; nearest"),
        ({"layer": "stage3/relu2", "channel": 64}, TargetError, "has channels 0 to 63"),
        ({"layer": "stage3/relu2", "channel": "a"}, TargetError, "'a' is not a channel"),
        ({"layer": "stage3/relu2", "neuron": (1, 99, 0)}, TargetError, "the place 99,0 does not exist"),
        ({"target": "crak"}, UnknownName, "nearest: 'crack'"),
        ({"target": "predicted"}, TargetError, "needs an image"),
        ({"layer": "stage3/relu2", "size": 0}, ShapeError, "each side is 1 to 4096"),
        ({"target": 0, "parametrisation": "furier"}, UnknownName, "nearest: 'fourier'"),
        ({"target": 0, "transforms": ["jitter:pixels=x"]}, MethodError, "option pixels of jitter must be a number"),
        ({"target": 0, "optimiser": "adam:speed=1"}, UnknownName, "it has rate, beta1, beta2"),
        ({"target": 0, "schedule": "slow"}, UnknownName, "there are constant, cosine"),
        ({"target": 0, "steps": -1}, MethodError, "steps are at least 0"),
        ({"target": 0, "stepz": 3}, MethodError, "no option 'stepz'"),
    ],
)
def test_bad_input(given: dict[str, Any], error: type[Exception], words: str, surface: onnxray.Model) -> None:
    with pytest.raises(error, match=words) as caught:
        onnxray.visualize(surface, **given)
    assert "\n" not in str(caught.value)


def test_a_unit_that_does_not_depend_on_the_image(parse: Parse) -> None:
    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    weights[1] = 0
    proto = parse("g (float[1,3,12,12] x) => (y) { a = Conv (x, w) y = Relu (a) }", w=weights)
    with pytest.raises(Disconnected, match="channel:y:1 does not depend on the image: its gradient was 0"):
        onnxray.visualize(proto, "y", 1)
    among_others = onnxray.visualize(proto, "y", [0, 1], batch=2, steps=10)
    said = ("channel:y:1 does not depend on the image: its gradient was 0 in every step",)
    assert among_others.warnings == said
    assert onnxray.visualize(proto, "y", [1, 0], steps=10).warnings == said
    # What training left of weights that it shrank: the value does not change in float32, whatever the picture.
    weights[1] = 1e-30
    bias = np.array([0, -0.1, 0, 0], np.float32)
    shrunk = parse("g (float[1,3,12,12] x) => (y) { a = Conv (x, w, b) y = Relu (a) }", w=weights, b=bias)
    with pytest.raises(Disconnected, match="channel:y:1 does not depend on the image"):
        onnxray.visualize(shrunk, "y", 1)


def test_a_unit_that_is_silent_near_gray_begins_with_stronger_noise(parse: Parse) -> None:
    # It answers to neighbours that differ by more than 0.02 of the range, which the usual noise has none of.
    weights = np.zeros((1, 3, 1, 2), np.float32)
    weights[0, 1, 0] = 1, -1
    text = """g (float[1,3,24,24] x) => (y) {
      a = Conv (x, w) b = Add (a, low) r = Relu (b) y = Conv (r, one) }"""
    low, one = np.full((1, 1, 1, 1), -0.02, np.float32), np.ones((1, 1, 1, 1), np.float32)
    model = onnxray.load(parse(text, w=weights, low=low, one=one), mean=0, std=255)
    v = onnxray.visualize(model, "y", 0, steps=20, size=24, transforms=(), snapshots=4)
    assert v.before[0] > 0
    assert v.warnings == ("channel:y:0 had no gradient at the usual start: its picture began with stronger noise",)
    assert len(v.snapshots[0]) == 6


def test_a_layer_with_no_gradient_path(parse: Parse) -> None:
    text = (
        "g (float[1,3,12,12] x, float[1,4,1,1] z) => (y, u) { s = Sign (x) a = Conv (s, w) y = Relu (a) u = Exp (z) }"
    )
    proto = parse(text, w=np.ones((4, 3, 3, 3), np.float32))
    with pytest.raises(Disconnected, match="there is nothing to optimise.*the path ends at 'Sign'"):
        onnxray.visualize(proto, "y", 1, steps=1)
    with pytest.raises(Disconnected, match="'u' does not depend on the image|'z'"):
        onnxray.visualize(proto, "u", 1, steps=1)


def test_integers_inside_are_refused_with_the_reason(parse: Parse) -> None:
    text = """g (float[1,3,12,12] x) => (y) <float scale = {0.1}, uint8 zero = {128}> {
      q = QuantizeLinear (x, scale, zero) a = ConvInteger (q, w, zero) y = Cast <to = 1> (a) }"""
    proto = parse(text, w=np.ones((4, 3, 3, 3), np.uint8))
    with pytest.raises(GradientError, match="ConvInteger"):
        onnxray.visualize(proto, "y", 1, steps=1)
    text = """g (float[1,3,12,12] x) => (y) <float scale = {0.1}, uint8 zero = {128}> {
      a = Conv (x, w) q = QuantizeLinear (a, scale, zero) d = DequantizeLinear (q, scale, zero) y = Relu (d) }"""
    proto = parse(text, w=np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32))
    with pytest.raises(GradientError, match="'q' holds uint8 numbers, .*: choose 'd', which is dequantised of it"):
        onnxray.visualize(proto, "q", 1, steps=1)
    assert onnxray.visualize(proto, "d", 1, steps=8).before[0] > 0


def test_a_size_that_nothing_is_left_of(surface: onnxray.Model, parse: Parse) -> None:
    proto = parse("g (float[1,3,h,w] x) => (y) { y = Conv (x, w) }", w=np.ones((4, 3, 9, 9), np.float32))
    with pytest.raises(ShapeError, match="cannot take a picture of 8x8 pixels"):
        onnxray.visualize(proto, "y", 1, steps=1, size=8)


def test_images_of_a_data_set_next_to_the_pictures(surface: onnxray.Model, tmp_path: Path) -> None:
    from onnxray.engine.preprocess.image import find_card, prepare

    samples = onnxray.samples()
    asked: dict[str, Any] = {"channel": [1, 5], "steps": 1, "count": 2}
    v = onnxray.visualize(surface, "stage2/relu2", on=[*samples, samples[3]], **asked)
    values = {}
    for path in samples:
        x = prepare(read(path), find_card(surface)).tensor
        values[str(path)] = onnxray.activations(surface, x, ["stage2/conv2"])["stage2/conv2"][0].mean(axis=(1, 2))
    assert len(v.examples) == len(v) == 4
    for row, channel in zip(v.examples, [1, 1, 5, 5], strict=True):
        assert [e.name for e in row] == sorted(values, key=lambda p: -values[p][channel])[:4]
        assert [e.value for e in row] == pytest.approx([values[e.name][channel] for e in row], rel=1e-4)
        np.testing.assert_array_equal(row[0].pixels, read(row[0].name))
    least = onnxray.visualize(surface, "stage2/relu2", on=samples[0].parent, minimise=True, **asked)
    assert [e.name for e in least.examples[0]] == sorted(values, key=lambda p: values[p][1])[:4]
    assert least.examples[0][0].value == pytest.approx(min(values[p][1] for p in values), rel=1e-4)
    paths = v.save(tmp_path / "out")
    np.testing.assert_array_equal(read(paths["3-example-2"]), v.examples[3][1].pixels)
    told = json.loads(paths["manifest"].read_text())["examples"][2]
    assert told["number"] == 2
    assert [image["path"] for image in told["images"]] == [e.name for e in v.examples[2]]
    arrays = onnxray.visualize(surface, "stage2/relu2", on=[read(path) for path in samples], **asked)
    assert [e.value for e in arrays.examples[2]] == [e.value for e in v.examples[2]]
    assert arrays.pictures.tobytes() == v.pictures.tobytes()


def test_the_same_unit_of_checkpoints(surface: onnxray.Model, tmp_path: Path) -> None:
    later = onnx.load(SURFACE)
    for weights in later.graph.initializer:
        if weights.name.startswith("stage1"):
            array = onnx.numpy_helper.to_array(weights)
            weights.CopyFrom(onnx.numpy_helper.from_array(array * np.float32(1.5), weights.name))
    calls: list[tuple[int, int, float]] = []
    asked: dict[str, Any] = {"channel": [1, 5], "steps": 3, "size": 64, "seed": 2}
    v = onnxray.visualize(
        surface, "stage2/relu2", checkpoints=[SURFACE, later], progress=lambda *call: calls.append(call), **asked
    )
    same, other = v.checkpoints
    assert same.pictures.tobytes() == v.pictures.tobytes()
    alone = onnxray.visualize(later, "stage2/relu2", **asked)
    assert other.pictures.tobytes() == alone.pictures.tobytes() != v.pictures.tobytes()
    assert [call[:2] for call in calls] == [(i, 18) for i in range(1, 19)]
    strip = v.strip(1)
    assert strip.shape == (64, 3 * 64 + 8, 3)
    np.testing.assert_array_equal(strip[:, -64:], alone.images[1])
    assert (strip[:, 64:68] == 255).all()
    paths = v.save(tmp_path / "out")
    np.testing.assert_array_equal(read(paths["1-strip"]), strip)
    assert len(json.loads(paths["manifest"].read_text())["checkpoints"]) == 2
    assert onnxray.visualize(surface, "stage2/relu2", checkpoints=later, **asked).checkpoints[0].images.shape[0] == 2


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"on": []}, ShapeError, "there is no image in what was given as on="),
        ({"on": [3]}, ShapeError, "image 0 is a int"),
        ({"on": "no/such/folder"}, ImageError, "no/such/folder"),
        ({"on": [np.zeros((9, 9, 3), np.uint8)], "objective": "like:reference"}, MethodError, "reference="),
        ({"checkpoints": ["none.onnx"]}, ModelError, "no such model file: 'none.onnx'"),
    ],
)
def test_bad_examples_and_checkpoints(
    given: dict[str, Any], error: type[Exception], words: str, surface: onnxray.Model
) -> None:
    with pytest.raises(error, match=words):
        onnxray.visualize(surface, "stage2/relu2", 1, steps=1, **given)
