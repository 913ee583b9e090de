"""A card's preprocessing in a graph, against `prepare` and `Geometry.to_image`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import onnxray
from onnxray.engine.errors import CardError, ModelError
from onnxray.engine.preprocess.find import find_card
from onnxray.engine.preprocess.image import prepare

IDENTITY = """
g (float[N, 3, 20, 24] image) => (float[N, 3, 20, 24] seen, float[N, 3] y) {
  a = Relu (image)
  p = GlobalAveragePool (a)
  y = Flatten (p)
  seen = Identity (image)
}
"""
WEIGHTED = """
g (float[N, 3, 20, 24] image) => (float[N, 3] y) {
  a = Mul (image, pattern)
  p = GlobalAveragePool (a)
  y = Flatten (p)
}
"""
CARDS: list[dict[str, Any]] = [
    {"resize": "stretch"},
    {"resize": "stretch", "interpolation": "bicubic", "mean": [10, 20, 30], "std": [50, 60, 70]},
    {"resize": "stretch", "interpolation": "nearest", "order": "BGR"},
    {"resize": "crop"},
    {"resize": "crop", "antialias": False},
    {"resize": "crop", "antialias": False, "interpolation": "bicubic"},
    {"resize": "crop", "shortest_edge": 28, "rounding": "torchvision"},
    {"resize": "crop", "shortest_edge": 22, "rounding": "torchvision", "pad_value": 9},
    {"resize": "crop", "shortest_edge": 31, "rounding": "transformers"},
    {"resize": "crop", "stretch_to": [26, 27], "rounding": "transformers"},
    {"resize": "letterbox", "pad_value": 114},
    {"resize": "letterbox", "align": "top-left", "order": "BGR"},
]
SIZES = [(20, 24), (40, 48), (57, 33), (33, 91), (7, 9)]


def run(model: onnxray.Model, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    ready = ort.InferenceSession(model.proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in ready.get_outputs()]
    return dict(zip(names, ready.run(names, feeds), strict=True))


def picture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


DEEP: list[dict[str, Any]] = [
    {"bits": 12, "resize": "stretch"},
    {"window": [500, 3000], "resize": "crop", "interpolation": "bicubic", "order": "BGR"},
    {"bits": 12, "resize": "letterbox", "pad_value": 7, "mean": [10, 20, 30], "std": [50, 60, 70]},
    {"order": [4, 0, 2], "bits": 12, "resize": "letterbox"},
    {"order": [4, 0, 2], "window": "none", "mean": 300, "std": 20},
]


@pytest.mark.parametrize("card", DEEP, ids=lambda c: "-".join(str(v) for v in c.values()))
def test_more_than_8_bits_and_bands(parse: Callable[..., onnx.ModelProto], card: dict[str, Any]) -> None:
    model = onnxray.load(parse(IDENTITY), output="y", scores="logits", **card)
    compiled = onnxray.compile(model, "gradient", preprocess=True)
    onnx.checker.check_model(compiled.proto, full_check=True)
    found = find_card(model)
    std = np.array(found.std, np.float32).reshape(3, 1, 1)
    for size in SIZES:
        image = np.random.default_rng(0).integers(0, 4096, (*size, 5 if found.has_bands else 3)).astype(np.uint16)
        if found.window == "none":
            image = image.astype(np.float32)
        assert compiled.value("image").dtype == image.dtype
        seen = run(compiled, {"image": image})["seen"][0]
        assert np.abs((seen - prepare(image, found).tensor[0]) * std).max() <= (1.0 if found.window == "none" else 0.02)
    gray = "g (float[N, 1, 9, 9] image) => (float[N, 1, 1, 1] y) { y = GlobalAveragePool (image) }"
    if "bits" in card:
        model = onnxray.load(parse(gray), output="y", scores="logits", bits=12)
        compiled = onnxray.compile(model, "gradient", target="element:y:0,0,0", preprocess=True)
        image = np.random.default_rng(0).integers(0, 4096, (20, 30, 3)).astype(np.uint16)
        want = prepare(image, find_card(model)).tensor.mean()
        assert run(compiled, {"image": image})["y"].item() == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("card", CARDS, ids=lambda c: "-".join(str(v) for v in c.values()))
def test_the_tensor_is_that_of_prepare(parse: Callable[..., onnx.ModelProto], card: dict[str, Any]) -> None:
    model = onnxray.load(parse(IDENTITY), output="y", scores="logits", **card)
    compiled = onnxray.compile(model, "gradient", preprocess=True)
    onnx.checker.check_model(compiled.proto, full_check=True)
    std = np.array(find_card(model).std, np.float32).reshape(3, 1, 1)
    for size in SIZES:
        image = picture(size)
        prepared = prepare(image, find_card(model))
        found = run(compiled, {"image": image})
        levels = np.abs(found["seen"][0] - prepared.tensor[0]) * std
        assert levels.max() <= 1.01, (size, levels.max())
        # Halves are rounded by weights of 22 bits there and of float32 here: only they differ.
        assert (levels > 0.01).mean() <= 0.1, (size, (levels > 0.01).mean())
        assert found["saliency_map"].shape == (1, 3, *size)


@pytest.mark.parametrize("card", CARDS, ids=lambda c: "-".join(str(v) for v in c.values()))
def test_the_map_lies_on_the_image(parse: Callable[..., onnx.ModelProto], card: dict[str, Any]) -> None:
    """A model whose gradient is the same for every image: a pattern, wherever the image comes to lie."""
    pattern = np.random.default_rng(2).standard_normal((1, 3, 20, 24)).astype(np.float32)
    network = parse(WEIGHTED, pattern=pattern)
    model = onnxray.load(network, output="y", scores="logits", **card)
    compiled = onnxray.compile(model, "gradient", preprocess=True, target=1)
    for size in SIZES:
        image = picture(size, 1)
        prepared = prepare(image, find_card(model))
        values = onnxray.explain(model, prepared.tensor, "gradient", target=1).values
        expected = prepared.geometry.to_image(values, fill=np.nan)
        found = run(compiled, {"image": image})["saliency_map"][0]
        seen = ~np.isnan(expected)
        assert not found[~seen].any()
        # Where the map ends, a map that is finer than the image is averaged over what there is.
        rows, columns = np.flatnonzero(seen.any(axis=(0, 2))), np.flatnonzero(seen.any(axis=(0, 1)))
        seen[:, rows[[0, -1]]] = seen[:, :, columns[[0, -1]]] = False
        assert seen.any()
        np.testing.assert_allclose(found[seen], expected[seen], atol=1e-5 * np.abs(values).max())


def test_gray_and_channels_last(parse: Callable[..., onnx.ModelProto]) -> None:
    model = onnxray.load(
        parse(
            "g (float[N, 16, 16, 1] image) => (float[N, 16, 16, 1] seen, float[N, 2] y) {"
            " t = Transpose <perm = [0, 3, 1, 2]> (image)  c = Concat <axis = 1> (t, t)  r = Relu (c)"
            " p = GlobalAveragePool (r)  y = Flatten (p)  seen = Identity (image) }"
        ),
        output="y",
        scores="logits",
        order="GRAY",
        layout="NHWC",
    )
    compiled = onnxray.compile(model, "gradient", preprocess=True)
    image = picture((31, 45))
    found = run(compiled, {"image": image})
    assert np.abs(found["seen"] - prepare(image, find_card(model)).tensor).max() * 255 <= 1.01 * 255
    assert found["saliency_map"].shape == (1, 1, 31, 45)


def test_a_batch_of_images(cnn: onnx.ModelProto) -> None:
    model = onnxray.load(cnn)
    compiled = onnxray.compile(model, preprocess="NHWC", normalize="uint8")
    assert compiled.value("image").shape == ("N", "height", "width", 3)
    images = np.stack([picture((30, 40), seed) for seed in range(3)])
    found = run(compiled, {"image": images})
    one = onnxray.compile(model, preprocess="HWC", normalize="uint8")
    for index, image in enumerate(images):
        alone = run(one, {"image": image})
        np.testing.assert_allclose(found["logits"][index], alone["logits"][0], rtol=1e-4, atol=1e-5)
        assert np.abs(found["saliency_map"][index].astype(int) - alone["saliency_map"][0]).max() <= 1


def test_what_no_resize_of_onnx_does(cnn: onnx.ModelProto) -> None:
    with pytest.raises(CardError, match="lanczos"):
        onnxray.compile(onnxray.load(cnn, interpolation="lanczos"), preprocess=True)


def test_no_image_no_preprocessing(parse: Callable[..., onnx.ModelProto]) -> None:
    model = parse("g (float[N, 5] x) => (float[N, 3] y) { y = MatMul (x, w) }", w=np.ones((5, 3), np.float32))
    with pytest.raises(ModelError, match="no image input"):
        onnxray.compile(model, "gradient", preprocess=True)


def test_the_file_does_not_say_where_it_was_made(cnn: onnx.ModelProto, tmp_path: Path) -> None:
    """The card's source is a path of this computer; the same model and card in another folder give the same file."""
    made = []
    for name in ("here", "there"):
        folder = tmp_path / name
        folder.mkdir()
        onnx.save(cnn, folder / "model.onnx")
        (folder / "model.json").write_text(json.dumps({"mean": [1, 2, 3], "std": 4, "labels": list("abcde")}))
        made.append(onnxray.compile(folder / "model.onnx", preprocess=True))
    first, second = (m.proto.SerializeToString(deterministic=True) for m in made)
    assert first == second
    assert str(tmp_path).encode() not in first
    assert json.loads(made[0].metadata["onnxray.compile"])["preprocess"]["card"]["mean"] == [1, 2, 3]
