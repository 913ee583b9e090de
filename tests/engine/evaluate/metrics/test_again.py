"""Metrics that make maps anew: robustness, randomisation, agreement."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

import onnxray
from onnxray.cli.files.images import read
from onnxray.engine.evaluate.case import Case
from onnxray.engine.evaluate.metrics.robustness import quantised
from onnxray.engine.evaluate.randomised import randomised, weights
from onnxray.engine.evaluate.ranks import rank_correlation
from onnxray.engine.evaluate.registry import make
from onnxray.engine.explain import problem_of, solve
from onnxray.engine.methods.registry import find
from onnxray.models.surface import render
from onnxray.tests.engine.evaluate.cases import given

SAMPLE = read(onnxray.samples()[4])


def values(method: str, metrics: str, others: str = "") -> dict[str, float]:
    names = [method, *others.split()]
    found = onnxray.evaluate("builtin", [("crack", SAMPLE)], names, metrics)
    return dict(found.images[0].values[method])


def test_spearman_is_scipy_s() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 50).astype(float), rng.random(50)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b)[0])


def test_the_randomised_weights_keep_their_spread() -> None:
    model = onnxray.load("builtin")
    names = weights(model)
    half = randomised(model, 0.5, 1.0)
    for number, name in enumerate(names):
        before, after = (onnxray.engine.proto.external_data.read(m.initializers[name], m.folder) for m in (model, half))
        assert np.array_equal(before, after) == (number < round(0.5 * len(names)))
        assert after.std() == pytest.approx(before.std(), rel=0.2)
    assert randomised(model, 0.5, 1.0) is half


def test_guided_backpropagation_survives_what_gradients_do_not() -> None:
    """Adebayo et al. 2018 on the built-in model: the first stage, the weights at the end."""
    found = {m: values(m, "randomisation") for m in ("guided-backprop", "input-x-gradient")}
    names = {"top-down-randomisation", "bottom-up-randomisation", "efficient-randomisation", "random-logit"}
    assert all(set(of) == names for of in found.values())
    top = {m: of["top-down-randomisation"] for m, of in found.items()}
    assert top["guided-backprop"] > top["input-x-gradient"]


def test_robustness_of_a_gradient() -> None:
    found = values("input-x-gradient", "robustness")
    assert 0 < found["average-sensitivity"] <= found["max-sensitivity"]
    assert found["local-lipschitz"] > found["max-sensitivity"]  # the input moves by less than itself
    for name in ("brightness-stability", "jpeg-stability", "shift-stability"):
        assert 0 < found[name] < 1


def test_agreement_with_other_methods_and_with_another_seed() -> None:
    found = values("grad-cam", "agreement", "hires-cam")  # the same map on this network, by definition
    assert found == {"rank-agreement": pytest.approx(1, abs=1e-3), "top-overlap": pytest.approx(1, abs=0.01)}
    assert 0 < values("smoothgrad", "seed-stability")["seed-stability"] < 1


@pytest.mark.parametrize("quality", [30, 75])
def test_jpeg_s_quantisation_is_pillow_s(quality: int) -> None:
    picture, data = render(3_000_000, "stain").image, io.BytesIO()
    Image.fromarray(picture).save(data, "JPEG", quality=quality, subsampling=0)
    wanted = np.asarray(Image.open(data)).astype(float)
    found = quantised(picture, quality).astype(float)
    assert np.abs(found - wanted).mean() < 0.1 * np.abs(picture - wanted).mean()


def test_random_maps_and_edges_are_judged_worse_than_grad_cam() -> None:
    """By deletion and by the heat on the object, on average over rendered defects."""
    model, metrics = onnxray.load("builtin"), [make("deletion", {"step": 640}), make("relevance-mass")]
    totals = np.zeros((3, 2))
    for seed, label in enumerate(("crack", "pit", "dent", "chip")):
        sample = render(3_000_000 + seed, label)
        problem = problem_of(model, sample.image, label)
        gray = sample.image.mean(axis=2)
        maps = (np.random.default_rng(seed).random(gray.shape), np.hypot(*np.gradient(gray)))
        for row, method in enumerate((find("grad-cam")(), *map(given, maps))):
            case = Case(problem, solve(problem, method), mask=sample.mask)
            totals[row] += [metric(case).value for metric in metrics]
    assert totals[0, 0] < totals[1:, 0].min()
    assert totals[0, 1] > totals[1, 1]
