"""A model of anomalies (PaDiM, Defard et al. 2021, with independent channels): its score is explained where the defect is.

One Gaussian for every place of a layer's map, fitted on pictures without defects; the score is the greatest distance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.cli.files import images as files

Box = tuple[int, int, int, int]
CARD = {"size": [160, 160], "mean": 114.0, "std": 58.0}
LAYER = "stage2/relu1"


def padim(pictures: Sequence[np.ndarray]) -> onnxray.Model:
    """Outputs pred_score (N,) and anomaly_map (N, 1, h, w)."""
    proto = onnx.utils.Extractor(onnxray.load("builtin").proto).extract_model(["image"], [LAYER])
    backbone = onnxray.load(proto, **CARD)
    features = np.concatenate([onnxray.activations(backbone, picture, [LAYER])[LAYER] for picture in pictures])
    middle, spread = features.mean(0, keepdims=True), features.std(0, keepdims=True) + 0.05 * features.std()
    graph, make = proto.graph, onnx.helper.make_node
    constants = {"middle": middle, "inverse": 1 / spread}
    graph.initializer.extend(onnx.numpy_helper.from_array(a.astype(np.float32), n) for n, a in constants.items())
    graph.node.extend(
        [
            make("Sub", [LAYER, "middle"], ["off"]),
            make("Mul", ["off", "inverse"], ["z"]),
            make("Mul", ["z", "z"], ["squares"]),
            make("ReduceMean", ["squares"], ["distance"], axes=[1], keepdims=1),
            make("Sqrt", ["distance"], ["anomaly_map"]),
            make("ReduceMax", ["anomaly_map"], ["pred_score"], axes=[1, 2, 3], keepdims=0),
        ]
    )
    del graph.output[:]
    info = onnx.helper.make_tensor_value_info
    graph.output.extend([info("pred_score", 1, ["N"]), info("anomaly_map", 1, ["N", 1, "h", "w"])])
    return onnxray.load(proto, **CARD)


def surface(rng: np.random.Generator) -> np.ndarray:
    coarse = np.kron(rng.normal(0, 12, (20, 20, 1)), np.ones((8, 8, 1)))
    return (120 + coarse + rng.normal(0, 6, (160, 160, 3))).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def planted() -> tuple[onnxray.Model, list[tuple[np.ndarray, Box]]]:
    """The model, and surfaces with a dark square and where it is."""
    rng = np.random.default_rng(0)
    model = padim([surface(rng) for _ in range(24)])
    found = []
    for _ in range(8):
        picture = surface(rng)
        y, x = (int(v) for v in rng.integers(20, 110, 2))
        picture[y : y + 24, x : x + 24] = np.maximum(picture[y : y + 24, x : x + 24].astype(int) - 60, 0)
        found.append((picture, (y, x, y + 24, x + 24)))
    return model, found


def hits(explain: Callable[[np.ndarray], onnxray.Explanation], pictures: list[tuple[np.ndarray, Box]]) -> int:
    """Maps whose greatest magnitude is in the box, or a cell of the layer from it."""
    count = 0
    for picture, (top, left, bottom, right) in pictures:
        heat = np.abs(explain(picture).heatmap)
        y, x = np.unravel_index(int(heat.argmax()), heat.shape)
        count += top - 4 <= y < bottom + 4 and left - 4 <= x < right + 4
    return count


@pytest.mark.parametrize("method", ["grad-cam", "hires-cam", "input-x-gradient", "integrated-gradients"])
def test_heat_is_at_a_planted_defect(method: str, planted: tuple[onnxray.Model, list[tuple[np.ndarray, Box]]]) -> None:
    model, pictures = planted
    assert hits(lambda picture: onnxray.explain(model, picture, method), pictures) >= 7


def test_the_score_is_what_is_explained(planted: tuple[onnxray.Model, list[tuple[np.ndarray, Box]]]) -> None:
    model, pictures = planted
    e = onnxray.explain(model, pictures[0][0], "hires-cam")
    named = onnxray.explain(model, pictures[0][0], "hires-cam", "value:pred_score")
    np.testing.assert_array_equal(e.values, named.values)
    greatest = onnxray.explain(model, pictures[0][0], "hires-cam", "element:anomaly_map:0,max,max")
    np.testing.assert_allclose(e.values, greatest.values, rtol=1e-5)


def test_heat_on_real_tiles_is_where_the_model_itself_finds_the_anomaly(zoo: Path) -> None:
    """Six tiles without defects fit no good model: the judge is its own map, within the layer's receptive field."""
    tiles = zoo / "inspection" / "magnetic_tile"
    model = padim([files.read(path) for path in sorted(tiles.glob("MT_Free*.jpg"))])
    for path in sorted(tiles.glob("MT_[BCF][rlir]*.jpg"))[::3]:
        picture = files.read(path)
        own = onnxray.activations(model, picture, ["anomaly_map"])["anomaly_map"][0, 0]
        cell = np.array(np.unravel_index(int(own.argmax()), own.shape))
        heat = onnxray.explain(model, picture, "hires-cam").heatmap
        peak = np.array(np.unravel_index(int(heat.argmax()), heat.shape)) + 0.5
        assert np.abs(peak / heat.shape * 40 - (cell + 0.5)).max() <= 2.5
