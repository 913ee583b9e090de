"""Every option of `load` and `explain` has an effect, or raises, or is said to have none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.explain import RUN_OPTIONS
from onnxray.engine.methods.registry import options_of
from onnxray.engine.preprocess.card import OPTION_FIELDS, Card

RNG = np.random.default_rng(3)
PHOTO = RNG.integers(0, 256, (21, 34, 3), dtype=np.uint8)
X = RNG.normal(size=(1, 3, 16, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def model(parse: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    return parse(
        """g (float[N, 3, H, W] x) => (float[N, 4] logits, float[N, 4] other, float[N, 4, H, W] map) {
            a = Conv <pads = [1, 1, 1, 1]> (x, k)  b = Relu(a)  c = Conv <pads = [1, 1, 1, 1]> (b, k2)  d = Relu(c)
            p = GlobalAveragePool(d)  f = Flatten(p)  logits = MatMul(f, v)  other = Softmax <axis = 1> (logits)
            e = Conv(d, k1)  map = Sigmoid(e) }""",
        k=RNG.normal(size=(8, 3, 3, 3)).astype(np.float32),
        k2=RNG.normal(size=(8, 8, 3, 3)).astype(np.float32) * np.float32(0.3),
        k1=RNG.normal(size=(4, 8, 1, 1)).astype(np.float32),
        v=RNG.normal(size=(8, 4)).astype(np.float32),
    )


BASE: dict[str, Any] = {"size": (16, 16), "mean": 120, "std": 60}
CROP, LETTERBOX = {"resize": "crop"}, {"resize": "letterbox"}
# Field -> (value, with what else it counts).
EFFECTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "input": ("y", {}),
    "kind": ("series", {}),
    "axes": ("NHWC", {}),
    "size": ((12, 18), {}),
    "mean": (3, {}),
    "std": (9, {}),
    "order": ("BGR", {}),
    "layout": ("HWC", {}),
    "resize": ("letterbox", {}),
    "shortest_edge": (19, CROP),
    "stretch_to": ((20, 30), CROP),
    "crop_fraction": (0.5, CROP),
    "rounding": ("torchvision", {**CROP, "shortest_edge": 19}),
    "interpolation": ("nearest", {}),
    "antialias": (False, {}),
    "pad_value": (200, LETTERBOX),
    "align": ("top-left", LETTERBOX),
    "dtype": ("float16", {}),
    "labels": (["a", "b", "c", "d"], {}),
    "output": ("logits", {}),
    "answer": ("number", {}),
    "scores": ("logits", {"target": "prob:1"}),
    "decision_threshold": (0.9, {}),
    "bands": (["a", "b", "c"], {}),
    "display": ([0], {}),
}
# They count for pictures of 16 bits, below, for detectors, in tests/engine/detection, and texts, tests/engine/text.
DEEP = {"bits": (12, 14), "window": ((0, 4095), (100, 3000))}
ELSEWHERE = (*DEEP, "detector", "sound", "volume", "tokenizer", "decoder")
PLAIN = tuple(name for name in OPTION_FIELDS if name not in ELSEWHERE)


def outcome(model: Any, image: Any = PHOTO, **options: Any) -> Any:
    """All that an explanation says, or the error."""
    try:
        e = onnxray.explain(model, image, **{"method": "gradient", "target": 1, **options})
    except onnxray.OnnxrayError as error:
        return str(error)
    return e.values.tobytes(), e.values.shape, e.score, e.warnings, e.label, e.reason, repr(e.details)


def test_all_fields_are_walked() -> None:
    assert {*EFFECTS, *ELSEWHERE} == set(OPTION_FIELDS)
    assert set(OPTION_FIELDS) | {"source", "warnings", "about"} == {f.name for f in fields(Card)}


@pytest.mark.parametrize("name", DEEP)
def test_fields_of_the_card_on_a_photo_of_16_bits(model: onnx.ModelProto, name: str) -> None:
    deep = PHOTO.astype(np.uint16) * 16
    one, other = (outcome(model, deep, **BASE, **{name: value}) for value in DEEP[name])
    assert one != other


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("way", ["explain", "load"])
def test_fields_of_the_card_on_a_photo(model: onnx.ModelProto, name: str, way: str) -> None:
    value, others = EFFECTS[name]
    before = {**BASE, **others}
    target = {"target": before.pop("target", 1)}
    after = {**before, name: value}
    if way == "explain":
        assert outcome(model, **target, **before) != outcome(model, **target, **after)
    elif name == "input":
        assert outcome(onnxray.load(model, **before)) != outcome(onnxray.load(model, **after))
    else:
        assert outcome(onnxray.load(model, **before), **target) != outcome(onnxray.load(model, **after), **target)


@pytest.mark.parametrize("name", PLAIN)
def test_fields_of_the_card_without_what_they_count_with(model: onnx.ModelProto, name: str) -> None:
    value, others = EFFECTS[name]
    before = {**BASE, "target": others.get("target", 1)}
    assert outcome(model, **before) != outcome(model, **{**before, name: value})


@pytest.mark.parametrize("name", PLAIN)
def test_fields_of_the_card_on_a_tensor(model: onnx.ModelProto, name: str) -> None:
    value = EFFECTS[name][0]
    if name in ("bands", "display"):
        return  # they name what pictures have
    if name in ("mean", "std", "order"):  # they say what the tensor shows
        known = {"mean": 100, "std": 50, "order": "RGB"}
        shown = [onnxray.explain(model, X, "gradient", 1, **{**known, **o}) for o in ({}, {name: value})]
        assert not np.array_equal(shown[0].image, shown[1].image)
    else:
        target = {"target": EFFECTS[name][1].get("target", 1)}
        if name in ("kind", "axes"):  # they say what windows slide along
            target["method"] = "occlusion"
        assert outcome(model, X, **target) != outcome(model, X, **target, **{name: value})


@pytest.mark.parametrize("name", ["output", "answer", "scores", "decision_threshold"])
def test_what_says_the_answer_on_a_target_that_names_its_value(model: onnx.ModelProto, name: str) -> None:
    target = onnxray.Target.unit("a", 0)
    value = "classes" if name == "answer" else EFFECTS[name][0]
    assert outcome(model, X, target=target) != outcome(model, X, target=target, **{name: value})


@pytest.mark.parametrize("name", ["source", "warnings", "about"])
def test_what_describes_a_card_is_no_option(model: onnx.ModelProto, name: str) -> None:
    assert "no option of gradient" in outcome(model, **{name: "x"})
    if name != "source":
        with pytest.raises(onnxray.OnnxrayError, match="no effect as an option"):
            onnxray.load(model, **{name: ["x"] if name == "warnings" else {"a": 1}})


@pytest.mark.parametrize(
    ("name", "value"), [("providers", "nowhere"), ("threads", 0), ("batch", 0), ("progress", None), ("nothing", 1)]
)
def test_how_it_runs(model: onnx.ModelProto, name: str, value: Any) -> None:
    if name == "progress":
        seen: list[int] = []
        onnxray.explain(model, X, "occlusion", 1, progress=lambda done, total: seen.append(done))
        assert seen
    else:
        assert isinstance(outcome(model, X, **{name: value}), str)
    assert set(RUN_OPTIONS) == {"providers", "threads", "batch", "progress"}


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("occlusion", {"budget": 0.1}, "mode='coarse-to-fine'"),
        ("occlusion", {"cap": 0.5}, "mode='capped'"),
        ("occlusion", {"grid": 4}, "segments='grid'"),
        ("occlusion", {"compactness": 10}, "superpixels"),
        ("occlusion", {"segments": "grid", "patch": 4}, "windows"),
        ("ablation", {"grid": 4}, "segments='grid'"),
        ("lime", {"segments": "grid", "compactness": 9}, "superpixels"),
        ("sobol", {"compactness": 9}, "superpixels"),
        ("integrated-gradients", {"max_steps": 100}, "tolerance"),
        ("lrp", {"gamma": 0.5}, "'gamma'"),
        ("lrp", {"alpha": 3}, "'alpha-beta'"),
        ("lrp", {"low": 3}, "'box'"),
    ],
)
def test_options_of_methods_that_count_with_others_only(
    model: onnx.ModelProto, method: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(onnxray.OnnxrayError, match="has no effect without"):
        onnxray.explain(model, X, method, 1, **options)
    assert said in outcome(model, X, method=method, **options)


# What makes options of methods count, and runs short.
_WITH: dict[tuple[str, str], dict[str, Any]] = {
    ("occlusion", "budget"): {"mode": "coarse-to-fine"},
    ("integrated-gradients", "max_steps"): {"tolerance": 0.0, "max_steps": 12},
    ("lrp", "gamma"): {"composite": "gamma"},
    ("lrp", "alpha"): {"composite": "alpha-beta"},
    ("lrp", "low"): {"first": "box", "low": -3, "high": 3},
    ("lrp", "high"): {"first": "box", "low": -3, "high": 3},
}
_FEW = {"masks": 30, "samples": 40, "steps": 6}


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", [m for m in onnxray.methods() if "attention" not in m and m not in ("d-rise", "tree-shap")]
)
def test_numbers_among_the_options_of_methods(model: onnx.ModelProto, method: str) -> None:
    """A number that counts changes the result.

    d-rise explains boxes, tree-shap sums, which this model has none of. Seeds count where something is drawn, the cap
    of occlusion where the network is cut into stages.
    """
    known = {o.name: o for o in options_of(onnxray.methods()[method])}
    idle = []
    for name, spec in known.items():
        if name in ("seed", "cap") or not isinstance(spec.default, int | float) or isinstance(spec.default, bool):
            continue
        with_it = dict(_WITH.get((method, name), {}))
        if name in ("grid", "compactness"):
            with_it["segments"] = "grid" if name == "grid" else "slic"
        with_it = {**{k: v for k, v in _FEW.items() if k in known}, **with_it}
        start = with_it.get(name, spec.default)
        tries = [start * 2, start + 3, start / 3, start + 0.5]
        if float not in spec.kinds:
            tries = [int(t) for t in tries]
        tries = [t for t in tries if (spec.low or 0) <= t <= (spec.high or np.inf) and t != start]
        before = outcome(model, PHOTO, method=method, **BASE, **with_it)
        if all(outcome(model, PHOTO, method=method, **BASE, **{**with_it, name: t}) == before for t in tries):
            idle.append(name)
    assert not idle
