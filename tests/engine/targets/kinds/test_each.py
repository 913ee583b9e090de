"""One target for each sample: the explanation of every sample is that of the sample alone with its target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray import Target
from onnxray.engine.errors import TargetError

Parse = Callable[..., onnx.ModelProto]
X = np.random.default_rng(1).standard_normal((3, 3, 8, 8)).astype(np.float32)
OPTIONS: dict[str, dict[str, Any]] = {
    "rise": {"masks": 40},
    "smoothgrad": {"samples": 3},
    "integrated-gradients": {"steps": 4},
    "occlusion": {"patch": 4, "stride": 4},
    "kernel-shap": {"segments": "grid", "grid": 4},
    "finer-cam": {},
}


@pytest.fixture
def model(parse: Parse) -> onnxray.Model:
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((6, 3, 3, 3)).astype(np.float32),
        "m": rng.standard_normal((6, 5)).astype(np.float32),
    }
    text = """m (float[N, 3, 8, 8] x) => (float[N, 5] scores) {
        c = Conv <pads = [1, 1, 1, 1]> (x, w) r = Relu (c) g = GlobalAveragePool (r) f = Flatten (g)
        scores = MatMul (f, m)
    }"""
    return onnxray.load(parse(text, **weights), answer="classes", scores="logits", labels=list("abcde"))


METHODS = """gradient input-x-gradient integrated-gradients smoothgrad guided-backprop lrp grad-cam layer-cam score-cam
ablation-cam finer-cam cam occlusion rise kernel-shap""".split()


@pytest.mark.parametrize("method", METHODS)
def test_every_sample_has_the_map_of_its_own_target(model: onnxray.Model, method: str) -> None:
    targets = [3, "b", "predicted"]
    found = onnxray.explain(model, X, method, target=targets, **options(method))
    assert len(found) == 3
    for i, target in enumerate(targets):
        alone = onnxray.explain(model, X[i : i + 1], method, target=target, **options(method))
        assert (found[i].asked, found[i].target, found[i].label) == (alone.asked, alone.target, alone.label)
        np.testing.assert_allclose(found[i].score, alone.score, rtol=1e-5)
        if method in ("smoothgrad", "rise"):  # each sample of a batch draws from its own part of the numbers
            assert found[i].values.shape == alone.values.shape
            several = onnxray.explain(model, X, method, target=Target.several([0, 1, 3]), **options(method))
            known = {e.label: e.values for e in several[3 * i : 3 * i + 3]}
            if alone.label in known:
                np.testing.assert_allclose(found[i].values, known[alone.label], rtol=1e-4, atol=1e-6)
        else:
            np.testing.assert_allclose(found[i].values, alone.values, rtol=1e-4, atol=1e-6)


def options(method: str) -> dict[str, Any]:
    return OPTIONS.get(method, {})


@pytest.mark.parametrize(
    "targets",
    [
        ["contrast:a,b", 2, "rank:2"],
        ["prob:a", "prob:d", "prob:predicted"],
        ["unit:c:1", "unit:c:strongest", "unit:c:2,1,1"],
        ["element:scores:1", "element:scores:max", "element:scores:4"],
    ],
)
def test_kinds_of_targets(model: onnxray.Model, targets: list[str]) -> None:
    found = onnxray.explain(model, X, "gradient", target=targets)
    for i, target in enumerate(targets):
        alone = onnxray.explain(model, X[i : i + 1], "gradient", target=target)
        assert str(found[i].target) == str(alone.target)
        np.testing.assert_allclose(found[i].values, alone.values, rtol=1e-4, atol=1e-6)


def test_probabilities_of_all_of_them(model: onnxray.Model) -> None:
    found = onnxray.explain(model, X, "gradient", target="prob:each:0,1,2")
    assert [str(e.target) for e in found] == ["prob:0", "prob:1", "prob:2"]
    assert [e.asked for e in found] == ["prob:0", "prob:1", "prob:2"]


def test_an_array_of_classes(model: onnxray.Model) -> None:
    found = onnxray.explain(model, X, "gradient", target=np.array([4, 0, 2]))
    assert [e.target.class_index for e in found] == [4, 0, 2]


def test_a_list_for_one_sample_is_several(model: onnxray.Model) -> None:
    found = onnxray.explain(model, X[:1], "gradient", target=[4, 0])
    assert [e.target.class_index for e in found] == [4, 0]
    all_of_all = onnxray.explain(model, X, "gradient", target=Target.several([4, 0]))
    assert [e.target.class_index for e in all_of_all] == [4, 0] * 3


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ([1, 2], "2 targets are given for 3 samples: give one for each sample, or classes:A,B"),
        ([1], "1 target is given for 3 samples"),
        ([1, 2, 3, 4], "4 targets are given for 3 samples"),
        ([1, 2, "top:2"], "the target top:2 of one sample is several"),
        ([1, 2, "prob:3"], "are of different kinds"),
        ([1, 2, "unit:c:1"], "are of different kinds"),
        (["unit:c:1", "unit:r:1", "unit:r:2"], "are not of the same value of the model: explain the samples in calls"),
        ([1, 2, 9], "class 9 does not exist"),
        ([], "the list of targets is empty"),
    ],
)
def test_what_cannot_be(model: onnxray.Model, targets: list[Any], said: str) -> None:
    with pytest.raises(TargetError, match=said):
        onnxray.explain(model, X, "gradient", target=targets)


def test_compiled_models_have_any_number_of_samples(model: onnxray.Model) -> None:
    with pytest.raises(TargetError, match="one target for each: name one"):
        onnxray.compile(model, "gradient", target=Target.each([1, 2]))


def test_the_text_reads_back() -> None:
    for targets in ([1, "tabby"], ["contrast:1,2", "3"]):
        target = Target.each(targets)
        assert Target.parse(str(target)) == target


def test_regions_of_each_sample(parse: Parse) -> None:
    w = np.random.default_rng(0).standard_normal((4, 3, 1, 1)).astype(np.float32)
    model = onnxray.load(parse("m (float[N, 3, 8, 8] x) => (float[N, 4, 8, 8] y) { y = Conv (x, w) }", w=w))
    targets = ["region:0:0,0,4,4", "region:2:4,4,8,8", "region:predicted"]
    found = onnxray.explain(model, X, "gradient", target=targets)
    for i, target in enumerate(targets):
        alone = onnxray.explain(model, X[i : i + 1], "gradient", target=target)
        assert str(found[i].target) == str(alone.target)
        np.testing.assert_allclose(found[i].values, alone.values, rtol=1e-4, atol=1e-6)
