"""The front door: starts, targets, guides, kinds of models, and one clear line for what cannot be had."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

import onnxray
from onnxray.cli.files.images import read
from onnxray.engine.errors import Disconnected, GradientError, MethodError, ShapeError, TargetError, UnknownName
from onnxray.engine.optimize.dream.octaves import resized

Parse = Callable[..., onnx.ModelProto]
ROOT = Path(onnxray.__file__).parent
LAYER = "stage3/relu2"
ZOO = Path(os.environ.get("ONNXRAY_ZOO", "missing"))


@pytest.fixture(scope="module")
def surface() -> onnxray.Model:
    return onnxray.load(ROOT / "models" / "surface.onnx")


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return read(onnxray.samples()[3])


def test_a_photo_shows_more_of_the_layer_and_stays_the_photo(surface: onnxray.Model, photo: np.ndarray) -> None:
    v = onnxray.dream(surface, photo, LAYER)
    assert v.images.shape == (1, *photo.shape)
    assert v.images.dtype == np.uint8
    assert v.activations[0] > 2 * v.starts[0]
    assert v.objectives == (f"layer:{LAYER}",)
    changed = np.abs(v.images[0].astype(int) - photo).mean()
    assert 4 < changed < 60
    before, after = (
        resized(np.asarray(p, np.float32).transpose(2, 0, 1), (20, 20)).ravel() for p in (photo, v.images[0])
    )
    assert np.corrcoef(before, after)[0, 1] > 0.7


def test_without_the_covariance_colours_are_a_rainbow(surface: onnxray.Model, photo: np.ndarray) -> None:
    """The mean distance of channels from each other grows much more."""

    def colour(pixels: np.ndarray) -> float:
        return float(np.ptp(pixels.astype(int), axis=-1).mean())

    plain, rainbow = (onnxray.dream(surface, photo, LAYER, colours=c).images[0] for c in (True, False))
    assert colour(rainbow) > 1.2 * colour(plain)


def test_the_same_bytes_for_the_same_seed(surface: onnxray.Model, photo: np.ndarray) -> None:
    first, again, other = (onnxray.dream(surface, photo, LAYER, steps=2, seed=s, threads=1) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.pictures, again.pictures)
    assert (first.pictures != other.pictures).any()


def test_noise(surface: onnxray.Model) -> None:
    v = onnxray.dream(surface, None, LAYER, steps=3)
    assert v.images.shape == (1, 160, 160, 3)
    assert v.activations[0] > v.starts[0]
    sized = onnxray.dream(surface, "noise", LAYER, steps=1, size=(72, 100))
    assert sized.images.shape == (1, 72, 100, 3)


def test_files_and_pillow_images(surface: onnxray.Model) -> None:
    from PIL import Image

    path = onnxray.samples()[3]
    of_file = onnxray.dream(surface, path, LAYER, steps=1, guide=str(onnxray.samples()[5]))
    of_pillow = onnxray.dream(surface, Image.open(path), LAYER, steps=1, guide=Image.open(onnxray.samples()[5]))
    np.testing.assert_array_equal(of_file.images, of_pillow.images)


def test_everything_that_can_be_asked(surface: onnxray.Model, photo: np.ndarray) -> None:
    def of(*args: Any, **given: Any) -> str:
        (found,) = onnxray.dream(surface, photo, *args, steps=1, octaves=1, **given).objectives
        return found

    assert of(LAYER, 3) == f"channel:{LAYER}:3"
    assert of(target="pit") == "logit:pit"
    assert of(objective=f"layer:{LAYER} + 0.5*logit:pit") == f"layer:{LAYER} + 0.5*logit:pit"
    assert of(surface.layers[9]) == f"layer:{surface.layers[9].name}"
    assert of(LAYER, guide=photo) == f"guide:{LAYER}"


def test_several_layers_pull_as_their_weights_say(surface: onnxray.Model, photo: np.ndarray) -> None:
    """Whatever their numbers are: a weight of 0 leaves a layer out, equal weights move both."""
    low, high = "stage1/relu", "stage4/relu2"
    alone = onnxray.dream(surface, photo, low, steps=2, octaves=1).pictures
    with_none = onnxray.dream(surface, photo, {low: 1, high: 0}, steps=2, octaves=1).pictures
    assert np.abs(alone - with_none).max() < 1e-3
    both = onnxray.dream(surface, photo, [low, high], steps=4, octaves=1)
    for layer in (low, high):
        before, after = (
            float(np.square(onnxray.activations(surface, pixels, [layer])[layer]).mean())
            for pixels in (photo, both.images[0])
        )
        assert after > 1.1 * before


def test_a_guide_makes_features_more_like_its_own(surface: onnxray.Model, photo: np.ndarray) -> None:
    """The mean over places of the best cosine with the guide's features."""
    guide = read(onnxray.samples()[5])

    def features(pixels: np.ndarray) -> np.ndarray:
        found = onnxray.activations(surface, pixels, [LAYER])[LAYER][0]
        rows = found.reshape(len(found), -1).T.astype(np.float64)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)

    def likeness(pixels: np.ndarray) -> float:
        return float((features(pixels) @ features(guide).T).max(axis=1).mean())

    guided = onnxray.dream(surface, photo, LAYER, guide=guide)
    unguided = onnxray.dream(surface, photo, LAYER)
    assert guided.activations[0] > 2 * guided.starts[0]
    assert likeness(guided.images[0]) > likeness(photo)
    assert likeness(guided.images[0]) > likeness(unguided.images[0])


