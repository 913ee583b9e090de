"""Every objective's gradient by central differences, its value by hand, and how they compose."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.errors import MethodError, TargetError, UnknownName
from onnxray.engine.optimize.canvas import canvas_of
from onnxray.engine.optimize.network import Network
from onnxray.engine.optimize.objective import OBJECTIVES, Objective, parse
from onnxray.engine.optimize.objectives.channel import Channel
from onnxray.engine.optimize.objectives.classes import Contrast, Logit, Probability
from onnxray.engine.optimize.objectives.direction import Direction
from onnxray.engine.optimize.objectives.diversity import Diversity
from onnxray.engine.optimize.objectives.features import Features, Gram
from onnxray.engine.optimize.objectives.guide import Guide
from onnxray.engine.optimize.objectives.layer import WholeLayer
from onnxray.engine.optimize.objectives.neuron import Neuron
from onnxray.engine.optimize.objectives.similarity import Like

IMAGE = np.random.default_rng(7).integers(0, 256, (20, 20, 3), np.uint8)

CASES: dict[str, Objective] = {
    "channel": Channel("features", 3),
    "neuron": Neuron("features", 3, (1, 2)),
    "neuron in the middle": Neuron("features", 3),
    "layer": WholeLayer("features"),
    "direction": Direction("features", np.arange(8.0)),
    "logit": Logit(2),
    "probability": Probability("c"),
    "contrast": Contrast(2),
    "sum": Channel("features", 3) + 0.5 * Logit(1) - Probability(0),
    "product": Channel("features", 3) * Logit(2),
    "minus": -Channel("stem_relu", 1),
    "features": Features("features", IMAGE),
    "gram": Gram("features", IMAGE),
    "guide": Guide("features", np.random.default_rng(3).standard_normal((5, 8)).astype(np.float32)),
    "like an image": Like(image=IMAGE),
    "like a vector": Like(vector=np.arange(1.0, 6.0)),
}


def labelled(cnn: onnx.ModelProto) -> onnxray.Model:
    return onnxray.load(cnn, mean=100, std=50, labels=list("abcde"))


def network(cnn: onnx.ModelProto, *objectives: Objective, size: tuple[int, int] = (16, 16)) -> Network:
    model = labelled(cnn)
    return Network(model, canvas_of(model).with_size(size), objectives, labels=tuple("abcde"), threads=1)


def test_every_objective_has_a_case() -> None:
    classes = {Diversity, *(type(case) for case in CASES.values())}
    assert {name for name, cls in OBJECTIVES.all().items() if cls not in classes} == set()


@pytest.mark.parametrize("name", CASES)
def test_gradient_by_central_differences(name: str, cnn: onnx.ModelProto) -> None:
    built = network(cnn, CASES[name])
    rng = np.random.default_rng(0)
    x, direction = rng.standard_normal((2, 1, 3, 16, 16)).astype(np.float32)
    step = np.float32(3e-4)
    slope = (built.run(x + step * direction).score - built.run(x - step * direction).score) / (2 * step)
    got = (built.run(x).gradient * direction).sum()
    assert got == pytest.approx(slope[0], rel=0.02, abs=2e-3)


def test_diversity_by_central_differences(cnn: onnx.ModelProto) -> None:
    built = network(cnn, *[Diversity("features")] * 3)
    rng = np.random.default_rng(0)
    x, direction = rng.standard_normal((2, 3, 3, 16, 16)).astype(np.float32)
    step = np.float32(1e-3)
    slope = (built.run(x + step * direction).score - built.run(x - step * direction).score).sum() / (2 * step)
    assert (built.run(x).gradient * direction).sum() == pytest.approx(slope, rel=0.05, abs=2e-3)
    assert built.run(x[[0, 0, 0]]).score == pytest.approx(-1, abs=1e-4)
    assert (built.run(x).score > -1).all()


def test_values_by_hand(cnn: onnx.ModelProto) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    got = onnxray.activations(labelled(cnn), x, ["joined", "features", "logits"])
    before, after, logits = got["joined"][0], got["features"][0], got["logits"][0].astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum()
    channel, neuron = (network(cnn, CASES[n]).run(x) for n in ("channel", "neuron"))
    assert (channel.score, channel.linear, channel.after) == pytest.approx(
        (before[3].mean(), before[3].mean(), after[3].mean()), rel=1e-4
    )
    assert (neuron.linear, neuron.after) == pytest.approx((before[3, 1, 2], after[3, 1, 2]), rel=1e-4)
    assert network(cnn, WholeLayer("features")).run(x).score == pytest.approx(np.square(after).mean(), rel=1e-4)
    vector = np.arange(8.0) / np.linalg.norm(np.arange(8.0))
    assert network(cnn, CASES["direction"]).run(x).score == pytest.approx(
        (vector * before.mean(axis=(1, 2))).sum(), rel=1e-4
    )
    probability, contrast = (network(cnn, CASES[n]).run(x) for n in ("probability", "contrast"))
    assert (probability.score, probability.linear, probability.after) == pytest.approx(
        (shares[2], logits[2], shares[2]), rel=1e-4
    )
    wanted = np.arange(1.0, 6.0) / np.linalg.norm(np.arange(1.0, 6.0))
    assert network(cnn, CASES["like a vector"]).run(x).score == pytest.approx(
        logits @ wanted / np.linalg.norm(logits), rel=1e-4
    )
    assert contrast.score == pytest.approx(logits[2] - np.log(np.exp(np.delete(logits, 2)).sum()), rel=1e-4)


def test_rows_have_objectives_of_their_own(cnn: onnx.ModelProto) -> None:
    x = np.random.default_rng(0).standard_normal((3, 3, 16, 16)).astype(np.float32)
    together = network(cnn, *(Channel("features", c) for c in (5, 0, 7))).run(x)
    for row, channel in enumerate((5, 0, 7)):
        alone = network(cnn, Channel("features", channel)).run(x[row : row + 1])
        assert together.score[row] == pytest.approx(alone.score[0], rel=1e-4)
        np.testing.assert_allclose(together.gradient[row], alone.gradient[0], atol=1e-6)


def test_concatenated_rectifiers_are_read_before_them(parse: Callable[..., onnx.ModelProto]) -> None:
    text = """g (float[1,3,8,8] x) => (float[1,6,8,8] y) {
      n = Neg (x) a = Relu (x) b = Clip (n, low, high) c = Concat <axis = 1> (a, b) y = Dropout (c) }"""
    model = onnxray.load(parse(text, low=np.float32(0), high=np.float32(6)), size=8)
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    for channel, wanted in ((1, x[0, 1].mean()), (4, -x[0, 1].mean())):
        built = Network(model, canvas_of(model), [Channel("y", channel)])
        assert built.run(x).score == pytest.approx(wanted, rel=1e-4)
        assert built.run(x).after != pytest.approx(wanted, rel=1e-2)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("channel:stage/conv:3", Channel("stage/conv", 3)),
        ("neuron:a:b:3,1,2", Neuron("a:b", 3, (1, 2))),
        ("layer:a", WholeLayer("a")),
        ("logit:5", Logit(5)),
        ("contrast:tabby cat", Contrast("tabby cat")),
        ("channel:a:3 + 0.5*logit:b - 2*layer:c", Channel("a", 3) + 0.5 * Logit("b") - 2 * WholeLayer("c")),
        ("-1*channel:a-b:3", -Channel("a-b", 3)),
    ],
)
def test_texts(text: str, wanted: Objective) -> None:
    assert parse(text) == wanted


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("chanel:a:3", UnknownName, "nearest: 'channel'"),
        ("channel:a:b", MethodError, "write channel:LAYER:CHANNEL"),
        ("channel", MethodError, "is not NAME:ARGUMENTS"),
        ("direction:a:nothing.npy", MethodError, "'nothing.npy' cannot be read"),
    ],
)
def test_texts_that_are_none(text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        parse(text)


@pytest.mark.parametrize(
    ("objective", "error", "words"),
    [
        (Channel("features", 8), TargetError, "channel 8 does not exist: the layer 'features' has channels 0 to 7"),
        (Channel("featurs", 0), UnknownName, "nearest: 'features'"),
        (Neuron("features", 0, (8, 0)), TargetError, "the place 8,0 does not exist: the map of 'features' is 8x8"),
        (Direction("features", np.ones(7)), TargetError, "has 8 channels"),
        (Direction("features", np.zeros(8)), TargetError, "not all of them 0"),
        (Logit("f"), UnknownName, "no label named 'f'"),
        (Logit(9), TargetError, "class 9 does not exist"),
    ],
)
def test_what_the_model_does_not_have(
    objective: Objective, error: type[Exception], words: str, cnn: onnx.ModelProto
) -> None:
    with pytest.raises(error, match=words):
        network(cnn, objective)


def test_the_word_of_targets_for_a_probability() -> None:
    assert parse("prob:tabby") == Probability("tabby") == parse("probability:tabby")
    assert parse("0.5*prob:2 - logit:1") == 0.5 * Probability(2) - Logit(1)
