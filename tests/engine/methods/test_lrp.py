"""Layer-wise relevance propagation as a method: known answers, conservation, other implementations, real networks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.errors import MethodError
from onnxray.engine.methods.lrp import COMPOSITES
from onnxray.engine.preprocess.find import find_card
from onnxray.engine.preprocess.image import prepare
from onnxray.tests.rounding import ROUNDING, apart

Parse = Callable[..., onnx.ModelProto]
LIMITS = {"low": -5.0, "high": 5.0}


def limits(composite: str) -> dict[str, float]:
    """Those of the input, for the composites that take them."""
    return LIMITS if "box" in composite else {}


def network(
    parse: Parse, biases: bool = False, seed: int = 0, sign: float = 1, residual: bool = True
) -> onnx.ModelProto:
    """Convolutions, a block (residual or not), pools and two products; with `biases` in the convolutions."""
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)

    kernels = {"k0": weights(8, 3, 3, 3), "k1": weights(8, 8, 3, 3), "k2": weights(12, 8, 3, 3)}
    products = {"w0": weights(10, 12).T.copy(), "w1": sign * weights(4, 10).T.copy()}
    shift = {f"b{i}": (0.2 if biases else 0) * weights(n) for i, n in enumerate((8, 8, 12))}
    block = "Add (c, p)" if residual else "Identity (c)"
    return parse(
        f"""
        m (float[N, 3, 12, 12] image) => (float[N, 4] y) {{
          a = Conv <pads = [1, 1, 1, 1]> (image, k0, b0)  ra = Relu (a)
          p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (ra)
          c = Conv <pads = [1, 1, 1, 1]> (p, k1, b1)  s = {block}  rs = Relu (s)
          d = Conv (rs, k2, b2)  rd = Relu (d)
          g = GlobalAveragePool (rd)  f = Flatten (g)
          e = MatMul (f, w0)  re = Relu (e)  y = MatMul (re, w1)
        }}
        """,
        **kernels, **products, **shift,
    )  # fmt: skip


def batch(count: int = 2) -> np.ndarray:
    return np.random.default_rng(4).standard_normal((count, 3, 12, 12)).astype(np.float32)


def values(model: Any, x: np.ndarray, target: Any = 1, **options: Any) -> np.ndarray:
    found = onnxray.explain(model, x, "lrp", target, **options)
    return np.stack([e.values for e in found])


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


def test_without_biases_epsilon_is_input_times_gradient(parse: Parse) -> None:
    model = network(parse)
    expected = np.stack([e.values for e in onnxray.explain(model, batch(), "input-x-gradient", 1)])
    assert difference(values(model, batch(), composite="epsilon", epsilon=0), expected) < 1e-5
    assert difference(values(model, batch(), composite="epsilon", epsilon=1e-6), expected) < 1e-3


# Alpha-beta conserves only where a unit has contributions of both signs.
@pytest.mark.parametrize("composite", [c for c in COMPOSITES if "alpha-beta" not in c])
def test_conservation_without_biases(parse: Parse, composite: str) -> None:
    # Z-plus in the last layer has nothing to share out where a score has no positive contribution at all.
    for target in ("predicted",) if composite == "z-plus" else ("top:4", "contrast:0,3"):
        for e in onnxray.explain(
            network(parse), batch(), "lrp", target, composite=composite, epsilon=1e-9, **limits(composite)
        ):
            assert e.values.sum(dtype=np.float64) == pytest.approx(e.score, rel=1e-4, abs=1e-5)
            assert e.details["propagated_score"] == pytest.approx(e.score)
            assert e.details["relevance"] == pytest.approx(e.score, rel=1e-4, abs=1e-5)
            assert abs(e.details["absorbed"]) < 1e-4
            assert not e.warnings


def test_biases_take_their_share_or_not(parse: Parse) -> None:
    model = network(parse, biases=True)
    kept = onnxray.explain(model, batch(1), "lrp", 1, composite="epsilon-plus")
    left = onnxray.explain(model, batch(1), "lrp", 1, composite="epsilon-plus", bias=False)
    assert kept.details["absorbed_share"] > 0.02
    assert left.details["absorbed_share"] < 1e-4
    assert left.values.sum() == pytest.approx(left.score, rel=1e-4)


def test_more_absorbed_than_left_is_a_warning(parse: Parse) -> None:
    model = parse(
        "m (float[N, 3] x) => (float[N, 2] y) { a = Gemm (x, w, b) r = Relu (a) y = MatMul (r, v) }",
        w=np.eye(3, dtype=np.float32), b=np.full(3, 9, np.float32), v=np.ones((3, 2), np.float32),
    )  # fmt: skip
    e = onnxray.explain(model, np.ones((1, 3), np.float32), "lrp", 0)
    assert e.score == pytest.approx(30)
    assert e.details["absorbed"] == pytest.approx(27, rel=1e-4)
    (said,) = [w for w in e.warnings if "adds up to 3, the score is 30" in w]
    # It names the target, who kept the rest, and what to do.
    assert e.label in said
    assert "biases" in said
    assert "compare places within the map" in said
    assert "bias=False" in said


def test_a_large_gamma_is_z_plus(parse: Parse) -> None:
    """Where outputs are positive; the rest gets no relevance in a network of rectifiers."""
    model, x = network(parse, biases=True, residual=False), batch()
    target = values(model, x, composite="epsilon-plus")
    assert difference(values(model, x, composite="epsilon-gamma", gamma=1e5), target) < 1e-3
    apart = [difference(values(model, x, composite="epsilon-gamma", gamma=g), target) for g in (0.1, 1, 10, 100)]
    assert apart == sorted(apart, reverse=True)
    nothing = values(model, x, composite="epsilon-gamma", gamma=0)
    assert difference(nothing, values(model, x, composite="epsilon")) < 1e-3


def test_alpha_one_is_z_plus(parse: Parse) -> None:
    model, x = network(parse, biases=True), batch()
    found = values(model, x, composite="epsilon-alpha-beta-flat", alpha=1)
    assert apart(found, values(model, x, composite="epsilon-plus-flat")) <= ROUNDING


@pytest.mark.parametrize("composite", COMPOSITES)
def test_the_sign_of_the_score_is_the_sign_of_the_map(parse: Parse, composite: str) -> None:
    """The opposite score by opposite weights of the last layer. Gamma and the like on that layer see other parts."""
    if composite in ("z-plus", "alpha-beta"):
        pytest.skip("the parts of the last layer change places with its sign")
    options = {"composite": composite, **limits(composite)}
    there, back = (values(network(parse, sign=s), batch(), **options) for s in (1, -1))
    assert apart(there, -back) <= ROUNDING


@pytest.mark.parametrize("composite", COMPOSITES)
def test_a_batch_gives_what_its_samples_give(parse: Parse, composite: str) -> None:
    model, x = network(parse, biases=True), batch(3)
    together = values(model, x, "top:2", composite=composite, **limits(composite))
    for sample in range(3):
        alone = values(model, x[sample : sample + 1], "top:2", composite=composite, **limits(composite))
        assert difference(together[2 * sample : 2 * sample + 2], alone) < 1e-4
    assert together.tobytes() == values(model, x, "top:2", composite=composite, **limits(composite)).tobytes()


def test_z_plus_is_nowhere_negative_for_a_positive_score(parse: Parse) -> None:
    model = network(parse)
    for e in onnxray.explain(model, batch(6), "lrp", composite="z-plus"):
        assert e.score > 0
        assert e.values.min() >= 0


def test_single_rules_replace_those_of_the_composite(parse: Parse) -> None:
    model, x = network(parse, biases=True), batch()
    plain = values(model, x, composite="epsilon-gamma")
    assert np.array_equal(plain, values(model, x, composite="epsilon", conv="gamma"))
    assert np.array_equal(plain, values(model, x, composite="gamma", dense="epsilon"))
    flat = values(model, x, composite="epsilon-gamma", first="flat")
    assert np.array_equal(flat, values(model, x, composite="epsilon-plus-flat", conv="gamma"))
    assert difference(values(model, x, composite="epsilon-plus-flat", first="same"), flat) > 0.1


def test_the_box_needs_limits(parse: Parse) -> None:
    model = network(parse)
    with pytest.raises(MethodError, match="give low and high"):
        onnxray.explain(model, batch(1), "lrp", composite="epsilon-gamma-box")
    with pytest.raises(MethodError, match="low must be less than high"):
        onnxray.explain(model, batch(1), "lrp", composite="epsilon-gamma-box", low=2, high=1)
    card = {"mean": [120, 110, 100], "std": [60, 50, 40], "size": 12, "resize": "stretch", "order": "BGR"}
    image = np.random.default_rng(3).integers(0, 256, (12, 12, 3), np.uint8)
    model = onnxray.load(model, **card)
    found = onnxray.explain(model, image, "lrp", 1, composite="epsilon-gamma-box")
    # With the same limits for all channels, the map is another one: a channel's own were taken.
    tensor = prepare(image, find_card(model)).tensor
    wide = onnxray.explain(model, tensor, "lrp", 1, composite="epsilon-gamma-box", low=-2.5, high=3.875)
    assert found.details["relevance"] == pytest.approx(found.score, rel=1e-3)
    assert difference(found.values, wide.values) > 1e-3


def test_before_the_softmax(parse: Parse) -> None:
    """Of probabilities, the score before the softmax is propagated; asked for as such, it is the same map."""
    model = network(parse)
    graph = onnx.ModelProto.FromString(model.SerializeToString())
    graph.graph.node.append(onnx.helper.make_node("Softmax", ["y"], ["probabilities"], axis=1))
    graph.graph.output[0].name = "probabilities"
    e = onnxray.explain(graph, batch(1), "lrp", 1, composite="epsilon-plus")
    logit = onnxray.explain(model, batch(1), "lrp", 1, composite="epsilon-plus")
    assert difference(e.values, logit.values) < 1e-5
    assert e.details["propagated_score"] == pytest.approx(logit.score, rel=1e-5)
    assert e.score != pytest.approx(logit.score)


def test_a_unit_inside_the_network(parse: Parse) -> None:
    e = onnxray.explain(network(parse), batch(1), "lrp", "unit:d:3,0,0", composite="epsilon")
    assert e.values.sum() == pytest.approx(e.score, rel=1e-3)
    assert not e.values[:, 9:].any()  # out of what the unit sees
    assert e.values[:, :8].any()


# ---- other implementations


@pytest.mark.parametrize("rule", ["epsilon", "gamma", "z-plus"])
def test_it_matches_captum(parse: Parse, rule: str) -> None:
    torch = pytest.importorskip("torch")
    captum = pytest.importorskip("captum.attr")
    rules = pytest.importorskip("captum.attr._utils.lrp_rules")
    # captum propagates through modules, not through sums of them; of biases, its gamma and its z-plus take no parts.
    model = network(parse, biases=rule == "epsilon", residual=False)
    arrays = {t.name: torch.tensor(onnx.numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
    nn = torch.nn

    class Net(nn.Sequential):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            for index, module in enumerate(self):
                x = module(x.flatten(1) if index == 8 else x)
            return x

    net = Net(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.Conv2d(8, 12, 3), nn.ReLU(), nn.AvgPool2d(4),
        nn.Linear(12, 10, bias=False), nn.ReLU(), nn.Linear(10, 4, bias=False),
    )  # fmt: skip
    with torch.no_grad():
        for index, letter in ((0, 0), (3, 1), (5, 2)):
            net[index].weight.copy_(arrays[f"k{letter}"])
            net[index].bias.copy_(arrays[f"b{letter}"])
        net[8].weight.copy_(arrays["w0"].T)
        net[10].weight.copy_(arrays["w1"].T)
    x = np.abs(batch())  # captum's z-plus takes inputs for positive
    cases: dict[str, Callable[[], Any]] = {
        "epsilon": lambda: rules.EpsilonRule(1e-9),
        "gamma": lambda: rules.GammaRule(0.25),
        "z-plus": rules.Alpha1_Beta0_Rule,
    }
    for index in (0, 3, 5):
        net[index].rule = cases[rule]()
    for index in (7, 8, 10):
        net[index].rule = rules.EpsilonRule(1e-9)
    expected = captum.LRP(net).attribute(torch.tensor(x, requires_grad=True), target=1).detach().numpy()
    found = values(model, x, composite="epsilon", conv=rule, epsilon=1e-9)
    assert difference(found, expected) < 1e-3


# ---- real networks


@pytest.fixture(scope="module")
def squeezenet(zoo: Path) -> onnxray.Model:
    entry = next(
        e
        for e in json.loads((zoo / "manifest.json").read_text())["files"]
        if e["file"] == "models/squeezenet_v1_1.onnx"
    )
    told = entry["preprocessing"]
    card = {"size": told["size"], "mean": told["mean"], "std": told["std"], "order": told["order"].upper()}
    return onnxray.load(zoo / entry["file"], **card, resize="stretch")


@pytest.mark.parametrize("composite", [c for c in COMPOSITES if "alpha-beta" not in c])
def test_conservation_on_a_real_network(zoo: Path, squeezenet: onnxray.Model, composite: str) -> None:
    """No unit of this one is without positive inputs, so that nothing is lost but what biases get, if they get any."""
    image = cv2.imread(str(zoo / "images" / "photos" / "cat.bmp"))[..., ::-1]
    e = onnxray.explain(squeezenet, image, "lrp", composite=composite, bias=False)
    tolerance = 1e-3 if composite == "epsilon-plus-flat" else 2e-2
    assert e.details["absorbed_share"] < tolerance


@pytest.mark.parametrize("name", ["mobilenet_v2_100_224", "mobilenet_v1_075_192"])
def test_the_heat_is_on_the_cat(zoo: Path, name: str) -> None:
    entry = next(
        e for e in json.loads((zoo / "manifest.json").read_text())["files"] if e["file"] == f"models/{name}.onnx"
    )
    told = entry["preprocessing"]
    card = {"size": told["size"], "mean": told["mean"], "std": told["std"], "order": told["order"].upper()}
    model = onnxray.load(zoo / entry["file"], **card, layout=entry["layout"], resize="crop")
    image = cv2.imread(str(zoo / "images" / "photos" / "cat.bmp"))[..., ::-1]
    e = onnxray.explain(model, image, "lrp")
    heat = np.maximum(e.heatmap, 0)
    height, width = heat.shape
    # Head and neck of the cat: about a fifth of the picture.
    head = heat[int(0.1 * height) : int(0.65 * height), int(0.33 * width) : int(0.75 * width)]
    assert head.sum() > 0.6 * heat.sum()


@pytest.mark.slow
def test_every_model_gives_a_map_or_says_why_not(zoo_case: Path) -> None:
    with np.load(zoo_case / "io.npz") as arrays:
        feeds = {k[3:]: arrays[k] for k in arrays.files if k.startswith("in:")}
        cotangents = [(k[4:], arrays[k]) for k in arrays.files if k.startswith("cot:")]
    target = onnxray.Target.cotangent(*cotangents[0]) if cotangents else None
    found, refusal = [], ""
    try:
        found = list(onnxray.explain(onnxray.load(zoo_case / "model.onnx"), feeds, "lrp", target))
    except onnxray.OnnxrayError as error:
        refusal = str(error)
    assert found or len(refusal) > 40
    for e in found:
        assert np.isfinite(e.values).all()
        assert e.details["relevance"] == pytest.approx(e.values.sum(dtype=np.float64), rel=1e-5, abs=1e-6)
