"""Pictures that another network recognises: a small version of `bench/visualize.py transfer`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxray
from onnxray.engine.errors import GradientError
from onnxray.engine.preprocess.image import find_card, prepare
from onnxray.tests.engine import zoo

PLACE = os.environ.get("ONNXRAY_ZOO")
pytestmark = pytest.mark.skipif(not PLACE, reason="ONNXRAY_ZOO does not name the folder of the model zoo")


def opened(name: str) -> onnxray.Model:
    return zoo.opened(Path(str(PLACE)), name)


def rank(model: onnxray.Model, image: np.ndarray, index: int) -> int:
    output = model.outputs[0].name
    scores = onnxray.activations(model, prepare(image, find_card(model)).tensor, [output])[output].ravel()
    return int((scores > scores[index]).sum())


def test_another_network_sees_the_class_too() -> None:
    made, judge = opened("mobilenet_v2_100_224"), opened("mobilenet_v1_075_192")
    target = "jigsaw puzzle"
    index = next(i for i, label in enumerate(find_card(judge).labels or ()) if target in label)
    picture, control = (
        onnxray.visualize(made, target=target, steps=48, **given).images[0]
        for given in ({}, {"parametrisation": "pixels", "transforms": ()})
    )
    assert rank(judge, picture, index) < 5 < rank(judge, control, index)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("squeezenet_v1_1", {"target": 340, "size": 128}),
        ("resnet20_cifar10", {"target": "cat"}),
        ("vit_mnist", {"target": 3}),
        ("mnist_cntk", {"target": 3}),
        ("emotion_mini_xception", {"target": "fear", "size": 64}),
        ("mobilenet_v2_int8_qdq_nhwc", {"target": 340}),
    ],
)
def test_image_models(name: str, given: dict[str, Any]) -> None:
    v = onnxray.visualize(opened(name), steps=12, settle=False, transforms=(), **given)
    assert v.before[0] > v.history[0][0]


def test_integer_kernels_have_no_gradient() -> None:
    with pytest.raises(GradientError, match="QLinear"):
        onnxray.visualize(opened("mobilenet_v2_int8_qlinear"), target=3, steps=1)
