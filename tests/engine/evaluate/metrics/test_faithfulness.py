"""Metrics of faithfulness: against the published protocols written out step by step, and by hand on linear models."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from scipy.ndimage import gaussian_filter
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve
from scipy.stats import pearsonr

from onnxray.engine.errors import MethodError
from onnxray.engine.evaluate.metrics.insertion import substrate
from onnxray.engine.evaluate.metrics.road import imputed
from onnxray.engine.evaluate.registry import make, metrics
from onnxray.tests.engine.evaluate.cases import SIZE, case_of, linear

RNG = np.random.default_rng(3)
WEIGHTS = RNG.standard_normal((3, 2, *SIZE)) / 8
X = RNG.standard_normal((2, *SIZE)).astype(np.float32)
MAP = RNG.standard_normal(SIZE)


def softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def runner(model: Any) -> Any:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x.astype(np.float32)})[0]


def rise_notebook(predict: Any, x: np.ndarray, map: np.ndarray, mode: str, step: int, fill: np.ndarray) -> np.ndarray:
    """`CausalMetric.single_run` of the code of RISE, evaluation.py, in NumPy: the probabilities of all steps."""
    area = map.size
    steps = (area + step - 1) // step
    start, finish = (x.copy(), fill.copy()) if mode == "deletion" else (fill.copy(), x.copy())
    scores = np.empty(steps + 1)
    order = np.flip(np.argsort(map.reshape(-1, area), axis=1), axis=-1)
    for i in range(steps + 1):
        scores[i] = softmax(predict(start[None]))[0, 0]
        if i < steps:
            coords = order[:, step * i : step * (i + 1)]
            start.reshape(len(x), area)[:, coords[0]] = finish.reshape(len(x), area)[:, coords[0]]
    return scores


def auc(scores: np.ndarray) -> float:
    """`auc` of the code of RISE."""
    return float((scores.sum() - scores[0] / 2 - scores[-1] / 2) / (scores.shape[0] - 1))


@pytest.mark.parametrize(("name", "step"), [("insertion", None), ("deletion", None), ("deletion", 7)])
def test_insertion_and_deletion_are_the_notebook_of_rise(name: str, step: int | None) -> None:
    model = linear(WEIGHTS)
    case = case_of(model, X, MAP)
    metric = make(name, {"step": step})
    found = metric(case)
    fill = substrate(case, metric.options()["fill"])
    wanted = rise_notebook(runner(model), X, MAP, name, step or SIZE[1], fill)
    assert found.curve is not None
    np.testing.assert_allclose(found.curve.y, wanted, atol=1e-6)
    assert found.value == pytest.approx(auc(wanted), abs=1e-6)


def test_the_blur_is_that_of_the_notebook() -> None:
    impulse = np.zeros((11, 11))
    impulse[5, 5] = 1
    kernel = gaussian_filter(impulse, 5)
    padded = np.pad(X, ((0, 0), (5, 5), (5, 5)))
    wanted = np.stack(
        [
            [[(plane[y : y + 11, x : x + 11] * kernel).sum() for x in range(SIZE[1])] for y in range(SIZE[0])]
            for plane in padded
        ]
    )
    np.testing.assert_allclose(substrate(case_of(linear(WEIGHTS), X, MAP), "rise-blur"), wanted, atol=1e-6)


def noisy_linear(planes: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """`NoisyLinearImputer` of the code of ROAD, pixel by pixel, without the noise."""
    near = [((1, 1), 1 / 12), ((0, 1), 1 / 6), ((-1, 1), 1 / 12), ((1, -1), 1 / 12)]
    near += [((0, -1), 1 / 6), ((-1, -1), 1 / 12), ((1, 0), 1 / 6), ((-1, 0), 1 / 6)]
    holes = [tuple(p) for p in np.argwhere(hidden)]
    number = {p: i for i, p in enumerate(holes)}
    system, right = lil_matrix((len(holes),) * 2), np.zeros((len(holes), len(planes)))
    for p, i in number.items():
        own = 1.0
        for (dy, dx), weight in near:
            q = (p[0] + dy, p[1] + dx)
            if not (0 <= q[0] < hidden.shape[0] and 0 <= q[1] < hidden.shape[1]):
                own -= weight
            elif q in number:
                system[i, number[q]] = weight
            else:
                right[i] -= weight * planes[:, q[0], q[1]]
        system[i, i] = -own
    result = planes.copy()
    result[:, hidden] = spsolve(system.tocsc(), right).reshape(len(holes), -1).T
    return result


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_imputation_solves_the_published_system(share: float) -> None:
    hidden = RNG.random(SIZE) < share
    planes = X.astype(np.float64)
    np.testing.assert_allclose(imputed(planes, hidden), noisy_linear(planes, hidden), atol=1e-9)


def test_road_without_noise_step_by_step() -> None:
    model = linear(WEIGHTS)
    predict = runner(model)
    order = np.argsort(-MAP.ravel(), kind="stable")
    halves = []
    for ranked in (order, order[::-1]):
        p = []
        for share in (0.25, 0.75):
            hidden = np.zeros(MAP.size, bool)
            hidden[ranked[: round(share * MAP.size)]] = True
            p.append(softmax(predict(noisy_linear(X.astype(float), hidden.reshape(SIZE))[None]))[0, 0])
        halves.append(np.array(p))
    case = case_of(model, X, MAP)
    found = make("road", {"shares": (0.25, 0.75), "noise": 0})(case)
    assert found.value == pytest.approx(((halves[1] - halves[0]) / 2).mean(), abs=1e-6)
    most = make("road", {"shares": (0.25, 0.75), "noise": 0, "order": "most"})(case)
    assert most.value == pytest.approx((halves[0] - case.probability).mean(), abs=1e-6)


def test_region_perturbation_step_by_step() -> None:
    model = linear(WEIGHTS)
    predict = runner(model)
    squares = [(y, x) for y in range(0, SIZE[0], 4) for x in range(0, SIZE[1], 4)]
    squares.sort(key=lambda at: -MAP[at[0] : at[0] + 4, at[1] : at[1] + 4].sum())
    x = X.copy()
    p = [softmax(predict(x[None]))[0, 0]]
    for top, left in squares:
        x[:, top : top + 4, left : left + 4] = 0
        p.append(softmax(predict(x[None]))[0, 0])
    found = make("region-perturbation", {"side": 4, "regions": 1.0, "fill": "zero"})(case_of(model, X, MAP))
    assert found.value == pytest.approx(float(np.mean(p[0] - np.array(p))), abs=1e-6)


def contributions() -> np.ndarray:
    """Of the score of class 0, exact in a linear model."""
    return np.asarray((WEIGHTS[0] * X).sum(axis=0))


def test_the_contributions_of_a_linear_model_are_perfect() -> None:
    """Hiding pixels by 0 costs exactly their contributions: every judgement of sums is at its best value."""
    case = case_of(linear(WEIGHTS), X, contributions())
    assert make("faithfulness-correlation", {"size": 9})(case).value == pytest.approx(1, abs=1e-5)
    assert make("sensitivity-n", {"samples": 10})(case).value == pytest.approx(1, abs=1e-4)
    for scaled in (True, False):
        metric = make("infidelity", {"fill": "zero", "side": 0.3, "scaled": scaled, "samples": 20})
        assert metric(case).value == pytest.approx(0, abs=1e-8)
    opposite = case_of(linear(WEIGHTS), X, -contributions())
    assert make("faithfulness-correlation", {"size": 9})(opposite).value == pytest.approx(-1, abs=1e-5)
    tripled = case_of(linear(WEIGHTS), X, 3 * contributions())
    assert make("infidelity", {"fill": "zero", "side": 0.3})(tripled).value == pytest.approx(0, abs=1e-8)
    flat = case_of(linear(WEIGHTS), X, np.zeros(SIZE))
    assert make("infidelity", {"fill": "zero", "side": 0.3})(flat).value == 1


def test_faithfulness_correlation_by_hand() -> None:
    case = case_of(linear(WEIGHTS), X, MAP)
    draw = np.random.default_rng(0)
    sets = [draw.choice(MAP.size, 9, replace=False) for _ in range(30)]
    said = [MAP.ravel()[s].sum() for s in sets]
    drops = [contributions().ravel()[s].sum() for s in sets]
    found = make("faithfulness-correlation", {"size": 9, "samples": 30})(case)
    assert found.value == pytest.approx(pearsonr(said, drops)[0], abs=1e-4)


def test_monotonicity_of_contributions() -> None:
    one = WEIGHTS[:2] * np.array([1, -1])[:, None, None, None]
    one[1] = 0
    case = case_of(linear(one), X, (one[0] * X).sum(axis=0))
    # The least relevant come first: the score falls while contributions are negative, then it rises.
    found = make("monotonicity", {"steps": MAP.size, "fill": "zero"})(case)
    assert found.value == pytest.approx(float(((one[0] * X).sum(axis=0) >= 0).mean()), abs=1e-9)


def test_drop_increase_and_gain_by_hand() -> None:
    model = linear(WEIGHTS)
    predict = runner(model)
    heat = np.maximum(MAP, 0)
    p = softmax(predict(X[None]))[0]
    o = softmax(predict((X * (heat / heat.max()))[None]))[0]
    for target in range(3):
        case = case_of(model, X, MAP, target)
        before, after = float(p[target]), float(o[target])
        assert make("average-drop")(case).value == pytest.approx(max(0, before - after) / before, abs=1e-5)
        assert make("increase")(case).value == float(after > before)
        assert make("average-gain")(case).value == pytest.approx(max(0, after - before) / (1 - before), abs=1e-5)


def test_completeness_by_hand() -> None:
    values = WEIGHTS[0] * X
    right = case_of(linear(WEIGHTS), X, values, reduce="sum")
    assert make("completeness")(right).value == pytest.approx(0, abs=1e-5)
    double = case_of(linear(WEIGHTS), X, 2 * values, reduce="sum")
    assert make("completeness")(double).value == pytest.approx(1, abs=1e-5)
    with pytest.raises(MethodError, match="no contributions"):
        make("completeness")(case_of(linear(WEIGHTS), X, MAP))


# These judge the score itself, not the probability.
OF_SCORES = ("completeness", "infidelity", "faithfulness-correlation", "sensitivity-n")


@pytest.mark.parametrize(
    "name", [n for n, cls in metrics().items() if cls.needs in ("map", "runs") and n not in OF_SCORES]
)
def test_probabilities_and_logits_are_judged_alike(name: str) -> None:
    """A model that ends in a softmax has the values of the same model without it, where probabilities count."""
    mask = np.zeros(SIZE, bool)
    mask[2:5, 3:6] = True
    plain, ended = (case_of(linear(WEIGHTS, s), X, MAP, mask=mask, display="positive") for s in (False, True))
    cls = metrics()[name]
    assert cls()(ended).value == pytest.approx(cls()(plain).value, abs=1e-5)
