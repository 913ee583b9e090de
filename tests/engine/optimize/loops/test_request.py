"""Files that optimise an image equal the loops in Python, pass the checker, and run on plain ONNX Runtime."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import onnxray
from onnxray.cli.files.images import read
from onnxray.engine.errors import Disconnected, MethodError, NoGradient, ShapeError, UnknownName
from onnxray.engine.optimize.canvas import canvas_of, labels_of
from onnxray.engine.optimize.loop import CLASS_TRANSFORMS, DEFAULT_TRANSFORMS, Recipe, Start, optimise
from onnxray.engine.optimize.network import Network
from onnxray.engine.optimize.objective import parse as objective_of
from onnxray.engine.optimize.transform import Transform
from onnxray.engine.optimize.transforms.moves import Jitter, Rotate, Scale

Parse = Callable[..., onnx.ModelProto]
LAYER = "stage3/relu2"
ZOO = Path(os.environ.get("ONNXRAY_ZOO", "missing"))


@pytest.fixture(scope="module")
def surface() -> onnxray.Model:
    return onnxray.load(Path(onnxray.__file__).parent / "models" / "surface.onnx")


def run(model: onnxray.Model, image: np.ndarray, steps: int) -> tuple[np.ndarray, float]:
    """What plain ONNX Runtime gives; the file must pass the checker and hold standard operators only."""
    onnx.checker.check_model(model.proto, full_check=True)
    session = onnxruntime.InferenceSession(model.proto.SerializeToString())
    picture, score = session.run(["picture", "objective"], {"image": image[None], "steps": np.array([steps])})
    return picture[0], float(score[0])


def domains(graph: onnx.GraphProto) -> set[str]:
    found = {node.domain for node in graph.node}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found |= domains(attribute.g)
    return found


@pytest.mark.parametrize("steps", [0, 1, 10])
def test_the_file_dreams_as_the_loop_does(steps: int, surface: onnxray.Model) -> None:
    file = onnxray.compile(surface, dream=LAYER, seed=3)
    assert domains(file.graph) <= {"", "ai.onnx"}
    assert sum(node.op_type == "Loop" for node in file.graph.node) == 1
    for pixels in (read(onnxray.samples()[4]), read(onnxray.samples()[1])[:90, :131]):
        v = onnxray.dream(surface, pixels, LAYER, octaves=1, steps=steps, seed=3)
        picture, score = run(file, pixels.transpose(2, 0, 1).astype(np.float32) / 255, steps)
        # A unit at its threshold may fall to either side.
        assert np.abs(picture - v.pictures[0]).max() < (0.05 if steps > 1 else 1e-5)
        assert np.abs(picture - v.pictures[0]).mean() < 0.003
        if steps:
            assert score == pytest.approx(v.history[0][-1], rel=1e-2)


# 97 is a prime above 31: painted at 98 pixels.
@pytest.mark.parametrize(
    ("objective", "side", "transforms"),
    [
        (f"{LAYER}:5", 96, DEFAULT_TRANSFORMS),
        ("logit:crack", 96, DEFAULT_TRANSFORMS),
        ("logit:crack", 160, CLASS_TRANSFORMS),
        (f"{LAYER}:5", 97, DEFAULT_TRANSFORMS),
        (f"{LAYER}:5", 48, (Jitter(4), Scale(), Rotate())),
    ],
)
def test_the_file_draws_as_the_loop_does(
    objective: str, side: int, transforms: tuple[Transform, ...], surface: onnxray.Model
) -> None:
    file = onnxray.compile(surface, visualize=objective, size=side, seed=2)
    assert domains(file.graph) <= {"", "ai.onnx"}
    text = f"channel:{objective}" if ":5" in objective else objective
    canvas = canvas_of(surface).with_size((side, side))
    network = Network(surface, canvas, [objective_of(text)], labels=labels_of(surface))
    start = np.random.default_rng(0).uniform(0.3, 0.7, (3, side, side)).astype(np.float32)
    recipe = Recipe(seed=2, settle=False, transforms=transforms)
    for steps, most in ((0, 1e-5), (1, 5e-3), (8, 2e-2)):
        painted = optimise(network, replace(recipe, steps=steps), start=Start(start))
        picture, score = run(file, start, steps)
        # Adam's steps are as long where the gradient is next to nothing, and its sign is anybody's guess there.
        assert np.abs(picture - painted.pictures[0]).mean() < most
        if steps:
            assert score == pytest.approx(painted.history[-1, 0], rel=0.05, abs=0.5)
    before, after = (run(file, start, steps)[1] for steps in (1, 40))
    assert after > before + 3


CONV = "g ({kind}[{shape}] x) => (y) {{ {front} a = Conv (t, w) y = Relu (a) }}"


@pytest.mark.parametrize(
    ("kind", "shape", "front", "channels", "options"),
    [
        ("float", "1,1,12,12", "t = Identity (x)", 1, {"order": "GRAY"}),
        ("float", "n,5,12,12", "t = Identity (x)", 5, {}),
        ("float", "2,12,12,3", "t = Transpose <perm = [0, 3, 1, 2]> (x)", 3, {}),
        ("float", "1,3,12,12", "t = Identity (x)", 3, {"order": "BGR", "mean": 128, "std": 64}),
        ("uint8", "1,12,12,3", "c = Cast <to = 1> (x) t = Transpose <perm = [0, 3, 1, 2]> (c)", 3, {}),
        ("float16", "1,3,12,12", "t = Cast <to = 1> (x)", 3, {}),
        ("float", "1,3,h,w", "t = Identity (x)", 3, {"input": "x"}),
    ],
)
def test_kinds_of_input(
    kind: str, shape: str, front: str, channels: int, options: dict[str, Any], parse: Parse
) -> None:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((4, channels, 3, 3)).astype(np.float32)
    proto = parse(CONV.format(kind=kind, shape=shape, front=front), w=weights)
    start = rng.uniform(0.2, 0.8, (channels, 30, 41)).astype(np.float32)
    file = onnxray.compile(proto, dream="y", jitter=3, **options)
    v = onnxray.dream(proto, start, "y", steps=3, octaves=1, jitter=3, **options)
    picture, score = run(file, start, 3)
    assert np.abs(picture - v.pictures[0]).max() < 0.02
    assert score == pytest.approx(v.history[0][-1], rel=1e-3)
    drawn = onnxray.compile(proto, visualize="y:1", size=(12, 17), **options)
    middle = np.full((channels, 12, 17), 0.5, np.float32)
    assert run(drawn, middle, 12)[1] > run(drawn, middle, 1)[1]


def test_a_network_of_one_size_gives_a_file_of_one_size(parse: Parse) -> None:
    text = "g (float[1,3,32,32] x) => (y) { a = Conv (x, w) f = Flatten (a) y = MatMul (f, d) }"
    rng = np.random.default_rng(0)
    arrays = {"w": rng.standard_normal((2, 3, 3, 3)), "d": rng.standard_normal((1800, 4))}
    proto = parse(text, **{name: a.astype(np.float32) for name, a in arrays.items()})
    file = onnxray.compile(proto, dream="y")
    assert file.value("image").shape == (1, 3, 32, 32)
    start = rng.uniform(0.2, 0.8, (3, 32, 32)).astype(np.float32)
    assert np.isfinite(run(file, start, 3)[0]).all()


@pytest.mark.skipif(not ZOO.is_dir(), reason="ONNXRAY_ZOO names no folder")
@pytest.mark.parametrize(
    ("name", "layer"), [("casting_inspection_cnn", "Relu_19"), ("squeezenet_v1_1", "fire5/concat")]
)
def test_files_of_the_zoo(name: str, layer: str) -> None:
    """In the first the checker found no sizes of a Resize, which stood outside the loop."""
    file = onnxray.compile(ZOO / "models" / f"{name}.onnx", dream=layer)
    sides = [d if isinstance(d, int) else 90 for d in (file.value("image").shape or ())[2:]]
    start = np.random.default_rng(0).uniform(0.3, 0.7, (3, *sides)).astype(np.float32)
    assert run(file, start, 6)[1] > run(file, start, 1)[1]


def test_the_metadata_says_what_it_is(surface: onnxray.Model) -> None:
    file = onnxray.compile(surface, dream=LAYER, rate=0.01)
    told = json.loads(file.metadata["onnxray.compile"])
    assert told["method"] == "dream"
    assert told["options"] == {"rate": 0.01}
    assert told["size"] == ["height", "width"]
    assert "256" in told["random_moves"]
    again = onnxray.compile(surface, dream=LAYER, rate=0.01)
    assert again.proto.SerializeToString(deterministic=True) == file.proto.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"dream": LAYER, "visualize": f"{LAYER}:1"}, MethodError, "either visualizes or dreams"),
        ({"dream": "stage9/relu"}, UnknownName, "no layer or value named 'stage9/relu'; nearest"),
        ({"dream": LAYER, "size": 64}, MethodError, "leave size out"),
        ({"dream": LAYER, "stride": 2}, UnknownName, "there are seed, rate, jitter, blurs"),
        ({"dream": LAYER, "rate": "fast"}, MethodError, "the option rate of dream cannot be 'fast'"),
        ({"dream": LAYER, "method": "lrp"}, MethodError, "explains nothing: leave out method"),
        ({"visualize": LAYER}, MethodError, "neither LAYER:CHANNEL nor an objective"),
        ({"visualize": "logit:crak"}, UnknownName, "nearest: 'crack'"),
        ({"visualize": f"{LAYER}:3", "size": 0}, ShapeError, "each side is 1 to"),
    ],
)
def test_bad_input(given: dict[str, Any], error: type[Exception], words: str, surface: onnxray.Model) -> None:
    with pytest.raises(error, match=words) as caught:
        onnxray.compile(surface, **given)
    assert "\n" not in str(caught.value)


def test_layers_without_a_gradient(parse: Parse) -> None:
    text = "g (float[n,3,h,w] x) => (y) { s = Sign (x) a = Conv (s, w) y = Relu (a) }"
    with pytest.raises(Disconnected, match="there is nothing to optimise"):
        onnxray.compile(parse(text, w=np.ones((4, 3, 3, 3), np.float32)), dream="y")
    integers = """g (float[1,3,12,12] x) => (y) <float scale = {0.1}, uint8 zero = {128}> {
      q = QuantizeLinear (x, scale, zero) a = ConvInteger (q, w, zero) y = Cast <to = 1> (a) }"""
    proto = parse(integers, w=np.ones((4, 3, 3, 3), np.uint8))
    with pytest.raises(NoGradient, match="ConvInteger"):
        onnxray.compile(proto, dream="y")
    with pytest.raises(NoGradient, match="'a' holds int32 numbers"):
        onnxray.compile(proto, dream="a")
