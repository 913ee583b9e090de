"""Metrics against Quantus (A. Hedström et al., JMLR 2023), which both have under the same definition.

Quantus takes models of PyTorch and Keras: a thin adapter answers in their place. Where Quantus defines a metric in
another way, the test says how the two values are related.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxray
from onnxray.engine.evaluate.case import Case
from onnxray.engine.evaluate.localisation import energy
from onnxray.engine.evaluate.metrics.road import imputed
from onnxray.engine.evaluate.randomised import randomised
from onnxray.engine.evaluate.regions import random_sets
from onnxray.engine.evaluate.registry import make
from onnxray.engine.evaluation import remaking
from onnxray.engine.explain import problem_of, solve
from onnxray.engine.inference.session import session
from onnxray.engine.methods.registry import make as method

quantus = pytest.importorskip("quantus", reason="Quantus is not installed: pip install quantus")

HEIGHT, WIDTH, CLASS = 12, 10, 1


def net() -> onnx.ModelProto:
    """Convolution, ReLU, linear layer: three classes as logits."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("Flatten", ["r"], ["f"], "flat"),
        helper.make_node("MatMul", ["f", "v"], ["y"], "head"),
    ]
    weights = [
        numpy_helper.from_array(rng.standard_normal((4, 1, 3, 3)).astype(np.float32), "w"),
        numpy_helper.from_array((0.1 * rng.standard_normal((4 * HEIGHT * WIDTH, 3))).astype(np.float32), "v"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, HEIGHT, WIDTH])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph(nodes, "net", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class Adapter:
    """What Quantus asks of a model: answers, and models whose weights are drawn anew."""

    def __init__(self, model: onnxray.Model, softmax: bool, order: list[onnxray.Model] | None = None) -> None:
        self.model, self.softmax, self.order = model, softmax, order or []

    def shape_input(self, x: np.ndarray, shape: Any = None, **_: Any) -> np.ndarray:
        return x

    def predict(self, x: np.ndarray, **_: Any) -> np.ndarray:
        y = session(self.model).run({"x": np.asarray(x, np.float32).reshape(-1, 1, HEIGHT, WIDTH)})["y"]
        y = y.astype(np.float64)
        e = np.exp(y - y.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True) if self.softmax else y

    def get_model(self) -> Adapter:
        return self

    @property
    def random_layer_generator_length(self) -> int:
        return len(self.order)

    def get_random_layer_generator(self, order: str, seed: int) -> Iterator[tuple[str, Adapter]]:
        for number, model in enumerate(self.order):
            yield str(number), Adapter(model, self.softmax)


@pytest.fixture(scope="module")
def model() -> onnxray.Model:
    return onnxray.load(net(), layout="NCHW")


@pytest.fixture(params=["input-x-gradient", "gradient"])
def case(model: onnxray.Model, request: pytest.FixtureRequest) -> Case:
    x = np.random.default_rng(3).standard_normal((1, 1, HEIGHT, WIDTH)).astype(np.float32)
    chosen = method(request.param)

    def ask(image: Any = None, target: Any = None, model_: Any = None, **other: Any) -> Any:
        return problem_of(other.get("model") or model, x if image is None else image, target or CLASS)

    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[3:7, 2:6] = True
    problem = ask()
    explanation = solve(problem, chosen)
    assert isinstance(explanation, onnxray.Explanation)
    return Case(problem, explanation, remaking(chosen), ask, mask)


def ours(case: Case, name: str, **options: Any) -> float:
    return make(name, options)(case).value


def asked(case: Case, map: np.ndarray | None = None, softmax: bool = True, **more: Any) -> dict[str, Any]:
    """What Quantus' `evaluate_batch` takes."""
    values = case.relevance if map is None else map
    return {
        "model": Adapter(case.problem.source, softmax),
        "x_batch": case.problem.input.x.astype(np.float64),
        "y_batch": np.array([CLASS]),
        "a_batch": values[None, None].astype(np.float64).copy(),
        **more,
    }


def quiet(name: str, **options: Any) -> Any:
    return getattr(quantus, name)(disable_warnings=True, display_progressbar=False, **options)


@pytest.mark.parametrize(
    ("name", "theirs", "options"),
    [
        ("pointing-game", "PointingGame", {"tolerance": 0}),
        ("relevance-mass", "RelevanceMassAccuracy", {}),
        ("relevance-mass", "AttributionLocalisation", {}),
        ("relevance-rank", "RelevanceRankAccuracy", {}),
        ("localisation-auc", "AUC", {}),
    ],
)
def test_localisation(case: Case, name: str, theirs: str, options: dict[str, Any]) -> None:
    heat = np.asarray(energy(case.explanation), np.float64)
    mask = case.mask
    assert mask is not None
    more = {"max_size": np.inf} if theirs == "AttributionLocalisation" else {}
    with np.errstate(divide="ignore"):  # it divides by the size of nothing where it could warn of large objects
        found = quiet(theirs, **more).evaluate_batch(**asked(case, heat, s_batch=mask[None, None]))
    assert ours(case, name, **options) == pytest.approx(float(found[0]), abs=1e-5)


@pytest.mark.parametrize(("name", "theirs"), [("sparseness", "Sparseness"), ("entropy", "Complexity")])
def test_complexity(case: Case, name: str, theirs: str) -> None:
    found = quiet(theirs).evaluate_batch(**asked(case, case.heat))
    assert ours(case, name) == pytest.approx(float(found[0]), abs=1e-5)


@pytest.mark.parametrize("step", [1, 7])
def test_deletion_is_pixel_flipping_in_steps(case: Case, step: int) -> None:
    metric = quiet("PixelFlipping", features_in_step=step, perturb_baseline=0.0)
    found = metric.evaluate_batch(**asked(case))[0]
    curve = make("deletion", {"step": step})(case).curve
    assert curve is not None
    np.testing.assert_allclose(curve.y[1:], found, atol=1e-5)


def test_region_perturbation(case: Case) -> None:
    metric = quiet("RegionPerturbation", patch_size=2, regions_evaluation=15, perturb_baseline=0.0)
    found = metric.evaluate_batch(**asked(case))[0]
    # Ours counts the whole image as the first step, as the paper does; 15 of 30 squares are half of them.
    value = ours(case, "region-perturbation", side=2, regions=0.5, fill="zero")
    assert value == pytest.approx(float(np.sum(found)) / 16, abs=1e-5)


def test_faithfulness_correlation(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = iter(random_sets(case, 30, 40))
    monkeypatch.setattr(np.random, "choice", lambda *_, **__: next(sets))
    metric = quiet("FaithfulnessCorrelation", subset_size=30, nr_runs=40, perturb_baseline=0.0)
    found = metric.evaluate_batch(**asked(case, softmax=False))[0]
    assert ours(case, "faithfulness-correlation", size=30, samples=40) == pytest.approx(float(found), abs=1e-5)


def test_road_imputes_the_same(case: Case) -> None:
    """Quantus counts how often the class stays the predicted one; the images that it does so on are ours."""
    from quantus.functions.perturb_func import noisy_linear_imputation

    x = case.sample.astype(np.float64)
    for share in (0.2, 0.6):
        places = case.falling[: round(share * case.falling.size)]
        hidden = np.zeros(case.falling.size, bool)
        hidden[places] = True
        theirs = noisy_linear_imputation(x, places, noise=0.0)
        np.testing.assert_allclose(imputed(x, hidden.reshape(HEIGHT, WIDTH)), theirs, atol=1e-8)


def test_road_finds_the_class_where_quantus_does(case: Case) -> None:
    metric = quiet("ROAD", noise=0.0, percentages=[20, 40, 60, 80])
    metric.a_size = HEIGHT * WIDTH
    found = metric.evaluate_batch(**asked(case))[0][0]
    curve = make("road", {"order": "most", "noise": 0.0})(case).curve
    assert curve is not None
    p = case.probability + curve.y
    # Above a half a class is the predicted one, below a third of three it is not.
    assert not any(f == 0 and q > 0.5 for f, q in zip(found, p, strict=True))
    assert not any(f == 1 and q < 1 / 3 - 1e-6 for f, q in zip(found, p, strict=True))


class Noise:
    """The noise that our metrics add, in Quantus' words."""

    def __init__(self, case: Case, radius: float) -> None:
        self.draw, self.reach = case.generator(), radius * float(np.ptp(case.problem.input.x))

    def __call__(self, arr: np.ndarray, **_: Any) -> np.ndarray:
        # Float32, as the network sees it.
        noisy = arr.reshape(1, 1, HEIGHT, WIDTH) + self.draw.uniform(-self.reach, self.reach, (1, 1, HEIGHT, WIDTH))
        return noisy.astype(np.float32).reshape(arr.shape)


def explains(case: Case) -> Any:
    """Our method, as Quantus calls it."""

    def explain(model: Any, inputs: np.ndarray, targets: np.ndarray, **_: Any) -> np.ndarray:
        x = np.asarray(inputs, np.float32).reshape(1, 1, HEIGHT, WIDTH)
        target = onnxray.Target.class_(int(targets[0]))
        other = model.model if model.model is not case.problem.source else None
        return case.relevance_again(x, target, other)[None, None]

    return explain


@pytest.mark.parametrize(
    ("name", "theirs"), [("max-sensitivity", "MaxSensitivity"), ("average-sensitivity", "AvgSensitivity")]
)
def test_sensitivity(case: Case, name: str, theirs: str) -> None:
    metric = quiet(theirs, nr_samples=6)
    metric.perturb_func = Noise(case, 0.1)
    metric.explain_func, metric.explain_func_kwargs = explains(case), {}
    found = metric.evaluate_batch(**asked(case))
    assert ours(case, name, radius=0.1, samples=6) == pytest.approx(float(found[0]), abs=1e-5)


def test_local_lipschitz(case: Case) -> None:
    """Quantus divides plain distances, ours are relative: to the size of the map and to that of the input."""
    metric = quiet("LocalLipschitzEstimate", nr_samples=6, normalise=False)
    metric.perturb_func = Noise(case, 0.1)
    metric.explain_func, metric.explain_func_kwargs = explains(case), {}
    found = float(metric.evaluate_batch(**asked(case))[0])
    relative = found * float(np.linalg.norm(case.problem.input.x) / np.linalg.norm(case.relevance))
    assert ours(case, "local-lipschitz", radius=0.1, samples=6) == pytest.approx(relative, rel=1e-5)


def test_random_logit(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from quantus.functions.similarity_func import correlation_spearman

    drawn = int(case.generator().integers(2))
    monkeypatch.setattr(np.random, "randint", lambda *_, **__: np.array([drawn]))
    metric = quiet("RandomLogit", similarity_func=correlation_spearman, num_classes=3, abs=True, normalise=False)
    metric.explain_func, metric.explain_func_kwargs = explains(case), {}
    found = metric.evaluate_batch(**asked(case, np.abs(case.relevance)))
    assert ours(case, "random-logit") == pytest.approx(float(found[0]), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "parts"),
    [("top-down-randomisation", [(0.5, 1.0), (0.0, 1.0)]), ("bottom-up-randomisation", [(0.0, 0.5), (0.0, 1.0)])],
)
def test_randomisation(case: Case, monkeypatch: pytest.MonkeyPatch, name: str, parts: list[Any]) -> None:
    models = [randomised(case.problem.source, first, last, case.seed) for first, last in parts]
    adapter = Adapter(case.problem.source, False, models)
    monkeypatch.setattr("quantus.helpers.utils.get_wrapped_model", lambda model, **_: model)
    metric = quiet("MPRT", return_average_correlation=True, normalise=False, abs=True)
    found = metric(
        model=adapter, x_batch=case.problem.input.x, y_batch=np.array([CLASS]), channel_first=True,
        explain_func=explains(case), a_batch=case.relevance[None, None].copy(),
    )  # fmt: skip
    assert ours(case, name, stages=2) == pytest.approx(float(found[0]), abs=1e-5)


def test_efficient_randomisation(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = Adapter(case.problem.source, True, [randomised(case.problem.source, 0.0, 1.0, case.seed)])
    monkeypatch.setattr("quantus.helpers.utils.get_wrapped_model", lambda model, **_: model)
    metric = quiet("EfficientMPRT", complexity_func_kwargs={"n_bins": 100}, normalise=False, abs=False)
    found = metric(
        model=adapter, x_batch=case.problem.input.x, y_batch=np.array([CLASS]), channel_first=True,
        explain_func=explains(case), a_batch=case.relevance[None, None].copy(),
    )  # fmt: skip
    assert ours(case, "efficient-randomisation") == pytest.approx(float(found[0]), abs=1e-5)


def test_completeness(case: Case) -> None:
    """Quantus asks for equality to the last bit; ours is how far off the sum is."""
    if case.explanation.method != "input-x-gradient":
        pytest.skip("gradients are no contributions")
    error = ours(case, "completeness")
    found = bool(quiet("Completeness", perturb_baseline=0.0).evaluate_batch(**asked(case, softmax=False))[0])
    assert found == (error == 0)
