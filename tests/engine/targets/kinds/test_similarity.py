"""Similarity of embeddings: the cosine and its gradient against NumPy in float64."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxray
from onnxray import Target
from onnxray.engine.errors import TargetError

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(0)
W = RNG.standard_normal((3, 8, 3, 3)).transpose(1, 0, 2, 3).astype(np.float32)
X = RNG.standard_normal((1, 3, 9, 9)).astype(np.float32)
REFERENCE = RNG.standard_normal(8).astype(np.float32)
OTHER = RNG.standard_normal(8).astype(np.float32)


@pytest.fixture
def tower(parse: Parse) -> onnxray.Model:
    text = """m (float[N, 3, 9, 9] image) => (float[N, 8] embedding) {
      c = Conv (image, w)  t = Tanh (c)  g = GlobalAveragePool (t)  embedding = Flatten (g) }"""
    return onnxray.load(parse(text, w=W), answer="embedding")


def cosine(e: np.ndarray, r: np.ndarray) -> float:
    e, r = e.astype(np.float64), r.astype(np.float64)
    return float(e @ r / np.linalg.norm(e) / np.linalg.norm(r))


def embedded(x: np.ndarray) -> np.ndarray:
    out = np.zeros((8, 7, 7))
    for i, j in np.ndindex(3, 3):
        out += np.einsum("oc,chw->ohw", W[:, :, i, j].astype(np.float64), x[0, :, i : i + 7, j : j + 7])
    return np.tanh(out).mean(axis=(1, 2))


def test_the_cosine_and_its_gradient(tower: onnxray.Model) -> None:
    e = onnxray.explain(tower, X, "gradient", Target.like(REFERENCE))
    assert e.score == pytest.approx(cosine(embedded(X), REFERENCE), abs=1e-6)
    rng = np.random.default_rng(2)
    for _ in range(5):
        d = rng.standard_normal(X.shape)
        up, down = (embedded(X + s * 1e-5 * d) for s in (1, -1))
        due = (cosine(up, REFERENCE) - cosine(down, REFERENCE)) / 2e-5
        assert float((e.values * d[0]).sum()) == pytest.approx(due, abs=1e-6)


def test_of_several_the_mean_and_unlike_the_difference(tower: onnxray.Model) -> None:
    a, b = (cosine(embedded(X), r) for r in (REFERENCE, OTHER))
    assert onnxray.explain(tower, X, "gradient", Target.like(REFERENCE, OTHER)).score == pytest.approx(
        (a + b) / 2, abs=1e-6
    )
    assert onnxray.explain(tower, X, "gradient", Target.unlike(REFERENCE, OTHER)).score == pytest.approx(
        a - b, abs=1e-6
    )


def test_pictures_are_embedded_by_the_model_itself(tower: onnxray.Model, tmp_path: Path) -> None:
    from onnxray.cli.files.images import write

    photo = RNG.integers(0, 256, (20, 20, 3)).astype(np.uint8)
    write(tmp_path / "a.png", photo)
    same = onnxray.explain(tower, photo, "gradient", f"like:{tmp_path / 'a.png'}", size=9)
    assert same.score == pytest.approx(1, abs=1e-6)
    assert same.label == f"similar to {tmp_path / 'a.png'}"
    np.save(tmp_path / "r.npy", REFERENCE)
    e = onnxray.explain(tower, X, "gradient", f"like:{tmp_path / 'r.npy'}")
    assert e.score == pytest.approx(cosine(embedded(X), REFERENCE), abs=1e-6)


@pytest.mark.parametrize("pool", ["cls", "mean", "max"])
def test_tokens_are_pooled(parse: Parse, pool: str) -> None:
    model = onnxray.load(
        parse("m (float[N, 4, 6] x) => (float[N, 4, 6] tokens) { tokens = Tanh (x) }"), answer="embedding"
    )
    x = RNG.standard_normal((1, 4, 6)).astype(np.float32)
    tokens = np.tanh(x[0].astype(np.float64))
    due = {"cls": tokens[0], "mean": tokens.mean(axis=0), "max": tokens.max(axis=0)}[pool]
    r = RNG.standard_normal(6).astype(np.float32)
    assert onnxray.explain(model, x, "gradient", Target.like(r, pool=pool)).score == pytest.approx(
        cosine(due, r), abs=1e-6
    )


def test_texts_and_refusals(tower: onnxray.Model) -> None:
    for text in ("like:a.png", "like:a.png,b.png", "like:max:a.npy", "unlike:a.png,b.png"):
        assert str(Target.parse(text)) == text
    for make, words in [
        (lambda: Target.like(), "nothing to compare with"),
        (lambda: Target.like(REFERENCE, pool="sum"), "no pooling 'sum'"),
        (lambda: Target.parse("unlike:a.png"), "write unlike:FILE_A,FILE_B"),
        (lambda: onnxray.explain(tower, X, "gradient", Target.like(np.zeros(8, np.float32))), "zero or not finite"),
        (lambda: onnxray.explain(tower, X, "gradient", Target.like(REFERENCE, pool="max")), "has no effect"),
    ]:
        with pytest.raises(TargetError, match=words):
            make()


def test_pytorch_has_the_same_cosine_and_gradient(tower: onnxray.Model) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: NumPy in float64 alone judges the cosine")
    x = torch.tensor(X, requires_grad=True)
    embedding = torch.tanh(torch.nn.functional.conv2d(x, torch.tensor(W))).mean(dim=(2, 3))
    score = torch.nn.functional.cosine_similarity(embedding, torch.tensor(REFERENCE)[None])
    score.sum().backward()
    e = onnxray.explain(tower, X, "gradient", Target.like(REFERENCE))
    assert e.score == pytest.approx(score.item(), abs=1e-6)
    np.testing.assert_allclose(e.values, x.grad[0].numpy(), atol=1e-6)