def test_progress_and_files(surface: onnxray.Model, photo: np.ndarray, tmp_path: Path) -> None:
    calls: list[tuple[int, int, float]] = []
    v = onnxray.dream(surface, photo, LAYER, steps=2, octaves=2, progress=lambda *call: calls.append(call))
    assert [call[:2] for call in calls] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert calls[0][2] == v.history[0][0]
    paths = v.save(tmp_path / "out")
    told = json.loads(paths["manifest"].read_text())
    assert told["octaves"] == [[114, 114], [160, 160]]
    assert told["starts"] == [float(v.starts[0])]
    assert told["options"]["blurs"] == [0.8, 1.6, 3.2]


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
    start = rng.uniform(0.2, 0.8, (channels, 30, 41)).astype(np.float32)
    v = onnxray.dream(proto, start, "r", steps=6, octaves=2, jitter=3, **options)
    assert v.pictures.shape == (1, channels, 30, 41)
    assert v.images.shape == (1, 30, 41, 3)
    assert v.activations[0] > v.starts[0]
    assert not v.warnings
    # A layer behind the flattening sees one size only: the picture is dreamed in tiles of it.
    tiled = onnxray.dream(proto, start, "y", steps=4, octaves=1, jitter=0, blurs=(), **options)
    assert tiled.pictures.shape == (1, channels, 30, 41)
    assert tiled.warnings == ("the network takes 12x12 pixels only: the picture is dreamed in tiles of that size",)
    assert tiled.activations[0] > tiled.starts[0]
    with pytest.raises(ShapeError, match=r"8x8 pixels is too small for the network, which takes only 12x12 .*Flatten"):
        onnxray.dream(proto, start[:, :8, :8], "y", **options)
    if channels == 5:
        with pytest.raises(ShapeError, match="names band 4, counted from 0, but the picture has 3"):
            onnxray.dream(proto, np.zeros((30, 30, 3), np.uint8), "r", **options)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({}, MethodError, "nothing is asked for"),
        ({"layer": "stage9/relu2"}, UnknownName, "no layer or value named 'stage9/relu2'; nearest"),
        ({"layer": LAYER, "channel": 64}, TargetError, "has channels 0 to 63"),
        ({"target": "crak"}, UnknownName, "nearest: 'crack'"),
        ({"layer": LAYER, "size": 0}, ShapeError, "a picture of 0x0 pixels"),
        ({"layer": LAYER, "size": (99999, 99999)}, ShapeError, "a picture of 99999x99999 pixels"),
        ({"layer": LAYER, "ratio": 1}, MethodError, "ratio=1 must be more than 1"),
        ({"layer": LAYER, "steps": -1}, MethodError, "steps=-1 must be at least 0"),
        ({"layer": LAYER, "tile": 64}, MethodError, "tile=64 must be more than twice the overlap of 32"),
        ({"layer": LAYER, "blurs": [0]}, MethodError, r"blurs=\[0\] must each be more than 0"),
        ({"layer": LAYER, "stepz": 1}, MethodError, "dream has no option 'stepz'"),
        ({"layer": {LAYER: 1, "stage1/relu": float("nan")}}, MethodError, "finite weights"),
        ({"target": 0, "guide": np.zeros((8, 8, 3), np.uint8)}, MethodError, "a guide is followed in a layer"),
        ({"layer": LAYER, "image": np.full((3, 9, 9), 2.0)}, ShapeError, "numbers to dream of are in 0..1"),
        ({"layer": LAYER, "image": np.zeros((3, 9), np.float32)}, ShapeError, r"of shape \(3, H, W\)"),
        ({"layer": LAYER, "image": np.zeros((2, 3, 9, 9))}, ShapeError, r"\(H, W, 3\) or \(C, H, W\)"),
    ],
)
def test_bad_input(
    given: dict[str, Any], error: type[Exception], words: str, surface: onnxray.Model, photo: np.ndarray
) -> None:
    with pytest.raises(error, match=words) as caught:
        onnxray.dream(surface, **{"image": photo, "steps": 1, **given})
    assert "\n" not in str(caught.value)


