"""Crops of what units see, and the units' heat over them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.cli.files.images import write
from onnxray.cli.tasks.site.crops import BEST, CROP, Heats, square_of
from onnxray.cli.tasks.site.plan import site_layers
from onnxray.cli.tasks.site.survey import Survey
from onnxray.engine.inference.batches import RunOptions
from onnxray.engine.preprocess.find import find_card
from onnxray.engine.preprocess.geometry import place


@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
def test_heat_over_a_crop_is_the_unit_s_heat_over_the_image(parse: Any, tmp_path: Path, resize: str) -> None:
    """A unit that sees 64 x 64 pixels of an image that is not scaled: the crop has the image's own pixels."""
    proto = parse(
        """
        m (float[N, 3, 192, 192] x) => (float[N, 2] y)
        { a = Conv <kernel_shape = [64, 64], strides = [16, 16]> (x, w) r = Relu (a)
          p = GlobalAveragePool (r) f = Flatten (p) y = Gemm (f, h) }
        """,
        w=np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32),
        h=np.eye(2, dtype=np.float32),
    )
    onnx.save(proto, tmp_path / "net.onnx")
    card = {"mean": 114, "std": 58, "resize": resize, "crop_fraction": 1}
    (tmp_path / "net.card.json").write_text(json.dumps(card))
    rng, size = np.random.default_rng(1), {"stretch": (192, 192), "crop": (192, 260), "letterbox": (120, 192)}[resize]
    files = []
    for n in range(3):
        files.append((tmp_path / f"{n}.png", None))
        write(files[-1][0], rng.integers(0, 256, (*size, 3), np.uint8))
    model = onnxray.load(tmp_path / "net.onnx")
    layer = site_layers(model, ("r",), "")[0]
    survey, seen = Survey(files, tmp_path / "part.npz"), 0
    survey.run(model, [layer], RunOptions(), lambda _: None, lambda: False)
    heats = Heats(survey, model, [layer], RunOptions())
    assert heats.has(layer)
    assert survey.top is not None
    for unit in (0, 1):
        for example in survey.top.strongest("r", unit)[:BEST]:
            y0, x0, y1, x1 = square_of(example.box, size)
            if (y1 - y0, x1 - x0) != (CROP, CROP):
                continue  # cut at an edge
            seen += 1
            values = onnxray.activations(model, survey.pixels(example.image.name), ["a"])["a"][0, unit]
            whole = place(find_card(model), size).to_image(values, fill=np.nan)
            expected = whole[y0:y1, x0:x1]
            np.testing.assert_allclose(heats.over(layer, unit, example), expected, atol=2e-3 * np.abs(values).max())
            assert np.nanmax(expected) <= example.value * 1.001
    assert seen


def test_units_of_one_place_have_no_heat(parse: Any, tmp_path: Path) -> None:
    proto = parse(
        "m (float[N, 3, 8, 8] x) => (float[N, 2] y) { f = Flatten (x) y = Gemm (f, h) }",
        h=np.ones((192, 2), np.float32),
    )
    onnx.save(proto, tmp_path / "net.onnx")
    write(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    model = onnxray.load(tmp_path / "net.onnx")
    layer = site_layers(model, (), "")[0]
    survey = Survey([(tmp_path / "a.png", None)], tmp_path / "part.npz")
    survey.run(model, [layer], RunOptions(), lambda _: None, lambda: False)
    assert not Heats(survey, model, [layer], RunOptions()).has(layer)
