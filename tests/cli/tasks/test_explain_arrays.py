"""`explain` of arrays: every model of other frameworks from the inputs stored with it, no option but a target."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result

import onnxray
from onnxray.cli.files import images as files
from onnxray.engine.errors import GradientError
from onnxray.engine.inspect.batch_axis import value_has_batch
from onnxray.tests.engine.zoo import feeds_of

# Models that no gradient goes through, and what is said of them.
NO_GRADIENT = {
    "q_dyn_hf_distilbert_op17": "the model computes in integers",
    "s_knn_op13": "pass no gradient on to it",
    "s_random_forest_op17": "a tree is constant between its thresholds",
}
Run = Callable[..., Result]


def strongest_of(model: onnxray.Model) -> str:
    """The strongest element of the first output of floats, as a target."""
    output = next((o for o in model.outputs if o.dtype is not None and o.dtype.kind == "f"), model.outputs[0])
    axes = (output.rank or 0) - value_has_batch(model, output.name, model.inputs[0].name)
    return f"element:{output.name}:" + ",".join(["max"] * axes)


def check(run: Run, folder: Path, file: Path, feeds: dict[str, np.ndarray], refused: str | None = None) -> None:
    """Values of the command line are those of Python, bit by bit, and everything is drawn."""
    np.savez(folder / "feeds.npz", **feeds)  # type: ignore[arg-type]
    model = onnxray.load(file)
    target = strongest_of(model)
    for method in ("ablation", "gradient"):
        out = folder / method
        result = run("explain", file, folder / "feeds.npz", "-m", method, "-t", target, "-o", out, "-q")
        if method == "gradient" and refused:
            assert result.exit_code
            assert refused in result.stderr
            assert len(result.stderr.splitlines()) == 1
            with pytest.raises(GradientError, match=refused):
                onnxray.explain(model, feeds, method, target)
            continue
        assert result.exit_code == 0, result.stderr
        expected = list(onnxray.explain(model, feeds, method, target))
        written = [out / "feeds" / f"{method}.npy"]
        if len(expected) > 1:
            written = [out / "feeds" / f"sample-{row}-{method}.npy" for row in range(len(expected))]
        for e, path in zip(expected, written, strict=True):
            np.testing.assert_array_equal(np.load(path), e.values)
        assert len(list(out.rglob("*.png"))) == len(expected)


@pytest.mark.slow
def test_every_model_is_explained_from_its_stored_inputs(zoo_case: Path, tmp_path: Path, run: Run) -> None:
    check(run, tmp_path, zoo_case / "model.onnx", feeds_of(zoo_case), NO_GRADIENT.get(zoo_case.name))


def test_two_pictures_are_explained_and_drawn_together(
    tmp_path: Path, run: Run, photos: Path, parse: Callable[..., onnx.ModelProto]
) -> None:
    proto = parse(
        "m (float[N, 3, 16, 16] a, float[N, 3, 16, 16] b) => (float[N, 4] y) { c = Conv (a, w)  r = Relu (c)  "
        "e = Conv (b, w)  s = Relu (e)  d = Mul (r, s)  g = GlobalAveragePool (d)  y = Flatten (g) }",
        w=np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32),
    )
    file, out = tmp_path / "pair.onnx", tmp_path / "out"
    onnx.save(proto, file)
    first, second = photos / "ramp.png", photos / "noise.png"
    given = {"b": first, "a": second}  # the picture fills the input that --with leaves
    result = run(
        "explain", file, first, "--with", f"a={second}", "-m", "ablation,grad-cam", "-t", "element:y:1", "-o", out,
        "--threshold", 0.5,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    for method in ("ablation", "grad-cam"):
        e = onnxray.explain(file, given, method, "element:y:1")
        np.testing.assert_array_equal(np.load(out / "ramp" / f"{method}.npy"), e.values)
        assert list(e.parts) == ["a", "b"]
        assert e.image is not None
        left, right = files.read(second), files.read(first)
        assert e.image.shape[:2] == (max(left.shape[0], right.shape[0]), left.shape[1] + right.shape[1])
        np.testing.assert_array_equal(e.image[: right.shape[0], left.shape[1] :], right)
        np.testing.assert_array_equal(files.read(out / "ramp" / f"{method}-overlay.png"), e.overlay(0.6))
        assert files.read(out / "ramp" / f"{method}-mask.png").shape[:2] == e.image.shape[:2]
    assert files.read(out / "ramp" / "sheet.png").shape[1] > 600
    (entry,) = json.loads((out / "manifest.json").read_text())["images"]
    assert entry["size"] == list(e.image.shape[:2])
    assert len(entry["geometry"]["parts"]) == 2
    refused = run("explain", file, first, "--with", f"a={second}", "--crop", "0,0,8,8", "-o", out, "--force")
    assert "--crop is about one image" in refused.stderr
    assert {tuple(found["parts"]) for found in entry["maps"]} == {("a", "b")}


def test_token_ids_are_explained_by_what_they_stand_for(
    tmp_path: Path, run: Run, parse: Callable[..., onnx.ModelProto]
) -> None:
    rng = np.random.default_rng(0)
    proto = parse(
        "m (int64[N, T] ids) => (float[N, 2] y) { i = Add (ids, one)  e = Gather (table, i)  r = Tanh (e)  "
        "p = ReduceMean <keepdims = 0> (r, axis)  y = MatMul (p, w) }",
        opset=18,
        one=np.int64(1),
        axis=np.int64([1]),
        table=rng.standard_normal((9, 4)).astype(np.float32),
        w=rng.standard_normal((4, 2)).astype(np.float32),
    )
    file = tmp_path / "text.onnx"
    onnx.save(proto, file)
    ids = np.int64([[1, 4, 2]])
    check(run, tmp_path, file, {"ids": ids})
    e = onnxray.explain(proto, ids, "gradient", 1)
    np.testing.assert_array_equal(e.values, onnxray.explain(proto, ids, "gradient", 1, at="e").values)
    assert e.values.shape == (3, 4)
    assert e.details["at"] == "e"
    assert e.inputs == ("ids",)
    np.testing.assert_array_equal(e.parts["ids"], e.values)
    assert any("have no gradient: explained by the embeddings that they stand for, 'e'" in text for text in e.warnings)
