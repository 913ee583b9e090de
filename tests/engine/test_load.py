"""`load(half=True)`: every public verb takes the option, and its results are those of the float32 model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxray
from onnxray.engine.errors import CardError, MethodError, ModelError
from onnxray.engine.graph.narrow import NOTE, is_narrowed
from onnxray.engine.inference.half_notices import SLOW_HALF
from onnxray.engine.inspect.finite import why_not_finite
from onnxray.engine.pipeline.drift import Looking, Reference
from onnxray.engine.survey.top import merge_tops


def correlation(a: Any, b: Any) -> float:
    return float(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1])


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    y, x = np.mgrid[:160, :160]
    stripes = 120 + 60 * np.sin(x / 9) + 40 * np.cos(y / 17)
    return np.stack([stripes, stripes * 0.9, 255 - stripes], -1).astype(np.uint8)


def test_the_model_is_the_same_file_and_the_source_is_not_changed() -> None:
    single = onnxray.load("builtin")
    before = single.proto.SerializeToString(deterministic=True)
    half = onnxray.load(single, half=True)
    assert single.proto.SerializeToString(deterministic=True) == before
    assert (half.path, half.sha256) == (single.path, single.sha256)
    assert half.content_key != single.content_key
    # Casts at the ends come on top.
    assert {layer.name for layer in single.layers} < {layer.name for layer in half.layers}
    assert NOTE in half.metadata
    assert NOTE not in single.metadata
    assert onnxray.load(half, half=True) is half


@pytest.mark.parametrize(
    ("method", "least"),
    [
        ("grad-cam", 0.999),
        ("layer-cam", 0.999),
        ("lrp", 0.999),
        ("gradient", 0.99),
        ("input-x-gradient", 0.99),
        ("integrated-gradients", 0.99),
        ("guided-backprop", 0.99),
        ("occlusion", 0.999),
        ("score-cam", 0.999),
    ],
)
def test_maps(photo: np.ndarray, method: str, least: float) -> None:
    # Rounding of weights turns a few rectifiers over: that is in the gradients.
    single = onnxray.explain("builtin", photo, method=method)
    half = onnxray.explain("builtin", photo, method=method, half=True)
    assert isinstance(single, onnxray.Explanation)
    assert isinstance(half, onnxray.Explanation)
    assert correlation(single.values, half.values) > least
    assert half.score == pytest.approx(single.score, rel=1e-2)
    assert half.score != single.score
    assert SLOW_HALF in half.warnings
    assert SLOW_HALF not in single.warnings


@pytest.mark.parametrize(
    "run",
    [
        lambda image, **half: [
            c.score for c in sorted(onnxray.predict("builtin", image, **half).top, key=lambda c: c.index)
        ],
        lambda image, **half: onnxray.dream("builtin", image, "stage2/relu2", steps=2, octaves=1, **half).pictures,
    ],
    ids=["predict", "dream"],
)
def test_other_verbs(photo: np.ndarray, run: Callable[..., Any]) -> None:
    assert correlation(run(photo), run(photo, half=True)) > 0.98


def test_visualize() -> None:
    """The pictures differ, for small differences grow with the steps; how strongly they excite the class does not."""
    single, half = (onnxray.visualize("builtin", target=0, steps=32, half=half) for half in (False, True))
    assert half.activations[0] == pytest.approx(single.activations[0], rel=0.25)


def test_pipelines_and_compiled_models(photo: np.ndarray, tmp_path: Path) -> None:
    with onnxray.Pipeline("builtin", method="grad-cam", half=True) as pipeline:
        (found,) = pipeline.map([photo])
    due = onnxray.explain("builtin", photo, method="grad-cam", half=True)
    np.testing.assert_array_equal(found.values, due.values)
    compiled = onnxray.compile("builtin", method="grad-cam", half=True)
    assert NOTE in compiled.metadata
    # Nobody gave half for the file: no message may say to leave it out.
    assert is_narrowed(compiled)
    file = tmp_path / "compiled.onnx"
    file.write_bytes(compiled.proto.SerializeToString())
    for source in (compiled.proto, file.read_bytes(), file):
        read = onnxray.load(source)
        assert not is_narrowed(read)
        assert not is_narrowed(onnxray.vjp(read, read.outputs[0].name, read.inputs[0].name))
        assert why_not_finite(read) == "the model overflows on this input"
    explained = onnxray.explain(file, photo, method="gradient")
    assert SLOW_HALF not in explained.warnings
    assert why_not_finite(onnxray.load("builtin", half=True)).endswith("leave half out")
    assert {v.dtype for v in compiled.outputs} == {np.dtype(np.float32)}


@pytest.mark.parametrize("half", ["no", 1, None])
def test_half_is_a_bool(half: Any) -> None:
    with pytest.raises(CardError, match="neither True nor False"):
        onnxray.load("builtin", half=half)


def test_a_memory_knows_whether_it_was_made_with_half(photo: np.ndarray, tmp_path: Path) -> None:
    photos = [photo, photo[::-1], photo[:, ::-1], photo[:100], photo[:, :100], photo[30:]]
    half, single = (onnxray.Novelty.fit("builtin", photos, method="knn", half=half) for half in (True, False))
    # What is read runs as what was written.
    path = half.save(tmp_path / "half.npz")
    assert is_narrowed(onnxray.Novelty.load(path, "builtin").model)
    assert onnxray.Novelty.load(path, "builtin").score(photo).score == half.score(photo).score
    with pytest.raises(ModelError, match="made without half, and the model runs with it"):
        onnxray.Novelty.load(single.save(tmp_path / "single.npz"), onnxray.load("builtin", half=True))
    with pytest.raises(ModelError, match="made with half, and the model runs without it"):
        onnxray.Pipeline("builtin", when="novelty > 0", memory=half)


def test_results_with_half_and_without_are_not_mixed(photo: np.ndarray) -> None:
    with pytest.raises(MethodError, match="of different models"):
        merge_tops([onnxray.top("builtin", [photo], half=half) for half in (False, True)])
    single, half = (onnxray.health("builtin", [photo] * 2, half=half) for half in (False, True))
    assert single.models[0].sha256 != half.models[0].sha256
    model = onnxray.load("builtin", half=True)
    Looking(model).fits(Reference.of_health(half))
    with pytest.raises(MethodError, match="differs in half"):
        Looking(model).fits(Reference.of_health(single))