def test_layers_without_a_gradient(parse: Parse) -> None:
    text = "g (float[n,3,h,w] x) => (y) { s = Sign (x) a = Conv (s, w) y = Relu (a) }"
    proto = parse(text, w=np.ones((4, 3, 3, 3), np.float32))
    with pytest.raises(Disconnected, match="there is nothing to optimise.*the path ends at 'Sign'"):
        onnxray.dream(proto, np.zeros((20, 20, 3), np.uint8), "y")
    silent = parse("g (float[n,3,h,w] x) => (y) { y = Conv (x, w) }", w=np.zeros((4, 3, 3, 3), np.float32))
    with pytest.raises(Disconnected, match="the gradient of layer:y is 0 everywhere in this image"):
        onnxray.dream(silent, np.zeros((20, 20, 3), np.uint8), "y")
    integers = """g (float[1,3,12,12] x) => (y) <float scale = {0.1}, uint8 zero = {128}> {
      q = QuantizeLinear (x, scale, zero) a = ConvInteger (q, w, zero) y = Cast <to = 1> (a) }"""
    proto = parse(integers, w=np.ones((4, 3, 3, 3), np.uint8))
    with pytest.raises(GradientError, match="ConvInteger"):
        onnxray.dream(proto, np.zeros((20, 20, 3), np.uint8), "y")
    with pytest.raises(GradientError, match="'a' holds int32 numbers, which have no gradient"):
        onnxray.dream(proto, np.zeros((20, 20, 3), np.uint8), "a")


@pytest.mark.skipif(not ZOO.is_dir(), reason="ONNXRAY_ZOO names no folder")
@pytest.mark.parametrize(
    "name",
    ["mobilenet_v2_100_224", "mobilenet_v1_025_224", "squeezenet_v1_1", "resnet20_cifar10", "vit_mnist",
     "vww_mobilenet_96", "casting_inspection_cnn", "emotion_mini_xception", "ultraface_rfb_320", "mnist_cntk",
     "deeplabv3_mnv2_257"],
)  # fmt: skip
def test_the_objective_grows_for_every_image_model(name: str) -> None:
    model = onnxray.load(ZOO / "models" / f"{name}.onnx")
    maps = [layer for layer in model.layers if layer.shape and len(layer.shape) >= 3 and layer.op != "Transpose"]
    layer = maps[len(maps) // 2]
    photo = read(ZOO / "images" / "imagenet_samples" / "n02123045_tabby.jpg")
    v = onnxray.dream(model, photo, layer.output, size=(150, 130) if "224" in name else None, steps=2, octaves=1)
    assert v.activations[0] > v.starts[0]
    assert v.images[0].std() > 10


def test_an_endless_zoom(surface: onnxray.Model, photo: np.ndarray, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"layer": LAYER, "steps": 2, "octaves": 1, "zoom_octaves": 1, "zoom_steps": 1}
    v = onnxray.dream(surface, photo, zoom=3, **asked)
    assert v.frames.shape == (4, *v.images.shape[1:])
    np.testing.assert_array_equal(v.frames[0], v.images[0])
    # The next frame is one step on from the last, magnified and turned as asked.
    factor, angle, (height, width) = 1.04, np.deg2rad(0.5), photo.shape[:2]
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / factor
    moved = cv2.warpAffine(
        v.frames[1],
        np.concatenate([turn, (middle - turn @ middle)[:, None]], axis=1),
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    still = np.abs(v.frames[2].astype(float) - v.frames[1])[8:-8, 8:-8].mean()
    assert np.abs(v.frames[2].astype(float) - moved)[8:-8, 8:-8].mean() < 0.5 * still
    paths = v.save(tmp_path / "out")
    np.testing.assert_array_equal(read(paths["frame-0002"]), v.frames[2])
    assert onnxray.dream(surface, photo, LAYER, steps=0, octaves=1).frames.shape[0] == 0
    with pytest.raises(MethodError, match="shows empty corners"):
        onnxray.dream(surface, photo, zoom=3, zoom_turn=20, **asked)


@pytest.mark.parametrize("name", ["zoom_factor", "zoom_turn", "zoom_octaves", "zoom_steps"])
def test_what_has_no_effect_without_a_zoom_is_refused(surface: onnxray.Model, photo: np.ndarray, name: str) -> None:
    with pytest.raises(MethodError, match=f"^{name}=-3 has no effect without zoom=: give a number of frames$"):
        onnxray.dream(surface, photo, LAYER, **{name: -3})


def test_weights_of_classes_and_layers(surface: onnxray.Model, photo: np.ndarray) -> None:
    asked: dict[str, Any] = {"steps": 1, "octaves": 1}
    by_layer = onnxray.dream(surface, photo, {LAYER: 1.0, "stage1/relu": 0.5}, **asked)
    listed = onnxray.dream(surface, photo, [LAYER, "stage1/relu"], weights=[1, 0.5], **asked)
    assert listed.pictures.tobytes() == by_layer.pictures.tobytes()
    one, other = (onnxray.dream(surface, photo, target=["crack", "pit"], weights=w, **asked) for w in ((1, 0), (0, 1)))
    assert one.pictures.tobytes() != other.pictures.tobytes()
    with pytest.raises(MethodError, match="2 objectives need as many finite weights"):
        onnxray.dream(surface, photo, target=["crack", "pit"], weights=[1], **asked)
