"""The section of the report on what units look for."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx

import onnxray
from onnxray.cli.figures.parts import Tiles
from onnxray.cli.tasks.look_for import section
from onnxray.engine.preprocess.find import find_card


def subject(model: onnxray.Model) -> Any:
    runtime = {"providers": None, "threads": 1}
    return SimpleNamespace(model=model, card=find_card(model), work=SimpleNamespace(runtime=runtime))


def test_channels_and_classes(cnn: onnx.ModelProto) -> None:
    made = section(subject(onnxray.load(cnn, labels=list("abcde"))))
    groups = [part for part in made.parts if isinstance(part, Tiles)]
    assert [tile.title for tile in groups[-1].tiles] == list("abcde")
    assert [tile.title for tile in groups[0].tiles] == [f"channel {c}" for c in range(4)]
    assert groups[0].tiles[0].pixels.shape == (96, 96, 3)


def test_a_model_without_gradients_has_a_reason(parse: Callable[..., onnx.ModelProto]) -> None:
    text = "g (float[1,3,16,16] x) => (float[1,4,14,14] y) { s = Sign (x) y = Conv (s, w) }"
    made = section(subject(onnxray.load(parse(text, w=np.ones((4, 3, 3, 3), np.float32)))))
    assert "'Sign'" in made.lead
    assert not made.parts
